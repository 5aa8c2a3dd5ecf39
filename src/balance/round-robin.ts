/** Equal weights in turn: an index into a ring. */
import type { Rng } from "../core/rng.ts";
import type { Candidate } from "./picker.ts";
import type { TurnPicker } from "./turns.ts";

//        next
//         v
// [ a  b  c  d  e ]   served: c d e a b c ...
//
// The successor's ring starts at `next`: survivors in the order in which they wait, newcomers behind them. So any two
// endpoints strictly alternate for as long as both are there, whoever else comes and goes.

export class RoundRobinPicker<E extends Candidate> implements TurnPicker<E> {
	readonly #ring: E[];
	#next = 0;

	/** At least two endpoints. `waits` of the predecessor; without one the start is random, lest all sidecars begin with the same endpoint. */
	constructor(endpoints: readonly E[], rng: Rng, waits: ReadonlyMap<E, number>) {
		const survivors = endpoints.filter((e) => waits.has(e)).sort((a, b) => (waits.get(a) as number) - (waits.get(b) as number));
		const newcomers = endpoints.filter((e) => !waits.has(e));
		this.#ring = survivors.concat(newcomers);
		if (survivors.length === 0) this.#next = Math.floor(rng() * newcomers.length);
	}

	pick(avoid?: E): E | undefined {
		const ring = this.#ring;
		const at = this.#next;
		const following = at + 1 === ring.length ? 0 : at + 1;
		this.#next = following;
		const endpoint = ring[at] as E;
		if (endpoint !== avoid) return endpoint;
		// The avoided one changes places with the one behind it: passed over now, it keeps its turn for the next request.
		const other = ring[following] as E;
		ring[at] = other;
		ring[following] = endpoint;
		return other;
	}

	waits(): Map<E, number> {
		const ring = this.#ring;
		const waits = new Map<E, number>();
		for (let i = 0; i < ring.length; i++) waits.set(ring[(this.#next + i) % ring.length] as E, i / ring.length);
		return waits;
	}
}
