/** From the cells of a run to tables and verdicts. */
import type { Machine } from "../machine.ts";
import { median } from "../stats.ts";
import { figure, type Table, thousands } from "../table.ts";
import { type Cell, INSTANCES, LATENCY_MS, PATIENCE_MS, type Row } from "./measure.ts";
import type { ScenarioName } from "./scenarios.ts";

// Above it the speed of the proxy may be what is measured, and not what it decides.
const BUSY_MAX = 0.5;
// Of p99: two runs of the same 4,000 requests differ by about so much (the tail is exponential, its standard error 2.6 % each).
const NOISE = 0.05;
// The generator's own delay: above it p99 says something about the machine.
const LATE_MAX_MS = 20;

export interface ResilienceResults {
	readonly format: 1;
	/** ISO 8601, when the run began. */
	readonly date: string;
	readonly machine: Machine;
	/** Of the proxies by name. */
	readonly versions: Readonly<Record<string, string>>;
	/** Sentences about what is not here. */
	readonly missing: readonly string[];
	readonly rounds: number;
	readonly seconds: number;
	readonly rate: number;
	readonly connections: number;
	/** True for a run that only shows that the harness works. */
	readonly quick: boolean;
	readonly rows: readonly Row[];
}

export interface Verdict {
	readonly scenario: ScenarioName;
	/** Tie: p99 differs by no more than noise. */
	readonly outcome: "met" | "tie" | "missed" | "invalid";
	readonly nexus: Summary;
	readonly envoy: Summary;
}

/** Medians over the rounds; NaN without any. */
export interface Summary {
	readonly success: number;
	readonly p50Ms: number;
	readonly p99Ms: number;
	readonly p999Ms: number;
	readonly retries: number;
	readonly faultyShare: number;
}

export function summarizeCells(cells: readonly Cell[]): Summary {
	const over = (pick: (cell: Cell) => number) => median(cells.map(pick));
	return {
		success: over(({ succeeded, requests }) => succeeded / requests),
		p50Ms: over(({ p50Ms }) => p50Ms),
		p99Ms: over(({ p99Ms }) => p99Ms),
		p999Ms: over(({ p999Ms }) => p999Ms),
		retries: over(({ retries }) => retries),
		faultyShare: over(({ faultyShare }) => faultyShare ?? Number.NaN),
	};
}

/** The promise: with everything on no worse success rate than Envoy with everything on, and a lower p99, in each scenario. */
export function judgeResilience(rows: readonly Row[]): Verdict[] {
	return scenariosOf(rows).flatMap(({ scenario }): Verdict[] => {
		const find = (setup: string) => rows.find((row) => row.scenario === scenario && row.setup === setup);
		const [ours, theirs] = [find("nexus-all"), find("envoy-all")];
		if (ours === undefined || theirs === undefined) return [];
		const [nexus, envoy] = [summarizeCells(ours.cells), summarizeCells(theirs.cells)];
		const valid = ours.faults.length === 0 && theirs.faults.length === 0;
		return [{ scenario, outcome: valid ? outcomeOf(nexus, envoy) : "invalid", nexus, envoy }];
	});
}

function outcomeOf(nexus: Summary, envoy: Summary): Verdict["outcome"] {
	if (nexus.success < envoy.success || nexus.p99Ms > envoy.p99Ms * (1 + NOISE)) return "missed";
	return nexus.p99Ms < envoy.p99Ms * (1 - NOISE) ? "met" : "tie";
}

export function resilienceHeadline(results: ResilienceResults): string[] {
	const { date, machine, versions, missing, rounds, seconds, rate, connections, rows } = results;
	const proxies = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
	const cells = rows.flatMap((row) => row.cells);
	const lines = [
		`${date}, ${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, Node ${machine.node}, load average ${machine.loadAverage} at the start`,
		`${INSTANCES} instances that answer after ${LATENCY_MS} ms on average; ${rate} requests/s over ${connections} connections, each given up after ${PATIENCE_MS / 1000} s; ${rounds} x ${seconds} s`,
		`proxies: ${proxies.join(", ")}`,
		...missing,
	];
	if (results.quick) lines.push("a quick run: it shows that the harness works, its figures mean nothing");
	const busiest = Math.max(...cells.map((cell) => cell.proxyBusy));
	const latest = Math.max(...cells.map((cell) => cell.sentLateMaxMs));
	lines.push(`no proxy used more than ${figure(busiest * 100, 0)} % of its core; the clients sent at most ${figure(latest, 1)} ms late`);
	if (busiest > BUSY_MAX || latest > LATE_MAX_MS) lines.push("the machine was too busy: latencies say something about it as well");
	return lines;
}

export function resilienceTables({ rows }: ResilienceResults): Table[] {
	const tables = scenariosOf(rows).map(({ scenario, title }) =>
		scenarioTable(
			title,
			rows.filter((row) => row.scenario === scenario),
		),
	);
	const verdicts = judgeResilience(rows);
	return verdicts.length === 0 ? tables : [verdictTable(verdicts), ...tables];
}

function scenariosOf(rows: readonly Row[]): { scenario: ScenarioName; title: string }[] {
	const titles = new Map(rows.map(({ scenario, title }) => [scenario, title]));
	return [...titles].map(([scenario, title]) => ({ scenario, title }));
}

function scenarioTable(title: string, rows: readonly Row[]): Table {
	return {
		title,
		columns: ["setup", "success %", "failed", "p50 ms", "p99 ms", "p99.9 ms", "faulty endpoint's share", "retries", "what clients saw"],
		rows: rows.map(({ setup, cells }) => {
			const { success, p50Ms, p99Ms, p999Ms, faultyShare, retries } = summarizeCells(cells);
			return [
				setup.replace("-", " "),
				figure(success * 100, 2),
				thousands(median(cells.map((cell) => cell.requests - cell.succeeded))),
				figure(p50Ms, 1),
				figure(p99Ms, 1),
				figure(p999Ms, 1),
				Number.isNaN(faultyShare) ? "-" : `${figure(faultyShare * 100, 1)} %`,
				thousands(retries),
				failuresOf(cells),
			];
		}),
		notes: rows.flatMap(({ setup, faults }) => faults.map((fault) => `INVALID: ${setup}: ${fault}`)),
	};
}

function failuresOf(cells: readonly Cell[]): string {
	const total = new Map<string, number>();
	for (const { failures } of cells) for (const [kind, count] of Object.entries(failures)) total.set(kind, (total.get(kind) ?? 0) + count);
	return [...total]
		.sort((a, b) => b[1] - a[1])
		.map(([kind, count]) => `${count} x ${kind}`)
		.join(", ");
}

function verdictTable(verdicts: readonly Verdict[]): Table {
	return {
		title: "Everything on, beside Envoy with everything on",
		columns: ["scenario", "success %", "Envoy's", "p99 ms", "Envoy's", "no worse, and faster"],
		rows: verdicts.map(({ scenario, nexus, envoy, outcome }) => [
			scenario,
			figure(nexus.success * 100, 2),
			figure(envoy.success * 100, 2),
			figure(nexus.p99Ms, 1),
			figure(envoy.p99Ms, 1),
			outcome === "met" || outcome === "tie" ? outcome : outcome.toUpperCase(),
		]),
		notes: [],
	};
}
