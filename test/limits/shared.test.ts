/** Limits that many sidecars share, on a store whose answers the test holds in its hand. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Rng, seededRng } from "../../src/core/rng.ts";
import { Gcra } from "../../src/limits/gcra.ts";
import { type LimitSet, WAITING } from "../../src/limits/limit-set.ts";
import { LimiterRegistry } from "../../src/limits/limiter-registry.ts";
import type { LeaseAnswer, LeaseQuestion, SharedStore } from "../../src/limits/shared-store.ts";
import type { RateLimitPolicy } from "../../src/policy/resilience-policy.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { policyOf, subjectOf, Waiter } from "./support.ts";

/** One bucket for each key on the clock of the test. Answers at the end of the turn, or when the test says so. */
class MemoryStore implements SharedStore {
	available = true;
	readonly questions: LeaseQuestion[] = [];
	held: ((answer?: LeaseAnswer) => void)[] | undefined;
	readonly #clock: FakeClock;
	readonly #fullAtNs = new Map<string, number>();

	constructor(clock: FakeClock) {
		this.#clock = clock;
	}

	lease(question: LeaseQuestion): Promise<LeaseAnswer> {
		this.questions.push(question);
		if (this.held === undefined) return Promise.resolve(this.#answer(question));
		const { promise, resolve } = Promise.withResolvers<LeaseAnswer>();
		this.held.push((answer) => resolve(answer ?? this.#answer(question)));
		return promise;
	}

	#answer({ key, tokens, requestsPerSecond, burst }: LeaseQuestion): LeaseAnswer {
		const gcra = new Gcra(requestsPerSecond, burst);
		const nowNs = this.#clock.monotonicMs() * 1e6;
		let fullAtNs = this.#fullAtNs.get(key) ?? 0;
		const granted = Math.min(tokens, gcra.remaining(fullAtNs, nowNs));
		for (let i = 0; i < granted; i++) fullAtNs = gcra.take(fullAtNs, nowNs);
		this.#fullAtNs.set(key, fullAtNs);
		return { kind: "granted", granted, retryAfterMs: Math.max(0, gcra.waitNs(fullAtNs, nowNs) / 1e6) };
	}
}

class Sidecar {
	readonly set: LimitSet;
	readonly registry: LimiterRegistry;
	admitted = 0;
	limited = 0;
	readonly #clock: FakeClock;

	constructor(clock: FakeClock, store: SharedStore, policy: RateLimitPolicy, rng: Rng) {
		this.#clock = clock;
		const stores = { open: () => store, keep: () => {} };
		this.registry = new LimiterRegistry({ clock, rng, service: "checkout", stores, onExceeded: () => {} });
		this.set = this.registry.limitSet("inbound", [{ place: "inbound", policies: [policy] }]);
	}

	enter(caller: string): Waiter {
		const waiter = new Waiter();
		const verdict = this.set.enter(subjectOf(caller), waiter, this.#clock.monotonicMs());
		if (verdict === undefined) waiter.onAdmitted();
		else if (verdict !== WAITING) waiter.onLimited(verdict);
		void waiter.settled.then(() => {
			if (waiter.outcome === "admitted") this.admitted++;
			else this.limited++;
		});
		return waiter;
	}
}

type SharedPolicy = NonNullable<RateLimitPolicy["shared"]>;

function shared(overrides: Partial<RateLimitPolicy> = {}, sharedOverrides: Partial<SharedPolicy> = {}): RateLimitPolicy {
	return policyOf({
		name: "mesh-wide",
		requestsPerSecond: 1000,
		burst: 1000,
		key: [{ kind: "global" }],
		shared: { redisUrl: "redis://store", timeoutMs: 20, onFailure: "local", sliceMs: 100, ...sharedOverrides },
		...overrides,
	});
}

/** What was answered has been heard. */
function settle(): Promise<void> {
	return new Promise((resolve) => setImmediate(resolve));
}

describe("a shared limit", () => {
	for (const sidecarCount of [1, 2, 5]) {
		test(`admits rate x time + burst within 1 % over 10 s at five times the rate, by ${sidecarCount} sidecars`, async () => {
			const clock = new FakeClock();
			const store = new MemoryStore(clock);
			const sidecars = Array.from({ length: sidecarCount }, (_, i) => new Sidecar(clock, store, shared(), seededRng(i + 1)));
			for (let ms = 0; ms < 10_000; ms++) {
				for (let i = 0; i < 5; i++) sidecars[(ms * 5 + i) % sidecarCount]?.enter("");
				await Promise.resolve();
				await settle();
				clock.advance(1);
			}
			const admitted = sidecars.reduce((sum, sidecar) => sum + sidecar.admitted, 0);
			assert.ok(Math.abs(admitted - 11_000) <= 110, `${admitted} admitted`);
			// Once a slice and sidecar, and as often as burst and doubling leases need in the beginning.
			assert.ok(store.questions.length <= sidecarCount * 100 + 40, `${store.questions.length} questions`);
			for (const sidecar of sidecars) {
				assert.ok(sidecar.admitted > (11_000 / sidecarCount) * 0.7, `one of ${sidecarCount} sidecars has got ${sidecar.admitted} of ${admitted}`);
			}
		});
	}

	test("refuses nobody where the sidecars together stay below the rate", async () => {
		const clock = new FakeClock();
		const store = new MemoryStore(clock);
		const sidecars = Array.from({ length: 20 }, (_, i) => new Sidecar(clock, store, shared({ burst: 200 }), seededRng(i + 1)));
		const rng = seededRng(99);
		for (let ms = 0; ms < 5000; ms++) {
			for (const sidecar of sidecars) if (rng() < 0.045) sidecar.enter("");
			await settle();
			clock.advance(1);
		}
		const [admitted, limited] = [sidecars.reduce((sum, { admitted }) => sum + admitted, 0), sidecars.reduce((sum, { limited }) => sum + limited, 0)];
		assert.ok(admitted > 4000);
		assert.ok(limited <= admitted * 0.01, `${limited} of ${admitted + limited} refused at 90 % of the rate`);
	});

	test("asks one question for all requests of a key that come while it is under way", async () => {
		const clock = new FakeClock();
		const store = new MemoryStore(clock);
		store.held = [];
		const sidecar = new Sidecar(clock, store, shared({ key: [{ kind: "caller" }] }), seededRng(1));
		const waiters = [1, 2, 3].map(() => sidecar.enter("a"));
		const other = sidecar.enter("b");
		assert.equal(store.questions.length, 2);
		assert.deepEqual(
			[...waiters, other].map(({ outcome }) => outcome),
			["waiting", "waiting", "waiting", "waiting"],
		);
		store.held[0]?.({ kind: "granted", granted: 1, retryAfterMs: 0 });
		await settle();
		assert.equal(waiters[0]?.outcome, "admitted");
		// All that was asked for was granted, so there may be more: asked once more, for both that are left.
		assert.deepEqual(
			store.questions.map(({ tokens }) => tokens),
			[1, 1, 3],
		);
		store.held[2]?.({ kind: "granted", granted: 1, retryAfterMs: 3 });
		await settle();
		assert.equal(waiters[1]?.outcome, "admitted");
		assert.ok(typeof waiters[2]?.outcome === "object");
		assert.ok(waiters[2].outcome.retryAfterMs >= 100 && waiters[2].outcome.retryAfterMs <= 150);
		const before = store.questions.length;
		for (let i = 0; i < 50; i++) assert.ok(typeof sidecar.enter("a").outcome === "object");
		assert.equal(store.questions.length, before, "nobody asks a store that has just said no");
	});

	test("waits for the store as long as it says, where that is longer than a slice", async () => {
		const clock = new FakeClock();
		const store = new MemoryStore(clock);
		const sidecar = new Sidecar(clock, store, shared({ requestsPerSecond: 0.5, burst: 1 }), seededRng(1));
		sidecar.enter("");
		await settle();
		const refused = sidecar.enter("");
		await settle();
		assert.ok(typeof refused.outcome === "object");
		assert.equal(refused.outcome.retryAfterMs, 2000);
		clock.advance(2000);
		const admitted = sidecar.enter("");
		await settle();
		assert.equal(admitted.outcome, "admitted");
	});

	test("drops what is left of a lease after two slices", async () => {
		const clock = new FakeClock();
		const store = new MemoryStore(clock);
		store.held = [];
		const sidecar = new Sidecar(clock, store, shared(), seededRng(1));
		sidecar.enter("");
		store.held.shift()?.({ kind: "granted", granted: 50, retryAfterMs: 0 });
		await settle();
		clock.advance(199);
		assert.equal(sidecar.enter("").outcome, "admitted");
		clock.advance(1);
		assert.equal(sidecar.enter("").outcome, "waiting");
	});

	for (const [onFailure, expected] of [
		["local", [10, 5]],
		["allow", [15, 0]],
		["deny", [0, 15]],
	] as const) {
		test(`acts as told while the store is away: ${onFailure}`, async () => {
			const clock = new FakeClock();
			const store = new MemoryStore(clock);
			const sidecar = new Sidecar(clock, store, shared({ requestsPerSecond: 10, burst: 10 }, { onFailure }), seededRng(1));
			store.available = false;
			const waiters = Array.from({ length: 15 }, () => sidecar.enter(""));
			assert.deepEqual(
				[waiters.filter(({ outcome }) => outcome === "admitted").length, waiters.filter(({ outcome }) => typeof outcome === "object").length],
				expected,
			);
			assert.equal(store.questions.length, 0);
			store.available = true;
			const back = sidecar.enter("");
			await settle();
			assert.equal(back.outcome, "admitted", "the store decides again");
			assert.equal(sidecar.set.views()[0]?.shared?.granted, 1);
		});

		test(`answers those who wait for a question that fails: ${onFailure}`, async () => {
			const clock = new FakeClock();
			const store = new MemoryStore(clock);
			store.held = [];
			const sidecar = new Sidecar(clock, store, shared({ requestsPerSecond: 10, burst: 10 }, { onFailure }), seededRng(1));
			const waiters = Array.from({ length: 15 }, () => sidecar.enter(""));
			store.available = false;
			store.held[0]?.({ kind: "failed", detail: "Redis did not answer within 20 ms" });
			await settle();
			assert.deepEqual(
				[waiters.filter(({ outcome }) => outcome === "admitted").length, waiters.filter(({ outcome }) => typeof outcome === "object").length],
				expected,
			);
			const [view] = sidecar.set.views();
			assert.deepEqual([view?.shared?.failed, view?.shared?.lastFailure, view?.shared?.available], [1, "Redis did not answer within 20 ms", false]);
		});
	}

	test("forgets a client that goes while the store is asked, and gives its token to who comes next", async () => {
		const clock = new FakeClock();
		const store = new MemoryStore(clock);
		store.held = [];
		const sidecar = new Sidecar(clock, store, shared(), seededRng(1));
		const gone = sidecar.enter("");
		sidecar.set.leave(gone);
		assert.equal(sidecar.set.waiting, 0);
		store.held[0]?.();
		await settle();
		assert.equal(gone.outcome, "waiting");
		assert.equal(sidecar.enter("").outcome, "admitted");
	});

	test("queues what the store has no room for, where the policy says so", async () => {
		const clock = new FakeClock();
		const store = new MemoryStore(clock);
		const overflow = { kind: "queue", queuedMax: 10, waitMaxMs: 10_000, priorityHeader: undefined } as const;
		const sidecar = new Sidecar(clock, store, shared({ requestsPerSecond: 10, burst: 1, overflow }), seededRng(1));
		await sidecar.registry.ready();
		const waiters = [sidecar.enter(""), sidecar.enter(""), sidecar.enter(""), sidecar.enter("")];
		await settle();
		for (let ms = 0; ms < 2000 && waiters.some(({ outcome }) => outcome === "waiting"); ms++) {
			await new Promise((resolve) => setTimeout(resolve, 1));
			clock.advance(2);
		}
		assert.deepEqual(
			waiters.map(({ outcome }) => outcome),
			["admitted", "admitted", "admitted", "admitted"],
		);
		assert.ok(clock.monotonicMs() >= 200, "as fast as the rate, which is three in 300 ms but for the burst' of 1.5 slices");
	});

	test("keeps its leases over a reload, and asks with the new numbers", async () => {
		const clock = new FakeClock();
		const store = new MemoryStore(clock);
		const sidecar = new Sidecar(clock, store, shared({ key: [{ kind: "header", name: "authorization" }] }), seededRng(1));
		sidecar.enter("");
		await settle();
		const next = shared({ key: [{ kind: "header", name: "authorization" }], requestsPerSecond: 20, burst: 5 });
		const set = sidecar.registry.limitSet("inbound", [{ place: "inbound", policies: [next] }]);
		assert.equal(set.limiters[0], sidecar.set.limiters[0]);
		clock.advance(1000);
		sidecar.enter("");
		await settle();
		const { key, requestsPerSecond, burst } = store.questions.at(-1) ?? assert.fail();
		assert.deepEqual([requestsPerSecond, burst], [20, 5]);
		assert.match(key, /^nexus:limit:checkout:inbound:inbound:mesh-wide:[0-9a-f]{32}$/);
	});

	test("explains what is at hand, and what stands in for the store", async () => {
		const clock = new FakeClock();
		const store = new MemoryStore(clock);
		const sidecar = new Sidecar(clock, store, shared({ requestsPerSecond: 0.5, burst: 1 }), seededRng(1));
		const explained = (): unknown => {
			const [line] = sidecar.set.explain(subjectOf("a"), clock.monotonicMs());
			return [line?.admits, line?.text];
		};
		assert.deepEqual(explained(), [true, "limit mesh-wide for global: 0 at hand, shared store available"]);
		sidecar.enter("");
		sidecar.enter("");
		await settle();
		assert.deepEqual(explained(), [false, "limit mesh-wide for global: 0 at hand, shared store available"]);
		store.available = false;
		assert.deepEqual(explained(), [true, "limit mesh-wide for global: 1 at hand, shared store away: local"]);
		assert.equal(store.questions.length, 2);
	});

	test("neither grows nor loses a lease under many keys", async () => {
		const clock = new FakeClock();
		const store = new MemoryStore(clock);
		const sidecar = new Sidecar(clock, store, shared({ requestsPerSecond: 1, burst: 2, key: [{ kind: "caller" }] }), seededRng(1));
		for (let i = 0; i < 3; i++) {
			sidecar.enter("victim");
			await settle();
		}
		for (let i = 0; i < 20_000; i++) {
			sidecar.enter(`flood ${i}`);
			if (i % 100 === 0) await settle();
		}
		await settle();
		assert.equal(sidecar.set.views()[0]?.keys, 10_000);
		assert.ok(store.questions.length < 11_000, "what has no lease of its own shares its questions");
		const before = store.questions.length;
		assert.ok(typeof sidecar.enter("victim").outcome === "object");
		assert.equal(store.questions.length, before);
	});
});
