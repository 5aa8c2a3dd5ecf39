/** Shapes of the API: one source for what is checked and what /openapi.json says. */
import { z } from "@hono/zod-openapi";
import { PAGE_EVENTS, PAGE_EVENTS_MAX } from "../limits.ts";

export const SEQUENCE_DIGITS = /^\d{1,15}$/;

const text = (description: string, example?: string) =>
	z
		.string()
		.min(1)
		.max(1024)
		.optional()
		.openapi({ description, ...(example === undefined ? {} : { example }) });

const time = (description: string) =>
	z
		.string()
		.refine(
			(value) => /^\d{4}-\d\d-\d\d([T ]|$)/.test(value) && Number.isFinite(Date.parse(value)),
			"is not an RFC 3339 time, as in 2026-01-02T03:04:05Z",
		)
		.optional()
		.openapi({ description, format: "date-time", example: "2026-01-02T03:04:05Z" });

const sequence = (description: string) =>
	z.string().regex(SEQUENCE_DIGITS, "is not a sequence: a whole number").optional().openapi({ description, type: "integer", minimum: 0 });

const filter = {
	type: text("Type of the events; `*` stands for any run of characters.", "nexus.mesh.*"),
	source: text("Source of the events, exactly.", "/mesh/checkout/a1"),
	subject: text("Subject of the events, exactly."),
	since: time("Received at this time or later."),
	after: sequence("Only events behind this sequence, in the asked order."),
};

export const readQuery = z.strictObject({
	...filter,
	until: time("Received at this time or earlier."),
	limit: z
		.string()
		.regex(/^\d{1,4}$/, "is not a whole number")
		.refine((value) => Number(value) >= 1 && Number(value) <= PAGE_EVENTS_MAX, `is not from 1 to ${PAGE_EVENTS_MAX}`)
		.default(String(PAGE_EVENTS))
		.openapi({ description: "Events in the answer.", type: "integer", minimum: 1, maximum: PAGE_EVENTS_MAX, default: PAGE_EVENTS }),
	order: z.enum(["asc", "desc"]).default("asc").openapi({ description: "By sequence." }),
});

export const streamQuery = z.strictObject(filter);

export const cloudEvent = z
	.looseObject({
		specversion: z.literal("1.0"),
		id: z.string().min(1),
		source: z.string().min(1),
		type: z.string().min(1),
		subject: z.string().optional(),
		time: z.string().optional(),
		datacontenttype: z.string().optional(),
		priority: z.int().min(0).max(9).optional(),
		data: z.unknown().optional(),
	})
	.openapi("CloudEvent", { description: "CloudEvents 1.0, at most 64 KiB unless configured; further attributes are named with a-z and 0-9." });

export const ingestAnswer = z
	.object({
		accepted: z.int().openapi({ description: "Events that are new and durable." }),
		duplicates: z.int().openapi({ description: "Events whose (source, id) was in the log already." }),
		rejected: z.array(z.object({ index: z.int(), reason: z.string() })).openapi({ description: "Events that are not valid; the others are kept." }),
		parked: z
			.array(z.object({ index: z.int(), reason: z.string() }))
			.optional()
			.openapi({ description: "Events that violate the schema of their type, kept beside the log; see /v1/parked-events." }),
		sequence: z.int().openapi({ description: "The last sequence given to these events; 0 where none was." }),
		durability: z.enum(["memory", "os", "disk", "quorum"]),
	})
	.openapi("IngestAnswer");

const storedEvent = z
	.object({ sequence: z.int(), receivedAt: z.string().openapi({ format: "date-time" }), event: cloudEvent })
	.openapi("StoredEvent");

export const readAnswer = z
	.object({
		events: z.array(storedEvent),
		next: z.int().nullable().openapi({ description: "`after` of the next page; null when there was nothing more." }),
		damaged: z
			.array(z.object({ first: z.int(), last: z.int() }))
			.optional()
			.openapi({ description: "Sequences whose bytes are damaged on disk." }),
	})
	.openapi("ReadAnswer");

export const problem = z
	.looseObject({
		status: z.int(),
		title: z.string(),
		detail: z.string().optional(),
		reason: z.string().optional(),
		hint: z.string().optional(),
	})
	.openapi("Problem", { description: "RFC 9457" });
