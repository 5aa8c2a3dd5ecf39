/** The kinds of values that the policy's keys take; knows no key. */
import { durationText } from "./duration-text.ts";
import { isRefusal, type Refusal } from "./fault.ts";
import { parseChangedField, parseParameterName, parseParameterValue } from "./resilience-values.ts";
import {
	bool,
	custom,
	type Defaulted,
	defaulted,
	type JsonSchema,
	optional as mayBeLeftOut,
	NOTHING,
	numeric,
	type ObjectShape,
	type Optional,
	type Output,
	type Reading,
	readAs,
	record,
	type Shape,
	told,
} from "./shape.ts";
import type { FieldMatch } from "./traffic-policy.ts";
import { parseAddress, parseDuration, parseFieldName, parseFieldValue, parseName, parseTcpAddress } from "./values.ts";

export { list } from "./shape.ts";

// The deadlines of the data plane tick every 50 ms (core/deadline-wheel.ts), so shorter ones would be a promise not kept.
const DURATION_MIN_MS = 100;
// Timers of their own keep these.
const SHORT_MIN_MS = 1;
const DURATION_MAX_MS = 24 * 3_600_000;

/** A key that must be given. */
export function required<Out>(shape: Shape<Out>, description: string): Shape<Out> {
	return told(shape, { description });
}

/** A key that may be left out, which means something of its own. */
export function optional<Out>(shape: Shape<Out>, description: string): Optional<Out> {
	return mayBeLeftOut(told(shape, { description }));
}

/** A key that may be left out, which means `written`, in the notation of the policy. It is read once: each of 1,000 upstreams leaves dozens out. */
export function byDefault<Out>(shape: Shape<Out>, written: unknown, description: string): Defaulted<Out> {
	let read: { readonly value: Out } | undefined;
	const value = (): Out => {
		if (read === undefined) {
			const reading = readAs(shape, written);
			if (!reading.ok) throw new Error(`a default that does not fit: ${JSON.stringify(written)}`);
			read = { value: reading.value };
		}
		return read.value;
	};
	return { ...defaulted(shape, value), json: { description, default: written, ...shape.json } };
}

/** The same keys where leaving one out means nothing: somebody else may say it. */
export function unspoken(keys: Readonly<Record<string, Shape<unknown>>>): Record<string, Shape<unknown>> {
	return Object.fromEntries(
		Object.entries(keys).map(([key, shape]) => {
			const { description = "" } = shape.json;
			return [key, "inner" in shape ? optional((shape as Defaulted<unknown>).inner, description) : shape];
		}),
	);
}

/** A string that `parse` reads; `title` and `pattern` are for the JSON Schema and the docs. */
export function text<T extends NonNullable<unknown>>(title: string, parse: (text: string) => T | Refusal, pattern?: string): Shape<T> {
	return custom(pattern === undefined ? { title, type: "string" } : { title, pattern, type: "string" }, (given, reading) => {
		if (typeof given === "string" || typeof given === "number" || typeof given === "boolean") return taken(readText(given, parse), reading);
		return reading.tell({ code: "type", expected: "string" });
	});
}

function taken<T>(value: T | Refusal, reading: Reading): T | typeof NOTHING {
	return isRefusal(value) ? reading.tell({ code: "custom", message: says(value) }) : value;
}

/** `message\nhint`: the form in which a refusal travels. */
function says({ refused, hint }: Refusal): string {
	return `${refused}\n${hint}`;
}

/** A bare `5` where a duration belongs gets the answer that the text `5` would get. */
function parseOther(parse: (text: string) => unknown, given: number | boolean): Refusal {
	const value = parse(String(given));
	return isRefusal(value) ? value : { refused: "is not text", hint: `put it in quotes: "${given}"` };
}

/** As `text`, and a bare number counts as its digits: `429`, `5xx`. */
export function textOrNumber<T extends NonNullable<unknown>>(title: string, parse: (text: string) => T | Refusal, pattern?: string): Shape<T> {
	const plain = text(title, parse, pattern);
	return {
		json: { ...plain.json, type: ["string", "number"] },
		read: (given, reading) => plain.read(typeof given === "number" ? String(given) : given, reading),
	};
}

/** One text or a list of them, which is never empty. */
export function oneOrMore<T extends NonNullable<unknown>>(title: string, parse: (text: string) => T | Refusal, max: number): Shape<readonly T[]> {
	const item: JsonSchema = { type: "string", title };
	const json: JsonSchema = { title: `${title}, or a list of them`, anyOf: [item, { type: "array", items: item, minItems: 1, maxItems: max }] };
	return custom(json, (given, reading) => {
		const items: readonly unknown[] = Array.isArray(given) ? given : [given];
		if (items.length === 0) reading.tell({ code: "custom", message: "is empty\nat least 1" });
		if (items.length > max) reading.tell({ code: "custom", message: `is too long\nat most ${max} items` });
		const values: T[] = [];
		items.slice(0, max).forEach((one, i) => {
			const value = readText(one, parse);
			if (isRefusal(value)) reading.tell({ code: "custom", message: says(value) }, items === given ? [i] : []);
			else values.push(value);
		});
		return values.length === items.length && values.length > 0 ? values : NOTHING;
	});
}

