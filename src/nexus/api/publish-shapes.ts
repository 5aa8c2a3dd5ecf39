/** Shapes of the API about schemas and parked events: one source for what is checked and what /openapi.json says. */
import { z } from "@hono/zod-openapi";
import { ON_VIOLATION } from "../publish/event-schemas.ts";
import { REPLAY_MAX } from "../publish/limits.ts";
import { COMPATIBILITIES } from "../schemas/compatibility.ts";
import { AFTER, limitQuery, nextPlace } from "./pages.ts";

const type = z.string().min(1).max(256).openapi({ description: "Type of the events.", example: "shop.order.placed" });
const document = z
	.union([z.boolean(), z.record(z.string(), z.unknown())])
	.openapi({ description: "JSON Schema 2020-12 of `data`; recursion and references to other documents are not taken." });
const compatibility = z.enum(COMPATIBILITIES).openapi({
	description:
		"What is asked of a change. `backward`: who reads by the new schema reads old events; `forward`: who reads by the old one reads new events; `full`: both; `none`: nothing, and what was before is not compared any more.",
});
const onViolation = z.enum(ON_VIOLATION).openapi({
	description: "What becomes of an event whose data is not valid: refused, and its sender told; or parked beside the log, to be published later.",
});

export const typeParam = z.object({ type: type.openapi({ param: { name: "type", in: "path" } }) });
export const versionParam = typeParam.extend({
	version: z
		.string()
		.regex(/^[1-9]\d{0,2}$/)
		.openapi({ param: { name: "version", in: "path" }, type: "integer", minimum: 1, maximum: 999 }),
});

export const schemaRequest = z
	.strictObject({ schema: document, compatibility: compatibility.optional(), onViolation: onViolation.optional() })
	.openapi("SchemaRequest", { description: "What is left out stays as it was; for a new type it is `backward` and `refuse`." });

export const schemaAnswer = z
	.object({
		type,
		version: z.int().min(1),
		compatibility,
		onViolation,
		isBuiltIn: z.boolean(),
		createdAt: z.string().nullable().openapi({ format: "date-time", description: "Null for what is built in." }),
		createdBy: z.string(),
		schema: document,
	})
	.openapi("EventSchema");

export const schemasAnswer = z
	.object({ schemas: z.array(schemaAnswer.omit({ schema: true })).openapi({ description: "The latest version of each type." }), next: nextPlace })
	.openapi("EventSchemas");
export const versionsAnswer = z.object({ versions: z.array(schemaAnswer) }).openapi("EventSchemaVersions");

const key = z
	.string()
	.regex(/^[A-Za-z0-9_-]{43}$/, "is no key of a parked event")
	.openapi({ description: "Stands for (source, id)." });
export const keyParam = z.object({ key: key.openapi({ param: { name: "key", in: "path" } }) });

export const parkedQuery = z.strictObject({
	type: type.optional(),
	after: key.optional().openapi(AFTER),
	limit: limitQuery("Events, of 4 MiB at most and one more,"),
});

export const parkedAnswer = z
	.object({
		key,
		type: z.string(),
		source: z.string(),
		id: z.string(),
		reason: z.string().openapi({ description: "What its schema said." }),
		parkedAt: z.string().openapi({ format: "date-time" }),
		event: z.record(z.string(), z.unknown()),
	})
	.openapi("ParkedEvent");
export const parkedPage = z.object({ events: z.array(parkedAnswer), next: nextPlace }).openapi("ParkedEvents");

export const replayRequest = z
	.strictObject({
		keys: z.array(key).min(1).max(REPLAY_MAX).optional().openapi({ description: "These alone." }),
		type: type.optional().openapi({ description: "Those of this type." }),
		limit: z.int().min(1).max(REPLAY_MAX).default(REPLAY_MAX),
	})
	.openapi("ParkedReplayRequest");
export const replayAnswer = z
	.object({
		recovered: z.int().openapi({ description: "In the log now." }),
		stillFailed: z.int().openapi({ description: "Still parked." }),
		failures: z.array(z.object({ key, reason: z.string() })).openapi({ description: "Of the first few." }),
	})
	.openapi("ParkedReplayAnswer");
