/** What the state keeps of policies: per service a head, per version its text; and how the keys of versions sort. Documents alone. */
import { createHash } from "node:crypto";
import { z } from "zod";

/** As JSON, with what stands beside it, it fits a value of the state. A policy of a large service is 20 KiB. */
export const POLICY_BYTES_MAX = 192 * 1024;
/** Enough to see what was changed since last week and to go back to it; with the largest policies of 300 services it is a GiB. */
export const VERSIONS_KEPT = 20;
export const REASON_CHARS_MAX = 500;

const count = z.int().nonnegative();

export const stageDocument = z.union([
	z.strictObject({ instances: z.int().positive() }),
	z.strictObject({ percent: z.number().positive().max(100) }),
]);

const rolloutDocument = z.strictObject({
	version: count,
	/** What the others run meanwhile. */
	from: count,
	stages: z.array(stageDocument).min(1),
	holdMs: count,
	patienceMs: count,
	minRequests: count,
	/** Index in `stages`. */
	stage: count,
	/** Whose turn it was so far; the last stage is everybody. */
	instances: z.array(z.string()),
	/** Instances that went silent, and were replaced. */
	lost: count,
	/** Of the event log, when this stage began: what is behind it counts. */
	afterSequence: count,
	/** For people. */
	startedMs: z.number(),
	stageMs: z.number(),
});

const outcomeDocument = z.strictObject({
	version: count,
	state: z.enum(["completed", "rolled_back"]),
	/** In words. */
	reason: z.string(),
	atMs: z.number(),
});

export const headDocument = z.strictObject({
	/** The highest number that was ever given. */
	latest: count,
	/** What everybody runs, but for those whom a roll-out has reached. */
	current: count,
	/** Of the text of each version that somebody may be asked to run. */
	hashes: z.record(z.string(), z.string()),
	/** What was current, in that order; the last is. */
	history: z.array(count),
	rollout: rolloutDocument.nullable(),
	/** How the last roll-out ended. */
	last: outcomeDocument.nullable(),
});

export const versionDocument = z.strictObject({
	version: count,
	text: z.string(),
	hash: z.string(),
	/** Identity, or name of the token. */
	author: z.string(),
	reason: z.string(),
	createdMs: z.number(),
	/** The version whose text this is again. */
	restores: count.nullable(),
});

export type Stage = z.infer<typeof stageDocument>;
export type RolloutState = z.infer<typeof rolloutDocument>;
export type PolicyHead = z.infer<typeof headDocument>;
export type PolicyVersion = z.infer<typeof versionDocument>;

export function hashOf(text: string): string {
	return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

/** Sorts as the numbers do. */
export function versionKey(service: string, version: number): string {
	return `${service}/${String(version).padStart(10, "0")}`;
}

/** What identifies a version beyond the loss of all data: numbers begin anew then. */
export function tagOf(head: PolicyHead, version: number): string {
	return `${version}:${head.hashes[version] ?? ""}`;
}
