/** Carries the events of one spool into another, in order; each is in one of them at every moment, and in both for a moment. */
import { EVENT_BYTES_MAX } from "../../../events/cloud-event.ts";
import type { EventSpool, SpooledEvent } from "../event-spool.ts";
import { RECORD_HEAD_BYTES } from "./record-codec.ts";

// About 0.2 ms of work of the loop at a time.
const BATCH_EVENTS_MAX = 256;
const BATCH_BYTES_MAX = 256 * 1024;
const BATCH_HEADS_BYTES = BATCH_EVENTS_MAX * RECORD_HEAD_BYTES;
// What is left is too little for an event as large as they may be.
const ROOM_BYTES_MIN = EVENT_BYTES_MAX + BATCH_HEADS_BYTES;
const ENDLESS = { events: Number.POSITIVE_INFINITY, bytes: Number.POSITIVE_INFINITY } as const;

/**
 * `taken`: what was taken out of `from` and is not acknowledged. From memory all goes over, by the rules of `to`. From a directory goes what
 * finds a place; the rest stays there.
 */
export async function moveEvents(taken: readonly SpooledEvent[], from: EventSpool, to: EventSpool): Promise<void> {
	for (let batch = taken; ; ) {
		to.receive(batch);
		const safe = to.directory === undefined || (await to.directory.flush());
		if (safe) from.acknowledge(batch);
		if (from.directory !== undefined && !safe) return;
		const { events, bytes } = from.directory === undefined ? ENDLESS : to.room;
		if (events < 1 || bytes < ROOM_BYTES_MIN) return;
		if (from.needsLoad) await from.load();
		if (from.size === 0) return;
		batch = from.take(Math.min(events, BATCH_EVENTS_MAX), Math.min(bytes - BATCH_HEADS_BYTES, BATCH_BYTES_MAX));
	}
}
