/** config/policy.schema.json: what editors complete and check while a policy is written. */
import { policySchema } from "../../src/policy/schema.ts";
import type { JsonSchema } from "../../src/policy/shape.ts";
import type { Page } from "../generate.ts";

/** As the policy is written, before defaults and units are applied. */
export function policyJsonSchema(): JsonSchema {
	return { $schema: "https://json-schema.org/draft/2020-12/schema", ...policySchema.json };
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
