/**
 * A connection of a client: reads requests one after the other, holds back what comes too early, and ends in good order.
 * It knows bytes, deadlines and order; what a request means is the exchange's matter.
 */
import type { Socket } from "node:net";
import type { Deadline } from "../../core/deadline-wheel.ts";
import type { Reason } from "../../core/reasons.ts";
import { BAD, MORE, type RequestParser } from "../../http1/request-parser.ts";
import type { VerifiedPeer } from "../../identity/verify-chain.ts";
import { type ByteReader, UNSENT_BYTES_MAX } from "../../net/byte-socket.ts";
import { HANDSHAKE_RECORD, type ReadyStream } from "../../net/ready-stream.ts";
import { openTunnel, type Tunnel } from "../../net/tunnel.ts";
import type { Http1Connection } from "../../upstream/http1-connection.ts";
import type { ClientContext } from "./client-context.ts";
import type { Downstream } from "./downstream.ts";
import type { Exchange } from "./exchange.ts";
import type { Client, Stack } from "./stack.ts";

/** After the last answer we read and drop for so long, lest a reset eat the answer on its way (Envoy: delayed_close_timeout). */
const LINGER_MS = 1000;

/** The last answer may take so long to reach a slow reader before we stop waiting for it. */
const FLUSH_MS = 60_000;

/**
 * head: reading a request head, or idle · body: reading a request body · busy: the request is whole, its answer is not
 * · tunnel: upgraded · closing: all is said, the peer's close is awaited · closed
 */
type State = "head" | "body" | "busy" | "tunnel" | "closing" | "closed";

export class ClientConnection implements ByteReader, Downstream {
	readonly socket: Socket;
	/** Undefined without TLS. */
	readonly peer: VerifiedPeer | undefined;
	readonly #context: ClientContext;
	/** Only while a request is on its way. */
	#exchange: Exchange | undefined;
	readonly #deadline: Deadline;
	#client: Client | undefined;
	#metStack: Stack | undefined;
	#state: State = "head";
	/** Only while a head is incomplete: parsers are large, and an idle connection needs none. */
	#parser: RequestParser | undefined;
	/** Bytes read behind the request that is under way: pipelined requests. Reading is paused while there are any. */
	#held: Buffer | undefined;
	#paused = false;
	/** On the stack of `onBytes`: its loop goes on by itself. */
	#reading = false;
	#halfClosed = false;
	#tunnel: Tunnel | undefined;
	#retiring = false;
	/** Why it may not call any more. */
	#refusedFor: Reason | undefined;

