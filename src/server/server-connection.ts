/**
 * A connection of a client of a local API: reads requests one after the other, holds back what comes too early, and ends in good order.
 * What a request means is the handler's matter.
 */
import type { Socket } from "node:net";
import type { Deadline } from "../core/deadline-wheel.ts";
import { REASONS, type Reason } from "../core/reasons.ts";
import { BodyDecoder } from "../http1/body-decoder.ts";
import { BAD, MORE, type RequestParser } from "../http1/request-parser.ts";
import type { ByteReader } from "../net/byte-socket.ts";
import type { Caller } from "./caller.ts";
import { type Problem, sendProblem } from "./problem.ts";
import type { ServerContext } from "./server-context.ts";
import { ENDED_EARLY, type RequestSource, ServerRequest } from "./server-request.ts";
import { type AnswerWire, ServerResponse } from "./server-response.ts";

// Paths, tokens and trace headers fit many times over.
const HEAD_BYTES_MAX = 16 * 1024;
// A head is one packet; a body is at most a few MiB over a local network.
const HEAD_TIMEOUT_MS = 10_000;
const BODY_TIMEOUT_MS = 30_000;
// Longer than the clients' own idle timeouts, so that they, not we, end a connection and no request meets a closing one.
const KEEP_ALIVE_TIMEOUT_MS = 75_000;
// After the last answer we read and drop for so long, lest a reset eat the answer on its way.
const LINGER_MS = 1000;
// The last answer may take so long to reach a slow reader.
const FLUSH_MS = 60_000;
const CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n";
// Of a request whose head could not be read.
const UNKNOWN_REQUEST = Object.freeze({ headRequest: false, minorVersion: 1, keepAlive: false });

/**
 * head: reading a head, or idle · exchange: a request is served · closing: all is said, the client's close is awaited · switched: it speaks
 * another protocol, for somebody else · closed
 */
type State = "head" | "exchange" | "closing" | "switched" | "closed";

export class ServerConnection implements ByteReader, RequestSource, AnswerWire {
	readonly socket: Socket;
	readonly caller: Caller;
	readonly #context: ServerContext;
	readonly #deadline: Deadline;
	readonly #body = new BodyDecoder();
	#state: State = "head";
	/** Only while a head is incomplete. */
	#parser: RequestParser | undefined;
	#headBytes = 0;
	#request: ServerRequest | undefined;
	#response: ServerResponse | undefined;
	/** Where bytes go once another protocol is spoken. */
	#taker: ByteReader | undefined;
	#wantsBody = false;
	#expectsContinue = false;
	/** What the client sends next cannot be understood, or shall not be read: the running answer is the last one. */
	#isLast = false;
	/** Bytes that nobody is ready for: a body not asked for, a pipelined request. Reading is paused while there are any. */
	#held: Buffer | undefined;
	#paused = false;
	/** On the stack of `onBytes`: its loop goes on by itself. */
	#reading = false;

