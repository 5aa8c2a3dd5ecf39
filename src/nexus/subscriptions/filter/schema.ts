/** The filter part of a subscription document: what it may say, as one source for what is checked and what /openapi.json shows. */
import { z } from "@hono/zod-openapi";
import { nearest } from "../../../policy/nearest.ts";
import { isAttributeName } from "./attributes.ts";
import { compileCesql, errorText } from "./cesql.ts";
import { EXPRESSION_CHARS_MAX, FAULTS_MAX, FILTER_DEPTH_MAX, FILTER_TERMS_MAX, NAME_CHARS_MAX, VALUE_CHARS_MAX } from "./limits.ts";

const DIALECTS = ["exact", "prefix", "suffix", "all", "any", "not", "sql"] as const;
const SHORT_KEYS = ["type", "source", "subject", "priorityMin", "metadata"] as const;

const value = z.string().min(1, "must not be empty").max(VALUE_CHARS_MAX, `is longer than ${VALUE_CHARS_MAX} characters`);

const attributeName = z
	.string()
	.max(NAME_CHARS_MAX, `is longer than ${NAME_CHARS_MAX} characters`)
	.refine(isAttributeName, "is not the name of an attribute: a-z and 0-9, and not `data`, which filters do not see");

/** What is wrong with the name, instead of zod's "Invalid key". */
const keyFault = { error: (issue: z.core.$ZodRawIssue) => (issue.code === "invalid_key" ? issue.issues[0]?.message : undefined) };

const attributes = (how: string) =>
	z
		.record(attributeName, value, keyFault)
		.refine((map) => Object.keys(map).length > 0, "names no attribute")
		.optional()
		.openapi({ description: `Attributes that must ${how}; all of them, in capitals and small letters as written.` });

const expression = z
	.string()
	.min(1, "must not be empty")
	.max(EXPRESSION_CHARS_MAX, `is longer than ${EXPRESSION_CHARS_MAX} characters`)
	.superRefine((text, context) => {
		const compiled = compileCesql(text);
		const error = compiled.ok ? compiled.expression.warnings[0] : compiled.error;
		if (error !== undefined) context.addIssue({ code: "custom", message: errorText(error) });
	})
	.optional()
	.openapi({ description: "A CESQL expression that must be true, without any error.", example: "type LIKE 'order.%' AND total > 100" });

/** One filter of the CloudEvents Subscriptions API: exactly one dialect. */
const dialect = z
	.strictObject(
		{
			exact: attributes("be equal to the values"),
			prefix: attributes("begin with the values"),
			suffix: attributes("end with the values"),
			get all(): z.ZodOptional<z.ZodArray<z.ZodType<FilterDialect>>> {
				return z.array(nested).min(1, "holds no filter").optional();
			},
			get any(): z.ZodOptional<z.ZodArray<z.ZodType<FilterDialect>>> {
				return z.array(nested).min(1, "holds no filter").optional();
			},
			get not(): z.ZodOptional<z.ZodType<FilterDialect>> {
				return nested.optional();
			},
			sql: expression,
		},
		{ error: (issue) => (issue.code === "unrecognized_keys" ? unknownKeys(issue.keys as string[], DIALECTS, "dialect") : undefined) },
	)
	.refine((filter) => Object.keys(filter).length === 1, {
		error: `must have exactly one of ${DIALECTS.join(", ")}`,
		// Of an unknown dialect one word is enough.
		when: ({ issues }) => issues.length === 0,
	})
	.openapi("FilterDialect", { description: "One filter of the CloudEvents Subscriptions API: exactly one dialect." });

const nested: z.ZodType<FilterDialect> = z.lazy(() => dialect as z.ZodType<FilterDialect>);

export interface FilterDialect {
	readonly exact?: Readonly<Record<string, string>> | undefined;
	readonly prefix?: Readonly<Record<string, string>> | undefined;
	readonly suffix?: Readonly<Record<string, string>> | undefined;
	readonly all?: readonly FilterDialect[] | undefined;
	readonly any?: readonly FilterDialect[] | undefined;
	readonly not?: FilterDialect | undefined;
	readonly sql?: string | undefined;
}

