/** Brings endpoints up to their weight over a time, so that cold caches and pools are not met by a full share at once. */

/** What slow start reads of an endpoint. */
export interface Warming {
	readonly weight: number;
	/** Monotonic milliseconds since when it takes part: it began, or came back; -Infinity for what has always been there. */
	readonly sinceMs: number;
}

export interface SlowStartOptions {
	readonly windowMs: number;
	/** 1: evenly; more: faster at first. */
	readonly aggression: number;
	/** 0..100 */
	readonly minWeightPercent: number;
}

// Steps of 5 %: finer ones build pickers that nobody could tell apart.
const STEPS = 20;

// A picker needs a weight above 0 also where the policy begins with none of it.
const FACTOR_MIN = 0.001;

export class SlowStart {
	readonly #windowMs: number;
	readonly #exponent: number;
	readonly #factorMin: number;

	/** RangeError for a window or an aggression that is not positive, and a percentage that is none. */
	constructor({ windowMs, aggression, minWeightPercent }: SlowStartOptions) {
		if (!(windowMs > 0)) throw new RangeError(`a window of ${windowMs} ms`);
		if (!(aggression > 0)) throw new RangeError(`an aggression of ${aggression}`);
		if (!(minWeightPercent >= 0 && minWeightPercent <= 100)) throw new RangeError(`${minWeightPercent} percent of a weight`);
		this.#windowMs = windowMs;
		this.#exponent = 1 / aggression;
		this.#factorMin = Math.max(FACTOR_MIN, minWeightPercent / 100);
	}

	/** weight x max(minimum, t^(1/aggression)) with t = 0..1 of the window, as Envoy. */
	weightOf({ weight, sinceMs }: Warming, nowMs: number): number {
		const part = (nowMs - sinceMs) / this.#windowMs;
		if (part >= 1) return weight;
		return weight * Math.max(this.#factorMin, Math.max(0, part) ** this.#exponent);
	}

	/**
	 * When the weights should be looked at again, in monotonic milliseconds; undefined when none changes any more. One
	 * rhythm for all that warm up: a thousand newcomers cost twenty pickers each window, like one.
	 */
	nextChangeMs(endpoints: Iterable<Warming>, nowMs: number): number | undefined {
		let lastMs = Number.NEGATIVE_INFINITY;
		for (const { sinceMs } of endpoints) lastMs = Math.max(lastMs, sinceMs + this.#windowMs);
		return lastMs > nowMs ? Math.min(lastMs, nowMs + this.#windowMs / STEPS) : undefined;
	}
}
