/** Callers that wait for news about some topics: each answered once, when there are some or its time is over. Bounded; knows no HTTP. */
import type { Clock, Timer } from "../../core/clock.ts";

/** Every connection that Nexus takes may wait. */
const POLLS_MAX = 20_000;
/** Changes that come together are one answer; nobody sees 50 ms. */
const GATHER_MS = 50;
/** Answers that are begun in one turn of the loop. */
const ANSWERS_PER_TURN = 256;

export interface ChangePoll {
	/** What it waits for news about. */
	readonly topics: readonly string[];
	/** Whether there is anything for this very caller; asked again with each change of a topic. */
	readonly hasNews: () => boolean;
	readonly answer: (outcome: "changed" | "over") => void;
}

export class ChangePolls {
	readonly #clock: Clock;
	readonly #timers = new Map<ChangePoll, Timer>();
	readonly #byTopic = new Map<string, Set<ChangePoll>>();
	readonly #changed = new Set<string>();
	#gathering: Timer | undefined;
	#isClosed = false;

	constructor(clock: Clock) {
		this.#clock = clock;
	}

	get size(): number {
		return this.#timers.size;
	}

	/** False where too many wait already. */
	add(poll: ChangePoll, waitMs: number): boolean {
		// It was on its way while Nexus began to stop, which would wait for it.
		if (this.#isClosed) {
			poll.answer("over");
			return true;
		}
		if (this.#timers.size >= POLLS_MAX) return false;
		this.#timers.set(
			poll,
			this.#clock.setTimer(waitMs, () => this.end(poll)),
		);
		for (const topic of poll.topics) {
			const polls = this.#byTopic.get(topic) ?? new Set();
			polls.add(poll);
			this.#byTopic.set(topic, polls);
		}
		return true;
	}

	/** Its time is over. Does nothing to one that was answered. */
	end(poll: ChangePoll): void {
		this.#answer(poll, "over");
	}

	/** Its caller is gone. Idempotent; true where it was still waiting. */
	remove(poll: ChangePoll): boolean {
		const timer = this.#timers.get(poll);
		if (timer === undefined) return false;
		timer.cancel();
		this.#timers.delete(poll);
		for (const topic of poll.topics) {
			const polls = this.#byTopic.get(topic);
			polls?.delete(poll);
			if (polls?.size === 0) this.#byTopic.delete(topic);
		}
		return true;
	}

	changed(topic: string): void {
		if (!this.#byTopic.has(topic)) return;
		this.#changed.add(topic);
		this.#gathering ??= this.#clock.setTimer(GATHER_MS, () => this.#tell());
	}

	/** Who waits is answered, and who still comes, at once. */
	close(): void {
		this.#isClosed = true;
		this.#gathering?.cancel();
		for (const poll of [...this.#timers.keys()]) this.#answer(poll, "over");
	}

	#tell(): void {
		this.#gathering = undefined;
		const due = new Set<ChangePoll>();
		for (const topic of this.#changed) for (const poll of this.#byTopic.get(topic) ?? []) due.add(poll);
		this.#changed.clear();
		const polls = [...due];
		const some = (from: number): void => {
			for (const poll of polls.slice(from, from + ANSWERS_PER_TURN)) if (this.#timers.has(poll) && poll.hasNews()) this.#answer(poll, "changed");
			if (from + ANSWERS_PER_TURN < polls.length) setImmediate(some, from + ANSWERS_PER_TURN);
		};
		some(0);
	}

	#answer(poll: ChangePoll, outcome: "changed" | "over"): void {
		if (this.remove(poll)) poll.answer(outcome);
	}
}
