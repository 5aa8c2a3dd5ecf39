import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import { GradientLimit, nextLimit } from "../../../src/resilience/concurrency/gradient.ts";
import { concurrencyPolicy } from "./policies.ts";
import { Simulation, type SimulationOptions } from "./simulated-upstream.ts";

const BOUNDS = { limitMin: 3, limitMax: 200 };

describe("the next limit", () => {
	it("grows by the tolerance and a square root where answers take as long as without load", () => {
		// 100 x (1.25 x 10 + 1) / 10 = 135, and the root of that.
		assert.equal(nextLimit(100, 10, 10, 100, { limitMin: 3, limitMax: 1_000 }), 135 + Math.sqrt(135));
	});

	it("shrinks by the ratio of latencies, by half at most", () => {
		assert.equal(nextLimit(100, 10, 18, 100, BOUNDS), 75 + Math.sqrt(75));
		assert.equal(nextLimit(100, 10, 1_000, 100, BOUNDS), 50 + Math.sqrt(50));
		assert.equal(nextLimit(100, 10, Number.POSITIVE_INFINITY, 100, BOUNDS), 50 + Math.sqrt(50));
	});

	it("grows to twice and a square root at most", () => {
		assert.equal(nextLimit(50, 100, 1, 50, BOUNDS), 110);
		assert.equal(nextLimit(50, 0, 0, 50, BOUNDS), 110, "answers that take no time at all");
	});

	it("does not grow where half of it was enough, but shrinks there too", () => {
		assert.equal(nextLimit(100, 10, 10, 49, BOUNDS), 100);
		assert.ok(nextLimit(100, 10, 10, 50, BOUNDS) > 100);
		assert.ok(nextLimit(100, 10, 100, 1, BOUNDS) < 100);
	});

	it("stays within its bounds", () => {
		assert.equal(nextLimit(3, 1, 1_000, 3, BOUNDS), 3);
		assert.equal(nextLimit(199, 10, 10, 199, BOUNDS), 200);
	});

	it("stands still near one and a quarter of the capacity, from above and from below", () => {
		for (const capacity of [4, 20, 100, 500]) {
			for (const start of [3, 2_000]) {
				let limit = start;
				for (let i = 0; i < 100; i++)
					limit = nextLimit(limit, 100, (100 * Math.max(limit, capacity)) / capacity, limit, { limitMin: 3, limitMax: 5_000 });
				const fixedPoint = 1.26 * capacity + Math.sqrt(1.26 * capacity);
				assert.ok(Math.abs(limit - fixedPoint) < 0.01 * fixedPoint, `${capacity} from ${start}: ${limit}, not ${fixedPoint}`);
			}
		}
	});
});

