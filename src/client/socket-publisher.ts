/** Publishes over one WebSocket: many messages under way, each resolved by its acknowledgement. A connection that breaks is opened anew, and what was not acknowledged is sent again. */
import { WebSocket } from "ws";
import type { Clock } from "../core/clock.ts";
import { messageOf } from "../core/errors.ts";
import type { Rng } from "../core/rng.ts";
import { NexusError, type ProblemDocument, problemWords } from "./nexus-error.ts";
import type { PublishReport } from "./publish-report.ts";
import { backoffMs, wait } from "./retry.ts";
import type { SocketTarget } from "./transport.ts";

export interface SocketPublisherOptions {
	/** Messages without an acknowledgement; `send` rejects beyond. Default 4,096. */
	readonly unackedMax?: number;
	/** How long a connection may be away before what waits for it is given up. Default 30 s. */
	readonly patienceMs?: number;
	/** Default 10 s. */
	readonly handshakeMs?: number;
}

interface Unacked {
	readonly text: string;
	readonly settle: (report: PublishReport) => void;
	readonly fail: (cause: unknown) => void;
}

type Ack = { readonly message: number } & (PublishReport | { readonly problem: ProblemDocument });

export class SocketPublisher {
	readonly #target: () => SocketTarget;
	readonly #clock: Clock;
	readonly #rng: Rng;
	readonly #unackedMax: number;
	readonly #patienceMs: number;
	readonly #handshakeMs: number;
	/** In the order of sending. */
	#unacked = new Map<number, Unacked>();
	/** Messages sent on this connection. */
	#sent = 0;
	#ws: WebSocket | undefined;
	readonly #abort = new AbortController();
	#onIdle: (() => void) | undefined;
	#isClosing = false;

	private constructor(target: () => SocketTarget, clock: Clock, rng: Rng, options: SocketPublisherOptions) {
		this.#target = target;
		this.#clock = clock;
		this.#rng = rng;
		this.#unackedMax = options.unackedMax ?? 4096;
		this.#patienceMs = options.patienceMs ?? 30_000;
		this.#handshakeMs = options.handshakeMs ?? 10_000;
	}

	/** Rejects with a NexusError where the first connection cannot be had. */
	static async open(target: () => SocketTarget, clock: Clock, rng: Rng, options: SocketPublisherOptions = {}): Promise<SocketPublisher> {
		const publisher = new SocketPublisher(target, clock, rng, options);
		await publisher.#connect();
		return publisher;
	}

	get unacked(): number {
		return this.#unacked.size;
	}

	/** `json`: an event, or an array of them, that have their ids already. Resolves once it is durable. */
	send(json: string): Promise<PublishReport> {
		if (this.#isClosing) return Promise.reject(new Error("the publisher is closed"));
		if (this.#unacked.size >= this.#unackedMax) {
			return Promise.reject(new NexusError(`${this.#unacked.size} messages are not acknowledged`, 0, "overloaded"));
		}
		return new Promise((settle, fail) => {
			const number = ++this.#sent;
			this.#unacked.set(number, { text: json, settle, fail });
			this.#ws?.send(json);
		});
	}

	/** Waits for what is not acknowledged, then ends the connection. */
	async close(): Promise<void> {
		this.#isClosing = true;
		if (this.#unacked.size > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve));
		this.#abort.abort(new Error("the publisher is closed"));
		this.#ws?.close(1000);
		this.#ws = undefined;
	}

	#connect(): Promise<void> {
		const { url, headers, tls } = this.#target();
		const ws = new WebSocket(url, "cloudevents.json", {
			...tls,
			headers,
			perMessageDeflate: false,
			handshakeTimeout: this.#handshakeMs,
			maxPayload: ACK_BYTES_MAX,
		});
		return new Promise((resolve, reject) => {
			let isOpen = false;
			let cause: unknown;
			ws.on("open", () => {
				isOpen = true;
				this.#opened(ws);
				resolve();
			});
			ws.on("message", (data) => this.#take(String(data)));
			ws.on("unexpected-response", (_request, response) => {
				cause = new NexusError(`status ${response.statusCode} for a WebSocket`, response.statusCode ?? 0, "");
				ws.terminate();
			});
			ws.on("error", (error) => {
				cause ??= new NexusError(`the WebSocket to ${url} failed: ${messageOf(error)}`, 0, "", 0, { cause: error });
			});
			ws.on("close", () => {
				if (!isOpen) reject(cause ?? new NexusError(`the WebSocket to ${url} was closed`, 0, ""));
				else if (this.#ws === ws) void this.#reconnect();
			});
		});
	}

	/** Acknowledgements count messages of one connection: what is sent again gets new numbers, in the same order. */
	#opened(ws: WebSocket): void {
		const again = [...this.#unacked.values()];
		this.#unacked = new Map(again.map((each, i) => [i + 1, each]));
		this.#sent = again.length;
		this.#ws = ws;
		for (const { text } of again) ws.send(text);
	}

	async #reconnect(): Promise<void> {
		this.#ws = undefined;
		const giveUpAtMs = this.#clock.monotonicMs() + this.#patienceMs;
		for (let tries = 0; !this.#abort.signal.aborted; tries++) {
			try {
				await wait(backoffMs(tries, this.#rng), this.#clock, this.#abort.signal);
				await this.#connect();
				return;
			} catch (thrown) {
				if (this.#abort.signal.aborted) return;
				const isHopeless = thrown instanceof NexusError && !thrown.isTransient;
				if (isHopeless || this.#clock.monotonicMs() > giveUpAtMs) this.#failAll(thrown);
				if (isHopeless) return;
			}
		}
	}

	#failAll(cause: unknown): void {
		const failed = [...this.#unacked.values()];
		this.#unacked.clear();
		for (const { fail } of failed) fail(cause);
		this.#onIdle?.();
	}

	#take(text: string): void {
		const ack = JSON.parse(text) as Ack;
		const unacked = this.#unacked.get(ack.message);
		if (unacked === undefined) return;
		this.#unacked.delete(ack.message);
		if ("problem" in ack) {
			const { status = 0, reason = "" } = ack.problem;
			unacked.fail(new NexusError(problemWords(ack.problem), status, reason));
		} else {
			const { message: _, ...report } = ack;
			unacked.settle(report);
		}
		if (this.#unacked.size === 0) this.#onIdle?.();
	}
}

// A batch of 4,096 events, each with a reason.
const ACK_BYTES_MAX = 4 * 1024 * 1024;
