/** The guards of an upstream as a whole: which breaker a try must ask, what a reload keeps, and who is told. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "../../src/core/rng.ts";
import { defaultUpstream, NO_PLACE } from "../../src/policy/compile.ts";
import type { CircuitBreakerPolicy, ConcurrencyPolicy, HedgePolicy } from "../../src/policy/resilience-policy.ts";
import type { Place } from "../../src/policy/snapshot.ts";
import { type GuardObserver, type GuardPolicies, Guards } from "../../src/upstream/guards.ts";
import { FakeClock } from "../support/fake-clock.ts";

const { outlierDetection, retryBudget } = defaultUpstream();
const PLAIN: GuardPolicies = { circuitBreaker: undefined, concurrency: undefined, outlierDetection: undefined, retryBudget };

function placeAt(line: number): Place {
	return { file: "policy.yaml", line, column: 1 };
}

const BREAKER: CircuitBreakerPolicy = {
	place: placeAt(3),
	scope: "upstream",
	trip: {
		place: placeAt(4),
		consecutiveFailures: 2,
		failureRate: undefined,
		slowCallRate: undefined,
		slowCallMs: 1000,
		windowMs: 10_000,
		minRequests: 20,
	},
	successThreshold: 1,
	openForMs: 1000,
	maxOpenForMs: 1000,
	jitter: 0,
	halfOpenMaxConcurrent: 1,
	failureStatuses: [{ from: 500, to: 599 }],
	fallback: undefined,
};

const CONCURRENCY: ConcurrencyPolicy = { place: placeAt(5), kind: "fixed", limitMin: 1, limitMax: 1, pendingMax: 1, pendingTimeoutMs: 1000 };

function make(policies: Partial<GuardPolicies> = {}): { guards: Guards; clock: FakeClock; told: string[] } {
	const clock = new FakeClock();
	const told: string[] = [];
	const observer: GuardObserver = {
		onBreaker: (upstream, scope, key, { from, to }) => void told.push(`${upstream} ${scope} ${key}: ${from} -> ${to}`),
		onEjected: (upstream, endpoint, cause, ejections) => void told.push(`${upstream} ejects ${endpoint} for ${cause}, ${ejections}`),
		onReturned: (upstream, endpoint, by) => void told.push(`${upstream} returns ${endpoint} by ${by}`),
		onBudgetRefused: (upstream, { line }) => void told.push(`${upstream} refuses, line ${line}`),
	};
	const guards = new Guards(
		"api",
		{ ...PLAIN, ...policies },
		{ clock, rng: seededRng(1), observer, onMembership: () => void told.push("membership") },
	);
	return { guards, clock, told };
}

describe("the breaker that a try asks", () => {
	it("is none without a policy", () => {
		const { guards } = make();
		assert.deepEqual([guards.breakerBefore("a"), guards.breakerOf("one")], [undefined, undefined]);
	});

	it("is that of the upstream, of the route, or of the endpoint, and never two of them", () => {
		const shared = make({ circuitBreaker: BREAKER }).guards;
		assert.ok(shared.breakerBefore("a") !== undefined);
		assert.equal(shared.breakerBefore("a"), shared.breakerBefore("b"));
		assert.equal(shared.breakerOf("one"), undefined);

		const byRoute = make({ circuitBreaker: { ...BREAKER, scope: "route" } }).guards;
		assert.ok(byRoute.breakerBefore("a") !== undefined);
		assert.notEqual(byRoute.breakerBefore("a"), byRoute.breakerBefore("b"));
		assert.equal(byRoute.breakerBefore("a"), byRoute.breakerBefore("a"));
		assert.equal(byRoute.breakerOf("one"), undefined);

		const byEndpoint = make({ circuitBreaker: { ...BREAKER, scope: "endpoint" } }).guards;
		assert.equal(byEndpoint.breakerBefore("a"), undefined);
		assert.notEqual(byEndpoint.breakerOf("one"), byEndpoint.breakerOf("two"));
	});

	it("tells of each change, with upstream and scope", () => {
		const { guards, clock, told } = make({ circuitBreaker: { ...BREAKER, scope: "endpoint" } });
		const breaker = guards.breakerOf("one");
		assert.ok(breaker !== undefined);
		for (let i = 0; i < 2; i++) breaker.settle(breaker.acquire(), "failure", 1, clock.monotonicMs(), "x");
		clock.advance(1000);
		breaker.settle(breaker.acquire(), "success", 1, clock.monotonicMs(), "");
		assert.deepEqual(told, ["api endpoint one: closed -> open", "api endpoint one: open -> half-open", "api endpoint one: half-open -> closed"]);
	});
});

describe("a reload", () => {
	it("keeps a breaker that is open where its scope stays, and begins anew where that changes", () => {
		const { guards, told } = make({ circuitBreaker: BREAKER });
		const breaker = guards.breakerBefore("");
		assert.ok(breaker !== undefined);
		for (let i = 0; i < 2; i++) breaker.settle(breaker.acquire(), "failure", 1, 0, "x");
		guards.configure({ ...PLAIN, circuitBreaker: { ...BREAKER, openForMs: 5000, maxOpenForMs: 5000 } });
		assert.equal(guards.breakerBefore(""), breaker);
		assert.equal(breaker.state, "open");
		guards.configure({ ...PLAIN, circuitBreaker: { ...BREAKER, scope: "route" } });
		assert.equal(guards.breakerBefore("a")?.state, "closed");
		assert.equal(told.length, 1);
	});

	it("that takes the breaker away lets what is under way give its permit back", () => {
		const { guards, clock } = make({ circuitBreaker: BREAKER });
		const breaker = guards.breakerBefore("");
		assert.ok(breaker !== undefined);
		const ticket = breaker.acquire();
		guards.configure(PLAIN);
		assert.equal(guards.breakerBefore(""), undefined);
		breaker.settle(ticket, "failure", 1, clock.monotonicMs(), "x");
		assert.equal(breaker.view().underWay, 0);
		assert.equal(clock.pendingTimers, 0);
	});

	it("keeps the slots that are out, and forgets them where the limit goes", () => {
		const { guards } = make({ concurrency: CONCURRENCY });
		const { bulkhead } = guards;
		assert.ok(bulkhead !== undefined);
		const waiter = { slotDeadline: { arm: () => {}, disarm: () => {} } as never, onSlot: () => {}, onNoSlot: () => {} };
		assert.equal(bulkhead.enter(waiter), "entered");
		guards.configure({ ...PLAIN, concurrency: { ...CONCURRENCY, limitMax: 7 } });
		assert.deepEqual(guards.bulkhead?.view(), { limit: 7, active: 1, pending: 0 });
		guards.configure(PLAIN);
		assert.equal(guards.bulkhead, undefined);
		bulkhead.leave(Number.NaN, false);
		assert.equal(bulkhead.view().active, 0);
	});

	it("changes the budget without a new one", () => {
		const { guards } = make({ retryBudget: { ratio: 0, minPerSecond: 1, windowMs: 10_000 } });
		for (let i = 0; i < 10; i++) assert.ok(guards.mayTryAgain(0, NO_PLACE));
		assert.ok(!guards.mayTryAgain(0, NO_PLACE));
		guards.configure({ ...PLAIN, retryBudget: { ratio: 0, minPerSecond: 2, windowMs: 10_000 } });
		assert.equal(guards.budget.balance(0), 10);
	});
});

describe("outlier detection", () => {
	it("tells the balancer first, then whoever watches, and stops with the guards", () => {
		const { guards, clock, told } = make({
			outlierDetection: { ...outlierDetection, consecutiveFailures: 2, baseEjectionTimeMs: 1000, intervalMs: 100 },
		});
		guards.outlier?.setHosts(["one", "two", "three"]);
		const host = guards.outlier?.host("one");
		host?.onStatus(500);
		host?.onStatus(500);
		assert.equal(host?.ejected, true);
		clock.advance(1200);
		assert.equal(host?.ejected, false);
		assert.deepEqual(told, ["membership", "api ejects one for consecutive_failures, 1", "membership", "api returns one by time"]);
		guards.stop();
		assert.equal(clock.pendingTimers, 0);
	});
});

describe("the budget of further tries", () => {
	it("counts and tells each refusal, with the line that wished the try", () => {
		const { guards, told } = make({ retryBudget: { ratio: 0, minPerSecond: 0, windowMs: 10_000 } });
		assert.equal(guards.mayTryAgain(0, placeAt(9)), false);
		assert.deepEqual([guards.counts.refused, told], [1, ["api refuses, line 9"]]);
	});
});

describe("what a hedge needs", () => {
	const hedge: HedgePolicy = { place: NO_PLACE, after: { kind: "time", ms: 50 }, maxExtra: 1 };

	it("is made when the first route hedges, and kept", () => {
		const { guards } = make();
		assert.deepEqual([guards.latency, guards.hedges], [undefined, undefined]);
		const first = guards.hedging(hedge);
		assert.equal(guards.hedging({ ...hedge, maxExtra: 0.5 }).hedges, first.hedges);
		assert.equal(guards.latency, first.latency);
	});
});

describe("the line that a refusal comes from", () => {
	it("is that of the guard that refuses, and none for failures of others", () => {
		const { guards } = make({ circuitBreaker: BREAKER, concurrency: CONCURRENCY });
		assert.equal(guards.placeOf("breaker_open"), BREAKER.trip.place);
		assert.equal(guards.placeOf("endpoint_overflow"), CONCURRENCY.place);
		assert.equal(guards.placeOf("queue_timeout"), CONCURRENCY.place);
		for (const reason of ["upstream_reset", undefined] as const) assert.equal(guards.placeOf(reason), undefined);
		assert.equal(make().guards.placeOf("breaker_open"), undefined);
	});
});
