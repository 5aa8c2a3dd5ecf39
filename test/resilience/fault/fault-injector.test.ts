import assert from "node:assert/strict";
import { test } from "node:test";
import { type Rng, seededRng } from "../../../src/core/rng.ts";
import type { FaultAction, FaultPolicy } from "../../../src/policy/resilience-policy.ts";
import { FaultInjector, type Injection } from "../../../src/resilience/fault/fault-injector.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { faultOf, matchOf, requestOf } from "./support.ts";

const A = "10.0.0.1:80";
const B = "10.0.0.2:80";
const C = "10.0.0.3:80";
const ABORT: FaultAction = { kind: "abort", status: 503 };
const DELAY: FaultAction = { kind: "delay", distribution: "fixed", ms: 200, msMax: 200 };

function injectorOf(faults: readonly FaultPolicy[], { clock = new FakeClock(), rng = (() => 0) as Rng } = {}) {
	const injected: string[] = [];
	const injector = new FaultInjector({ clock, rng, onInjected: (fault, endpoint) => injected.push(`${fault.name} ${endpoint}`) });
	injector.set(faults);
	return { injector, injected, clock };
}

function bare(injection: Injection | undefined): unknown {
	if (injection === undefined) return undefined;
	const { fault, ...rest } = injection;
	return { fault: fault.name, ...rest };
}

const NOTHING = { end: undefined, delayMs: 0, bytesPerSecond: undefined, truncateAfterBytes: undefined, exempt: false };

test("without faults it is not active and decides nothing", () => {
	const { injector, injected } = injectorOf([]);
	assert.deepEqual([injector.active, injector.decide(requestOf(), A), injected], [false, undefined, []]);
	injector.set([faultOf(ABORT)]);
	assert.equal(injector.active, true);
	injector.set([]);
	assert.deepEqual([injector.active, injector.decide(requestOf(), A)], [false, undefined]);
});

test("each kind of fault says what it does to the attempt, and is told once", () => {
	for (const [action, effect] of [
		[ABORT, { end: 503 }],
		[{ kind: "reset" }, { end: "reset" }],
		[{ kind: "refuse" }, { end: "refuse" }],
		[{ kind: "black-hole" }, { end: "black-hole" }],
		[DELAY, { delayMs: 200 }],
		[{ kind: "throttle", bytesPerSecond: 1000 }, { bytesPerSecond: 1000 }],
		[{ kind: "truncate", afterBytes: 0 }, { truncateAfterBytes: 0 }],
	] as const) {
		const { injector, injected } = injectorOf([faultOf(action)]);
		assert.deepEqual(bare(injector.decide(requestOf(), A)), { fault: action.kind, ...NOTHING, ...effect });
		assert.deepEqual(injected, [`${action.kind} ${A}`]);
	}
});

test("faults of different kinds combine; of one kind the first that fits acts", () => {
	const { injector, injected } = injectorOf([
		faultOf({ kind: "truncate", afterBytes: 100 }),
		faultOf({ kind: "throttle", bytesPerSecond: 10 }),
		faultOf({ kind: "throttle", bytesPerSecond: 99 }, { name: "second" }),
		faultOf(DELAY),
	]);
	assert.deepEqual(bare(injector.decide(requestOf(), A)), {
		...NOTHING,
		fault: "delay",
		delayMs: 200,
		bytesPerSecond: 10,
		truncateAfterBytes: 100,
	});
	assert.deepEqual(injected, [`delay ${A}`, `throttle ${A}`, `truncate ${A}`]);
});

test("the fault that ends the attempt gives the name, a delay comes before it, and nothing is done to the answer that never comes", () => {
	const { injector, injected } = injectorOf([
		faultOf(DELAY),
		faultOf({ kind: "throttle", bytesPerSecond: 10 }),
		faultOf({ kind: "reset" }, { percent: 0 }),
		faultOf(ABORT),
		faultOf({ kind: "refuse" }),
	]);
	assert.deepEqual(bare(injector.decide(requestOf(), A)), { ...NOTHING, fault: "abort", end: 503, delayMs: 200 });
	assert.deepEqual(injected, [`abort ${A}`, `delay ${A}`]);
});

test("one exempt fault exempts the attempt from being counted", () => {
	const { injector } = injectorOf([faultOf(ABORT), faultOf(DELAY, { exempt: true })]);
	assert.equal(injector.decide(requestOf(), A)?.exempt, true);
	injector.set([faultOf(ABORT), faultOf(DELAY)]);
	assert.equal(injector.decide(requestOf(), A)?.exempt, false);
});

test("percent is the share of the attempts that are hit: none at 0, all at 100, and 30 % of them at 30", () => {
	const hits = (percent: number): number => {
		const { injector } = injectorOf([faultOf(ABORT, { percent })], { rng: seededRng(7) });
		let count = 0;
		for (let i = 0; i < 10_000; i++) if (injector.decide(requestOf(), A) !== undefined) count++;
		return count;
	};
	assert.deepEqual([hits(0), hits(100)], [0, 10_000]);
	// Three standard deviations of a binomial with n = 10,000 and p = 0.3.
	assert.ok(Math.abs(hits(30) - 3000) < 3 * Math.sqrt(10_000 * 0.3 * 0.7), `${hits(30)}`);
});

test("only the endpoints that are named are hit", () => {
	const { injector } = injectorOf([faultOf(ABORT, { endpoints: [B] })]);
	assert.equal(injector.decide(requestOf(), A), undefined);
	assert.equal(injector.decide(requestOf(), B)?.end, 503);
});

