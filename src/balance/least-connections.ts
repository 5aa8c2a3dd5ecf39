/** To whoever has least to do: fewest active requests per weight, of all or of two drawn at random. */
import type { Rng } from "../core/rng.ts";
import { type Draw, EvenDraw, WeightedDraw } from "./draw.ts";
import type { Candidate, Picker } from "./picker.ts";

// Up to here looking at every endpoint costs no more than two draws, and finds the best instead of a good one.
const FULL_SCAN_MAX = 8;

export class LeastConnectionsPicker<E extends Candidate> implements Picker<E> {
	readonly #endpoints: readonly E[];
	readonly #draw: Draw;
	readonly #rng: Rng;

	/** At least two endpoints; `even` when all weights are equal. */
	constructor(endpoints: readonly E[], even: boolean, rng: Rng) {
		this.#endpoints = endpoints;
		this.#draw = even ? new EvenDraw(endpoints.length) : new WeightedDraw(endpoints.map((e) => e.weight));
		this.#rng = rng;
	}

	pick(avoid?: E): E | undefined {
		return this.#endpoints.length <= FULL_SCAN_MAX ? this.#leastOfAll(avoid) : this.#lesserOfTwo(avoid);
	}

	/** Among those that are equally idle the weights decide, by one random number. */
	#leastOfAll(avoid: E | undefined): E | undefined {
		const endpoints = this.#endpoints;
		let best: E | undefined;
		let tiedWeight = 0;
		for (let i = 0; i < endpoints.length; i++) {
			const endpoint = endpoints[i] as E;
			if (endpoint === avoid) continue;
			const order = best === undefined ? -1 : compareLoad(endpoint, best);
			if (order > 0) continue;
			if (order < 0) {
				best = endpoint;
				tiedWeight = 0;
			}
			tiedWeight += endpoint.weight;
		}
		if (best === undefined || tiedWeight === best.weight) return best;
		let target = this.#rng() * tiedWeight;
		for (let i = 0; i < endpoints.length; i++) {
			const endpoint = endpoints[i] as E;
			if (endpoint === avoid || compareLoad(endpoint, best) !== 0) continue;
			target -= endpoint.weight;
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
		const first = endpoints[i] as E;
		const second = endpoints[j] as E;
		return compareLoad(second, first) < 0 ? second : first;
	}
}

/** Negative where `a` has less to do for its weight than `b`: a.active / a.weight against b.active / b.weight, undivided. */
function compareLoad(a: Candidate, b: Candidate): number {
	return a.activeRequests * b.weight - b.activeRequests * a.weight;
}
