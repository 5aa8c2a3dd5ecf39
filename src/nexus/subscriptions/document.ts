/** The document of a subscription: what it may say, as one source for what is checked and what /openapi.json shows. */
import { z } from "@hono/zod-openapi";
import { isRefusal, type Refusal } from "../../policy/fault.ts";
import { parseDuration } from "../../policy/values.ts";
import type { DeliveryPolicy } from "./delivery-policy.ts";
import { filterFields, ONE_FILTER } from "./filter/schema.ts";
import {
	ACK_WAIT_MS,
	ACK_WAIT_MS_MAX,
	ATTEMPTS,
	ATTEMPTS_MAX,
	BACKOFF_MS,
	BACKOFF_STEPS_MAX,
	CONCURRENCY,
	CONCURRENCY_MAX,
	CONCURRENCY_MIN,
	DELAY_MS_MAX,
	JITTER,
	MEMBERS_MAX,
	STALL_AFTER_MS,
	TRANSFORM_CHARS_MAX,
	WINDOW,
	WINDOW_MAX,
} from "./limits.ts";
import { HIDDEN } from "./secrets.ts";
import { hostFault } from "./sinks/webhook-address.ts";
import { identity, tlsFaults, webhookTls } from "./sinks/webhook-tls-document.ts";
import { expressionFault } from "./transform/expression.ts";

export const STRATEGIES = ["direct", "broadcast", "round-robin", "weighted", "fan-out", "keyed", "priority"] as const;
export type Strategy = (typeof STRATEGIES)[number];

/** Part of keys of the state and of ids in header fields. */
export const NAME = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/;
const NAME_FAULT = "is no name: 1 to 64 letters, digits, dots, dashes and underscores, beginning with a letter or digit";
const SECRET_CHARS_MIN = 16;
const URL_CHARS_MAX = 2048;
const HEADERS_MAX = 32;
/** Fields that follow from the message, the connection or the specification. */
const OURS = /^(host|connection|keep-alive|transfer-encoding|te|trailer|upgrade|expect|content-.*|ce-.*|webhook-.*)$/i;

export const nameText = z.string().regex(NAME, NAME_FAULT);

function duration(minMs: number, maxMs: number, range: string) {
	return z
		.string()
		.transform((text, context): number => {
			const parsed: number | Refusal = parseDuration(text);
			if (typeof parsed === "number" && parsed >= minMs && parsed <= maxMs) return parsed;
			context.addIssue({ code: "custom", message: isRefusal(parsed) ? `${parsed.refused}: ${parsed.hint}` : `is out of range: ${range}` });
			return z.NEVER;
		})
		.openapi({ type: "string", example: "30s" });
}

const url = z
	.string()
	.max(URL_CHARS_MAX)
	.superRefine((text, context) => {
		const fault = urlFault(text);
		if (fault !== undefined) context.addIssue({ code: "custom", message: fault });
	})
	.openapi({ format: "uri", example: "http://127.0.0.1:3000/events" });

const secret = z
	.string()
	.min(SECRET_CHARS_MIN, `is shorter than ${SECRET_CHARS_MIN} characters`)
	.max(256)
	.openapi({ description: "For the signature (Standard Webhooks); `whsec_` and base64, or any text. Never shown again.", format: "password" });

const member = z.strictObject({
	name: nameText,
	url,
	identity: identity.optional().openapi({ description: "The service that this receiver must prove to be, instead of `tls.identity`." }),
	weight: z.int().min(1).max(1000).optional().openapi({ description: "Share of the events, for the strategy `weighted`. Default 1." }),
});

