/** A latency histogram of plain numbers: observing is one search in a fixed table and two additions. */

/** Upper bounds in seconds, as Prometheus writes them: 0.1 ms to 60 s, finer where proxies live. */
export const LATENCY_BOUNDS_S: readonly number[] = Object.freeze([
	0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
]);

const BOUNDS_MS = Float64Array.from(LATENCY_BOUNDS_S, (s) => s * 1000);

export class LatencyHistogram {
	/** Observations per bucket, not cumulated; the last one is beyond every bound. */
	readonly counts = new Float64Array(BOUNDS_MS.length + 1);
	sumMs = 0;

	observe(ms: number): void {
		let i = 0;
		while (i < BOUNDS_MS.length && ms > (BOUNDS_MS[i] as number)) i++;
		(this.counts[i] as number)++;
		this.sumMs += ms;
	}

	get count(): number {
		let total = 0;
		for (const n of this.counts) total += n;
		return total;
	}
}
