/**
 * A circuit breaker: lets attempts at a service pass while it is well, and answers for it while it is not.
 * When it trips is decided in trip-rule.ts; here is what follows. Synchronous, no I/O, one timer and that only while open.
 */
import type { Clock, Timer } from "../../core/clock.ts";
import { assertNever } from "../../core/errors.ts";
import type { Rng } from "../../core/rng.ts";
import type { CircuitBreakerPolicy } from "../../policy/resilience-policy.ts";
import type { Place } from "../../policy/snapshot.ts";
import { type BreakerEvent, type BreakerState, nextBreakerState } from "./breaker-states.ts";
import { type BreakerCounts, TripRule } from "./trip-rule.ts";

export type { BreakerState } from "./breaker-states.ts";
export type { BreakerCounts } from "./trip-rule.ts";

/** `ignored` says nothing about the service: the client went away, or a fault that is exempt was injected. */
export type BreakerOutcome = "success" | "failure" | "ignored";

/** Instead of a ticket. */
export const REJECTED = -1;

// Enough to see whether failures are alike.
const LAST_ERRORS_MAX = 5;
// While all probes are out nobody knows when they end; a second is the least that a `retry-after` can say.
const PROBES_OUT_RETRY_MS = 1_000;
// 2^30 x 1 ms is beyond every `maxOpenFor`.
const DOUBLINGS_MAX = 30;

export interface BreakerDeps {
	readonly clock: Clock;
	readonly rng: Rng;
	/** Called last, when the new state holds; it may call back. */
	readonly onTransition: (transition: BreakerTransition) => void;
}

export interface BreakerTransition {
	readonly from: BreakerState;
	readonly to: BreakerState;
	/** What made it change, in words: "5 failures in a row", "forced open". */
	readonly cause: string;
	/** Of the state that was left; while open nothing is counted, so those of the trip stay. */
	readonly counts: BreakerCounts;
	/** Of the last failures, newest first, at most 5. */
	readonly lastErrors: readonly string[];
	/** How long it will be open; 0 where it is not, and where it is forced open and no end is known. */
	readonly openForMs: number;
	/** The line of the policy that set the threshold. */
	readonly place: Place;
	readonly atWallMs: number;
}

/** Plain JSON terms. */
export interface BreakerView {
	readonly state: BreakerState;
	readonly forced: "open" | "closed" | undefined;
	readonly counts: BreakerCounts;
	readonly lastErrors: readonly string[];
	/** Milliseconds until it probes; 0 where it is not open, or forced open. */
	readonly openLeftMs: number;
	/** How often it has opened. */
	readonly trips: number;
	/** Out at the moment. */
	readonly probes: number;
	/** Tickets that nobody has settled yet, of all generations. One that was lost stays in it for good. */
	readonly underWay: number;
}

interface Closed {
	readonly kind: "closed";
}

interface Open {
	readonly kind: "open";
	readonly counts: BreakerCounts;
	readonly forMs: number;
	/** Monotonic. */
	readonly untilMs: number;
	/** None where an operator holds it open. */
	timer: Timer | undefined;
}

interface HalfOpen {
	readonly kind: "half-open";
	probes: number;
	successes: number;
}

const CLOSED: Closed = Object.freeze({ kind: "closed" });

export class Breaker {
	readonly #deps: BreakerDeps;
	readonly #rule: TripRule;
	#policy: CircuitBreakerPolicy;
	#state: Closed | Open | HalfOpen = CLOSED;
	/** One for each state that it was ever in. A result counts only in the state that gave its ticket. */
	#generation = 0;
	#forced: "open" | "closed" | undefined;
	#lastErrors: string[] = [];
	/** How often it opened again without having closed. */
	#relapses = 0;
	#trips = 0;
	#underWay = 0;

	constructor(policy: CircuitBreakerPolicy, deps: BreakerDeps) {
		this.#policy = policy;
		this.#deps = deps;
		this.#rule = new TripRule(policy.trip);
	}

	get state(): BreakerState {
		return this.#state.kind;
	}

