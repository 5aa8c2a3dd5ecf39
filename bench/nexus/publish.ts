/** Acknowledged events a second: Nexus beside the brokers that are installed, one by one and with many in flight. */
import { messageOf } from "../../src/core/errors.ts";
import { median } from "../stats.ts";
import { figure, type Table, thousands } from "../table.ts";
import { CONTESTANTS, type Contestant, type Running } from "./contestants.ts";
import type { Budget, PartReport, Stage, Verdict } from "./part.ts";
import { type Shape, type TurnResult, takeTurn } from "./publish-turn.ts";

interface Row {
	readonly name: string;
	readonly shape: Shape;
	readonly way: keyof Running["open"];
	/** Many events without an answer, sent to Redis in the same way. */
	readonly isPipelined?: boolean;
	/** Ours alone: nobody else has messages of many events. */
	readonly isOurs?: boolean;
	/** Of Nexus, durable on disk. */
	readonly budget?: Budget;
}

/** On one core of this kind of machine. */
const ROWS: readonly Row[] = [
	{ name: "one by one", way: "stream", shape: { connections: 1, inFlight: 1, eventsPerMessage: 1 }, budget: { least: 2_000, unit: "/s" } },
	{ name: "100 in flight", way: "stream", shape: { connections: 1, inFlight: 100, eventsPerMessage: 1 }, isPipelined: true },
	{
		name: "1,000 in flight",
		way: "stream",
		shape: { connections: 1, inFlight: 1000, eventsPerMessage: 1 },
		isPipelined: true,
		budget: { least: 80_000, stretch: 150_000, unit: "/s" },
	},
	{
		name: "batches of 64 on 16 connections",
		way: "request",
		shape: { connections: 16, inFlight: 1, eventsPerMessage: 64 },
		isPipelined: true,
		budget: { least: 100_000, stretch: 200_000, unit: "/s" },
	},
	{
		name: "singles on 100 connections",
		way: "request",
		shape: { connections: 100, inFlight: 1, eventsPerMessage: 1 },
		budget: { least: 25_000, stretch: 50_000, unit: "/s" },
	},
	{
		name: "WebSocket, 32 a message, 32 in flight",
		way: "stream",
		shape: { connections: 1, inFlight: 32, eventsPerMessage: 32 },
		isOurs: true,
		budget: { least: 110_000, stretch: 200_000, unit: "/s" },
	},
];
/** Over Redis that syncs as often, sent to in the same way. */
const REDIS_RATIO: Budget = { least: 1.2, unit: "x" };

interface Figure {
	readonly row: Row;
	readonly contestant: Contestant;
	readonly results: TurnResult[];
	fault: string;
}

export async function measurePublish(stage: Stage): Promise<PartReport> {
	const { options } = stage;
	const rows = ROWS.filter(({ name }) => options.rows?.some((start) => name.startsWith(start)) ?? true);
	const figures: Figure[] = [];
	for (let round = 0; round < options.rounds; round++) {
		for (const contestant of CONTESTANTS.filter(({ name }) => options.only.includes(name))) await measure(stage, contestant, rows, figures);
	}
	return { tables: rows.map((row) => tableOf(row, figures)), verdicts: verdictsOf(rows, figures), figures: figures.map(plain) };
}

/** A server of its own for each row: what one row leaves in memory is not the next one's. */
async function measure(
	{ workspace, cores, progress, options }: Stage,
	contestant: Contestant,
	rows: readonly Row[],
	figures: Figure[],
): Promise<void> {
	for (const row of rows) {
		if (row.isOurs === true && contestant.name !== "nexus") continue;
		let found = figures.find((each) => each.row === row && each.contestant === contestant);
		if (found === undefined) {
			found = { row, contestant, results: [], fault: contestant.program === undefined ? "not installed" : "" };
			figures.push(found);
		}
		if (found.fault !== "") continue;
		progress.step(`publish: ${contestant.name}, ${row.name}`);
		let running: Running | undefined;
		try {
			running = await contestant.start(workspace, cores.proxy);
			const turn = await takeTurn(running.open[row.way], row.shape, running.pid, options.warmSeconds * 1000, options.seconds * 1000);
			found.results.push(turn);
		} catch (thrown) {
			found.fault = messageOf(thrown);
		} finally {
			if (running !== undefined) await workspace.stop(running.child);
		}
	}
}

function tableOf(row: Row, figures: readonly Figure[]): Table {
	const measured = figures.filter((each) => each.row === row);
	const ours = measured.find(({ contestant }) => contestant.name === "nexus");
	return {
		title: `Publish: ${row.name}`,
		columns: ["", "events/s", "ours / it", "p50 ms", "p99 ms", "CPU us/event", "user us", "acknowledged"],
		rows: measured.map((each) => [
			each.contestant.name,
			thousands(rate(each)),
			each === ours ? "" : figure(rate(ours) / rate(each), 2),
			figure(median(each.results.map(({ p50Ms }) => p50Ms)), 2),
			figure(median(each.results.map(({ p99Ms }) => p99Ms)), 2),
			figure(median(each.results.map(({ cpuUsPerEvent }) => cpuUsPerEvent)), 1),
			figure(median(each.results.map(({ userUsPerEvent }) => userUsPerEvent)), 1),
			each.contestant.acknowledged,
		]),
		notes: measured.filter(({ fault }) => fault !== "").map(({ contestant, fault }) => `${contestant.name}: ${fault}`),
	};
}

function verdictsOf(rows: readonly Row[], figures: readonly Figure[]): Verdict[] {
	const rateOf = (row: Row, name: string): number => rate(figures.find((each) => each.row === row && each.contestant.name === name));
	const budgets = rows.flatMap((row) =>
		row.budget === undefined ? [] : [{ what: `publish, ${row.name}`, budget: row.budget, value: rateOf(row, "nexus") }],
	);
	const ratios = rows
		.filter(({ isPipelined }) => isPipelined === true)
		.map((row) => ({
			what: `publish, ${row.name}, over Redis appendfsync always`,
			budget: REDIS_RATIO,
			value: rateOf(row, "nexus") / rateOf(row, "redis always"),
		}));
	return [...budgets, ...ratios.filter(({ value }) => !Number.isNaN(value))];
}

function rate(found: Figure | undefined): number {
	return median(found?.results.map(({ eventsPerSecond }) => eventsPerSecond) ?? []);
}

function plain({ row, contestant, results, fault }: Figure) {
	return { row: row.name, contestant: contestant.name, acknowledged: contestant.acknowledged, results, fault };
}
