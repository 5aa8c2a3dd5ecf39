/**
 * Regular expressions in time linear in the text, for patterns that others wrote and texts that yet others send. The language is that of JSON Schema's
 * `pattern` without what needs backtracking: no references back, no looking around. A machine of states after Thompson and Pike.
 */
import { PATTERN_CHARS_MAX, PATTERN_STEPS_MAX } from "./limits.ts";
import { type CharSet, type PatternPart, PatternReader } from "./pattern-reader.ts";

export interface LinearPattern {
	/** True where it matches anywhere in the text; by characters of Unicode. */
	test(text: string): boolean;
}

export type CompiledPattern = { readonly ok: true; readonly pattern: LinearPattern } | { readonly ok: false; readonly reason: string };

type Step =
	| { readonly kind: "set"; readonly set: CharSet }
	| { readonly kind: "start" | "end" | "match" }
	| { readonly kind: "fork"; readonly to: number[] };

/** Never throws. */
export function compileLinearPattern(source: string): CompiledPattern {
	if (source.length > PATTERN_CHARS_MAX) return { ok: false, reason: `a pattern has at most ${PATTERN_CHARS_MAX} characters` };
	const reader = new PatternReader(source);
	const part = reader.read();
	if (part === undefined) return { ok: false, reason: reader.fault };
	const steps: Step[] = [];
	if (!emit(part, steps)) return { ok: false, reason: `repeats too much: it would take more than ${PATTERN_STEPS_MAX} steps` };
	steps.push({ kind: "match" });
	return { ok: true, pattern: { test: (text) => run(steps, text) } };
}

/** False where it takes too many steps. */
function emit(part: PatternPart, steps: Step[]): boolean {
	if (steps.length > PATTERN_STEPS_MAX) return false;
	switch (part.kind) {
		case "sequence":
			return part.of.every((one) => emit(one, steps));
		case "choice": {
			const fork: number[] = [];
			const ends: number[][] = [];
			steps.push({ kind: "fork", to: fork });
			for (const one of part.of) {
				fork.push(steps.length);
				if (!emit(one, steps)) return false;
				const end: number[] = [];
				ends.push(end);
				steps.push({ kind: "fork", to: end });
			}
			for (const end of ends) end.push(steps.length);
			return true;
		}
		case "repeat":
			return emitRepeat(part.part, part.min, part.max, steps);
		default:
			steps.push(part);
			return true;
	}
}

function emitRepeat(part: PatternPart, min: number, max: number, steps: Step[]): boolean {
	for (let i = 0; i < min; i++) {
		const before = steps.length;
		if (!emit(part, steps)) return false;
		// Nothing is nothing however often, and repetitions of it stand in each other.
		if (steps.length === before) break;
	}
	if (max === Number.POSITIVE_INFINITY) {
		const loop: number[] = [];
		const back = steps.length;
		steps.push({ kind: "fork", to: loop });
		loop.push(steps.length);
		if (!emit(part, steps)) return false;
		steps.push({ kind: "fork", to: [back] });
		loop.push(steps.length);
		return steps.length <= PATTERN_STEPS_MAX;
	}
	const skips: number[][] = [];
	for (let i = min; i < max; i++) {
		const skip = [steps.length + 1];
		skips.push(skip);
		steps.push({ kind: "fork", to: skip });
		if (!emit(part, steps)) return false;
	}
	for (const skip of skips) skip.push(steps.length);
	return steps.length <= PATTERN_STEPS_MAX;
}

/** All states at once, one character after the other; each state at most once per character. */
function run(steps: readonly Step[], text: string): boolean {
	const chars = [...text];
	const seen = new Int32Array(steps.length).fill(-1);
	let states: number[] = [];
	for (let at = 0; at <= chars.length; at++) {
		const code = chars[at]?.codePointAt(0) ?? -1;
		const next: number[] = [];
		const pending = [0, ...states];
		for (let state = pending.pop(); state !== undefined; state = pending.pop()) {
			if (seen[state] === at) continue;
			seen[state] = at;
			const step = steps[state] as Step;
			switch (step.kind) {
				case "match":
					return true;
				case "fork":
					pending.push(...step.to);
					break;
				case "start":
					if (at === 0) pending.push(state + 1);
					break;
				case "end":
					if (at === chars.length) pending.push(state + 1);
					break;
				case "set":
					if (code >= 0 && holds(step.set, code)) next.push(state + 1);
			}
		}
		states = next;
	}
	return false;
}

function holds({ ranges, negated }: CharSet, code: number): boolean {
	for (let i = 0; i < ranges.length; i += 2) {
		if (code >= (ranges[i] as number) && code <= (ranges[i + 1] as number)) return !negated;
	}
	return negated;
}
