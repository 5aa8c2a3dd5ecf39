/**
 * Something to do for many after a short delay each: one timer of the runtime for all, exact to a millisecond.
 * For what the coarse wheel (50 ms) is too coarse, and what is mostly over before it is due.
 */
import type { Clock, Timer } from "./clock.ts";

// More than wait in any real load: 50 ms at a million a second. What does not fit is not run.
const WAITING_MAX = 65_536;

interface Due<T> {
	item: T;
	/** What `item` was about when it was put in; whoever is called compares. */
	token: number;
	dueMs: number;
}

//            12            a heap: each is due no later than the two below it, at 2i+1 and 2i+2; the timer waits for the first.
//        15      13        Delays are mostly alike, so what is put in last is mostly due last, and stays where it is put.
//      19  16  14

export class DueQueue<T> {
	readonly #clock: Clock;
	readonly #run: (item: T, token: number) => void;
	readonly #heap: Due<T>[] = [];
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
		const heap = this.#heap;
		if (heap.length >= WAITING_MAX) return;
		const dueMs = this.#clock.monotonicMs() + delayMs;
		let due = this.#spare.pop();
		if (due === undefined) due = { item, token, dueMs };
		else {
			due.item = item;
			due.token = token;
			due.dueMs = dueMs;
		}
		heap.push(due);
		rise(heap, heap.length - 1);
		if (heap[0] === due) this.#wait(delayMs);
	}

	stop(): void {
		this.#timer?.cancel();
		this.#timer = undefined;
		this.#heap.length = 0;
	}

	#wait(delayMs: number): void {
		this.#timer?.cancel();
		this.#timer = this.#clock.setTimer(Math.max(1, Math.ceil(delayMs)), () => this.#onTimer());
	}

	#onTimer(): void {
		this.#timer = undefined;
		const nowMs = this.#clock.monotonicMs();
		for (let next = this.#heap[0]; next !== undefined && next.dueMs <= nowMs; next = this.#heap[0]) {
			takeFirst(this.#heap);
			this.#spare.push(next);
			this.#run(next.item, next.token);
		}
		const next = this.#heap[0];
		// What ran may have pushed, and so set the timer.
		if (next !== undefined && this.#timer === undefined) this.#wait(next.dueMs - nowMs);
	}
}

function rise(heap: Due<unknown>[], from: number): void {
	const due = heap[from] as Due<unknown>;
	let at = from;
	while (at > 0) {
		const above = (at - 1) >> 1;
		const upper = heap[above] as Due<unknown>;
		if (upper.dueMs <= due.dueMs) break;
		heap[at] = upper;
		at = above;
	}
	heap[at] = due;
}

function takeFirst(heap: Due<unknown>[]): void {
	const last = heap.pop() as Due<unknown>;
	const size = heap.length;
	if (size === 0) return;
	let at = 0;
	for (;;) {
		let below = 2 * at + 1;
		if (below >= size) break;
		if (below + 1 < size && (heap[below + 1] as Due<unknown>).dueMs < (heap[below] as Due<unknown>).dueMs) below++;
		const lower = heap[below] as Due<unknown>;
		if (lower.dueMs >= last.dueMs) break;
		heap[at] = lower;
		at = below;
	}
	heap[at] = last;
}
