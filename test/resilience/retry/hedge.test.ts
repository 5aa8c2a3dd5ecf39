import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import type { HedgePolicy } from "../../../src/policy/resilience-policy.ts";
import { HedgeBudget, hedgeDelayMs, LatencyQuantile } from "../../../src/resilience/retry/hedge.ts";

const PLACE = { file: "policy.yaml", line: 1, column: 1 };

test("a quantile is at most 4.5 % above the exact one, over four decades of latency", () => {
	const rng = seededRng(3);
	const latency = new LatencyQuantile(0);
	const all: number[] = [];
	for (let i = 0; i < 5000; i++) {
		const ms = 0.2 * 10 ** (4 * rng());
		all.push(ms);
		latency.observe(ms, i);
	}
	all.sort((a, b) => a - b);
	for (const q of [0.01, 0.5, 0.9, 0.95, 0.99, 1]) {
		const exact = all[Math.ceil(q * all.length) - 1] ?? Number.NaN;
		const told = latency.quantile(q) ?? Number.NaN;
		assert.ok(told >= exact && told <= exact * 1.045, `p${100 * q}: ${told} for ${exact}`);
	}
});

test("says nothing before it has seen 20 answers", () => {
	const latency = new LatencyQuantile(0);
	for (let i = 0; i < 19; i++) latency.observe(10, i);
	assert.equal(latency.quantile(0.95), undefined);
	latency.observe(10, 20);
	assert.ok((latency.quantile(0.95) ?? 0) >= 10);
});

test("is worked out anew once a hundred answers have come, not with each", () => {
	const latency = new LatencyQuantile(0);
	for (let i = 0; i < 20; i++) latency.observe(1, 0);
	const before = latency.quantile(0.5);
	for (let i = 0; i < 99; i++) latency.observe(100, 0);
	assert.equal(latency.quantile(0.5), before);
	latency.observe(100, 0);
	assert.ok((latency.quantile(0.5) ?? 0) >= 100);
	assert.ok((latency.quantile(0.01) ?? 100) < 2, "another quantile is not answered from the memory of this one");
});

test("forgets after 15 to 30 s, and at once after a silence", () => {
	const latency = new LatencyQuantile(0);
	for (let i = 0; i < 50; i++) latency.observe(1000, 14_000);
	for (let i = 0; i < 50; i++) latency.observe(1, 16_000);
	assert.ok((latency.quantile(0.99) ?? 0) >= 1000);
	for (let i = 0; i < 50; i++) latency.observe(1, 30_000);
	assert.ok((latency.quantile(0.99) ?? 1000) < 2, "the slow ones are 16 s old");
	latency.observe(1, 3_600_000);
	assert.equal(latency.quantile(0.99), undefined);
	const silent = new LatencyQuantile(0);
	for (let i = 0; i < 50; i++) silent.observe(1000, 14_000);
	silent.observe(1, 31_000);
	assert.equal(silent.quantile(0.99), undefined, "a whole half has passed without an answer");
});

test("what is no latency, or beyond every bin, neither throws nor spoils the rest", () => {
	const latency = new LatencyQuantile(0);
	for (const odd of [Number.NaN, -5, 0, Infinity, 1e9]) for (let i = 0; i < 4; i++) latency.observe(odd, 0);
	const [low, high] = [latency.quantile(0.1), latency.quantile(1)];
	assert.ok(low !== undefined && low < 0.2);
	assert.ok(high !== undefined && Number.isFinite(high) && high > 100_000);
});

test("hedges after the time that is given, or after the quantile once it is known", () => {
	const latency = new LatencyQuantile(0);
	const fixed: HedgePolicy = { place: PLACE, after: { kind: "time", ms: 50 }, maxExtra: 0.05 };
	const p95: HedgePolicy = { place: PLACE, after: { kind: "quantile", quantile: 0.95 }, maxExtra: 0.05 };
	assert.equal(hedgeDelayMs(fixed, latency), 50);
	assert.equal(hedgeDelayMs(p95, latency), undefined);
	for (let i = 0; i < 100; i++) latency.observe(i < 94 ? 5 : 80, 0);
	const delay = hedgeDelayMs(p95, latency) ?? 0;
	assert.ok(delay >= 80 && delay < 84, String(delay));
});

test("hedges are never more than their share of the requests, and all of it is given", () => {
	for (const share of [0, 0.01, 0.05, 0.3, 1]) {
		const budget = new HedgeBudget(share);
		let hedges = 0;
		for (let requests = 1; requests <= 10_000; requests++) {
			budget.deposit();
			if (budget.tryWithdraw()) hedges++;
			assert.ok(hedges <= share * requests + 1e-9, `${hedges} hedges of ${requests} requests`);
		}
		assert.equal(hedges, Math.round(10_000 * share));
	}
});

test("what is saved up is no more than ten hedges", () => {
	const budget = new HedgeBudget(0.5);
	for (let i = 0; i < 100_000; i++) budget.deposit();
	let burst = 0;
	while (budget.tryWithdraw()) burst++;
	assert.equal(burst, 10);
});

test("a changed share acts from the next request on, and one beyond 0..1 is refused", () => {
	const budget = new HedgeBudget(0);
	budget.deposit();
	budget.configure(1);
	assert.equal(budget.tryWithdraw(), false);
	budget.deposit();
	assert.equal(budget.tryWithdraw(), true);
	for (const bad of [-0.1, 1.1, Number.NaN]) {
		assert.throws(() => new HedgeBudget(bad), RangeError);
		assert.throws(() => budget.configure(bad), RangeError);
	}
});
