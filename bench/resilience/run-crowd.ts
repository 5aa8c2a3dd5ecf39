/** Runs the crowd of clients (`crowd.ts`) as a process of its own, and what it brings back. */
import { fileURLToPath } from "node:url";
import type { Workspace } from "../processes.ts";

const PROGRAM = fileURLToPath(new URL("crowd.ts", import.meta.url));

export interface CrowdRequest {
	readonly port: number;
	readonly host: string;
	readonly path: string;
	/** Requests per second over all clients, whatever the replies do. */
	readonly rate: number;
	/** Connections that they share; a request for which none is free waits, and its time counts. */
	readonly connections: number;
	/** When the first counted request is due, on the clock of `nowMs`. */
	readonly startMs: number;
	/** Before that, not counted. */
	readonly warmSeconds: number;
	readonly seconds: number;
	/** How long after the intended moment a client gives up and closes its connection. */
	readonly patienceMs: number;
}

export interface CrowdResult {
	/** Counted ones, however they ended. */
	readonly requests: number;
	/** Answered with 200. */
	readonly succeeded: number;
	/** The others by what the client saw. */
	readonly failures: Readonly<Record<string, number>>;
	/** Over all counted requests, from the intended moment to the end of the answer, or to whatever ended it. */
	readonly p50Ms: number;
	readonly p99Ms: number;
	readonly p999Ms: number;
	/** How late the generator itself was at the worst. */
	readonly sentLateMaxMs: number;
}

export async function runCrowd(workspace: Workspace, core: number, request: CrowdRequest): Promise<CrowdResult> {
	const printed = await workspace.run("crowd", core, { command: process.execPath, args: [PROGRAM, JSON.stringify(request)] });
	return JSON.parse(printed) as CrowdResult;
}
