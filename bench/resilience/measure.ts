/** Runs every scenario against every setup, one after the other, on the same instances: the scenario is the outer loop, so that what is compared stands close in time. */
import { setTimeout as pause } from "node:timers/promises";
import { messageOf } from "../../src/core/errors.ts";
import { cpuTime } from "../cpu.ts";
import type { Cores } from "../machine.ts";
import { nowMs } from "../metronome.ts";
import type { Workspace } from "../processes.ts";
import type { Progress } from "../progress.ts";
import { Mesh } from "./mesh.ts";
import type { ResilienceOptions } from "./options.ts";
import { type RunningProxy, startProxy } from "./proxies.ts";
import { type CrowdResult, runCrowd } from "./run-crowd.ts";
import { FAULT_FROM, FAULT_TO, type Scenario, type ScenarioName, type Step, scenarioOf } from "./scenarios.ts";
import { WORK_PATH } from "./service-options.ts";
import { SERVICE, type Setup } from "./settings.ts";

export const INSTANCES = 5;
/** Mean time of an answer of a sound instance. */
export const LATENCY_MS = 10;
/** So long a client waits for an answer. */
export const PATIENCE_MS = 2000;
const WARM_SECONDS = 1;
// The start of a Node process on a busy core, and its connections.
const LEAD_MS = 500;

export interface Cell extends CrowdResult {
	/** 0..1 of all tries during the fault. Undefined where there is no single instance to watch. */
	readonly faultyShare: number | undefined;
	/** Further tries that the proxy sent, hedges among them, over the whole run. */
	readonly retries: number;
	/** 0..1 of its core: far below 1, or the proxy's speed was measured. */
	readonly proxyBusy: number;
}

export interface Row {
	readonly scenario: ScenarioName;
	readonly title: string;
	readonly setup: string;
	/** One for each round that could be measured. */
	readonly cells: readonly Cell[];
	/** Why a round could not be measured. */
	readonly faults: readonly string[];
}

export interface Stage {
	readonly workspace: Workspace;
	readonly cores: Cores;
	readonly options: ResilienceOptions;
	readonly setups: readonly Setup[];
	readonly progress: Progress;
}

export async function measureResilience(stage: Stage): Promise<Row[]> {
	const { workspace, cores, options, setups, progress } = stage;
	const mesh = await Mesh.start(workspace, cores.rest, INSTANCES, LATENCY_MS);
	try {
		const rows: Row[] = [];
		for (const name of options.scenarios) {
			const scenario = scenarioOf(name, options.seconds * 1000, INSTANCES);
			const found = setups.map((setup) => ({ setup, cells: [] as Cell[], faults: [] as string[] }));
			for (let round = 1; round <= options.rounds; round++) {
				for (const { setup, cells, faults } of found) {
					progress.step(`${name}, round ${round}/${options.rounds}: ${setup.name}`);
					// One proxy that cannot be measured costs its own rows, not the run.
					await oneCell(stage, mesh, scenario, setup).then(
						(cell) => void cells.push(cell),
						(thrown: unknown) => void faults.push(`round ${round}: ${messageOf(thrown)}`),
					);
				}
			}
			for (const { setup, cells, faults } of found) rows.push({ scenario: name, title: scenario.title, setup: setup.name, cells, faults });
		}
		return rows;
	} finally {
		await mesh.close();
	}
}

async function oneCell(stage: Stage, mesh: Mesh, scenario: Scenario, setup: Setup): Promise<Cell> {
	const { workspace, cores } = stage;
	await mesh.restore();
	// A fresh one each time: what it has learnt in one scenario must not help it in the next.
	const proxy = await startProxy(workspace, cores.proxy, setup, mesh.addresses);
	try {
		return await underFault(stage, mesh, scenario, proxy);
	} finally {
		await workspace.stop(proxy.child);
	}
}

async function underFault({ workspace, cores, options }: Stage, mesh: Mesh, scenario: Scenario, proxy: RunningProxy): Promise<Cell> {
	const { rate, connections, seconds } = options;
	const startMs = nowMs() + LEAD_MS + WARM_SECONDS * 1000;
	const cpuBefore = cpuTime(proxy.child.pid);
	const load = { rate, connections, seconds, warmSeconds: WARM_SECONDS, patienceMs: PATIENCE_MS };
	const crowd = runCrowd(workspace, cores.rest, { ...load, port: proxy.port, host: SERVICE, path: WORK_PATH, startMs });
	const [result, , faultyShare] = await Promise.all([
		crowd,
		perform(mesh, scenario.steps, startMs),
		watch(proxy, mesh.addresses, scenario.watched, startMs, seconds * 1000),
	]);
	const elapsedUs = (nowMs() - (startMs - WARM_SECONDS * 1000)) * 1000;
	if (!proxy.child.running) throw new Error(`the proxy ended under load: ${proxy.child.lastWords()}`);
	const cpu = cpuTime(proxy.child.pid);
	const usedUs = cpu.userUs + cpu.systemUs - cpuBefore.userUs - cpuBefore.systemUs;
	return { ...result, faultyShare, retries: await proxy.retries(), proxyBusy: usedUs / elapsedUs };
}

/** In order: a restart that takes long delays the next one, as a deployment waits for it. */
async function perform(mesh: Mesh, steps: readonly Step[], startMs: number): Promise<void> {
	for (const step of steps) {
		await until(startMs + step.atMs);
		await mesh.act(step);
	}
}

async function watch(
	proxy: RunningProxy,
	addresses: readonly string[],
	watched: number | undefined,
	startMs: number,
	runMs: number,
): Promise<number | undefined> {
	const address = addresses[watched ?? -1];
	if (address === undefined) return undefined;
	await until(startMs + runMs * FAULT_FROM);
	const before = await proxy.tries();
	await until(startMs + runMs * FAULT_TO);
	const after = await proxy.tries();
	const during = (of: string) => (after.get(of) ?? 0) - (before.get(of) ?? 0);
	return during(address) / addresses.reduce((sum, of) => sum + during(of), 0);
}

function until(atMs: number): Promise<void> {
	return pause(Math.max(0, atMs - nowMs()));
}
