/**
 * Ticks at exact times from a thread of its own. A timer of the event loop is 1-2 ms late, as much as what is to be
 * measured; spinning until the time has come would take the core from the origin. This thread sleeps to within about 0.1 ms.
 */
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

interface Beat {
	/** On the system's monotonic clock, see `nowMs`. */
	readonly startMs: number;
	readonly intervalMs: number;
	readonly count: number;
}

/** Milliseconds on a clock that all threads share (`performance.now` counts from the start of each thread). */
export function nowMs(): number {
	return Number(process.hrtime.bigint()) / 1e6;
}

/** Calls `onDue` with how many ticks are due by now, of `count`, tick i being due at `startMs + i * intervalMs`. */
export function startMetronome(beat: Beat, onDue: (due: number) => void): void {
	const worker = new Worker(new URL(import.meta.url), { workerData: beat });
	worker.on("message", (due: number) => onDue(due));
	worker.once("error", (cause) => {
		throw cause;
	});
}

function run({ startMs, intervalMs, count }: Beat): void {
	const never = new Int32Array(new SharedArrayBuffer(4));
	for (let due = 0; due < count; ) {
		const waitMs = startMs + due * intervalMs - nowMs();
		if (waitMs > 0) Atomics.wait(never, 0, 0, waitMs);
		due = Math.min(count, Math.max(due, Math.floor((nowMs() - startMs) / intervalMs) + 1));
		parentPort?.postMessage(due);
	}
}

if (!isMainThread) run(workerData as Beat);
