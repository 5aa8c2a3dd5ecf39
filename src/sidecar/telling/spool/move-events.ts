/** Carries the events of one spool into another, in order; each is in one of them at every moment, and in both for a moment. */
import type { EventSpool, SpooledEvent } from "../event-spool.ts";

// About 0.2 ms of work of the loop at a time.
const BATCH_EVENTS_MAX = 256;
const BATCH_BYTES_MAX = 256 * 1024;

/**
 * `taken`: what was taken out of `from` and is not acknowledged. From memory all goes over, by the rules of `to`. From a directory goes what
 * finds a place; the rest stays there.
 */
export async function moveEvents(taken: readonly SpooledEvent[], from: EventSpool, to: EventSpool): Promise<void> {
	for (let batch = taken; ; batch = from.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX)) {
		to.receive(batch);
		const safe = to.directory === undefined || (await to.directory.flush());
		if (safe) from.acknowledge(batch);
		if (from.directory !== undefined && !(safe && to.hasRoom)) return;
		if (from.needsLoad) await from.load();
		if (from.size === 0) return;
	}
}
