/** Issuing one certificate takes 3 ms of the loop that also takes events: they are made one after the other, with room for everybody else between two. */
import type { Clock } from "../../core/clock.ts";

/** Issuing gets at most a quarter of the loop, about 80 certificates a second here. */
const PAUSE_PER_WORK = 3;
const PAUSE_MIN_MS = 1;
/** Six seconds' worth: who would wait for longer is told to come again. */
const WAITING_MAX = 512;
/** Of these, for one service: whoever floods must not keep all others from their certificates. */
const OWN_PART = 1 / 2;

interface Waiting {
	readonly owner: string;
	readonly run: () => Promise<void>;
	readonly drop: () => void;
}

export class IssuingQueue {
	readonly #clock: Clock;
	readonly #waitingMax: number;
	readonly #waiting: Waiting[] = [];
	#isBusy = false;
	#isClosed = false;

	constructor(clock: Clock, waitingMax = WAITING_MAX) {
		this.#clock = clock;
		this.#waitingMax = waitingMax;
	}

	get waiting(): number {
		return this.#waiting.length;
	}

	/** The result of `work` in its turn; undefined where the queue is full, or `owner` has its part of it, or it closes before. Rejects as `work` does. */
	run<T>(owner: string, work: () => Promise<T>): Promise<T | undefined> {
		if (!this.#hasRoomFor(owner) || this.#isClosed) return Promise.resolve(undefined);
		const { promise, resolve, reject } = Promise.withResolvers<T | undefined>();
		this.#waiting.push({ owner, run: () => work().then(resolve, reject), drop: () => resolve(undefined) });
		if (!this.#isBusy) void this.#next();
		return promise;
	}

	close(): void {
		this.#isClosed = true;
		for (const { drop } of this.#waiting.splice(0)) drop();
	}

	#hasRoomFor(owner: string): boolean {
		if (this.#waiting.length >= this.#waitingMax) return false;
		let own = 0;
		for (const waiting of this.#waiting) if (waiting.owner === owner) own++;
		return own < this.#waitingMax * OWN_PART;
	}

	async #next(): Promise<void> {
		const first = this.#waiting.shift();
		this.#isBusy = first !== undefined;
		if (first === undefined) return;
		const begunMs = this.#clock.monotonicMs();
		await first.run();
		const tookMs = this.#clock.monotonicMs() - begunMs;
		this.#clock.setTimer(Math.max(PAUSE_MIN_MS, tookMs * PAUSE_PER_WORK), () => void this.#next());
	}
}