const webhook = z
	.strictObject({
		kind: z.literal("webhook"),
		url: url.optional(),
		members: z
			.array(member)
			.min(1)
			.max(MEMBERS_MAX)
			.optional()
			.openapi({ description: "Several receivers, served by the strategy, instead of `url`." }),
		mode: z.enum(["structured", "binary"]).optional().openapi({ description: "How CloudEvents are put into HTTP. Default structured." }),
		headers: z
			.record(
				z
					.string()
					.regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/, "is no name of a field")
					.refine((name) => !OURS.test(name), "is not for a subscription to set"),
				z
					.string()
					.regex(/^[\x20-\x7e]{0,1024}$/, "holds what a field cannot")
					.refine((value) => value !== HIDDEN, `is ${HIDDEN}, and there is no value that this could keep`),
			)
			.refine((map) => Object.keys(map).length <= HEADERS_MAX, `has more than ${HEADERS_MAX} fields`)
			.optional()
			.openapi({ description: "Further fields of each request. Values of `authorization` are never shown again." }),
		secret: z
			.union([secret, z.array(secret).min(1).max(3)])
			.optional()
			.openapi({ description: "One secret, or up to three of which the newest stands first, while they are changed." }),
		handshake: z
			.strictObject({ origin: z.string().regex(/^[a-zA-Z0-9.-]{1,253}$/, "is no DNS name") })
			.optional()
			.openapi({ description: "Ask the receiver for permission first (CloudEvents Web Hooks, section 4), under this name." }),
		tls: webhookTls.optional(),
	})
	.superRefine(({ url, members, tls }, context) => {
		if ((url === undefined) === (members === undefined)) context.addIssue({ code: "custom", message: "must have either url or members" });
		const names = members?.map(({ name }) => name) ?? [];
		if (new Set(names).size < names.length) context.addIssue({ code: "custom", path: ["members"], message: "have the same name twice" });
		for (const { path, message } of tlsFaults(tls, url, members)) context.addIssue({ code: "custom", path, message });
	});

const registered = (what: string) =>
	z
		.string()
		.regex(NAME, NAME_FAULT)
		.openapi({ description: `A ${what} that this Nexus was started with.` });

const sink = z.discriminatedUnion("kind", [
	webhook,
	z
		.strictObject({ kind: z.literal("pull") })
		.openapi({ description: "Consumers take events themselves: by long poll, as server-sent events, or over a WebSocket." }),
	z.strictObject({ kind: z.literal("function"), name: registered("function") }),
	z.strictObject({ kind: z.literal("log"), name: registered("log") }),
]);

const concurrency = z.int().min(1).max(CONCURRENCY_MAX);

const delivery = z
	.strictObject({
		attempts: z
			.int()
			.min(1)
			.max(ATTEMPTS_MAX)
			.optional()
			.openapi({ description: `All tries of an event. Default ${ATTEMPTS}.` }),
		backoff: z
			.array(duration(0, DELAY_MS_MAX, "from 0ms to 24h"))
			.min(1)
			.max(BACKOFF_STEPS_MAX)
			.optional()
			.openapi({ description: "Before each further try, after naks and timeouts alike; the last one repeats.", example: ["200ms", "1s"] }),
		jitter: z
			.number()
			.min(0)
			.max(1)
			.optional()
			.openapi({ description: `Share by which a delay varies. Default ${JITTER}.` }),
		ackWait: duration(100, ACK_WAIT_MS_MAX, "from 100ms to 12h").optional().openapi({ description: "How long a try may take. Default 30s." }),
		window: z
			.int()
			.min(1)
			.max(WINDOW_MAX)
			.optional()
			.openapi({ description: `Events that are open at a time. Default ${WINDOW}.` }),
		concurrency: z
			.union([concurrency, z.strictObject({ min: concurrency, max: concurrency }).refine(({ min, max }) => min <= max, "has a min above its max")], {
				error: `must be a number from 1 to ${CONCURRENCY_MAX}, or { min, max }`,
			})
			.optional()
			.openapi({
				description: `Deliveries under way at a time, by lag and latency between min and max. Default ${CONCURRENCY_MIN} to ${CONCURRENCY}.`,
			}),
		rateLimit: z
			.strictObject({ perSecond: z.number().min(0.001).max(1_000_000), burst: z.int().min(1).max(1_000_000).optional() })
			.optional()
			.openapi({ description: "Tries a second. Default: none." }),
		stallAfter: duration(1000, ACK_WAIT_MS_MAX, "from 1s to 12h")
			.optional()
			.openapi({ description: "Events wait and none arrives for so long: it is stalled." }),
	})
	.openapi("Delivery");

const rfc3339 = z.string().refine((text) => /^\d{4}-\d\d-\d\dT/.test(text) && Number.isFinite(Date.parse(text)), "is not an RFC 3339 time");

