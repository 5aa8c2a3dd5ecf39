/** Shapes of the subscriptions' part of the API, beside the document itself (subscriptions/document.ts). */
import { z } from "@hono/zod-openapi";
import { isRefusal } from "../../policy/fault.ts";
import { parseDuration } from "../../policy/values.ts";
import { nameText, startPoint, subscriptionDocument } from "../subscriptions/document.ts";
import { filterFields, ONE_FILTER } from "../subscriptions/filter/schema.ts";
import { DELAY_MS_MAX, FETCH_MAX, FETCH_WAIT_MS, FETCH_WAIT_MS_MAX, REPLAY_MAX } from "../subscriptions/limits.ts";
import { AFTER, limitQuery, nextPlace } from "./pages.ts";
import { cloudEvent } from "./schemas.ts";

const CREDIT = 64;
const TOKENS_MAX = 2 * FETCH_MAX;
const REASON_CHARS_MAX = 1024;

function duration(maxMs: number, max: string) {
	return z
		.string()
		.transform((text, context): number => {
			const parsed = parseDuration(text);
			if (!isRefusal(parsed) && parsed <= maxMs) return parsed;
			context.addIssue({ code: "custom", message: isRefusal(parsed) ? `${parsed.refused}: ${parsed.hint}` : `is longer than ${max}` });
			return z.NEVER;
		})
		.openapi({ type: "string", example: "5s" });
}

function wholeNumber(max: number, standard: number, description: string) {
	return z
		.string()
		.regex(/^\d{1,6}$/, "is not a whole number")
		.refine((value) => Number(value) >= 1 && Number(value) <= max, `is not from 1 to ${max}`)
		.default(String(standard))
		.openapi({ description, type: "integer", minimum: 1, maximum: max, default: standard });
}

export const nameParam = z.object({ name: nameText.openapi({ param: { name: "name", in: "path" }, example: "billing" }) });

export const listQuery = z.strictObject({
	after: nameText.optional().openapi(AFTER),
	limit: limitQuery("Subscriptions"),
});

export const deleteQuery = z.strictObject({
	deadLetters: z.enum(["keep", "discard"]).default("keep").openapi({ description: "`discard` throws its dead letters away, too." }),
});

export const shownSubscription = z
	.object({
		name: z.string(),
		revision: z.int().openapi({ description: "Also the ETag." }),
		state: z.enum(["running", "paused", "stalled", "broken"]),
		trouble: z.string().optional().openapi({ description: "What keeps events from arriving." }),
		pausedBecause: z.string().optional(),
		createdAt: z.string().openapi({ format: "date-time" }),
		updatedAt: z.string().openapi({ format: "date-time" }),
		document: subscriptionDocument.openapi({ description: "As it was given; secrets are shown as `(set)`, which a PUT keeps." }),
		position: z.int().optional().openapi({ description: "Every event of the log up to here was looked at." }),
		lag: z.object({
			open: z.int().openapi({ description: "Events under way, or waiting for a try." }),
			unread: z.int().openapi({ description: "Events of the log that were not looked at yet." }),
			oldestAgeMs: z.number().openapi({ description: "Since its receipt, of the oldest open event." }),
		}),
		deliveries: z
			.object({ acked: z.int(), naked: z.int(), timedOut: z.int(), terminated: z.int(), parked: z.int(), missed: z.int() })
			.openapi({ description: "Since this Nexus runs." }),
		deadLetters: z.int(),
		node: z.string().optional().openapi({ description: "That dispatches it, where several share log and state; absent while none is known to." }),
	})
	.openapi("ShownSubscription");

export const subscriptionsAnswer = z.object({ subscriptions: z.array(shownSubscription), next: nextPlace }).openapi("Subscriptions");

export const seekRequest = z.strictObject({ from: startPoint }).openapi("SeekRequest");

export const consumeQuery = z.strictObject({
	credit: wholeNumber(FETCH_MAX, CREDIT, "Events that are under way at a time."),
});

export const fetchRequest = z
	.strictObject({
		max: z.int().min(1).max(FETCH_MAX).optional().openapi({ description: "Events at most. Default 1." }),
		wait: duration(FETCH_WAIT_MS_MAX, "2m").optional().openapi({ description: "How long to wait for the first one. Default 30s; 0s: not at all." }),
	})
	.openapi("FetchRequest");

