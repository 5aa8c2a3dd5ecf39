/** The main measurement: every contestant under full load in turns, round after round, so that noise hits all alike. */
import { rmSync } from "node:fs";
import { messageOf } from "../src/core/errors.ts";
import type { LoadResult } from "./closed-load.ts";
import { type CpuTime, cpuTime, residentBytes } from "./cpu.ts";
import type { PeerName } from "./peers/peer.ts";
import { median } from "./stats.ts";
import { type Bench, type Contestant, countLines, type Running, takeTurn } from "./turn.ts";

// Fewer lines than this part of the requests: the log was not written, so the work was not the same.
const LOGGED_SHARE_MIN = 0.99;

/** One contestant, one body, one round. */
export interface Sample {
	readonly round: number;
	readonly perSecond: number;
	/** Per request, by the kernel's accounting; NaN for direct. */
	readonly userUs: number;
	readonly systemUs: number;
	/** Share of its core that the contestant used, 0..1: below about 0.9 the load was the limit. */
	readonly busy: number;
	readonly p50Ms: number;
	readonly p99Ms: number;
	readonly residentBytes: number;
	readonly faults: readonly string[];
}

export interface ThroughputRow {
	readonly name: PeerName;
	readonly bodyBytes: number;
	readonly samples: readonly Sample[];
	/** Medians over the valid rounds. */
	readonly perSecond: number;
	readonly userUs: number;
	readonly systemUs: number;
	readonly busy: number;
	/** Over direct in the same round. */
	readonly addedP50Ms: number;
	readonly addedP99Ms: number;
	readonly residentBytes: number;
	/** Ours / this one in CPU per request: median, least, most over the rounds. Undefined without ours, for ours and for direct. */
	readonly ratio: { readonly median: number; readonly min: number; readonly max: number } | undefined;
	/** Faults of any round; a row with any does not count. */
	readonly faults: readonly string[];
}

/** Rows by body, in the order of the contestants. */
export async function measureThroughput(bench: Bench, accessLog: boolean): Promise<ThroughputRow[]> {
	const { contestants, options } = bench;
	const samples = new Map<string, Sample[]>();
	for (let round = 1; round <= options.rounds; round++) {
		for (const contestant of contestants) {
			for (const [bodyBytes, sample] of await oneTurn(bench, contestant, accessLog, round)) {
				const key = keyOf(contestant.name, bodyBytes);
				samples.set(key, [...(samples.get(key) ?? []), sample]);
			}
		}
	}
	const of = (name: PeerName, bodyBytes: number) => samples.get(keyOf(name, bodyBytes)) ?? [];
	return options.bodies.flatMap((bodyBytes) =>
		contestants.map(({ name }) => summarize(name, bodyBytes, of(name, bodyBytes), of("direct", bodyBytes), of("ours", bodyBytes))),
	);
}

async function oneTurn(bench: Bench, contestant: Contestant, accessLog: boolean, round: number): Promise<[number, Sample][]> {
	const { options, progress } = bench;
	let logFile: string | undefined;
	let requests = 0;
	const measured = takeTurn(bench, contestant, { accessLog }, async (running) => {
		logFile = running.accessLogFile;
		const samples: [number, Sample][] = [];
		for (const bodyBytes of options.bodies) {
			progress.step(`${accessLog ? "access log on, " : ""}round ${round}/${options.rounds}: ${contestant.name}, ${bodyBytes} bytes`);
			const { sample, sent } = await underLoad(bench, running, bodyBytes, round);
			samples.push([bodyBytes, sample]);
			requests += sent;
		}
		return samples;
	});
	// One contestant that cannot be measured costs its own rows, not the run.
	const found = await measured.catch((thrown: unknown) =>
		options.bodies.map((bodyBytes): [number, Sample] => [bodyBytes, notMeasured(round, thrown)]),
	);
	if (logFile === undefined) return found;
	const lines = await countLines(logFile);
	rmSync(logFile, { force: true });
	if (lines >= requests * LOGGED_SHARE_MIN) return found;
	const fault = `${lines} log lines for ${requests} requests`;
	return found.map(([bodyBytes, sample]) => [bodyBytes, { ...sample, faults: [...sample.faults, fault] }]);
}

