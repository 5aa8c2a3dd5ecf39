import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import type { RetryBudgetPolicy } from "../../../src/policy/resilience-policy.ts";
import { RetryBudget } from "../../../src/resilience/retry/budget.ts";
import { checkModel, oneOf, whole } from "../model-check.ts";

interface FinagleVector {
	readonly p_values: readonly number[];
	readonly with_min: readonly { readonly ttl: number; readonly m: number; readonly p: number }[];
	readonly over_1: { readonly p: number; readonly deposits: number; readonly balance: number };
}

const VECTORS = new URL("../../../../shared/conformance/resilience-vectors.json", import.meta.url);
const vector: FinagleVector | undefined = existsSync(VECTORS) ? JSON.parse(readFileSync(VECTORS, "utf8")).retry_budget_finagle : undefined;
const skip = vector === undefined && "the shared conformance data is not here";

function policy(ratio: number, minPerSecond: number, windowMs: number): RetryBudgetPolicy {
	return { ratio, minPerSecond, windowMs };
}

/** 10,000 requests, each of which wants one retry, while the clock stands still. */
function granted(budget: RetryBudget): number {
	let retries = 0;
	for (let i = 0; i < 10_000; i++) {
		budget.deposit(0);
		if (budget.tryWithdraw(0)) retries++;
	}
	return retries;
}

test("grants what Finagle's budget grants of 10,000 requests, at each ratio", { skip }, () => {
	for (const p of vector?.p_values ?? []) {
		const budget = new RetryBudget(policy(p, 0, 60_000), 0);
		assert.equal(budget.balance(0), 0);
		assert.ok(Math.abs(granted(budget) - 10_000 * p) <= 1, `p ${p}`);
	}
});

test("begins with the retries of a whole window, as Finagle's, and grants no more than them and the ratio", { skip }, () => {
	for (const { ttl, m, p } of vector?.with_min ?? []) {
		const budget = new RetryBudget(policy(p, m, ttl * 1000), 0);
		assert.equal(budget.balance(0), ttl * m);
		const retries = granted(budget);
		assert.ok(Math.abs(retries - (10_000 * p + ttl * m)) <= 1, `ttl ${ttl}, m ${m}, p ${p}: ${retries}`);
		assert.equal(budget.balance(0), 0);
	}
});

test("a ratio above 1 grants more retries than requests, as Finagle's", { skip }, () => {
	const { p, deposits, balance } = vector?.over_1 ?? { p: 0, deposits: 0, balance: 0 };
	const budget = new RetryBudget(policy(p, 0, 60_000), 0);
	for (let i = 0; i < deposits; i++) budget.deposit(0);
	assert.equal(budget.balance(0), balance);
});

test("a ratio that binary fractions cannot hold loses no retry", () => {
	// 0.0157 x 1,000,000 is 15,699.999999999998.
	const budget = new RetryBudget(policy(0.0157, 0, 10_000), 0);
	for (let i = 0; i < 10_000; i++) budget.deposit(0);
	assert.equal(budget.balance(0), 157);
});

test("without ratio and minimum it never grants a retry", () => {
	const budget = new RetryBudget(policy(0, 0, 10_000), 0);
	assert.equal(granted(budget), 0);
	assert.equal(budget.balance(50_000), 0);
});

test("refuses a window beyond 1..60 s, and a ratio or a minimum below 0", () => {
	for (const windowMs of [999, 60_001, 0, -1, Number.NaN]) assert.throws(() => new RetryBudget(policy(0.2, 10, windowMs), 0), RangeError);
	for (const bad of [-0.1, Number.NaN, Infinity]) {
		assert.throws(() => new RetryBudget(policy(bad, 10, 10_000), 0), RangeError);
		assert.throws(() => new RetryBudget(policy(0.2, bad, 10_000), 0), RangeError);
	}
	for (const windowMs of [1000, 60_000]) assert.doesNotThrow(() => new RetryBudget(policy(0, 0, windowMs), 0));
	const budget = new RetryBudget(policy(0.2, 10, 10_000), 0);
	assert.throws(() => budget.configure(policy(0.2, 10, 1), 0), RangeError);
});

test("what a request brought is gone after the window, and what a retry took comes back", () => {
	const budget = new RetryBudget(policy(0.5, 1, 10_000), 0);
	for (let i = 0; i < 10; i++) budget.deposit(0);
	assert.equal(budget.balance(9_999), 15);
	assert.equal(budget.balance(10_000), 10);
	for (let i = 0; i < 10; i++) assert.equal(budget.tryWithdraw(10_000), true);
	assert.equal(budget.tryWithdraw(10_000), false);
	assert.equal(budget.balance(20_000), 0, "a whole window must lie between");
	assert.equal(budget.balance(20_100), 10);
});

test("at a steady rate a fifth of the requests is granted, within 2 %", () => {
	const budget = new RetryBudget(policy(0.2, 0, 10_000), 0);
	let retries = 0;
	for (let ms = 0; ms < 120_000; ms++) {
		budget.deposit(ms);
		if (budget.tryWithdraw(ms)) retries++;
	}
	assert.ok(retries > 0.98 * 24_000 && retries <= 24_000, String(retries));
});