test("no more than endpointsMax different endpoints are ever touched, the same ones all along", () => {
	const { injector } = injectorOf([faultOf(ABORT, { endpointsMax: 2 })]);
	const hit = (endpoint: string): boolean => injector.decide(requestOf(), endpoint) !== undefined;
	assert.deepEqual([hit(C), hit(A), hit(B), hit(C), hit(B), hit(A)], [true, true, false, true, false, true]);
});

test("an endpoint that percent spared does not count as touched", () => {
	let draw = 0.9;
	const { injector } = injectorOf([faultOf(ABORT, { endpointsMax: 1, percent: 50 })], { rng: () => draw });
	assert.equal(injector.decide(requestOf(), A), undefined);
	draw = 0.1;
	assert.equal(injector.decide(requestOf(), B)?.end, 503);
	assert.equal(injector.decide(requestOf(), A), undefined);
});

test("a request that does not fit is spared and draws nothing", () => {
	let draws = 0;
	const rng: Rng = () => {
		draws++;
		return 0;
	};
	const match = matchOf({ host: "payments", path: { kind: "prefix", pattern: "/pay/**" }, methods: ["GET"] });
	const { injector } = injectorOf([faultOf(ABORT, { match })], { rng });
	for (const request of [requestOf({ method: "POST" }), requestOf({ target: "/other" }), requestOf({ host: "search" })]) {
		assert.equal(injector.decide(request, A), undefined);
	}
	assert.equal(draws, 0);
	assert.equal(injector.decide(requestOf({ host: "PAYMENTS:80", target: "/pay?x=/other" }), A)?.end, 503);
	assert.equal(draws, 1);
});

test("headers and query are matched as routes match them", () => {
	const match = matchOf({
		headers: new Map([
			["x-a", { kind: "prefix", value: "b" }],
			["x-c", { kind: "absent" }],
		]),
		query: new Map([["v", { kind: "exact", value: "2" }]]),
	});
	const { injector } = injectorOf([faultOf(ABORT, { match })]);
	const hit = (target: string, headers: Record<string, string>): boolean => injector.decide(requestOf({ target, headers }), A) !== undefined;
	assert.deepEqual(
		[
			hit("/?v=2", { "x-a": "bc" }),
			hit("/?v=3", { "x-a": "bc" }),
			hit("/", { "x-a": "bc" }),
			hit("/?v=2", {}),
			hit("/?v=2", { "x-a": "b", "x-c": "" }),
		],
		[true, false, false, false, false],
	);
});

test("`from` names this service, and the match's own percentage is drawn", () => {
	const { injector } = injectorOf([]);
	const faults = [faultOf(ABORT, { match: matchOf({ from: ["checkout"] }) })];
	injector.set(faults, "checkout");
	assert.equal(injector.decide(requestOf(), A)?.end, 503);
	injector.set([]);
	injector.set(faults, "search");
	assert.equal(injector.decide(requestOf(), A), undefined);

	const half = injectorOf([faultOf(ABORT, { match: matchOf({ percent: 50 }) })], { rng: seededRng(5) }).injector;
	let hits = 0;
	for (let i = 0; i < 10_000; i++) if (half.decide(requestOf(), A) !== undefined) hits++;
	assert.ok(Math.abs(hits - 5000) < 3 * Math.sqrt(10_000 * 0.25), `${hits}`);
});

test("a lease is over when its time has passed, although nobody has taken the fault away", () => {
	const clock = new FakeClock();
	const { injector } = injectorOf([faultOf(ABORT, { expiresAtMs: clock.wallMs() + 1000 })], { clock });
	clock.advance(999);
	assert.equal(injector.decide(requestOf(), A)?.end, 503);
	clock.advance(1);
	assert.equal(injector.decide(requestOf(), A), undefined);
});

test("a jump of the wall clock neither prolongs nor cuts a lease", () => {
	for (const jumpMs of [-3_600_000, 3_600_000]) {
		const clock = new FakeClock();
		const fault = faultOf(ABORT, { expiresAtMs: clock.wallMs() + 1000 });
		const { injector } = injectorOf([fault], { clock });
		clock.jumpWall(jumpMs);
		// Set again, because another one came: what is known keeps its end.
		injector.set([faultOf(DELAY), { ...fault, place: { file: "a.yaml", line: 3, column: 1 } }]);
		clock.advance(999);
		assert.equal(injector.decide(requestOf(), A)?.end, 503);
		clock.advance(1);
		assert.equal(injector.decide(requestOf(), A)?.end, undefined);
	}
});

test("a fault that says the same after a reload keeps the endpoints it has touched, and tells its new line", () => {
	const match = matchOf({ methods: ["GET"] });
	const { injector } = injectorOf([faultOf(ABORT, { match, endpointsMax: 1 })]);
	assert.equal(injector.decide(requestOf(), A)?.end, 503);
	const place = { file: "a.yaml", line: 9, column: 1 };
	injector.set([faultOf(ABORT, { match: { ...match, headers: new Map() }, endpointsMax: 1, place })]);
	assert.equal(injector.decide(requestOf(), B), undefined);
	assert.deepEqual(injector.decide(requestOf(), A)?.fault.place, place);
	injector.set([faultOf(ABORT, { match, endpointsMax: 2 })]);
	assert.equal(injector.decide(requestOf(), B)?.end, 503);
});
