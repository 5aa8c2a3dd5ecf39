/** From a policy's word for balancing to the picker that does it; the one place that knows them all. */
import { assertNever } from "../core/errors.ts";
import type { Rng } from "../core/rng.ts";
import type { BalancingKind } from "../policy/snapshot.ts";
import { LeastConnectionsPicker } from "./least-connections.ts";
import type { Candidate, Picker } from "./picker.ts";
import { RandomPicker } from "./random.ts";
import { RoundRobinPicker } from "./round-robin.ts";
import { isTurnPicker } from "./turns.ts";
import { WeightedPicker } from "./weighted.ts";

/**
 * Builds the picker to publish for `members` (distinct objects), O(n log n).
 *
 * `round-robin` and `weighted` are one family, as in Envoy: equal weights need only an index, unequal ones a schedule.
 * With `previous`, endpoints that are in both keep their turn, told by object identity; `previous` is left as it was.
 * Throws RangeError for a weight that is not positive and finite: policy admits only 1..1000.
 */
export function buildPicker<E extends Candidate>(kind: BalancingKind, members: readonly E[], rng: Rng, previous?: Picker<E>): Picker<E> {
	const even = haveEqualWeights(members);
	const endpoints = members.slice(); // pickers hold indices, so nobody else may change the list
	const [first] = endpoints;
	if (first === undefined) return { pick: () => undefined };
	if (endpoints.length === 1) return { pick: () => first };
	switch (kind) {
		case "round-robin":
		case "weighted": {
			const waits = isTurnPicker(previous) ? previous.waits() : new Map<E, number>();
			return even ? new RoundRobinPicker(endpoints, rng, waits) : new WeightedPicker(endpoints, rng, waits);
		}
		case "least-connections":
			return new LeastConnectionsPicker(endpoints, even, rng);
		case "random":
			return new RandomPicker(endpoints, even, rng);
		default:
			return assertNever(kind);
	}
}

function haveEqualWeights(endpoints: readonly Candidate[]): boolean {
	const weight = endpoints[0]?.weight;
	let equal = true;
	for (const endpoint of endpoints) {
		if (!(endpoint.weight > 0 && endpoint.weight < Number.POSITIVE_INFINITY))
			throw new RangeError(`weight ${endpoint.weight} is not positive and finite`);
		if (endpoint.weight !== weight) equal = false;
	}
	return equal;
}
