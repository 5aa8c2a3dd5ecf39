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
import { companionOf } from "./backup/backup-companion.ts";
import { Backups } from "./backup/backups.ts";
import { Cluster } from "./cluster/cluster.ts";
import { Dispatch } from "./cluster/dispatch.ts";
import { sendElsewhere, subscriptionOf } from "./cluster/elsewhere.ts";
import { Condition } from "./condition.ts";
import type { NexusConfig } from "./config/config.ts";
import { openDistribution } from "./distribution.ts";
import { type Engines, openEngines } from "./engines/engines.ts";
import { type IdentityParts, openIdentity } from "./identity-parts.ts";
import { CONNECTIONS_MAX } from "./limits.ts";
import type { EventLog } from "./log/event-log.ts";
import { renderMetrics } from "./metrics.ts";
import { openPublishing } from "./publish/publishing.ts";
import { Overview } from "./subscriptions/overview.ts";
import type { Registered } from "./subscriptions/sinks/build-sink.ts";
import { WebhookCertificates } from "./subscriptions/sinks/webhook-certificates.ts";
import { WebhookTrust } from "./subscriptions/sinks/webhook-tls.ts";
import type { Subscriptions } from "./subscriptions/subscriptions.ts";
import { TlsFailures } from "./tls-failures.ts";

export interface Nexus {
	readonly address: { readonly host: string; readonly port: number };
	readonly log: EventLog;
	readonly engines: Engines;
	/** Those that this node dispatches. */
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
	const { clock, logger, listen, allowedHosts, limits, version, rng = systemRng } = options;
	const lifecycle = new Lifecycle();
	try {
		const engines = await openEngines({ ...options, rng, lifecycle });
		const { log, state, recovery } = engines;
		for (const { kind, ...fields } of recovery) logger.warn(`recovered the event log: ${kind}`, fields);
		const cluster = clusterOf(engines, options);
		lifecycle.onClose("the duties", () => cluster?.close());
		const mayChange = options.authority === undefined || cluster === undefined ? undefined : await claimAuthority(cluster);
		const { nodeId } = engines;
		const parts = await openIdentity({ ...options, rng, ...(mayChange && { mayChange }), ...(cluster && { shared: { state, nodeId } }) });
		const { authority, access, tokens } = parts;
		lifecycle.onClose("the tokens", () => tokens.close());
		lifecycle.onClose("the authority", () => authority?.close());
		const openStreams = new OpenStreams(clock);
		lifecycle.onClose("the open streams", () => openStreams.close());
		authority?.trust.onChange(() => openStreams.look());
		tokens.onLess(() => openStreams.look());
		const tlsFailures = new TlsFailures(clock, logger);
		const publishing = await openPublishing({ log, state, clock, logger, openStreams, eventBytesMax: limits.eventBytesMax });
		const { ingest, sockets } = publishing;
		lifecycle.onClose("publishing", () => publishing.close());
		const { functions = {}, logs = {} } = options;
		const certificates = WebhookCertificates.open(options.webhooks.certificates, { clock, logger });
		lifecycle.onClose("the certificates of webhooks", () => certificates.close());
		const registered = { functions, logs, webhooks: new WebhookTrust({ clock, mesh: authority, certificates }) };
		const dispatch = await Dispatch.open({ log, state, clock, logger, rng, instance: hostname(), registered, cluster });
		lifecycle.onClose("the subscriptions", () => dispatch.close());
		const { subscriptions } = dispatch;
		const elsewhere = cluster && { state, nodeOf: (name: string) => dispatch.holderOf(name) };
		const overview = new Overview({ subscriptions, log, clock, shared: elsewhere });
		const distribution = await openDistribution({ store: state, log, clock, rng, logger });
		lifecycle.onClose("policies and registry", () => distribution.close());
		const condition = new Condition({ ...options, engines, cluster, dispatch, startedAtMs: clock.wallMs() });
		const companion = companionOf(state, options.dataDir);
		const backups = new Backups({ log, companion, dir: options.backupsDir ?? join(options.dataDir, "backups"), clock, logger });
		lifecycle.onClose("the backups", () => backups.close());
		const streams = new Set<SseStream>();
		let isDraining = false;
		let server: HttpServer | undefined;
		const metrics = () =>
			renderMetrics({
				log,
				condition,
				publishing,
				subscriptions,
				wallMs: clock.wallMs(),
				refused: server?.refused,
				followers: streams.size,
				authority,
				tlsFailures: tlsFailures.count,
			});
		const behind = webHandler(
			createApp({
				...parts,
				...distribution,
				publishing,
				subscriptions,
				overview,
				condition,
				backups,
				log,
				logger,
				clock,
				version,
				streams,
				openStreams,
				metrics,
				isDraining: () => isDraining,
			}),
		);
		const published = (req: ServerRequest, res: ServerResponse): void | Promise<void> => {
			const admission = access.admit(req, "publish");
			if (!admission.ok) return sendProblem(res, admission.problem, admission.problem.status === 401 ? AUTHENTICATE : {});
			if (req.method === "POST") return ingest.handle(req, res, admission.scope);
			sockets.handle(req, res, () => access.admit(req, "publish").ok, admission.scope);
		};
		const sentElsewhere = (req: ServerRequest, res: ServerResponse, name: string): void | Promise<void> => {
			const admission = access.admit(req, "member");
			if (admission.ok) return sendElsewhere(req, res, name, dispatch, cluster);
			sendProblem(res, admission.problem, admission.problem.status === 401 ? AUTHENTICATE : {});
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
				if (isPublish(req)) return published(req, res);
				const name = cluster === undefined ? undefined : subscriptionOf(req);
				return name === undefined || dispatch.isHere(name) ? behind(req, res) : sentElsewhere(req, res, name);
			},
		});
		server = started;
		lifecycle.onClose("the HTTP server", () => {
			isDraining = true;
			// Neither streams nor polls end by themselves.
			for (const stream of streams) stream.close();
			authority?.endPolls();
			subscriptions.waits.endAll();
			distribution.endPolls();
			return Promise.all([sockets.close(), started.close()]).then(() => {});
		});
		if (cluster !== undefined) {
			await cluster.announce(options.cluster.url ?? urlOf(started.address, front !== undefined));
			if (engines.retention !== undefined) await cluster.retain(log, engines.retention);
			await dispatch.start();
		}
		return {
			address: started.address,
			log,
			engines,
			subscriptions,
			isSecure: front !== undefined,
			close: () => lifecycle.close(),
		};
	} catch (thrown) {
		await lifecycle.close();
		throw thrown;
	}
}

/** Where other nodes may use the same log and state. */
function clusterOf({ isShared, state, nodeId }: Engines, { cluster, version, clock, logger }: NexusOptions): Cluster | undefined {
	return isShared ? new Cluster({ state, nodeId, host: hostname(), version, leaseMs: cluster.leaseMs, clock, logger }) : undefined;
}

/** Its keys and deny list are files of one node. Rejects where another one has them. */
async function claimAuthority(cluster: Cluster): Promise<() => boolean> {
	const duty = await cluster.claim("authority");
	if (duty === undefined) {
		throw new Error("another node is the authority of the mesh: its keys and deny list are files of that node; configure `authority` on one");
	}
	return () => duty.isMine;
}

/** As other machines may reach it. */
function urlOf({ host, port }: { readonly host: string; readonly port: number }, isSecure: boolean): string {
	const name = host === "0.0.0.0" || host === "::" ? hostname() : host.includes(":") ? `[${host}]` : host;
	return `${isSecure ? "https" : "http"}://${name}:${port}`;
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
