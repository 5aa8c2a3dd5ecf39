/** The tries of one dispatcher that are under way: one timer for all tells of those that had no answer in time. */
import type { Clock, Timer } from "../../core/clock.ts";
import type { Entry } from "./delivery.ts";

export class Flights {
	readonly #clock: Clock;
	readonly #ackWaitMs: number;
	readonly #onTimeout: (entry: Entry, attempt: number) => void;
	/** With the number of the try. In the order of their deadlines: all have the same time, and who asks for more goes to the end. */
	readonly #flying = new Map<Entry, number>();
	#timer: Timer | undefined;

	/** `onTimeout` must end the try. */
	constructor(clock: Clock, ackWaitMs: number, onTimeout: (entry: Entry, attempt: number) => void) {
		this.#clock = clock;
		this.#ackWaitMs = ackWaitMs;
		this.#onTimeout = onTimeout;
	}

	get size(): number {
		return this.#flying.size;
	}

	entries(): IterableIterator<Entry> {
		return this.#flying.keys();
	}

	/** The try that `entry` counted last. */
	begin(entry: Entry, nowMs: number): void {
		entry.dueMs = nowMs + this.#ackWaitMs;
		this.#flying.set(entry, entry.attempts);
		if (this.#timer === undefined) this.#arm(this.#ackWaitMs);
	}

	/** False where that try is over already. */
	end(entry: Entry, attempt: number): boolean {
		return this.#flying.get(entry) === attempt && this.#flying.delete(entry);
	}

	/** Its time begins anew. False where that try is over already. */
	extend(entry: Entry, attempt: number): boolean {
		if (!this.end(entry, attempt)) return false;
		this.begin(entry, this.#clock.monotonicMs());
		return true;
	}

	/** Nothing is told any more. */
	stop(): void {
		this.#timer?.cancel();
		this.#timer = undefined;
	}

	clear(): void {
		this.stop();
		this.#flying.clear();
	}

	#arm(waitMs: number): void {
		this.#timer?.cancel();
		this.#timer = this.#clock.setTimer(waitMs, () => this.#expire());
	}

	#expire(): void {
		this.#timer = undefined;
		const nowMs = this.#clock.monotonicMs();
		for (const [entry, attempt] of this.#flying) {
			if (entry.dueMs > nowMs) {
				// What was told may have begun another one, whose end is later.
				this.#arm(entry.dueMs - nowMs);
				return;
			}
			this.#onTimeout(entry, attempt);
		}
	}
}
