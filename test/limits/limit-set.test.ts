/** The limits of one place as a request meets them. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import { seededRng } from "../../src/core/rng.ts";
import type { Limited, LimitSet, LimitSubject, WAITING } from "../../src/limits/limit-set.ts";
import { LimiterRegistry } from "../../src/limits/limiter-registry.ts";
import type { RefusalRollup } from "../../src/limits/rollup.ts";
import type { RateLimitPolicy } from "../../src/policy/resilience-policy.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { policyOf, subjectOf, Waiter } from "./support.ts";

interface Room {
	readonly clock: FakeClock;
	readonly registry: LimiterRegistry;
	readonly rollups: RefusalRollup[];
	set(...policies: RateLimitPolicy[]): LimitSet;
}

function room(): Room {
	const clock = new FakeClock();
	const rollups: RefusalRollup[] = [];
	const registry = new LimiterRegistry({
		clock,
		rng: seededRng(1),
		service: "checkout",
		stores: undefined,
		onExceeded: (rollup) => rollups.push(rollup),
	});
	return { clock, registry, rollups, set: (...policies) => registry.limitSet("inbound", [{ place: "inbound", policies }]) };
}

function enter({ clock }: Room, set: LimitSet, subject: LimitSubject): undefined | Limited | typeof WAITING {
	return set.enter(subject, new Waiter(), clock.monotonicMs());
}

function refusal(room: Room, set: LimitSet, subject: LimitSubject): Limited {
	const verdict = enter(room, set, subject);
	assert.ok(typeof verdict === "object", "it was admitted");
	return verdict;
}

describe("a set of limits", () => {
	test("admits burst + rate x time exactly, for each key", () => {
		const here = room();
		const set = here.set(policyOf({ requestsPerSecond: 100, burst: 200 }));
		const admitted = { a: 0, b: 0 };
		for (let i = 0; i <= 5000; i++) {
			for (const caller of ["a", "b"] as const) if (enter(here, set, subjectOf(caller)) === undefined) admitted[caller]++;
			here.clock.advance(2);
		}
		assert.deepEqual(admitted, { a: 1200, b: 1200 });
		const [view] = set.views();
		assert.deepEqual([view?.admitted, view?.rejected, view?.keys], [2400, 2 * 5001 - 2400, 2]);
	});

	test("without limits admits everything", () => {
		const here = room();
		assert.equal(enter(here, here.set(), subjectOf("a")), undefined);
	});

	test("names the limit that refused, though others have room, and says when to come again", () => {
		const here = room();
		const wide = policyOf({ name: "wide", requestsPerSecond: 100, burst: 56, key: [{ kind: "global" }] });
		const narrow = policyOf({ name: 'na"rrow\\\r\nx: y', requestsPerSecond: 0.5, burst: 1, place: { file: "mesh.yaml", line: 9, column: 3 } });
		const set = here.set(wide, narrow);
		assert.equal(enter(here, set, subjectOf("a")), undefined);
		here.clock.advance(500);
		const limited = refusal(here, set, subjectOf("a"));
		assert.equal(limited.limit, narrow.name);
		assert.equal(limited.place.line, 9);
		assert.equal(limited.reason, "rate_limited");
		assert.equal(limited.retryAfterMs, 1500);
		assert.match(limited.detail, /0\.5 requests\/s, burst 1, for each caller$/);
		assert.equal(
			limited.fieldLines,
			'RateLimit: "na\\"rrow\\\\__x: y";r=0;t=2\r\nRateLimit-Policy: "na\\"rrow\\\\__x: y";q=1;w=2\r\n',
			"a name cannot add a field",
		);
	});

	test("tells a quota per window that the limit keeps", () => {
		for (const [requestsPerSecond, burst, quota] of [
			[100, 200, "q=200;w=2"],
			[300, 100, "q=300;w=1"],
			[3, 10, "q=12;w=4"],
			[0.1, 1, "q=1;w=10"],
		] as const) {
			const here = room();
			const set = here.set(policyOf({ requestsPerSecond, burst }));
			for (let i = 0; i < burst; i++) assert.equal(enter(here, set, subjectOf("a")), undefined);
			assert.ok(refusal(here, set, subjectOf("a")).fieldLines.endsWith(`;${quota}\r\n`), quota);
		}
	});

	test("takes nothing of any limit where one refuses", () => {
		const here = room();
		const set = here.set(policyOf({ name: "first", burst: 5, key: [{ kind: "global" }] }), policyOf({ name: "second", burst: 1 }));
		assert.equal(enter(here, set, subjectOf("a")), undefined);
		for (let i = 0; i < 100; i++) assert.equal(refusal(here, set, subjectOf("a")).limit, "second");
		for (let i = 0; i < 4; i++) assert.equal(enter(here, set, subjectOf(`other ${i}`)), undefined);
		assert.equal(refusal(here, set, subjectOf("one more")).limit, "first");
	});

	test("tells requests apart by tuples, and those without a header from none that has one", () => {
		const here = room();
		const set = here.set(policyOf({ burst: 1, key: [{ kind: "route" }, { kind: "ip" }, { kind: "header", name: "x-tenant" }] }));
		for (const headers of [{}, { "x-tenant": "a" }, { "x-tenant": "b" }, { "x-tenant": "a,b" }, { "x-tenant": "z".repeat(60_000) }]) {
			assert.equal(enter(here, set, subjectOf("c", headers)), undefined);
			refusal(here, set, subjectOf("another caller", headers));
		}
		assert.equal(enter(here, set, subjectOf("c", { "x-tenant": `${"z".repeat(59_999)}y` })), undefined, "long values count whole");
	});

	test("explains what it would say without taking a token or keeping a key", () => {
		const here = room();
		const secret = "Bearer s3cret";
		const set = here.set(policyOf({ burst: 2, key: [{ kind: "caller" }, { kind: "header", name: "authorization" }] }));
		const subject = subjectOf("frontend", { authorization: secret });
		const digest = createHash("sha256").update(secret).digest("hex").slice(0, 8);
		for (let i = 0; i < 5; i++) {
			const [explained] = set.explain(subject, here.clock.monotonicMs());
			assert.equal(explained?.admits, true);
			assert.equal(explained?.text, `limit per-caller for frontend, authorization: sha256:${digest}: 2 of 2 left`);
			assert.equal(explained?.place.line, 7);
		}
		assert.equal(set.views()[0]?.keys, 0);
		enter(here, set, subject);
		enter(here, set, subject);
		const [explained] = set.explain(subject, here.clock.monotonicMs());
		assert.equal(explained?.admits, false);
		assert.equal(explained?.data.remaining, 0);
	});

	test("tells refusals once a second with the keys that met most of them, secrets as digests", () => {
		const here = room();
		const set = here.set(policyOf({ requestsPerSecond: 1, burst: 1, key: [{ kind: "caller" }, { kind: "header", name: "x-key" }] }));
		for (let caller = 0; caller < 8; caller++) {
			for (let i = 0; i <= 10 * caller; i++) enter(here, set, subjectOf(`c${caller}`, { "x-key": "hush" }));
		}
		assert.equal(here.rollups.length, 0);
		here.clock.advance(1000);
		const [rollup, ...more] = here.rollups;
		assert.deepEqual(more, []);
		assert.equal(rollup?.refused, 280);
		assert.equal(rollup?.policy, "mesh.yaml:7:5");
		assert.deepEqual([rollup?.windowMs, rollup?.direction, rollup?.limit], [1000, "inbound", "per-caller"]);
		const digest = createHash("sha256").update("hush").digest("hex").slice(0, 8);
		assert.deepEqual(
			rollup?.top,
			[7, 6, 5, 4, 3].map((caller) => ({ key: `c${caller}, x-key: sha256:${digest}`, refused: caller * 10 })),
		);
		here.clock.advance(10_000);
		assert.equal(here.rollups.length, 1);
		assert.equal(here.clock.pendingTimers, 0, "nothing runs where nobody is refused");
	});
});

describe("the registry of limits", () => {
	test("keeps the buckets of a limit over reloads that change nothing, or numbers alone", () => {
		const here = room();
		const policy = policyOf({ requestsPerSecond: 1, burst: 2 });
		const before = here.set(policy);
		enter(here, before, subjectOf("a"));
		enter(here, before, subjectOf("a"));
		here.registry.sweep();
		const after = here.set(policyOf({ requestsPerSecond: 1, burst: 2, place: { file: "mesh.yaml", line: 8, column: 5 } }));
		here.registry.sweep();
		assert.equal(after.limiters[0], before.limiters[0]);
		assert.equal(refusal(here, after, subjectOf("a")).place.line, 8);
		const raised = here.set(policyOf({ requestsPerSecond: 1, burst: 3 }));
		assert.equal(enter(here, raised, subjectOf("a")), undefined);
		refusal(here, raised, subjectOf("a"));
	});

	test("begins anew where a limit counts something else, or was gone for one policy", () => {
		const here = room();
		const before = here.set(policyOf({ burst: 1 }));
		enter(here, before, subjectOf("a"));
		here.registry.sweep();
		const rekeyed = here.set(policyOf({ burst: 1, key: [{ kind: "ip" }] }));
		assert.equal(enter(here, rekeyed, subjectOf("a")), undefined);
		here.registry.sweep();
		here.registry.sweep();
		assert.deepEqual(here.registry.views(), []);
		assert.notEqual(here.set(policyOf({ burst: 1 })).limiters[0], before.limiters[0]);
	});

	test("has one limiter for an upstream, whichever routes lead to it", () => {
		const here = room();
		const upstream = { place: "upstream payments", policies: [policyOf({ name: "payments", burst: 2, key: [{ kind: "global" }] })] };
		const viaA = here.registry.limitSet("outbound", [{ place: "route a", policies: [policyOf()] }, upstream]);
		const viaB = here.registry.limitSet("outbound", [{ place: "route b", policies: [policyOf()] }, upstream]);
		assert.equal(enter(here, viaA, subjectOf("x")), undefined);
		assert.equal(enter(here, viaB, subjectOf("x")), undefined);
		assert.equal(refusal(here, viaA, subjectOf("x")).limit, "payments");
		assert.notEqual(viaA.limiters[0], viaB.limiters[0]);
		assert.equal(here.registry.views().length, 3);
	});

	test("tells the last refusals when it stops", () => {
		const here = room();
		const set = here.set(policyOf({ burst: 1 }));
		enter(here, set, subjectOf("a"));
		enter(here, set, subjectOf("a"));
		here.clock.advance(250);
		here.registry.stop();
		assert.deepEqual(
			here.rollups.map(({ windowMs, refused }) => ({ windowMs, refused })),
			[{ windowMs: 250, refused: 1 }],
		);
	});
});