export const startPoint = z
	.union(
		[
			z.enum(["new", "all"]),
			z.strictObject({ sequence: z.int().min(0).max(Number.MAX_SAFE_INTEGER) }),
			z.strictObject({ time: rfc3339 }),
			z.strictObject({ lastPer: z.enum(["partitionkey", "subject"]) }),
		],
		{ error: 'must be "new", "all", { sequence }, { time } or { lastPer: "partitionkey" | "subject" }' },
	)
	.openapi("StartPoint", { description: "Where a subscription begins. An update does not move it: see the route `seek`." });

export type StartPoint = z.output<typeof startPoint>;

const transform = z
	.strictObject({ jsonata: z.string().min(1).max(TRANSFORM_CHARS_MAX, `is longer than ${TRANSFORM_CHARS_MAX} characters`) })
	.superRefine(({ jsonata }, context) => {
		const fault = expressionFault(jsonata);
		if (fault !== undefined) context.addIssue({ code: "custom", path: ["jsonata"], message: fault });
	})
	.openapi("Transform", {
		description:
			"A JSONata expression over the event, which gives an object: its members replace those of the event. Made before each delivery, in 250 ms.",
		example: { jsonata: '{ "data": { "total": $sum(data.lines.price) } }' },
	});

export const subscriptionDocument = z
	.strictObject({
		description: z.string().max(1024).optional(),
		...filterFields,
		sink,
		strategy: z.enum(STRATEGIES).optional().openapi({ description: "Default direct." }),
		delivery: delivery.optional(),
		from: startPoint.optional().openapi({ description: "Default new." }),
		transform: transform.optional(),
	})
	.refine(ONE_FILTER.check, ONE_FILTER.message)
	.superRefine(({ sink, strategy = "direct" }, context) => {
		const members = sink.kind === "webhook" ? (sink.members?.length ?? 1) : 1;
		const needsMembers = strategy === "broadcast" || strategy === "weighted" || strategy === "fan-out" || strategy === "round-robin";
		if (strategy === "direct" && members > 1) {
			context.addIssue({ code: "custom", path: ["strategy"], message: "is direct, which has one receiver, and there are several members" });
		}
		if (needsMembers && (sink.kind !== "webhook" || sink.members === undefined) && sink.kind !== "pull") {
			context.addIssue({ code: "custom", path: ["strategy"], message: `is ${strategy}, which needs members of a webhook` });
		}
		if (sink.kind === "pull" && needsMembers && strategy !== "round-robin") {
			context.addIssue({ code: "custom", path: ["strategy"], message: `is ${strategy}, which consumers that take events themselves cannot have` });
		}
	})
	.openapi("Subscription");

export type SubscriptionDocument = z.output<typeof subscriptionDocument>;

export function policyOf({ delivery = {} }: SubscriptionDocument): DeliveryPolicy {
	const { concurrency, rateLimit } = delivery;
	return {
		attempts: delivery.attempts ?? ATTEMPTS,
		backoffMs: delivery.backoff ?? BACKOFF_MS,
		jitter: delivery.jitter ?? JITTER,
		ackWaitMs: delivery.ackWait ?? ACK_WAIT_MS,
		window: delivery.window ?? WINDOW,
		concurrency:
			concurrency === undefined
				? { min: CONCURRENCY_MIN, max: CONCURRENCY }
				: typeof concurrency === "number"
					? { min: concurrency, max: concurrency }
					: concurrency,
		rate:
			rateLimit === undefined ? undefined : { perSecond: rateLimit.perSecond, burst: rateLimit.burst ?? Math.max(1, Math.ceil(rateLimit.perSecond)) },
		stallAfterMs: delivery.stallAfter ?? STALL_AFTER_MS,
	};
}

function urlFault(text: string): string | undefined {
	let url: URL;
	try {
		url = new URL(text);
	} catch {
		return "is no URL";
	}
	if (url.protocol !== "http:" && url.protocol !== "https:") return "is not an http: or https: URL";
	if (url.username !== "" || url.password !== "") return "holds a user name or password: use headers";
	return hostFault(url.hostname);
}
