/**
 * The kinds of values that the policy's keys take, on zod's small build (3.4 MB and 8 ms less than the full one in every
 * sidecar); knows no key.
 */
import * as z from "zod/mini";
import { durationText } from "./duration-text.ts";
import { isRefusal, type Refusal } from "./fault.ts";
import { parseChangedField, parseParameterName, parseParameterValue } from "./resilience-values.ts";
import type { FieldMatch } from "./traffic-policy.ts";
import { parseAddress, parseDuration, parseFieldName, parseFieldValue, parseName, parseTcpAddress } from "./values.ts";

// The deadlines of the data plane tick every 50 ms (core/deadline-wheel.ts), so shorter ones would be a promise not kept.
const DURATION_MIN_MS = 100;
// Timers of their own keep these.
const SHORT_MIN_MS = 1;
const DURATION_MAX_MS = 24 * 3_600_000;

/** A key that must be given. */
export function required<S extends z.core.$ZodType>(schema: S, description: string) {
	// A copy: one kind of value serves many keys, and each has its own description.
	return described(z.core.clone(schema, undefined, { parent: true }), description);
}

/** A key that may be left out, which means something of its own. */
export function optional<S extends z.core.$ZodType>(schema: S, description: string) {
	return described(z.optional(schema), description);
}

/** A key that may be left out, which means `written`, in the notation of the policy. It is read once: each of 1,000 upstreams leaves dozens out. */
export function byDefault<S extends z.core.$ZodType>(schema: S, written: z.input<S>, description: string) {
	let read: { readonly value: z.output<S> } | undefined;
	const value = () => {
		read ??= { value: z.parse(schema, written) };
		return read.value as z.core.util.NoUndefined<z.output<S>>;
	};
	const given = z._default(schema, value);
	// The library's name for a default in the notation of the input: what JSON Schema shows.
	z.globalRegistry.add(given, { description, _prefault: written });
	return given;
}

/** The same keys where leaving one out means nothing: somebody else may say it. */
export function unspoken(keys: Readonly<Record<string, z.core.$ZodType>>): Record<string, z.core.$ZodType> {
	return Object.fromEntries(
		Object.entries(keys).map(([key, schema]) => {
			const { description = "" } = z.globalRegistry.get(schema) ?? {};
			return [key, schema instanceof z.core.$ZodDefault ? optional(schema._zod.def.innerType, description) : schema];
		}),
	);
}

function described<S extends z.core.$ZodType>(schema: S, description: string): S {
	z.globalRegistry.add(schema, { description });
	return schema;
}

/** A string that `parse` reads; `title` and `pattern` are for the JSON Schema and the docs. */
export function text<T extends NonNullable<unknown>>(title: string, parse: (text: string) => T | Refusal, pattern?: string) {
	const given = z.string({
		error: ({ input }) => (typeof input === "number" || typeof input === "boolean" ? says(parseOther(parse, input)) : undefined),
	});
	const read = z.transform((written: string, context): T => {
		const value = parse(written);
		if (!isRefusal(value)) return value;
		context.issues.push({ code: "custom", message: says(value), input: written });
		return z.NEVER;
	});
	const schema = z.pipe(given, read);
	z.globalRegistry.add(schema, pattern === undefined ? { title } : { title, pattern });
	return schema;
}

/** `message\nhint`: the form in which a refusal travels through the schema library. */
function says({ refused, hint }: Refusal): string {
	return `${refused}\n${hint}`;
}

/** A bare `5` where a duration belongs gets the answer that the text `5` would get. */
function parseOther(parse: (text: string) => unknown, given: number | boolean): Refusal {
	const value = parse(String(given));
	return isRefusal(value) ? value : { refused: "is not text", hint: `put it in quotes: "${given}"` };
}

/** As `text`, and a bare number counts as its digits: `429`, `5xx`. */
export function textOrNumber<T extends NonNullable<unknown>>(title: string, parse: (text: string) => T | Refusal, pattern?: string) {
	const digits = z.transform((given: unknown) => (typeof given === "number" ? String(given) : given));
	const schema = z.pipe(digits, text(title, parse));
	z.globalRegistry.add(schema, { title, type: ["string", "number"], ...(pattern === undefined ? {} : { pattern }) });
	return schema;
}

/** One text or a list of them, which is never empty. */
export function oneOrMore<T extends NonNullable<unknown>>(title: string, parse: (text: string) => T | Refusal, max: number) {
	const read = z.transform((given: unknown, { issues }): readonly T[] => {
		const items: readonly unknown[] = Array.isArray(given) ? given : [given];
		if (items.length === 0) issues.push({ code: "custom", message: "is empty\nat least 1", input: given });
		if (items.length > max) issues.push({ code: "custom", message: `is too long\nat most ${max} items`, input: given });
		const values: T[] = [];
		items.slice(0, max).forEach((item, i) => {
			const value = readText(item, parse);
			if (!isRefusal(value)) values.push(value);
			else issues.push({ code: "custom", message: says(value), input: item, path: items === given ? [i] : [] });
		});
		return values;
	});
	const schema = z.pipe(z.any(), read);
	const item = { type: "string", title };
	z.globalRegistry.add(schema, { title: `${title}, or a list of them`, anyOf: [item, { type: "array", items: item, minItems: 1, maxItems: max }] });
	return schema;
}

function readText<T>(given: unknown, parse: (text: string) => T | Refusal): T | Refusal {
	if (typeof given === "string") return parse(given);
	if (typeof given === "number" || typeof given === "boolean") return parseOther(parse, given);
	return { refused: "is not text", hint: "" };
}

