/** What stands before the log when it is busy: two queues, and the urgent one goes first. An idle log is asked at once. */
import { RingQueue } from "../../core/ring-queue.ts";
import type { AppendBatch, AppendOutcome, EventLog } from "../log/event-log.ts";
import { COMMIT_WINDOW_BYTES } from "./limits.ts";

interface Waiting {
	readonly batch: AppendBatch;
	readonly bytes: number;
	readonly settle: (outcome: Promise<AppendOutcome>) => void;
}

/**
 * Strict: while urgent events wait, no others go. So who has sent something urgent and then something else finds it in that order in the log. Bounded by
 * those who put in: what waits here is in flight.
 */
export class CommitLanes {
	readonly #log: EventLog;
	readonly #windowBytes: number;
	// Bounded by what may be in flight.
	readonly #urgent = new RingQueue<Waiting>(Number.POSITIVE_INFINITY);
	readonly #others = new RingQueue<Waiting>(Number.POSITIVE_INFINITY);
	/** Handed to the log, and not settled. */
	#handedBytes = 0;

	constructor(log: EventLog, windowBytes: number = COMMIT_WINDOW_BYTES) {
		this.#log = log;
		this.#windowBytes = windowBytes;
	}

	/** Batches that wait. */
	get waiting(): number {
		return this.#urgent.size + this.#others.size;
	}

	/** `bytes`: of its events. */
	append(batch: AppendBatch, bytes: number, isUrgent: boolean): Promise<AppendOutcome> {
		if (this.#handedBytes < this.#windowBytes && this.waiting === 0) return this.#hand(batch, bytes);
		return new Promise((settle) => (isUrgent ? this.#urgent : this.#others).push({ batch, bytes, settle }));
	}

	#hand(batch: AppendBatch, bytes: number): Promise<AppendOutcome> {
		this.#handedBytes += bytes;
		const appended = this.#log.append(batch);
		const settled = (): void => {
			this.#handedBytes -= bytes;
			if (this.waiting > 0) this.#handNext();
		};
		appended.then(settled, settled);
		return appended;
	}

	#handNext(): void {
		while (this.#handedBytes < this.#windowBytes) {
			const next = this.#urgent.shift() ?? this.#others.shift();
			if (next === undefined) return;
			next.settle(this.#hand(next.batch, next.bytes));
		}
	}
}
