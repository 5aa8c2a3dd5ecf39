/** Turns the results of a run into tables, each figure beside its budget where it has one. */
import { type Budget, judge, type Verdict } from "./budgets.ts";
import type { FeatureRow } from "./features.ts";
import type { Results } from "./results.ts";
import { figure, signed, type Table, thousands } from "./table.ts";
import type { ThroughputRow } from "./throughput.ts";
import { TLS_SETUPS, type TlsRow, type TlsSetup } from "./tls/measure.ts";

const MEGA = 1e6;

export function headline(results: Results): string[] {
	const { machine, generator, origin, connections, rounds, seconds, contestants, missing } = results;
	const lines = [
		`${results.date}, ${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, Node ${machine.node}, load average ${machine.loadAverage} at the start`,
		`load: ${generator}, ${connections} connections, ${rounds} x ${seconds} s each in turns; origin: ${origin}`,
		`contestants: ${contestants.map(({ name, version }) => (name === "direct" ? name : `${name} ${version}`)).join(", ")}`,
		...missing.map(({ name, install }) => `not here: ${name}; ${install}`),
	];
	if (results.quick) lines.push("a quick run: it shows that the harness works, its figures mean nothing");
	if (machine.loadAverage > 0.5) lines.push("the machine was not idle: trust the ratios more than the figures, and neither much");
	return lines;
}

export function tablesOf(results: Results): Table[] {
	const tables: Table[] = [];
	for (const bodyBytes of bodiesOf(results.throughput)) tables.push(throughputTable(results.throughput ?? [], bodyBytes, "access log off"));
	for (const bodyBytes of bodiesOf(results.log)) tables.push(throughputTable(results.log ?? [], bodyBytes, "access log on, to a file"));
	if (results.latency !== undefined) tables.push(latencyTable(results));
	if (results.idle !== undefined) tables.push(idleTable(results));
	if (results.start !== undefined) tables.push(startTable(results));
	if (results.reload !== undefined) tables.push(reloadTable(results.reload));
	if (results.features !== undefined) tables.push(featureTable(results.features));
	if (results.tls !== undefined) tables.push(...tlsTables(results.tls));
	const verdicts = judge(results);
	if (verdicts.length > 0) tables.push(budgetTable(verdicts));
	return tables;
}

/** The body sizes that a part has rows for, in order. */
export function bodiesOf(rows: readonly ThroughputRow[] | undefined): number[] {
	return [...new Set(rows?.map((row) => row.bodyBytes))];
}

function throughputTable(all: readonly ThroughputRow[], bodyBytes: number, log: string): Table {
	const rows = all.filter((row) => row.bodyBytes === bodyBytes);
	return {
		title: `Full load, ${thousands(bodyBytes)}-byte bodies, ${log}`,
		columns: ["proxy", "requests/s", "CPU us/request", "user", "system", "core busy", "p50 ms", "p99 ms", "RSS MB", "ours / it", "least-most"],
		rows: rows.map((row) => [
			row.name,
			thousands(row.perSecond),
			figure(row.userUs + row.systemUs, 1),
			figure(row.userUs, 1),
			figure(row.systemUs, 1),
			Number.isNaN(row.busy) ? "-" : `${figure(row.busy * 100, 0)} %`,
			row.name === "direct" ? "" : signed(row.addedP50Ms, 2),
			row.name === "direct" ? "" : signed(row.addedP99Ms, 2),
			figure(row.residentBytes / MEGA, 1),
			row.ratio === undefined ? "-" : figure(row.ratio.median, 2),
			row.ratio === undefined ? "-" : `${figure(row.ratio.min, 2)}-${figure(row.ratio.max, 2)}`,
		]),
		notes: faultNotes(rows),
	};
}

function latencyTable({ latency = [], rate }: Results): Table {
	return {
		title: `Latency at ${thousands(rate)} requests/s, from the intended moment of sending`,
		columns: ["proxy", "p50 ms", "p99 ms", "worst ms", "sent late, worst", "p50 added", "p99 added"],
		rows: latency.map((row) => [
			row.name,
			figure(row.p50Ms, 3),
			figure(row.p99Ms, 3),
			figure(row.maxMs, 1),
			figure(row.sentLateMaxMs, 1),
			row.name === "direct" ? "" : signed(row.addedP50Ms, 3),
			row.name === "direct" ? "" : signed(row.addedP99Ms, 3),
		]),
		notes: faultNotes(latency),
	};
}

