import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { buildPicker } from "../../src/balance/build-picker.ts";
import { EvenDraw, WeightedDraw } from "../../src/balance/draw.ts";
import { seededRng } from "../../src/core/rng.ts";
import type { BalancingKind } from "../../src/policy/snapshot.ts";
import { endpoint, endpointsOf, type TestEndpoint } from "./support.ts";

describe("draws", () => {
	const weights = [1, 2, 3, 4, 10];
	const even = new EvenDraw(weights.length);
	const weighted = new WeightedDraw(weights);
	const cases = [
		{ title: "even", draw: even, weights: weights.map(() => 1) },
		{ title: "weighted", draw: weighted, weights },
	];

	for (const { title, draw, weights } of cases) {
		it(`${title}: every draw follows the weights, also with one or two left out`, () => {
			const rng = seededRng(31);
			assertFollows(weights, [], () => draw.any(rng));
			for (let a = 0; a < weights.length; a++) {
				assertFollows(weights, [a], () => draw.except(rng, a));
				for (let b = 0; b < weights.length; b++) if (a !== b) assertFollows(weights, [a, b], () => draw.exceptBoth(rng, a, b));
			}
		});

		it(`${title}: the ends of the random range stay inside the table`, () => {
			for (const value of [0, 1 - 2 ** -32]) {
				assert.ok(weights[draw.any(() => value)] !== undefined);
				for (let a = 0; a < weights.length; a++) assert.ok(weights[draw.except(() => value, a)] !== undefined);
			}
		});
	}

	it("a weight that is nearly everything can be left out without drawing again", () => {
		let draws = 0;
		const rng = () => {
			draws++;
			return 0.999;
		};
		assert.equal(new WeightedDraw([1, 1e9, 1]).except(rng, 1), 2);
		assert.equal(draws, 1);
	});
});

describe("random", () => {
	it("needs one random number per pick however many endpoints there are, and two where one is avoided", () => {
		const endpoints = endpointsOf(Array.from({ length: 10_000 }, (_, i) => 1 + (i % 7)));
		const seeded = seededRng(1);
		let draws = 0;
		const picker = buildPicker("random", endpoints, () => {
			draws++;
			return seeded();
		});
		for (let i = 0; i < 100; i++) picker.pick();
		assert.equal(draws, 100);
		for (let i = 0; i < 100; i++) picker.pick(endpoints[0]);
		assert.ok(draws <= 300);
	});
});

describe("least-connections", () => {
	it("looks at no more than two endpoints per pick at 10,000", () => {
		let reads = 0;
		const endpoints = Array.from({ length: 10_000 }, (_, i) => ({
			...endpoint(`e${i}`, 1 + (i % 2)),
			get activeRequests() {
				reads++;
				return 0;
			},
		}));
		const picker = buildPicker("least-connections", endpoints, seededRng(1));
		for (let i = 0; i < 100; i++) picker.pick(endpoints[i]);
		assert.equal(reads, 200);
	});

	it("finds the least loaded of up to eight", () => {
		const endpoints = endpointsOf([1, 1, 1, 1, 1, 1, 1, 1]);
		endpoints.forEach((e, i) => {
			e.activeRequests = 10 - i;
		});
		const picker = buildPicker("least-connections", endpoints, seededRng(1));
		for (let i = 0; i < 50; i++) assert.equal(picker.pick(), endpoints[7]);
		assert.equal(picker.pick(endpoints[7]), endpoints[6]);
	});

	it("counts load per weight", () => {
		const [big, small] = endpointsOf([4, 1]) as [TestEndpoint, TestEndpoint];
		const picker = buildPicker("least-connections", [big, small], seededRng(1));
		big.activeRequests = 3;
		small.activeRequests = 1;
		assert.equal(picker.pick(), big);
		big.activeRequests = 5;
		assert.equal(picker.pick(), small);
	});

	for (const count of [6, 40]) {
		it(`sends a slow endpoint among ${count} much less than its turn, where round-robin does not`, () => {
			const shareOfSlow = (kind: BalancingKind) => simulate(kind, count);
			const fair = 1 / count;
			assert.ok(Math.abs(shareOfSlow("round-robin") - fair) < 0.1 * fair);
			assert.ok(shareOfSlow("least-connections") < 0.4 * fair, `${shareOfSlow("least-connections")} of ${fair}`);
		});

		it(`keeps the longest queue among ${count} shorter than random choice does`, () => {
			assert.ok(longestQueue("least-connections", count) * 2 <= longestQueue("random", count));
		});
	}
});

/** One request arrives per tick; each endpoint takes `count / 2` ticks for one, the first ten times that. Share of the first. */
function simulate(kind: BalancingKind, count: number): number {
	const endpoints = endpointsOf(new Array(count).fill(1));
	const picker = buildPicker(kind, endpoints, seededRng(13));
	const ending: { at: number; endpoint: TestEndpoint }[] = [];
	let slow = 0;
	const ticks = 20_000;
	for (let tick = 0; tick < ticks; tick++) {
		for (let i = ending.length - 1; i >= 0; i--) {
			const job = ending[i];
			if (job === undefined || job.at > tick) continue;
			job.endpoint.activeRequests--;
			ending.splice(i, 1);
		}
		const picked = picker.pick() as TestEndpoint;
		picked.activeRequests++;
		if (picked === endpoints[0]) slow++;
		ending.push({ at: tick + (picked === endpoints[0] ? 5 * count : count / 2), endpoint: picked });
	}
	return slow / ticks;
}

/** Balls into bins: as many requests that never end as ten per endpoint; the fullest above the mean. */
function longestQueue(kind: BalancingKind, count: number): number {
	const endpoints = endpointsOf(new Array(count).fill(1));
	const picker = buildPicker(kind, endpoints, seededRng(13));
	for (let i = 0; i < count * 10; i++) (picker.pick() as TestEndpoint).activeRequests++;
	return Math.max(...endpoints.map((e) => e.activeRequests)) - 10;
}

/** Chi-squared at 99.9 % for up to 4 degrees of freedom; seeded, so it holds for ever or never. */
function assertFollows(weights: readonly number[], leftOut: readonly number[], draw: () => number): void {
	const picks = 20_000;
	const counts = weights.map(() => 0);
	for (let i = 0; i < picks; i++) {
		const index = draw();
		counts[index] = (counts[index] as number) + 1;
	}
	const total = weights.reduce((sum, w, i) => (leftOut.includes(i) ? sum : sum + w), 0);
	let chi = 0;
	weights.forEach((weight, i) => {
		const count = counts[i] as number;
		const expected = leftOut.includes(i) ? 0 : (picks * weight) / total;
		if (expected === 0) assert.equal(count, 0, `index ${i} was left out`);
		else chi += (count - expected) ** 2 / expected;
	});
	assert.ok(chi < 18.5, `chi-squared ${chi} without ${leftOut}`);
}