describe("a gradient limit", () => {
	it("begins with a measurement at the lowest limit, of what was sent under it", () => {
		const gradient = new GradientLimit(BOUNDS, seededRng(1));
		for (let i = 0; i < 19; i++) gradient.sample(10, 3, 100 + i);
		assert.deepEqual([gradient.limit, gradient.unloadedMs], [3, undefined]);
		gradient.sample(10, 3, 120);
		assert.deepEqual([gradient.limit, gradient.unloadedMs], [20, 10]);
	});

	it("learns nothing from dropped requests while it measures, and asks an upstream less that only fails", () => {
		const gradient = new GradientLimit(BOUNDS, seededRng(1));
		for (let i = 0; i < 1_000; i++) gradient.sample(Number.POSITIVE_INFINITY, 3, i);
		assert.deepEqual([gradient.limit, gradient.unloadedMs], [3, undefined]);
		feed(gradient, 10, 3, 1_000, 30);
		assert.equal(gradient.unloadedMs, 10);
		feed(gradient, Number.POSITIVE_INFINITY, 20, 2_000, 3_000);
		assert.equal(gradient.limit, 3);
		assert.equal(gradient.unloadedMs, 10);
	});

	it("ends a window only when it has lasted and has answers enough", () => {
		const gradient = new GradientLimit(BOUNDS, seededRng(1));
		feed(gradient, 10, 3, 0, 20);
		for (let i = 0; i < 19; i++) gradient.sample(10, 20, 1_000 + i * 100);
		assert.equal(gradient.limit, 20, "19 answers in two seconds");
		gradient.sample(10, 20, 3_000);
		assert.equal(gradient.limit, 32);
		for (let i = 0; i < 1_000; i++) gradient.sample(10, 32, 3_010 + i * 0.099);
		assert.equal(gradient.limit, 32, "a thousand answers in 99 ms");
		gradient.sample(10, 32, 3_110);
		assert.equal(gradient.limit, 50);
	});

	it("measures for nothing while no more than the lowest limit are under way", () => {
		const gradient = new GradientLimit(BOUNDS, seededRng(1));
		feed(gradient, 10, 3, 0, 20);
		feed(gradient, 50, 3, 1_000, 200);
		assert.equal(gradient.unloadedMs, 50);
		const limits = new Set<number>();
		for (let i = 0; i < 200_000; i++) {
			gradient.sample(50, 3, 2_000 + i);
			limits.add(gradient.limit);
		}
		assert.ok(!limits.has(3), "in three minutes it never had to lower its limit");
	});

	it("measures anew after a minute of load, and at once where answers are twice as fast as they can be", () => {
		const gradient = new GradientLimit(BOUNDS, () => 0.99);
		feed(gradient, 10, 3, 0, 20);
		let measuredAtMs = 1_000;
		while ((gradient.limit !== 3 || measuredAtMs < 1_020) && measuredAtMs < 100_000) gradient.sample(10, 20, ++measuredAtMs);
		assert.ok(measuredAtMs > 60_000 * 1.14 && measuredAtMs < 60_000 * 1.16, `after ${measuredAtMs} ms`);

		const fast = new GradientLimit(BOUNDS, () => 0.99);
		feed(fast, 100, 3, 0, 20);
		feed(fast, 4, 20, 1_000, 101);
		assert.equal(fast.limit, 3);
		feed(fast, 4, 3, 1_200, 20);
		assert.deepEqual([fast.unloadedMs, fast.limit > 3], [4, true]);
	});

	it("learns nothing from what was sent under the limit before", () => {
		const gradient = new GradientLimit(BOUNDS, seededRng(1));
		feed(gradient, 50, 3, 100, 20);
		for (let i = 0; i < 1_000; i++) gradient.sample(500, 20, 120 + i * 0.048);
		feed(gradient, 50, 20, 170, 101);
		assert.equal(gradient.limit, 30, "as if the slow ones had not been");
	});

	it("keeps to new bounds at once", () => {
		const gradient = new GradientLimit(BOUNDS, seededRng(1));
		feed(gradient, 10, 3, 0, 20);
		gradient.configure({ limitMin: 5, limitMax: 10 });
		assert.equal(gradient.limit, 10);
		gradient.configure({ limitMin: 50, limitMax: 100 });
		assert.equal(gradient.limit, 50);
		assert.equal(gradient.unloadedMs, 10);
	});
});

