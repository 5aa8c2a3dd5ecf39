/**
 * What the features cost that a policy configures and a sound mesh never needs, and what a tap costs that nobody's request matches: the same
 * sidecar with other policies, all started, loaded in turns of seconds, so that the noise of the machine hits all alike.
 */
import { writeFile } from "node:fs/promises";
import { get } from "node:http";
import { messageOf } from "../src/core/errors.ts";
import { cpuTime } from "./cpu.ts";
import { launchSidecar, policyOf } from "./peers/ours.ts";
import { barePolicy, fullPolicy, routedPolicy } from "./peers/ours-policies.ts";
import type { Plan } from "./peers/peer.ts";
import { median } from "./stats.ts";
import { type Bench, type Contestant, type Running, takeTurn } from "./turn.ts";

// For each round of the other parts: short turns, many of them, as a difference of a microsecond is looked for.
const TURNS_PER_ROUND = 4;
const SECONDS = 2;
// No request names this host.
const TAP = "/tap?host=no-such-host";

export const FEATURE_SETUPS = ["everything off", "defaults", "all features configured", "10 routes", "10,000 routes", "tap open"] as const;
export type FeatureSetup = (typeof FEATURE_SETUPS)[number];
/** Each is held against the one that differs in nothing else. */
const BASE: Readonly<Record<FeatureSetup, FeatureSetup | undefined>> = {
	"everything off": undefined,
	defaults: "everything off",
	"all features configured": "everything off",
	"10 routes": "everything off",
	"10,000 routes": "10 routes",
	"tap open": "defaults",
};

export interface FeatureSample {
	readonly perSecond: number;
	readonly userUs: number;
	readonly systemUs: number;
}

export interface FeatureRow {
	readonly setup: FeatureSetup;
	readonly base: FeatureSetup | undefined;
	/** Medians over the turns; CPU time per request. */
	readonly perSecond: number;
	readonly userUs: number;
	readonly systemUs: number;
	/** CPU time per request over the base in the same turn; undefined without a base. */
	readonly addedUs: Spread | undefined;
	/** The same as a part of the base's. */
	readonly addedShare: Spread | undefined;
	readonly faults: readonly string[];
}

export interface Spread {
	readonly median: number;
	readonly min: number;
	readonly max: number;
}

export async function measureFeatures(bench: Bench): Promise<FeatureRow[]> {
	const samples = new Map(FEATURE_SETUPS.map((setup) => [setup, [] as FeatureSample[]]));
	const faults = new Map(FEATURE_SETUPS.map((setup) => [setup, [] as string[]]));
	const { options, progress } = bench;
	const turns = options.rounds * TURNS_PER_ROUND;
	await withAll(bench, FEATURE_SETUPS, new Map(), async (running) => {
		for (const setup of FEATURE_SETUPS) await load(bench, running, setup, options.warmSeconds);
		for (let turn = 0; turn < turns; turn++) {
			// Who comes first changes: the one before leaves the core warm or not.
			for (let i = 0; i < FEATURE_SETUPS.length; i++) {
				const setup = FEATURE_SETUPS[(turn + i) % FEATURE_SETUPS.length] as FeatureSetup;
				progress.step(`features, turn ${turn + 1}/${turns}: ${setup}`);
				const { sample, problems } = await load(bench, running, setup, options.quick ? 1 : SECONDS);
				samples.get(setup)?.push(sample);
				faults.get(setup)?.push(...problems.map((problem) => `turn ${turn + 1}: ${problem}`));
			}
		}
	}).catch((thrown: unknown) => {
		for (const list of faults.values()) list.push(messageOf(thrown));
	});
	return FEATURE_SETUPS.map((setup) => summarizeFeature(setup, samples, faults.get(setup) ?? []));
}

