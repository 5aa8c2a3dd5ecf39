/** To whoever answers soonest: of two drawn at random the one with less latency times requests under way. */
import type { Rng } from "../core/rng.ts";
import { type Draw, drawOf } from "./draw.ts";
import { UNKNOWN_LATENCY_MS } from "./peak-ewma.ts";
import type { Candidate, Picker } from "./picker.ts";

// Always two, however few there are: were all compared, everybody would run to the same one until its answers come in.

export class PeakEwmaPicker<E extends Candidate> implements Picker<E> {
	readonly #endpoints: readonly E[];
	readonly #weights: readonly number[];
	readonly #draw: Draw;
	readonly #rng: Rng;
	readonly #now: () => number;

	/** At least two endpoints and the weight of each; `now` in monotonic milliseconds, the clock of their estimates. */
	constructor(endpoints: readonly E[], weights: readonly number[], rng: Rng, now: () => number) {
		this.#endpoints = endpoints;
		this.#weights = weights;
		this.#draw = drawOf(weights);
		this.#rng = rng;
		this.#now = now;
	}

	pick(avoid?: E): E | undefined {
		const endpoints = this.#endpoints;
		const rng = this.#rng;
		const draw = this.#draw;
		let i = draw.any(rng);
		if (endpoints[i] === avoid) i = draw.except(rng, i);
		let j = draw.except(rng, i);
		const first = endpoints[i] as E;
		if (endpoints[j] === avoid) {
			if (endpoints.length === 2) return first;
			j = draw.exceptBoth(rng, i, j);
		}
		const second = endpoints[j] as E;
		const nowMs = this.#now();
		const costOfFirst = costOf(first, this.#weights[i] as number, nowMs);
		return costOf(second, this.#weights[j] as number, nowMs) < costOfFirst ? second : first;
	}
}

/**
 * Finagle's latency x (active + 1), where the requests under way count by weight. The one to come does not: both were
 * drawn by weight already, and at rest (active + 1) / weight would leave the lighter ones without any.
 */
function costOf({ latency, activeRequests }: Candidate, weight: number, nowMs: number): number {
	return (latency === undefined ? UNKNOWN_LATENCY_MS : latency.get(nowMs)) * (activeRequests / weight + 1);
}