	get forced(): "open" | "closed" | undefined {
		return this.#forced;
	}

	/**
	 * A ticket (its generation, 0 or more), or REJECTED. A ticket is owed: whatever becomes of the attempt (answered, reset, client gone,
	 * drained), `settle` must be called for it exactly once. A probe's ticket that never comes back keeps its place, and all of them
	 * missing would keep the breaker half-open; `view().underWay` and `probes` show what is owed.
	 */
	acquire(): number {
		const state = this.#state;
		if (state.kind !== "closed") {
			if (state.kind === "open" || state.probes >= this.#policy.halfOpenMaxConcurrent) return REJECTED;
			state.probes++;
		}
		this.#underWay++;
		return this.#generation;
	}

	/**
	 * Pays a ticket back, exactly once. `latencyMs`: until the answer's head, or until the failure. `nowMs`: monotonic. `error`: the reason
	 * or status of a failure, unused otherwise. What an earlier state has let through is not judged. Throws for a ticket that was not given.
	 */
	settle(ticket: number, outcome: BreakerOutcome, latencyMs: number, nowMs: number, error: string): void {
		if (this.#underWay === 0 || ticket < 0 || ticket > this.#generation) throw new Error(`ticket ${ticket} of a breaker is not out`);
		this.#underWay--;
		if (ticket !== this.#generation) return;
		const state = this.#state;
		switch (state.kind) {
			case "closed":
				if (outcome !== "ignored") this.#judge(outcome === "failure", latencyMs, nowMs, error);
				return;
			case "half-open":
				if (state.probes === 0) throw new Error(`ticket ${ticket} of a breaker is not out`);
				state.probes--;
				if (outcome !== "ignored") this.#judgeProbe(state, outcome === "failure", latencyMs, nowMs, error);
				return;
			case "open":
				throw new Error("an open breaker gives no tickets");
			default:
				assertNever(state);
		}
	}

	/** What an answer's status says: a failure where `failureStatuses` has it, else a success. */
	outcomeOf(status: number): BreakerOutcome {
		const ranges = this.#policy.failureStatuses;
		for (let i = 0; i < ranges.length; i++) {
			const range = ranges[i];
			if (range !== undefined && status >= range.from && status <= range.to) return "failure";
		}
		return "success";
	}

	/** When to come again, milliseconds; 0 where a request would pass now. */
	retryAfterMs(): number {
		const state = this.#state;
		if (state.kind === "closed") return 0;
		if (state.kind === "half-open") return state.probes < this.#policy.halfOpenMaxConcurrent ? 0 : PROBES_OUT_RETRY_MS;
		// Nobody knows when an operator lets go: as long as a trip would take.
		return this.#forced === "open" ? this.#policy.openForMs : Math.max(0, state.untilMs - this.#deps.clock.monotonicMs());
	}

	/** `open` and `closed` hold until `auto`. From a forced open it goes on by probing; after a forced closed it judges what was counted. */
	force(mode: "open" | "closed" | "auto"): void {
		const forced = this.#forced;
		this.#forced = mode === "auto" ? undefined : mode;
		if (mode === "open" && forced !== "open") this.#transition("force-open", "forced open");
		else if (mode === "closed" && this.#state.kind !== "closed") this.#transition("force-closed", "forced closed");
		else if (mode === "auto" && forced === "open") this.#transition("release", "no longer forced open");
	}

	/** New thresholds from the next result on. State and counts stay, and an open breaker stays open for the time that it was given. */
	configure(policy: CircuitBreakerPolicy): void {
		this.#policy = policy;
		this.#rule.configure(policy.trip);
	}

	view(): BreakerView {
		const state = this.#state;
		return {
			state: state.kind,
			forced: this.#forced,
			counts: this.#counts(),
			lastErrors: [...this.#lastErrors],
			openLeftMs: state.kind === "open" && this.#forced === undefined ? Math.ceil(this.retryAfterMs()) : 0,
			trips: this.#trips,
			probes: state.kind === "half-open" ? state.probes : 0,
			underWay: this.#underWay,
		};
	}

	/** Frees its timer and tells nobody anything more. What is under way may still be settled; whoever still asks passes. */
	dispose(): void {
		this.#leave();
		this.#state = CLOSED;
		this.#forced = "closed";
	}

	#judge(failed: boolean, latencyMs: number, nowMs: number, error: string): void {
		if (failed) this.#remember(error);
		const cause = this.#rule.record(failed, latencyMs, nowMs);
		if (cause !== undefined && this.#forced === undefined) this.#transition("trip", cause);
	}

	/** Where slow calls trip it, a slow probe is no better: closing on it would only trip it again. */
	#judgeProbe(state: HalfOpen, failed: boolean, latencyMs: number, nowMs: number, error: string): void {
		this.#rule.record(failed, latencyMs, nowMs);
		if (failed) {
			this.#remember(error);
			this.#transition("relapse", `a probe failed: ${error}`);
		} else if (this.#rule.tooSlow(latencyMs)) {
			this.#transition("relapse", `a probe took ${Math.round(latencyMs)} ms, longer than ${this.#policy.trip.slowCallMs} ms`);
		} else if (++state.successes >= this.#policy.successThreshold) {
			this.#transition("recover", state.successes === 1 ? "a probe succeeded" : `${state.successes} probes in a row succeeded`);
		}
	}

	#remember(error: string): void {
		this.#lastErrors.unshift(error);
		if (this.#lastErrors.length > LAST_ERRORS_MAX) this.#lastErrors.pop();
	}

	/** The one writer of the state. */
	#transition(event: BreakerEvent, cause: string): void {
		const from = this.#state.kind;
		const to = nextBreakerState(from, event);
		const counts = this.#counts();
		const lastErrors = [...this.#lastErrors];
		this.#leave();
		this.#generation++;
		if (event === "relapse") this.#relapses++;
		this.#enter(to, counts);
		if (from === to) return;
		if (to === "open") this.#trips++;
		const openForMs = this.#state.kind === "open" ? this.#state.forMs : 0;
		const { clock, onTransition } = this.#deps;
		onTransition({ from, to, cause, counts, lastErrors, openForMs, place: this.#policy.trip.place, atWallMs: clock.wallMs() });
	}

	/** Frees what the state owns. */
	#leave(): void {
		if (this.#state.kind === "open") this.#state.timer?.cancel();
	}

	#enter(to: BreakerState, counts: BreakerCounts): void {
		switch (to) {
			case "closed":
				this.#state = CLOSED;
				this.#relapses = 0;
				this.#lastErrors = [];
				this.#rule.reset();
				return;
			case "open":
				this.#state = this.#forced === "open" ? forcedOpen(counts) : this.#open(counts);
				return;
			case "half-open":
				this.#state = { kind: "half-open", probes: 0, successes: 0 };
				this.#rule.reset();
				return;
			default:
				assertNever(to);
		}
	}

	#open(counts: BreakerCounts): Open {
		const { clock, rng } = this.#deps;
		const { openForMs, maxOpenForMs, jitter } = this.#policy;
		const grownMs = Math.min(openForMs * 2 ** Math.min(this.#relapses, DOUBLINGS_MAX), maxOpenForMs);
		const forMs = jitter === 0 ? grownMs : Math.round(grownMs * (1 + jitter * rng()));
		const state: Open = { kind: "open", counts, forMs, untilMs: clock.monotonicMs() + forMs, timer: undefined };
		state.timer = clock.setTimer(forMs, () => {
			if (this.#state === state) this.#transition("elapse", `was open for ${forMs} ms`);
		});
		return state;
	}

	#counts(): BreakerCounts {
		return this.#state.kind === "open" ? this.#state.counts : this.#rule.counts(this.#deps.clock.monotonicMs());
	}
}

function forcedOpen(counts: BreakerCounts): Open {
	return { kind: "open", counts, forMs: 0, untilMs: Number.POSITIVE_INFINITY, timer: undefined };
}