function readText<T>(given: unknown, parse: (text: string) => T | Refusal): T | Refusal {
	if (typeof given === "string") return parse(given);
	if (typeof given === "number" || typeof given === "boolean") return parseOther(parse, given);
	return { refused: "is not text", hint: "" };
}

// What comes from the environment is text, so numbers and booleans may be written as text.
export function integer(min: number, max: number): Shape<number> {
	return numeric({ min, max, whole: true, digits: /^\d{1,9}$/ });
}

export function number(min: number, max: number): Shape<number> {
	return numeric({ min, max, whole: false, digits: /^\d{1,12}(\.\d{1,12})?$/ });
}

export const fraction = number(0, 1);
export const percent = number(0, 100);

export const flag = bool;

export const duration = durationFrom(DURATION_MIN_MS);
export const shortDuration = durationFrom(SHORT_MIN_MS);
/** Also none at all. */
export const durationOrNone = durationFrom(0);
export const listenAddress = text("address to listen on", (t) => parseTcpAddress(t, 0), "^(\\[[^\\]]*\\]|[^:]+):[0-9]+$");
export const anyAddress = text("address", parseAddress, "^(unix:/.*|(\\[[^\\]]*\\]|[^:]+):[0-9]+)$");
export const NAME_PATTERN = "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$";
export const name = text("name", parseName, NAME_PATTERN);

/** Both ends in milliseconds. */
export function durationFrom(minMs: number, maxMs = DURATION_MAX_MS) {
	const parse = (given: string): number | Refusal => {
		const ms = parseDuration(given);
		if (typeof ms !== "number") return ms;
		if (ms < minMs) return { refused: "is too short", hint: `at least ${durationText(minMs)}` };
		return ms > maxMs ? { refused: "is too long", hint: `at most ${durationText(maxMs)}` } : ms;
	};
	return text("duration", parse, "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$");
}

/** A mapping whose keys `parse` reads. */
function fields<T>(parse: (key: string) => string | Refusal, value: Shape<T>): Shape<Map<string, T>> {
	const plain = record(value);
	return {
		...plain,
		read(given, reading) {
			const entries = plain.read(given, reading);
			if (entries === NOTHING) return NOTHING;
			const read = new Map<string, T>();
			for (const [key, entry] of Object.entries(entries)) {
				const field = parse(key);
				if (isRefusal(field)) reading.tell({ code: "custom", message: says(field), atKey: true }, [key]);
				else read.set(field, entry);
			}
			return read;
		},
	};
}

const fieldValue = text("header value", parseFieldValue);

/** Header fields: names in any case, given in lower case. */
export const headers = fields(parseFieldName, fieldValue);
/** Header fields that a route may change. */
export const changedHeaders = fields(parseChangedField, fieldValue);
/** How header fields must look: a text, or `{ prefix: TEXT }`, `{ present: true }`, `{ absent: true }`. */
export const headerMatches = fields(parseFieldName, fieldMatch(parseFieldValue));
/** The same for query parameters, decoded. */
export const queryMatches = fields(parseParameterName, fieldMatch(parseParameterValue));

function fieldMatch(parse: (text: string) => string | Refusal): Shape<FieldMatch> {
	const text: JsonSchema = { type: "string" };
	const only: JsonSchema = { const: true };
	const properties = { exact: text, prefix: text, present: only, absent: only };
	const mapping: JsonSchema = { type: "object", properties, additionalProperties: false, minProperties: 1, maxProperties: 1 };
	return custom({ title: "condition", anyOf: [text, mapping] }, (given, reading): FieldMatch | typeof NOTHING => {
		const refuse = (refused: string, hint: string, path: string[] = []): typeof NOTHING =>
			reading.tell({ code: "custom", message: says({ refused, hint }) }, path);
		if (typeof given !== "object" || given === null) {
			const value = readText(given, parse);
			return isRefusal(value) ? refuse(value.refused, value.hint) : { kind: "exact", value };
		}
		const hint = "write its value, or one of { prefix: TEXT }, { present: true } and { absent: true }";
		const [[kind, value] = ["", ""], ...more] = Object.entries(given);
		if (more.length !== 0) return refuse("asks for several things at once", hint);
		if ((kind === "present" || kind === "absent") && (value === true || value === "true")) return { kind };
		if (kind !== "exact" && kind !== "prefix") return refuse("is no condition", hint);
		const read = readText(value, parse);
		return isRefusal(read) ? refuse(read.refused, read.hint, [kind]) : { kind, value: read };
	});
}

/** One of `words`, which `meaning` translates, or the mapping in full. Faults of the mapping keep their places. */
export function wordOr<W extends string, F extends Readonly<Record<string, Shape<unknown>>>, M>(
	words: readonly [W, ...W[]],
	inFull: ObjectShape<F>,
	meaning: (word: W) => M,
): Shape<M | Output<ObjectShape<F>>> {
	return {
		under: inFull.under,
		keys: inFull.keys,
		json: { title: `${words.map((word) => `\`${word}\``).join(", ")} or mapping`, anyOf: [{ type: "string", enum: words }, inFull.json] },
		read(given, reading) {
			const word = words.find((known) => known === given);
			if (word !== undefined) return meaning(word);
			if (typeof given !== "object" || given === null || Array.isArray(given)) return reading.tell({ code: "choice", values: words });
			return inFull.read(given, reading) as Output<ObjectShape<F>> | typeof NOTHING;
		},
	};
}
