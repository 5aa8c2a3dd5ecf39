/** The steps of a roll-out, decided from what is known: who is next, what a stage is called, who runs what. Pure. */
import type { Rng } from "../../core/rng.ts";
import type { InstanceReport } from "./instance-reports.ts";
import { made, type PolicyHead } from "./policy-head.ts";
import type { RolloutState, Stage } from "./policy-records.ts";

export interface RolloutPlan {
	/** The last one is everybody. */
	readonly stages: readonly Stage[];
	/** How long each stage is looked at, at least. */
	readonly holdMs: number;
	/** How long it is waited for instances to take it, and for requests to judge by. */
	readonly patienceMs: number;
	/** With it and without, before a stage counts as fine. */
	readonly minRequests: number;
}

export const EVERYBODY: Stage = Object.freeze({ percent: 100 });

export const DEFAULT_PLAN: RolloutPlan = Object.freeze({
	stages: Object.freeze([Object.freeze({ instances: 1 }), Object.freeze({ percent: 10 }), EVERYBODY]),
	holdMs: 30_000,
	patienceMs: 180_000,
	minRequests: 100,
});

export type Reports = ReadonlyMap<string, InstanceReport>;

export interface StageStart {
	readonly reports: Reports;
	readonly rng: Rng;
	readonly nowMs: number;
	/** Of the event log, now. */
	readonly lastSequence: number;
}

/** Undefined: there is nobody to compare with, so that everybody may have it at once. */
export function beginning(plan: RolloutPlan, version: number, from: number, start: StageStart): RolloutState | undefined {
	if (start.reports.size < 2) return undefined;
	const blank: RolloutState = {
		version,
		from,
		...plan,
		stages: [...plan.stages],
		stage: -1,
		instances: [],
		lost: 0,
		afterSequence: 0,
		startedMs: start.nowMs,
		stageMs: start.nowMs,
	};
	const first = nextStage(blank, start);
	return isForEverybody(first) ? undefined : first;
}

/** The next stage that reaches more instances than this one; the last one where there is none. */
export function nextStage(rollout: RolloutState, { reports, rng, nowMs, lastSequence }: StageStart): RolloutState {
	const last = rollout.stages.length - 1;
	for (let stage = rollout.stage + 1; stage < last; stage++) {
		const wanted = countOf(rollout.stages[stage] ?? EVERYBODY, reports.size);
		if (wanted <= rollout.instances.length) continue;
		if (wanted >= reports.size) break;
		const instances = [...rollout.instances, ...drawn(reports, rollout, wanted - rollout.instances.length, rng)];
		return { ...rollout, stage, instances, afterSequence: lastSequence, stageMs: nowMs };
	}
	return { ...rollout, stage: last, afterSequence: lastSequence, stageMs: nowMs };
}

/** Others in the place of those that are heard no more; the stage begins anew. */
export function withoutLost(rollout: RolloutState, start: StageStart): RolloutState {
	const there = rollout.instances.filter((instance) => start.reports.has(instance));
	const missing = rollout.instances.length - there.length;
	const instances = [...there, ...drawn(start.reports, { ...rollout, instances: there }, missing, start.rng)];
	return { ...rollout, instances, lost: rollout.lost + missing, afterSequence: start.lastSequence, stageMs: start.nowMs };
}

export function isForEverybody({ stage, stages }: RolloutState): boolean {
	return stage === stages.length - 1;
}

/** What this instance should run; 0: nothing from here. */
export function wantedVersion({ current, rollout }: PolicyHead, instance: string): number {
	if (rollout === null) return current;
	return isForEverybody(rollout) || rollout.instances.includes(instance) ? rollout.version : current;
}

export function completed(head: PolicyHead, { version }: RolloutState, reason: string, atMs: number): PolicyHead {
	return { ...made(head, version), last: { version, state: "completed", reason, atMs } };
}

export function rolledBack(head: PolicyHead, { version }: RolloutState, reason: string, atMs: number): PolicyHead {
	return { ...head, rollout: null, last: { version, state: "rolled_back", reason, atMs } };
}

export function stageText(stage: Stage | undefined): string {
	if (stage === undefined) return "";
	if ("instances" in stage) return stage.instances === 1 ? "1 instance" : `${stage.instances} instances`;
	return stage.percent === 100 ? "all" : `${stage.percent} %`;
}

function countOf(stage: Stage, all: number): number {
	return "instances" in stage ? stage.instances : Math.ceil((all * stage.percent) / 100);
}

/** At random: the first by name would always be the same host. */
function drawn(reports: Reports, { instances, from }: RolloutState, count: number, rng: Rng): string[] {
	const left = [...reports].filter(([instance]) => !instances.includes(instance));
	// One that runs something else already would not show what this change does.
	const suited = left.filter(([, { running }]) => running === from);
	const pool = (suited.length >= count ? suited : left).map(([instance]) => instance);
	return Array.from({ length: Math.min(count, pool.length) }, () => pool.splice(Math.floor(rng() * pool.length), 1)[0] ?? "");
}