const scalar = z.union([value, z.boolean(), z.int32()], { error: "must be text, true, false or an integer of 32 bits" });

/** The short form: every condition that is given must hold. */
const shortForm = z
	.strictObject(
		{
			type: value.optional().openapi({ description: "Type of the events; `*` stands for any run of characters.", example: "order.*" }),
			source: value.optional().openapi({ description: "Source of the events, exactly." }),
			subject: value.optional().openapi({ description: "Subject of the events, exactly." }),
			priorityMin: z.int().min(0).max(9).optional().openapi({ description: "The least priority; an event without one counts as 0." }),
			metadata: z
				.record(
					attributeName,
					z.union([scalar, z.array(scalar).min(1, "holds no value")], { error: "must be text, true, false, an integer, or a list of these" }),
					keyFault,
				)
				.optional()
				.openapi({ description: "Further attributes, by name: a value, or a list of which one must be met.", example: { region: ["eu", "us"] } }),
		},
		{ error: (issue) => (issue.code === "unrecognized_keys" ? unknownKeys(issue.keys as string[], SHORT_KEYS, "condition") : undefined) },
	)
	.openapi("ShortFilter");

/** For the document of a subscription: `filter` or `filters`, or neither for every event. */
export const filterFields = {
	filter: bounded(shortForm).optional(),
	filters: bounded(z.array(dialect)).optional().openapi({ description: "Filters of the CloudEvents Subscriptions API; an event must pass all." }),
};

/** A refinement of that document. */
export const ONE_FILTER = {
	check: (part: FilterPart): boolean => part.filter === undefined || part.filters === undefined,
	message: "filter and filters exclude each other: write the short form as one of filters",
} as const;

export const filterPart = z.strictObject(filterFields).refine(ONE_FILTER.check, ONE_FILTER.message);

export interface FilterPart {
	readonly filter?: ShortFilter | undefined;
	readonly filters?: readonly FilterDialect[] | undefined;
}

export type ShortFilter = z.output<typeof shortForm>;

export interface FilterFault {
	/** As in `filters[0].any[2].sql`; empty for the whole. */
	readonly path: string;
	readonly message: string;
}

export function filterFaults(error: z.ZodError): FilterFault[] {
	return error.issues.slice(0, FAULTS_MAX).map(({ path, message }) => ({ path: pathText(path), message }));
}

function pathText(path: readonly PropertyKey[]): string {
	return path.reduce<string>((text, part) => text + (typeof part === "number" ? `[${part}]` : `${text === "" ? "" : "."}${String(part)}`), "");
}

/** Judges how deep and how large a value is before anything walks into it. */
function bounded<S extends z.ZodType>(schema: S) {
	return z.preprocess((given, context) => {
		const size = { terms: 0 };
		if (depthOf(given, size) > FILTER_DEPTH_MAX * 2)
			context.addIssue({ code: "custom", message: `stands more than ${FILTER_DEPTH_MAX} filters deep` });
		else if (size.terms > FILTER_TERMS_MAX) context.addIssue({ code: "custom", message: `has more than ${FILTER_TERMS_MAX} conditions` });
		return given;
	}, schema);
}

/** Of lists and objects in each other; never goes deeper than what is refused, and counts the scalars that it meets. */
function depthOf(given: unknown, size: { terms: number }, depth = 0): number {
	if (typeof given !== "object" || given === null) {
		size.terms++;
		return depth;
	}
	let deepest = depth + 1;
	if (deepest > FILTER_DEPTH_MAX * 2 || size.terms > FILTER_TERMS_MAX) return deepest;
	for (const part of Object.values(given)) deepest = Math.max(deepest, depthOf(part, size, depth + 1));
	return deepest;
}

function unknownKeys(keys: readonly string[], known: readonly string[], what: string): string {
	const key = String(keys[0]).slice(0, NAME_CHARS_MAX);
	const meant = key === "cesql" ? "sql" : nearest(key, known);
	return `unknown ${what} ${JSON.stringify(key)}${meant === undefined ? `: there are ${known.join(", ")}` : `; ${meant} is near`}`;
}
