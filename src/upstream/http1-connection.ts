/** One HTTP/1.1 connection to an endpoint: writes requests, reads answers, knows whether it may be used again. */
import type { LookupFunction, Socket } from "node:net";
import type { Deadline, DeadlineWheel } from "../core/deadline-wheel.ts";
import { codeOf, messageOf } from "../core/errors.ts";
import type { Reason } from "../core/reasons.ts";
import { BodyDecoder } from "../http1/body-decoder.ts";
import type { CodecFault } from "../http1/fault.ts";
import { INTERIM_RESPONSES_MAX } from "../http1/limits.ts";
import { BAD, MORE } from "../http1/request-parser.ts";
import { ResponseParser } from "../http1/response-parser.ts";
import type { VerifiedPeer } from "../identity/verify-chain.ts";
import { type ByteReader, dial, UNSENT_BYTES_MAX } from "../net/byte-socket.ts";
import type { LoopMemory, Room } from "../net/loop-memory.ts";
import { failureOf } from "../net/tls-cause.ts";
import type { TlsSessions } from "../net/tls-sessions.ts";
import type { Address } from "../policy/snapshot.ts";
import type { Encryption } from "./encryption.ts";
import type { ResponseHandler } from "./response-handler.ts";

/** The pool's side of a connection's life. */
export interface ConnectionOwner {
	onConnected(connection: Http1Connection): void;
	onConnectFailed(connection: Http1Connection, reason: Reason, detail: string): void;
	onReusable(connection: Http1Connection): void;
	/** Once, for each connection that had been connected. */
	onClosed(connection: Http1Connection): void;
}

export interface ConnectionOptions {
	readonly address: Address;
	readonly connectTimeoutMs: number;
	readonly idleTimeoutMs: number;
	readonly lookup?: LookupFunction;
	/** Undefined: plain text. */
	readonly encryption?: Encryption;
}

type Phase = "connecting" | "idle" | "busy" | "tunnel" | "closed";

export class Http1Connection implements ByteReader, Room {
	readonly socket: Socket;
	/** Once it is known; undefined in plain text and outside of the mesh. */
	peer: VerifiedPeer | undefined;
	readonly #owner: ConnectionOwner;
	readonly #options: ConnectionOptions;
	readonly #shared: LoopMemory;
	readonly #sessions: TlsSessions | undefined;
	readonly #deadline: Deadline;
	readonly #parser = new ResponseParser();
	readonly #body = new BodyDecoder();
	#phase: Phase = "connecting";
	#handler: ResponseHandler | undefined;
	#tunnel: ByteReader | undefined;
	#headRequest = false;
	#upgrade = false;
	#requestSent = false;
	#headDone = false;
	#interims = 0;
	#requests = 0;
	/** False once something was seen after which nobody else may use it. */
	#clean = true;
	#retiring = false;
	#error: unknown;

