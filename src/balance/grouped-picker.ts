/** Several groups of endpoints: draws a group by its share of the load, then asks the group's own picker. */
import type { Rng } from "../core/rng.ts";
import { type Hash64, hashModulo } from "../core/xxh64.ts";
import type { Candidate, Picker } from "./picker.ts";
import { isTurnPicker, type TurnPicker } from "./turns.ts";

export class GroupedPicker<E extends Candidate> implements TurnPicker<E> {
	readonly #pickers: readonly Picker<E>[];
	/** Percent of the load that a group and those before it take. */
	readonly #untilPercent: Float64Array;
	readonly #rng: Rng;

	/** At least two pickers, none of them empty, and the share of each, which make 1. */
	constructor(pickers: readonly Picker<E>[], shares: readonly number[], rng: Rng) {
		this.#pickers = pickers;
		let sum = 0;
		this.#untilPercent = Float64Array.from(shares, (share) => {
			sum += share;
			return sum * 100;
		});
		this.#rng = rng;
	}

	/** A hash draws the group as well, as in Envoy, lest a key go to and fro. */
	pick(avoid?: E, hash?: Hash64): E | undefined {
		const pickers = this.#pickers;
		let at = this.#draw(hash === undefined ? this.#rng() * 100 : hashModulo(hash, 100));
		let endpoint = (pickers[at] as Picker<E>).pick(avoid, hash);
		// A group of one has nobody else to give.
		for (let asked = 1; endpoint === avoid && asked < pickers.length; asked++) {
			at = at + 1 === pickers.length ? 0 : at + 1;
			endpoint = (pickers[at] as Picker<E>).pick(avoid, hash);
		}
		return endpoint;
	}

	waits(): Map<E, number> {
		const waits = new Map<E, number>();
		for (const picker of this.#pickers) if (isTurnPicker(picker)) for (const [endpoint, wait] of picker.waits()) waits.set(endpoint, wait);
		return waits;
	}

	#draw(percent: number): number {
		const until = this.#untilPercent;
		const last = until.length - 1;
		let at = 0;
		while (at < last && percent >= (until[at] as number)) at++;
		return at;
	}
}
