/** Plain values -> typed configuration, or every fault in the words of a person. */
import { isLaterKey, isLaterValue } from "./later.ts";
import { nearest } from "./nearest.ts";
import { type Issue, keysAt, NOTHING, Reading, type Shape } from "./shape.ts";
import { locate, type Node, type Path, type Plain, pathText, type Span, type TreeFault, UNSET } from "./tree.ts";

/** The configuration; undefined where it does not fit `shape`, for which a fault stands in `faults`. */
export function validate<T>(shape: Shape<T>, plain: Plain, root: Node, text: string, faults: TreeFault[]): T | undefined {
	const reading = new Reading();
	const read = shape.read(plain, reading);
	if (read !== NOTHING && reading.issues.length === 0) return read;
	const known = (path: Path) => keysAt(shape, path);
	for (const issue of reading.issues) faults.push(...describe(issue, { plain, root, text, known }));
	return undefined;
}

interface Subject {
	readonly plain: Plain;
	readonly root: Node;
	readonly text: string;
	readonly known: (path: Path) => readonly string[];
}

function describe(issue: Issue, { plain, root, text, known }: Subject): TreeFault[] {
	const { path } = issue;
	const value = valueAt(plain, path);
	if (value === UNSET) return [];
	if (issue.code === "unknown_keys") return issue.keys.map((key) => unknownKey(path, key, root, known(path)));
	const { node, keySpan } = locate(root, path);
	if (value === undefined) return [missing(path, keySpan ?? node)];
	if (value === null) return [empty(path, keySpan ?? node)];
	const atKey = issue.code === "custom" && issue.atKey === true;
	const span = atKey && keySpan !== undefined ? keySpan : node;
	const subject = quote(span, text);
	const [message, hint] = wording(issue, value, path);
	return [{ span, path, message: `${subject} ${message}`, hint }];
}

function unknownKey(path: Path, key: string, root: Node, known: readonly string[]): TreeFault {
	const full = [...path, key];
	const { node, keySpan } = locate(root, full);
	const span = keySpan ?? node;
	if (isLaterKey(placeOf(full))) {
		return { span, path: full, message: `this version does not act on \`${key}\` yet`, hint: "remove it: a policy says only what happens" };
	}
	if (key === "<<") return { span, path: full, message: "merge keys are not part of YAML 1.2", hint: "repeat a whole value with an alias" };
	const meant = nearest(key, known);
	const hint = meant === undefined ? `known here: ${known.join(", ")}` : `did you mean \`${meant}\`?`;
	return { span, path: full, message: `unknown key \`${key}\``, hint };
}

function missing(path: Path, span: Span): TreeFault {
	const key = String(path.at(-1) ?? "");
	return { span, path, message: `\`${key}\` is missing`, hint: `add \`${key}:\` here` };
}

function empty(path: Path, span: Span): TreeFault {
	return { span, path, message: `\`${pathText(path.slice(-1))}\` has no value`, hint: "write one after the colon, or remove the key" };
}

function wording(issue: Issue, value: Plain, path: Path): [message: string, hint: string] {
	switch (issue.code) {
		case "custom":
			return split(issue.message);
		case "type":
			return [`is not ${typeName(issue.expected)}`, ""];
		case "choice": {
			const known = issue.values.map(String);
			if (isLaterValue(placeOf(path), value)) return ["is not something that this version acts on yet", `use ${known.join(", ")}`];
			const meant = nearest(String(value), known);
			return ["is not one of the choices", meant === undefined ? `use ${known.join(", ")}` : `did you mean \`${meant}\`?`];
		}
		case "too_small":
			return issue.of === "items" ? ["is empty", `at least ${issue.limit}`] : ["is too small", `at least ${issue.limit}`];
		case "too_big":
			return issue.of === "items" ? ["is too long", `at most ${issue.limit} items`] : ["is too large", `at most ${issue.limit}`];
		case "unknown_keys":
			return ["has unknown keys", issue.keys.join(", ")];
	}
}

function split(message: string): [string, string] {
	const at = message.indexOf("\n");
	return at === -1 ? [message, ""] : [message.slice(0, at), message.slice(at + 1)];
}

function typeName(expected: string): string {
	switch (expected) {
		case "object":
		case "record":
			return "a mapping";
		case "array":
			return "a list";
		case "string":
			return "text";
		case "number":
			return "a number";
		case "int":
			return "a whole number";
		case "boolean":
			return "true or false";
		default:
			return expected;
	}
}

/** `upstreams.*.timeout`: names and list positions as `*`. */
function placeOf(path: Path): string {
	return path.map((step, i) => (typeof step === "number" || (i === 1 && path[0] === "upstreams") ? "*" : step)).join(".");
}

export function valueAt(plain: Plain, path: Path): Plain | undefined {
	let value: Plain | undefined = plain;
	for (const step of path) {
		if (typeof value !== "object" || value === null || !Object.hasOwn(value, step)) return undefined;
		value = (value as Readonly<Record<string | number, Plain>>)[step];
	}
	return value;
}

// Longer values are in the code frame anyway.
const QUOTED_MAX = 40;

/** The value as it stands in the file, so that what came from the environment stays out of messages. */
function quote(span: Span, text: string): string {
	const source = text.slice(span.start, span.end).trim();
	return source === "" || source.length > QUOTED_MAX || source.includes("\n") ? "this value" : `\`${source}\``;
}
