/** Which (source, id) hashes the log holds lately, and at which sequence. Says "maybe" at most: the caller verifies a hit in the log. */

// Two generations: lookups see both; when the present one is full it becomes the old one and the old one is forgotten. So at least the last
// `capacity` events are known, at most twice as many, and nothing is ever deleted one by one.

/** At least this many of the latest events are recognised as duplicates: minutes of full load, days of an ordinary mesh; 24 bytes each. */
export const DEDUPE_WINDOW_EVENTS = 1 << 20;

const SLOTS_START = 1 << 12;
const EMPTY = 0;
const FORGOTTEN = 0xffff_ffff;

export class DedupeWindow {
	readonly #capacity: number;
	#present: Generation;
	#old: Generation | undefined;

	constructor(capacity: number = DEDUPE_WINDOW_EVENTS) {
		this.#capacity = capacity;
		this.#present = new Generation(SLOTS_START);
	}

	/** Calls `accept` with each sequence that carries this hash, newest generation first, until it returns true. */
	find(hi: number, lo: number, accept: (sequence: number) => boolean): boolean {
		return this.#present.find(hi, lo, accept) || (this.#old?.find(hi, lo, accept) ?? false);
	}

	/** Whether any event carries this hash; the quick answer for nearly all events. */
	has(hi: number, lo: number): boolean {
		return this.#present.has(hi, lo) || (this.#old?.has(hi, lo) ?? false);
	}

	/** Sequences are added in rising order. */
	add(hi: number, lo: number, sequence: number): void {
		if (this.#present.size >= this.#capacity) {
			const slots = this.#present.slots;
			this.#old = this.#present;
			this.#present = new Generation(slots);
		}
		this.#present.add(hi, lo, sequence);
	}

	/** Takes back an `add` whose event never became durable. */
	forget(hi: number, lo: number, sequence: number): void {
		this.#present.forget(hi, lo, sequence);
		this.#old?.forget(hi, lo, sequence);
	}
}

class Generation {
	/** Events in it; those that were forgotten do not count, or an outage of the disk would push out what the log does hold. */
	size = 0;
	slots: number;
	/** Slots that are not empty, the forgotten ones among them. */
	#used = 0;
	#hi: Uint32Array;
	#lo: Uint32Array;
	/** sequence - base + 1; see EMPTY and FORGOTTEN. */
	#at: Uint32Array;
	#base = 0;

	/** `slots` is a power of two. */
	constructor(slots: number) {
		this.slots = slots;
		this.#hi = new Uint32Array(slots);
		this.#lo = new Uint32Array(slots);
		this.#at = new Uint32Array(slots);
	}

	has(hi: number, lo: number): boolean {
		const mask = this.slots - 1;
		for (let slot = lo & mask; this.#at[slot] !== EMPTY; slot = (slot + 1) & mask) {
			if (this.#lo[slot] === lo && this.#hi[slot] === hi && this.#at[slot] !== FORGOTTEN) return true;
		}
		return false;
	}

	find(hi: number, lo: number, accept: (sequence: number) => boolean): boolean {
		const mask = this.slots - 1;
		for (let slot = lo & mask; this.#at[slot] !== EMPTY; slot = (slot + 1) & mask) {
			const at = this.#at[slot] as number;
			if (this.#lo[slot] === lo && this.#hi[slot] === hi && at !== FORGOTTEN && accept(this.#base + at - 1)) return true;
		}
		return false;
	}

	add(hi: number, lo: number, sequence: number): void {
		// After a failed commit sequences go back, and here there is nothing left of those that were to follow.
		if (this.size === 0) this.#base = sequence;
		if (this.#used * 2 >= this.slots) this.#rebuild();
		this.#put(hi, lo, sequence - this.#base + 1);
		this.size++;
	}

	forget(hi: number, lo: number, sequence: number): void {
		const mask = this.slots - 1;
		const wanted = sequence - this.#base + 1;
		for (let slot = lo & mask; this.#at[slot] !== EMPTY; slot = (slot + 1) & mask) {
			if (this.#at[slot] !== wanted || this.#lo[slot] !== lo || this.#hi[slot] !== hi) continue;
			this.#at[slot] = FORGOTTEN;
			this.size--;
		}
	}

	#put(hi: number, lo: number, at: number): void {
		const mask = this.slots - 1;
		let slot = lo & mask;
		while (this.#at[slot] !== EMPTY) slot = (slot + 1) & mask;
		this.#hi[slot] = hi;
		this.#lo[slot] = lo;
		this.#at[slot] = at;
		this.#used++;
	}

	/** Larger, unless it is full of what was forgotten. */
	#rebuild(): void {
		const [his, los, ats] = [this.#hi, this.#lo, this.#at];
		if (this.size * 4 >= this.slots) this.slots *= 2;
		this.#used = 0;
		this.#hi = new Uint32Array(this.slots);
		this.#lo = new Uint32Array(this.slots);
		this.#at = new Uint32Array(this.slots);
		for (let i = 0; i < ats.length; i++) {
			const at = ats[i] as number;
			if (at !== EMPTY && at !== FORGOTTEN) this.#put(his[i] as number, los[i] as number, at);
		}
	}
}
