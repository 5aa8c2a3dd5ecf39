/**
 * What happened lately: exact counts of calls over a window of time, in ten buckets; knows nothing of thresholds.
 * Counts and not a moving average, since a tight burst gives each sample of an average almost no weight and can hide a total outage
 * (linkerd2-proxy, outbound/src/http/breaker/success_rate.rs).
 */

// As Hystrix, Linkerd and opossum have it: a tenth of the window falls out at a time.
const BUCKETS = 10;
const FIELDS = 5;
const FAILURES = 1;
const SLOW_CALLS = 2;
const SLOW_FAILURES = 3;
const TOTAL_MS = 4;

//   bucketMs
//  |<------>|
//  [ 7 ][ 8 ][ 9 ] ... [ 16 ]   slot = floor(time / bucketMs); it lies at slot % BUCKETS,
//                        ^      so the newest slot takes the place of the one that falls out
//                      #slot

export class CallWindow {
	requests = 0;
	failures = 0;
	slowCalls = 0;
	/** Those of the slow calls that failed. */
	slowFailures = 0;
	/** Of all calls together, milliseconds. */
	totalMs = 0;
	readonly #bucketMs: number;
	readonly #buckets = new Float64Array(BUCKETS * FIELDS);
	#slot = -1;
	/** Of the newest slot: where it lies, and when it ends, so that a call needs no division. */
	#at = 0;
	#endsMs = 0;

	/** Counts what is between 9/10 of `windowMs` and `windowMs` old, and newer. */
	constructor(windowMs: number) {
		this.#bucketMs = windowMs / BUCKETS;
	}

	/** `nowMs`: monotonic; an older one than before counts as the newest. A latency that is no number counts as 0. */
	record(failed: boolean, slow: boolean, latencyMs: number, nowMs: number): void {
		this.advance(nowMs);
		const at = this.#at;
		const buckets = this.#buckets;
		this.requests++;
		buckets[at] = (buckets[at] ?? 0) + 1;
		if (latencyMs > 0) {
			this.totalMs += latencyMs;
			buckets[at + TOTAL_MS] = (buckets[at + TOTAL_MS] ?? 0) + latencyMs;
		}
		if (failed) {
			this.failures++;
			buckets[at + FAILURES] = (buckets[at + FAILURES] ?? 0) + 1;
		}
		if (slow) this.#recordSlow(failed, at);
	}

	/** Drops what has become too old. */
	advance(nowMs: number): void {
		if (nowMs < this.#endsMs) return;
		const slot = Math.floor(nowMs / this.#bucketMs);
		const first = Math.max(this.#slot + 1, slot - BUCKETS + 1);
		for (let stale = first; stale <= slot; stale++) {
			const at = (stale % BUCKETS) * FIELDS;
			this.#buckets.fill(0, at, at + FIELDS);
		}
		this.#slot = slot;
		this.#at = (slot % BUCKETS) * FIELDS;
		this.#endsMs = (slot + 1) * this.#bucketMs;
		this.#sum();
	}

	reset(): void {
		this.#buckets.fill(0);
		this.#sum();
	}

	#recordSlow(failed: boolean, at: number): void {
		const buckets = this.#buckets;
		this.slowCalls++;
		buckets[at + SLOW_CALLS] = (buckets[at + SLOW_CALLS] ?? 0) + 1;
		if (!failed) return;
		this.slowFailures++;
		buckets[at + SLOW_FAILURES] = (buckets[at + SLOW_FAILURES] ?? 0) + 1;
	}

	/** Summed anew ten times a window, not subtracted, so that fractions of milliseconds leave no residue. */
	#sum(): void {
		this.requests = this.#sumOf(0);
		this.failures = this.#sumOf(FAILURES);
		this.slowCalls = this.#sumOf(SLOW_CALLS);
		this.slowFailures = this.#sumOf(SLOW_FAILURES);
		this.totalMs = this.#sumOf(TOTAL_MS);
	}

	#sumOf(field: number): number {
		let sum = 0;
		for (let at = field; at < BUCKETS * FIELDS; at += FIELDS) sum += this.#buckets[at] ?? 0;
		return sum;
	}
}