/** Starts one after the other and measures when all run. */
async function withAll(
	bench: Bench,
	setups: readonly FeatureSetup[],
	running: Map<FeatureSetup, Running>,
	measure: (running: ReadonlyMap<FeatureSetup, Running>) => Promise<void>,
): Promise<void> {
	const [setup, ...others] = setups;
	if (setup === undefined) return measure(running);
	const contestant: Contestant = { kind: "found", name: "ours", version: "", prepare: (plan) => prepare(setup, plan) };
	await takeTurn(bench, contestant, {}, async (one) => {
		running.set(setup, one);
		const close = setup === "tap open" ? await openTap(one.adminPort) : () => undefined;
		await withAll(bench, others, running, measure).finally(close);
	});
}

async function prepare(setup: FeatureSetup, plan: Plan) {
	const config = plan.workspace.file("ours.yaml");
	await writeFile(config, policyFor(setup, plan));
	return launchSidecar(plan, config);
}

function policyFor(setup: FeatureSetup, plan: Plan): string {
	switch (setup) {
		case "everything off":
			return barePolicy(plan);
		case "all features configured":
			return fullPolicy(plan);
		case "10 routes":
			return routedPolicy(plan, 10);
		case "10,000 routes":
			return routedPolicy(plan, 10_000);
		case "defaults":
		case "tap open":
			return policyOf(plan);
	}
}

/** Resolves with how to close it, once the stream is open. Rejects where the sidecar opens none. */
function openTap(adminPort: number): Promise<() => void> {
	return new Promise((resolve, reject) => {
		const request = get({ host: "127.0.0.1", port: adminPort, path: TAP, agent: false }, (reply) => {
			reply.resume();
			// Cut off by us in the end.
			reply.on("error", () => undefined);
			if (reply.statusCode === 200) resolve(() => request.destroy());
			else reject(new Error(`${TAP} was answered with ${reply.statusCode}`));
		});
		request.on("error", reject);
	});
}

async function load(bench: Bench, running: ReadonlyMap<FeatureSetup, Running>, setup: FeatureSetup, seconds: number) {
	const { port, child } = running.get(setup) ?? {};
	if (port === undefined || child === undefined) throw new Error(`${setup} does not run`);
	const before = cpuTime(child.pid);
	const result = await bench.generator.run({ port, bodyBytes: bench.options.bodies[0] ?? 0, connections: bench.options.connections, seconds });
	const after = cpuTime(child.pid);
	const sample: FeatureSample = {
		perSecond: result.perSecond,
		userUs: (after.userUs - before.userUs) / result.requests,
		systemUs: (after.systemUs - before.systemUs) / result.requests,
	};
	return { sample, problems: child.running ? result.faults : [...result.faults, "the process ended under load"] };
}

/** Pure: medians, and differences between samples of the same turn. */
export function summarizeFeature(
	setup: FeatureSetup,
	samples: ReadonlyMap<FeatureSetup, readonly FeatureSample[]>,
	faults: readonly string[],
): FeatureRow {
	const own = samples.get(setup) ?? [];
	const base = BASE[setup];
	const bases = base === undefined ? [] : (samples.get(base) ?? []);
	const pairs = own.flatMap((sample, turn) => {
		const beside = bases[turn];
		return beside === undefined ? [] : [{ addedUs: cpuUs(sample) - cpuUs(beside), baseUs: cpuUs(beside) }];
	});
	return {
		setup,
		base,
		perSecond: median(own.map(({ perSecond }) => perSecond)),
		userUs: median(own.map(({ userUs }) => userUs)),
		systemUs: median(own.map(({ systemUs }) => systemUs)),
		addedUs: base === undefined ? undefined : spread(pairs.map(({ addedUs }) => addedUs)),
		addedShare: base === undefined ? undefined : spread(pairs.map(({ addedUs, baseUs }) => addedUs / baseUs)),
		faults,
	};
}

function cpuUs({ userUs, systemUs }: FeatureSample): number {
	return userUs + systemUs;
}

function spread(values: readonly number[]): Spread {
	return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}
