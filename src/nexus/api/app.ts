/** The HTTP API behind the ingest path: queries, streams, health, metrics, and the OpenAPI document made from the same schemas that check. */
import { OpenAPIHono, type RouteConfig, z } from "@hono/zod-openapi";
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { BATCH_TYPE, STRUCTURED_TYPE } from "../../events/http-binding.ts";
import type { Problem } from "../../server/problem.ts";
import { SseStream } from "../../server/sse.ts";
import type { Access } from "../access/access.ts";
import type { OpenStreams } from "../access/open-streams.ts";
import type { Tokens } from "../access/tokens.ts";
import type { Authority } from "../authority/authority.ts";
import type { Backups } from "../backup/backups.ts";
import type { Condition } from "../condition.ts";
import { storedEventJson } from "../event-json.ts";
import { Followers } from "../followers/followers.ts";
import type { EventFilter, EventLog } from "../log/event-log.ts";
import type { Policies } from "../policy/policies.ts";
import type { Publishing } from "../publish/publishing.ts";
import type { ServiceRegistry } from "../registry/service-registry.ts";
import type { Overview } from "../subscriptions/overview.ts";
import type { Subscriptions } from "../subscriptions/subscriptions.ts";
import { auditTo } from "./audit.ts";
import { addAuthorityRoutes } from "./authority-routes.ts";
import { addConsumerRoutes } from "./consumer-routes.ts";
import { addConsumerStreams } from "./consumer-streams.ts";
import { addParkedRoutes } from "./parked-routes.ts";
import { addPolicyRoutes } from "./policy-routes.ts";
import { describeSecurity, failure, json, type NexusApp, noQuery, problemResponse, Routes } from "./route.ts";
import { addSchemaRoutes } from "./schema-routes.ts";
import { cloudEvent, ingestAnswer, readAnswer, readQuery, SEQUENCE_DIGITS, streamQuery } from "./schemas.ts";
import { addServiceRoutes } from "./service-routes.ts";
import { addStatusRoutes } from "./status-routes.ts";
import { addSubscriptionRoutes } from "./subscription-routes.ts";
import { addTokenRoutes } from "./token-routes.ts";
import type { WebBindings } from "./web-handler.ts";

export interface AppOptions {
	readonly log: EventLog;
	readonly logger: Logger;
	readonly clock: Clock;
	readonly version: string;
	/** True from the first signal on. */
	readonly isDraining: () => boolean;
	/** Open streams; the app adds to it and removes from it. */
	readonly streams: Set<SseStream>;
	readonly metrics: () => Promise<{ contentType: string; text: string }>;
	readonly access: Access;
	readonly openStreams: OpenStreams;
	readonly tokens: Tokens;
	readonly publishing: Publishing;
	readonly subscriptions: Subscriptions;
	readonly overview: Overview;
	readonly condition: Condition;
	readonly backups: Backups;
	readonly policies: Policies;
	readonly registry: ServiceRegistry;
	/** Undefined where none is configured. */
	readonly authority: Authority | undefined;
}

const badQuery = failure("The query is not valid.");

export function createApp(options: AppOptions): NexusApp {
	const { log, logger, clock, streams, isDraining, access, openStreams } = options;
	const app: NexusApp = new OpenAPIHono<{ Bindings: WebBindings }>();
	const routes = new Routes(app, access, auditTo(options.policies.tell));
	const followers = new Followers({ log, logger });
	app.notFound((c) =>
		problemResponse({ status: 404, title: "There is nothing here.", detail: c.req.path, reason: "not_found", hint: "See /openapi.json." }),
	);
	app.onError((error) => {
		logger.error("a request failed", { error: messageOf(error), stack: error.stack });
		return problemResponse({ status: 500, title: "The request failed in a way that is a fault of ours.", reason: "internal" });
	});

	describeSecurity(app);
	describeIngest(routes);

	routes.query(readRoute, "read", readQuery, async (_c, { after, limit, order, until, ...rest }) => {
		const page = await log.read({
			...filterOf(rest),
			...(until === undefined ? {} : { untilMs: Date.parse(until) }),
			...(after === undefined ? {} : { after: Number(after) }),
			order,
			limit: Number(limit),
		});
		const next = page.atEnd ? "null" : String(page.scannedTo);
		const damaged = page.damaged.length === 0 ? "" : `,"damaged":${JSON.stringify(page.damaged)}`;
		return json(`{"events":[${page.events.map(storedEventJson).join(",")}],"next":${next}${damaged}}`);
	});

	routes.query(streamRoute, "read", streamQuery, (c, { after, ...rest }) => {
		if (isDraining()) return problemResponse(DRAINING);
		const resume = c.req.header("last-event-id");
		if (resume !== undefined && !SEQUENCE_DIGITS.test(resume)) {
			return problemResponse({ status: 400, title: "Last-Event-ID is not a sequence.", reason: "bad_query" });
		}
		// A HEAD has no body that could follow anything.
		if (c.req.method === "HEAD") return new Response(null, { headers: { "content-type": "text/event-stream" } });
		const { lastSequence } = log.stats();
		const start = resume ?? after ?? (rest.since === undefined ? lastSequence : 0);
		const stream = SseStream.open(c.env.res, { clock });
		streams.add(stream);
		const { req } = c.env;
		const forget = openStreams.add({ mayGoOn: () => access.admit(req, "read").ok, end: () => stream.close() });
		stream.onClose(() => {
			streams.delete(stream);
			forget();
		});
		// A sequence of the future is of another log: its events will never come, ours will.
		followers.follow(stream, filterOf(rest), Math.min(Number(start), lastSequence));
		return new Response(null); // the stream is the answer
	});

	routes.query(liveRoute, "none", noQuery, () => json('{"status":"live"}'));
	routes.query(readyRoute, "none", noQuery, () => {
		if (isDraining()) return problemResponse(DRAINING);
		if (log.stats().isFailing) return problemResponse({ status: 503, title: "The event log cannot write.", reason: "log_failed" });
		// Events are taken in any case: what cannot be delivered waits.
		const { trouble, subscriptionTrouble } = options.condition;
		return json(JSON.stringify({ status: "ready", trouble, subscriptions: subscriptionTrouble }));
	});
	routes.query(metricsRoute, "read", noQuery, async () => {
		const { contentType, text } = await options.metrics();
		return new Response(text, { headers: { "content-type": contentType } });
	});

	addStatusRoutes(routes, options);
	addAuthorityRoutes(routes, options);
	addSubscriptionRoutes(routes, options);
	addConsumerRoutes(routes, options);
	addConsumerStreams(routes, options);
	addPolicyRoutes(routes, options);
	addServiceRoutes(routes, options);
	addSchemaRoutes(routes, { schemas: options.publishing.schemas, logger });
	addParkedRoutes(routes, options);
	addTokenRoutes(routes, { ...options, onRemoved: () => openStreams.look() });

	app.doc31("/openapi.json", { openapi: "3.1.0", info: { title: "Nexus", version: options.version, description: "The event log of a Nexus mesh." } });
	return app;
}

