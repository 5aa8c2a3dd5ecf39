/** The client's end of a WebSocket that speaks text: opened where a redirect leads, watched by heartbeats, closed once. */
import type { IncomingMessage } from "node:http";
import type { WebSocket } from "ws";
import type { Clock, Timer } from "../core/clock.ts";
import { messageOf } from "../core/errors.ts";
import { BODILESS } from "./http-exchange.ts";
import { errorOf, NexusError } from "./nexus-error.ts";
import { redirectOf, resolved, type SocketTarget, type Transport } from "./transport.ts";

export interface ClientSocketOptions {
	readonly clock: Clock;
	readonly protocol?: string;
	readonly handshakeMs: number;
	/** Of a message that comes. */
	readonly messageBytesMax: number;
	/** What it throws ends the connection. */
	readonly onMessage: (text: string) => void;
	/** Once, and only after it was open. */
	readonly onClose: (cause: NexusError) => void;
}

export interface ClientSocket {
	send(text: string): void;
	/** In good order; the other side may still say what it has to. */
	close(): void;
}

const REDIRECTS_MAX = 3;
/** A network that swallows everything is noticed in two of them. */
const HEARTBEAT_MS = 15_000;
/** A problem document; whatever is longer is none. */
const PROBLEM_BYTES_MAX = 64 * 1024;

/** Rejects with a NexusError that has the status and the reason of whoever refuses. */
export async function openSocket(transport: Transport, path: string, options: ClientSocketOptions): Promise<ClientSocket> {
	// Loaded where a socket is wanted: all else needs nothing but Node.
	const { WebSocket } = await import("ws");
	for (let at = path, redirects = 0; ; redirects++) {
		const target = transport.socketTarget(at);
		const opened = await connect(WebSocket, target, options).catch((thrown: unknown) => {
			if (thrown instanceof NexusError && thrown.status === 0) transport.failed?.(target.url);
			throw thrown;
		});
		if (!("location" in opened)) return opened;
		if (redirects === REDIRECTS_MAX)
			throw new NexusError(`more than ${REDIRECTS_MAX} redirects, the last one to ${opened.location}`, 502, "bad_redirect");
		at = resolved(opened.location, target.url.replace(/^ws/, "http"));
	}
}

function connect(
	Socket: typeof WebSocket,
	{ url, headers, tls }: SocketTarget,
	{ clock, protocol, handshakeMs, messageBytesMax, onMessage, onClose }: ClientSocketOptions,
): Promise<ClientSocket | { readonly location: string }> {
	const settings = { ...tls, headers, perMessageDeflate: false, handshakeTimeout: handshakeMs, maxPayload: messageBytesMax };
	const ws = new Socket(url, protocol === undefined ? [] : [protocol], settings as never);
	return new Promise((resolve, reject) => {
		let isOpen = false;
		let cause: NexusError | undefined;
		let stopHeart = (): void => {};
		const fail = (thrown: unknown): void => {
			cause ??= new NexusError(`the WebSocket to ${url} failed: ${messageOf(thrown)}`, 0, "", { cause: thrown });
		};
		ws.on("open", () => {
			isOpen = true;
			stopHeart = watch(ws, clock, () => {
				fail(new Error("nobody answers its heartbeat"));
				ws.terminate();
			});
			resolve({ send: (text) => ws.send(text, ignoreLate), close: () => ws.close(1000) });
		});
		ws.on("message", (data) => {
			try {
				onMessage(String(data));
			} catch (thrown) {
				fail(thrown);
				ws.terminate();
			}
		});
		ws.on("unexpected-response", (_request, response) => {
			const location = redirectOf(response.statusCode ?? 0, response.headers.location);
			if (location !== undefined) resolve({ location });
			void refusalOf(response).then((refusal) => {
				cause = refusal;
				ws.terminate();
			});
		});
		ws.on("error", fail);
		ws.on("close", (code, reason) => {
			stopHeart();
			cause ??= new NexusError(`the WebSocket was closed (${code}${reason.length === 0 ? "" : `, ${String(reason).slice(0, 100)}`})`, 0, "");
			if (isOpen) onClose(cause);
			else reject(cause);
		});
	});
}

/** It breaks; `close` says so. */
function ignoreLate(): void {}

/** Calls `onSilence` where nothing has come between two heartbeats. The result ends it. */
function watch(ws: WebSocket, clock: Clock, onSilence: () => void): () => void {
	let isAlive = true;
	let timer: Timer;
	const note = (): void => {
		isAlive = true;
	};
	const beat = (): void => {
		if (!isAlive) {
			onSilence();
			return;
		}
		isAlive = false;
		ws.ping(undefined, undefined, ignoreLate);
		timer = clock.setTimer(HEARTBEAT_MS, beat);
	};
	ws.on("pong", note);
	ws.on("message", note);
	timer = clock.setTimer(HEARTBEAT_MS, beat);
	return () => timer.cancel();
}

async function refusalOf(response: IncomingMessage): Promise<NexusError> {
	let body = "";
	try {
		for await (const chunk of response.setEncoding("utf8")) {
			body += chunk;
			if (body.length > PROBLEM_BYTES_MAX) break;
		}
	} catch {
		// What has come of it may do.
	}
	const retryAfter = response.headers["retry-after"];
	const headers: Record<string, string> = retryAfter === undefined ? {} : { "retry-after": retryAfter };
	const status = response.statusCode ?? 0;
	return errorOf(new Response(body, { status: status >= 200 && status <= 599 && !BODILESS.has(status) ? status : 502, headers }));
}
