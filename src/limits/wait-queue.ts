/** The requests of one key that wait for the rate: in the order of their priority, each for so long at most. */
import type Bottleneck from "bottleneck";
import type { Clock, Timer } from "../core/clock.ts";
import type { Turn } from "./turn.ts";

const PRIORITIES = 10;

export type BottleneckClass = typeof Bottleneck;

export interface WaitQueueOptions {
	readonly key: string;
	readonly bottleneck: Promise<BottleneckClass>;
	/** Tickets that bottleneck lets through ahead of their tokens. */
	readonly ahead: number;
	readonly waitMaxMs: number;
	readonly clock: Clock;
	/** Takes a token: 0, or else the milliseconds until it is worth trying again. */
	tryTake(key: string, nowMs: number): number;
	/** Called when nothing is left in it. */
	onEmpty(): void;
}

// turns, priority 0   [ r r ]                         first token, first ticket: the first turn of the lowest number goes on
// turns, priority 5   [ r r r ]                         ^
// tickets             [ t t t t t ] -- bottleneck --> | t t
//                                      `ahead` at a time
//
// Bottleneck queues tickets, not requests: it cannot forget a job, but a request may go away at any time. The ticket of one that has
// gone is taken over by the next to come, so there are never more tickets than requests have waited at once; and any ticket lets the
// most urgent request through, however late it came. Bottleneck's own clock decides nothing: it takes 2 to 4 ms for a job, which
// `ahead` tickets hide. The rate is that of the buckets.

export class WaitQueue {
	readonly #options: WaitQueueOptions;
	readonly #shaper: Promise<Bottleneck>;
	/** By priority, in the order of arrival; the timer ends the wait. */
	readonly #turns: Map<Turn, Timer>[] = Array.from({ length: PRIORITIES }, () => new Map());
	/** Tickets without a turn. */
	#spares = 0;
	#waiting = 0;
	/** Tickets that bottleneck has let through; to be called when they are used. */
	readonly #gate: (() => void)[] = [];
	#timer: Timer | undefined;

	constructor(options: WaitQueueOptions) {
		this.#options = options;
		this.#shaper = options.bottleneck.then((BottleneckOf) => new BottleneckOf({ maxConcurrent: options.ahead }));
	}

	/** Requests, not tickets. */
	get waiting(): number {
		return this.#waiting;
	}

	join(turn: Turn): void {
		const timer = this.#options.clock.setTimer(this.#options.waitMaxMs, () => this.#timeOut(turn));
		this.#turns[turn.priority]?.set(turn, timer);
		this.#waiting++;
		if (this.#spares > 0) this.#spares--;
		else this.#submit();
	}

	/** The request has gone. False where it did not wait here. */
	leave(turn: Turn): boolean {
		if (!this.#remove(turn)) return false;
		this.#spares++;
		this.#pump();
		return true;
	}

	#timeOut(turn: Turn): void {
		if (this.leave(turn)) turn.refused({ reason: "queue_timeout", retryAfterMs: this.#options.waitMaxMs });
	}

	#submit(): void {
		const atGate = (): Promise<void> =>
			new Promise((used) => {
				this.#gate.push(used);
				this.#pump();
			});
		void this.#shaper.then((shaper) => shaper.schedule(atGate));
	}

	#pump(): void {
		this.#timer?.cancel();
		this.#timer = undefined;
		while (this.#gate.length > 0) {
			const turn = this.#first();
			if (turn === undefined) this.#spares--;
			else {
				const waitMs = this.#options.tryTake(this.#options.key, this.#options.clock.monotonicMs());
				if (waitMs > 0) {
					// Whole milliseconds, upwards: the runtime's timers know no others, and would be early.
					this.#timer = this.#options.clock.setTimer(Math.ceil(waitMs), () => this.#pump());
					return;
				}
				this.#remove(turn);
			}
			this.#gate.shift()?.();
			turn?.granted(this.#options.clock.monotonicMs());
		}
		if (this.#waiting === 0 && this.#spares === 0) this.#options.onEmpty();
	}

	#first(): Turn | undefined {
		if (this.#waiting === 0) return undefined;
		for (const turns of this.#turns) for (const turn of turns.keys()) return turn;
		return undefined;
	}

	#remove(turn: Turn): boolean {
		const timer = this.#turns[turn.priority]?.get(turn);
		if (timer === undefined) return false;
		timer.cancel();
		this.#turns[turn.priority]?.delete(turn);
		this.#waiting--;
		return true;
	}
}
