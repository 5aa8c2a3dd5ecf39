/** What became of the tries of one dispatcher, as plain numbers. */

export class DispatchCounts {
	acked = 0;
	naked = 0;
	/** Among `naked`: there was no answer. */
	timedOut = 0;
	terminated = 0;
	parked = 0;
	/** Times that a consumer said it was still at it. */
	extended = 0;
	/** Events that could not be read any more before they were delivered: removed by retention, or damaged. */
	missed = 0;
	/** Sum over all tries that have ended. */
	busyMs = 0;

	get ended(): number {
		return this.acked + this.naked + this.terminated;
	}

	add(kind: "ack" | "nak" | "term", tookMs: number): void {
		if (kind === "ack") this.acked++;
		else if (kind === "nak") this.naked++;
		else this.terminated++;
		this.busyMs += tookMs;
	}
}
