import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it, test } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import type { CircuitBreakerPolicy } from "../../../src/policy/resilience-policy.ts";
import { Breaker, type BreakerOutcome, type BreakerTransition, REJECTED } from "../../../src/resilience/breaker/breaker.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { breakerPolicy, THRESHOLD_PLACE, tripPolicy } from "./policies.ts";

const LINKERD = linkerdVector();

test("consecutive failures go through the steps of Linkerd's breaker", { skip: LINKERD === undefined && "no conformance data here" }, () => {
	if (LINKERD === undefined) return;
	const { max_failures, backoff_min_s, backoff_max_s, jitter } = LINKERD.config;
	const bench = new Bench({
		trip: tripPolicy({ consecutiveFailures: max_failures }),
		successThreshold: 1,
		openForMs: backoff_min_s * 1_000,
		maxOpenForMs: backoff_max_s * 1_000,
		jitter,
	});
	const { breaker, clock } = bench;
	const old = breaker.acquire();
	let probe = REJECTED;
	for (const [step, expected] of LINKERD.steps) {
		const seconds = /^\+([\d.]+)s$/.exec(step)?.[1];
		if (seconds !== undefined) clock.advance(Number(seconds) * 1_000);
		else if (step === "fail") bench.call("failure");
		else if (step === "late success of an old request") breaker.settle(old, "success", 1, clock.monotonicMs(), "");
		else if (step.startsWith("probe")) breaker.settle(probe, step === "probe fails" ? "failure" : "success", 1, clock.monotonicMs(), "502");
		else assert.fail(`a step that this test does not know: ${step}`);

		// Linkerd's gate is open while it serves; a circuit is open while it does not.
		if (expected.startsWith("open")) assert.equal(breaker.state, "closed", `${step}: ${expected}`);
		else if (expected.startsWith("shut")) {
			assert.equal(breaker.state, "open", `${step}: ${expected}`);
			assert.equal(breaker.acquire(), REJECTED);
			if (expected.includes("backoff now 2 s")) assert.equal(breaker.retryAfterMs(), 1_000);
		} else if (expected.startsWith("limited")) {
			assert.equal(breaker.state, "half-open", `${step}: ${expected}`);
			probe = breaker.acquire();
			assert.notEqual(probe, REJECTED);
			assert.equal(breaker.acquire(), REJECTED);
		} else assert.fail(`an expectation that this test does not know: ${expected}`);
	}
});

