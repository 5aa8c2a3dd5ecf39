/** Those who wait for the next trust bundle: each answered once, when there is one or its time is over. Bounded; knows no HTTP. */
import type { Clock, Timer } from "../../core/clock.ts";

/** Every connection that Nexus takes may wait. */
const POLLS_MAX = 20_000;
/** Answers that are begun in one turn of the loop, lest a change for a large mesh hold up the events. */
const ANSWERS_PER_TURN = 256;

export interface Poll {
	/** The version that the caller has. */
	readonly after: number;
	/** "changed": there is a newer one · "over": its time, or ours, is. */
	readonly answer: (outcome: "changed" | "over") => void;
}

export class BundlePolls {
	readonly #clock: Clock;
	readonly #max: number;
	readonly #timers = new Map<Poll, Timer>();

	constructor(clock: Clock, max = POLLS_MAX) {
		this.#clock = clock;
		this.#max = max;
	}

	get size(): number {
		return this.#timers.size;
	}

	/** False where too many wait already. */
	add(poll: Poll, waitMs: number): boolean {
		if (this.#timers.size >= this.#max) return false;
		this.#timers.set(
			poll,
			this.#clock.setTimer(waitMs, () => this.#answer(poll, "over")),
		);
		return true;
	}

	/** Its time is over. Does nothing to one that was answered. */
	end(poll: Poll): void {
		this.#answer(poll, "over");
	}

	/** Its caller is gone. Idempotent. */
	remove(poll: Poll): void {
		this.#timers.get(poll)?.cancel();
		this.#timers.delete(poll);
	}

	/** Who has an older one is answered now, or in one of the next turns of the loop. */
	changed(version: number): void {
		const due = [...this.#timers.keys()].filter(({ after }) => after < version);
		const some = (from: number): void => {
			for (const poll of due.slice(from, from + ANSWERS_PER_TURN)) this.#answer(poll, "changed");
			if (from + ANSWERS_PER_TURN < due.length) setImmediate(some, from + ANSWERS_PER_TURN);
		};
		some(0);
	}

	close(): void {
		for (const poll of [...this.#timers.keys()]) this.#answer(poll, "over");
	}

	#answer(poll: Poll, outcome: "changed" | "over"): void {
		if (!this.#timers.has(poll)) return;
		this.remove(poll);
		poll.answer(outcome);
	}
}
