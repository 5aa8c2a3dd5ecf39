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

//                     bottleneck                    gate
// ticket, priority 0   [ t ]                          |
// ticket, priority 5   [ t t t ]   --- `ahead` --->   | t t   <- first token: the first turn of the ticket's priority goes on
// ticket, priority 9   [ t ]                          |
//
// Bottleneck orders tickets, not requests: it cannot forget a job, but a request may go away at any time. A ticket whose request has
// gone is taken over by the next one of its priority, so there are never more tickets than requests have waited at once. Bottleneck's
// own clock decides nothing: it takes 2 to 4 ms for a job, which `ahead` tickets hide; the rate is that of the buckets.

export class WaitQueue {
	readonly #options: WaitQueueOptions;
	readonly #shaper: Promise<Bottleneck>;
	/** By priority, in the order of arrival; the timer ends the wait. */
	readonly #turns: Map<Turn, Timer>[] = Array.from({ length: PRIORITIES }, () => new Map());
	/** Tickets without a turn, by priority. */
	readonly #spare: number[] = new Array<number>(PRIORITIES).fill(0);
	#spares = 0;
	#waiting = 0;
	readonly #gate: { readonly priority: number; readonly leave: () => void }[] = [];
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
		if ((this.#spare[turn.priority] ?? 0) > 0) this.#useSpare(turn.priority);
		else this.#submit(turn.priority);
	}

	/** The request has gone. False where it did not wait here. */
	leave(turn: Turn): boolean {
		if (!this.#remove(turn)) return false;
		this.#spare[turn.priority] = (this.#spare[turn.priority] ?? 0) + 1;
		this.#spares++;
		this.#pump();
		return true;
	}

	#timeOut(turn: Turn): void {
		if (this.leave(turn)) turn.refused({ reason: "queue_timeout", retryAfterMs: this.#options.waitMaxMs });
	}

	#submit(priority: number): void {
		const atGate = (): Promise<void> =>
			new Promise((leave) => {
				this.#gate.push({ priority, leave });
				this.#pump();
			});
		void this.#shaper.then((shaper) => shaper.schedule({ priority }, atGate));
	}

	#pump(): void {
		this.#timer?.cancel();
		this.#timer = undefined;
		for (let ticket = this.#gate[0]; ticket !== undefined; ticket = this.#gate[0]) {
			const turn = this.#turns[ticket.priority]?.keys().next().value;
			if (turn === undefined) this.#useSpare(ticket.priority);
			else {
				const nowMs = this.#options.clock.monotonicMs();
				const waitMs = this.#options.tryTake(this.#options.key, nowMs);
				if (waitMs > 0) {
					// Whole milliseconds, upwards: the runtime's timers know no others, and would be early.
					this.#timer = this.#options.clock.setTimer(Math.ceil(waitMs), () => this.#pump());
					return;
				}
				this.#remove(turn);
			}
			this.#gate.shift();
			ticket.leave();
			turn?.granted(this.#options.clock.monotonicMs());
		}
		if (this.#waiting === 0 && this.#spares === 0) this.#options.onEmpty();
	}

	#remove(turn: Turn): boolean {
		const timer = this.#turns[turn.priority]?.get(turn);
		if (timer === undefined) return false;
		timer.cancel();
		this.#turns[turn.priority]?.delete(turn);
		this.#waiting--;
		return true;
	}

	#useSpare(priority: number): void {
		this.#spare[priority] = (this.#spare[priority] ?? 0) - 1;
		this.#spares--;
	}
}
