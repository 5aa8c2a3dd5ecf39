/** Which event is next: in the order of the log, failures of the mesh first, or in order per key with one under way of each. */
import { RingQueue } from "../../core/ring-queue.ts";
import type { Entry } from "./delivery.ts";
import { REPLAY_WINDOW, WINDOW_MAX } from "./limits.ts";

export interface ReadyQueue {
	readonly size: number;
	/** Ready, or ready again. */
	push(entry: Entry): void;
	/** Removes it. */
	next(): Entry | undefined;
	/** The entry will not come back. */
	settled(entry: Entry): void;
	clear(): void;
}

const ENTRIES_MAX = WINDOW_MAX + REPLAY_WINDOW;
/** Failures of the mesh (DESIGN 7.4). */
const URGENT = 8;

/** Dead letters that are tried again, then urgent events where the strategy says so, then the order of the log. */
export class PlainQueue implements ReadyQueue {
	readonly #urgentFirst: boolean;
	#replays = new RingQueue<Entry>(ENTRIES_MAX);
	#urgent = new RingQueue<Entry>(ENTRIES_MAX);
	#others = new RingQueue<Entry>(ENTRIES_MAX);

	constructor(urgentFirst: boolean) {
		this.#urgentFirst = urgentFirst;
	}

	get size(): number {
		return this.#replays.size + this.#urgent.size + this.#others.size;
	}

	push(entry: Entry): void {
		const queue = entry.replay !== undefined ? this.#replays : this.#urgentFirst && entry.priority >= URGENT ? this.#urgent : this.#others;
		if (queue.push(entry)) return;
		// What was settled while it stood here makes room: those that are open all fit, each once.
		for (let left = queue.size; left > 0; left--) {
			const other = queue.shift();
			if (other !== undefined && other.state !== "over") queue.push(other);
		}
		queue.push(entry);
	}

	next(): Entry | undefined {
		return this.#replays.shift() ?? this.#urgent.shift() ?? this.#others.shift();
	}

	settled(): void {}

	clear(): void {
		this.#replays = new RingQueue(ENTRIES_MAX);
		this.#urgent = new RingQueue(ENTRIES_MAX);
		this.#others = new RingQueue(ENTRIES_MAX);
	}
}

/** The first one is ready or under way; the others wait for it. */
type Lane = Entry[];

/** One event of each key at a time: the next one only when the one before is settled, also while that is tried again. */
export class KeyedQueue implements ReadyQueue {
	readonly #heads = new PlainQueue(false);
	readonly #lanes = new Map<string, Lane>();

	/** Of those that may be taken now. */
	get size(): number {
		return this.#heads.size;
	}

	push(entry: Entry): void {
		if (entry.key === undefined) {
			this.#heads.push(entry);
			return;
		}
		const lane = this.#lanes.get(entry.key);
		if (lane === undefined) {
			this.#lanes.set(entry.key, [entry]);
			this.#heads.push(entry);
		} else if (lane[0] === entry) this.#heads.push(entry);
		else if (entry.replay === undefined) lane.push(entry);
		else lane.splice(firstLive(lane), 0, entry);
	}

	next(): Entry | undefined {
		return this.#heads.next();
	}

	settled(entry: Entry): void {
		const lane = entry.key === undefined ? undefined : this.#lanes.get(entry.key);
		if (lane === undefined || entry.key === undefined) return;
		if (lane[0] !== entry) {
			const at = lane.indexOf(entry);
			if (at > 0) lane.splice(at, 1);
			return;
		}
		lane.shift();
		const [next] = lane;
		if (next === undefined) this.#lanes.delete(entry.key);
		else this.#heads.push(next);
	}

	clear(): void {
		this.#heads.clear();
		this.#lanes.clear();
	}
}

/** Behind the head and the dead letters that wait already. */
function firstLive(lane: Lane): number {
	const at = lane.findIndex((entry, index) => index > 0 && entry.replay === undefined);
	return at < 0 ? lane.length : at;
}