function notMeasured(round: number, thrown: unknown): Sample {
	const none = Number.NaN;
	const figures = { perSecond: none, userUs: none, systemUs: none, busy: none, p50Ms: none, p99Ms: none, residentBytes: none };
	return { round, ...figures, faults: [messageOf(thrown)] };
}

async function underLoad(bench: Bench, { port, child }: Running, bodyBytes: number, round: number) {
	const { generator, options } = bench;
	const load = { port, bodyBytes, connections: options.connections };
	const warm = await generator.run({ ...load, seconds: options.warmSeconds });
	const before = child === undefined ? undefined : cpuTime(child.pid);
	const startedAt = performance.now();
	const result = await generator.run({ ...load, seconds: options.seconds });
	const elapsedUs = (performance.now() - startedAt) * 1000;
	const used = child === undefined || before === undefined ? undefined : difference(cpuTime(child.pid), before);
	const sample: Sample = {
		round,
		perSecond: result.perSecond,
		userUs: (used?.userUs ?? Number.NaN) / result.requests,
		systemUs: (used?.systemUs ?? Number.NaN) / result.requests,
		busy: used === undefined ? Number.NaN : (used.userUs + used.systemUs) / elapsedUs,
		p50Ms: result.p50Ms,
		p99Ms: result.p99Ms,
		residentBytes: child === undefined ? Number.NaN : residentBytes(child.pid),
		faults: faultsOf(warm, result, child?.running),
	};
	return { sample, sent: warm.requests + result.requests };
}

function faultsOf(warm: LoadResult, result: LoadResult, running: boolean | undefined): string[] {
	const faults = [...warm.faults.map((fault) => `warm-up: ${fault}`), ...result.faults];
	return running === false ? [...faults, "the process ended under load"] : faults;
}

function difference(after: CpuTime, before: CpuTime): CpuTime {
	return { userUs: after.userUs - before.userUs, systemUs: after.systemUs - before.systemUs };
}

/** Pure; `direct` and `ours` are the samples of the same body, matched by round. */
export function summarize(
	name: PeerName,
	bodyBytes: number,
	samples: readonly Sample[],
	direct: readonly Sample[],
	ours: readonly Sample[],
): ThroughputRow {
	const valid = samples.filter((sample) => sample.faults.length === 0);
	const over = (pick: (sample: Sample) => number) => median(valid.map(pick));
	const added = (pick: (sample: Sample) => number) =>
		median(valid.flatMap((sample) => direct.filter((base) => base.round === sample.round).map((base) => pick(sample) - pick(base))));
	const ratios = valid.flatMap((sample) =>
		ours.filter((own) => own.round === sample.round && own.faults.length === 0).map((own) => cpuUs(own) / cpuUs(sample)),
	);
	return {
		name,
		bodyBytes,
		samples,
		perSecond: over((sample) => sample.perSecond),
		userUs: over((sample) => sample.userUs),
		systemUs: over((sample) => sample.systemUs),
		busy: over((sample) => sample.busy),
		addedP50Ms: added((sample) => sample.p50Ms),
		addedP99Ms: added((sample) => sample.p99Ms),
		residentBytes: over((sample) => sample.residentBytes),
		ratio:
			ratios.length === 0 || name === "direct" || name === "ours"
				? undefined
				: { median: median(ratios), min: Math.min(...ratios), max: Math.max(...ratios) },
		faults: samples.flatMap((sample) => sample.faults.map((fault) => `round ${sample.round}: ${fault}`)),
	};
}

function cpuUs(sample: Sample): number {
	return sample.userUs + sample.systemUs;
}

function keyOf(name: PeerName, bodyBytes: number): string {
	return `${name} ${bodyBytes}`;
}
