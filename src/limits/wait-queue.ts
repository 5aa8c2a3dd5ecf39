/** The requests of one key that wait for the rate: in the order of their priority, each for so long at most. */
import type Bottleneck from "bottleneck";
import type { Clock, Timer } from "../core/clock.ts";
import type { Turn } from "./turn.ts";

const PRIORITIES = 10;
// One ticket at the gate, and the next one ready: bottleneck takes 2 to 4 ms to bring it.
const TICKETS_AT_GATE = 2;
// The runtime's timers come a millisecond late or more, and so do tickets. Tokens that have fallen due meanwhile are used, each as of its own
// time, or a bucket of one would lose them; but after a standstill no more than these, so that it is not followed by a flood.
const CATCH_UP_MS = 50;
// Less does not move a double of milliseconds forward after some months.
const STEP_MIN_MS = 0.001;

export type BottleneckClass = typeof Bottleneck;

export interface WaitQueueOptions {
	readonly key: string;
	readonly bottleneck: Promise<BottleneckClass>;
	/** Turns that one ticket lets through. */
	readonly batch: number;
	readonly waitMaxMs: number;
	readonly clock: Clock;
	/** Takes a token: 0, or else the milliseconds until it is worth trying again. */
	tryTake(key: string, nowMs: number): number;
	/** Called when nothing is left in it. */
	onEmpty(): void;
}

// turns, priority 0   [ r r ]                         a token falls due: the first turn of the lowest number goes on,
// turns, priority 5   [ r r r ]                         v   and a ticket is used up by `batch` of them
// tickets             [ t t t ]  --- bottleneck --->  | t t
//
// Bottleneck queues tickets, not requests: it cannot forget a job, but a request may go away at any time. Places of tickets whose
// requests have gone serve those who come next, so there are never more than requests have waited at once; and any ticket lets the most
// urgent request through, however late it came. Bottleneck manages 300 to 400 jobs a second, hence batches; its own clock decides nothing.

interface Ticket {
	/** Turns that it may still let through. */
	places: number;
	readonly used: () => void;
}

export class WaitQueue {
	readonly #options: WaitQueueOptions;
	readonly #shaper: Promise<Bottleneck>;
	/** By priority, in the order of arrival; the timer ends the wait. */
	readonly #turns: Map<Turn, Timer>[] = Array.from({ length: PRIORITIES }, () => new Map());
	/** Of all tickets, wherever they are. */
	#places = 0;
	#waiting = 0;
	readonly #gate: Ticket[] = [];
	/** When the next token falls due, as far as it is known. */
	#dueMs = Number.POSITIVE_INFINITY;
	#timer: Timer | undefined;

	constructor(options: WaitQueueOptions) {
		this.#options = options;
		this.#shaper = options.bottleneck.then((BottleneckOf) => new BottleneckOf({ maxConcurrent: TICKETS_AT_GATE }));
	}

	/** Requests, not tickets. */
	get waiting(): number {
		return this.#waiting;
	}

	join(turn: Turn): void {
		const timer = this.#options.clock.setTimer(this.#options.waitMaxMs, () => this.#timeOut(turn));
		this.#turns[turn.priority]?.set(turn, timer);
		this.#waiting++;
		if (this.#waiting > this.#places) this.#submit();
	}

	/** The request has gone. False where it did not wait here. */
	leave(turn: Turn): boolean {
		if (!this.#remove(turn)) return false;
		this.#pump();
		return true;
	}

	#timeOut(turn: Turn): void {
		if (this.leave(turn)) turn.refused({ reason: "queue_timeout", retryAfterMs: this.#options.waitMaxMs });
	}

	#submit(): void {
		const places = this.#options.batch;
		this.#places += places;
		const atGate = (): Promise<void> =>
			new Promise((used) => {
				this.#gate.push({ places, used });
				this.#pump();
			});
		void this.#shaper.then((shaper) => shaper.schedule(atGate));
	}

	#pump(): void {
		this.#timer?.cancel();
		for (let ticket = this.#gate[0]; ticket !== undefined; ticket = this.#gate[0]) {
			const turn = this.#first();
			if (turn === undefined) {
				this.#use(ticket, ticket.places);
				continue;
			}
			const nowMs = this.#options.clock.monotonicMs();
			const atMs = Math.max(Math.min(this.#dueMs, nowMs), nowMs - CATCH_UP_MS);
			const waitMs = this.#options.tryTake(this.#options.key, atMs);
			if (waitMs === 0) {
				this.#remove(turn);
				this.#use(ticket, 1);
				turn.granted(nowMs);
				continue;
			}
			this.#dueMs = atMs + Math.max(waitMs, STEP_MIN_MS);
			if (this.#dueMs <= nowMs) continue;
			this.#pumpIn(this.#dueMs - nowMs);
			return;
		}
		if (this.#waiting === 0 && this.#places === 0) this.#options.onEmpty();
	}

	#pumpIn(delayMs: number): void {
		// `granted` may have led back here.
		this.#timer?.cancel();
		// Whole milliseconds, upwards: the runtime's timers know no others, and would be early.
		this.#timer = this.#options.clock.setTimer(Math.ceil(delayMs), () => this.#pump());
	}

	#use(ticket: Ticket, places: number): void {
		ticket.places -= places;
		this.#places -= places;
		if (ticket.places > 0) return;
		this.#gate.splice(this.#gate.indexOf(ticket), 1);
		ticket.used();
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
		if (this.#waiting === 0) this.#dueMs = Number.POSITIVE_INFINITY;
		return true;
	}
}
