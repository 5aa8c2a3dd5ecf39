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
	return isDeepStrictEqual(saidBy(a), saidBy(b));
}

/** Without what differs between two readings of the same text: its line, the moment from which `for` counts, and the class of maps. */
function saidBy(fault: FaultPolicy): unknown {
	const { match, forMs, expiresAtMs } = fault;
	return {
		...fault,
		place: undefined,
		match: match && { ...match, headers: [...match.headers], query: [...match.query] },
		expiresAtMs: forMs === undefined ? expiresAtMs : undefined,
	};
}

export interface ArmedFaultDeps {
	readonly clock: Clock;
	readonly rng: Rng;
}

export class ArmedFault {
	/** As it was said last: its line may have moved. */
	policy: FaultPolicy;
	readonly #rng: Rng;
	readonly #endsAtMs: number;
	readonly #matches: FaultMatch | undefined;
	readonly #endpoints: ReadonlySet<string> | undefined;
	readonly #endpointsMax: number;
	/** Kept only where their number is bounded, so never more than that many. */
	readonly #touched = new Set<string>();

	constructor(policy: FaultPolicy, { clock, rng }: ArmedFaultDeps, source: string | undefined) {
		this.policy = policy;
		this.#rng = rng;
		this.#endsAtMs = leaseEndMs(policy.expiresAtMs, clock);
		this.#matches = policy.match && compileMatch(policy.match, source, rng);
		this.#endpoints = policy.endpoints.length === 0 ? undefined : new Set(policy.endpoints);
		this.#endpointsMax = policy.endpointsMax ?? Number.POSITIVE_INFINITY;
	}

	/** Whether it falls on this attempt; draws only where all else fits, and remembers the endpoint where it does. */
	strikes(request: FaultRequest, endpoint: string, nowMs: number): boolean {
		if (nowMs >= this.#endsAtMs) return false;
		if (this.#endpoints !== undefined && !this.#endpoints.has(endpoint)) return false;
		const isNew = !this.#touched.has(endpoint);
		if (isNew && this.#touched.size >= this.#endpointsMax) return false;
		if (this.#matches !== undefined && !this.#matches(request)) return false;
		if (this.#rng() * 100 >= this.policy.percent) return false;
		if (isNew && this.#endpointsMax !== Number.POSITIVE_INFINITY) this.#touched.add(endpoint);
		return true;
	}
}
