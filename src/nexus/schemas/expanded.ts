/** A schema with every reference replaced by what it stands for, and without what only people read: so that two can be compared as they are. */
import { isObject, isSchema, type JsonObject, type JsonSchema, ONE_SCHEMA, resolveReference, SCHEMA_LIST, SCHEMA_MAP } from "./schema-document.ts";

const ANNOTATIONS = new Set([
	...["title", "description", "default", "deprecated", "readOnly", "writeOnly", "examples", "$comment"],
	...["$schema", "$id", "$defs", "$ref"],
]);

/** `document` has been judged: no reference leads out of it or back to itself, and what becomes of it is bounded. */
export function expanded(document: JsonSchema): JsonSchema {
	return expand(document, document);
}

function expand(document: JsonSchema, schema: unknown): JsonSchema {
	if (!isSchema(schema)) return true;
	if (!isObject(schema)) return schema;
	const own: Record<string, unknown> = {};
	for (const [keyword, value] of Object.entries(schema)) if (!ANNOTATIONS.has(keyword)) own[keyword] = expandValue(document, keyword, value);
	if (typeof schema.$ref !== "string") return own;
	const target = expand(document, resolveReference(document, schema.$ref));
	return Object.keys(own).length === 0 ? target : { allOf: [target, own] };
}

function expandValue(document: JsonSchema, keyword: string, value: unknown): unknown {
	if (ONE_SCHEMA.includes(keyword)) return expand(document, value);
	if (SCHEMA_LIST.includes(keyword) && Array.isArray(value)) return value.map((one) => expand(document, one));
	if (SCHEMA_MAP.includes(keyword) && isObject(value)) return expandMap(document, value);
	return value;
}

function expandMap(document: JsonSchema, map: JsonObject): JsonObject {
	return Object.fromEntries(Object.entries(map).map(([name, one]) => [name, expand(document, one)]));
}
