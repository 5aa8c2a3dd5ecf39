/** Policy text -> snapshot, or all of its faults at once. Pure: reads no file and no environment of its own, and no clock where the time is handed in. */
import { createHash } from "node:crypto";
import { systemClock } from "../core/clock.ts";
import { readCommonYaml } from "./common-yaml.ts";
import { compile, compileEndpoint, deepFreeze } from "./compile.ts";
import { crossCheck } from "./cross-checks.ts";
import type { Env } from "./env.ts";
import { LineIndex, type Lines, type PolicyFault, printable } from "./fault.ts";
import { joinedLines, joinedText, type LayerWins, layered, type PolicyText, shiftOf } from "./layers.ts";
import { mergePolicies } from "./merge-policies.ts";
import { Places } from "./places.ts";
import { policySchema } from "./schema.ts";
import { endpointListSchema } from "./schema-upstream.ts";
import type { EndpointPolicy, Snapshot } from "./snapshot.ts";
import { locate, type Node, pathText, type Span, type TreeFault, toPlain } from "./tree.ts";
import { validate } from "./validate.ts";
import { readYaml } from "./yaml-reader.ts";

export { formatFaults, type PolicyFault } from "./fault.ts";

export type LoadResult = { readonly ok: true; readonly snapshot: Snapshot } | { readonly ok: false; readonly faults: readonly PolicyFault[] };

// 1,000 upstreams with 3 endpoints each and 1,000 routes take 400 KB. Parsing costs the event loop time in proportion.
export const TEXT_CHARS_MAX = 1024 * 1024;
// A file that is no policy has a fault on every line; nobody reads more of them.
const FAULTS_MAX = 1_000;
// Enough for the longest sentence of ours with a name in it.
const WORDS_CHARS_MAX = 400;

/**
 * `file` stands in every place and anchors relative paths inside the policy; `version` counts the policies of this
 * process; `wallMs` is now, for faults that end after a while. Never throws, whatever the text; faults come in the order of the text.
 */
export function loadPolicy(text: string, file: string, env: Env, version: number, wallMs: number = systemClock.wallMs()): LoadResult {
	const lines = new LineIndex(text, file);
	return load([text], text, lines, ([root], faults) => root && build(root, { text, file, lines, env, version, wallMs }, faults));
}

export interface Layers {
	/** The sidecar's own file, which names the service, and which paths are relative to. */
	readonly local: PolicyText;
	/** What Nexus has for the service; `file` names service and version. */
	readonly nexus: PolicyText;
	/** Whose word counts where both say something. */
	readonly wins: LayerWins;
}

/** As `loadPolicy`, of both texts as one policy. Each value and each fault keeps the place in the text that it comes from. */
export function loadLayeredPolicy({ local, nexus, wins }: Layers, env: Env, version: number, wallMs: number = systemClock.wallMs()): LoadResult {
	const text = joinedText(local, nexus);
	const lines = joinedLines(local, nexus);
	return load([local.text, nexus.text], text, lines, ([own, given], faults) => {
		if (own === undefined || given === undefined) return undefined;
		const root = layered(own, shiftOf(given, local), wins, faults);
		return build(root, { text, file: local.file, lines, env, version, wallMs }, faults);
	});
}

interface Building {
	readonly text: string;
	readonly file: string;
	readonly lines: Lines;
	readonly env: Env;
	readonly version: number;
	readonly wallMs: number;
}

function build(root: Node, { text, file, lines, env, version, wallMs }: Building, faults: TreeFault[]): LoadResult | undefined {
	const tree = mergePolicies(root, env, faults);
	const plain = toPlain(tree, env, faults);
	const config = validate(policySchema, plain, tree, text, faults);
	crossCheck(plain, (path, at, message, hint) => {
		const { node, keySpan, depth } = locate(tree, path);
		const written = depth === path.length;
		faults.push({ span: at === "value" && written ? node : (keySpan ?? node), path, message, hint });
	});
	if (tree !== root) tellOnce(faults);
	if (config === undefined || faults.length !== 0) return undefined;
	const hash = createHash("sha256").update(text).digest("hex").slice(0, 12);
	return { ok: true, snapshot: compile(config, { version, hash, file, wallMs }, new Places(tree, lines)) };
}

