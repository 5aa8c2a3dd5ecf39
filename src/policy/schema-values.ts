/**
 * The kinds of values that the policy's keys take, on zod's small build (3.4 MB and 8 ms less than the full one in every
 * sidecar); knows no key.
 */
import * as z from "zod/mini";
import { isRefusal, type Refusal } from "./fault.ts";
import { parseAddress, parseDuration, parseFieldName, parseFieldValue, parseName, parseTcpAddress } from "./values.ts";

// The deadlines of the data plane tick every 50 ms (core/deadline-wheel.ts), so shorter ones would be a promise not kept.
const DURATION_MIN_MS = 100;
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

/** A key that may be left out, which means `written`, in the notation of the policy. */
export function byDefault<S extends z.core.$ZodType>(schema: S, written: z.input<S>, description: string) {
	return described(z.prefault(schema, written as never), description);
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

// What comes from the environment is text, so numbers and booleans may be written as text.
export function integer(min: number, max: number) {
	const read = z.transform((v: unknown) => (typeof v === "string" && /^\d{1,9}$/.test(v) ? Number(v) : v));
	return z.pipe(read, z.number().check(z.int(), z.minimum(min), z.maximum(max)));
}

export const fraction = z.pipe(
	z.transform((v: unknown) => (typeof v === "string" && /^\d+(\.\d+)?$/.test(v) ? Number(v) : v)),
	z.number().check(z.minimum(0), z.maximum(1)),
);

export const flag = z.pipe(
	z.transform((v: unknown) => (v === "true" ? true : v === "false" ? false : v)),
	z.boolean(),
);

export function list<S extends z.core.$ZodType>(item: S, { min = 0, max }: { min?: number; max: number }) {
	const schema = z.array(item);
	return min === 0 ? schema.check(z.maxLength(max)) : schema.check(z.minLength(min), z.maxLength(max));
}

export const duration = text("duration", parseBoundedDuration, "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$");
export const listenAddress = text("address to listen on", (t) => parseTcpAddress(t, 0), "^(\\[[^\\]]*\\]|[^:]+):[0-9]+$");
export const anyAddress = text("address", parseAddress, "^(unix:/.*|(\\[[^\\]]*\\]|[^:]+):[0-9]+)$");
export const NAME_PATTERN = "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$";
export const name = text("name", parseName, NAME_PATTERN);

function parseBoundedDuration(given: string): number | Refusal {
	const ms = parseDuration(given);
	if (typeof ms !== "number") return ms;
	if (ms < DURATION_MIN_MS) return { refused: "is too short", hint: `at least ${DURATION_MIN_MS}ms` };
	return ms > DURATION_MAX_MS ? { refused: "is too long", hint: "at most 24h" } : ms;
}

/** Header fields: names in any case, given in lower case. */
export const headers = z.pipe(
	z.record(z.string(), text("header value", parseFieldValue)),
	z.transform((given, context) => {
		const fields = new Map<string, string>();
		for (const [key, value] of Object.entries(given)) {
			const field = parseFieldName(key);
			if (isRefusal(field)) context.issues.push({ code: "custom", message: says(field), input: key, path: [key], params: { key: true } });
			else fields.set(field, value);
		}
		return fields;
	}),
);

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
	if (schema instanceof z.core.$ZodPrefault || schema instanceof z.core.$ZodOptional) return unwrap(schema._zod.def.innerType);
	return schema;
}
