/** A process of a run, seen from within: its parameters, its record, and when it is to finish. */
import { writeSync } from "node:fs";
import type { Line } from "./history.ts";

// A producer that still has no answer long after the run is one whose run has gone.
const FINISH_MS = 150_000;

export function parameters<T>(): T {
	return JSON.parse(process.argv[2] ?? "") as T;
}

/** Out of the process when it returns: what happens next may be its end. */
export function record(line: Line): void {
	// The time is for people.
	writeSync(1, `${JSON.stringify({ ...line, at: new Date().toISOString() })}\n`);
}

/** Aborted once the run says so by closing the input, or has ended itself. */
export function finishing(): AbortSignal {
	const controller = new AbortController();
	process.stdin.resume();
	process.stdin.once("end", () => {
		controller.abort();
		setTimeout(() => process.exit(3), FINISH_MS).unref();
	});
	return controller.signal;
}

export function pause(ms: number): Promise<void> {
	return new Promise((resolve) => setTimeout(resolve, ms));
}
