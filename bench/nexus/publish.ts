/** `node bench/nexus/publish.ts`: publishing to Nexus beside the brokers that are installed, in one run, and which budgets were met. */
import { parseArgs } from "node:util";
import { messageOf } from "../../src/core/errors.ts";
import { describeMachine, findCores, pinSelf } from "../machine.ts";
import { closeOnSignals, Workspace } from "../processes.ts";
import { median } from "../stats.ts";
import { figure, plainTable, thousands } from "../table.ts";
import { CONTESTANTS, type Contestant, type Running } from "./publish-contestants.ts";
import { EVENT_BYTES } from "./publish-events.ts";
import { type Shape, type TurnResult, takeTurn } from "./publish-turn.ts";

const HELP = `node bench/nexus/publish.ts [options]      events of ${EVENT_BYTES} bytes with random UUIDs, the server on one core, the load on another

  --seconds N     measured for each row (5)
  --warm N        seconds before that (2)
  --rounds N      turns of each; the medians are shown (1)
  --only A,B      of: ${CONTESTANTS.map(({ name }) => name).join(", ")}
  --rows A,B      beginnings of the names of rows
  --json          the figures as JSON
Environment: NATS_SERVER, a newer one than the one on PATH (sync_interval needs 2.10).
`;

interface Row {
	readonly name: string;
	readonly shape: Shape;
	readonly way: keyof Running["open"];
	/** Ours alone: nobody else has messages of many events. */
	readonly isOurs?: boolean;
	/** Events a second of Nexus, durable on disk. */
	readonly budget?: { readonly least: number; readonly stretch?: number };
}

/** On one core of this kind of machine. */
const ROWS: readonly Row[] = [
	{ name: "one by one", way: "stream", shape: { connections: 1, inFlight: 1, eventsPerMessage: 1 }, budget: { least: 2_000 } },
	{ name: "100 in flight", way: "stream", shape: { connections: 1, inFlight: 100, eventsPerMessage: 1 } },
	{
		name: "1,000 in flight",
		way: "stream",
		shape: { connections: 1, inFlight: 1000, eventsPerMessage: 1 },
		budget: { least: 80_000, stretch: 150_000 },
	},
	{
		name: "batches of 64 on 16 connections",
		way: "request",
		shape: { connections: 16, inFlight: 1, eventsPerMessage: 64 },
		budget: { least: 100_000, stretch: 200_000 },
	},
	{
		name: "singles on 100 connections",
		way: "request",
		shape: { connections: 100, inFlight: 1, eventsPerMessage: 1 },
		budget: { least: 25_000, stretch: 50_000 },
	},
	{
		name: "WebSocket, 32 a message, 32 in flight",
		way: "stream",
		shape: { connections: 1, inFlight: 32, eventsPerMessage: 32 },
		isOurs: true,
		budget: { least: 110_000, stretch: 200_000 },
	},
];
/** Of Redis that syncs as often, sent to in the same way. */
const REDIS_RATIO = 1.2;

interface Figure {
	readonly row: Row;
	readonly contestant: Contestant;
	readonly results: TurnResult[];
	fault: string;
}

async function main(): Promise<void> {
	const { values } = parseArgs({
		options: {
			seconds: { type: "string", default: "5" },
			warm: { type: "string", default: "2" },
			rounds: { type: "string", default: "1" },
			only: { type: "string" },
			rows: { type: "string" },
			json: { type: "boolean", default: false },
			help: { type: "boolean", default: false },
		},
	});
	if (values.help) return void process.stdout.write(HELP);
	const cores = findCores();
	if ("problem" in cores) throw new Error(cores.problem);
	const machine = describeMachine();
	pinSelf(cores.rest);
	const only = values.only?.split(",");
	const rows = ROWS.filter(({ name }) => values.rows?.split(",").some((start) => name.startsWith(start)) ?? true);
	const workspace = new Workspace();
	closeOnSignals(workspace);
	const figures: Figure[] = [];
	try {
		for (let round = 0; round < Number(values.rounds); round++) {
			for (const contestant of CONTESTANTS.filter(({ name }) => only?.includes(name) ?? true)) {
				await measure(contestant, rows, workspace, cores.proxy, Number(values.warm) * 1000, Number(values.seconds) * 1000, figures);
			}
		}
	} finally {
		await workspace.close();
	}
	if (values.json) process.stdout.write(`${JSON.stringify({ machine, figures: figures.map(plain) })}\n`);
	else print(rows, figures, machine.loadAverage);
}

