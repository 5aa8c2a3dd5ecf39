/**
 * Shapes of plain values: what is accepted, what it is read into, and how editors are told of both. Ours, because every sidecar reads its policy
 * by them: a library of schemas took 12 MB and 40 ms of each start (docs/decisions/0095).
 */

export type Path = readonly (string | number)[];

/** What does not fit, in a form that becomes words in validate.ts. */
export type Problem =
	/** `message\nhint`. `atKey`: the key is at fault, not what stands there. */
	| { readonly code: "custom"; readonly message: string; readonly atKey?: boolean }
	/** `expected`: object, record, array, string, number, int, boolean. */
	| { readonly code: "type"; readonly expected: string }
	| { readonly code: "choice"; readonly values: readonly (string | number)[] }
	| { readonly code: "too_small" | "too_big"; readonly of: "items" | "number"; readonly limit: number }
	| { readonly code: "unknown_keys"; readonly keys: readonly string[] };

export type Issue = Problem & { readonly path: Path };

/** Read: it does not fit, and `issues` say why. */
export const NOTHING: unique symbol = Symbol("nothing");

/** Of one value and all that stands in it. */
export class Reading {
	readonly issues: Issue[] = [];
	readonly #path: (string | number)[] = [];

	/** Reads what stands under `step`. */
	within<Out>(step: string | number, shape: Shape<Out>, given: unknown): Out | typeof NOTHING {
		this.#path.push(step);
		const read = shape.read(given, this);
		this.#path.pop();
		return read;
	}

