/** The queues of one limit, one for each key that has requests waiting. */
import type { Clock } from "../core/clock.ts";
import type { Turn } from "./turn.ts";
import { type BottleneckClass, WaitQueue } from "./wait-queue.ts";

// Each queue costs a few kilobytes; further keys are refused instead. Waiting requests as such are bounded by the listener's connections.
const QUEUES_MAX = 1000;
// Bottleneck manages 300 to 400 jobs a second (measured); a third of that leaves CPU for the requests.
const JOBS_PER_SECOND = 100;

export interface WaitQueuesOptions {
	readonly bottleneck: Promise<BottleneckClass>;
	readonly clock: Clock;
	/** See `WaitQueueOptions`. */
	readonly tryTake: (key: string, nowMs: number) => number;
	readonly queuedMax: number;
	readonly waitMaxMs: number;
	readonly requestsPerSecond: number;
}

export class WaitQueues {
	readonly #bottleneck: Promise<BottleneckClass>;
	readonly #clock: Clock;
	readonly #tryTake: (key: string, nowMs: number) => number;
	readonly #queues = new Map<string, WaitQueue>();
	#queuedMax = 0;
	#waitMaxMs = 0;
	#batch = 1;

	constructor(options: WaitQueuesOptions) {
		this.#bottleneck = options.bottleneck;
		this.#clock = options.clock;
		this.#tryTake = options.tryTake;
		this.configure(options.queuedMax, options.waitMaxMs, options.requestsPerSecond);
	}

	/** Numbers for what joins from now on. */
	configure(queuedMax: number, waitMaxMs: number, requestsPerSecond: number): void {
		this.#queuedMax = queuedMax;
		this.#waitMaxMs = waitMaxMs;
		this.#batch = Math.ceil(requestsPerSecond / JOBS_PER_SECOND);
	}

	/** Requests of this key that wait; who comes now waits behind them. */
	waiting(key: string): number {
		return this.#queues.size === 0 ? 0 : (this.#queues.get(key)?.waiting ?? 0);
	}

	get waitingTotal(): number {
		let total = 0;
		for (const queue of this.#queues.values()) total += queue.waiting;
		return total;
	}

	accepts(key: string): boolean {
		const queue = this.#queues.get(key);
		return queue === undefined ? this.#queues.size < QUEUES_MAX : queue.waiting < this.#queuedMax;
	}

	/** Only where it `accepts` the key. */
	join(turn: Turn): void {
		const queue = this.#queues.get(turn.key) ?? this.#open(turn.key);
		queue.join(turn);
	}

	/** False where it does not wait here. */
	leave(turn: Turn): boolean {
		return this.#queues.get(turn.key)?.leave(turn) ?? false;
	}

	#open(key: string): WaitQueue {
		const queue: WaitQueue = new WaitQueue({
			key,
			bottleneck: this.#bottleneck,
			batch: this.#batch,
			waitMaxMs: this.#waitMaxMs,
			clock: this.#clock,
			tryTake: this.#tryTake,
			onEmpty: () => {
				if (this.#queues.get(key) === queue) this.#queues.delete(key);
			},
		});
		this.#queues.set(key, queue);
		return queue;
	}
}