/** A server of its own for each row: what one row leaves in memory is not the next one's. */
async function measure(
	contestant: Contestant,
	rows: readonly Row[],
	workspace: Workspace,
	core: number,
	warmMs: number,
	measureMs: number,
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
		process.stderr.write(`${contestant.name}: ${row.name}\n`);
		let running: Running | undefined;
		try {
			running = await contestant.start(workspace, core);
			found.results.push(await takeTurn(running.open[row.way], row.shape, running.pid, warmMs, measureMs));
		} catch (thrown) {
			found.fault = messageOf(thrown);
		} finally {
			if (running !== undefined) await workspace.stop(running.child);
		}
	}
}

function print(rows: readonly Row[], figures: readonly Figure[], loadAverage: number): void {
	for (const row of rows) {
		const ours = figures.find((each) => each.row === row && each.contestant.name === "nexus");
		const oursRate = rate(ours);
		const budget = row.budget === undefined ? "" : `; budget of Nexus: ${thousands(row.budget.least)}/s, ${verdict(oursRate, row.budget)}`;
		const table = figures.filter((each) => each.row === row);
		process.stdout.write(
			`${plainTable({
				title: `${row.name}${budget}`,
				columns: ["", "events/s", "ours / it", "p50 ms", "p99 ms", "CPU us/event", "user us", "acknowledged"],
				rows: table.map((each) => [
					each.contestant.name,
					thousands(rate(each)),
					each === ours ? "" : figure(oursRate / rate(each), 2),
					figure(median(each.results.map(({ p50Ms }) => p50Ms)), 2),
					figure(median(each.results.map(({ p99Ms }) => p99Ms)), 2),
					figure(median(each.results.map(({ cpuUsPerEvent }) => cpuUsPerEvent)), 1),
					figure(median(each.results.map(({ userUsPerEvent }) => userUsPerEvent)), 1),
					each.contestant.acknowledged,
				]),
				notes: table.filter(({ fault }) => fault !== "").map(({ contestant, fault }) => `${contestant.name}: ${fault}`),
			})}\n`,
		);
	}
	const [ours, theirs] = ["nexus", "redis always"].map((name) =>
		rate(figures.find((each) => each.contestant.name === name && each.row.way === "request")),
	);
	if (ours !== undefined && theirs !== undefined && Number.isFinite(ours / theirs)) {
		const ratio = ours / theirs;
		process.stdout.write(
			`Redis appendfsync always, pipelined alike: ours is ${ratio.toFixed(2)} x, budget ${REDIS_RATIO} x: ${ratio >= REDIS_RATIO ? "met" : "missed"}\n`,
		);
	}
	if (loadAverage > 0.5) process.stdout.write(`The machine was busy (load ${loadAverage.toFixed(1)}): only the CPU per event means something.\n`);
}

function verdict(value: number, { least, stretch = Number.POSITIVE_INFINITY }: NonNullable<Row["budget"]>): string {
	if (!Number.isFinite(value)) return "not measured";
	return value >= stretch ? "met, stretch too" : value >= least ? "met" : "missed";
}

function rate(found: Figure | undefined): number {
	return median(found?.results.map(({ eventsPerSecond }) => eventsPerSecond) ?? []);
}

function plain({ row, contestant, results, fault }: Figure) {
	return { row: row.name, contestant: contestant.name, acknowledged: contestant.acknowledged, results, fault };
}

await main();
