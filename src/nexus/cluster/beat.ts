/** When a node shows its signs of life and asks for those of others: in common moments, so that the state has them in one group and one read. */

/** In the time of a lease: one may fail, and mostly two. */
const BEATS = 3;

/** To the next sign of life, its own and of all its leases. */
export function untilBeatMs(nowMs: number, leaseMs: number): number {
	return untilTickMs(nowMs, leaseMs / BEATS);
}

/** To the next common moment of that kind; at least half of the way between two, since a timer may be early. */
export function untilTickMs(nowMs: number, everyMs: number): number {
	const leftMs = everyMs - (nowMs % everyMs);
	return leftMs < everyMs / 2 ? leftMs + everyMs : leftMs;
}