describe("a circuit breaker", () => {
	it("opens after 5 failures in a row and tells all about it", () => {
		const { breaker, clock, transitions, calls } = new Bench();
		clock.advance(1_000);
		calls("success", 3);
		for (const error of ["500", "connect_refused", "503", "upstream_reset", "504"]) calls("failure", 1, error);
		assert.equal(breaker.state, "open");
		assert.deepEqual(transitions, [
			{
				from: "closed",
				to: "open",
				cause: "5 failures in a row",
				counts: { consecutiveFailures: 5, requests: 8, failures: 5, slowCalls: 0 },
				lastErrors: ["504", "upstream_reset", "503", "connect_refused", "500"],
				openForMs: 60_000,
				place: THRESHOLD_PLACE,
				atWallMs: clock.wallMs(),
			},
		]);
	});

	it("rejects while open and says how long that will be", () => {
		const { breaker, clock, calls } = new Bench();
		assert.equal(breaker.retryAfterMs(), 0);
		calls("failure", 5);
		assert.equal(breaker.acquire(), REJECTED);
		assert.equal(breaker.retryAfterMs(), 60_000);
		clock.advance(59_999);
		assert.equal(breaker.acquire(), REJECTED);
		assert.equal(breaker.retryAfterMs(), 1);
	});

	it("becomes half-open by itself, without traffic", () => {
		const { breaker, clock, calls, transitions } = new Bench();
		calls("failure", 5);
		clock.advance(60_000);
		assert.equal(breaker.state, "half-open");
		assert.deepEqual(
			transitions.map(({ from, to, cause }) => [from, to, cause]),
			[
				["closed", "open", "5 failures in a row"],
				["open", "half-open", "was open for 60000 ms"],
			],
		);
		assert.equal(transitions[1]?.counts.failures, 5);
		assert.equal(clock.pendingTimers, 0);
	});

	it("lets as many probes through as it may, and closes after enough successes in a row", () => {
		const { breaker, clock, calls, transitions } = new Bench({ halfOpenMaxConcurrent: 2, successThreshold: 3 });
		calls("failure", 5);
		clock.advance(60_000);
		const first = breaker.acquire();
		const second = breaker.acquire();
		assert.equal(breaker.acquire(), REJECTED);
		assert.equal(breaker.retryAfterMs(), 1_000);
		assert.equal(breaker.view().probes, 2);
		for (const ticket of [first, second]) breaker.settle(ticket, "success", 1, clock.monotonicMs(), "");
		assert.equal(breaker.state, "half-open");
		assert.equal(breaker.retryAfterMs(), 0);
		calls("success", 1);
		assert.equal(breaker.state, "closed");
		const { cause, counts } = transitions[2] as BreakerTransition;
		assert.equal(cause, "3 probes in a row succeeded");
		assert.deepEqual(counts, { consecutiveFailures: 0, requests: 3, failures: 0, slowCalls: 0 });
		assert.deepEqual(breaker.view().lastErrors, []);
	});

	it("opens for twice as long after each failed probe, up to the most, and for the first time again once it has closed", () => {
		const { breaker, clock, calls, transitions } = new Bench({ openForMs: 1_000, maxOpenForMs: 5_000, successThreshold: 1 });
		calls("failure", 5);
		for (const ms of [1_000, 2_000, 4_000, 5_000, 5_000]) {
			assert.equal(breaker.retryAfterMs(), ms);
			assert.equal(transitions.at(-1)?.openForMs, ms);
			clock.advance(ms);
			calls("failure", 1, "503");
			assert.equal(transitions.at(-1)?.cause, "a probe failed: 503");
		}
		clock.advance(5_000);
		calls("success", 1);
		calls("failure", 5);
		assert.equal(breaker.retryAfterMs(), 1_000);
		assert.equal(breaker.view().trips, 7);
	});

	it("draws jitter on top of the time", () => {
		const times = new Set<number>();
		for (let seed = 0; seed < 100; seed++) {
			const { breaker, calls } = new Bench({ openForMs: 10_000, jitter: 0.2 }, seed);
			calls("failure", 5);
			times.add(breaker.retryAfterMs());
		}
		assert.ok(times.size > 90);
		assert.ok(Math.min(...times) >= 10_000 && Math.max(...times) <= 12_000);
	});

	it("gives a probe's place back without judging where the client went away", () => {
		const { breaker, clock, calls } = new Bench();
		calls("failure", 5);
		clock.advance(60_000);
		for (let i = 0; i < 10; i++) calls("ignored", 1);
		assert.equal(breaker.state, "half-open");
		assert.equal(breaker.view().probes, 0);
		calls("success", 2);
		assert.equal(breaker.state, "closed");
	});

	it("takes no notice of what the client broke off while closed", () => {
		const { breaker, calls } = new Bench();
		calls("failure", 4);
		calls("ignored", 100);
		assert.deepEqual(breaker.view().counts, { consecutiveFailures: 4, requests: 4, failures: 4, slowCalls: 0 });
		calls("failure", 1);
		assert.equal(breaker.state, "open");
	});

	it("ignores results of an earlier generation, in every state", () => {
		const { breaker, clock, calls } = new Bench({ successThreshold: 1 });
		const old = Array.from({ length: 20 }, () => breaker.acquire());
		const settleOld = (outcome: BreakerOutcome): void => breaker.settle(old.pop() ?? REJECTED, outcome, 1, clock.monotonicMs(), "late");
		calls("failure", 5);
		settleOld("success");
		settleOld("failure");
		assert.equal(breaker.state, "open");
		assert.deepEqual(breaker.view().lastErrors, ["500", "500", "500", "500", "500"]);
		clock.advance(60_000);
		const probe = breaker.acquire();
		settleOld("success");
		settleOld("failure");
		assert.equal(breaker.state, "half-open");
		assert.equal(breaker.view().probes, 1);
		breaker.settle(probe, "success", 1, clock.monotonicMs(), "");
		for (let i = 0; i < 10; i++) settleOld("failure");
		assert.equal(breaker.state, "closed");
		assert.equal(breaker.view().counts.requests, 0);
		assert.equal(breaker.view().underWay, 6);
	});

	it("opens again on a slow probe where slow calls trip it, and only there", () => {
		const trip = tripPolicy({ slowCallRate: 0.5, slowCallMs: 1_000, minRequests: 2 });
		const { breaker, clock, transitions } = new Bench({ trip, openForMs: 1_000 });
		const slow = (): void => breaker.settle(breaker.acquire(), "success", 3_000, clock.monotonicMs(), "");
		slow();
		slow();
		clock.advance(1_000);
		slow();
		assert.equal(breaker.state, "open");
		assert.equal(transitions.at(-1)?.cause, "a probe took 3000 ms, longer than 1000 ms");

		const other = new Bench();
		other.calls("failure", 5);
		other.clock.advance(60_000);
		for (let i = 0; i < 2; i++) other.breaker.settle(other.breaker.acquire(), "success", 3_000, other.clock.monotonicMs(), "");
		assert.equal(other.breaker.state, "closed");
	});

	it("stays open while it is forced open, and goes on by probing", () => {
		const { breaker, clock, calls, transitions } = new Bench();
		breaker.force("open");
		assert.deepEqual([breaker.state, breaker.forced], ["open", "open"]);
		assert.deepEqual([transitions[0]?.cause, transitions[0]?.openForMs], ["forced open", 0]);
		assert.equal(breaker.retryAfterMs(), 60_000);
		clock.advance(1e9);
		assert.equal(breaker.acquire(), REJECTED);
		breaker.force("open");
		assert.equal(transitions.length, 1);
		breaker.force("auto");
		assert.deepEqual([breaker.state, breaker.forced], ["half-open", undefined]);
		assert.equal(transitions[1]?.cause, "no longer forced open");
		calls("success", 2);
		assert.equal(breaker.state, "closed");
	});

	it("is held open by force beyond the time of its trip", () => {
		const { breaker, clock, calls, transitions } = new Bench();
		calls("failure", 5);
		breaker.force("open");
		assert.equal(clock.pendingTimers, 0);
		clock.advance(120_000);
		assert.equal(breaker.state, "open");
		assert.equal(transitions.length, 1);
		assert.equal(breaker.view().trips, 1);
	});

	it("never trips while it is forced closed, and judges what it has counted afterwards", () => {
		const { breaker, calls, transitions } = new Bench();
		calls("failure", 5);
		breaker.force("closed");
		assert.deepEqual([breaker.state, breaker.forced, transitions[1]?.cause], ["closed", "closed", "forced closed"]);
		calls("failure", 1_000);
		assert.equal(breaker.state, "closed");
		breaker.force("auto");
		assert.equal(breaker.state, "closed");
		calls("failure", 1);
		assert.equal(transitions.at(-1)?.cause, "1001 failures in a row");
	});

	it("is left alone by auto when nothing was forced", () => {
		const { breaker, calls, transitions } = new Bench();
		calls("failure", 5);
		breaker.force("auto");
		assert.equal(breaker.state, "open");
		assert.equal(transitions.length, 1);
	});

	it("keeps its state when thresholds change", () => {
		const { breaker, clock, calls } = new Bench();
		calls("failure", 4);
		breaker.configure(breakerPolicy({ trip: tripPolicy({ consecutiveFailures: 10 }), openForMs: 1_000 }));
		calls("failure", 5);
		assert.equal(breaker.state, "closed");
		calls("failure", 1);
		assert.equal(breaker.state, "open");
		breaker.configure(breakerPolicy({ openForMs: 30_000 }));
		assert.equal(breaker.retryAfterMs(), 1_000);
		clock.advance(1_000);
		assert.equal(breaker.state, "half-open");
	});

	it("takes for a failure what the policy lists", () => {
		const { breaker } = new Bench({
			failureStatuses: [
				{ from: 500, to: 599 },
				{ from: 429, to: 429 },
			],
		});
		assert.deepEqual(
			[101, 200, 404, 428, 429, 430, 499, 500, 503, 599, 600].filter((status) => breaker.outcomeOf(status) === "failure"),
			[429, 500, 503, 599],
		);
		assert.equal(new Bench({ failureStatuses: [] }).breaker.outcomeOf(500), "success");
	});

	it("refuses a ticket that is not out", () => {
		const { breaker, clock, calls } = new Bench();
		const settle = (ticket: number): void => breaker.settle(ticket, "success", 1, clock.monotonicMs(), "");
		assert.throws(() => settle(0), /ticket 0 of a breaker is not out/);
		const ticket = breaker.acquire();
		assert.throws(() => settle(REJECTED), /ticket -1/);
		assert.throws(() => settle(ticket + 1), /is not out/);
		settle(ticket);
		assert.throws(() => settle(ticket), /is not out/);
		const late = breaker.acquire();
		calls("failure", 5);
		clock.advance(60_000);
		assert.throws(() => settle(late + 2), /is not out/, "a probe that nobody let through");
	});

	it("shows what is owed", () => {
		const { breaker } = new Bench();
		for (let i = 0; i < 3; i++) breaker.acquire();
		breaker.settle(0, "ignored", 0, 0, "");
		assert.equal(breaker.view().underWay, 2);
	});

	it("tells nobody anything once it is disposed of, and lets pass whoever still asks", () => {
		const { breaker, clock, calls, transitions } = new Bench();
		const old = breaker.acquire();
		calls("failure", 5);
		breaker.dispose();
		assert.equal(clock.pendingTimers, 0);
		breaker.settle(old, "failure", 1, 0, "late");
		calls("failure", 100);
		clock.advance(1e9);
		assert.equal(transitions.length, 1);
		assert.notEqual(breaker.acquire(), REJECTED);
	});

	it("takes no notice of a timer that fires after its state was left", () => {
		const callbacks: (() => void)[] = [];
		const clock = {
			monotonicMs: () => 0,
			wallMs: () => 0,
			setTimer: (_: number, callback: () => void) => ({ cancel: () => void callbacks.push(callback) }),
		};
		const breaker = new Breaker(breakerPolicy({ trip: tripPolicy({ consecutiveFailures: 1 }) }), {
			clock,
			rng: seededRng(1),
			onTransition: () => {},
		});
		breaker.settle(breaker.acquire(), "failure", 1, 0, "500");
		breaker.force("open");
		breaker.force("closed");
		for (const callback of callbacks) callback();
		assert.equal(callbacks.length, 1);
		assert.equal(breaker.state, "closed");
	});

	it("may be forced by whoever is told of its change", () => {
		const clock = new FakeClock();
		const told: string[] = [];
		const breaker: Breaker = new Breaker(breakerPolicy({ trip: tripPolicy({ consecutiveFailures: 1 }) }), {
			clock,
			rng: seededRng(1),
			onTransition: ({ cause }) => {
				told.push(cause);
				if (told.length === 1) breaker.force("closed");
			},
		});
		breaker.settle(breaker.acquire(), "failure", 1, 0, "500");
		assert.deepEqual(told, ["1 failure", "forced closed"]);
		assert.equal(breaker.state, "closed");
		assert.equal(clock.pendingTimers, 0);
	});
});

