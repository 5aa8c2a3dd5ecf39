/** What a contestant adds to a request when it is far from full: open-loop load at a constant rate, in turns, over direct. */
import { messageOf } from "../src/core/errors.ts";
import { type RateResult, runAtRate } from "./open-load.ts";
import { bodyPath, ORIGIN_HOST } from "./origin.ts";
import type { PeerName } from "./peers/peer.ts";
import { median } from "./stats.ts";
import { type Bench, type Contestant, takeTurn } from "./turn.ts";

const WARM_SECONDS = 1;
// Enough that at 1,000/s a request waits for the proxy and never for a free connection.
const CONNECTIONS = 32;

export interface LatencyRow {
	readonly name: PeerName;
	/** Medians over the rounds, measured from the intended moment of sending. */
	readonly p50Ms: number;
	readonly p99Ms: number;
	/** The worst request of all rounds. */
	readonly maxMs: number;
	/** How late the generator itself was at the worst. */
	readonly sentLateMaxMs: number;
	/** Over direct in the same round. */
	readonly addedP50Ms: number;
	readonly addedP99Ms: number;
	readonly faults: readonly string[];
}

type Round = ReadonlyMap<PeerName, RateResult>;

export async function measureLatency(bench: Bench): Promise<LatencyRow[]> {
	const rounds: Round[] = [];
	for (let round = 1; round <= bench.options.rounds; round++) {
		const results = new Map<PeerName, RateResult>();
		for (const contestant of bench.contestants) {
			bench.progress.step(`latency at ${bench.options.rate}/s, round ${round}/${bench.options.rounds}: ${contestant.name}`);
			results.set(contestant.name, await oneTurn(bench, contestant).catch(notMeasured));
		}
		rounds.push(results);
	}
	return bench.contestants.map(({ name }) => summarizeLatency(name, rounds));
}

function oneTurn(bench: Bench, contestant: Contestant): Promise<RateResult> {
	const { options, workspace, cores } = bench;
	const bodyBytes = options.bodies[0] ?? 0;
	return takeTurn(bench, contestant, {}, ({ port }) =>
		runAtRate(workspace, cores.rest, {
			port,
			host: ORIGIN_HOST,
			path: bodyPath(bodyBytes),
			bodyBytes,
			rate: options.rate,
			warmSeconds: WARM_SECONDS,
			seconds: options.rateSeconds,
			connections: CONNECTIONS,
		}),
	);
}

function notMeasured(thrown: unknown): RateResult {
	const none = Number.NaN;
	return { requests: 0, p50Ms: none, p99Ms: none, maxMs: none, sentLateMaxMs: none, faults: [messageOf(thrown)] };
}

/** Pure: medians over rounds, each held against direct of the same round. */
export function summarizeLatency(name: PeerName, rounds: readonly Round[]): LatencyRow {
	const own = rounds.flatMap((round) => round.get(name) ?? []);
	const added = (pick: (result: RateResult) => number) =>
		median(
			rounds.flatMap((round) => {
				const [result, direct] = [round.get(name), round.get("direct")];
				return result === undefined || direct === undefined ? [] : [pick(result) - pick(direct)];
			}),
		);
	return {
		name,
		p50Ms: median(own.map((result) => result.p50Ms)),
		p99Ms: median(own.map((result) => result.p99Ms)),
		maxMs: Math.max(...own.map((result) => result.maxMs)),
		sentLateMaxMs: Math.max(...own.map((result) => result.sentLateMaxMs)),
		addedP50Ms: added((result) => result.p50Ms),
		addedP99Ms: added((result) => result.p99Ms),
		faults: own.flatMap((result) => result.faults),
	};
}