export type EndpointsResult =
	| { readonly ok: true; readonly endpoints: readonly EndpointPolicy[] }
	| { readonly ok: false; readonly faults: readonly PolicyFault[] };

/** The file behind `upstreams.X.file`: a YAML or JSON list of `{ address, weight?, zone? }`, which may be empty. */
export function loadEndpoints(text: string, file: string, env: Env): EndpointsResult {
	return load([text], text, new LineIndex(text, file), ([root], faults) => {
		if (root === undefined) return undefined;
		const config = validate(endpointListSchema, toPlain(root, env, faults), root, text, faults);
		return config === undefined || faults.length !== 0 ? undefined : { ok: true, endpoints: deepFreeze(config.map(compileEndpoint)) };
	});
}

interface Failure {
	readonly ok: false;
	readonly faults: readonly PolicyFault[];
}

/** Each of `parts` is a text of its own; joined by line breaks they are `text`. `build` gives undefined where it has added to `faults`. */
function load<T>(
	parts: readonly string[],
	text: string,
	lines: Lines,
	build: (roots: readonly Node[], faults: TreeFault[]) => T | undefined,
): T | Failure {
	const starts = startsOf(parts);
	const unreadable = parts.flatMap((part, i) => moved(refuseText(part), starts[i]));
	if (unreadable.length > 0) return failure(unreadable, text, lines);
	const common = parts.flatMap((part) => readCommonYaml(part) ?? []);
	const built = common.length === parts.length ? build(common, []) : undefined;
	if (built !== undefined) return built;
	// There is a fault, or unusual YAML: the library knows the exact extent of everything.
	const faults: TreeFault[] = [];
	const roots = parts.flatMap((part, i) => {
		const found: TreeFault[] = [];
		const root = readYaml(part, found);
		faults.push(...found.flatMap((fault) => moved(fault, starts[i])));
		return root ?? [];
	});
	return (roots.length === parts.length ? build(roots, faults) : undefined) ?? failure(faults, text, lines);
}

function startsOf(parts: readonly string[]): number[] {
	let at = 0;
	return parts.map((part) => {
		const start = at;
		at += part.length + 1;
		return start;
	});
}

function moved(fault: TreeFault | undefined, by = 0): TreeFault[] {
	return fault === undefined ? [] : [{ ...fault, span: { start: fault.span.start + by, end: fault.span.end + by } }];
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

function failure(faults: readonly TreeFault[], text: string, lines: Lines): Failure {
	return { ok: false, faults: toFaults(faults, text, lines) };
}

function toFaults(faults: readonly TreeFault[], text: string, lines: Lines): PolicyFault[] {
	return [...faults]
		.sort((a, b) => a.span.start - b.span.start)
		.slice(0, FAULTS_MAX)
		.map(({ span, path, message, hint }) =>
			Object.freeze({
				place: lines.place(Math.min(span.start, text.length)),
				width: widthOf(span, text),
				path: shown(pathText(path)),
				message: shown(message),
				hint: shown(hint),
			}),
		);
}

/** Keys and values of the text stand in messages: whatever they hold, a log line stays one line of a fair length. */
function shown(words: string): string {
	const line = printable(words);
	return line.length > WORDS_CHARS_MAX ? `${line.slice(0, WORDS_CHARS_MAX)}...` : line;
}

/** What an entry of `policies` says wrong comes up once there, and again in each upstream that it fills. */
function tellOnce(faults: TreeFault[]): void {
	const told = new Set<string>();
	const repeated = ({ span, message }: TreeFault) => {
		const key = `${span.start} ${message}`;
		if (told.has(key)) return true;
		told.add(key);
		return false;
	};
	const inPolicies = faults.filter((fault) => fault.path[0] === "policies" && !repeated(fault));
	const elsewhere = faults.filter((fault) => fault.path[0] !== "policies" && !repeated(fault));
	faults.splice(0, faults.length, ...inPolicies, ...elsewhere);
}

/** A caret stays on the first line of what it underlines. */
function widthOf({ start, end }: Span, text: string): number {
	const newline = text.indexOf("\n", start);
	const last = newline === -1 ? end : Math.min(end, newline);
	return Math.max(1, text.slice(start, last).trimEnd().length);
}
