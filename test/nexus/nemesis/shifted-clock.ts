/** Loaded into a Nexus before all else: its wall clock is wrong by the milliseconds that a file holds, read at the start and again at each SIGUSR2. */
import { readFileSync } from "node:fs";
import { isMainThread } from "node:worker_threads";

const now = Date.now;
let offsetMs = read();
Date.now = () => now() + offsetMs;
// A worker hears no signals: what it does is not timed by the wall.
if (isMainThread) {
	process.on("SIGUSR2", () => {
		offsetMs = read();
	});
}

function read(): number {
	return Number(readFileSync(new URL(import.meta.url).searchParams.get("file") ?? "", "utf8"));
}
