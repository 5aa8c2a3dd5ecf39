/** Rollups of traffic added up: requests, what failed, how long they took; as a whole and window by window. */
import { LATENCY_BOUNDS_S } from "../../metrics/histogram.ts";

const BUCKETS = LATENCY_BOUNDS_S.length + 1;
/** A minute of a hundred instances; older ones count in the sum alone. */
const WINDOWS_MAX = 6_000;

/** What one rollup says. */
export interface Rollup {
	readonly instance: string;
	/** Second in which its window ended, by the sidecar's clock: all rollups of one window have the same. */
	readonly second: number;
	/** A status class, or the reason of an answer of the sidecar itself. */
	readonly outcome: string;
	readonly count: number;
	/** Requests by latency, as LATENCY_BOUNDS_S; empty where they come in other bounds. */
	readonly latencies: readonly number[];
}

export class Counts {
	requests = 0;
	/** 5xx, and whatever the sidecar has answered itself: a rule that refuses everybody is a failure as well. */
	failed = 0;
	/** 4xx: a route that leads to the wrong place. */
	refused = 0;
	/** Not cumulated. */
	readonly latencies = new Float64Array(BUCKETS);

	add({ outcome, count, latencies }: Rollup): void {
		this.requests += count;
		if (outcome === "4xx") this.refused += count;
		else if (!PASSED.has(outcome)) this.failed += count;
		if (latencies.length === BUCKETS) for (let i = 0; i < BUCKETS; i++) (this.latencies[i] as number) += latencies[i] as number;
	}

	/** Requests that took longer than the bound with this index. */
	slowerThan(bound: number): number {
		let count = 0;
		for (let i = bound + 1; i < BUCKETS; i++) count += this.latencies[i] as number;
		return count;
	}
}

const PASSED: ReadonlySet<string> = new Set(["1xx", "2xx", "3xx", "4xx"]);

export class Tally {
	readonly sum = new Counts();
	readonly #windows = new Map<string, Counts>();

	add(rollup: Rollup): void {
		this.sum.add(rollup);
		const key = `${rollup.second} ${rollup.instance}`;
		let window = this.#windows.get(key);
		if (window === undefined) {
			window = new Counts();
			this.#windows.set(key, window);
			if (this.#windows.size > WINDOWS_MAX) this.#windows.delete(this.#windows.keys().next().value ?? "");
		}
		window.add(rollup);
	}

	/** One for each second and instance in which there was traffic. */
	windows(): Iterable<Counts> {
		return this.#windows.values();
	}
}
