/** One end of a WebSocket (RFC 6455) that speaks text: the handshake on our own server, messages in, many small answers in one write out. */
import type { IncomingMessage } from "node:http";
import { type ServerOptions, type WebSocket, WebSocketServer } from "ws";
import type { Problem } from "./problem.ts";
import type { ServerRequest } from "./server-request.ts";
import type { ServerResponse } from "./server-response.ts";
import { SwitchedStream } from "./switched-stream.ts";

export interface WebSocketOptions {
	readonly messageBytesMax: number;
	/** Those of `sec-websocket-protocol` that are spoken here; a client that asks for others alone gets none of them named. */
	readonly protocols: readonly string[];
	/** `bytes` are the receiver's to keep. Not checked to be UTF-8. */
	readonly onMessage: (bytes: Buffer) => void;
	/** Once; nothing comes or goes any more. */
	readonly onClose: () => void;
	/** The client has caught up with what was sent, where that was 64 KiB or more. */
	readonly onDrain?: () => void;
}

export type OpenedWebSocket =
	| { readonly ok: true; readonly socket: TextSocket }
	| { readonly ok: false; readonly problem: Problem; readonly headers: Readonly<Record<string, string>> };

/** A close frame is answered within a round trip; who does not answer is cut off. */
const CLOSE_MS = 2_000;
/** As a socket's own mark. Nobody waits for less to leave. */
const WAITED_BYTES_MIN = 64 * 1024;
const NOTHING = Buffer.alloc(0);
const KEY = /^[+/0-9A-Za-z]{22}==$/;

/** Whether the client asks for one. */
export function isWebSocketRequest(req: ServerRequest): boolean {
	return req.method === "GET" && req.header("upgrade")?.toLowerCase() === "websocket";
}

/** Answers the handshake where it can be; the caller answers the problem otherwise. */
export function openWebSocket(req: ServerRequest, res: ServerResponse, options: WebSocketOptions): OpenedWebSocket {
	if (!isWebSocketRequest(req)) return refuse(426, "This is served over a WebSocket.", { upgrade: "websocket" });
	if (req.header("sec-websocket-version") !== "13") {
		return refuse(426, "The version of the WebSocket is not 13.", { upgrade: "websocket", "sec-websocket-version": "13" });
	}
	const key = req.header("sec-websocket-key") ?? "";
	if (!KEY.test(key)) return refuse(400, "Sec-WebSocket-Key is not 16 bytes in base64.", {});
	const asked = (req.header("sec-websocket-protocol") ?? "").split(",").map((name) => name.trim());
	const protocol = options.protocols.find((name) => asked.includes(name));
	const stream = new SwitchedStream(res);
	return { ok: true, socket: new TextSocket(stream, accept(stream, key, protocol, options.messageBytesMax), options) };
}

export class TextSocket {
	readonly #stream: SwitchedStream;
	readonly #ws: WebSocket;
	readonly #onDrain: (() => void) | undefined;
	#isOpen = true;
	/** Frames of this turn of the loop, one character a byte. */
	#queued = "";

	constructor(stream: SwitchedStream, ws: WebSocket, { onMessage, onClose, onDrain }: WebSocketOptions) {
		this.#stream = stream;
		this.#ws = ws;
		this.#onDrain = onDrain;
		ws.on("message", onMessage as (data: unknown) => void);
		ws.on("error", () => {}); // `close` follows, and the client has been told
		ws.on("close", () => {
			this.#isOpen = false;
			this.#queued = "";
			onClose();
		});
		if (onDrain !== undefined) stream.socket.on("drain", onDrain);
	}

	get isOpen(): boolean {
		return this.#isOpen;
	}

	/** Bytes that wait for the client to take them. */
	get unsentBytes(): number {
		return this.#stream.socket.writableLength + this.#queued.length;
	}

	/** A message of its own, which leaves together with others of the same turn of the loop. */
	send(text: string): void {
		if (!this.#isOpen) return;
		if (this.#queued === "") setImmediate(() => this.#flush());
		const bytes = Buffer.byteLength(text);
		this.#queued += frameHead(bytes);
		this.#queued += bytes === text.length ? text : Buffer.from(text).toString("latin1");
	}

	/** What has arrived already may still be given out. */
	pause(): void {
		this.#ws.pause();
	}

	resume(): void {
		this.#ws.resume();
	}

	/** After what was sent, in good order. `code`: RFC 6455 section 7.4. */
	close(code: number, reason: string): void {
		if (!this.#isOpen) return;
		this.#flush();
		// Paused, its answer could not be read.
		this.#ws.resume();
		this.#ws.close(code, reason);
	}

	/** Cuts it off. */
	destroy(): void {
		this.#ws.terminate();
	}

	#flush(): void {
		const frames = this.#queued;
		this.#queued = "";
		// Between two frames of the library: it sends each in one piece, and nothing compressed that it would have to wait for.
		if (frames === "" || !this.#isOpen || this.#ws.readyState !== this.#ws.OPEN) return;
		// Of what the system takes at once no socket tells that it has drained.
		if (this.#stream.socket.write(frames, "latin1") && frames.length >= WAITED_BYTES_MIN) this.#onDrain?.();
	}
}

function accept(stream: SwitchedStream, key: string, protocol: string | undefined, messageBytesMax: number): WebSocket {
	// The types do not know `closeTimeout` yet.
	const settings: ServerOptions & { readonly closeTimeout: number } = {
		noServer: true,
		clientTracking: false,
		perMessageDeflate: false,
		maxPayload: messageBytesMax,
		skipUTF8Validation: true,
		closeTimeout: CLOSE_MS,
		handleProtocols: () => protocol ?? false,
	};
	const server = new WebSocketServer(settings);
	const headers = {
		upgrade: "websocket",
		"sec-websocket-version": "13",
		"sec-websocket-key": key,
		...(protocol === undefined ? {} : { "sec-websocket-protocol": protocol }),
	};
	let accepted: WebSocket | undefined;
	// All that it reads of the request; the rest was checked above.
	const request = { method: "GET", url: "/", headers } as unknown as IncomingMessage;
	server.handleUpgrade(request, stream, NOTHING, (ws) => {
		accepted = ws;
	});
	if (accepted === undefined) throw new Error("the handshake was checked, and refused");
	return accepted;
}

/** RFC 6455 section 5.2: final, text, not masked. */
function frameHead(bytes: number): string {
	if (bytes < 126) return `\x81${String.fromCharCode(bytes)}`;
	if (bytes <= 0xffff) return `\x81\x7e${String.fromCharCode(bytes >>> 8, bytes & 0xff)}`;
	return `\x81\x7f\0\0\0\0${String.fromCharCode(bytes >>> 24, (bytes >>> 16) & 0xff, (bytes >>> 8) & 0xff, bytes & 0xff)}`;
}

function refuse(status: number, title: string, headers: Readonly<Record<string, string>>): OpenedWebSocket {
	return { ok: false, problem: { status, title, reason: "bad_request" }, headers };
}
