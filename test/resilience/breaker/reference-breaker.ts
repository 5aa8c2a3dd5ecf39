/**
 * What a circuit breaker does, written as plainly as can be: a list of results that is searched anew each time, time that is compared when
 * it moves, tickets that remember the state object they came from. Shares no code with the real one.
 */
import type { Rng } from "../../../src/core/rng.ts";
import type { CircuitBreakerPolicy } from "../../../src/policy/resilience-policy.ts";

interface Result {
	readonly atMs: number;
	readonly failed: boolean;
	readonly slow: boolean;
}

interface Epoch {
	readonly name: "closed" | "open" | "half-open";
	readonly endsMs: number;
	readonly probes: Set<Ticket>;
	streak: number;
}

export interface Ticket {
	readonly epoch: Epoch;
}

export interface Observation {
	state: string;
	forced: string;
	rejects: boolean;
	retryAfterMs: number;
	consecutiveFailures: number;
	requests: number;
	failures: number;
	slowCalls: number;
	lastErrors: string;
	trips: number;
	probes: number;
	underWay: number;
	changes: number;
	lastChange: string;
}

export class ReferenceBreaker {
	nowMs = 0;
	policy: CircuitBreakerPolicy;
	readonly #rng: Rng;
	#epoch: Epoch = epochOf("closed", 0);
	#forced = "";
	#results: Result[] = [];
	#firstCounted = 0;
	#errors: string[] = [];
	#relapses = 0;
	#trips = 0;
	#atTrip = { consecutiveFailures: 0, requests: 0, failures: 0, slowCalls: 0 };
	readonly #out = new Set<Ticket>();
	#changes = 0;
	#lastChange = "";

	constructor(policy: CircuitBreakerPolicy, rng: Rng) {
		this.policy = policy;
		this.#rng = rng;
	}

	acquire(): Ticket | undefined {
		if (this.#rejects()) return undefined;
		const ticket = { epoch: this.#epoch };
		this.#out.add(ticket);
		this.#epoch.probes.add(ticket);
		return ticket;
	}

	settle(ticket: Ticket, outcome: string, latencyMs: number, error: string): void {
		this.#out.delete(ticket);
		ticket.epoch.probes.delete(ticket);
		if (ticket.epoch !== this.#epoch || outcome === "ignored") return;
		const { trip, successThreshold } = this.policy;
		const failed = outcome === "failure";
		const slow = latencyMs > trip.slowCallMs;
		this.#results.push({ atMs: this.nowMs, failed, slow });
		if (failed) this.#errors = [error, ...this.#errors].slice(0, 5);
		if (this.#epoch.name === "closed") {
			if (this.#forced === "" && this.#isBad()) this.#become("open");
		} else if (failed || (slow && trip.slowCallRate !== undefined)) {
			this.#relapses++;
			this.#become("open");
		} else if (++this.#epoch.streak === successThreshold || this.#epoch.streak > successThreshold) this.#become("closed");
	}

	advance(ms: number): void {
		const targetMs = this.nowMs + ms;
		if (this.#epoch.name === "open" && this.#epoch.endsMs <= targetMs) {
			this.nowMs = this.#epoch.endsMs;
			this.#become("half-open");
		}
		this.nowMs = targetMs;
	}

	force(mode: string): void {
		const before = this.#forced;
		this.#forced = mode === "auto" ? "" : mode;
		if (mode === "open" && before !== "open") this.#become("open");
		if (mode === "closed" && this.#epoch.name !== "closed") this.#become("closed");
		if (mode === "auto" && before === "open") this.#become("half-open");
	}

	configure(policy: CircuitBreakerPolicy): void {
		const old = this.policy.trip;
		if (old.windowMs !== policy.trip.windowMs || old.slowCallMs !== policy.trip.slowCallMs) this.#firstCounted = this.#results.length;
		this.policy = policy;
	}

	observe(): Observation {
		const { name, endsMs, probes } = this.#epoch;
		const rejects = this.#rejects();
		const open = name === "open";
		const counts = open ? this.#atTrip : this.#counts();
		const openRetryMs = this.#forced === "open" ? this.policy.openForMs : endsMs - this.nowMs;
		return {
			state: name,
			forced: this.#forced,
			rejects,
			retryAfterMs: open ? openRetryMs : rejects ? 1_000 : 0,
			...counts,
			lastErrors: this.#errors.join(),
			trips: this.#trips,
			probes: name === "half-open" ? probes.size : 0,
			underWay: this.#out.size,
			changes: this.#changes,
			lastChange: this.#lastChange,
		};
	}

	#rejects(): boolean {
		if (this.#epoch.name === "closed") return false;
		return this.#epoch.name === "open" || this.#epoch.probes.size >= this.policy.halfOpenMaxConcurrent;
	}

	#counts() {
		const bucketMs = this.policy.trip.windowMs / 10;
		const bucket = Math.floor(this.nowMs / bucketMs);
		const recent = this.#results.filter((result, i) => i >= this.#firstCounted && Math.floor(result.atMs / bucketMs) > bucket - 10);
		let consecutiveFailures = 0;
		while (this.#results.at(-1 - consecutiveFailures)?.failed) consecutiveFailures++;
		return {
			consecutiveFailures,
			requests: recent.length,
			failures: recent.filter((result) => result.failed).length,
			slowCalls: recent.filter((result) => result.slow).length,
		};
	}

	#isBad(): boolean {
		const { consecutiveFailures: rowMax, failureRate, slowCallRate, minRequests } = this.policy.trip;
		const { consecutiveFailures, requests, failures, slowCalls } = this.#counts();
		if (rowMax !== undefined && consecutiveFailures >= rowMax) return true;
		if (requests < minRequests) return false;
		return (failureRate !== undefined && failures / requests >= failureRate) || (slowCallRate !== undefined && slowCalls / requests >= slowCallRate);
	}

	#become(name: Epoch["name"]): void {
		const from = this.#epoch.name;
		if (from !== "open") this.#atTrip = this.#counts();
		let openMs = 0;
		if (name === "open" && this.#forced !== "open") {
			const { openForMs, maxOpenForMs, jitter } = this.policy;
			openMs = openForMs;
			for (let i = 0; i < this.#relapses; i++) openMs = Math.min(openMs * 2, maxOpenForMs);
			if (jitter > 0) openMs = Math.round(openMs * (1 + jitter * this.#rng()));
		}
		if (from !== name) {
			this.#changes++;
			const { consecutiveFailures, requests, failures, slowCalls } = this.#atTrip;
			const errors = this.#errors.join();
			this.#lastChange = `${from} -> ${name} for ${openMs}: ${consecutiveFailures}/${requests}/${failures}/${slowCalls} ${errors}`;
			if (name === "open") this.#trips++;
		}
		if (name !== "open") {
			this.#results = [];
			this.#firstCounted = 0;
		}
		if (name === "closed") {
			this.#errors = [];
			this.#relapses = 0;
		}
		this.#epoch = epochOf(name, name === "open" && this.#forced !== "open" ? this.nowMs + openMs : Number.POSITIVE_INFINITY);
	}
}

function epochOf(name: Epoch["name"], endsMs: number): Epoch {
	return { name, endsMs, probes: new Set(), streak: 0 };
}
