/** Memory over minutes of steady traffic, while one consumer of each kind stands still: it takes nothing more and answers for nothing. */
import { setTimeout as pause } from "node:timers/promises";
import { residentBytes } from "../cpu.ts";
import { nowMs, startMetronome } from "../metronome.ts";
import { sparkline } from "../sparkline.ts";
import { median } from "../stats.ts";
import { figure, thousands } from "../table.ts";
import { askNexus, launchNexus } from "./launch-nexus.ts";
import type { Budget, PartReport, Stage } from "./part.ts";
import { EVENT_TYPE, NumberScanner } from "./publish-events.ts";
import { overWebSocket } from "./publish-http.ts";
import { fromConsumerSocket, fromFollower } from "./receivers.ts";
import { dial } from "./sockets.ts";
import { storeEvents } from "./stored-log.ts";
import { dialWebSocket } from "./web-socket.ts";

/** As bench/soak.ts has it: the collector moves resident memory by about this much. */
export const GROWTH: Budget = { most: 10, unit: "MB" };
/** The window of duplicates is renewed each million events, and its memory goes up and down with that: some times within the run. */
const RATE = 5_000;
const BEAT_MS = 5;
const SAMPLE_EVERY_MS = 1000;
const GRAPH_WIDTH = 72;
// Of the samples, in the results.
const KEEP_EACH = 10;
// The dedupe window of a Nexus that has run for a while is full; one that fills would look like a leak.
const STORED = 2_200_000;

export async function measureSoak(stage: Stage): Promise<PartReport> {
	const { workspace, cores, progress, options } = stage;
	const dir = await storeEvents(stage, STORED);
	const { child, port } = await launchNexus(workspace, cores.proxy, dir);
	const failure = Promise.withResolvers<never>();
	failure.promise.catch(() => {});
	const { reject: failed } = failure;
	const ends: (() => void)[] = [];
	try {
		ends.push(...(await standStill(port)));
		const received = { followed: 0, consumed: 0 };
		const follower = new NumberScanner(() => received.followed++);
		const consumer = new NumberScanner(() => received.consumed++);
		ends.push((await fromFollower(port)({ received: (bytes) => follower.push(bytes), failed })).close);
		ends.push((await fromConsumerSocket(port)({ received: (bytes) => consumer.push(bytes), failed })).close);
		const sender = await overWebSocket(port)({ connections: 1, inFlight: RATE, eventsPerMessage: 1 }, { answered: () => {}, failed });
		ends.push(() => sender.close());
		const perBeat = (RATE * BEAT_MS) / 1000;
		const beats = Math.ceil((options.minutes * 60_000) / BEAT_MS);
		let sent = 0;
		startMetronome({ startMs: nowMs(), intervalMs: BEAT_MS, count: beats }, (due) => {
			for (; sent < due * perBeat; sent++) sender.send();
		});
		const points: { readonly x: number; readonly y: number }[] = [];
		const startedAt = performance.now();
		for (let seconds = 0; seconds < options.minutes * 60; seconds = (performance.now() - startedAt) / 1000) {
			await Promise.race([pause(SAMPLE_EVERY_MS), failure.promise]);
			if (!child.running) throw new Error(`Nexus ended: ${child.lastWords()}`);
			points.push({ x: seconds, y: residentBytes(child.pid) });
			const memory = points.map(({ y }) => y);
			progress.step(`soak, ${figure(seconds, 0)} s: ${sparkline(memory, 40)} ${megabytes(memory.at(-1))} MB, ${thousands(sent)} events`);
		}
		return reportOf(points, { sent, ...received });
	} finally {
		for (const end of ends) end();
		await workspace.stop(child);
	}
}

/** A follower that reads nothing, a consumer that reads nothing, and one that was given its events by a fetch and never answers. */
async function standStill(port: number): Promise<(() => void)[]> {
	const follower = await dial(port);
	follower.pause();
	follower.write(`GET /v1/events/stream?type=${EVENT_TYPE} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n\r\n`);
	for (const name of ["deaf", "silent"])
		await askNexus(port, "PUT", `/v1/subscriptions/${name}`, { filter: { type: EVENT_TYPE }, sink: { kind: "pull" } });
	const consumer = await dialWebSocket(port, "/v1/subscriptions/deaf/socket?credit=1000");
	const fetching = askNexus(port, "POST", "/v1/subscriptions/silent/fetch", { max: 1000, wait: "2m" });
	fetching.catch(() => {});
	return [() => follower.destroy(), () => consumer.destroy()];
}

function reportOf(
	points: readonly { readonly x: number; readonly y: number }[],
	counts: { readonly sent: number; readonly followed: number; readonly consumed: number },
): PartReport {
	// Resident memory jumps by tens of MB, with collections and with the windows: thirds of the run are compared, the first of which warms up.
	const third = points.length / 3;
	const [middle = Number.NaN, last = Number.NaN] = [1, 2].map((n) => median(points.slice(third * n, third * (n + 1)).map(({ y }) => y)));
	const growth = (last - middle) / 1e6;
	const memory = points.map(({ y }) => y);
	return {
		tables: [
			{
				title: `Memory over ${figure((points.at(-1)?.x ?? 0) / 60, 1)} minutes at ${thousands(RATE)} events/s, one consumer of each kind stopped`,
				columns: ["", "RSS MB least", "most", "median of the second third", "of the last third", "growth MB"],
				rows: [["nexus", megabytes(Math.min(...memory)), megabytes(Math.max(...memory)), megabytes(middle), megabytes(last), figure(growth, 1)]],
				notes: [
					sparkline(memory, GRAPH_WIDTH),
					`${thousands(counts.sent)} events sent, ${thousands(counts.followed)} followed, ${thousands(counts.consumed)} consumed`,
				],
			},
		],
		verdicts: [{ what: "growth of memory with a stopped consumer", budget: GROWTH, value: growth }],
		figures: { residentMegabytes: memory.filter((_, n) => n % KEEP_EACH === 0).map((bytes) => Math.round(bytes / 1e6)), ...counts },
	};
}

function megabytes(bytes: number | undefined): string {
	return figure((bytes ?? Number.NaN) / 1e6, 1);
}
