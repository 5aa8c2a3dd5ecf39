/**
 * How many requests an upstream can take at a time, learned from its latency. Arithmetic on times that are handed in.
 *
 * The rule is that of Envoy's gradient controller (adaptive_concurrency.proto, gradient_controller.cc): every window the limit is multiplied
 * by the ratio of the latency without load to the latency now, and the square root of the limit is added for bursts. It was taken instead of
 * Netflix's Gradient2 because that one compares with a long moving average, which under a lasting overload drifts up to the overloaded
 * latency and lets the limit creep to its maximum; a latency that was measured without load has a fixed point at about 1.25 x the capacity.
 *
 * Where it differs from Envoy:
 * - A window at no more than the lowest limit measures the latency without load for nothing. Only where there was none for a minute is the
 *   limit lowered for 20 answers; Envoy does so for 50, always.
 * - Nothing is learned from answers to what was sent under the limit before: each window first waits as long as an answer takes.
 * - A limit that is not half used does not grow (Gradient2), so that it means something when a burst comes.
 * - A dropped request counts as one that took for ever, so that an upstream that only fails or hangs is asked less, not more.
 */
import type { Rng } from "../../core/rng.ts";

// The median latency of a window may be so much above that without load: Envoy's buffer of 25 %, and what our own loop may add to it,
// which is not the upstream's fault and would look like overload where answers take less than a millisecond.
const TOLERANCE = 1.25;
const LOOP_MS = 1;
// As Envoy: no window makes the limit less than half or more than twice as large.
const GRADIENT_MIN = 0.5;
const GRADIENT_MAX = 2;
// Netflix's initialLimit: enough to start a service with, little enough not to drown it.
const INITIAL_LIMIT = 20;
// A window is at least so long (Envoy's concurrency_update_interval) and has at least so many answers, for a median that is worth something.
const WINDOW_MS = 100;
const SAMPLES_MIN = 20;
// The newest answers of a window are enough for its median, whatever its traffic.
const SAMPLES_MAX = 256;
// Envoy's examples; its 15 % jitter keeps sidecars from measuring together.
const MEASURE_EVERY_MS = 60_000;
const MEASURE_JITTER = 0.15;
// Answers twice as fast as the fastest known: what is known is wrong, and waiting for the next minute would let the limit run away.
const STALE = 2;
const UNKNOWN = Number.POSITIVE_INFINITY;

export interface GradientBounds {
	/** At least 1. */
	readonly limitMin: number;
	readonly limitMax: number;
}

/** The next limit, not rounded. Latencies in milliseconds; the median may be infinite. `peak`: the most that were under way at a time. */
export function nextLimit(limit: number, unloadedMs: number, medianMs: number, peak: number, { limitMin, limitMax }: GradientBounds): number {
	const gradient = Math.max(GRADIENT_MIN, Math.min(GRADIENT_MAX, (TOLERANCE * unloadedMs + LOOP_MS) / medianMs));
	const scaled = limit * gradient;
	const next = scaled + Math.sqrt(scaled);
	if (next > limit && peak < limit / 2) return limit;
	return Math.max(limitMin, Math.min(limitMax, next));
}

export class GradientLimit {
	#bounds: GradientBounds;
	readonly #rng: Rng;
	/** What holds outside of a measurement. */
	#limit: number;
	/** At first, and whenever the latency without load is to be measured: the lowest limit holds. */
	#measuring = true;
	#unloadedMs = UNKNOWN;
	#nextMeasureMs = UNKNOWN;
	/** Since when this window, or this measurement, counts. */
	#fromMs = Number.NEGATIVE_INFINITY;
	#peak = 0;
	#count = 0;
	readonly #samples = new Float64Array(SAMPLES_MAX);

	constructor(bounds: GradientBounds, rng: Rng) {
		this.#bounds = bounds;
		this.#rng = rng;
		this.#limit = clamp(INITIAL_LIMIT, bounds);
	}

	/** A whole number. */
	get limit(): number {
		return this.#measuring ? this.#bounds.limitMin : Math.floor(this.#limit);
	}

	/** Latency without load, milliseconds; undefined until it was measured. */
	get unloadedMs(): number | undefined {
		return this.#unloadedMs === UNKNOWN ? undefined : this.#unloadedMs;
	}

	/** One answer. `latencyMs`: infinite for a dropped request. `active`: how many were under way with it. `nowMs`: monotonic. */
	sample(latencyMs: number, active: number, nowMs: number): void {
		if (this.#measuring) {
			// Only what was sent at the lowest limit can measure; dropped requests cannot.
			if (latencyMs === Number.POSITIVE_INFINITY || nowMs - latencyMs < this.#fromMs) return;
		} else {
			if (nowMs < this.#fromMs) return;
			if (this.#count === 0) this.#fromMs = nowMs;
		}
		if (active > this.#peak) this.#peak = active;
		this.#samples[this.#count++ % SAMPLES_MAX] = latencyMs;
		if (this.#count >= SAMPLES_MIN && (this.#measuring || nowMs - this.#fromMs >= WINDOW_MS)) this.#endWindow(nowMs);
	}

	/** New bounds; what was learned stays. */
	configure(bounds: GradientBounds): void {
		this.#bounds = bounds;
		this.#limit = clamp(this.#limit, bounds);
	}

	#endWindow(nowMs: number): void {
		const medianMs = this.#median();
		const answered = medianMs !== Number.POSITIVE_INFINITY;
		const unloaded = this.#measuring || this.#peak <= this.#bounds.limitMin;
		if (!this.#measuring) this.#limit = nextLimit(this.#limit, this.#unloadedMs, medianMs, this.#peak, this.#bounds);
		if (unloaded && answered) this.#learn(medianMs, nowMs);
		this.#measuring = !unloaded && this.#isStale(medianMs, nowMs);
		// What was sent under the old limit comes back until then.
		this.#fromMs = this.#measuring || !answered ? nowMs : nowMs + medianMs;
		this.#count = 0;
		this.#peak = 0;
	}

	#isStale(medianMs: number, nowMs: number): boolean {
		return nowMs >= this.#nextMeasureMs || (medianMs + LOOP_MS) * STALE < this.#unloadedMs;
	}

	#learn(unloadedMs: number, nowMs: number): void {
		this.#unloadedMs = unloadedMs;
		this.#nextMeasureMs = nowMs + MEASURE_EVERY_MS * (1 + MEASURE_JITTER * this.#rng());
	}

	#median(): number {
		const newest = this.#samples.slice(0, Math.min(this.#count, SAMPLES_MAX)).sort();
		return newest[(newest.length - 1) >> 1] ?? Number.POSITIVE_INFINITY;
	}
}

function clamp(limit: number, { limitMin, limitMax }: GradientBounds): number {
	return Math.max(limitMin, Math.min(limitMax, limit));
}