	/** `open` gives the socket that this connection is to read from. It reads once the socket is resumed. */
	constructor(open: (reader: ByteReader) => Socket, caller: Caller, context: ServerContext) {
		this.#context = context;
		this.caller = caller;
		this.#deadline = context.wheel.deadline(() => this.#onDeadline());
		this.#deadline.arm(HEAD_TIMEOUT_MS);
		const socket = open(this);
		this.socket = socket;
		socket.on("drain", () => this.#onDrain());
		socket.on("error", () => {}); // a reset; `close` follows and does the rest
		socket.on("end", () => this.#onEnd());
		socket.on("close", () => this.#onClose());
	}

	get remoteAddress(): string {
		return this.socket.remoteAddress ?? "";
	}

	get mustClose(): boolean {
		return this.#isLast || this.#context.draining || !this.#body.done;
	}

	/** No further request: ends now when idle, after the running answer otherwise. */
	drain(): void {
		if (this.#state !== "head" || this.#parser !== undefined || this.#held !== undefined) return;
		if (this.socket.writableLength > 0) this.#close();
		else this.socket.destroy();
	}

	destroy(): void {
		this.socket.destroy();
	}

	onBytes(buffer: Buffer, from: number, to: number): void {
		if (this.#taker !== undefined) {
			this.#taker.onBytes(buffer, from, to);
			return;
		}
		this.#reading = true;
		let at = from;
		while (at < to && this.#isOpen) {
			if (this.#isReadable) at = this.#state === "head" ? this.#readHead(buffer, at, to) : this.#readBody(buffer, at, to);
			else {
				this.#hold(buffer, at, to);
				break;
			}
		}
		this.#reading = false;
		// What came right behind the request is the first of the other protocol.
		if (this.#taker !== undefined && at < to) (this.#taker as ByteReader).onBytes(buffer, at, to);
	}

	get #isOpen(): boolean {
		return this.#state === "head" || this.#state === "exchange";
	}

	/** A client that pipelines and does not read gets no further answers until it does. */
	get #isReadable(): boolean {
		return this.#state === "head" ? !this.socket.writableNeedDrain : this.#wantsBody && !this.#body.done;
	}

	#readHead(buffer: Buffer, from: number, to: number): number {
		const context = this.#context;
		const parser = this.#parser ?? context.takeParser();
		const progress = parser.parse(buffer, from, to);
		if (progress === MORE) {
			// Counted from the first byte, not from the last one: a slow drip must not extend it.
			if (this.#parser === undefined) this.#deadline.arm(HEAD_TIMEOUT_MS);
			this.#parser = parser;
			this.#headBytes += to - from;
			if (this.#headBytes > HEAD_BYTES_MAX) this.#refuse("head_too_large", "");
			return to;
		}
		this.#parser = undefined;
		this.#headBytes = 0;
		this.#deadline.disarm();
		let at = to;
		if (progress === BAD) {
			const { fault } = parser;
			if (fault === undefined) this.#refuse("bad_request", "");
			else this.#refuse(fault.reason, `${fault.detail}, at byte ${fault.offset}`);
		} else if (parser.end - parser.start > HEAD_BYTES_MAX) this.#refuse("head_too_large", "");
		else {
			at = parser.consumed;
			this.#serve(parser);
		}
		context.giveBackParser(parser);
		return at;
	}

	#serve(parser: RequestParser): void {
		const { fields, meaning, minorVersion, keepAlive } = parser;
		this.#state = "exchange";
		this.#isLast = !keepAlive;
		this.#wantsBody = false;
		this.#expectsContinue = meaning.expectContinue && minorVersion === 1;
		this.#body.start(parser.framing);
		const request = new ServerRequest(parser, this);
		const response = new ServerResponse(this, { headRequest: parser.method === "HEAD", minorVersion, keepAlive });
		this.#request = request;
		this.#response = response;
		const host = parser.authority === "" ? undefined : parser.authority;
		this.#context.serve(request, response, { host, origin: fields.get("origin"), secFetchSite: fields.get("sec-fetch-site") });
	}

	#readBody(buffer: Buffer, from: number, to: number): number {
		const body = this.#body;
		const at = body.decode(buffer, from, to);
		if (body.fault !== undefined) {
			this.#failBody(problemOf(body.fault.reason, body.fault.detail));
			return to;
		}
		if (body.done) this.#deadline.disarm();
		this.#request?.takeBody(buffer, body.dataStart, body.dataEnd, body.done);
		return at;
	}

	/** Nothing more is read: what follows a broken body cannot be told from a request. */
	#failBody(problem: Problem): void {
		this.#isLast = true;
		this.#wantsBody = false;
		this.#deadline.disarm();
		this.#request?.failBody(problem);
	}

	/** The shared read buffer is overwritten by the next read of any connection; held bytes that we own already may stay where they are. */
	#hold(buffer: Buffer, from: number, to: number): void {
		const rest = buffer.subarray(from, to);
		this.#held = buffer === this.#context.shared.bytes ? Buffer.from(rest) : rest;
		if (this.#paused) return;
		this.#paused = true;
		this.socket.pause();
	}

	/** Held bytes first, then the socket: `resume` alone could deliver newer bytes before them. */
	#goOn(): void {
		while (this.#held !== undefined && this.#isOpen && this.#isReadable) {
			const held = this.#held;
			this.#held = undefined;
			this.onBytes(held, 0, held.length);
		}
		if (this.#held === undefined && this.#paused && this.#state !== "closed") {
			this.#paused = false;
			this.socket.resume();
		}
	}

	// --- the exchange's side

	wantBody(): void {
		if (this.#state !== "exchange") return;
		this.#wantsBody = true;
		this.#deadline.arm(BODY_TIMEOUT_MS);
		if (this.#expectsContinue && this.#held === undefined) this.socket.write(CONTINUE, "latin1");
		if (!this.#reading) this.#goOn();
	}

	dateLine(): string {
		return this.#context.dateLine();
	}

	answered(close: boolean): void {
		// Whoever still reads it, or begins to, must not touch the next one.
		this.#request?.failBody(ENDED_EARLY);
		this.#request = undefined;
		this.#response = undefined;
		if (this.#state !== "exchange") return;
		if (close || this.mustClose) {
			this.#close();
			return;
		}
		this.#state = "head";
		this.#deadline.arm(KEEP_ALIVE_TIMEOUT_MS);
		if (!this.#reading) this.#goOn();
	}

	abort(): void {
		this.socket.resetAndDestroy();
	}

	switchTo(taker: ByteReader): Socket {
		if (this.#state !== "exchange" || !this.#body.done) throw new Error("only a request without a body, and not answered yet, can switch protocols");
		this.#state = "switched";
		this.#deadline.disarm();
		this.#request = undefined;
		this.#response = undefined;
		this.#taker = taker;
		const held = this.#held;
		this.#held = undefined;
		// In a turn of its own: the one who takes over is not ready before it has the socket.
		setImmediate(() => {
			if (this.socket.destroyed) return;
			if (held !== undefined) taker.onBytes(held, 0, held.length);
			if (this.#paused) this.socket.resume();
			this.#paused = false;
		});
		return this.socket;
	}

	// --- faults, deadlines, end

	#refuse(reason: Reason, detail: string): void {
		this.#parser = undefined;
		this.#state = "exchange";
		this.#isLast = true;
		sendProblem(new ServerResponse(this, UNKNOWN_REQUEST), problemOf(reason, detail));
	}

	#onDrain(): void {
		this.#response?.drained();
		if (this.#state === "head") this.#goOn();
	}

	/** The client has sent its last byte. An answer that has not begun is still delivered (RFC 9112 section 9.6); one that streams has lost its reader. */
	#onEnd(): void {
		if (this.#state === "head") this.#close();
		else if (this.#state === "exchange") {
			this.#isLast = true;
			if (!this.#body.done) this.#failBody(ENDED_EARLY);
			if (!this.#body.done || this.#response?.headersSent) this.socket.destroy();
			else this.#response?.clientEnded();
		}
	}

	#close(): void {
		this.#state = "closing";
		this.#held = undefined;
		this.#parser = undefined;
		this.#deadline.arm(FLUSH_MS);
		this.socket.end(() => {
			if (this.#state === "closing") this.#deadline.arm(LINGER_MS);
		});
		if (this.#paused) {
			this.#paused = false;
			this.socket.resume();
		}
	}

	#onDeadline(): void {
		switch (this.#state) {
			case "head":
				if (this.#parser === undefined) this.#close();
				else this.#refuse("request_timeout", "the header section did not arrive in time");
				break;
			case "exchange":
				this.#failBody(problemOf("request_timeout", "the body did not arrive in time"));
				break;
			default:
				this.socket.destroy();
		}
	}

	#onClose(): void {
		if (this.#state === "closed") return;
		this.#state = "closed";
		this.#deadline.disarm();
		this.#held = undefined;
		this.#parser = undefined;
		this.#request?.failBody(ENDED_EARLY);
		this.#response?.lost();
		this.#context.onClosed(this);
	}
}

function problemOf(reason: Reason, detail: string): Problem {
	const { status, title } = REASONS[reason];
	return detail === "" ? { status, title, reason } : { status, title, reason, detail };
}
