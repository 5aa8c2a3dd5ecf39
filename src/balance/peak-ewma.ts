/** How long an endpoint takes to answer: a moving average that believes bad news at once and good news by and by. */

// Finagle's and Linkerd's: what was seen so long ago counts 1/e.
const DECAY_MS = 10_000;

/** Linkerd's default_rtt: what a newcomer is taken for until it has answered. */
export const UNKNOWN_LATENCY_MS = 30;

// Below it are the turns of an event loop, not differences of endpoints. Without a floor an estimate that nobody renewed
// would fade to nothing, and the first burst after a rest would go to one endpoint as a whole.
const LATENCY_MIN_MS = 1;

/** Linkerd's load-biaser-max-retry-after: what one answer can charge an endpoint with. */
export const PENALTY_MAX_MS = 300_000;

/**
 * Peak EWMA (Finagle): rises to a longer latency at once, falls to shorter ones with the time constant of 10 s, however
 * many there are. Unasked it falls as well, so that an endpoint which was bad is tried again.
 */
export class PeakEwma {
	#latencyMs = UNKNOWN_LATENCY_MS;
	#atMs: number;

	/** Monotonic milliseconds, here and below. */
	constructor(nowMs: number) {
		this.#atMs = nowMs;
	}

	/** From sending until the head of an answer that is worth having. RangeError for what is no latency. */
	observe(latencyMs: number, nowMs: number): void {
		assertLatency(latencyMs);
		const kept = this.#kept(nowMs);
		this.#latencyMs = latencyMs >= this.#latencyMs * kept ? latencyMs : this.#latencyMs * kept + latencyMs * (1 - kept);
		this.#moveTo(nowMs);
	}

	/**
	 * For a failure or a 429, instead of `observe`: a refusal is quick and must not look good. `penaltyMs` is the policy's
	 * or what `retry-after` asked for, whichever is more; at most 300 s count, and a higher estimate stays.
	 */
	penalize(penaltyMs: number, nowMs: number): void {
		assertLatency(penaltyMs);
		this.#latencyMs = Math.max(this.#latencyMs * this.#kept(nowMs), Math.min(penaltyMs, PENALTY_MAX_MS));
		this.#moveTo(nowMs);
	}

	/** Milliseconds, at least 1. */
	get(nowMs: number): number {
		const latencyMs = this.#latencyMs * this.#kept(nowMs);
		return latencyMs > LATENCY_MIN_MS ? latencyMs : LATENCY_MIN_MS;
	}

	/** The part of what was known that still counts; a clock that stands or goes back forgets nothing. */
	#kept(nowMs: number): number {
		return nowMs > this.#atMs ? Math.exp((this.#atMs - nowMs) / DECAY_MS) : 1;
	}

	#moveTo(nowMs: number): void {
		if (nowMs > this.#atMs) this.#atMs = nowMs;
	}
}

function assertLatency(ms: number): void {
	if (!(ms >= 0 && ms < Number.POSITIVE_INFINITY)) throw new RangeError(`${ms} ms is no latency`);
}
