/**
 * Something to do for many after about the same short delay: one timer of the runtime for all, exact to a millisecond.
 * For what the coarse wheel (50 ms) is too coarse, and what is mostly over before it is due.
 */
import type { Clock, Timer } from "./clock.ts";
import { RingQueue } from "./ring-queue.ts";

// More than wait in any real load: 50 ms at a million a second. What does not fit is not run.
const WAITING_MAX = 65_536;

interface Due<T> {
	item: T;
	/** What `item` was about when it was put in; whoever is called compares. */
	token: number;
	dueMs: number;
}

//  push ─> [ dueMs 12 | dueMs 12 | dueMs 13 | ... ] ─> the timer waits for the first one
//  Delays of one queue are nearly equal, so the order of arrival is the order of becoming due; one that is due a little
//  earlier than who stands before it waits for that one.

export class DueQueue<T> {
	readonly #clock: Clock;
	readonly #run: (item: T, token: number) => void;
	readonly #queue = new RingQueue<Due<T>>(WAITING_MAX);
	/** As many as were in use at one time. */
	readonly #spare: Due<T>[] = [];
	#timer: Timer | undefined;

	/** `run` is called once for each push, also for what has long been over: the token tells. */
	constructor(clock: Clock, run: (item: T, token: number) => void) {
		this.#clock = clock;
		this.#run = run;
	}

	/** Not run where too many wait already. */
	push(item: T, token: number, delayMs: number): void {
		const dueMs = this.#clock.monotonicMs() + delayMs;
		const due = this.#spare.pop();
		if (due === undefined) this.#queue.push({ item, token, dueMs });
		else {
			due.item = item;
			due.token = token;
			due.dueMs = dueMs;
			this.#queue.push(due);
		}
		if (this.#timer === undefined) this.#wait(delayMs);
	}

	stop(): void {
		this.#timer?.cancel();
		this.#timer = undefined;
		while (this.#queue.shift() !== undefined);
	}

	#wait(delayMs: number): void {
		this.#timer = this.#clock.setTimer(Math.max(1, Math.ceil(delayMs)), () => this.#onTimer());
	}

	#onTimer(): void {
		this.#timer = undefined;
		const nowMs = this.#clock.monotonicMs();
		for (let next = this.#queue.peek(); next !== undefined && next.dueMs <= nowMs; next = this.#queue.peek()) {
			this.#queue.shift();
			this.#spare.push(next);
			this.#run(next.item, next.token);
		}
		const next = this.#queue.peek();
		// What ran may have pushed, and so set the timer.
		if (next !== undefined && this.#timer === undefined) this.#wait(next.dueMs - nowMs);
	}
}
