import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { TripRule } from "../../../src/resilience/breaker/trip-rule.ts";
import { tripPolicy } from "./policies.ts";

describe("a trip rule", () => {
	it("trips on failures in a row, which a success interrupts", () => {
		const rule = new TripRule(tripPolicy({ consecutiveFailures: 3 }));
		assert.deepEqual(record(rule, "ff.ff"), undefined);
		assert.equal(record(rule, "f"), "3 failures in a row");
		assert.equal(new TripRule(tripPolicy({ consecutiveFailures: 1 })).record(true, 1, 0), "1 failure");
	});

	it("never trips without a threshold", () => {
		assert.equal(record(new TripRule(tripPolicy()), "f".repeat(1_000)), undefined);
	});

	it("trips on a rate of failures, but never below minRequests", () => {
		const rule = new TripRule(tripPolicy({ failureRate: 0.5, minRequests: 20 }));
		assert.equal(record(rule, "f".repeat(19)), undefined);
		assert.equal(record(rule, "."), "19 of 20 requests failed within 10000 ms (threshold 50 %)");
		const evenly = new TripRule(tripPolicy({ failureRate: 0.5, minRequests: 20 }));
		assert.equal(record(evenly, "..f".repeat(100)), undefined);
	});

	it("trips exactly on its threshold, where products of fractions would be off", () => {
		const rule = new TripRule(tripPolicy({ failureRate: 0.07, minRequests: 100 }));
		assert.equal(record(rule, `${".".repeat(93)}${"f".repeat(6)}`), undefined);
		assert.equal(record(rule, "f"), "7 of 100 requests failed within 10000 ms (threshold 7 %)");
	});

	it("trips on a rate of slow calls, and tells how many of them failed", () => {
		const rule = new TripRule(tripPolicy({ slowCallRate: 0.8, slowCallMs: 1_000, minRequests: 5 }));
		assert.equal(record(rule, ".sss", 1_500), undefined);
		const cause = rule.record(true, 30_000, 0);
		assert.equal(cause, "4 of 5 requests took longer than 1000 ms within 10000 ms, 1 of them failed (threshold 80 %, 6900 ms on average)");
	});

	it("does not call slow what took just as long as is allowed", () => {
		const rule = new TripRule(tripPolicy({ slowCallRate: 0.1, slowCallMs: 1_000, minRequests: 1 }));
		assert.equal(rule.record(false, 1_000, 0), undefined);
		assert.equal(rule.tooSlow(1_000), false);
		assert.equal(rule.tooSlow(1_001), true);
		assert.equal(new TripRule(tripPolicy({ slowCallMs: 1_000 })).tooSlow(1_001), false);
	});

	it("forgets what is older than its window", () => {
		const rule = new TripRule(tripPolicy({ failureRate: 0.5, windowMs: 10_000, minRequests: 4 }));
		assert.equal(record(rule, "fff"), undefined);
		assert.equal(rule.record(true, 1, 10_000), undefined);
		assert.deepEqual(rule.counts(10_000), { consecutiveFailures: 4, requests: 1, failures: 1, slowCalls: 0 });
	});

	it("judges what it has counted by new thresholds, unless the window means something else now", () => {
		const rule = new TripRule(tripPolicy({ consecutiveFailures: 100 }));
		record(rule, "ffff");
		rule.configure(tripPolicy({ consecutiveFailures: 5 }));
		assert.equal(record(rule, "f"), "5 failures in a row");
		rule.configure(tripPolicy({ failureRate: 0.5, minRequests: 6 }));
		assert.equal(record(rule, "."), "5 of 6 requests failed within 10000 ms (threshold 50 %)");
		rule.configure(tripPolicy({ failureRate: 0.5, windowMs: 5_000, minRequests: 2 }));
		assert.deepEqual(rule.counts(0), { consecutiveFailures: 0, requests: 0, failures: 0, slowCalls: 0 });
	});

	it("begins afresh after a reset", () => {
		const rule = new TripRule(tripPolicy({ consecutiveFailures: 2 }));
		record(rule, "f");
		rule.reset();
		assert.equal(record(rule, "f"), undefined);
		assert.deepEqual(rule.counts(0), { consecutiveFailures: 1, requests: 1, failures: 1, slowCalls: 0 });
	});
});

/** `f` failed, `s` slow (took `slowMs`), `.` well in 1 ms; all at time 0. What the last one led to. */
function record(rule: TripRule, results: string, slowMs = 0): string | undefined {
	let cause: string | undefined;
	for (const result of results) {
		cause = rule.record(result === "f", result === "s" ? slowMs : 1, 0);
		if (cause !== undefined) return cause;
	}
	return cause;
}
