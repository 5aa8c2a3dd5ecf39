/**
 * From the moment at which an event was to be sent to its arrival at a consumer, at a steady rate. What is late at any place, the sender
 * included, is counted (no coordinated omission).
 */
import { messageOf } from "../../src/core/errors.ts";
import { cpuTime } from "../cpu.ts";
import { nowMs, startMetronome } from "../metronome.ts";
import { median, percentile } from "../stats.ts";
import { figure, thousands } from "../table.ts";
import { CONTESTANTS, type Contestant, type Running } from "./contestants.ts";
import type { Budget, PartReport, Stage } from "./part.ts";
import { NumberScanner } from "./publish-events.ts";
import type { Shape } from "./publish-turn.ts";

export const P99: Budget = { most: 10, unit: "ms" };

export interface Delay {
	readonly p50Ms: number;
	readonly p99Ms: number;
	readonly maxMs: number;
	/** How late the load itself was at the worst. */
	readonly sentLateMaxMs: number;
	readonly cpuUsPerEvent: number;
}

interface Row {
	readonly contestant: Contestant;
	readonly consumer: string;
	readonly turns: Delay[];
	fault: string;
}

const BEAT_MS = 1;
const SINGLE: Shape = { connections: 1, inFlight: Number.POSITIVE_INFINITY, eventsPerMessage: 1 };
/** For what is under way when the last one has been sent. */
const LAST_MS = 10_000;

export async function measureEndToEnd({ workspace, cores, progress, options }: Stage): Promise<PartReport> {
	const rows: Row[] = CONTESTANTS.filter(({ name }) => options.only.includes(name)).flatMap((contestant) =>
		contestant.consumers.map((consumer) => ({ contestant, consumer, turns: [], fault: contestant.program === undefined ? "not installed" : "" })),
	);
	for (let round = 1; round <= options.rounds; round++) {
		for (const row of rows) {
			if (row.fault !== "") continue;
			progress.step(`end to end at ${thousands(options.rate)} events/s, round ${round}/${options.rounds}: ${row.contestant.name}, ${row.consumer}`);
			let running: Running | undefined;
			try {
				running = await row.contestant.start(workspace, cores.proxy);
				row.turns.push(await delays(running, row.consumer, options.rate, options.warmSeconds, options.seconds));
			} catch (thrown) {
				row.fault = messageOf(thrown);
			} finally {
				if (running !== undefined) await workspace.stop(running.child);
			}
		}
	}
	const of = ({ turns }: Row, pick: (delay: Delay) => number): number => median(turns.map(pick));
	return {
		tables: [
			{
				title: `End to end at ${thousands(options.rate)} events/s`,
				columns: ["", "consumer", "p50 ms", "p99 ms", "worst ms", "sent late, worst", "CPU us/event", "acknowledged means"],
				rows: rows.map((row) => [
					row.contestant.name,
					row.consumer,
					figure(
						of(row, ({ p50Ms }) => p50Ms),
						2,
					),
					figure(
						of(row, ({ p99Ms }) => p99Ms),
						2,
					),
					figure(
						of(row, ({ maxMs }) => maxMs),
						1,
					),
					figure(
						of(row, ({ sentLateMaxMs }) => sentLateMaxMs),
						1,
					),
					figure(
						of(row, ({ cpuUsPerEvent }) => cpuUsPerEvent),
						1,
					),
					row.contestant.acknowledged,
				]),
				notes: rows.filter(({ fault }) => fault !== "").map(({ contestant, consumer, fault }) => `${contestant.name}, ${consumer}: ${fault}`),
			},
		],
		verdicts: rows
			.filter(({ contestant }) => contestant.name === "nexus")
			.map((row) => ({
				what: `end to end, p99, ${row.consumer}`,
				budget: P99,
				value: row.fault === "" ? of(row, ({ p99Ms }) => p99Ms) : Number.NaN,
			})),
		figures: rows.map(({ contestant, consumer, turns, fault }) => ({ contestant: contestant.name, consumer, turns, fault })),
	};
}

/** Rejects where an event is refused, or does not arrive. */
async function delays({ open, receive, pid }: Running, consumer: string, rate: number, warmSeconds: number, seconds: number): Promise<Delay> {
	const failure = Promise.withResolvers<never>();
	failure.promise.catch(() => {});
	const { reject: failed } = failure;
	const perBeat = Math.max(1, Math.round((rate * BEAT_MS) / 1000));
	const beats = Math.ceil(((warmSeconds + seconds) * rate) / perBeat);
	const intervalMs = (perBeat * 1000) / rate;
	const total = beats * perBeat;
	const warm = warmSeconds * rate;
	const tookMs = new Float64Array(total).fill(Number.NaN);
	const arrived = Promise.withResolvers<void>();
	let startMs = 0;
	let missing = total;
	let sentLateMaxMs = 0;
	const dueMs = (event: number): number => startMs + Math.floor(event / perBeat) * intervalMs;
	const sender = await open.stream(SINGLE, { answered: () => {}, failed });
	const openReceiver = receive[consumer];
	if (openReceiver === undefined) throw new Error(`nobody consumes by ${consumer}`);
	const scanner = new NumberScanner((event) => {
		// At least once is what all of them promise: a second arrival counts for nothing.
		if (!Number.isNaN(tookMs[event])) return;
		tookMs[event] = nowMs() - dueMs(event);
		if (--missing === 0) arrived.resolve();
	});
	const receiver = await openReceiver({ received: (bytes) => scanner.push(bytes), failed });
	try {
		const before = cpuTime(pid);
		startMs = nowMs() + 100;
		let sent = 0;
		startMetronome({ startMs, intervalMs, count: beats }, (due) => {
			for (; sent < due * perBeat; sent++) {
				if (sent >= warm) sentLateMaxMs = Math.max(sentLateMaxMs, nowMs() - dueMs(sent));
				sender.send();
			}
		});
		const patience = setTimeout(() => failed(new Error(`${missing} of ${total} events did not arrive`)), (warmSeconds + seconds) * 1000 + LAST_MS);
		await Promise.race([arrived.promise, failure.promise]).finally(() => clearTimeout(patience));
		const after = cpuTime(pid);
		const sorted = tookMs.subarray(warm).sort();
		return {
			p50Ms: percentile(sorted, 0.5),
			p99Ms: percentile(sorted, 0.99),
			maxMs: percentile(sorted, 1),
			sentLateMaxMs,
			cpuUsPerEvent: (after.userUs + after.systemUs - before.userUs - before.systemUs) / total,
		};
	} finally {
		receiver.close();
		sender.close();
	}
}