	/** `path`: from where the reading is. */
	tell(problem: Problem, path: Path = []): typeof NOTHING {
		this.issues.push({ ...problem, path: [...this.#path, ...path] });
		return NOTHING;
	}
}

/** The part of JSON Schema (2020-12) that comes out of shapes. */
export interface JsonSchema {
	readonly $schema?: string;
	readonly title?: string;
	readonly description?: string;
	readonly default?: unknown;
	readonly type?: string | readonly string[];
	readonly enum?: readonly unknown[];
	readonly const?: unknown;
	readonly pattern?: string;
	readonly minimum?: number;
	readonly maximum?: number;
	readonly minItems?: number;
	readonly maxItems?: number;
	readonly items?: JsonSchema;
	readonly properties?: Readonly<Record<string, JsonSchema>>;
	readonly required?: readonly string[];
	readonly propertyNames?: JsonSchema;
	readonly minProperties?: number;
	readonly maxProperties?: number;
	readonly additionalProperties?: JsonSchema | false;
	readonly anyOf?: readonly JsonSchema[];
}

export interface Shape<Out> {
	read(given: unknown, reading: Reading): Out | typeof NOTHING;
	/** As it is written, before defaults and units are applied. */
	readonly json: JsonSchema;
	/** What stands under a key, a name or a position; undefined where nothing can. */
	readonly under?: ((step: string | number) => Shape<unknown> | undefined) | undefined;
	/** The keys that it knows; undefined where any name may stand, or none. */
	readonly keys?: readonly string[] | undefined;
}

/** A key that may be left out. */
export interface Optional<Out> extends Shape<Out> {
	readonly leftOut: "nothing";
}

/** A key that may be left out, which means a value. */
export interface Defaulted<Out> extends Shape<Out> {
	readonly leftOut: "default";
	readonly byDefault: () => Out;
	/** The shape of what may be given. */
	readonly inner: Shape<Out>;
}

export type Output<S> = S extends Shape<infer Out> ? Out : never;

type Fields = Readonly<Record<string, Shape<unknown>>>;
type OptionalKeys<F extends Fields> = { [K in keyof F]: F[K] extends { readonly leftOut: "nothing" } ? K : never }[keyof F];
type Flat<T> = { [K in keyof T]: T[K] };
export type ObjectOutput<F extends Fields> = Flat<
	{ -readonly [K in Exclude<keyof F, OptionalKeys<F>>]: Output<F[K]> } & { -readonly [K in OptionalKeys<F>]?: Output<F[K]> | undefined }
>;

export interface ObjectShape<F extends Fields> extends Shape<ObjectOutput<F>> {
	readonly fields: F;
}

/** Reads `given` as a whole. */
export function readAs<Out>(
	shape: Shape<Out>,
	given: unknown,
): { readonly ok: true; readonly value: Out } | { readonly ok: false; readonly issues: readonly Issue[] } {
	const reading = new Reading();
	const value = shape.read(given, reading);
	return value === NOTHING || reading.issues.length > 0 ? { ok: false, issues: reading.issues } : { ok: true, value };
}

/** What is read where nothing is given. Throws where something must be. */
export function defaultsOf<Out>(shape: Shape<Out>): Out {
	const reading = readAs(shape, {});
	if (!reading.ok) throw new Error(`not all keys may be left out: ${reading.issues.map(({ path }) => path.join(".")).join(", ")}`);
	return reading.value;
}

/** A mapping of these keys and no others. */
export function object<F extends Fields>(fields: F): ObjectShape<F> {
	const keys = Object.keys(fields);
	const required = keys.filter((key) => !("leftOut" in (fields[key] as object)));
	return {
		fields,
		keys,
		under: (step) => (Object.hasOwn(fields, step) ? fields[step] : undefined),
		json: {
			type: "object",
			properties: Object.fromEntries(keys.map((key) => [key, (fields[key] as Shape<unknown>).json])),
			...(required.length === 0 ? {} : { required }),
			additionalProperties: false,
		},
		read(given, reading) {
			if (!isMapping(given)) return reading.tell({ code: "type", expected: "object" });
			const unknown = Object.keys(given).filter((key) => !Object.hasOwn(fields, key));
			let fits = unknown.length === 0;
			if (!fits) reading.tell({ code: "unknown_keys", keys: unknown });
			const out: Record<string, unknown> = {};
			for (const key of keys) {
				const shape = fields[key] as Shape<unknown> & Partial<Pick<Defaulted<unknown>, "byDefault">> & { leftOut?: string };
				const value = Object.hasOwn(given, key) ? given[key] : undefined;
				if (value === undefined && shape.leftOut !== undefined) {
					if (shape.byDefault !== undefined) out[key] = shape.byDefault();
					continue;
				}
				const read = reading.within(key, shape, value);
				if (read === NOTHING) fits = false;
				else out[key] = read;
			}
			return fits ? (out as ObjectOutput<F>) : NOTHING;
		},
	};
}

/** A mapping of any names. `names`: the pattern that editors are told. */
export function record<Out>(value: Shape<Out>, names?: string): Shape<Record<string, Out>> {
	return {
		under: () => value,
		json: {
			type: "object",
			propertyNames: names === undefined ? { type: "string" } : { type: "string", pattern: names },
			additionalProperties: value.json,
		},
		read(given, reading) {
			if (!isMapping(given)) return reading.tell({ code: "type", expected: "record" });
			const out: Record<string, Out> = {};
			let fits = true;
			for (const [name, one] of Object.entries(given)) {
				const read = reading.within(name, value, one);
				if (read === NOTHING) fits = false;
				else Object.defineProperty(out, name, { value: read, enumerable: true, configurable: true, writable: true });
			}
			return fits ? out : NOTHING;
		},
	};
}

export function list<Out>(item: Shape<Out>, { min = 0, max }: { readonly min?: number; readonly max: number }): Shape<Out[]> {
	return {
		under: () => item,
		json: { type: "array", items: item.json, ...(min === 0 ? {} : { minItems: min }), maxItems: max },
		read(given, reading) {
			if (!Array.isArray(given)) return reading.tell({ code: "type", expected: "array" });
			if (given.length < min) return reading.tell({ code: "too_small", of: "items", limit: min });
			if (given.length > max) return reading.tell({ code: "too_big", of: "items", limit: max });
			const out: Out[] = [];
			given.forEach((one, i) => {
				const read = reading.within(i, item, one);
				if (read !== NOTHING) out.push(read);
			});
			return out.length === given.length ? out : NOTHING;
		},
	};
}

export function choice<const V extends string | number>(values: readonly [V, ...V[]]): Shape<V> {
	return {
		json: { type: typeof values[0], enum: values },
		read: (given, reading) => values.find((value) => value === given) ?? reading.tell({ code: "choice", values }),
	};
}

/** `digits`: text of a number counts as well, as what comes from the environment is text. */
export function numeric({ min, max, whole, digits }: { min: number; max: number; whole: boolean; digits: RegExp }): Shape<number> {
	return {
		json: { type: whole ? "integer" : "number", minimum: min, maximum: max },
		read(given, reading) {
			const value = typeof given === "string" && digits.test(given) ? Number(given) : given;
			if (typeof value !== "number" || !Number.isFinite(value)) return reading.tell({ code: "type", expected: "number" });
			if (whole && !Number.isSafeInteger(value)) return reading.tell({ code: "type", expected: "int" });
			if (value < min) return reading.tell({ code: "too_small", of: "number", limit: min });
			return value > max ? reading.tell({ code: "too_big", of: "number", limit: max }) : value;
		},
	};
}

export const bool: Shape<boolean> = {
	json: { type: "boolean" },
	read(given, reading) {
		if (given === true || given === "true") return true;
		return given === false || given === "false" ? false : reading.tell({ code: "type", expected: "boolean" });
	},
};

/** A text of at most so many characters. */
export function string(charsMax: number): Shape<string> {
	return {
		json: { type: "string" },
		read(given, reading) {
			if (typeof given !== "string") return reading.tell({ code: "type", expected: "string" });
			return given.length > charsMax ? reading.tell({ code: "too_big", of: "number", limit: charsMax }) : given;
		},
	};
}

/** Read by hand. */
export function custom<Out>(json: JsonSchema, read: Shape<Out>["read"]): Shape<Out> {
	return { json, read };
}

/** The same, and editors are told more. */
export function told<S extends Shape<unknown>>(shape: S, facts: Pick<JsonSchema, "title" | "description" | "default">): S {
	return { ...shape, json: { ...facts, ...shape.json, ...facts } };
}

export function optional<Out>(shape: Shape<Out>): Optional<Out> {
	return { ...shape, leftOut: "nothing" };
}

/** `byDefault`: asked when it is left out. */
export function defaulted<Out>(shape: Shape<Out>, byDefault: () => Out): Defaulted<Out> {
	return { ...shape, leftOut: "default", byDefault, inner: shape };
}

/** The key names that are known at a place, or nothing where any name may stand. */
export function keysAt(root: Shape<unknown>, path: Path): readonly string[] {
	let shape: Shape<unknown> | undefined = root;
	for (const step of path) shape = shape?.under?.(step);
	return shape?.keys ?? [];
}

function isMapping(given: unknown): given is Readonly<Record<string, unknown>> {
	return typeof given === "object" && given !== null && !Array.isArray(given);
}