/** A breaker on a clock that stands, and all that it told. */
class Bench {
	readonly clock = new FakeClock();
	readonly transitions: BreakerTransition[] = [];
	readonly breaker: Breaker;

	constructor(changes: Partial<CircuitBreakerPolicy> = {}, seed = 1) {
		const onTransition = (transition: BreakerTransition): void => void this.transitions.push(transition);
		this.breaker = new Breaker(breakerPolicy(changes), { clock: this.clock, rng: seededRng(seed), onTransition });
	}

	call(outcome: BreakerOutcome, error = "500"): void {
		const ticket = this.breaker.acquire();
		assert.notEqual(ticket, REJECTED);
		this.breaker.settle(ticket, outcome, 1, this.clock.monotonicMs(), error);
	}

	readonly calls = (outcome: BreakerOutcome, times: number, error?: string): void => {
		for (let i = 0; i < times; i++) this.call(outcome, error);
	};
}

interface LinkerdVector {
	readonly config: { readonly max_failures: number; readonly backoff_min_s: number; readonly backoff_max_s: number; readonly jitter: number };
	readonly steps: readonly (readonly [string, string])[];
}

function linkerdVector(): LinkerdVector | undefined {
	try {
		const url = new URL("../../../../shared/conformance/resilience-vectors.json", import.meta.url);
		return JSON.parse(readFileSync(url, "utf8")).breaker_linkerd_consecutive;
	} catch {
		return undefined;
	}
}
