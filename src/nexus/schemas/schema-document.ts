/** Judges a JSON Schema (2020-12) before it is compiled: what it may say, and what it may cost. Bounds stand here, the meaning of keywords elsewhere. */
import { nearest } from "../../policy/nearest.ts";
import { FORMATS } from "./formats.ts";
import { REASONS_MAX, SCHEMA_BYTES_MAX, SCHEMA_COST_MAX, SCHEMA_DEPTH_MAX, UNIQUE_ITEMS_MAX } from "./limits.ts";
import { compileLinearPattern } from "./linear-pattern.ts";

/** A document, or any schema in it. */
export type JsonSchema = boolean | JsonObject;
export interface JsonObject {
	readonly [keyword: string]: unknown;
}

export interface SchemaFault {
	/** JSON pointer into the document. */
	readonly path: string;
	readonly message: string;
}

const DIALECT = "https://json-schema.org/draft/2020-12/schema";
/** Keywords that hold one schema, a list of schemas, and schemas by name. */
export const ONE_SCHEMA: readonly string[] = [
	"items",
	"additionalProperties",
	"propertyNames",
	"contains",
	"not",
	"if",
	"then",
	"else",
	"unevaluatedItems",
	"unevaluatedProperties",
];
export const SCHEMA_LIST: readonly string[] = ["allOf", "anyOf", "oneOf", "prefixItems"];
export const SCHEMA_MAP: readonly string[] = ["properties", "patternProperties", "dependentSchemas"];
const PLAIN = [
	...["type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength", "minLength", "maxItems"],
	...["minItems", "maxContains", "minContains", "maxProperties", "minProperties", "required", "dependentRequired", "title", "description", "default"],
	...["deprecated", "readOnly", "writeOnly", "examples", "$comment", "contentEncoding", "contentMediaType"],
];
const KEYWORDS = new Set([
	...ONE_SCHEMA,
	...SCHEMA_LIST,
	...SCHEMA_MAP,
	...PLAIN,
	"$defs",
	"$ref",
	"$schema",
	"$id",
	"pattern",
	"format",
	"uniqueItems",
]);

/** Empty where it may be compiled. `document` is a JSON value. */
export function schemaFaults(document: unknown): SchemaFault[] {
	if (!isSchema(document)) return [{ path: "", message: "a schema is a JSON object, true or false" }];
	// Before anything that would go down as deep as the document does.
	if (isDeeper(document, SCHEMA_DEPTH_MAX))
		return [{ path: "", message: `lists and objects stand more than ${SCHEMA_DEPTH_MAX} deep in each other` }];
	const bytes = Buffer.byteLength(JSON.stringify(document));
	if (bytes > SCHEMA_BYTES_MAX) return [{ path: "", message: `the schema has ${bytes} bytes, more than ${SCHEMA_BYTES_MAX}` }];
	return new DocumentJudge(document).judge().slice(0, REASONS_MAX);
}

/** Where a reference within the document points to; undefined where nothing stands. */
export function resolveReference(document: JsonSchema, reference: string): unknown {
	let found: unknown = document;
	for (const part of pointerParts(reference)) {
		if (typeof found !== "object" || found === null || !Object.hasOwn(found, part)) return undefined;
		found = (found as JsonObject)[part];
	}
	return found;
}

export function isSchema(value: unknown): value is JsonSchema {
	return typeof value === "boolean" || isObject(value);
}

