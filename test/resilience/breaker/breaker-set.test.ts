import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import type { CircuitBreakerPolicy } from "../../../src/policy/resilience-policy.ts";
import { type Breaker, REJECTED } from "../../../src/resilience/breaker/breaker.ts";
import { BreakerSet, OTHERS_KEY } from "../../../src/resilience/breaker/breaker-set.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { breakerPolicy, tripPolicy } from "./policies.ts";

const TRIPS_AT_ONCE: Partial<CircuitBreakerPolicy> = { scope: "endpoint", trip: tripPolicy({ consecutiveFailures: 1 }) };

describe("the breakers of an upstream", () => {
	it("are one for all keys with scope upstream, there from the start", () => {
		const { set } = build();
		assert.deepEqual(
			[...set.all()].map(([key]) => key),
			[""],
		);
		assert.equal(set.of("10.0.0.1:80"), set.of(""));
		set.retain(new Set());
		assert.equal([...set.all()].length, 1);
	});

	it("are one for each key with the other scopes, and tell which it was", () => {
		const { set, told } = build(TRIPS_AT_ONCE);
		assert.deepEqual([...set.all()], []);
		trip(set.of("a:1"));
		assert.equal(set.of("a:1").acquire(), REJECTED);
		assert.notEqual(set.of("b:1").acquire(), REJECTED);
		assert.deepEqual(told, ["a:1: closed -> open"]);
	});

	it("go with their endpoints", () => {
		const { set, clock } = build(TRIPS_AT_ONCE);
		const gone = set.of("a:1");
		trip(gone);
		const kept = set.of("b:1");
		set.retain(new Set(["b:1", "c:1"]));
		assert.deepEqual([...set.all()], [["b:1", kept]]);
		assert.equal(clock.pendingTimers, 0);
		assert.notEqual(set.of("a:1"), gone);
		assert.equal(set.of("a:1").state, "closed");
	});

	it("keep their states under new thresholds, and begin anew under another scope", () => {
		const { set, clock } = build(TRIPS_AT_ONCE);
		trip(set.of("a:1"));
		set.configure(breakerPolicy({ ...TRIPS_AT_ONCE, trip: tripPolicy({ consecutiveFailures: 3 }) }));
		assert.equal(set.of("a:1").state, "open");
		const other = set.of("b:1");
		trip(other);
		assert.equal(other.state, "closed", "the new threshold holds");
		set.configure(breakerPolicy({ scope: "upstream" }));
		assert.equal(set.scope, "upstream");
		assert.deepEqual(
			[...set.all()].map(([key, breaker]) => [key, breaker.state]),
			[["", "closed"]],
		);
		assert.equal(clock.pendingTimers, 0);
	});

	it("are forced one by one or all together, those to come included", () => {
		const { set, told } = build({ scope: "route" });
		set.of("pay");
		assert.equal(set.force("open", "nobody"), false);
		assert.equal(set.force("open", "pay"), true);
		assert.equal(set.of("search").state, "closed");
		assert.equal(set.force("closed"), true);
		assert.deepEqual([set.of("pay").forced, set.of("late").forced], ["closed", "closed"]);
		set.force("open");
		assert.equal(set.of("later").acquire(), REJECTED);
		assert.equal(told.at(-1), "later: closed -> open");
		set.force("auto");
		assert.deepEqual([set.of("later").state, set.of("latest").state], ["half-open", "closed"]);
	});

	it("stay bounded: whoever comes when there are 10,000 shares one", () => {
		const { set } = build({ scope: "endpoint" });
		for (let i = 0; i < 10_000; i++) set.of(`e${i}`);
		const shared = set.of("one too many");
		assert.equal(set.of("and another"), shared);
		assert.notEqual(set.of("e9999"), shared);
		assert.equal([...set.all()].length, 10_001);
		assert.equal([...set.all()].at(-1)?.[0], OTHERS_KEY);
		set.retain(new Set(["e1"]));
		assert.notEqual(set.of("one too many"), shared, "there is room again");
		assert.ok(
			[...set.all()].some(([, breaker]) => breaker === shared),
			"whoever has it already is still protected by it",
		);
	});

	it("leave no timer behind", () => {
		const { set, clock, told } = build(TRIPS_AT_ONCE);
		for (const key of ["a:1", "b:1", "c:1"]) trip(set.of(key));
		assert.equal(clock.pendingTimers, 3);
		set.dispose();
		assert.equal(clock.pendingTimers, 0);
		assert.equal(told.length, 3);
	});
});

function build(changes: Partial<CircuitBreakerPolicy> = {}): { set: BreakerSet; clock: FakeClock; told: string[] } {
	const clock = new FakeClock();
	const told: string[] = [];
	const set = new BreakerSet(breakerPolicy(changes), {
		clock,
		rng: seededRng(1),
		onTransition: (key, { from, to }) => told.push(`${key}: ${from} -> ${to}`),
	});
	return { set, clock, told };
}

function trip(breaker: Breaker): void {
	breaker.settle(breaker.acquire(), "failure", 1, 0, "500");
}
