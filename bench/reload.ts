/** A policy of 1,000 upstreams is reloaded again and again while requests pass: how long it takes, and that none fails. */
import { rename, writeFile } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { messageOf } from "../src/core/errors.ts";
import { askAdmin } from "./admin.ts";
import { requestOnce } from "./client.ts";
import { runAtRate } from "./open-load.ts";
import { bodyPath, ORIGIN_HOST } from "./origin.ts";
import { launchSidecar, policyOf } from "./peers/ours.ts";
import type { Plan } from "./peers/peer.ts";
import { median } from "./stats.ts";
import { type Bench, type Running, takeTurn } from "./turn.ts";

const UPSTREAMS = 1000;
const PAUSE_MS = 400;
const WARM_SECONDS = 1;
const CONNECTIONS = 64;

export interface ReloadResult {
	readonly upstreams: number;
	/** From `POST /reload` to its answer; each is then proven by an upstream that only the new policy has. */
	readonly medianMs: number;
	readonly maxMs: number;
	readonly reloads: number;
	/** Of the requests that passed meanwhile. */
	readonly requests: number;
	readonly slowestRequestMs: number;
	readonly faults: readonly string[];
}

/** Undefined where ours does not take part. */
export async function measureReload(bench: Bench): Promise<ReloadResult | undefined> {
	const ours = bench.contestants.find((contestant) => contestant.name === "ours");
	if (ours === undefined) return undefined;
	const config = bench.workspace.file("reload.yaml");
	let planned: Plan | undefined;
	const prepare = async (plan: Plan) => {
		planned = plan;
		await writeFile(config, largePolicy(plan, 0));
		return launchSidecar(plan, config);
	};
	return takeTurn(bench, ours, { prepare }, (running) => {
		if (planned === undefined) throw new Error("a turn begins with its preparation");
		return reloadUnderLoad(bench, running, planned, config);
	}).catch((thrown: unknown) => notMeasured(thrown));
}

async function reloadUnderLoad(bench: Bench, running: Running, plan: Plan, config: string): Promise<ReloadResult> {
	const { options, workspace, cores, progress } = bench;
	const bodyBytes = options.bodies[0] ?? 0;
	const path = bodyPath(bodyBytes);
	// One second for each reload: ten times the budget, and the load still runs at the end.
	const seconds = options.repeats + 1;
	const load = runAtRate(workspace, cores.rest, {
		port: running.port,
		host: ORIGIN_HOST,
		path,
		bodyBytes,
		rate: options.rate,
		warmSeconds: WARM_SECONDS,
		seconds,
		connections: CONNECTIONS,
	});
	let loadRuns = true;
	const faults: string[] = [];
	const times: number[] = [];
	const reloading = (async () => {
		await pause(WARM_SECONDS * 1000);
		for (let generation = 1; generation <= options.repeats; generation++) {
			progress.step(`reload ${generation}/${options.repeats}: ${UPSTREAMS} upstreams`);
			times.push(await reloadOnce(running, plan, config, path, generation));
			if (!loadRuns) faults.push(`reload ${generation} ended after the load`);
			await pause(PAUSE_MS);
		}
	})();
	const [result, reloaded] = await Promise.allSettled([
		load.finally(() => {
			loadRuns = false;
		}),
		reloading,
	]);
	if (reloaded.status === "rejected") faults.push(messageOf(reloaded.reason));
	if (result.status === "rejected") throw result.reason;
	return {
		upstreams: UPSTREAMS,
		medianMs: median(times),
		maxMs: Math.max(...times),
		reloads: times.length,
		requests: result.value.requests,
		slowestRequestMs: result.value.maxMs,
		faults: [...faults, ...result.value.faults],
	};
}

async function reloadOnce({ port, adminPort }: Running, plan: Plan, config: string, path: string, generation: number): Promise<number> {
	const probe = { host: probeName(generation), path };
	const before = await requestOnce(port, probe);
	if (before.status !== 404) throw new Error(`${probe.host} was answered with ${before.status} before the reload that brings it`);
	await writeFile(`${config}.new`, largePolicy(plan, generation));
	await rename(`${config}.new`, config);
	const startedAt = performance.now();
	const { status, body } = await askAdmin(adminPort, "POST", "/reload");
	const tookMs = performance.now() - startedAt;
	if (status !== 200) throw new Error(`POST /reload was answered with ${status}: ${body.slice(0, 300)}`);
	const after = await requestOnce(port, probe);
	if (after.status !== 200) throw new Error(`${probe.host} was answered with ${after.status} after the reload that brings it`);
	return tookMs;
}

function notMeasured(thrown: unknown): ReloadResult {
	const none = Number.NaN;
	return { upstreams: UPSTREAMS, medianMs: none, maxMs: none, reloads: 0, requests: 0, slowestRequestMs: none, faults: [messageOf(thrown)] };
}

/** Each generation brings one upstream that no other has, and moves the weights of some. */
export function largePolicy(plan: Omit<Plan, "workspace">, generation: number): string {
	const endpoint = `127.0.0.1:${plan.originPort}`;
	const others = [`  ${probeName(generation)}: { endpoints: [ { address: "${endpoint}" } ] }`];
	for (let i = 1; i < UPSTREAMS - 1; i++) {
		const weight = i % 100 === 0 ? 1 + generation : 1;
		others.push(
			`  service-${i}:\n    endpoints:\n      - { address: "${endpoint}", weight: ${weight} }\n      - { address: "127.0.0.2:${plan.originPort}" }`,
		);
	}
	return policyOf(plan, { moreUpstreams: `${others.join("\n")}\n` });
}

function probeName(generation: number): string {
	return `probe-${generation}`;
}
