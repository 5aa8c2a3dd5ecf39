/** What is in force for a service, and how that becomes another version. Pure. */
import { type PolicyHead, VERSIONS_KEPT } from "./policy-records.ts";

export type { PolicyHead } from "./policy-records.ts";

export const EMPTY_HEAD: PolicyHead = Object.freeze({ latest: 0, current: 0, hashes: {}, history: [], rollout: null, last: null });

/** `version` is what everybody runs. */
export function made(head: PolicyHead, version: number): PolicyHead {
	return { ...head, current: version, history: [...head.history, version].slice(-VERSIONS_KEPT), rollout: null };
}

/** The newest, and what somebody may still go back to. */
export function keptVersions({ hashes, current, history }: PolicyHead, added: number): ReadonlySet<number> {
	const newest = Object.keys(hashes)
		.map(Number)
		.sort((a, b) => b - a)
		.slice(0, VERSIONS_KEPT - 1);
	return new Set([added, ...newest, current, ...history.slice(-1)].filter((version) => version > 0));
}