test("a changed ratio or minimum acts at once on what the window holds", () => {
	const budget = new RetryBudget(policy(0.5, 0, 10_000), 0);
	for (let i = 0; i < 100; i++) budget.deposit(0);
	for (let i = 0; i < 10; i++) budget.tryWithdraw(0);
	budget.configure(policy(0.2, 1, 10_000), 500);
	assert.equal(budget.balance(500), 20 + 10 - 10);
});

test("a window of another length begins empty, but the retries that were not paid for by requests stay due", () => {
	const budget = new RetryBudget(policy(0.1, 1, 10_000), 0);
	for (let i = 0; i < 20; i++) budget.deposit(0);
	for (let i = 0; i < 9; i++) budget.tryWithdraw(0);
	budget.configure(policy(0.1, 1, 20_000), 500);
	assert.equal(budget.balance(500), 20 - 7, "2 of the 9 were paid for by 20 requests");
	assert.equal(budget.balance(500 + 20_200), 20);
});

type Op = readonly ["deposit" | "withdraw" | "wait", number];

interface Moment {
	readonly ms: number;
	readonly deposit: boolean;
}

/** The budget by its definition: two lists and their sums. */
class Reference {
	readonly #policy: RetryBudgetPolicy;
	readonly #moments: Moment[] = [];

	constructor(policy: RetryBudgetPolicy) {
		this.#policy = policy;
	}

	deposit(ms: number): void {
		this.#moments.push({ ms, deposit: true });
	}

	tryWithdraw(ms: number): boolean {
		if (this.balance(ms) < 1) return false;
		this.#moments.push({ ms, deposit: false });
		return true;
	}

	balance(nowMs: number): number {
		const { ratio, minPerSecond, windowMs } = this.#policy;
		const sliceOf = (ms: number) => Math.floor((ms * 100) / windowMs);
		let left = minPerSecond * (windowMs / 1000);
		for (const { ms, deposit } of this.#moments) {
			const age = sliceOf(nowMs) - sliceOf(ms);
			if (deposit && age < 100) left += ratio;
			if (!deposit && age <= 100) left -= 1;
		}
		return Math.max(0, Math.floor(left + 1e-9));
	}

	/** Whether some stretch as long as the window has more retries than it may, by the times themselves and not by slices. */
	get exceeded(): string | undefined {
		const { ratio, minPerSecond, windowMs } = this.#policy;
		for (const last of this.#moments) {
			if (last.deposit) continue;
			const within = this.#moments.filter(({ ms }) => ms <= last.ms && ms > last.ms - windowMs);
			const requests = within.filter((one) => one.deposit).length;
			const allowed = ratio * requests + (minPerSecond * windowMs) / 1000;
			if (within.length - requests > allowed + 1e-9) return `${within.length - requests} retries until ${last.ms} ms, ${allowed} allowed`;
		}
		return undefined;
	}
}

test("agrees with a model of two lists over 100,000 random sequences, and no stretch of time exceeds the budget in any of them", () => {
	checkModel<RetryBudgetPolicy, Op>({
		sequences: 100_000,
		seed: 1,
		config: (rng) => policy(oneOf(rng, [0, 0.1, 0.2, 0.3, 0.57, 1, 2]), oneOf(rng, [0, 0.5, 1, 2, 3]), oneOf(rng, [1000, 1234, 3700, 10_000])),
		operations: (rng, { windowMs }) => {
			const operations: Op[] = [];
			for (let i = 0; i < 24; i++) {
				const kind = rng();
				if (kind < 0.35) operations.push(["deposit", whole(rng, 1, 4)]);
				else if (kind < 0.7) operations.push(["withdraw", whole(rng, 1, 4)]);
				else operations.push(["wait", whole(rng, 0, oneOf(rng, [10, windowMs / 10, windowMs, 3 * windowMs]))]);
			}
			return operations;
		},
		run: (budgetPolicy, operations) => {
			const budget = new RetryBudget(budgetPolicy, 0);
			const model = new Reference(budgetPolicy);
			let nowMs = 0;
			for (const [kind, n] of operations) {
				if (kind === "wait") nowMs += n;
				for (let i = 0; kind === "deposit" && i < n; i++) {
					budget.deposit(nowMs);
					model.deposit(nowMs);
				}
				for (let i = 0; kind === "withdraw" && i < n; i++) {
					const is = budget.tryWithdraw(nowMs);
					const should = model.tryWithdraw(nowMs);
					if (is !== should) return `at ${nowMs} ms the budget says ${is}, the model ${should}`;
				}
				// Each of the three must notice for itself that time has passed.
				if (kind === "wait" && n % 2 === 0) continue;
				const is = budget.balance(nowMs);
				const should = model.balance(nowMs);
				if (is !== should) return `at ${nowMs} ms the budget has ${is}, the model ${should}`;
			}
			return model.exceeded;
		},
	});
});