export const FETCH_WAIT_DEFAULT_MS = FETCH_WAIT_MS;

export const fetchAnswer = z
	.object({
		deliveries: z.array(
			z.object({
				token: z.string().openapi({ description: "Names this try of this event, for the answer." }),
				sequence: z.int(),
				attempt: z.int().openapi({ description: "1 for the first try." }),
				receivedAt: z.string().openapi({ format: "date-time" }),
				event: cloudEvent,
			}),
		),
	})
	.openapi("FetchAnswer");

const token = z.string().min(5).max(64);
const reason = z.string().min(1).max(REASON_CHARS_MAX).optional();

export const ackRequest = z
	.strictObject({
		ack: z.array(token).max(TOKENS_MAX).optional().openapi({ description: "Done." }),
		nak: z
			.array(z.union([token, z.strictObject({ token, delay: duration(DELAY_MS_MAX, "24h").optional(), reason })]))
			.max(TOKENS_MAX)
			.optional()
			.openapi({ description: "Again: after the delay, or after the backoff of the subscription." }),
		term: z
			.array(z.union([token, z.strictObject({ token, reason })]))
			.max(TOKENS_MAX)
			.optional()
			.openapi({ description: "Never again: it becomes a dead letter." }),
		progress: z.array(token).max(TOKENS_MAX).optional().openapi({ description: "Still at it: ackWait begins anew." }),
	})
	.openapi("AckRequest");

/** Over a WebSocket, in the place of answers. */
export const drainRequest = z.strictObject({ drain: z.literal(true) });

export const ackAnswer = z
	.object({
		settled: z.int(),
		unknown: z.array(z.string()).openapi({ description: "Tries that were over already: their events come again, or are settled." }),
	})
	.openapi("AckAnswer");

export const lettersQuery = z.strictObject({
	after: z
		.string()
		.regex(/^\d{16}(\/[a-zA-Z0-9][a-zA-Z0-9._-]{0,63})?$/, "is not the `next` of a page")
		.optional()
		.openapi(AFTER),
	limit: limitQuery("Dead letters, of 4 MiB at most and one more,"),
});

export const deadLetter = z
	.object({
		sequence: z.int(),
		member: z.string().openapi({ description: "Of a broadcast: who did not get it; empty otherwise." }),
		receivedAt: z.string().openapi({ format: "date-time" }),
		attempts: z.int(),
		reason: z.string().openapi({ description: "Of the last try." }),
		status: z.int().optional().openapi({ description: "That the receiver answered." }),
		answer: z.string().optional().openapi({ description: "The beginning of what it answered." }),
		firstTriedAt: z.string().openapi({ format: "date-time" }),
		lastTriedAt: z.string().openapi({ format: "date-time" }),
		parkedAt: z.string().openapi({ format: "date-time" }),
		event: cloudEvent,
	})
	.openapi("DeadLetter");

export const lettersAnswer = z.object({ deadLetters: z.array(deadLetter), next: nextPlace, total: z.int() }).openapi("DeadLetters");

export const replayRequest = z
	.strictObject({
		...filterFields,
		count: z
			.int()
			.min(1)
			.max(REPLAY_MAX)
			.optional()
			.openapi({ description: `At most so many, the oldest first. Default ${REPLAY_MAX}.` }),
		sequences: z.array(z.int().min(1)).min(1).max(TOKENS_MAX).optional().openapi({ description: "These alone." }),
		wait: duration(FETCH_WAIT_MS_MAX, "2m").optional().openapi({ description: "For the outcome. Default 30s." }),
	})
	.refine(ONE_FILTER.check, ONE_FILTER.message)
	.openapi("ReplayRequest");

export const replayAnswer = z
	.object({
		recovered: z.int().openapi({ description: "Delivered, and dead letters no more." }),
		stillFailed: z.int().openapi({ description: "Dead letters still, with the new error." }),
		pending: z.int().openapi({ description: "Not decided in this time: they are dead letters until they have arrived." }),
	})
	.openapi("ReplayAnswer");

export const discardRequest = z.strictObject({ sequences: z.array(z.int().min(1)).min(1).max(TOKENS_MAX) }).openapi("DiscardRequest");