function idleTable({ idle = [] }: Results): Table {
	return {
		title: "Memory, idle",
		columns: ["proxy", "RSS MB after start", "connections", "RSS MB with them", "bytes each"],
		rows: idle.map((row) => [
			row.name,
			figure(row.readyBytes / MEGA, 1),
			thousands(row.connections),
			figure(row.idleBytes / MEGA, 1),
			thousands(row.perConnectionBytes),
		]),
		notes: faultNotes(idle),
	};
}

function startTable({ start = [] }: Results): Table {
	return {
		title: "Start to ready",
		columns: ["proxy", "first ms", "median ms", "slowest ms"],
		rows: start.map((row) => [row.name, figure(row.firstMs, 0), figure(row.medianMs, 0), figure(row.maxMs, 0)]),
		notes: faultNotes(start),
	};
}

function reloadTable(reload: NonNullable<Results["reload"]>): Table {
	return {
		title: "Reload under load",
		columns: ["policy", "reloads", "median ms", "slowest ms", "requests meanwhile", "slowest request ms", "faults"],
		rows: [
			[
				`${thousands(reload.upstreams)} upstreams`,
				String(reload.reloads),
				figure(reload.medianMs, 1),
				figure(reload.maxMs, 1),
				thousands(reload.requests),
				figure(reload.slowestRequestMs, 1),
				String(reload.faults.length),
			],
		],
		notes: reload.faults.map((fault) => `FAULT: ${fault}`),
	};
}

function featureTable(rows: readonly FeatureRow[]): Table {
	return {
		title: "Features, configured and idle",
		columns: ["policy of ours", "requests/s", "CPU us/request", "user", "system", "added to", "added us", "least-most", "added"],
		rows: rows.map(({ setup, base, perSecond, userUs, systemUs, addedUs, addedShare }) => [
			setup,
			thousands(perSecond),
			figure(userUs + systemUs, 1),
			figure(userUs, 1),
			figure(systemUs, 1),
			base ?? "",
			addedUs === undefined ? "" : signed(addedUs.median, 2),
			addedUs === undefined ? "" : `${signed(addedUs.min, 2)} ${signed(addedUs.max, 2)}`,
			addedShare === undefined ? "" : `${signed(addedShare.median * 100, 1)} %`,
		]),
		notes: faultNotes(rows.map(({ setup, faults }) => ({ name: setup, faults }))),
	};
}

const TLS_TITLES: Readonly<Record<TlsSetup, string>> = {
	listener: "Mutual TLS on the listener",
	hop: "A hop of two proxies with mutual TLS between them",
	"full handshake": "A connection with one request, full handshake",
	"resumed handshake": "A connection with one request, resumed",
};

function tlsTables(all: readonly TlsRow[]): Table[] {
	return TLS_SETUPS.map((setup) => {
		const rows = all.filter((row) => row.setup === setup);
		const each = setup === "listener" || setup === "hop" ? "request" : "connection";
		return {
			title: TLS_TITLES[setup],
			columns: ["proxy", `${each}s/s`, `CPU us/${each}`, "user", "system", "ours / it", "least-most"],
			rows: rows.map(({ name, perSecond, userUs, systemUs, ratio }) => [
				name,
				thousands(perSecond),
				figure(userUs + systemUs, 1),
				figure(userUs, 1),
				figure(systemUs, 1),
				ratio === undefined ? "-" : figure(ratio.median, 2),
				ratio === undefined ? "-" : `${figure(ratio.min, 2)}-${figure(ratio.max, 2)}`,
			]),
			notes: faultNotes(rows),
		};
	});
}

function budgetTable(verdicts: readonly Verdict[]): Table {
	return {
		title: "Budgets",
		columns: ["what", "measured", "budget", "stretch", "outcome"],
		rows: verdicts.map(({ what, value, budget, outcome }) => [
			what,
			amount(value, budget.unit),
			`<= ${amount(budget.max, budget.unit)}`,
			budget.stretch === undefined ? "" : amount(budget.stretch, budget.unit),
			outcome === "missed" || outcome === "invalid" ? outcome.toUpperCase() : outcome,
		]),
		notes: [],
	};
}

function amount(value: number, unit: Budget["unit"]): string {
	if (unit === "x") return `${figure(value, 2)} x`;
	if (unit === "ms" || unit === "us") return `${figure(value, 2)} ${unit}`;
	return `${figure(value, unit === "MB" || unit === "%" ? 1 : 0)} ${unit}`;
}

function faultNotes(rows: readonly { readonly name: string; readonly faults: readonly string[] }[]): string[] {
	return rows.flatMap(({ name, faults }) => faults.map((fault) => `INVALID: ${name}: ${fault}`));
}
