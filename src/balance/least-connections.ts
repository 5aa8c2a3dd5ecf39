/** To whoever has least to do: fewest active requests per weight, of all or of two drawn at random. */
import type { Rng } from "../core/rng.ts";
import { type Draw, drawOf } from "./draw.ts";
import type { Candidate, Picker } from "./picker.ts";

// Up to here looking at every endpoint costs no more than two draws, and finds the best instead of a good one.
const FULL_SCAN_MAX = 8;

export class LeastConnectionsPicker<E extends Candidate> implements Picker<E> {
	readonly #endpoints: readonly E[];
	readonly #weights: readonly number[];
	readonly #draw: Draw;
	readonly #rng: Rng;

	/** At least two endpoints and the weight of each. */
	constructor(endpoints: readonly E[], weights: readonly number[], rng: Rng) {
		this.#endpoints = endpoints;
		this.#weights = weights;
		this.#draw = drawOf(weights);
		this.#rng = rng;
	}

	pick(avoid?: E): E | undefined {
		return this.#endpoints.length <= FULL_SCAN_MAX ? this.#leastOfAll(avoid) : this.#lesserOfTwo(avoid);
	}

	/** Among those that are equally idle the weights decide, by one random number. */
	#leastOfAll(avoid: E | undefined): E | undefined {
		const endpoints = this.#endpoints;
		const weights = this.#weights;
		let best: E | undefined;
		let bestWeight = 0;
		let tiedWeight = 0;
		for (let i = 0; i < endpoints.length; i++) {
			const endpoint = endpoints[i] as E;
			if (endpoint === avoid) continue;
			const weight = weights[i] as number;
			const order = best === undefined ? -1 : compareLoad(endpoint, weight, best, bestWeight);
			if (order > 0) continue;
			if (order < 0) {
				best = endpoint;
				bestWeight = weight;
				tiedWeight = 0;
			}
			tiedWeight += weight;
		}
		if (best === undefined || tiedWeight === bestWeight) return best;
		let target = this.#rng() * tiedWeight;
		for (let i = 0; i < endpoints.length; i++) {
			const endpoint = endpoints[i] as E;
			const weight = weights[i] as number;
			if (endpoint === avoid || compareLoad(endpoint, weight, best, bestWeight) !== 0) continue;
			target -= weight;
			if (target < 0) return endpoint;
		}
		return best;
	}

	/**
	 * The power of two choices (Mitzenmacher 2001). Both are drawn by weight and a tie goes to the first, so that a service
	 * at rest is spread by its weights; Envoy's comparison of (active + 1) / weight would leave the lighter ones without any.
	 */
	#lesserOfTwo(avoid: E | undefined): E | undefined {
		const endpoints = this.#endpoints;
		const rng = this.#rng;
		const draw = this.#draw;
		let i = draw.any(rng);
		if (endpoints[i] === avoid) i = draw.except(rng, i);
		let j = draw.except(rng, i);
		if (endpoints[j] === avoid) j = draw.exceptBoth(rng, i, j);
		const weights = this.#weights;
		const first = endpoints[i] as E;
		const second = endpoints[j] as E;
		return compareLoad(second, weights[j] as number, first, weights[i] as number) < 0 ? second : first;
	}
}

/** Negative where `a` has less to do for its weight than `b`: a.active / a.weight against b.active / b.weight, undivided. */
function compareLoad(a: Candidate, weightOfA: number, b: Candidate, weightOfB: number): number {
	return a.activeRequests * weightOfB - b.activeRequests * weightOfA;
}
