/** Nexus as one thing: the log, the ingest path and the API behind one address, opened and closed in order. */
import type { Clock } from "../core/clock.ts";
import { Lifecycle } from "../core/lifecycle.ts";
import type { Logger } from "../core/log.ts";
import { type HttpServer, startHttpServer } from "../server/http-server.ts";
import type { ServerRequest } from "../server/server-request.ts";
import type { SseStream } from "../server/sse.ts";
import { createApp } from "./api/app.ts";
import { webHandler } from "./api/web-handler.ts";
import type { NexusConfig } from "./config.ts";
import { Ingest } from "./ingest.ts";
import { CONNECTIONS_MAX } from "./limits.ts";
import { openEmbeddedLog } from "./log/embedded-log.ts";
import type { EventLog } from "./log/event-log.ts";
import { renderMetrics } from "./metrics.ts";

export interface Nexus {
	readonly address: { readonly host: string; readonly port: number };
	readonly log: EventLog;
	/** Refuses new requests, ends the streams, finishes what is in hand, lets go of the data. Resolves with what went wrong. Idempotent. */
	close(): Promise<Error[]>;
}

export interface NexusOptions extends NexusConfig {
	readonly clock: Clock;
	readonly logger: Logger;
	/** Of the program. */
	readonly version: string;
}

/** Rejects with a readable error where the data directory or the address cannot be had. */
export async function startNexus(options: NexusOptions): Promise<Nexus> {
	const { clock, logger, listen, allowedHosts, retention, dataDir, version } = options;
	const lifecycle = new Lifecycle();
	const { log, recovery } = openEmbeddedLog({ dir: dataDir, clock, log: logger, retention });
	lifecycle.onClose("the event log", () => log.close());
	for (const { kind, ...fields } of recovery) logger.warn(`recovered the event log: ${kind}`, fields);
	const ingest = new Ingest(log);
	const streams = new Set<SseStream>();
	let isDraining = false;
	let server: HttpServer | undefined;
	const metrics = () => renderMetrics({ log, ingest, refused: server?.refused, followers: streams.size });
	const app = createApp({ log, logger, clock, version, streams, metrics, isDraining: () => isDraining });
	const behind = webHandler(app);
	try {
		const started = await startHttpServer({
			listen,
			allowedHosts,
			clock,
			log: logger,
			connectionsMax: CONNECTIONS_MAX,
			handler: (req, res) => (isIngest(req) ? ingest.handle(req, res) : behind(req, res)),
		});
		server = started;
		lifecycle.onClose("the HTTP server", () => {
			isDraining = true;
			// A stream never ends by itself.
			for (const stream of streams) stream.close();
			return started.close();
		});
		return { address: started.address, log, close: () => lifecycle.close() };
	} catch (thrown) {
		await lifecycle.close();
		throw thrown;
	}
}

function isIngest({ method, url }: ServerRequest): boolean {
	return method === "POST" && (url === "/v1/events" || url.startsWith("/v1/events?"));
}
