/** Full load: 64 connections, each sending its next request when the last reply is in. By wrk where it is installed, else by autocannon. */
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { findProgram, versionOf } from "./machine.ts";
import { bodyPath, ORIGIN_HOST } from "./origin.ts";
import type { Workspace } from "./processes.ts";

export type GeneratorName = "wrk" | "autocannon";

export interface LoadRequest {
	readonly port: number;
	readonly bodyBytes: number;
	readonly connections: number;
	readonly seconds: number;
}

export interface LoadResult {
	readonly requests: number;
	readonly perSecond: number;
	readonly p50Ms: number;
	readonly p99Ms: number;
	/** What went wrong, in words; empty for a run that counts. */
	readonly faults: readonly string[];
}

export interface Generator {
	readonly name: GeneratorName;
	readonly version: string;
	run(request: LoadRequest): Promise<LoadResult>;
}

/** `wanted` undefined: wrk where it is, as it is steadier and costs the origin's core less. */
export function findGenerator(workspace: Workspace, core: number, wanted: GeneratorName | undefined): Generator | { readonly problem: string } {
	const wrk = findProgram("wrk");
	if (wrk !== undefined && wanted !== "autocannon") {
		return { name: "wrk", version: versionOf(wrk, ["-v"], /wrk (?:debian\/)?(\S+)/), run: (request) => runWrk(workspace, core, wrk, request) };
	}
	if (wanted === "wrk") return { problem: "wrk is not installed: apt-get install wrk" };
	const require = createRequire(import.meta.url);
	const { version } = require("autocannon/package.json") as { version: string };
	return { name: "autocannon", version, run: (request) => runAutocannon(workspace, core, require.resolve("autocannon"), request) };
}

async function runWrk(workspace: Workspace, core: number, wrk: string, { port, bodyBytes, connections, seconds }: LoadRequest): Promise<LoadResult> {
	const report = fileURLToPath(new URL("wrk-report.lua", import.meta.url));
	const url = `http://127.0.0.1:${port}${bodyPath(bodyBytes)}`;
	const args = ["-t1", `-c${connections}`, `-d${seconds}`, "-s", report, "-H", `Host: ${ORIGIN_HOST}`, url];
	const printed = await workspace.run("wrk", core, { command: wrk, args });
	const line = printed.split("\n").find((candidate) => candidate.startsWith("{"));
	if (line === undefined) throw new Error(`wrk gave no report: ${printed}`);
	const found = JSON.parse(line) as Record<
		"requests" | "durationUs" | "bytes" | "p50Us" | "p99Us" | "connect" | "read" | "write" | "timeout" | "status",
		number
	>;
	const faults: string[] = [];
	for (const kind of ["connect", "read", "write", "timeout", "status"] as const) if (found[kind] > 0) faults.push(`${found[kind]} ${kind} errors`);
	return {
		requests: found.requests,
		perSecond: found.requests / (found.durationUs / 1e6),
		p50Ms: found.p50Us / 1000,
		p99Ms: found.p99Us / 1000,
		faults: [...faults, ...shortBodies(found.requests, found.bytes, bodyBytes)],
	};
}

async function runAutocannon(
	workspace: Workspace,
	core: number,
	autocannon: string,
	{ port, bodyBytes, connections, seconds }: LoadRequest,
): Promise<LoadResult> {
	const url = `http://127.0.0.1:${port}${bodyPath(bodyBytes)}`;
	const args = [autocannon, "-c", String(connections), "-d", String(seconds), "-j", "-n", "-H", `host=${ORIGIN_HOST}`, url];
	const found = JSON.parse(await workspace.run("autocannon", core, { command: process.execPath, args })) as {
		requests: { total: number };
		throughput: { total: number };
		duration: number;
		latency: { p50: number; p99: number };
		errors: number;
		timeouts: number;
		non2xx: number;
	};
	const faults: string[] = [];
	for (const kind of ["errors", "timeouts", "non2xx"] as const) if (found[kind] > 0) faults.push(`${found[kind]} ${kind}`);
	return {
		requests: found.requests.total,
		perSecond: found.requests.total / found.duration,
		p50Ms: found.latency.p50,
		p99Ms: found.latency.p99,
		faults: [...faults, ...shortBodies(found.requests.total, found.throughput.total, bodyBytes)],
	};
}

// The generators do not look into bodies; their byte count still shows replies that came without one.
function shortBodies(requests: number, bytes: number, bodyBytes: number): string[] {
	if (requests === 0) return ["no request was answered"];
	return bytes < requests * bodyBytes ? [`${bytes} bytes for ${requests} replies of ${bodyBytes}`] : [];
}
