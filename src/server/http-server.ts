/** The small HTTP server of the local APIs (a sidecar's admin, Nexus): bounded, guarded, closes in good order. Knows no routes. */
import type { Socket } from "node:net";
import { type Clock, systemClock } from "../core/clock.ts";
import { DeadlineWheel } from "../core/deadline-wheel.ts";
import { codeOf, messageOf } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import { adopt, type ByteReader } from "../net/byte-socket.ts";
import { Listener } from "../net/listener.ts";
import { LoopMemory } from "../net/loop-memory.ts";
import { type Caller, PLAIN_CALLER } from "./caller.ts";
import type { Front, StartFront } from "./front.ts";
import { compileGuard } from "./guard.ts";
import { sendProblem } from "./problem.ts";
import { ServerConnection } from "./server-connection.ts";
import { ServerContext } from "./server-context.ts";
import type { ServerRequest } from "./server-request.ts";
import type { ServerResponse } from "./server-response.ts";

export interface HttpServerOptions {
	/** Port 0 lets the system choose. */
	readonly listen: { readonly host: string; readonly port: number };
	/** Names besides loopback and the listening address under which clients may call (see guard.ts). */
	readonly allowedHosts?: readonly string[];
	/** What it throws, or rejects with, becomes a 500 problem and a log line. */
	readonly handler: (req: ServerRequest, res: ServerResponse) => void | Promise<void>;
	readonly log: Logger;
	/** More connections are dropped at once. Default 1,024: people, scrapers and agents, not traffic. */
	readonly connectionsMax?: number;
	/** How long `close` waits for running requests. Default 10 s. */
	readonly drainTimeoutMs?: number;
	readonly clock?: Clock;
	/** What stands between the listener and HTTP; without it every connection is plain text. */
	readonly front?: StartFront;
	/** Of the event loop, where others have them already. */
	readonly shared?: LoopMemory;
	readonly wheel?: DeadlineWheel;
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

/** Binds and serves. Rejects with a readable error when the address cannot be had. */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
	const { log, handler, clock = systemClock } = options;
	const { host, port } = options.listen;
	const guard = compileGuard({ listenHost: host, allowedHosts: options.allowedHosts ?? [] });
	const wheel = options.wheel ?? new DeadlineWheel(clock);
	const connections = new Set<ServerConnection>();
	let refusedRequests = 0;
	let onEmpty: (() => void) | undefined;
	let closing: Promise<void> | undefined;
	const shared = options.shared ?? new LoopMemory();

	const context = new ServerContext({
		clock,
		wheel,
		shared,
		serve(req, res, fields) {
			const verdict = guard(fields);
			if (!verdict.ok) {
				refusedRequests++;
				const { status, title, detail } = verdict;
				sendProblem(res, { status, title, detail, reason: status === 421 ? "misdirected_request" : "forbidden" });
				return;
			}
			try {
				const pending = handler(req, res);
				if (pending instanceof Promise) pending.catch((thrown: unknown) => fail(req, res, thrown, log));
			} catch (thrown) {
				fail(req, res, thrown, log);
			}
		},
		onClosed(connection) {
			connections.delete(connection);
			listener.release();
			if (connections.size === 0) onEmpty?.();
		},
	});
	const opened = (open: (reader: ByteReader) => Socket, caller: Caller): ServerConnection => {
		const connection = new ServerConnection(open, caller, context);
		connections.add(connection);
		return connection;
	};
	const front: Front | undefined = options.front?.({
		wheel,
		shared,
		clock,
		onReady({ socket, caller, readTo }) {
			readTo(opened(() => socket, caller));
			socket.resume();
		},
		onGone: () => listener.release(),
	});
	const listener = new Listener({
		name: "the local HTTP server",
		listen: { kind: "tcp", host, port },
		connectionsMax: options.connectionsMax ?? CONNECTIONS_MAX,
		onConnection: (accepted) => {
			if (front !== undefined) front.accept(accepted);
			else opened((reader) => adopt(accepted, shared, reader), PLAIN_CALLER).socket.resume();
		},
		onFault: (error) => log.error("the local HTTP server reported an error", { error }),
	});
	try {
		await listener.start();
	} catch (thrown) {
		if (options.wheel === undefined) wheel.stop();
		const cause = thrown instanceof Error ? thrown.cause : thrown;
		throw new Error(listenFailure(`${host.includes(":") ? `[${host}]` : host}:${port}`, cause), { cause });
	}

	const close = async (): Promise<void> => {
		listener.stop();
		front?.destroy();
		context.draining = true;
		for (const connection of [...connections]) connection.drain();
		if (connections.size > 0) {
			const { promise, resolve } = Promise.withResolvers<void>();
			onEmpty = resolve;
			const timer = clock.setTimer(options.drainTimeoutMs ?? DRAIN_TIMEOUT_MS, () => {
				for (const connection of [...connections]) connection.destroy();
			});
			await promise;
			timer.cancel();
		}
		if (options.wheel === undefined) wheel.stop();
	};
	return {
		address: { host, port: listener.port },
		get refused() {
			return { connections: listener.stats.refused, requests: refusedRequests };
		},
		close() {
			closing ??= close();
			return closing;
		},
	};
}

function listenFailure(where: string, cause: unknown): string {
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

function fail(req: ServerRequest, res: ServerResponse, thrown: unknown, log: Logger): void {
	log.error("a request to the local HTTP server failed", {
		error: messageOf(thrown),
		stack: thrown instanceof Error ? thrown.stack : undefined,
		method: req.method,
		url: req.url,
	});
	sendProblem(res, { status: 500, title: "The request failed in a way that is a fault of ours.", reason: "internal" });
}
