/** The open events of one dispatcher, by sequence: at most so many, and within the bytes that all windows share. */
import type { StoredEvent } from "../log/event-log.ts";
import type { Entry } from "./delivery.ts";
import { REPLAY_WINDOW } from "./limits.ts";
import type { WindowBudget } from "./window-budget.ts";

/** What the queue asks of an event beside its place. */
export interface EventMarks {
	readonly partitionkey?: string;
	readonly priority?: number;
}

export class Window {
	readonly #countMax: number;
	readonly #budget: WindowBudget;
	/** In the order of the log, but for those that a seek of another life has left. */
	readonly #live = new Map<number, Entry>();
	/** Dead letters that are tried again. A sequence may stand here and above. */
	readonly #replays = new Map<number, Entry>();
	#bytes = 0;

	constructor(countMax: number, budget: WindowBudget) {
		this.#countMax = countMax;
		this.#budget = budget;
	}

	/** Dead letters are not counted. */
	get size(): number {
		return this.#live.size;
	}

	get room(): number {
		return Math.max(0, this.#countMax - this.#live.size);
	}

	/** Half of it at once, so that a full one does not read the log event by event. */
	get isWorthReading(): boolean {
		return this.room * 2 >= this.#countMax;
	}

	/** That of the try, where there are two of the sequence; the live one where neither has it: no replay outlives its process. */
	find(sequence: number, attempt: number): Entry | undefined {
		const replay = this.#replays.get(sequence);
		const live = this.#live.get(sequence);
		return live === undefined || (replay?.state === "flying" && replay.attempts === attempt) ? replay : live;
	}

	/** Whether a dead letter may be tried again beside those that are. */
	admitsReplay(sequence: number): boolean {
		return this.#replays.size < REPLAY_WINDOW && !this.#replays.has(sequence);
	}

	values(): IterableIterator<Entry> {
		return this.#live.values();
	}

	replays(): IterableIterator<Entry> {
		return this.#replays.values();
	}

	/** Whether a live event of so many bytes may come in. What was let in is to be entered. */
	admits(bytes: number): boolean {
		return this.room > 0 && this.#budget.take(bytes, this.#live.size > 0);
	}

	/** For what comes in beside the count: it stood in the window before, or is a dead letter. */
	mustAdmit(bytes: number): void {
		this.#budget.take(bytes, false);
	}

	enter({ sequence, receivedAtMs, json }: StoredEvent, marks: EventMarks, attempts: number, dueMs: number, replay: Entry["replay"]): Entry {
		const entry: Entry = {
			sequence,
			receivedAtMs,
			// The log hands out a part of a block of 128 KiB, which it would keep.
			json: Buffer.from(json),
			key: marks.partitionkey,
			priority: marks.priority ?? 0,
			replay,
			attempts,
			state: "ready",
			dueMs,
			firstTriedAtMs: 0,
			takenAtMs: 0,
			cut: undefined,
			over: undefined,
		};
		this.#bytes += json.length;
		(replay === undefined ? this.#live : this.#replays).set(sequence, entry);
		return entry;
	}

	/** False where it is not in it any more. */
	leave(entry: Entry): boolean {
		const entries = entry.replay === undefined ? this.#live : this.#replays;
		if (entries.get(entry.sequence) !== entry) return false;
		entries.delete(entry.sequence);
		entry.state = "over";
		this.#bytes -= entry.json.length;
		this.#budget.release(entry.json.length);
		return true;
	}

	clear(): void {
		this.#budget.release(this.#bytes);
		this.#bytes = 0;
		this.#live.clear();
		this.#replays.clear();
	}
}
