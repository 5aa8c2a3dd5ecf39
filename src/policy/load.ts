/** Policy text -> snapshot, or all of its faults at once. Pure: reads no file, no clock, no environment of its own. */
import { createHash } from "node:crypto";
import { compile } from "./compile.ts";
import { crossCheck } from "./cross-checks.ts";
import type { Env } from "./env.ts";
import { LineIndex, type PolicyFault } from "./fault.ts";
import type { Snapshot } from "./snapshot.ts";
import { locate, pathText, type Span, type TreeFault, toPlain } from "./tree.ts";
import { validate } from "./validate.ts";
import { readYaml } from "./yaml-reader.ts";

export { formatFaults, type PolicyFault } from "./fault.ts";

export type LoadResult = { readonly ok: true; readonly snapshot: Snapshot } | { readonly ok: false; readonly faults: readonly PolicyFault[] };

// 1,000 upstreams with 3 endpoints each and 1,000 routes take 400 KB. Parsing costs the event loop time in proportion.
export const TEXT_CHARS_MAX = 1024 * 1024;
// A file that is no policy has a fault on every line; nobody reads more of them.
const FAULTS_MAX = 1_000;

/**
 * `file` stands in every place and anchors relative paths inside the policy; `version` counts the policies of this
 * process. Never throws, whatever the text; faults come in the order of the text.
 */
export function loadPolicy(text: string, file: string, env: Env, version: number): LoadResult {
	const lines = new LineIndex(text, file);
	const faults: TreeFault[] = [];
	const failed = (): LoadResult => ({ ok: false, faults: toFaults(faults, text, lines) });

	const unreadable = refuseText(text);
	if (unreadable !== undefined) {
		faults.push(unreadable);
		return failed();
	}
	const root = readYaml(text, faults);
	if (root === undefined) return failed();
	const plain = toPlain(root, env, faults);
	const config = validate(plain, root, text, faults);
	crossCheck(plain, (path, at, message, hint) => {
		const { node, keySpan, depth } = locate(root, path);
		const written = depth === path.length;
		faults.push({ span: at === "value" && written ? node : (keySpan ?? node), path, message, hint });
	});
	if (config === undefined || faults.length !== 0) return failed();
	const hash = createHash("sha256").update(text).digest("hex").slice(0, 12);
	const snapshot = compile(config, { version, hash, file }, (path) => {
		const { node, keySpan } = locate(root, path);
		return lines.place((keySpan ?? node).start);
	});
	return { ok: true, snapshot };
}

/** What is refused before any parser looks at it. */
function refuseText(text: string): TreeFault | undefined {
	if (text.length > TEXT_CHARS_MAX) {
		const message = `the file has ${text.length} characters`;
		return { span: { start: 0, end: 1 }, path: [], message, hint: `at most ${TEXT_CHARS_MAX} (1 MiB)` };
	}
	const nul = text.indexOf("\0");
	if (nul === -1) return undefined;
	return { span: { start: nul, end: nul + 1 }, path: [], message: "the text holds a NUL character", hint: "is this a text file in UTF-8?" };
}

function toFaults(faults: readonly TreeFault[], text: string, lines: LineIndex): PolicyFault[] {
	return [...faults]
		.sort((a, b) => a.span.start - b.span.start)
		.slice(0, FAULTS_MAX)
		.map(({ span, path, message, hint }) =>
			Object.freeze({
				place: lines.place(Math.min(span.start, text.length)),
				width: widthOf(span, text),
				path: pathText(path),
				message,
				hint,
			}),
		);
}

/** A caret stays on the first line of what it underlines. */
function widthOf({ start, end }: Span, text: string): number {
	const newline = text.indexOf("\n", start);
	const last = newline === -1 ? end : Math.min(end, newline);
	return Math.max(1, text.slice(start, last).trimEnd().length);
}
