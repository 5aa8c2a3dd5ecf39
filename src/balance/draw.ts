/** Random draws of an index in proportion to weights, with and without some left out. */
import type { Rng } from "../core/rng.ts";

export interface Draw {
	/** One random number, O(1). */
	any(rng: Rng): number;
	/** As `any`, but never `a`; one random number, O(log n). Needs at least two indices. */
	except(rng: Rng, a: number): number;
	/** As `any`, but neither `a` nor `b`, which differ; one random number, O(log n). Needs at least three indices. */
	exceptBoth(rng: Rng, a: number, b: number): number;
}

/** In proportion to positive `weights`, in the cheapest way. */
export function drawOf(weights: readonly number[]): Draw {
	return weights.every((weight) => weight === weights[0]) ? new EvenDraw(weights.length) : new WeightedDraw(weights);
}

/** Every index 0..size-1 alike. */
export class EvenDraw implements Draw {
	readonly #size: number;

	constructor(size: number) {
		this.#size = size;
	}

	any(rng: Rng): number {
		return Math.floor(rng() * this.#size);
	}

	except(rng: Rng, a: number): number {
		const drawn = Math.floor(rng() * (this.#size - 1));
		return drawn >= a ? drawn + 1 : drawn;
	}

	exceptBoth(rng: Rng, a: number, b: number): number {
		const low = Math.min(a, b);
		const high = Math.max(a, b);
		let drawn = Math.floor(rng() * (this.#size - 2));
		if (drawn >= low) drawn++;
		if (drawn >= high) drawn++;
		return drawn;
	}
}

/**
 * In proportion to positive weights. `any` is an alias table (Vose 1991): a column is drawn evenly, then either its own
 * index or the one that fills it up. The others search cumulated weights, since redrawing has no bound when one weighs nearly all.
 */
export class WeightedDraw implements Draw {
	/** `#cumulated[i]` is the sum of the weights before i; one longer than the weights. */
	readonly #cumulated: Float64Array;
	/** Fraction of column i that is its own. */
	readonly #own: Float64Array;
	readonly #alias: Uint32Array;

	constructor(weights: readonly number[]) {
		const size = weights.length;
		this.#cumulated = new Float64Array(size + 1);
		for (let i = 0; i < size; i++) this.#cumulated[i + 1] = (this.#cumulated[i] as number) + (weights[i] as number);
		const mean = (this.#cumulated[size] as number) / size;
		this.#own = Float64Array.from(weights, (weight) => weight / mean);
		this.#alias = Uint32Array.from(weights, (_, i) => i);
		this.#fillColumns();
	}

	any(rng: Rng): number {
		const scaled = rng() * this.#own.length;
		const column = Math.floor(scaled);
		return scaled - column < (this.#own[column] as number) ? column : (this.#alias[column] as number);
	}

	except(rng: Rng, a: number): number {
		let target = rng() * (this.#total() - this.#weight(a));
		if (target >= (this.#cumulated[a] as number)) target += this.#weight(a);
		return this.#indexAt(target);
	}

	exceptBoth(rng: Rng, a: number, b: number): number {
		const low = Math.min(a, b);
		const high = Math.max(a, b);
		let target = rng() * (this.#total() - this.#weight(low) - this.#weight(high));
		if (target >= (this.#cumulated[low] as number)) target += this.#weight(low);
		if (target >= (this.#cumulated[high] as number)) target += this.#weight(high);
		return this.#indexAt(target);
	}

	#total(): number {
		return this.#cumulated[this.#cumulated.length - 1] as number;
	}

	#weight(index: number): number {
		return (this.#cumulated[index + 1] as number) - (this.#cumulated[index] as number);
	}

	/** The last index whose weights before it do not exceed `target`. */
	#indexAt(target: number): number {
		let low = 0;
		let high = this.#own.length - 1;
		while (low < high) {
			const middle = (low + high + 1) >> 1;
			if ((this.#cumulated[middle] as number) <= target) low = middle;
			else high = middle - 1;
		}
		return low;
	}

	#fillColumns(): void {
		const own = this.#own;
		const short: number[] = [];
		const tall: number[] = [];
		own.forEach((height, i) => {
			(height < 1 ? short : tall).push(i);
		});
		for (;;) {
			const low = short.pop();
			const high = tall.pop();
			if (low === undefined || high === undefined) {
				// What is left misses 1 only by rounding.
				for (const index of [low, high, ...short, ...tall]) if (index !== undefined) own[index] = 1;
				return;
			}
			this.#alias[low] = high;
			own[high] = (own[high] as number) + (own[low] as number) - 1;
			((own[high] as number) < 1 ? short : tall).push(high);
		}
	}
}
