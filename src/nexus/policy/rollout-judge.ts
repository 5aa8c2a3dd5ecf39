/**
 * Whether instances with a new policy do worse than the others, and than themselves before. Why by these tests: docs/decisions/0086. Numbers in,
 * verdict out.
 */
import { LATENCY_BOUNDS_S } from "../../metrics/histogram.ts";
import { chanceOfSoMany } from "./exact-test.ts";
import type { Counts, Tally } from "./traffic-tally.ts";

/** Of one direction: inbound, outbound. */
export interface Comparison {
	readonly direction: string;
	readonly staged: Tally;
	/** The rest, at the same time. */
	readonly others: Tally;
	/** The staged ones, before. */
	readonly before: Tally;
}

/** `suspect`: it looks worse, and more is needed to tell that from chance. `unsure`: there was too little to look at. */
export type Verdict = { readonly kind: "fine" } | { readonly kind: "worse" | "suspect" | "unsure"; readonly words: string };

/** The chance of one look at which it is no chance any more: by requests, and by windows of a second. */
interface Certainty {
	readonly requests: number;
	readonly windows: number;
}

/**
 * A roll-out is looked at a thousand times by ten tests: of those that change nothing one in a hundred is stopped, at the very most. Requests of
 * one second share its fate (a pause, a neighbour), seconds hardly do: where all fail, it takes seven to ten of them.
 */
const CERTAINTY: Readonly<Record<"worse" | "suspect", Certainty>> = {
	worse: { requests: 1e-6, windows: 1e-5 },
	suspect: { requests: 0.05, windows: 0.2 },
};
/** Fewer requests say nothing about a share. */
const REQUESTS_MIN = 20;
/** Of a bound that is shorter than this, the noise of the machine is larger than what it tells. */
const SLOW_MS_MIN = 5;

interface Measure {
	readonly name: string;
	readonly hits: (counts: Counts) => number;
	/** The share must have grown by this factor, and by so much. */
	readonly factor: number;
	readonly margin: number;
}

/** The worst news first. `requestsMin`: of staged and of others, before all is called fine. */
export function judge(comparisons: readonly Comparison[], requestsMin: number): Verdict {
	for (const kind of ["worse", "suspect"] as const) {
		for (const comparison of comparisons) {
			const words = comparison.staged.sum.requests < REQUESTS_MIN ? undefined : worseIn(comparison, CERTAINTY[kind]);
			if (words !== undefined) return { kind, words };
		}
	}
	const staged = total(comparisons, "staged");
	const others = total(comparisons, "others");
	if (staged >= requestsMin && others >= requestsMin) return { kind: "fine" };
	return { kind: "unsure", words: `${staged} requests with it and ${others} without, of ${requestsMin} each` };
}

function worseIn({ direction, staged, others, before }: Comparison, certainty: Certainty): string | undefined {
	const hasBefore = before.sum.requests >= REQUESTS_MIN;
	// Where nobody calls the others (a standby, who leads alone), there is only before to compare with.
	const [base, without] = others.sum.requests === 0 && hasBefore ? [before, "before"] : [others, "without"];
	if (base.sum.requests === 0) return undefined;
	for (const measure of measures(base.sum)) {
		if (!isWorse(staged, base, measure, certainty)) continue;
		// Who was no better before is not worse now: another zone, an older machine.
		if (hasBefore && !isWorse(staged, before, measure, certainty)) continue;
		const now = share(staged.sum, measure);
		const theirs = share(base.sum, measure);
		return `${direction}: ${percent(now)} of ${staged.sum.requests} requests with it ${measure.name}, and ${percent(theirs)} of ${base.sum.requests} ${without}`;
	}
	return undefined;
}

function measures(others: Counts): Measure[] {
	const list: Measure[] = [
		{ name: "fail", hits: ({ failed }) => failed, factor: 2, margin: 0.01 },
		{ name: "are answered with 4xx", hits: ({ refused }) => refused, factor: 2, margin: 0.05 },
	];
	// One bucket beyond theirs is at least twice as slow; the next one alone may be a matter of microseconds.
	for (const [quantile, factor, margin] of [
		[0.5, 1.5, 0.2],
		[0.95, 2, 0.05],
	] as const) {
		const bound = Math.max(quantileBound(others, quantile) + 1, SLOW_BOUND_MIN);
		const limitMs = (LATENCY_BOUNDS_S[bound] ?? Number.POSITIVE_INFINITY) * 1000;
		if (Number.isFinite(limitMs)) list.push({ name: `take longer than ${limitMs} ms`, hits: (counts) => counts.slowerThan(bound), factor, margin });
	}
	return list;
}

const SLOW_BOUND_MIN = LATENCY_BOUNDS_S.findIndex((bound) => bound * 1000 >= SLOW_MS_MIN);

/** Index of the bound that so many of them do not exceed. */
function quantileBound({ latencies }: Counts, quantile: number): number {
	const all = latencies.reduce((sum, count) => sum + count, 0);
	let seen = 0;
	for (let i = 0; i < latencies.length; i++) {
		seen += latencies[i] as number;
		if (seen >= all * quantile) return i;
	}
	return latencies.length;
}

function isWorse(staged: Tally, others: Tally, measure: Measure, { requests, windows }: Certainty): boolean {
	const { hits } = measure;
	const theirs = share(others.sum, measure);
	if (!exceeds(share(staged.sum, measure), theirs, measure)) return false;
	if (chanceOfSoMany(hits(staged.sum), staged.sum.requests, hits(others.sum), others.sum.requests) > requests) return false;
	const bad = badWindows(staged, theirs, measure);
	const theirBad = badWindows(others, theirs, measure);
	return chanceOfSoMany(bad.hits, bad.of, theirBad.hits, theirBad.of) <= windows;
}

/** Those that by themselves are beyond what the others do as a whole. */
function badWindows(tally: Tally, theirs: number, measure: Measure): { readonly hits: number; readonly of: number } {
	let hits = 0;
	let of = 0;
	for (const window of tally.windows()) {
		of++;
		if (exceeds(share(window, measure), theirs, measure)) hits++;
	}
	return { hits, of };
}

function exceeds(now: number, theirs: number, { factor, margin }: Measure): boolean {
	return now >= theirs * factor && now >= theirs + margin;
}

function share(counts: Counts, { hits }: Measure): number {
	return counts.requests === 0 ? 0 : hits(counts) / counts.requests;
}

function total(comparisons: readonly Comparison[], group: "staged" | "others"): number {
	return comparisons.reduce((sum, comparison) => sum + comparison[group].sum.requests, 0);
}

function percent(part: number): string {
	return `${(part * 100).toFixed(part < 0.1 ? 1 : 0)} %`;
}
