/** From the start of the process to ready, on a log with many events: after an orderly stop, and after a SIGKILL. */
import { median } from "../stats.ts";
import { figure, thousands } from "../table.ts";
import { launchNexus } from "./launch-nexus.ts";
import type { Budget, PartReport, Stage } from "./part.ts";
import { overWebSocket } from "./publish-http.ts";
import { takeTurn } from "./publish-turn.ts";
import { storeEvents } from "./stored-log.ts";

export const START: Budget = { most: 1, unit: "s" };
const REPEATS = 5;
// What a Nexus that is killed leaves behind its last checkpoint.
const TAIL_SHAPE = { connections: 1, inFlight: 32, eventsPerMessage: 32 };
const TAIL_MS = 300;

export async function measureStart(stage: Stage): Promise<PartReport> {
	const { workspace, cores, progress, options } = stage;
	const dir = await storeEvents(stage, options.startEvents);
	const startOnce = async (end: "SIGTERM" | "SIGKILL", isWritten: boolean): Promise<number> => {
		const { child, port, readyMs } = await launchNexus(workspace, cores.proxy, dir);
		if (isWritten) await takeTurn(overWebSocket(port), TAIL_SHAPE, child.pid, 0, TAIL_MS);
		if (end === "SIGKILL") {
			child.signal("SIGKILL");
			await child.exited;
		} else await workspace.stop(child);
		return readyMs / 1000;
	};
	const first = await startOnce("SIGTERM", false);
	const orderly: number[] = [];
	const killed: number[] = [];
	for (let n = 1; n <= REPEATS; n++) {
		progress.step(`start ${n}/${REPEATS} with ${thousands(options.startEvents)} events`);
		orderly.push(await startOnce("SIGKILL", true));
		killed.push(await startOnce("SIGTERM", false));
	}
	const rows = [
		{ after: "an orderly stop", seconds: orderly },
		{ after: "SIGKILL under load", seconds: killed },
	];
	return {
		tables: [
			{
				title: `Start with ${thousands(options.startEvents)} events stored`,
				columns: ["after", "median s", "slowest s"],
				rows: rows.map(({ after, seconds }) => [after, figure(median(seconds), 2), figure(Math.max(...seconds), 2)]),
				notes: [`the very first, of a log just written: ${figure(first, 2)} s`],
			},
		],
		verdicts: rows.map(({ after, seconds }) => ({ what: `start after ${after}`, budget: START, value: median(seconds) })),
		figures: { firstSeconds: first, rows },
	};
}
