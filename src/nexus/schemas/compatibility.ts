/** Whether data that one version of a schema allows is allowed by another, and if not, why. In doubt the answer is no, with the place of the doubt. */
import { isDeepStrictEqual } from "node:util";
import { expanded } from "./expanded.ts";
import { REASONS_MAX } from "./limits.ts";
import { isObject, type JsonObject, type JsonSchema, type SchemaFault } from "./schema-document.ts";

/**
 * `backward`: what was valid stays valid, so that consumers may change first, and old events are read again. `forward`: what becomes valid was valid
 * before, so that producers may change first. `full`: both.
 */
export type Compatibility = "backward" | "forward" | "full" | "none";
export const COMPATIBILITIES: readonly Compatibility[] = ["backward", "forward", "full", "none"];

const TYPES = ["array", "boolean", "null", "number", "object", "string"];
/** What is allowed is more where the number is greater, or less. */
const UPPER_BOUNDS = ["maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains"];
const LOWER_BOUNDS = ["minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains"];
/** Whatever they say, the same is the same; another is not looked into. */
const OPAQUE = [
	...["pattern", "format", "patternProperties", "propertyNames", "dependentRequired", "dependentSchemas", "contains", "not", "if", "then", "else"],
	...["allOf", "unevaluatedItems", "unevaluatedProperties", "contentEncoding", "contentMediaType"],
];
/** What these look at counts as named for `unevaluatedProperties` and `unevaluatedItems`. */
const EVALUATING = ["allOf", "anyOf", "oneOf", "if", "then", "else", "dependentSchemas", "contains"];

/** Empty where the change is allowed. Both documents have been judged: they refer to nothing outside, and never to themselves. */
export function changeFaults(older: JsonSchema, newer: JsonSchema, mode: Compatibility): SchemaFault[] {
	const [before, after] = [expanded(older), expanded(newer)];
	const faults: SchemaFault[] = [];
	if (mode === "backward" || mode === "full") faults.push(...new Comparison("what was valid may not be any more").compare(before, after));
	if (mode === "forward" || mode === "full") faults.push(...new Comparison("what becomes valid was not before").compare(after, before));
	return faults.slice(0, REASONS_MAX);
}

/** Looks for what `from` allows and `to` does not. */
class Comparison {
	readonly #meaning: string;
	#faults: SchemaFault[] = [];

	constructor(meaning: string) {
		this.#meaning = meaning;
	}

	compare(from: JsonSchema, to: JsonSchema): readonly SchemaFault[] {
		this.#schemas(from, to, "");
		return this.#faults;
	}

	/** Both are schemas: booleans or objects. */
	#schemas(from: unknown, to: unknown, path: string): void {
		if (this.#faults.length >= REASONS_MAX || to === true || from === false || isDeepStrictEqual(from, to)) return;
		if (!isObject(to)) {
			this.#fault(path, "is forbidden on one side");
			return;
		}
		const [allowed, asked] = [isObject(from) ? from : {}, to];
		this.#values(allowed, asked, path);
		this.#types(allowed, asked, path);
		this.#bounds(allowed, asked, path);
		this.#required(allowed, asked, path);
		this.#properties(allowed, asked, path);
		this.#items(allowed, asked, path);
		for (const keyword of ["anyOf", "oneOf"]) this.#choices(allowed, asked, keyword, path);
		for (const keyword of OPAQUE) {
			if (asked[keyword] !== undefined && !isDeepStrictEqual(allowed[keyword], asked[keyword])) {
				this.#fault(`${path}/${keyword}`, "differs, and is only compared as a whole");
			}
		}
	}

