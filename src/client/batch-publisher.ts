/** Publishes events one by one as a program has them, and in batches as the disk likes them. */
import type { Clock, Timer } from "../core/clock.ts";
import type { CloudEvent } from "../events/cloud-event.ts";
import { holdProcess } from "./hold-process.ts";
import { NexusError } from "./nexus-error.ts";
import { type EventReceipt, fateOf, type PublishReport } from "./publish-report.ts";

export interface BatchPublisherOptions {
	/** Default 64: what costs little per event and little to wait for. */
	readonly batchEvents?: number;
	/** Default 512 KiB. */
	readonly batchBytes?: number;
	/** How long the first event of a batch waits for others. Default 5 ms. */
	readonly lingerMs?: number;
	/** Batches that are not answered. Default 4; with 1, events stay in the order of sending through failures as well. */
	readonly inFlight?: number;
	/** Events that wait or are not answered; `send` rejects beyond. Default 10,000. */
	readonly pendingMax?: number;
	/** The same in bytes of JSON. Default 64 MiB. */
	readonly pendingBytesMax?: number;
	/** What is not answered as it is aborted is given up, and nothing more is sent. */
	readonly signal?: AbortSignal;
}

/** What Nexus itself has in hand of all producers. */
const PENDING_BYTES_MAX = 64 * 1024 * 1024;

interface Pending {
	readonly json: string;
	readonly bytes: number;
	readonly settle: (receipt: EventReceipt) => void;
	readonly fail: (cause: unknown) => void;
}

export class BatchPublisher {
	readonly #post: (json: string, signal: AbortSignal | undefined) => Promise<PublishReport>;
	readonly #clock: Clock;
	readonly #complete: (event: never) => CloudEvent;
	readonly #options: Required<Omit<BatchPublisherOptions, "signal">>;
	readonly #signal: AbortSignal | undefined;
	#waiting: Pending[] = [];
	#waitingBytes = 0;
	#pending = 0;
	#pendingBytes = 0;
	#inFlight = 0;
	/** While the first event of a batch waits for others. */
	#linger: { readonly timer: Timer; readonly letGo: () => void } | undefined;
	#isClosed = false;
	#onIdle: (() => void)[] = [];

	/** `post` sends a JSON array of events, and tries again as long as that makes sense. */
	constructor(
		post: (json: string, signal: AbortSignal | undefined) => Promise<PublishReport>,
		complete: (event: never) => CloudEvent,
		clock: Clock,
		{ batchEvents = 64, batchBytes = 512 * 1024, lingerMs = 5, inFlight = 4, pendingMax = 10_000, ...rest }: BatchPublisherOptions = {},
	) {
		this.#post = post;
		this.#complete = complete;
		this.#clock = clock;
		this.#options = { batchEvents, batchBytes, lingerMs, inFlight, pendingMax, pendingBytesMax: rest.pendingBytesMax ?? PENDING_BYTES_MAX };
		this.#signal = rest.signal;
	}

	/** Resolves once it is durable. Rejects with EventRejected, or with the NexusError that would not pass. */
	send(event: unknown): Promise<EventReceipt> {
		if (this.#isClosed) return Promise.reject(new Error("the publisher is closed"));
		if (this.#signal?.aborted === true) return Promise.reject(this.#signal.reason);
		if (this.#pending >= this.#options.pendingMax || this.#pendingBytes >= this.#options.pendingBytesMax) {
			return Promise.reject(new NexusError(`${this.#pending} events wait for Nexus already`, 0, "overloaded"));
		}
		const json = JSON.stringify(this.#complete(event as never));
		const bytes = Buffer.byteLength(json) + 1;
		return new Promise((settle, fail) => {
			this.#pending++;
			this.#pendingBytes += bytes;
			this.#waiting.push({ json, bytes, settle, fail });
			this.#waitingBytes += bytes;
			if (this.#isFull) this.#flush();
			else this.#linger ??= { timer: this.#clock.setTimer(this.#options.lingerMs, () => this.#flush()), letGo: holdProcess() };
		});
	}

	/** Sends what waits, and resolves once all of it is answered. */
	async close(): Promise<void> {
		this.#isClosed = true;
		this.#flush();
		if (this.#pending > 0) await new Promise<void>((resolve) => this.#onIdle.push(resolve));
	}

	get #isFull(): boolean {
		return this.#waiting.length >= this.#options.batchEvents || this.#waitingBytes >= this.#options.batchBytes;
	}

	#flush(): void {
		this.#linger?.timer.cancel();
		this.#linger?.letGo();
		this.#linger = undefined;
		while (this.#waiting.length > 0 && this.#inFlight < this.#options.inFlight) void this.#sendBatch(this.#takeBatch());
	}

	#takeBatch(): Pending[] {
		let bytes = 0;
		let count = 0;
		for (const each of this.#waiting) {
			if (count === this.#options.batchEvents || (count > 0 && bytes + each.bytes > this.#options.batchBytes)) break;
			bytes += each.bytes;
			count++;
		}
		this.#waitingBytes -= bytes;
		return this.#waiting.splice(0, count);
	}

	async #sendBatch(batch: readonly Pending[]): Promise<void> {
		this.#inFlight++;
		try {
			const report = await this.#post(`[${batch.map(({ json }) => json).join(",")}]`, this.#signal);
			batch.forEach(({ settle, fail }, index) => {
				try {
					settle(fateOf(index, report));
				} catch (thrown) {
					fail(thrown);
				}
			});
		} catch (thrown) {
			for (const { fail } of batch) fail(thrown);
		} finally {
			this.#inFlight--;
			this.#pending -= batch.length;
			for (const { bytes } of batch) this.#pendingBytes -= bytes;
			if (this.#isFull || this.#isClosed || (this.#waiting.length > 0 && this.#linger === undefined)) this.#flush();
			if (this.#pending === 0) for (const tell of this.#onIdle.splice(0)) tell();
		}
	}
}