describe("an adaptive bulkhead before an upstream that serves so many at a time", () => {
	for (const [servers, serviceMs, clients] of [
		[20, 10, 400],
		[100, 10, 600],
		[5, 50, 100],
	] as const) {
		it(`settles near ${servers}, serves as much as can be served, and keeps latency low`, () => {
			const simulation = simulate({ servers, serviceMs, clients });
			simulation.run(5_000).clear().run(20_000);
			assert.ok(simulation.medianLimit >= servers && simulation.medianLimit <= 2.2 * servers, `the limit is ${simulation.medianLimit}`);
			const possible = (servers * 20_000) / serviceMs;
			assert.ok(simulation.answered >= 0.97 * possible, `${simulation.answered} of ${possible} that were possible`);
			assert.ok(simulation.latency(0.99) <= 4 * serviceMs, `p99 is ${simulation.latency(0.99)} ms`);

			const fixed = simulate({ servers, serviceMs, clients }, "fixed").run(5_000).clear().run(5_000);
			assert.ok(fixed.latency(0.5) > 3 * simulation.latency(0.5), "a fixed limit queues in the upstream instead");
		});
	}

	it("follows it down when it slows, and comes back when it recovers", () => {
		const simulation = simulate({ servers: 20, serviceMs: 10, clients: 400 });
		simulation.run(5_000);
		simulation.servers = 4;
		simulation.run(2_000).clear().run(5_000);
		assert.ok(simulation.medianLimit >= 4 && simulation.medianLimit <= 10, `with 4 servers the limit is ${simulation.medianLimit}`);
		simulation.servers = 20;
		simulation.run(2_000).clear().run(5_000);
		assert.ok(simulation.medianLimit >= 20 && simulation.medianLimit <= 44, `with 20 again it is ${simulation.medianLimit}`);
	});

	it("does not let it drown when it is fast again after it was slow for long enough to be believed", () => {
		const simulation = simulate({ servers: 20, serviceMs: 10, clients: 400 });
		simulation.run(5_000);
		simulation.serviceMs = 100;
		simulation.run(20_000);
		assert.ok((simulation.bulkhead.view().minRttMs ?? 0) > 75, "slow is what it measured");
		simulation.serviceMs = 10;
		simulation.run(1_000).clear().run(5_000);
		assert.ok(simulation.medianLimit >= 20 && simulation.medianLimit <= 44, `the limit is ${simulation.medianLimit}`);
		assert.ok(simulation.latency(0.99) <= 40, `p99 is ${simulation.latency(0.99)} ms`);
	});

	it("takes a lasting change of its latency for the new measure, in both directions", () => {
		const simulation = simulate({ servers: 20, serviceMs: 10, clients: 400 });
		simulation.run(5_000);
		simulation.serviceMs = 20;
		simulation.run(70_000).clear().run(5_000);
		assert.ok(simulation.medianLimit >= 20 && simulation.medianLimit <= 44, `slower: the limit is ${simulation.medianLimit}`);
		const { minRttMs } = simulation.bulkhead.view();
		assert.ok(minRttMs !== undefined && minRttMs > 15 && minRttMs < 25, `slower: without load ${minRttMs} ms`);
		simulation.serviceMs = 5;
		simulation.run(70_000).clear().run(5_000);
		assert.ok(simulation.medianLimit >= 20 && simulation.medianLimit <= 44, `faster: the limit is ${simulation.medianLimit}`);
		const faster = simulation.bulkhead.view().minRttMs;
		assert.ok(faster !== undefined && faster > 3.5 && faster < 6.5, `faster: without load ${faster} ms`);
	});

	it("does not creep upwards under an overload that lasts for minutes", () => {
		const simulation = simulate({ servers: 20, serviceMs: 10, clients: 400 });
		simulation.run(10_000).clear().run(10_000);
		const before = simulation.medianLimit;
		simulation.run(200_000).clear().run(10_000);
		assert.ok(Math.abs(simulation.medianLimit - before) <= 8, `${before} has become ${simulation.medianLimit}`);
	});

	it("costs next to nothing where it measures under full load", () => {
		const simulation = simulate({ servers: 20, serviceMs: 10, clients: 400 });
		simulation.run(5_000).clear().run(140_000);
		assert.ok(simulation.limits.includes(3), "it has measured");
		assert.ok(simulation.answered >= 0.99 * 280_000, `${simulation.answered} of 280000 that were possible`);
	});

	it("asks less of it while it fails, and is back within two seconds", () => {
		const simulation = simulate({ servers: 20, serviceMs: 10, clients: 400 });
		simulation.run(5_000);
		simulation.failing = true;
		simulation.run(2_000);
		assert.equal(simulation.bulkhead.view().limit, 3);
		simulation.failing = false;
		simulation.run(2_000).clear().run(3_000);
		assert.ok(simulation.medianLimit >= 20, `the limit is ${simulation.medianLimit}`);
	});

	it("leaves alone who never needs half of it", () => {
		const simulation = simulate({ servers: 100, serviceMs: 10, clients: 6 });
		simulation.run(5_000).clear().run(30_000);
		assert.equal(simulation.refused, 0);
		assert.equal(simulation.medianLimit, 20);
		assert.ok(simulation.latency(0.99) <= 15.1);
	});

	it("is the same in each run of a seed, and another in another", () => {
		const run = (seed: number): string => {
			const simulation = simulate({ servers: 20, serviceMs: 10, clients: 100, seed }).run(3_000);
			return `${simulation.answered} ${simulation.limits.join()}`;
		};
		assert.equal(run(1), run(1));
		assert.notEqual(run(1), run(2));
	});
});

/** The bulkhead throws out of `run` where its limit falls below `limitMin`. */
function simulate(options: Omit<SimulationOptions, "policy" | "seed"> & { seed?: number }, kind: "fixed" | "adaptive" = "adaptive"): Simulation {
	return new Simulation({ seed: 5, ...options, policy: concurrencyPolicy({ kind, pendingTimeoutMs: 5_000 }) });
}

/** The same answer each millisecond. */
function feed(gradient: GradientLimit, latencyMs: number, active: number, fromMs: number, times: number): void {
	for (let i = 0; i < times; i++) gradient.sample(latencyMs, active, fromMs + i);
}