const DRAINING: Problem = { status: 503, title: "Nexus is shutting down.", reason: "draining" };

const readRoute: RouteConfig = {
	method: "get",
	path: "/v1/events",
	summary: "Read stored events",
	request: { query: readQuery },
	responses: {
		200: { description: "One page.", content: { "application/json": { schema: readAnswer } } },
		400: badQuery,
	},
};

const streamRoute: RouteConfig = {
	method: "get",
	path: "/v1/events/stream",
	summary: "Follow events",
	description:
		"Server-sent events, `id` is the sequence. `Last-Event-ID` (or `after`) resumes without gap or double; without it and without `since` the stream begins with what comes next. Sequences that cannot be read any more are told as an event of type `gap`.",
	request: { query: streamQuery },
	responses: {
		200: { description: "The stream; each `data` is a stored event.", content: { "text/event-stream": { schema: { type: "string" } } } },
		400: badQuery,
		503: failure("Shutting down."),
	},
};

const status = (word: string) => ({
	description: "Yes.",
	content: { "application/json": { schema: z.object({ status: z.literal(word) }) } },
});

const liveRoute: RouteConfig = { method: "get", path: "/livez", summary: "Is the process alive?", responses: { 200: status("live") } };
const readyRoute: RouteConfig = {
	method: "get",
	path: "/readyz",
	summary: "Can events be sent here?",
	responses: { 200: status("ready"), 503: failure("Shutting down, or the log cannot write.") },
};
const metricsRoute: RouteConfig = {
	method: "get",
	path: "/metrics",
	summary: "Prometheus metrics",
	responses: { 200: { description: "Text exposition format.", content: { "text/plain": { schema: { type: "string" } } } } },
};

/** Ingest is served before this app (see ingest.ts); here it is only described. */
function describeIngest(routes: Routes): void {
	const route: RouteConfig = {
		method: "post",
		path: "/v1/events",
		summary: "Send events",
		description: "CloudEvents 1.0 in structured, batch or binary mode (attributes in ce-* fields). Answered once the events are durable.",
		request: {
			body: {
				required: true,
				content: { [STRUCTURED_TYPE]: { schema: cloudEvent }, [BATCH_TYPE]: { schema: cloudEvent.array() }, "*/*": { schema: { type: "string" } } },
			},
		},
		responses: {
			200: { description: "At least one event is in the log.", content: { "application/json": { schema: ingestAnswer } } },
			400: failure("Nothing in it is a valid event."),
			408: failure("The body did not come in time."),
			413: failure("A body above 4 MiB, an event above the limit (64 KiB unless configured) or a batch of more than 4,096."),
			415: failure("Neither CloudEvents JSON nor ce-* fields."),
			429: failure("Too much in hand; see retry-after."),
			500: failure("The disk failed; nothing was kept."),
			503: failure("Shutting down, or the broker of the log is away."),
			507: failure("The disk is full; nothing was kept."),
		},
	};
	routes.describe(route, "ingest");
	routes.describe(publishRoute, "ingest");
}

const publishRoute: RouteConfig = {
	method: "get",
	path: "/v1/events/publish",
	summary: "Send events over a WebSocket",
	description:
		"Each message is a CloudEvent or a JSON array of them (at most 4 MiB). It is acknowledged by a message `{message, accepted, duplicates, rejected, parked, sequence, durability}` once its events are durable, where `message` is its number on this connection, from 1; or by `{message, problem}` where nothing of it is promised to be kept. Who sends faster than the disk takes is not read for a while.",
	responses: {
		101: { description: "The WebSocket is open." },
		400: failure("The handshake is malformed."),
		426: failure("This is served over a WebSocket only."),
	},
};

function filterOf(query: {
	type?: string | undefined;
	source?: string | undefined;
	subject?: string | undefined;
	since?: string | undefined;
}): EventFilter {
	return {
		...(query.type === undefined ? {} : { type: query.type }),
		...(query.source === undefined ? {} : { source: query.source }),
		...(query.subject === undefined ? {} : { subject: query.subject }),
		...(query.since === undefined ? {} : { sinceMs: Date.parse(query.since) }),
	};
}
