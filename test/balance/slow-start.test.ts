import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SlowStart } from "../../src/balance/slow-start.ts";

const OPTIONS = { windowMs: 30_000, aggression: 1, minWeightPercent: 10 };
const OLD = { weight: 4, sinceMs: Number.NEGATIVE_INFINITY };

describe("slow start", () => {
	it("raises a weight from its minimum to the whole in proportion to time", () => {
		const slowStart = new SlowStart(OPTIONS);
		const endpoint = { weight: 4, sinceMs: 1_000 };
		for (const [nowMs, weight] of [
			[1_000, 0.4],
			[2_000, 0.4],
			[16_000, 2],
			[30_999.999, 4],
			[31_000, 4],
			[1e9, 4],
		] as const) {
			assert.ok(Math.abs(slowStart.weightOf(endpoint, nowMs) - weight) < 1e-6, `at ${nowMs}`);
		}
	});

	it("raises faster at first with more aggression: t^(1/aggression)", () => {
		const slowStart = new SlowStart({ ...OPTIONS, aggression: 2 });
		assert.ok(Math.abs(slowStart.weightOf({ weight: 1, sinceMs: 0 }, 7_500) - 0.5) < 1e-12);
	});

	it("leaves alone what has always been there", () => {
		const slowStart = new SlowStart(OPTIONS);
		assert.equal(slowStart.weightOf(OLD, 0), 4);
		assert.equal(slowStart.nextChangeMs([OLD], 0), undefined);
		assert.equal(slowStart.nextChangeMs([], 0), undefined);
	});

	it("gives a positive weight also where the policy begins with none, or the clock reads earlier", () => {
		const slowStart = new SlowStart({ ...OPTIONS, minWeightPercent: 0 });
		assert.ok(slowStart.weightOf({ weight: 1, sinceMs: 0 }, 0) > 0);
		assert.ok(slowStart.weightOf({ weight: 1, sinceMs: 50 }, 0) > 0);
	});

	it("asks for twenty looks over the window, however many warm up, the last of them at its end", () => {
		const slowStart = new SlowStart(OPTIONS);
		const endpoints = [OLD, ...Array.from({ length: 1_000 }, (_, i) => ({ weight: 1, sinceMs: i }))];
		let nowMs = 999;
		let looks = 0;
		for (let next = slowStart.nextChangeMs(endpoints, nowMs); next !== undefined; next = slowStart.nextChangeMs(endpoints, nowMs)) {
			assert.ok(next > nowMs);
			nowMs = next;
			looks++;
		}
		assert.equal(looks, 20);
		assert.equal(nowMs, 30_999);
		for (const endpoint of endpoints) assert.equal(slowStart.weightOf(endpoint, nowMs), endpoint.weight);
	});

	it("refuses a window, an aggression or a percentage that makes no sense", () => {
		for (const change of [{ windowMs: 0 }, { windowMs: Number.NaN }, { aggression: 0 }, { minWeightPercent: -1 }, { minWeightPercent: 101 }])
			assert.throws(() => new SlowStart({ ...OPTIONS, ...change }), RangeError);
	});
});
