/** Events in memory until Nexus has them: bounded by count and bytes; when full, the oldest of the least important goes. */
import { RingQueue } from "../../core/ring-queue.ts";
import { type CloudEvent, EVENT_BYTES_MAX } from "../../events/cloud-event.ts";

// A day of state changes, or 10 minutes of rollups of 16 routes; a few milliseconds of memory traffic.
const EVENTS_MAX = 10_000;
// A tenth of the memory budget of a sidecar.
const BYTES_MAX = 8 * 1024 * 1024;
const PRIORITIES = 10;
// Of an event that names none.
const PRIORITY_DEFAULT = 0;

export interface EventSpoolOptions {
	readonly eventsMax?: number;
	/** Of the events as JSON. */
	readonly bytesMax?: number;
}

export interface SpooledEvent {
	/** Rises with each event taken in. */
	readonly sequence: number;
	readonly json: string;
	readonly bytes: number;
}

//  priority 9: [ 4 | 7 ]            one queue per priority, each in order of arrival;
//  priority 1: [ 1 | 2 | 3 | 5 ]    `take` merges them by sequence, so Nexus gets everything in the order in which it
//              ^ dropped first      happened; only dropping looks at the priority

export class EventSpool {
	#eventsMax: number;
	readonly #bytesMax: number;
	readonly #queues: RingQueue<SpooledEvent>[];
	#sequence = 0;
	#size = 0;
	#bytes = 0;
	/** Events lost since the start, by cause. */
	readonly dropped = { overflow: 0, tooLarge: 0 };

	constructor(options: EventSpoolOptions = {}) {
		this.#eventsMax = options.eventsMax ?? EVENTS_MAX;
		this.#bytesMax = options.bytesMax ?? BYTES_MAX;
		this.#queues = Array.from({ length: PRIORITIES }, () => new RingQueue(Number.MAX_SAFE_INTEGER));
	}

	get size(): number {
		return this.#size;
	}

	get bytes(): number {
		return this.#bytes;
	}

	/** From now on; what is over the new bound goes at once. */
	setEventsMax(eventsMax: number): void {
		this.#eventsMax = eventsMax;
		this.#dropOverflow();
	}

	/** Never refuses for want of room: something less important, or older, makes way; it may be this very event. */
	push(event: CloudEvent): void {
		const json = JSON.stringify(event);
		const bytes = Buffer.byteLength(json);
		if (bytes > EVENT_BYTES_MAX || bytes > this.#bytesMax) {
			this.dropped.tooLarge++;
			return;
		}
		this.#queue(event.priority).push({ sequence: this.#sequence++, json, bytes });
		this.#size++;
		this.#bytes += bytes;
		this.#dropOverflow();
	}

	/** Removes and returns the oldest events, within both bounds; one at least if there is any. */
	take(eventsMax: number, bytesMax: number): SpooledEvent[] {
		const taken: SpooledEvent[] = [];
		let bytes = 0;
		while (taken.length < eventsMax) {
			const queue = this.#oldest();
			const next = queue?.peek();
			if (queue === undefined || next === undefined || (taken.length > 0 && bytes + next.bytes > bytesMax)) break;
			taken.push(next);
			bytes += next.bytes;
			this.#remove(queue);
		}
		return taken;
	}

	#queue(priority: number | undefined): RingQueue<SpooledEvent> {
		const queue = this.#queues[priority ?? PRIORITY_DEFAULT] ?? this.#queues[PRIORITY_DEFAULT];
		if (queue === undefined) throw new Error("unreachable: there is a queue per priority");
		return queue;
	}

	#oldest(): RingQueue<SpooledEvent> | undefined {
		let oldest: RingQueue<SpooledEvent> | undefined;
		let sequence = Number.POSITIVE_INFINITY;
		for (const queue of this.#queues) {
			const head = queue.peek();
			if (head === undefined || head.sequence > sequence) continue;
			oldest = queue;
			sequence = head.sequence;
		}
		return oldest;
	}

	#dropOverflow(): void {
		while (this.#size > this.#eventsMax || this.#bytes > this.#bytesMax) {
			const queue = this.#queues.find((candidate) => candidate.size > 0);
			if (queue === undefined) throw new Error("unreachable: over a bound, yet empty");
			this.#remove(queue);
			this.dropped.overflow++;
		}
	}

	#remove(queue: RingQueue<SpooledEvent>): void {
		this.#size--;
		this.#bytes -= queue.shift()?.bytes ?? 0;
	}
}