// What comes from the environment is text, so numbers and booleans may be written as text.
export function integer(min: number, max: number) {
	const read = z.transform((v: unknown) => (typeof v === "string" && /^\d{1,9}$/.test(v) ? Number(v) : v));
	return z.pipe(read, z.number().check(z.int(), z.minimum(min), z.maximum(max)));
}

export function number(min: number, max: number) {
	const read = z.transform((v: unknown) => (typeof v === "string" && /^\d{1,12}(\.\d{1,12})?$/.test(v) ? Number(v) : v));
	return z.pipe(read, z.number().check(z.minimum(min), z.maximum(max)));
}

export const fraction = number(0, 1);
export const percent = number(0, 100);

export const flag = z.pipe(
	z.transform((v: unknown) => (v === "true" ? true : v === "false" ? false : v)),
	z.boolean(),
);

export function list<S extends z.core.$ZodType>(item: S, { min = 0, max }: { min?: number; max: number }) {
	const schema = z.array(item);
	return min === 0 ? schema.check(z.maxLength(max)) : schema.check(z.minLength(min), z.maxLength(max));
}

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
function fields<T>(parse: (key: string) => string | Refusal, value: z.core.$ZodType<T>) {
	return z.pipe(
		z.record(z.string(), value),
		z.transform((given, { issues }) => {
			const read = new Map<string, T>();
			for (const [key, entry] of Object.entries(given)) {
				const field = parse(key);
				if (isRefusal(field)) issues.push({ code: "custom", message: says(field), input: key, path: [key], params: { key: true } });
				else read.set(field, entry);
			}
			return read;
		}),
	);
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

function fieldMatch(parse: (text: string) => string | Refusal) {
	const read = z.transform((given: unknown, { issues }): FieldMatch => {
		const refuse = (refused: string, hint: string, path: string[] = []) => {
			issues.push({ code: "custom", message: says({ refused, hint }), input: given, path });
			return z.NEVER;
		};
		if (typeof given !== "object" || given === null) {
			const value = readText(given, parse);
			return isRefusal(value) ? refuse(value.refused, value.hint) : { kind: "exact", value };
		}
		const hint = "write its value, or one of { prefix: TEXT }, { present: true } and { absent: true }";
		const [[kind, value] = ["", ""], ...more] = Object.entries(given);
		if (more.length !== 0) return refuse("asks for several things at once", hint);
		if ((kind === "present" || kind === "absent") && (value === true || value === "true")) return { kind };
		if (kind !== "exact" && kind !== "prefix") return refuse("is no condition", hint);
		const text = readText(value, parse);
		return isRefusal(text) ? refuse(text.refused, text.hint, [kind]) : { kind, value: text };
	});
	const schema = z.pipe(z.any(), read);
	const text = { type: "string" };
	const only = { const: true };
	z.globalRegistry.add(schema, {
		title: "condition",
		anyOf: [
			text,
			{
				type: "object",
				properties: { exact: text, prefix: text, present: only, absent: only },
				additionalProperties: false,
				minProperties: 1,
				maxProperties: 1,
			},
		],
	});
	return schema;
}

/**
 * One of `words`, which `meaning` translates, or the mapping in full. Faults of the mapping keep their places; the scalar is never taken for one.
 */
export function wordOr<W extends string, S extends z.core.$ZodObject, M>(words: readonly [W, ...W[]], inFull: S, meaning: (word: W) => M) {
	const read = z.transform((given: unknown, { issues }): M | z.output<S> => {
		const word = words.find((known) => known === given);
		if (word !== undefined) return meaning(word);
		if (typeof given !== "object" || given === null || Array.isArray(given)) {
			issues.push({ code: "invalid_value", values: [...words], input: given });
			return z.NEVER;
		}
		const result = z.safeParse(inFull, given);
		if (result.success) return result.data;
		for (const issue of result.error.issues) issues.push({ ...issue, path: [...issue.path] } as z.core.$ZodRawIssue);
		return z.NEVER;
	});
	const schema = z.pipe(z.any(), read);
	const { $schema: _, ...keys } = z.toJSONSchema(inFull, { io: "input" });
	z.globalRegistry.add(schema, {
		title: `${words.map((word) => `\`${word}\``).join(", ")} or mapping`,
		anyOf: [{ type: "string", enum: words }, keys],
		inFull,
	});
	return schema;
}

/** The key names that `root` knows at a place, or nothing where any name may stand. */
export function keysAt(root: z.core.$ZodType, path: readonly (string | number)[]): readonly string[] {
	let schema = root;
	for (const step of path) {
		const inner: z.core.$ZodType | undefined = childOf(unwrap(schema), step);
		if (inner === undefined) return [];
		schema = inner;
	}
	const plain = unwrap(schema);
	return plain instanceof z.core.$ZodObject ? Object.keys(plain._zod.def.shape) : [];
}

function childOf(schema: z.core.$ZodType, step: string | number): z.core.$ZodType | undefined {
	if (schema instanceof z.core.$ZodObject) return schema._zod.def.shape[step];
	if (schema instanceof z.core.$ZodRecord) return schema._zod.def.valueType;
	return schema instanceof z.core.$ZodArray ? schema._zod.def.element : undefined;
}

function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
	if (schema instanceof z.core.$ZodDefault || schema instanceof z.core.$ZodOptional) return unwrap(schema._zod.def.innerType);
	const inFull = z.globalRegistry.get(schema)?.inFull;
	if (inFull instanceof z.core.$ZodObject) return inFull;
	return schema;
}
