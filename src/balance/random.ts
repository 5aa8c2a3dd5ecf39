/** At random, in proportion to the weights. */
import type { Rng } from "../core/rng.ts";
import { type Draw, drawOf } from "./draw.ts";
import type { Candidate, Picker } from "./picker.ts";

export class RandomPicker<E extends Candidate> implements Picker<E> {
	readonly #endpoints: readonly E[];
	readonly #draw: Draw;
	readonly #rng: Rng;

	/** At least two endpoints and the weight of each. */
	constructor(endpoints: readonly E[], weights: readonly number[], rng: Rng) {
		this.#endpoints = endpoints;
		this.#draw = drawOf(weights);
		this.#rng = rng;
	}

	pick(avoid?: E): E | undefined {
		const index = this.#draw.any(this.#rng);
		const endpoint = this.#endpoints[index];
		return endpoint === avoid ? this.#endpoints[this.#draw.except(this.#rng, index)] : endpoint;
	}
}
