/** The newest events of a log in memory, without a gap, bounded by bytes: what followers read over and over. */
import type { StoredEvent } from "./event-log.ts";

/** A second of a busy mesh; 10,000 followers read it from here and not from a broker. */
const BYTES_MAX = 32 * 1024 * 1024;
const OVERHEAD_BYTES = 200;

export class TailCache {
	readonly #bytesMax: number;
	#events: StoredEvent[] = [];
	/** Of `#events`; what is before it was dropped and waits to be cut off. */
	#head = 0;
	#bytes = 0;
	#from: number;

	/** Holds everything from sequence `from` on. */
	constructor(from: number, bytesMax: number = BYTES_MAX) {
		this.#from = from;
		this.#bytesMax = bytesMax;
	}

	/** Every event from this sequence on is here. */
	get from(): number {
		return this.#from;
	}

	/** Events come in order of sequence, each once. */
	add(event: StoredEvent): void {
		this.#events.push(event);
		this.#bytes += event.json.length + OVERHEAD_BYTES;
		while (this.#bytes > this.#bytesMax) {
			const dropped = this.#events[this.#head++] as StoredEvent;
			this.#bytes -= dropped.json.length + OVERHEAD_BYTES;
			this.#from = dropped.sequence + 1;
		}
		if (this.#head > 1024 && this.#head * 2 > this.#events.length) {
			this.#events = this.#events.slice(this.#head);
			this.#head = 0;
		}
	}

	/** From `first` (at least `from`) on, rising, at most `count`. */
	slice(first: number, count: number): readonly StoredEvent[] {
		let low = this.#head;
		let high = this.#events.length;
		while (low < high) {
			const middle = (low + high) >> 1;
			if ((this.#events[middle] as StoredEvent).sequence < first) low = middle + 1;
			else high = middle;
		}
		return this.#events.slice(low, low + count);
	}
}
