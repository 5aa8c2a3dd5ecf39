/** config/policy.schema.json: what editors complete and check while a policy is written. */
import * as z from "zod/mini";
import { policySchema } from "../../src/policy/schema.ts";
import type { Page } from "../generate.ts";

/** The part of JSON Schema that comes out of the policy's schema. */
export interface JsonSchema {
	readonly type?: string | readonly string[];
	readonly title?: string;
	readonly description?: string;
	readonly default?: unknown;
	readonly pattern?: string;
	readonly enum?: readonly unknown[];
	readonly minimum?: number;
	readonly maximum?: number;
	readonly minProperties?: number;
	readonly properties?: Readonly<Record<string, JsonSchema>>;
	readonly required?: readonly string[];
	readonly additionalProperties?: JsonSchema | false;
	readonly items?: JsonSchema;
	readonly anyOf?: readonly JsonSchema[];
}

/** As the policy is written, before defaults and units are applied. */
export function policyJsonSchema(): JsonSchema {
	return z.toJSONSchema(policySchema, { io: "input" }) as JsonSchema;
}

export const policySchemaPage: Page = {
	file: "config/policy.schema.json",
	render: () => `${JSON.stringify(allowVariables(policyJsonSchema()), null, "\t")}\n`,
};

// Any value may be, or hold, ${NAME}; an editor cannot know what that becomes.
const VARIABLE = "\\$\\{";

function allowVariables(schema: JsonSchema): object {
	const { properties, items, additionalProperties, ...rest } = schema;
	const { anyOf } = schema;
	if (anyOf?.some((one) => one.properties !== undefined) === true)
		return { ...rest, anyOf: [...anyOf.map(allowVariables), { type: "string", pattern: VARIABLE }] };
	if (properties !== undefined || items !== undefined || additionalProperties !== undefined) {
		return {
			...rest,
			...(properties && { properties: Object.fromEntries(Object.entries(properties).map(([key, value]) => [key, allowVariables(value)])) }),
			...(items && { items: allowVariables(items) }),
			...(additionalProperties !== undefined && { additionalProperties: additionalProperties && allowVariables(additionalProperties) }),
		};
	}
	if (rest.pattern !== undefined) return { ...rest, pattern: `${rest.pattern}|${VARIABLE}` };
	if (rest.type === "string" && rest.enum === undefined) return rest;
	const { title, description, default: byDefault, ...value } = rest;
	return {
		...(title !== undefined && { title }),
		...(description !== undefined && { description }),
		...(byDefault !== undefined && { default: byDefault }),
		anyOf: [value, { type: "string", pattern: VARIABLE }],
	};
}
