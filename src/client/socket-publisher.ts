/** Publishes over one WebSocket: many messages under way, each resolved by its acknowledgement. A connection that breaks is opened anew, and what was not acknowledged is sent again. */
import type { Clock } from "../core/clock.ts";
import type { Rng } from "../core/rng.ts";
import { errorOfProblem, NexusError, type ProblemDocument } from "./nexus-error.ts";
import type { PublishReport } from "./publish-report.ts";
import { backoffMs, retryAfterOf, wait } from "./retry.ts";
import type { Transport } from "./transport.ts";
import { type ClientSocket, openSocket } from "./web-socket.ts";

export interface SocketPublisherOptions {
	/** Messages without an acknowledgement; `send` rejects beyond. Default 4,096. */
	readonly unackedMax?: number;
	/** The same in bytes of JSON. Default 64 MiB. */
	readonly unackedBytesMax?: number;
	/** How long a connection may be away before what waits for it is given up. Default 30 s. */
	readonly patienceMs?: number;
	/** Default 10 s. */
	readonly handshakeMs?: number;
	/** Ends it as it is aborted: what is not acknowledged is given up. */
	readonly signal?: AbortSignal;
}

const UNACKED_BYTES_MAX = 64 * 1024 * 1024;

interface Unacked {
	readonly text: string;
	readonly bytes: number;
	readonly settle: (report: PublishReport) => void;
	readonly fail: (cause: unknown) => void;
}

type Ack = { readonly message: number } & (PublishReport | { readonly problem: ProblemDocument });

export class SocketPublisher {
	readonly #transport: Transport;
	readonly #clock: Clock;
	readonly #rng: Rng;
	readonly #unackedMax: number;
	readonly #unackedBytesMax: number;
	readonly #patienceMs: number;
	readonly #handshakeMs: number;
	/** In the order of sending. */
	#unacked = new Map<number, Unacked>();
	#unackedBytes = 0;
	/** Messages sent on this connection. */
	#sent = 0;
	#socket: ClientSocket | undefined;
	/** Aborted with why it is over. */
	readonly #end = new AbortController();
	#onIdle: (() => void)[] = [];
	#isClosing = false;

	private constructor(transport: Transport, clock: Clock, rng: Rng, options: SocketPublisherOptions) {
		this.#transport = transport;
		this.#clock = clock;
		this.#rng = rng;
		this.#unackedMax = options.unackedMax ?? 4096;
		this.#unackedBytesMax = options.unackedBytesMax ?? UNACKED_BYTES_MAX;
		this.#patienceMs = options.patienceMs ?? 30_000;
		this.#handshakeMs = options.handshakeMs ?? 10_000;
	}

	/** Rejects with a NexusError where the first connection cannot be had. */
	static async open(transport: Transport, clock: Clock, rng: Rng, options: SocketPublisherOptions = {}): Promise<SocketPublisher> {
		const { signal } = options;
		signal?.throwIfAborted();
		const publisher = new SocketPublisher(transport, clock, rng, options);
		const end = (): void => publisher.#endWith(signal?.reason);
		signal?.addEventListener("abort", end, { once: true });
		publisher.#end.signal.addEventListener("abort", () => signal?.removeEventListener("abort", end), { once: true });
		try {
			await publisher.#connect();
			signal?.throwIfAborted();
			return publisher;
		} catch (thrown) {
			publisher.#endWith(thrown);
			throw thrown;
		}
	}

	get unacked(): number {
		return this.#unacked.size;
	}

	/** `json`: an event, or an array of them, that have their ids already. Resolves once it is durable. */
	send(json: string): Promise<PublishReport> {
		if (this.#end.signal.aborted) return Promise.reject(this.#end.signal.reason);
		if (this.#isClosing) return Promise.reject(new Error(CLOSED));
		if (this.#unacked.size >= this.#unackedMax || this.#unackedBytes >= this.#unackedBytesMax) {
			return Promise.reject(new NexusError(`${this.#unacked.size} messages are not acknowledged`, 0, "overloaded"));
		}
		return new Promise((settle, fail) => {
			const number = ++this.#sent;
			const bytes = Buffer.byteLength(json);
			this.#unacked.set(number, { text: json, bytes, settle, fail });
			this.#unackedBytes += bytes;
			this.#socket?.send(json);
		});
	}

	/** Waits for what is not acknowledged, then ends the connection. */
	async close(): Promise<void> {
		this.#isClosing = true;
		if (this.#unacked.size > 0) await new Promise<void>((resolve) => this.#onIdle.push(resolve));
		this.#endWith(new Error(CLOSED));
	}

	#endWith(cause: unknown): void {
		if (this.#end.signal.aborted) return;
		this.#end.abort(cause);
		this.#socket?.close();
		this.#socket = undefined;
		this.#failAll(cause);
	}

	async #connect(): Promise<void> {
		const socket: ClientSocket = await openSocket(this.#transport, PATH, {
			clock: this.#clock,
			protocol: "cloudevents.json",
			handshakeMs: this.#handshakeMs,
			messageBytesMax: ACK_BYTES_MAX,
			onMessage: (text) => this.#take(text),
			onClose: () => {
				if (this.#socket === socket) void this.#reconnect();
			},
		});
		if (this.#end.signal.aborted) socket.close();
		else this.#opened(socket);
	}

	/** Acknowledgements count messages of one connection: what is sent again gets new numbers, in the same order. */
	#opened(socket: ClientSocket): void {
		const again = [...this.#unacked.values()];
		this.#unacked = new Map(again.map((each, i) => [i + 1, each]));
		this.#sent = again.length;
		this.#socket = socket;
		for (const { text } of again) socket.send(text);
	}

	async #reconnect(): Promise<void> {
		this.#socket = undefined;
		const giveUpAtMs = this.#clock.monotonicMs() + this.#patienceMs;
		for (let tries = 0, askedMs = 0; !this.#end.signal.aborted; tries++) {
			try {
				await wait(Math.max(askedMs, backoffMs(tries, this.#rng)), this.#clock, this.#end.signal);
				await this.#connect();
				return;
			} catch (thrown) {
				if (thrown instanceof NexusError && !thrown.isTransient) this.#endWith(thrown);
				else if (this.#clock.monotonicMs() > giveUpAtMs) this.#failAll(thrown);
				askedMs = retryAfterOf(thrown);
			}
		}
	}

	#failAll(cause: unknown): void {
		const failed = [...this.#unacked.values()];
		this.#unacked.clear();
		this.#unackedBytes = 0;
		for (const { fail } of failed) fail(cause);
		this.#tellIdle();
	}

	#take(text: string): void {
		const ack = JSON.parse(text) as Ack;
		const unacked = this.#unacked.get(ack.message);
		if (unacked === undefined) return;
		this.#unacked.delete(ack.message);
		this.#unackedBytes -= unacked.bytes;
		if ("problem" in ack) {
			unacked.fail(errorOfProblem(ack.problem));
		} else {
			const { message: _, ...report } = ack;
			unacked.settle(report);
		}
		this.#tellIdle();
	}

	#tellIdle(): void {
		if (this.#unacked.size === 0) for (const tell of this.#onIdle.splice(0)) tell();
	}
}

const PATH = "/v1/events/publish";
const CLOSED = "the publisher is closed";
// A batch of 4,096 events, each with a reason.
const ACK_BYTES_MAX = 4 * 1024 * 1024;