	constructor(stream: ReadyStream<VerifiedPeer>, context: ClientContext) {
		const { socket } = stream;
		this.#context = context;
		this.socket = socket;
		this.peer = stream.peer;
		this.#deadline = context.deps.wheel.deadline(() => this.#onDeadline());
		this.#deadline.arm(context.stack.limits.keepAliveIdleTimeoutMs);
		socket.on("drain", () => this.#exchange?.onDownstreamWritable());
		socket.on("error", () => {}); // a reset; `close` follows and does the rest
		socket.on("end", () => this.#onEnd());
		socket.on("close", () => this.#onClose());
		// Bytes that have come already are read at once.
		stream.readTo(this);
		socket.resume();
	}

	get draining(): boolean {
		return this.#context.draining || this.#retiring;
	}

	/** Whether a request is on its way. */
	get active(): boolean {
		return this.#exchange !== undefined;
	}

	/** No further request: closes now when idle, after the running answer otherwise. */
	drain(): void {
		if (this.#state === "head" && this.#parser === undefined && this.#held === undefined) this.#close();
	}

	/** No further request; the next answer says so, lest a close cross a request. What never sends one is cut by whoever asked for this. */
	retire(): void {
		this.#retiring = true;
	}

	cut(): void {
		this.socket.destroy();
	}

	/** Whoever is there may not call any more: a request that is on its way is answered, a tunnel is cut. */
	refuseFromNowOn(reason: Reason): void {
		this.#refusedFor = reason;
		this.retire();
		if (this.#state !== "tunnel") this.drain();
		else {
			(this.#exchange as Exchange).reason = reason;
			this.cut();
		}
	}

	/** Another policy has begun to act: what it takes the right from is cut, where no further request would be asked for it. */
	reconsider(): void {
		if (this.#state === "tunnel" && !this.#mayGoOn()) this.cut();
	}

	onBytes(buffer: Buffer, from: number, to: number): void {
		this.#reading = true;
		let at = from;
		while (at < to) {
			switch (this.#state) {
				case "head":
					at = this.#readHead(buffer, at, to);
					continue;
				case "body":
					at = this.#readBody(buffer, at, to);
					continue;
				case "busy":
					this.#hold(buffer, at, to);
					break;
				case "tunnel":
					(this.#tunnel as Tunnel).fromClient.onBytes(buffer, at, to);
					break;
				case "closing":
				case "closed":
					break;
			}
			break;
		}
		this.#reading = false;
	}

	#readHead(buffer: Buffer, from: number, to: number): number {
		const context = this.#context;
		const parser = this.#parser ?? context.takeParser();
		const begun = this.#parser !== undefined;
		const progress = parser.parse(buffer, from, to);
		const stack = context.stack;
		if (progress === MORE) {
			this.#parser = parser;
			// Counted from the first byte, not from the last one: a slow drip must not extend it.
			if (!begun) this.#deadline.arm(stack.limits.requestHeadTimeoutMs);
			return to;
		}
		this.#parser = undefined;
		this.#deadline.disarm();
		const client = this.#meet(stack);
		let at = to;
		if (progress === BAD) {
			const fault = parser.fault;
			this.#state = "busy";
			if (!begun && this.peer === undefined && buffer[from] === HANDSHAKE_RECORD) {
				context.onTlsOnPlaintext(client.address);
				this.#takeExchange().refuse(stack, client, "tls_on_plaintext_port", "the caller speaks TLS to a port that takes plain text");
			} else {
				const detail = fault === undefined ? "" : `${fault.detail}, at byte ${fault.offset}`;
				this.#takeExchange().refuse(stack, client, fault?.reason ?? "bad_request", detail);
			}
		} else at = this.#startExchange(parser, stack, client, buffer, to);
		context.giveBackParser(parser);
		return at;
	}

	#startExchange(parser: RequestParser, stack: Stack, client: Client, buffer: Buffer, to: number): number {
		const exchange = this.#takeExchange();
		const { body } = exchange;
		const head = parser.consumed;
		body.start(parser.framing);
		const at = body.done ? head : body.decode(buffer, head, to);
		if (body.fault !== undefined) {
			this.#state = "busy";
			exchange.refuse(stack, client, body.fault.reason, body.fault.detail);
			return to;
		}
		this.#state = body.done ? "busy" : "body";
		if (!body.done) this.#deadline.arm(stack.limits.bodyIdleTimeoutMs);
		exchange.start(stack, client, parser, buffer);
		return at;
	}

	#readBody(buffer: Buffer, from: number, to: number): number {
		const exchange = this.#exchange as Exchange;
		const { body } = exchange;
		const at = body.decode(buffer, from, to);
		if (body.fault !== undefined) {
			this.#state = "busy";
			this.#deadline.disarm();
			exchange.requestBroken(body.fault.reason, body.fault.detail);
			return to;
		}
		if (body.done) {
			this.#state = "busy";
			this.#deadline.disarm();
		} else if (!this.#paused) this.#deadline.arm(this.#context.stack.limits.bodyIdleTimeoutMs);
		exchange.onRequestBody(buffer);
		return at;
	}

	/** Requests are answered in order, one at a time: what comes early waits, and no more than one read of it. */
	#hold(buffer: Buffer, from: number, to: number): void {
		const rest = buffer.subarray(from, to);
		// The shared read buffer is overwritten by the next read of any connection; held bytes that we own already may stay where they are.
		this.#held = buffer === this.#context.shared.bytes ? Buffer.from(rest) : rest;
		this.#pause();
	}

	// --- the exchange's side

	write(text: string): boolean {
		this.socket.write(text, "latin1");
		return this.socket.writableLength < UNSENT_BYTES_MAX;
	}

	room(bytes: number): Buffer {
		return this.#context.shared.room(this.socket, bytes);
	}

	writeBytes(part: Buffer): boolean {
		this.#context.shared.write(this.socket, part);
		return this.socket.writableLength < UNSENT_BYTES_MAX;
	}

	pauseReading(): void {
		if (this.#state !== "body") return;
		// Whoever is asked to wait cannot be too slow.
		this.#deadline.disarm();
		this.#pause();
	}

	resumeReading(): void {
		if (this.#state !== "body" || !this.#paused) return;
		this.#deadline.arm(this.#context.stack.limits.bodyIdleTimeoutMs);
		this.#goOn();
	}

	exchangeEnded(close: boolean): void {
		this.#giveBackExchange();
		if (this.#state === "closed") return;
		if (close || this.#halfClosed || this.draining) {
			this.#close();
			return;
		}
		this.#state = "head";
		this.#deadline.arm(this.#context.stack.limits.keepAliveIdleTimeoutMs);
		if (!this.#reading) this.#goOn();
	}

	abort(reset: boolean): void {
		if (reset) this.socket.resetAndDestroy();
		else this.socket.destroySoon();
	}

	becomeTunnel(upstream: Http1Connection, head: string, early: Buffer): void {
		this.#state = "tunnel";
		this.#tunnel = openTunnel(this.socket, upstream.socket, this.#context.shared, this.#deadline);
		upstream.tunnelTo(this.#tunnel.fromUpstream);
		// An orderly end has reached the client as a half-close by then; anything else is passed on as it came.
		upstream.socket.on("close", () => {
			if (!this.socket.writableEnded) this.socket.destroy();
		});
		// The policy may have changed while the upstream thought about it.
		if (this.#refusedFor !== undefined || (this.#metStack !== this.#context.stack && !this.#mayGoOn())) {
			const exchange = this.#exchange as Exchange;
			// No status has gone out.
			exchange.status = 0;
			exchange.reason ??= this.#refusedFor;
			this.cut();
			return;
		}
		this.socket.write(head, "latin1");
		if (early.length > 0) this.#tunnel.fromUpstream.onBytes(early, 0, early.length);
		if (this.#halfClosed) upstream.socket.end();
		if (!this.#reading) this.#goOn();
	}

	// --- order, pauses, end

	#takeExchange(): Exchange {
		this.#exchange = this.#context.takeExchange(this);
		return this.#exchange;
	}

	#giveBackExchange(): void {
		if (this.#exchange === undefined) return;
		this.#context.giveBackExchange(this.#exchange);
		this.#exchange = undefined;
	}

	#meet(stack: Stack): Client {
		if (this.#client === undefined || this.#metStack !== stack) {
			this.#metStack = stack;
			this.#client = stack.meet(this.socket.remoteAddress ?? "", this.#context.port(), this.peer);
		}
		return this.#client;
	}

	#mayGoOn(): boolean {
		const { stack } = this.#context;
		return (this.#exchange as Exchange).mayGoOn(stack, this.#meet(stack));
	}

	#pause(): void {
		if (this.#paused) return;
		this.#paused = true;
		this.socket.pause();
	}

	/** Held bytes first, then the socket: `resume` alone could deliver newer bytes before them. */
	#goOn(): void {
		while (this.#held !== undefined && this.#state !== "busy" && this.#state !== "closed") {
			const held = this.#held;
			this.#held = undefined;
			this.onBytes(held, 0, held.length);
		}
		if (this.#held === undefined && this.#paused && this.#state !== "closed") {
			this.#paused = false;
			this.socket.resume();
		}
	}

	/** The client has sent its last byte; an answer under way is still delivered (RFC 9112 9.6). */
	#onEnd(): void {
		this.#halfClosed = true;
		switch (this.#state) {
			case "head":
				this.#close();
				break;
			case "body":
				this.#state = "busy";
				// Half a request, and no more to come: there is nobody to answer, and nothing that may go on.
				this.#exchange?.downstreamClosed();
				this.socket.destroy();
				break;
			default: // busy, closing, tunnel: they see `#halfClosed` or the socket's own `end`
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
				else {
					this.#parser = undefined;
					this.#state = "busy";
					this.#takeExchange().refuse(
						this.#context.stack,
						this.#meet(this.#context.stack),
						"request_timeout",
						"the header section did not arrive in time",
					);
				}
				break;
			case "body":
				this.#state = "busy";
				this.#exchange?.requestBroken("request_timeout", "the body did not arrive in time");
				break;
			default:
				this.socket.destroy();
		}
	}

	#onClose(): void {
		if (this.#state === "closed") return;
		const tunnel = this.#tunnel;
		this.#state = "closed";
		this.#deadline.disarm();
		this.#held = undefined;
		this.#parser = undefined;
		if (tunnel !== undefined) this.#exchange?.tunnelEnded(tunnel.fromClient.bytes, tunnel.fromUpstream.bytes);
		else this.#exchange?.downstreamClosed();
		this.#giveBackExchange();
		this.#context.onClosed(this);
	}
}
