/** Runs load at a constant rate (`load.ts`) as a process of its own on the load's core. */
import { fileURLToPath } from "node:url";
import type { Workspace } from "./processes.ts";

const PROGRAM = fileURLToPath(new URL("load.ts", import.meta.url));

export interface RateRequest {
	readonly port: number;
	readonly host: string;
	readonly path: string;
	/** What every reply must carry. */
	readonly bodyBytes: number;
	/** Requests per second, whatever the replies do. */
	readonly rate: number;
	/** Sent, checked, but not counted. */
	readonly warmSeconds: number;
	readonly seconds: number;
	readonly connections: number;
}

export interface RateResult {
	/** Answered rightly after the warm-up. */
	readonly requests: number;
	/** From the intended moment of sending to the last byte of the reply. */
	readonly p50Ms: number;
	readonly p99Ms: number;
	readonly maxMs: number;
	/** How late the generator itself was at the worst: above a few ms the machine was busy. */
	readonly sentLateMaxMs: number;
	/** Empty for a run without a failed request, warm-up included. */
	readonly faults: readonly string[];
}

export async function runAtRate(workspace: Workspace, core: number, request: RateRequest): Promise<RateResult> {
	const printed = await workspace.run("load", core, { command: process.execPath, args: [PROGRAM, JSON.stringify(request)] });
	return JSON.parse(printed) as RateResult;
}
