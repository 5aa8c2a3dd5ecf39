/** A JSON value as the tree that policy's validation reads, so that a body is judged, and its faults are worded, as a policy file is. */
import type { MapEntry, Node, Plain, Span } from "../../policy/tree.ts";

export interface JsonTree {
	/** The value itself. */
	readonly plain: Plain;
	readonly root: Node;
	/** Where the nodes' spans point to: all keys and scalars, so that a fault can quote them. */
	readonly text: string;
}

// As in a policy file; keeps recursion harmless.
const DEPTH_MAX = 24;

/** Of what `JSON.parse` has made. A string says why it cannot be judged. */
export function jsonTree(json: unknown): JsonTree | string {
	let text = "";
	try {
		return { plain: json as Plain, root: convert(json as Plain, 1), text };
	} catch (thrown) {
		if (thrown instanceof Unfit) return thrown.message;
		throw thrown;
	}

	function convert(value: Plain, depth: number): Node {
		if (typeof value !== "object" || value === null) {
			return { kind: "scalar", value, ...span(typeof value === "string" ? value : JSON.stringify(value)) };
		}
		if (depth > DEPTH_MAX) throw new Unfit(`the body is nested deeper than ${DEPTH_MAX} levels`);
		if (Array.isArray(value)) return { kind: "list", items: value.map((item: Plain) => convert(item, depth + 1)), ...span("") };
		const entries = new Map<string, MapEntry>();
		for (const [key, entry] of Object.entries(value)) {
			if (key === "__proto__") throw new Unfit("`__proto__` cannot be a key");
			entries.set(key, { keySpan: span(key), value: convert(entry, depth + 1) });
		}
		return { kind: "map", entries, ...span("") };
	}

	function span(written: string): Span {
		// As in a policy file, where it stands for a value that could not be had.
		if (written.includes("\0")) throw new Unfit("the body holds a NUL character");
		const start = text.length;
		text += `${written}\n`;
		return { start, end: start + written.length };
	}
}

class Unfit extends Error {}
