/** The small HTTP server of the local APIs (a sidecar's admin, Nexus): bounded, guarded, closes in good order. Knows no routes. */

import type { Server } from "node:http";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { type Clock, systemClock } from "../core/clock.ts";
import { codeOf, messageOf } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import { compileGuard } from "./guard.ts";
import { sendProblem } from "./problem.ts";

export interface HttpServerOptions {
	/** Port 0 lets the system choose. */
	readonly listen: { readonly host: string; readonly port: number };
	/** Names besides loopback and the listening address under which clients may call (see guard.ts). */
	readonly allowedHosts?: readonly string[];
	/** What it throws, or rejects with, becomes a 500 problem and a log line. */
	readonly handler: (req: IncomingMessage, res: ServerResponse) => void | Promise<void>;
	readonly log: Logger;
	/** More connections are dropped at once. Default 1,024: people, scrapers and agents, not traffic. */
	readonly connectionsMax?: number;
	/** How long `close` waits for running requests. Default 10 s. */
	readonly drainTimeoutMs?: number;
	readonly clock?: Clock;
}

export interface HttpServer {
	readonly address: { readonly host: string; readonly port: number };
	/** Counts since start, for metrics. */
	readonly refused: { readonly connections: number; readonly requests: number };
	/** Stops accepting, ends idle connections, waits for running requests up to the drain timeout, then cuts what is left. Idempotent. */
	close(): Promise<void>;
}

const CONNECTIONS_MAX = 1024;
const DRAIN_TIMEOUT_MS = 10_000;
// Paths, tokens and trace headers fit many times over; Node's own default.
const HEAD_BYTES_MAX = 16 * 1024;
const HEADERS_MAX = 100;
// A head is one packet; a body is at most a few MiB over a local network.
const HEAD_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;
// Longer than the clients' own idle timeouts, so that they, not we, end a connection and no request meets a closing one.
const KEEP_ALIVE_TIMEOUT_MS = 75_000;
const TIMEOUT_CHECK_MS = 2_000;

/** Binds and serves. Rejects with a readable error when the address cannot be had. */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
	const { log, handler, clock = systemClock } = options;
	const guard = compileGuard({ listenHost: options.listen.host, allowedHosts: options.allowedHosts ?? [] });
	const refused = { connections: 0, requests: 0 };
	const sockets = new Set<Socket>();
	const running = new Set<ServerResponse>();
	let closing: Promise<void> | undefined;

	const server = createServer({
		maxHeaderSize: HEAD_BYTES_MAX,
		headersTimeout: HEAD_TIMEOUT_MS,
		requestTimeout: REQUEST_TIMEOUT_MS,
		keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
		connectionsCheckingInterval: TIMEOUT_CHECK_MS,
	});
	server.maxHeadersCount = HEADERS_MAX;
	server.maxConnections = options.connectionsMax ?? CONNECTIONS_MAX;
	server.on("drop", () => void refused.connections++);
	server.on("connection", (socket) => {
		sockets.add(socket);
		socket.once("close", () => sockets.delete(socket));
	});
	server.on("request", (req, res) => {
		running.add(res);
		res.once("close", () => {
			running.delete(res);
			if (closing !== undefined) server.closeIdleConnections();
		});
		const verdict = guard({ host: req.headers.host, origin: req.headers.origin, secFetchSite: singleField(req.headers["sec-fetch-site"]) });
		if (!verdict.ok) {
			refused.requests++;
			const { status, title, detail } = verdict;
			sendProblem(res, { status, title, detail, reason: status === 421 ? "misdirected_request" : "forbidden" });
			return;
		}
		try {
			const pending = handler(req, res);
			if (pending instanceof Promise) pending.catch((thrown: unknown) => fail(res, thrown, log));
		} catch (thrown) {
			fail(res, thrown, log);
		}
	});

	await listen(server, options.listen);
	server.on("error", (error) => log.error("the local HTTP server reported an error", { error: messageOf(error) }));
	const bound = server.address() as AddressInfo;
	return {
		address: { host: bound.address, port: bound.port },
		refused,
		close() {
			closing ??= new Promise((resolve) => {
				const timer = clock.setTimer(options.drainTimeoutMs ?? DRAIN_TIMEOUT_MS, () => server.closeAllConnections());
				server.close(() => {
					timer.cancel();
					resolve();
				});
				for (const res of running) if (!res.headersSent) res.setHeader("connection", "close");
				// Node counts a connection that never sent a byte as active.
				for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy();
			});
			return closing;
		},
	};
}

function listen(server: Server, { host, port }: { host: string; port: number }): Promise<void> {
	return new Promise((resolve, reject) => {
		const onError = (cause: Error): void => {
			const where = `${host.includes(":") ? `[${host}]` : host}:${port}`;
			reject(new Error(listenFailure(where, cause), { cause }));
		};
		server.once("error", onError);
		server.listen(port, host, () => {
			server.off("error", onError);
			resolve();
		});
	});
}

function listenFailure(where: string, cause: Error): string {
	switch (codeOf(cause)) {
		case "EADDRINUSE":
			return `${where} is in use: another process listens there`;
		case "EACCES":
			return `${where} may not be used: ports below 1024 need privileges`;
		case "EADDRNOTAVAIL":
			return `${where} is no address of this machine`;
		default:
			return `cannot listen on ${where}: ${messageOf(cause)}`;
	}
}

function fail(res: ServerResponse, thrown: unknown, log: Logger): void {
	log.error("a request to the local HTTP server failed", {
		error: messageOf(thrown),
		stack: thrown instanceof Error ? thrown.stack : undefined,
		method: res.req.method,
		url: res.req.url,
	});
	sendProblem(res, { status: 500, title: "The request failed in a way that is a fault of ours.", reason: "internal" });
}

function singleField(value: string | string[] | undefined): string | undefined {
	return typeof value === "string" ? value : value?.join(", ");
}
