/** Endpoints and counting for the balancing tests. */
import type { Candidate, Picker } from "../../src/balance/picker.ts";

export interface TestEndpoint extends Candidate {
	readonly name: string;
	weight: number;
	activeRequests: number;
}

export function endpoint(name: string, weight = 1): TestEndpoint {
	return { name, key: name, weight, activeRequests: 0, latency: undefined };
}

export function endpointsOf(weights: readonly number[]): TestEndpoint[] {
	return weights.map((weight, i) => endpoint(`e${i}`, weight));
}

export function tally(picker: Picker<TestEndpoint>, picks: number): Map<TestEndpoint, number> {
	const counts = new Map<TestEndpoint, number>();
	for (let i = 0; i < picks; i++) {
		const picked = picker.pick();
		if (picked === undefined) throw new Error("the picker gave nothing");
		counts.set(picked, (counts.get(picked) ?? 0) + 1);
	}
	return counts;
}

/** Largest distance of a share of the picks from its share of the weights, as a fraction of all picks. */
export function worstShareError(endpoints: readonly TestEndpoint[], counts: ReadonlyMap<TestEndpoint, number>): number {
	const total = endpoints.reduce((sum, e) => sum + e.weight, 0);
	const picks = [...counts.values()].reduce((sum, n) => sum + n, 0);
	return Math.max(...endpoints.map((e) => Math.abs((counts.get(e) ?? 0) / picks - e.weight / total)));
}

/** Longest run of one and the same endpoint. */
export function longestRun(picker: Picker<TestEndpoint>, picks: number): number {
	let longest = 0;
	let run = 0;
	let last: TestEndpoint | undefined;
	for (let i = 0; i < picks; i++) {
		const picked = picker.pick();
		run = picked === last ? run + 1 : 1;
		last = picked;
		longest = Math.max(longest, run);
	}
	return longest;
}