	#values(from: JsonObject, to: JsonObject, path: string): void {
		const asked = namedValues(to);
		if (asked === undefined) return;
		const allowed = namedValues(from);
		if (allowed === undefined) {
			this.#fault(path, "is one of named values on one side only");
			return;
		}
		const missing = allowed.filter((value) => !asked.some((one) => isDeepStrictEqual(one, value)));
		if (missing.length > 0) this.#fault(path, `${missing.map((value) => JSON.stringify(value)).join(", ")} is a value on one side only`);
	}

	#types(from: JsonObject, to: JsonObject, path: string): void {
		if (to.type === undefined) return;
		const asked = typesOf(to);
		const lost = typesOf(from).filter((type) => !asked.includes(type) && !(type === "integer" && asked.includes("number")));
		if (lost.length > 0) this.#fault(`${path}/type`, `${lost.join(", ")} ${lost.length === 1 ? "is" : "are"} taken on one side only`);
	}

	#bounds(from: JsonObject, to: JsonObject, path: string): void {
		for (const keyword of [...UPPER_BOUNDS, ...LOWER_BOUNDS]) {
			const asked = boundOf(to, keyword);
			if (typeof asked !== "number" || (keyword === "minContains" && from.contains === undefined)) continue;
			const allowed = boundOf(from, keyword);
			const isWithin = typeof allowed === "number" && (UPPER_BOUNDS.includes(keyword) ? allowed <= asked : allowed >= asked);
			if (!isWithin) this.#fault(`${path}/${keyword}`, `${asked} is narrower than ${typeof allowed === "number" ? allowed : "no bound"}`);
		}
		if (typeof to.multipleOf === "number" && !(typeof from.multipleOf === "number" && from.multipleOf % to.multipleOf === 0)) {
			this.#fault(`${path}/multipleOf`, `${to.multipleOf} is narrower than ${String(from.multipleOf ?? "no bound")}`);
		}
		if (to.uniqueItems === true && from.uniqueItems !== true) this.#fault(`${path}/uniqueItems`, "is asked on one side only");
	}

	#required(from: JsonObject, to: JsonObject, path: string): void {
		const given = names(from.required);
		for (const name of names(to.required)) {
			if (!given.includes(name)) this.#fault(`${path}/required`, `${JSON.stringify(name)} is required on one side only`);
		}
	}

	/** A property that a side does not name is taken as one that its data does not have: who adds an optional one breaks nobody. */
	#properties(from: JsonObject, to: JsonObject, path: string): void {
		const allowed = isObject(from.properties) ? from.properties : {};
		const asked = isObject(to.properties) ? to.properties : {};
		const rest = to.additionalProperties ?? to.unevaluatedProperties ?? true;
		for (const [name, schema] of Object.entries(allowed)) {
			if (schema === false) continue;
			const other = Object.hasOwn(asked, name) ? asked[name] : rest;
			if (other === false) this.#fault(`${path}/properties/${name}`, "is allowed on one side only");
			else this.#schemas(schema, other, `${path}/properties/${name}`);
		}
		const others = from.additionalProperties ?? from.unevaluatedProperties ?? true;
		// Data that may have any property by name, as maps do, has also those.
		if (isObject(others)) {
			for (const [name, schema] of Object.entries(asked)) {
				if (!Object.hasOwn(allowed, name)) this.#schemas(others, schema, `${path}/properties/${name}`);
			}
		}
		const unnamed = unnamedOf(from, to, "additionalProperties", "unevaluatedProperties", ["patternProperties"]);
		const place = `${path}/${to.additionalProperties === undefined && rest !== true ? "unevaluatedProperties" : "additionalProperties"}`;
		if (rest === false && unnamed !== false) this.#fault(place, "other properties are allowed on one side only");
		else this.#schemas(unnamed, rest, place);
	}

	#items(from: JsonObject, to: JsonObject, path: string): void {
		const allowed = Array.isArray(from.prefixItems) ? from.prefixItems : [];
		const asked = Array.isArray(to.prefixItems) ? to.prefixItems : [];
		const unnamed = unnamedOf(from, to, "items", "unevaluatedItems", []);
		const rest = to.items ?? to.unevaluatedItems ?? true;
		for (let i = 0; i < Math.max(allowed.length, asked.length); i++) {
			this.#schemas(allowed[i] ?? unnamed, asked[i] ?? rest, `${path}/prefixItems/${i}`);
		}
		this.#schemas(unnamed, rest, `${path}/${to.items === undefined ? "unevaluatedItems" : "items"}`);
	}

	/** Each choice of one side must be a choice of the other; of `oneOf` the same ones, since more could be true of one value then. */
	#choices(from: JsonObject, to: JsonObject, keyword: string, path: string): void {
		const asked = to[keyword];
		const allowed = from[keyword];
		if (!Array.isArray(asked) || isDeepStrictEqual(allowed, asked)) return;
		if (keyword === "oneOf" || !Array.isArray(allowed)) {
			this.#fault(`${path}/${keyword}`, "differs, and is only compared as a whole");
			return;
		}
		allowed.forEach((choice, i) => {
			if (!asked.some((other) => this.#fits(choice, other))) this.#fault(`${path}/${keyword}/${i}`, "is a choice on one side only");
		});
	}

	#fits(choice: unknown, other: unknown): boolean {
		const faults = this.#faults;
		this.#faults = [];
		this.#schemas(choice, other, "");
		const fits = this.#faults.length === 0;
		this.#faults = faults;
		return fits;
	}

	#fault(path: string, message: string): void {
		this.#faults.push({ path, message: `${message}: ${this.#meaning}` });
	}
}

/** `minContains` is 1 where nothing else is said. */
function boundOf(schema: JsonObject, keyword: string): unknown {
	return schema[keyword] ?? (keyword === "minContains" && schema.contains !== undefined ? 1 : undefined);
}

/** What `from` says of members that it does not name; anything, where it lets them through by what `to` does not have as well. */
function unnamedOf(from: JsonObject, to: JsonObject, near: string, far: string, beside: readonly string[]): unknown {
	if (from[near] !== undefined) return hasAll(from, to, beside) ? from[near] : true;
	return to[near] === undefined && hasAll(from, to, [...beside, ...EVALUATING]) ? (from[far] ?? true) : true;
}

function hasAll(from: JsonObject, to: JsonObject, keywords: readonly string[]): boolean {
	return keywords.every((keyword) => from[keyword] === undefined || isDeepStrictEqual(from[keyword], to[keyword]));
}

function namedValues(schema: JsonObject): readonly unknown[] | undefined {
	if (Object.hasOwn(schema, "const")) return [schema.const];
	return Array.isArray(schema.enum) ? schema.enum : undefined;
}

function typesOf(schema: JsonObject): readonly string[] {
	if (schema.type !== undefined) return names(Array.isArray(schema.type) ? schema.type : [schema.type]);
	const values = namedValues(schema);
	return values === undefined ? TYPES : [...new Set(values.map(typeOfValue))];
}

function typeOfValue(value: unknown): string {
	if (value === null) return "null";
	if (Array.isArray(value)) return "array";
	return Number.isInteger(value) ? "integer" : typeof value;
}

function names(value: unknown): readonly string[] {
	return Array.isArray(value) ? value.filter((name) => typeof name === "string") : [];
}
