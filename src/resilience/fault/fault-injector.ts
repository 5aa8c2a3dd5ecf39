/**
 * The faults of one upstream: what befalls an attempt on purpose. Pure decisions; whoever sends the attempt carries them out,
 * below breaker and retries, so that these see what a real failure would show them.
 */
import type { Clock } from "../../core/clock.ts";
import { assertNever } from "../../core/errors.ts";
import type { Rng } from "../../core/rng.ts";
import type { FaultPolicy } from "../../policy/resilience-policy.ts";
import { ArmedFault, isSameFault } from "./armed-fault.ts";
import { drawDelayMs } from "./delay.ts";
import type { FaultRequest } from "./fault-match.ts";

export type { FaultRequest } from "./fault-match.ts";

export interface FaultInjectorDeps {
	readonly clock: Clock;
	readonly rng: Rng;
	/** Once for each fault that befalls an attempt. */
	readonly onInjected: (fault: FaultPolicy, endpoint: string) => void;
}

/** What befalls one attempt. What is to be waited for comes first, then the end, or the answer, slow or cut. */
export interface Injection {
	/** The one that ends the attempt, else the first that acts. */
	readonly fault: FaultPolicy;
	/** How it ends before it is sent: answered with this status, broken off, refused, or never answered; undefined: it is sent. */
	readonly end: number | "reset" | "refuse" | "black-hole" | undefined;
	/** To be waited before anything else; 0: none. */
	readonly delayMs: number;
	/** Of the answer's body; undefined: as fast as it comes. */
	readonly bytesPerSecond: number | undefined;
	/** The connection breaks after so many bytes of the answer's body; undefined: all of it arrives. */
	readonly truncateAfterBytes: number | undefined;
	/** Not to be counted by breaker and outlier detection: one of the faults is exempt, and nobody knows how it had gone without. */
	readonly exempt: boolean;
}

const NONE: readonly ArmedFault[] = Object.freeze([]);

export class FaultInjector {
	/** Whether there are any: all that an attempt looks at where there are none. */
	active = false;
	/** Whether any of them looks at header fields of requests. */
	readsFields = false;
	readonly #deps: FaultInjectorDeps;
	#ends = NONE;
	#delays = NONE;
	#throttles = NONE;
	#truncates = NONE;

	constructor(deps: FaultInjectorDeps) {
		this.#deps = deps;
	}

	/**
	 * All that are in force, by precedence; `source` is the service that sends, which `match.from` names (undefined: not compared). One that says the same as before keeps
	 * the end of its lease and the endpoints it has touched.
	 */
	set(faults: readonly FaultPolicy[], source?: string): void {
		const known = [this.#ends, this.#delays, this.#throttles, this.#truncates].flat();
		// One that falls on nobody is not armed: it would cost every attempt a look.
		const all = faults
			.filter(({ percent }) => percent > 0)
			.map((fault) => {
				const armed = known.find(({ policy }) => isSameFault(policy, fault));
				if (armed === undefined) return new ArmedFault(fault, this.#deps, source);
				armed.policy = fault;
				return armed;
			});
		this.#delays = all.filter(({ policy }) => policy.action.kind === "delay");
		this.#throttles = all.filter(({ policy }) => policy.action.kind === "throttle");
		this.#truncates = all.filter(({ policy }) => policy.action.kind === "truncate");
		this.#ends = all.filter(({ policy: { action } }) => endOf(action) !== undefined);
		this.active = all.length > 0;
		this.readsFields = faults.some(({ match }) => match !== undefined && match.headers.size > 0);
	}

	/** What befalls an attempt at `endpoint` (`host:port`): of each kind the first that fits, all of them together. */
	decide(request: FaultRequest, endpoint: string): Injection | undefined {
		if (!this.active) return undefined;
		const nowMs = this.#deps.clock.monotonicMs();
		const ending = this.#strike(this.#ends, request, endpoint, nowMs);
		const delaying = this.#strike(this.#delays, request, endpoint, nowMs);
		// Of an attempt that is never sent there is no answer to slow down or to cut.
		const throttling = ending === undefined ? this.#strike(this.#throttles, request, endpoint, nowMs) : undefined;
		const truncating = ending === undefined ? this.#strike(this.#truncates, request, endpoint, nowMs) : undefined;
		const fault = ending ?? delaying ?? throttling ?? truncating;
		if (fault === undefined) return undefined;
		return {
			fault,
			end: ending && endOf(ending.action),
			delayMs: delaying?.action.kind === "delay" ? drawDelayMs(delaying.action, this.#deps.rng) : 0,
			bytesPerSecond: throttling?.action.kind === "throttle" ? throttling.action.bytesPerSecond : undefined,
			truncateAfterBytes: truncating?.action.kind === "truncate" ? truncating.action.afterBytes : undefined,
			exempt: isExempt(ending) || isExempt(delaying) || isExempt(throttling) || isExempt(truncating),
		};
	}

	#strike(faults: readonly ArmedFault[], request: FaultRequest, endpoint: string, nowMs: number): FaultPolicy | undefined {
		for (const armed of faults) {
			if (!armed.strikes(request, endpoint, nowMs)) continue;
			this.#deps.onInjected(armed.policy, endpoint);
			return armed.policy;
		}
		return undefined;
	}
}

function endOf(action: FaultPolicy["action"]): Injection["end"] {
	switch (action.kind) {
		case "abort":
			return action.status;
		case "reset":
		case "refuse":
		case "black-hole":
			return action.kind;
		case "delay":
		case "throttle":
		case "truncate":
			return undefined;
		default:
			return assertNever(action);
	}
}

function isExempt(fault: FaultPolicy | undefined): boolean {
	return fault?.exempt === true;
}
