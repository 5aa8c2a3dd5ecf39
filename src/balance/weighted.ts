/**
 * Unequal weights in turn: earliest deadline first, as Envoy schedules. An endpoint of weight w is due every 1/w.
 * nginx' smooth weighted round robin gives the same spread, but looks at every endpoint on every pick.
 */
import type { Rng } from "../core/rng.ts";
import { heapify, runnerUp, sink } from "./due-heap.ts";
import type { Candidate } from "./picker.ts";
import type { TurnPicker } from "./turns.ts";

// Multiples of the golden ratio, modulo 1, lie evenly in [0, 1) for every run of endpoints (Weyl, Knuth 6.4). Were all to
// start alike, as in Envoy, weights 1000:1:1:... would give 1,000 picks of the heavy one, then all the light ones.
const GOLDEN = 0.618_033_988_749_894_9;

// Virtual time starts afresh here: at 2^20 a double still resolves 2^-32, a millionth of the shortest period (1/1000).
const REBASE_AT = 2 ** 20;

export class WeightedPicker<E extends Candidate> implements TurnPicker<E> {
	readonly #endpoints: readonly E[];
	readonly #periods: Float64Array;
	readonly #dueAt: Float64Array;
	readonly #heap: Uint32Array;
	#now = 0;

	/** At least two endpoints and the weight of each. `waits` of the predecessor; newcomers start somewhere within their first period. */
	constructor(endpoints: readonly E[], weights: readonly number[], rng: Rng, waits: ReadonlyMap<E, number>) {
		this.#endpoints = endpoints;
		this.#periods = Float64Array.from(weights, (weight) => 1 / weight);
		this.#heap = Uint32Array.from(endpoints, (_, i) => i);
		const start = rng();
		this.#dueAt = Float64Array.from(weights, (weight, i) => (waits.get(endpoints[i] as E) ?? (start + i * GOLDEN) % 1) / weight);
		heapify(this.#heap, this.#dueAt);
	}

	pick(avoid?: E): E | undefined {
		const heap = this.#heap;
		const dueAt = this.#dueAt;
		let position = 0;
		// An avoided endpoint is not served and so stays due: the next request finds it at the root.
		if (avoid !== undefined && this.#endpoints[heap[0] as number] === avoid) position = runnerUp(heap, dueAt);
		const index = heap[position] as number;
		// Whoever was avoided for long is served once at once, never in a burst that makes up for the past.
		if ((dueAt[index] as number) > this.#now) this.#now = dueAt[index] as number;
		dueAt[index] = this.#now + (this.#periods[index] as number);
		sink(heap, dueAt, position);
		if (this.#now >= REBASE_AT) this.#rebase();
		return this.#endpoints[index];
	}

	waits(): Map<E, number> {
		const waits = new Map<E, number>();
		this.#endpoints.forEach((endpoint, i) => {
			waits.set(endpoint, Math.max(0, (this.#dueAt[i] as number) - this.#now) / (this.#periods[i] as number));
		});
		return waits;
	}

	#rebase(): void {
		const dueAt = this.#dueAt;
		for (let i = 0; i < dueAt.length; i++) dueAt[i] = (dueAt[i] as number) - this.#now;
		this.#now = 0;
	}
}
