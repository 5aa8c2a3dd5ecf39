/** One fault in force: whether it falls on an attempt, and when its lease is over. */
import { isDeepStrictEqual } from "node:util";
import type { Clock } from "../../core/clock.ts";
import type { Rng } from "../../core/rng.ts";
import type { FaultPolicy } from "../../policy/resilience-policy.ts";
import { compileMatch, type FaultMatch, type FaultRequest } from "./fault-match.ts";

/**
 * The monotonic time at which a lease ends that has just arrived; infinite where it has no end. From then on the wall clock may
 * jump: the lease lasts as long as it was meant to.
 */
export function leaseEndMs(expiresAtMs: number | undefined, clock: Clock): number {
	return expiresAtMs === undefined ? Number.POSITIVE_INFINITY : clock.monotonicMs() + expiresAtMs - clock.wallMs();
}

/** Whether two say the same, wherever they stand in the file. */
export function isSameFault(a: FaultPolicy, b: FaultPolicy): boolean {
	if (a === b) return true;
	if (a.name !== b.name || a.upstream !== b.upstream) return false;
	return isDeepStrictEqual({ ...a, place: undefined, match: bare(a) }, { ...b, place: undefined, match: bare(b) });
}

/** Without the class of its maps, which differs between a policy and a lease. */
function bare({ match }: FaultPolicy): unknown {
	return match && { ...match, headers: [...match.headers], query: [...match.query] };
}

export class ArmedFault {
	/** As it was said last: its line may have moved. */
	policy: FaultPolicy;
	readonly #endsAtMs: number;
	readonly #matches: FaultMatch | undefined;
	readonly #endpoints: ReadonlySet<string> | undefined;
	readonly #endpointsMax: number;
	/** Kept only where their number is bounded, so never more than that many. */
	readonly #touched = new Set<string>();

	constructor(policy: FaultPolicy, clock: Clock) {
		this.policy = policy;
		this.#endsAtMs = leaseEndMs(policy.expiresAtMs, clock);
		this.#matches = policy.match && compileMatch(policy.match);
		this.#endpoints = policy.endpoints.length === 0 ? undefined : new Set(policy.endpoints);
		this.#endpointsMax = policy.endpointsMax ?? Number.POSITIVE_INFINITY;
	}

	/** Whether it falls on this attempt; draws only where all else fits, and remembers the endpoint where it does. */
	strikes(request: FaultRequest, endpoint: string, nowMs: number, rng: Rng): boolean {
		if (nowMs >= this.#endsAtMs) return false;
		if (this.#endpoints !== undefined && !this.#endpoints.has(endpoint)) return false;
		const isNew = !this.#touched.has(endpoint);
		if (isNew && this.#touched.size >= this.#endpointsMax) return false;
		if (this.#matches !== undefined && !this.#matches(request)) return false;
		if (rng() * 100 >= this.policy.percent) return false;
		if (isNew && this.#endpointsMax !== Number.POSITIVE_INFINITY) this.#touched.add(endpoint);
		return true;
	}
}
