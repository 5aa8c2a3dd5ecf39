/** A policy text as a tree that remembers where everything stands; knows nothing of YAML or of what the keys mean. */
import { type Env, substitute } from "./env.ts";
import { isRefusal, type Refusal, refuse } from "./fault.ts";

/** Offsets in the text, end exclusive. */
export interface Span {
	readonly start: number;
	readonly end: number;
}

export type Scalar = string | number | boolean | null;

export type Node = ScalarNode | MapNode | ListNode;
export interface ScalarNode extends Span {
	readonly kind: "scalar";
	readonly value: Scalar;
}
export interface MapNode extends Span {
	readonly kind: "map";
	readonly entries: ReadonlyMap<string, MapEntry>;
}
export interface MapEntry {
	readonly keySpan: Span;
	readonly value: Node;
}
export interface ListNode extends Span {
	readonly kind: "list";
	readonly items: readonly Node[];
}

export type Path = readonly (string | number)[];

/** Something that is wrong at a place of the tree. */
export interface TreeFault {
	readonly span: Span;
	readonly path: Path;
	readonly message: string;
	readonly hint: string;
}

/** What the tree says, as plain objects, lists and scalars. */
export type Plain = Scalar | readonly Plain[] | { readonly [key: string]: Plain };

// Aliases can make a small file stand for a huge tree ("billion laughs"). 1 MiB of text without aliases has fewer nodes.
const NODES_MAX = 500_000;

/** Plain values with the environment put in. Faults are added to `faults`; a value without its variable becomes `UNSET`. */
export function toPlain(root: Node, env: Env, faults: TreeFault[]): Plain {
	let nodes = 0;
	const path: (string | number)[] = [];
	const fault = (span: Span, { refused, hint }: Refusal) => {
		faults.push({ span, path: [...path], message: refused, hint });
	};
	return convert(root);

	function convert(node: Node): Plain {
		nodes++;
		if (nodes > NODES_MAX) {
			if (nodes === NODES_MAX + 1) fault(node, refuse("the aliases and policies stand for too many values", `at most ${NODES_MAX} in one policy`));
			return null;
		}
		switch (node.kind) {
			case "scalar":
				return convertScalar(node);
			case "list":
				return node.items.map((item, i) => {
					path.push(i);
					const value = convert(item);
					path.pop();
					return value;
				});
			case "map":
				return convertMap(node);
		}
	}

	function convertMap(node: MapNode): Plain {
		const object: Record<string, Plain> = {};
		for (const [key, { keySpan, value }] of node.entries) {
			path.push(key);
			if (key === "__proto__") fault(keySpan, refuse("`__proto__` cannot be a key", "choose another name"));
			else object[key] = convert(value);
			path.pop();
		}
		return object;
	}

	function convertScalar(node: ScalarNode): Plain {
		if (typeof node.value !== "string" || !node.value.includes("${")) return node.value;
		const value = substitute(node.value, env);
		if (!isRefusal(value)) return value;
		fault(node, refuse(`the value ${value.refused}`, value.hint));
		return UNSET;
	}
}

/** Stands for a value that could not be had (a missing variable, an unknown alias): that is told once, and nothing else about it. */
export const UNSET = "\0unset";

/** The node at `path`, or the nearest one above it that exists. `keySpan` is the key that leads to it. */
export function locate(root: Node, path: Path): { readonly node: Node; readonly keySpan: Span | undefined; readonly depth: number } {
	let node = root;
	let keySpan: Span | undefined;
	let depth = 0;
	for (const step of path) {
		if (node.kind === "map") {
			const entry = node.entries.get(String(step));
			if (entry === undefined) break;
			node = entry.value;
			keySpan = entry.keySpan;
		} else if (node.kind === "list" && typeof step === "number" && node.items[step] !== undefined) {
			node = node.items[step];
			keySpan = undefined;
		} else break;
		depth++;
	}
	return { node, keySpan, depth };
}

/** `upstreams.payments.endpoints[0].address` */
export function pathText(path: Path): string {
	let text = "";
	for (const step of path) {
		if (typeof step === "number") text += `[${step}]`;
		else text += `${text === "" ? "" : "."}${/^[\w-]+$/.test(step) ? step : JSON.stringify(step)}`;
	}
	return text;
}
