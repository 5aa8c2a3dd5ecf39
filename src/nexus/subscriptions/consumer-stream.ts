/** A consumer that is sent events while it has credit: as many at a time as it may hold without having answered for them. */
import type { Consumers, Taken, Taker } from "./consumers.ts";
import type { Entry } from "./delivery.ts";
import { STREAM_TURN_BYTES } from "./limits.ts";

export interface ConsumerStreamOptions {
	readonly consumers: Consumers;
	/** Events that it holds at a time. */
	readonly credit: number;
	/** False while it has not caught up with what was sent; `look` is to be called when it has. */
	readonly isReady: () => boolean;
	readonly send: (taken: readonly Taken[]) => void;
}

export class ConsumerStream implements Taker {
	readonly wantedBytes = STREAM_TURN_BYTES;
	readonly #options: ConsumerStreamOptions;
	readonly #flying = new Set<Entry>();
	/** What it was given is not sent yet. */
	#isSending = false;
	#isLooking = false;
	#isDraining = false;
	#isClosed = false;

	constructor(options: ConsumerStreamOptions) {
		this.#options = options;
	}

	/** False where too many take already. */
	start(): boolean {
		return this.#options.consumers.add(this);
	}

	get wanted(): number {
		return this.#isClosed || this.#isDraining || this.#isSending || !this.#options.isReady() ? 0 : this.#options.credit - this.#flying.size;
	}

	give(entries: readonly Entry[]): void {
		for (const entry of entries) {
			this.#flying.add(entry);
			entry.over = () => {
				this.#flying.delete(entry);
				this.look();
			};
		}
		this.#isSending = true;
		void this.#options.consumers.shown(entries).then((taken) => {
			this.#isSending = false;
			if (!this.#isClosed && taken.length > 0) this.#options.send(taken);
			this.look();
		});
	}

	/** It may want more than a moment ago. Once, after all that this turn of the loop brings. */
	look(): void {
		if (this.#isLooking || this.#isClosed) return;
		this.#isLooking = true;
		queueMicrotask(() => {
			this.#isLooking = false;
			this.#options.consumers.serve();
		});
	}

	/** It is given no more; what it holds it may still answer for. */
	drain(): void {
		this.#isDraining = true;
	}

	/** What it held is tried again, here or elsewhere. */
	close(): void {
		if (this.#isClosed) return;
		this.#isClosed = true;
		this.#options.consumers.remove(this);
		const held = [...this.#flying];
		this.#flying.clear();
		this.#options.consumers.giveBack(held, "the consumer has gone away");
	}
}
