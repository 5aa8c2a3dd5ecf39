/** A schema of zod as a shape, so that the configuration of Nexus is checked and told like a policy. */
import { z } from "zod";
import { NOTHING, type Problem, type Shape } from "../../policy/shape.ts";

export function zodShape<T>(schema: z.ZodType<T>): Shape<T> {
	return {
		json: {},
		under: (step) => childOf(unwrapped(schema), step),
		keys: keysOf(unwrapped(schema)),
		read(given, reading) {
			const result = schema.safeParse(given);
			if (result.success) return result.data;
			for (const issue of result.error.issues) reading.tell(problemOf(issue), issue.path as (string | number)[]);
			return NOTHING;
		},
	};
}

function problemOf(issue: z.core.$ZodIssue): Problem {
	switch (issue.code) {
		case "unrecognized_keys":
			return { code: "unknown_keys", keys: issue.keys };
		case "invalid_type":
			return { code: "type", expected: issue.expected };
		case "invalid_value":
			return { code: "choice", values: issue.values.map((value) => (typeof value === "number" ? value : String(value))) };
		case "too_small":
			return { code: "too_small", of: issue.origin === "array" ? "items" : "number", limit: Number(issue.minimum) };
		case "too_big":
			return { code: "too_big", of: issue.origin === "array" ? "items" : "number", limit: Number(issue.maximum) };
		case "custom":
			return { code: "custom", message: issue.message, ...(issue.params?.key === true && { atKey: true }) };
		default:
			return { code: "custom", message: `is not valid\n${issue.message}` };
	}
}

function keysOf(schema: z.core.$ZodType): readonly string[] | undefined {
	return schema instanceof z.ZodObject ? Object.keys(schema.shape) : undefined;
}

function childOf(schema: z.core.$ZodType, step: string | number): Shape<unknown> | undefined {
	const child: unknown =
		schema instanceof z.ZodObject
			? (schema.shape as Record<string, unknown>)[step]
			: schema instanceof z.ZodRecord
				? schema.valueType
				: schema instanceof z.ZodArray
					? schema.element
					: undefined;
	return child === undefined ? undefined : zodShape(child as z.ZodType<unknown>);
}

function unwrapped(schema: z.core.$ZodType): z.core.$ZodType {
	if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault) return unwrapped(schema.unwrap() as z.core.$ZodType);
	return schema;
}
