/** From a policy's word for balancing to the picker that does it; the one place that knows them all. */
import { assertNever } from "../core/errors.ts";
import type { Rng } from "../core/rng.ts";
import type { BalancingKind } from "../policy/snapshot.ts";
import { LeastConnectionsPicker } from "./least-connections.ts";
import { MaglevPicker } from "./maglev.ts";
import { PeakEwmaPicker } from "./peak-ewma-picker.ts";
import type { Candidate, Picker } from "./picker.ts";
import { RandomPicker } from "./random.ts";
import { RingHashPicker } from "./ring-hash.ts";
import { RoundRobinPicker } from "./round-robin.ts";
import { isTurnPicker } from "./turns.ts";
import { WeightedPicker } from "./weighted.ts";

/** What only some kinds ask for. */
export interface PickerSettings<E extends Candidate> {
	readonly ringSizeMin: number;
	readonly tableSize: number;
	/** Monotonic milliseconds: the clock of the candidates' latencies. */
	readonly now: () => number;
	/** Weights in place of the candidates' own; ring-hash and maglev keep to those, as a changing table would move keys about. */
	readonly weightOf?: ((endpoint: E) => number) | undefined;
}

// Envoy's sizes, and a clock that stands still: for a picker that is only looked at.
const OFFLINE: PickerSettings<Candidate> = { ringSizeMin: 1024, tableSize: 65_537, now: () => 0 };

/**
 * Builds the picker to publish for `members` (distinct objects), O(n log n), in entries for ring-hash and maglev.
 *
 * `round-robin` and `weighted` are one family, as in Envoy: equal weights need only an index, unequal ones a schedule.
 * With `previous`, endpoints that are in both keep their turn, told by object identity; `previous` is left as it was.
 * Throws RangeError for a weight that is not positive and finite (policy admits only 1..1000), and for table sizes out of range.
 */
export function buildPicker<E extends Candidate>(
	kind: BalancingKind,
	members: readonly E[],
	rng: Rng,
	previous?: Picker<E>,
	settings: PickerSettings<E> = OFFLINE,
): Picker<E> {
	const endpoints = members.slice(); // pickers hold indices, so nobody else may change the list
	const { weightOf } = settings;
	const weights = endpoints.map(weightOf === undefined || isHashing(kind) ? ownWeight : weightOf);
	const even = areEqual(weights);
	const [first] = endpoints;
	if (first === undefined) return { pick: () => undefined };
	if (endpoints.length === 1) return { pick: () => first };
	switch (kind) {
		case "round-robin":
		case "weighted": {
			const waits = isTurnPicker(previous) ? previous.waits() : new Map<E, number>();
			return even ? new RoundRobinPicker(endpoints, rng, waits) : new WeightedPicker(endpoints, weights, rng, waits);
		}
		case "least-connections":
			return new LeastConnectionsPicker(endpoints, weights, rng);
		case "random":
			return new RandomPicker(endpoints, weights, rng);
		case "peak-ewma":
			return new PeakEwmaPicker(endpoints, weights, rng, settings.now);
		case "ring-hash":
			return new RingHashPicker(endpoints, weights, settings.ringSizeMin, rng);
		case "maglev":
			return new MaglevPicker(endpoints, weights, settings.tableSize, rng);
		default:
			return assertNever(kind);
	}
}

function isHashing(kind: BalancingKind): boolean {
	return kind === "ring-hash" || kind === "maglev";
}

function ownWeight({ weight }: Candidate): number {
	return weight;
}

function areEqual(weights: readonly number[]): boolean {
	let equal = true;
	for (const weight of weights) {
		if (!(weight > 0 && weight < Number.POSITIVE_INFINITY)) throw new RangeError(`weight ${weight} is not positive and finite`);
		if (weight !== weights[0]) equal = false;
	}
	return equal;
}
