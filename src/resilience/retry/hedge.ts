/** When a second try is sent beside a slow first one, and how many: a quantile of recent latencies, and a share of the requests. */
import type { HedgePolicy } from "../../policy/resilience-policy.ts";

/** Two histograms of this length follow each other: a quantile covers the last 15..30 s. */
const HALF_MS = 15_000;

/** Below it a quantile is an anecdote. */
const SAMPLES_MIN = 20;

/** So many answers may pass until a quantile is worked out anew. */
const STALE_AFTER = 100;

/** Bins grow by 2^(1/16), so a quantile is at most 4.5 % too long; from 0.1 ms over 20 octaves to 105 s. */
const BINS_PER_OCTAVE = 16;
const BINS = 20 * BINS_PER_OCTAVE;
const BINS_PER_MS = 10;

/** Latencies until the head of an answer. Observing is one logarithm and one addition. */
export class LatencyQuantile {
	#current = new Float64Array(BINS);
	#previous = new Float64Array(BINS);
	#currentCount = 0;
	#previousCount = 0;
	#halfEndMs: number;
	#cachedFor = -1;
	#cachedMs = 0;
	#sinceCached = 0;

	/** `nowMs` here and below: monotonic. */
	constructor(nowMs: number) {
		this.#halfEndMs = nowMs + HALF_MS;
	}

	observe(latencyMs: number, nowMs: number): void {
		if (nowMs >= this.#halfEndMs) this.#turn(nowMs);
		(this.#current[binOf(latencyMs)] as number)++;
		this.#currentCount++;
		this.#sinceCached++;
	}

	/** `q`: 0..1. Milliseconds that this part of the answers did not exceed; undefined while there are fewer than 20 of them. After a silence, of the time before it until the next answer. */
	quantile(q: number): number | undefined {
		const count = this.#currentCount + this.#previousCount;
		if (count < SAMPLES_MIN) return undefined;
		if (q !== this.#cachedFor || this.#sinceCached >= STALE_AFTER) {
			this.#cachedMs = this.#search(Math.max(1, Math.ceil(q * count)));
			this.#cachedFor = q;
			this.#sinceCached = 0;
		}
		return this.#cachedMs;
	}

	#search(rank: number): number {
		let seen = 0;
		let bin = 0;
		for (; bin < BINS - 1; bin++) {
			seen += (this.#current[bin] as number) + (this.#previous[bin] as number);
			if (seen >= rank) break;
		}
		return 2 ** ((bin + 1) / BINS_PER_OCTAVE) / BINS_PER_MS;
	}

	#turn(nowMs: number): void {
		const halves = Math.floor((nowMs - this.#halfEndMs) / HALF_MS) + 1;
		const oldest = this.#previous;
		this.#previous = this.#current;
		this.#previousCount = this.#currentCount;
		this.#current = oldest.fill(0);
		this.#currentCount = 0;
		if (halves > 1) {
			this.#previous.fill(0);
			this.#previousCount = 0;
		}
		this.#halfEndMs += halves * HALF_MS;
		this.#cachedFor = -1;
	}
}

/** How long the first try may be silent; undefined: not hedged, for nobody knows yet how long answers take. */
export function hedgeDelayMs(policy: HedgePolicy, latency: LatencyQuantile): number | undefined {
	return policy.after.kind === "time" ? policy.after.ms : latency.quantile(policy.after.quantile);
}

/** As in RetryBudget: whole numbers, so that nothing is lost or won by rounding. */
const MILLION = 1_000_000;

/** Hedges that may be saved up: enough for a moment's stall of one endpoint, too few to double the load of a slow upstream. */
const BURST = 10;

/** Hedges are at most `maxExtra` of the requests since the beginning, and at most 10 more than that in any stretch of them. */
export class HedgeBudget {
	#share = 0;
	#tokens = 0;

	/** 0..1 of the requests. */
	constructor(maxExtra: number) {
		this.configure(maxExtra);
	}

	configure(maxExtra: number): void {
		if (!(maxExtra >= 0 && maxExtra <= 1)) throw new RangeError(`the share of hedges is 0..1, not ${maxExtra}`);
		this.#share = Math.round(maxExtra * MILLION);
	}

	/** Once for each request that could be hedged. */
	deposit(): void {
		this.#tokens = Math.min(this.#tokens + this.#share, BURST * MILLION);
	}

	/** Just before a hedge is sent; false: it must not be. */
	tryWithdraw(): boolean {
		if (this.#tokens < MILLION) return false;
		this.#tokens -= MILLION;
		return true;
	}
}

function binOf(ms: number): number {
	// Also where the value is no number: an unknown latency must not spoil the table.
	if (!(ms * BINS_PER_MS > 1)) return 0;
	return Math.min(BINS - 1, Math.floor(Math.log2(ms * BINS_PER_MS) * BINS_PER_OCTAVE));
}
