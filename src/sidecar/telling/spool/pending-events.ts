/** What has left the spool and Nexus has not acknowledged: which of it goes with the next request. */
import { type EventSpool, PRIORITY_URGENT, type SpooledEvent } from "../event-spool.ts";

// Nexus commits a batch with one fdatasync; beyond 64 events the cost per event hardly falls (DESIGN 8).
export const BATCH_EVENTS_MAX = 64;
const BATCH_BYTES_MAX = 512 * 1024;

export class PendingEvents {
	#events: readonly SpooledEvent[] = [];
	/** How many go at once; halved where Nexus finds the batch too large. */
	#chunk = BATCH_EVENTS_MAX;

	get size(): number {
		return this.#events.length;
	}

	/** Of the events as JSON. */
	get bytes(): number {
		return this.#events.reduce((sum, event) => sum + event.bytes, 0);
	}

	/** False where there is nothing to send. */
	refill(spool: EventSpool): boolean {
		this.#chunk = BATCH_EVENTS_MAX;
		this.#events = spool.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX);
		return this.#events.length > 0;
	}

	/** A batch of rollups that Nexus did not take is no reason for failures of the mesh to wait. Within a priority the order stays. */
	letUrgentPass(spool: EventSpool): void {
		const room = 2 * BATCH_EVENTS_MAX - this.#events.length;
		const urgent = room <= 0 ? [] : spool.take(Math.min(room, BATCH_EVENTS_MAX), BATCH_BYTES_MAX, PRIORITY_URGENT);
		if (urgent.length === 0) return;
		const before = this.#events.filter(isUrgent);
		const behind = this.#events.filter((event) => !isUrgent(event));
		this.#events = [...before, ...urgent, ...behind];
		this.#chunk = BATCH_EVENTS_MAX;
	}

	/** What goes now: one event at least. */
	next(): readonly SpooledEvent[] {
		let bytes = this.#events[0]?.bytes ?? 0;
		let count = 1;
		while (count < Math.min(this.#events.length, this.#chunk)) {
			bytes += this.#events[count]?.bytes ?? 0;
			if (bytes > BATCH_BYTES_MAX) break;
			count++;
		}
		return this.#events.slice(0, count);
	}

	/** `events` of what `next` gave were too large together. */
	halve(events: number): void {
		this.#chunk = Math.ceil(events / 2);
	}

	/** What `next` gave is settled. */
	forget(events: number): void {
		this.#events = this.#events.slice(events);
	}

	/** All of it, for somebody else. */
	giveAway(): readonly SpooledEvent[] {
		const events = this.#events;
		this.#events = [];
		return events;
	}
}

function isUrgent({ priority }: SpooledEvent): boolean {
	return priority >= PRIORITY_URGENT;
}