	/** `sessions`: of the endpoint. */
	constructor(options: ConnectionOptions, owner: ConnectionOwner, wheel: DeadlineWheel, shared: LoopMemory, sessions?: TlsSessions) {
		this.#options = options;
		this.#shared = shared;
		this.#owner = owner;
		this.#sessions = sessions;
		this.#deadline = wheel.deadline(() => this.#onDeadline());
		this.#deadline.arm(options.connectTimeoutMs);
		const { encryption } = options;
		const socket =
			encryption === undefined || sessions === undefined
				? dial(options.address, shared, this, options.lookup)
				: this.#dialEncrypted(encryption, sessions, wheel);
		this.socket = socket;
		// With TLS the handshake has a limit of its own from here on.
		socket.on("connect", () => (encryption === undefined ? this.#onConnect() : this.#deadline.disarm()));
		socket.on("drain", () => this.#handler?.onWritable());
		socket.on("error", (error) => {
			this.#error = error;
		});
		socket.on("end", () => this.#onEnd());
		socket.on("close", () => this.#onClose());
	}

	/** Requests that it has carried before the present one. */
	get reused(): boolean {
		return this.#requests > 1;
	}

	/** Whether a byte of the present answer has come. */
	get answerBegun(): boolean {
		return this.#headDone || this.#parser.begun || this.#interims > 0;
	}

	/** Ended by a reset before a byte of the answer: as the kernel ends what a service that stops has never accepted. */
	get resetUnanswered(): boolean {
		return this.#error !== undefined && !this.answerBegun;
	}

	/** Whether more may be written without growing what is held back. */
	get writable(): boolean {
		return this.socket.writableLength < UNSENT_BYTES_MAX;
	}

	/** Takes the connection for one exchange. `text` is latin1: the head, and a small body behind it. */
	send(handler: ResponseHandler, text: string, complete: boolean, headRequest: boolean, upgrade: boolean): void {
		this.#phase = "busy";
		this.#deadline.disarm();
		this.#handler = handler;
		this.#headRequest = headRequest;
		this.#upgrade = upgrade;
		this.#requestSent = complete;
		this.#headDone = false;
		this.#interims = 0;
		this.#requests++;
		this.#parser.reset();
		this.socket.write(text, "latin1");
	}

	room(bytes: number): Buffer {
		return this.#shared.room(this.socket, bytes);
	}

	/** A further part of the request, composed in `room` or kept elsewhere. Returns whether more may follow now; otherwise `onWritable` tells when. */
	write(part: Buffer, complete: boolean): boolean {
		this.#requestSent = complete;
		if (part.length > 0) this.#shared.write(this.socket, part);
		return this.writable;
	}

	/** Stops and goes on reading the answer: backpressure of whoever it is for. */
	pauseReading(): void {
		this.socket.pause();
	}

	resumeReading(): void {
		this.socket.resume();
	}

	/** The handler is done with a complete answer. Returns it to the pool, or closes what cannot be used again. */
	release(): void {
		if (this.#phase !== "busy") return;
		this.#handler = undefined;
		if (!this.#clean || !this.#requestSent || this.#retiring) {
			this.close();
			return;
		}
		this.#phase = "idle";
		this.#deadline.arm(this.#options.idleTimeoutMs);
		this.#owner.onReusable(this);
	}

	/** Closes at once: nothing more is read or written, the handler hears nothing more. Idempotent. */
	close(): void {
		this.#handler = undefined;
		this.#tunnel = undefined;
		this.#deadline.disarm();
		this.socket.destroy();
	}

	/** Not to be used again; closes now where it is idle, else after its answer. */
	retire(): void {
		this.#retiring = true;
		if (this.#phase === "idle" || this.#phase === "connecting") this.close();
	}

	/** Closed at once, as if the endpoint had reset it. */
	cut(): void {
		this.#error ??= new Error("the endpoint's certificate is not trusted any more, or over");
		this.socket.destroy();
	}

	/** From now on its bytes go to `reader`. */
	tunnelTo(reader: ByteReader): void {
		this.#phase = "tunnel";
		this.#tunnel = reader;
		this.#handler = undefined;
	}

	onBytes(buffer: Buffer, from: number, to: number): void {
		if (this.#tunnel !== undefined) {
			this.#tunnel.onBytes(buffer, from, to);
			return;
		}
		const handler = this.#handler;
		// Bytes that nobody asked for: an answer to nobody, or behind a complete one. It would be the next request's (HOSTILE 28, 29).
		if (handler === undefined) {
			this.#sessions?.clear();
			this.close();
			return;
		}
		if (this.#headDone) this.#readBody(handler, buffer, from, to);
		else this.#readHead(handler, buffer, from, to);
	}

	#readHead(handler: ResponseHandler, buffer: Buffer, from: number, to: number): void {
		const parser = this.#parser;
		let at = from;
		for (;;) {
			const progress = parser.parse(buffer, at, to, this.#headRequest);
			if (progress === MORE) return;
			if (progress === BAD) {
				this.#break(parser.fault);
				return;
			}
			at = parser.consumed;
			if (parser.status >= 200) break;
			if (parser.status === 101) {
				// Valid only where this request asked for it (RFC 9110 15.2.2).
				if (!this.#upgrade) {
					this.#breakWith("upstream_protocol_error", "101 to a request without Upgrade (RFC 9110 15.2.2)");
					return;
				}
				this.#headDone = true;
				handler.onUpgraded(parser, buffer, at, to);
				return;
			}
			if (++this.#interims > INTERIM_RESPONSES_MAX) {
				this.#breakWith("upstream_protocol_error", "more interim answers than the limit");
				return;
			}
			handler.onInterim(parser);
			if (this.#handler !== handler) return;
			parser.reset();
		}
		this.#headDone = true;
		// So a callee refuses us that has looked at our certificates: resumed, it would be shown the first of them alone, and refuse us again.
		if (parser.status === 403 && !parser.keepAlive) this.#sessions?.clear();
		const body = this.#body;
		body.start(parser.framing);
		const end = body.decode(buffer, at, to);
		if (body.fault !== undefined) {
			this.#break(body.fault);
			return;
		}
		this.#clean = parser.keepAlive && end === to;
		handler.onResponse(parser, body, buffer);
	}

	#readBody(handler: ResponseHandler, buffer: Buffer, from: number, to: number): void {
		const body = this.#body;
		const end = body.decode(buffer, from, to);
		if (body.fault !== undefined) {
			this.#break(body.fault);
			return;
		}
		if (end < to) this.#clean = false;
		handler.onBody(body, buffer);
	}

	#break(fault: CodecFault | undefined): void {
		this.#breakWith("upstream_protocol_error", fault === undefined ? "" : `${fault.detail}, at byte ${fault.offset}`);
	}

	#breakWith(reason: Reason, detail: string): void {
		const handler = this.#handler;
		this.close();
		handler?.onBroken(reason, detail);
	}

	#dialEncrypted(encryption: Encryption, sessions: TlsSessions, wheel: DeadlineWheel): Socket {
		const { address, lookup } = this.#options;
		return encryption.dial({
			address,
			sessions,
			lookup,
			reader: this,
			wheel,
			shared: this.#shared,
			onReady: (peer, resumed, ownUntilMs) => {
				this.peer = peer;
				encryption.onSecured(this, address, resumed, ownUntilMs);
				this.#onConnect();
			},
			onFailed: (failure) => {
				encryption.onFailed(address, failure);
				this.#error = new Error(failure.words);
				this.#failConnect(failure.reason);
			},
		});
	}

	#onConnect(): void {
		this.#phase = "idle";
		this.#deadline.arm(this.#options.idleTimeoutMs);
		this.#owner.onConnected(this);
	}

	#onDeadline(): void {
		if (this.#phase === "connecting") {
			this.#error = new Error("no answer to the connection attempt in time");
			this.#failConnect("connect_timeout");
		}
		this.close();
	}

	/** The endpoint has sent its last byte. */
	#onEnd(): void {
		const handler = this.#handler;
		if (this.#phase === "tunnel") return; // the tunnel passes the half-close on by itself
		if (handler !== undefined && this.#headDone && this.#body.closed()) {
			this.#clean = false;
			this.#body.dataStart = this.#body.dataEnd = 0;
			handler.onBody(this.#body, EMPTY);
			return;
		}
		if (handler !== undefined) this.#breakUnfinished();
		else this.close();
	}

	#onClose(): void {
		const phase = this.#phase;
		if (phase === "closed") return;
		if (phase === "connecting") {
			const code = codeOf(this.#error);
			this.#failConnect(
				code === "ECONNREFUSED" || code === "ENOENT" ? "connect_refused" : code === "ETIMEDOUT" ? "connect_timeout" : "connect_failed",
			);
			return;
		}
		this.#phase = "closed";
		this.#deadline.disarm();
		this.#options.encryption?.onClosed(this);
		this.#owner.onClosed(this);
		if (this.#handler !== undefined) this.#breakUnfinished();
	}

	#failConnect(reason: Reason): void {
		this.#phase = "closed";
		this.#deadline.disarm();
		this.#owner.onConnectFailed(this, reason, this.#error === undefined ? "closed while connecting" : messageOf(this.#error));
	}

	#breakUnfinished(): void {
		const { encryption, address } = this.#options;
		// A callee that speaks TLS 1.3 refuses our certificate after it has let us begin; it has read nothing of the request then.
		if (encryption !== undefined && !this.answerBegun && codeOf(this.#error)?.startsWith("ERR_SSL_") === true) {
			const failure = failureOf(this.#error, "client");
			encryption.onFailed(address, failure);
			this.#breakWith(failure.reason, failure.words);
			return;
		}
		const raced = this.reused && !this.answerBegun;
		const detail = this.#error === undefined ? "the endpoint closed the connection" : messageOf(this.#error);
		this.#breakWith(raced ? "upstream_idle_race" : "upstream_reset", detail);
	}
}

const EMPTY = Buffer.alloc(0);
