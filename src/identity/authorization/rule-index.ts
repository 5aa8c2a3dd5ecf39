/** The rules about one kind of caller, found by the path that is asked for: what cannot fit is not looked at. */
import type { CompiledRule } from "./compiled-rule.ts";

const SLASH = 0x2f;

//  meet:    caller id ──> exactly it ─┐
//                         wildcards   ├─> indexes of this caller, held for its connection
//                         anybody    ─┘
//  decide:  path, hashed once from left to right ──> at each segment's end, in each index: rules with that anchor
//
//  The anchor of a pattern is what every path that fits begins with (path-pattern.ts). Hashes only narrow the candidates.

export class RuleIndex {
	/** In file order. */
	readonly all: CompiledRule[] = [];
	/** Those whose paths have no anchor. */
	readonly anywhere: CompiledRule[] = [];
	longestAnchor = 0;
	readonly #byAnchor = new Map<number, CompiledRule[]>();

	/** In file order. */
	add(rule: CompiledRule): void {
		// Two entries of one `from` may lead here.
		if (this.all.at(-1) === rule) return;
		this.all.push(rule);
		for (const anchor of rule.anchors) {
			if (anchor === "") this.anywhere.push(rule);
			else this.#anchored(hashOf(anchor)).push(rule);
			this.longestAnchor = Math.max(this.longestAnchor, anchor.length);
		}
	}

	/** In file order. `hash` of an anchor, see `hashStep`. */
	at(hash: number): readonly CompiledRule[] | undefined {
		return this.#byAnchor.get(hash);
	}

	#anchored(hash: number): CompiledRule[] {
		let rules = this.#byAnchor.get(hash);
		if (rules === undefined) {
			rules = [];
			this.#byAnchor.set(hash, rules);
		}
		return rules;
	}
}

/** 30 bits: the engine keeps such integers unboxed, also as keys of a Map. */
export function hashStep(hash: number, code: number): number {
	return (Math.imul(hash, 31) + code) & 0x3fffffff;
}

/** Whether an anchor may end before `at`: at a slash, or at the end. */
export function isSegmentEnd(path: string, at: number): boolean {
	return at === path.length || path.charCodeAt(at) === SLASH;
}

function hashOf(text: string): number {
	let hash = 0;
	for (let i = 0; i < text.length; i++) hash = hashStep(hash, text.charCodeAt(i));
	return hash;
}
