/** One of several destinations in proportion to their weights: by chance, or always the same one for the same key. */
import type { Rng } from "../../core/rng.ts";
import type { Hash64 } from "../../core/xxh64.ts";

const TWO_32 = 2 ** 32;

export class Split<T> {
	readonly #destinations: readonly T[];
	/** Of the weights up to and with each destination. */
	readonly #sums: readonly number[];
	readonly #total: number;
	readonly #rng: Rng;

	/** Weights are 0 or more, and not all 0. */
	constructor(destinations: readonly { readonly to: T; readonly weight: number }[], rng: Rng) {
		let sum = 0;
		this.#destinations = destinations.map(({ to }) => to);
		this.#sums = destinations.map(({ weight }) => {
			sum += weight;
			return sum;
		});
		if (!(sum > 0)) throw new RangeError("the weights of a split are all 0");
		this.#total = sum;
		this.#rng = rng;
	}

	// The other half than a hash ring looks at: else all requests of a destination would lie on one arc of its ring.
	/** `hash`: the same one gives the same destination for as long as the weights stay; a change of weights moves as few as it must. */
	choose(hash: Hash64 | undefined): T {
		const at = (hash === undefined ? this.#rng() : hash.lo / TWO_32) * this.#total;
		const index = this.#sums.findIndex((sum) => at < sum);
		return this.#destinations[index === -1 ? this.#destinations.length - 1 : index] as T;
	}
}
