/** Nexus as one thing: the log, the ingest path and the API behind one address, opened and closed in order. */

import { hostname } from "node:os";
import { join } from "node:path";
import type { Clock } from "../core/clock.ts";
import { Lifecycle } from "../core/lifecycle.ts";
import type { Logger } from "../core/log.ts";
import { type Rng, systemRng } from "../core/rng.ts";
import { CLOCK_SKEW_MS } from "../identity/path-rules.ts";
import type { VerifiedPeer } from "../identity/verify-chain.ts";
import type { StartFront } from "../server/front.ts";
import { type HttpServer, startHttpServer } from "../server/http-server.ts";
import { sendProblem } from "../server/problem.ts";
import type { ServerRequest } from "../server/server-request.ts";
import type { ServerResponse } from "../server/server-response.ts";
import type { SseStream } from "../server/sse.ts";
import { OpenStreams } from "./access/open-streams.ts";
import { createApp } from "./api/app.ts";
import { webHandler } from "./api/web-handler.ts";
import type { NexusConfig } from "./config.ts";
import { openDistribution } from "./distribution.ts";
import { type IdentityParts, openIdentity } from "./identity-parts.ts";
import { CONNECTIONS_MAX } from "./limits.ts";
import { openEmbeddedLog } from "./log/embedded-log.ts";
import type { EventLog } from "./log/event-log.ts";
import { renderMetrics } from "./metrics.ts";
import { openPublishing } from "./publish/publishing.ts";
import { openState } from "./state/open-state.ts";
import type { Registered } from "./subscriptions/sinks/build-sink.ts";
import { Subscriptions } from "./subscriptions/subscriptions.ts";
import { TlsFailures } from "./tls-failures.ts";

export interface Nexus {
	readonly address: { readonly host: string; readonly port: number };
	readonly log: EventLog;
	readonly subscriptions: Subscriptions;
	/** Whether it speaks TLS. */
	readonly isSecure: boolean;
	/** Refuses new requests, ends the streams, finishes what is in hand, lets go of the data. Resolves with what went wrong. Idempotent. */
	close(): Promise<Error[]>;
}

export interface NexusOptions extends NexusConfig {
	readonly clock: Clock;
	readonly logger: Logger;
	/** Of the program. */
	readonly version: string;
	readonly rng?: Rng;
	/** That subscriptions may name as their sinks. */
	readonly functions?: Registered["functions"];
	readonly logs?: Registered["logs"];
}

/** Rejects with a readable error where the data directory or the address cannot be had. */
export async function startNexus(options: NexusOptions): Promise<Nexus> {
	const { clock, logger, listen, allowedHosts, retention, dataDir, limits, version } = options;
	const lifecycle = new Lifecycle();
	const { log, recovery } = openEmbeddedLog({ dir: dataDir, clock, log: logger, retention });
	lifecycle.onClose("the event log", () => log.close());
	for (const { kind, ...fields } of recovery) logger.warn(`recovered the event log: ${kind}`, fields);
	try {
		const parts = await openIdentity({ ...options, rng: options.rng ?? systemRng });
		const { authority, access } = parts;
		lifecycle.onClose("the authority", () => authority?.close());
		const openStreams = new OpenStreams(clock);
		lifecycle.onClose("the open streams", () => openStreams.close());
		authority?.trust.onChange(() => openStreams.look());
		const tlsFailures = new TlsFailures(clock, logger);
		const state = await openState({ engine: "sqlite", file: join(dataDir, "state.db") });
		if (!state.ok) throw new Error(state.detail);
		lifecycle.onClose("the state", () => state.store.close());
		const publishing = await openPublishing({ log, state: state.store, clock, logger, openStreams, eventBytesMax: limits.eventBytesMax });
		const { ingest, sockets } = publishing;
		lifecycle.onClose("publishing", () => publishing.close());
		const { functions = {}, logs = {}, rng = systemRng } = options;
		const registered = { functions, logs };
		const subscriptions = await Subscriptions.open({ log, state: state.store, clock, logger, rng, instance: hostname(), registered });
		lifecycle.onClose("the subscriptions", () => subscriptions.close());
		const distribution = await openDistribution({ store: state.store, log, clock, rng, logger });
		lifecycle.onClose("policies and registry", () => distribution.close());
		const streams = new Set<SseStream>();
		let isDraining = false;
		let server: HttpServer | undefined;
		const metrics = () =>
			renderMetrics({
				log,
				publishing,
				subscriptions,
				wallMs: clock.wallMs(),
				refused: server?.refused,
				followers: streams.size,
				authority,
				tlsFailures: tlsFailures.count,
			});
		const app = createApp({
			...parts,
			...distribution,
			publishing,
			subscriptions,
			log,
			logger,
			clock,
			version,
			streams,
			openStreams,
			metrics,
			isDraining: () => isDraining,
		});
		const behind = webHandler(app);
		const published = (req: ServerRequest, res: ServerResponse): void | Promise<void> => {
			const admission = access.admit(req, "ingest");
			if (!admission.ok) return sendProblem(res, admission.problem, admission.problem.status === 401 ? AUTHENTICATE : {});
			if (req.method === "POST") return ingest.handle(req, res);
			sockets.handle(req, res, () => access.admit(req, "ingest").ok);
		};
		const front = await frontOf(parts, tlsFailures);
		const started = await startHttpServer({
			listen,
			allowedHosts,
			clock,
			log: logger,
			connectionsMax: CONNECTIONS_MAX,
			...(front === undefined ? {} : { front }),
			handler(req, res) {
				const { peer } = req.caller;
				if (peer !== undefined && isNearEnd(peer, clock.wallMs())) res.endConnection();
				return isPublish(req) ? published(req, res) : behind(req, res);
			},
		});
		server = started;
		lifecycle.onClose("the HTTP server", () => {
			isDraining = true;
			// Neither streams nor polls end by themselves.
			for (const stream of streams) stream.close();
			authority?.endPolls();
			subscriptions.endWaits();
			distribution.endPolls();
			return Promise.all([sockets.close(), started.close()]).then(() => {});
		});
		return { address: started.address, log, subscriptions, isSecure: front !== undefined, close: () => lifecycle.close() };
	} catch (thrown) {
		await lifecycle.close();
		throw thrown;
	}
}

/** Before its certificate ends, a caller is to come again with the next one; it has had 30 % of the life to get that. */
const NEAR_END_PART = 0.1;
const NEAR_END_MAX_MS = 60_000;

function isNearEnd({ leaf, validUntilMs }: VerifiedPeer, nowMs: number): boolean {
	const lifeMs = leaf.notAfterMs - leaf.notBeforeMs - CLOCK_SKEW_MS;
	return validUntilMs - nowMs < Math.min(NEAR_END_MAX_MS, lifeMs * NEAR_END_PART);
}

const AUTHENTICATE = { "www-authenticate": "Bearer" };

/** TLS on the one port, where there is an authority. */
async function frontOf({ authority }: IdentityParts, failures: TlsFailures): Promise<StartFront | undefined> {
	if (authority === undefined) return undefined;
	const { tlsFront } = await import("../server/tls-front.ts");
	return tlsFront({
		contexts: authority.own.contexts,
		verify: (chain, resumed) => authority.trust.verify(chain, resumed),
		onFailed: (failure, peer) => failures.add(failure, peer),
	});
}

function isPublish({ method, url }: ServerRequest): boolean {
	if (method === "POST") return url === "/v1/events" || url.startsWith("/v1/events?");
	return method === "GET" && (url === "/v1/events/publish" || url.startsWith("/v1/events/publish?"));
}
