/** YAML 1.2 -> tree. The only file that knows the YAML library; what the library leaves unbounded is bounded here. */
import { createRequire } from "node:module";
import type { Alias, YAMLMap, Node as YamlNode } from "yaml";
import { type MapEntry, type Node, type Scalar, type Span, type TreeFault, UNSET } from "./tree.ts";

// Loaded by the first text that needs it: most never do (common-yaml.ts), which saves the sidecar 8 MB and 20 ms at its start.
const require = createRequire(import.meta.url);

// A policy nests 7 deep; this leaves room and keeps recursion harmless.
const DEPTH_MAX = 24;

const HINTS: Readonly<Record<string, string>> = {
	TAB_AS_INDENT: "indent with spaces",
	MULTIPLE_DOCS: "one file holds one policy: remove what follows the `---`",
	BAD_INDENT: "align it with its siblings",
	BLOCK_AS_IMPLICIT_KEY: "put the nested mapping on lines of its own, or in braces",
	MISSING_CHAR: "a bracket, brace, quote or colon is missing here or just before",
	BAD_SCALAR_START: "put the value in quotes",
	UNEXPECTED_TOKEN: `put text with special characters in quotes; in braces also \${NAME}`,
};

/** Reads one document; undefined where the text is not YAML, so that nothing can be said about its keys. */
export function readYaml(text: string, faults: TreeFault[]): Node | undefined {
	const { isAlias, isMap, isNode, isScalar, isSeq, parseDocument }: typeof import("yaml") = require("yaml");
	const path: (string | number)[] = [];
	const fault = (span: Span, message: string, hint = "") => {
		faults.push({ span, path: [...path], message, hint });
	};
	const document = parse();
	if (document === undefined) {
		fault({ start: 0, end: 1 }, "the text is nested too deeply", `at most ${DEPTH_MAX} levels`);
		return undefined;
	}
	for (const { pos, code, message: given } of [...document.errors, ...document.warnings]) {
		const message = code === "MULTIPLE_DOCS" ? "a second document begins here" : given;
		fault({ start: pos[0], end: Math.max(pos[1], pos[0] + 1) }, message.replace(/\s+/g, " "), HINTS[code]);
	}
	if (faults.length !== 0) return undefined;
	if (document.contents === null || (isScalar(document.contents) && document.contents.value === null)) {
		fault({ start: 0, end: 1 }, "the file is empty", "a policy begins with `service: NAME`");
		return undefined;
	}
	const anchors = new Map<string, Node>();
	return convert(document.contents, { start: 0, end: 1 });

	// The library recurses: a text of nothing but brackets exhausts the stack, which it throws or tells as an error of the text.
	// uniqueKeys costs it quadratic time; duplicates are found below.
	function parse() {
		try {
			const parsed = parseDocument(text, { version: "1.2", schema: "core", uniqueKeys: false, prettyErrors: false, logLevel: "error" });
			return parsed.errors.some(({ message }) => message.includes("call stack")) ? undefined : parsed;
		} catch (thrown) {
			if (thrown instanceof RangeError) return undefined;
			throw thrown;
		}
	}

	function convert(node: unknown, around: Span): Node {
		if (!isNode(node)) return { kind: "scalar", value: null, ...around };
		const span = spanOf(node, around);
		if (isAlias(node)) {
			const target = anchors.get(node.source);
			if (target !== undefined) return target;
			fault(span, `the alias *${node.source} has no complete anchor before it`, `write &${node.source} at the value that it repeats`);
			return { kind: "scalar", value: UNSET, ...span };
		}
		if (path.length > DEPTH_MAX) {
			fault(span, "the text is nested too deeply", `at most ${DEPTH_MAX} levels`);
			return { kind: "scalar", value: UNSET, ...span };
		}
		const converted = convertValue(node, span);
		if (node.anchor !== undefined) anchors.set(node.anchor, converted);
		return converted;
	}

	function convertValue(node: Exclude<YamlNode, Alias>, span: Span): Node {
		if (isMap(node)) return convertMap(node, span);
		if (isSeq(node)) {
			const items = node.items.map((item, i) => {
				path.push(i);
				const converted = convert(item, span);
				path.pop();
				return converted;
			});
			return { kind: "list", items, ...span };
		}
		if (isScalar(node) && isPlainScalar(node.value)) return { kind: "scalar", value: node.value, ...span };
		fault(span, "a value of this kind has no place in a policy");
		return { kind: "scalar", value: UNSET, ...span };
	}

	function convertMap(node: YAMLMap, span: Span): Node {
		const entries = new Map<string, MapEntry>();
		for (const pair of node.items) {
			const keySpan = isNode(pair.key) ? spanOf(pair.key, span) : span;
			if (!isScalar(pair.key) || pair.key.value === null || typeof pair.key.value === "object") {
				fault(keySpan, "a key must be a plain word", "put it in quotes");
				continue;
			}
			const key = String(pair.key.value);
			path.push(key);
			if (entries.has(key)) fault(keySpan, `\`${key}\` stands here twice`, "keep one of them");
			else entries.set(key, { keySpan, value: convert(pair.value, keySpan) });
			path.pop();
		}
		return { kind: "map", entries, ...span };
	}
}

function spanOf(node: YamlNode, around: Span): Span {
	const range = node.range;
	if (range === null || range === undefined) return around;
	return { start: range[0], end: Math.max(range[1], range[0] + 1) };
}

function isPlainScalar(value: unknown): value is Scalar {
	return value === null || typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}
