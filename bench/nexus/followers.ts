/** Thousands of followers of one type: what they take of memory, and how late they are told. */
import { connect } from "node:net";
import { cpuTime, residentBytes } from "../cpu.ts";
import { nowMs, startMetronome } from "../metronome.ts";
import { percentile } from "../stats.ts";
import { figure, thousands } from "../table.ts";
import { launchNexus } from "./launch-nexus.ts";
import type { Budget, PartReport, Stage } from "./part.ts";
import { EVENT_BYTES, EVENT_TYPE, NumberScanner } from "./publish-events.ts";
import { overWebSocket } from "./publish-http.ts";

export const MEMORY: Budget = { most: 1000, unit: "MB" };
export const P99: Budget = { most: 250, unit: "ms" };

const RATE = 100;
// Looking for events in all that thousands of followers are sent would be the load: of each hundredth every event is timed, of all the bytes are counted.
const TIMED_EACH = 100;
const CONNECT_AT_ONCE = 100;
const READ_BYTES = 256 * 1024;
const LAST_MS = 10_000;
const MEMORY_LOOK_MS = 200;

interface Crowd {
	/** Bytes that each has got. */
	readonly bytes: Float64Array;
	close(): void;
}

export async function measureFollowers({ workspace, cores, progress, options }: Stage): Promise<PartReport> {
	const count = options.followers;
	const { child, port } = await launchNexus(workspace, cores.proxy);
	let crowd: Crowd | undefined;
	try {
		const idleBytes = residentBytes(child.pid);
		const failure = Promise.withResolvers<never>();
		failure.promise.catch(() => {});
		const { reject: failed } = failure;
		const warm = options.warmSeconds * RATE;
		const total = warm + options.seconds * RATE;
		const timed = Math.ceil(count / TIMED_EACH);
		const tookMs: number[] = [];
		let missing = timed * total;
		let startMs = 0;
		const arrived = Promise.withResolvers<void>();
		const onNumber = (event: number): void => {
			if (event >= warm) tookMs.push(nowMs() - startMs - (event * 1000) / RATE);
			if (--missing === 0) arrived.resolve();
		};
		crowd = await openCrowd(port, count, onNumber, failed, (open) => progress.step(`${thousands(open)} of ${thousands(count)} followers`));
		const openBytes = residentBytes(child.pid);
		const sender = await overWebSocket(port)({ connections: 1, inFlight: total, eventsPerMessage: 1 }, { answered: () => {}, failed });
		let peakBytes = openBytes;
		const look = setInterval(() => {
			peakBytes = Math.max(peakBytes, residentBytes(child.pid));
		}, MEMORY_LOOK_MS);
		progress.step(`${thousands(count)} followers, ${RATE} events/s`);
		const before = cpuTime(child.pid);
		startMs = nowMs() + 100;
		let sent = 0;
		startMetronome({ startMs, intervalMs: 1000 / RATE, count: total }, (due) => {
			for (; sent < due; sent++) sender.send();
		});
		const patience = setTimeout(() => failed(new Error(`${missing} events did not arrive`)), (total / RATE) * 1000 + LAST_MS);
		await Promise.race([arrived.promise, failure.promise]).finally(() => {
			clearTimeout(patience);
			clearInterval(look);
		});
		const seconds = (nowMs() - startMs) / 1000;
		const after = cpuTime(child.pid);
		sender.close();
		const short = crowd.bytes.filter((bytes) => bytes < total * EVENT_BYTES).length;
		const sorted = Float64Array.from(tookMs).sort();
		const figures = {
			followers: count,
			rate: RATE,
			p50Ms: percentile(sorted, 0.5),
			p99Ms: percentile(sorted, 0.99),
			maxMs: percentile(sorted, 1),
			idleBytes,
			openBytes,
			peakBytes,
			cores: (after.userUs + after.systemUs - before.userUs - before.systemUs) / 1e6 / seconds,
			short,
		};
		const isWhole = short === 0;
		return {
			tables: [
				{
					title: `${thousands(count)} followers of one type, ${RATE} events/s`,
					columns: ["", "p50 ms", "p99 ms", "worst ms", "RSS MB before", "RSS MB with them", "RSS MB at most", "cores busy"],
					rows: [
						[
							"nexus",
							figure(figures.p50Ms, 1),
							figure(figures.p99Ms, 1),
							figure(figures.maxMs, 1),
							figure(idleBytes / 1e6, 1),
							figure(openBytes / 1e6, 1),
							figure(peakBytes / 1e6, 1),
							figure(figures.cores, 2),
						],
					],
					notes: [
						`timed: every event of ${thousands(timed)} followers; those of the others are counted in bytes`,
						...(isWhole ? [] : [`INVALID: ${thousands(short)} followers got less than all`]),
					],
				},
			],
			verdicts: [
				{ what: `memory with ${thousands(count)} followers`, budget: MEMORY, value: isWhole ? peakBytes / 1e6 : Number.NaN },
				{ what: `${thousands(count)} followers, p99`, budget: P99, value: isWhole ? figures.p99Ms : Number.NaN },
			],
			figures,
		};
	} finally {
		crowd?.close();
		await workspace.stop(child);
	}
}

/** Resolves once all have been answered. All read into one buffer. */
async function openCrowd(
	port: number,
	count: number,
	onNumber: (event: number) => void,
	failed: (cause: Error) => void,
	onProgress: (open: number) => void,
): Promise<Crowd> {
	const bytes = new Float64Array(count);
	const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
	const request = `GET /v1/events/stream?type=${EVENT_TYPE} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n\r\n`;
	let isOver = false;
	const closers: (() => void)[] = [];
	const open = (n: number): Promise<void> =>
		new Promise((resolve, reject) => {
			const scanner = n % TIMED_EACH === 0 ? new NumberScanner(onNumber) : undefined;
			const callback = (length: number): boolean => {
				if (bytes[n] === 0) resolve();
				bytes[n] = (bytes[n] ?? 0) + length;
				scanner?.push(buffer.subarray(0, length));
				return true;
			};
			const socket = connect({ host: "127.0.0.1", port, noDelay: true, onread: { buffer, callback } });
			socket.on("error", reject);
			socket.on("close", () => {
				if (!isOver) failed(new Error(`follower ${n} was cut off`));
			});
			socket.write(request);
			closers.push(() => socket.resetAndDestroy());
		});
	for (let from = 0; from < count; from += CONNECT_AT_ONCE) {
		await Promise.all(Array.from({ length: Math.min(CONNECT_AT_ONCE, count - from) }, (_, i) => open(from + i)));
		onProgress(Math.min(count, from + CONNECT_AT_ONCE));
	}
	// The heads are not events.
	bytes.fill(0);
	return {
		bytes,
		close() {
			isOver = true;
			for (const close of closers) close();
		},
	};
}