export function isObject(value: unknown): value is JsonObject {
	return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The schemas directly in a schema, without its `$defs`. */
function* children(schema: JsonObject): Generator<readonly [path: string, schema: unknown]> {
	for (const keyword of ONE_SCHEMA) if (schema[keyword] !== undefined) yield [`/${keyword}`, schema[keyword]];
	for (const keyword of SCHEMA_LIST) {
		const list = schema[keyword];
		if (Array.isArray(list)) yield* list.map((one, i) => [`/${keyword}/${i}`, one] as const);
	}
	for (const keyword of SCHEMA_MAP) yield* members(schema, keyword);
}

function* members(schema: JsonObject, keyword: string): Generator<readonly [path: string, schema: unknown]> {
	const map = schema[keyword];
	if (isObject(map)) for (const [name, one] of Object.entries(map)) yield [`/${keyword}/${escapePointer(name)}`, one];
}

class DocumentJudge {
	readonly #document: JsonSchema;
	readonly #faults: SchemaFault[] = [];
	readonly #schemas = new Set<unknown>();
	/** How often a value is looked at by a schema and all that it holds; 0 while that is being found out. */
	readonly #costs = new Map<unknown, number>();

	constructor(document: JsonSchema) {
		this.#document = document;
	}

	judge(): SchemaFault[] {
		this.#walk(this.#document, "");
		if (this.#faults.length === 0) {
			for (const schema of this.#schemas) this.#cost(schema);
			const cost = this.#costs.get(this.#document) ?? 0;
			if (cost > SCHEMA_COST_MAX)
				this.#fault("", `it holds ${cost} schemas, each counted as often as it is referred to; ${SCHEMA_COST_MAX} are allowed`);
		}
		return this.#faults;
	}

	#walk(schema: unknown, path: string): void {
		if (this.#faults.length >= REASONS_MAX) return;
		if (!isSchema(schema)) {
			this.#fault(path, "a schema is an object, true or false");
			return;
		}
		if (typeof schema === "boolean") return;
		this.#schemas.add(schema);
		for (const keyword of Object.keys(schema)) this.#keyword(schema, keyword, path);
		for (const [place, child] of children(schema)) this.#walk(child, path + place);
		for (const [place, child] of members(schema, "$defs")) this.#walk(child, path + place);
	}

	#keyword(schema: JsonObject, keyword: string, path: string): void {
		const value = schema[keyword];
		const at = `${path}/${escapePointer(keyword)}`;
		switch (keyword) {
			case "$ref":
				if (typeof value !== "string" || (value !== "#" && !value.startsWith("#/"))) {
					this.#fault(at, "only references within the document are followed, as in #/$defs/name: nothing is fetched");
				}
				break;
			case "$schema":
				if (value !== DIALECT) this.#fault(at, `must be ${DIALECT}`);
				break;
			case "$id":
				if (path !== "") this.#fault(at, "only the document as a whole has an identity");
				break;
			case "pattern":
				if (typeof value === "string") this.#pattern(value, at);
				break;
			case "patternProperties":
				if (isObject(value)) for (const pattern of Object.keys(value)) this.#pattern(pattern, `${at}/${escapePointer(pattern)}`);
				break;
			case "format":
				if (typeof value === "string" && !FORMATS.has(value))
					this.#fault(at, `is not a format that is checked; there are ${[...FORMATS.keys()].join(", ")}`);
				break;
			case "uniqueItems":
				if (value === true && !(typeof schema.maxItems === "number" && schema.maxItems <= UNIQUE_ITEMS_MAX)) {
					this.#fault(at, `needs maxItems of at most ${UNIQUE_ITEMS_MAX} beside it: all members are compared with all others`);
				}
				break;
			default:
				if (!KEYWORDS.has(keyword)) this.#unknown(keyword, at);
		}
	}

	#pattern(pattern: string, at: string): void {
		const compiled = compileLinearPattern(pattern);
		if (!compiled.ok) this.#fault(at, `the pattern ${compiled.reason}`);
	}

	#unknown(keyword: string, at: string): void {
		const meant = nearest(keyword, KEYWORDS);
		const hint = meant === undefined ? "" : `; ${meant} is near`;
		this.#fault(at, `is no keyword that is supported${hint}`);
	}

	/** References make a graph of the document; a cycle would have no end that the document names. */
	#cost(schema: unknown): number {
		const known = this.#costs.get(schema);
		if (known === 0) {
			if (this.#faults.length === 0) this.#fault("", "a schema refers to itself: recursion is not supported, since its cost has no bound");
			return 1;
		}
		if (known !== undefined) return known;
		if (!isObject(schema)) return 1;
		this.#costs.set(schema, 0);
		let cost = 1;
		for (const [, child] of children(schema)) cost += this.#cost(child);
		if (typeof schema.$ref === "string") {
			const target = resolveReference(this.#document, schema.$ref);
			if (typeof target !== "boolean" && !this.#schemas.has(target)) this.#fault("", `there is no schema at ${schema.$ref.slice(0, 100)}`);
			else cost += this.#cost(target);
		}
		this.#costs.set(schema, cost);
		return cost;
	}

	#fault(path: string, message: string): void {
		this.#faults.push({ path, message });
	}
}

function isDeeper(value: unknown, most: number): boolean {
	if (typeof value !== "object" || value === null) return false;
	return most === 0 || Object.values(value).some((part) => isDeeper(part, most - 1));
}

function pointerParts(reference: string): string[] {
	return reference
		.slice(1)
		.split("/")
		.slice(1)
		.map((part) => decode(part).replaceAll("~1", "/").replaceAll("~0", "~"));
}

function decode(part: string): string {
	try {
		return decodeURIComponent(part);
	} catch {
		// URIError is how the language says "malformed": then it stands for itself.
		return part;
	}
}

function escapePointer(part: string): string {
	return part.replaceAll("~", "~0").replaceAll("/", "~1");
}
