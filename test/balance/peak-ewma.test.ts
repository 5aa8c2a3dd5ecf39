import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { buildPicker, type PickerSettings } from "../../src/balance/build-picker.ts";
import { PENALTY_MAX_MS, PeakEwma, UNKNOWN_LATENCY_MS } from "../../src/balance/peak-ewma.ts";
import { seededRng } from "../../src/core/rng.ts";
import { endpointsOf, type TestEndpoint, tally } from "./support.ts";

describe("a peak EWMA", () => {
	it("begins with 30 ms and loses 63 % in 10 s unasked, but never falls below 1 ms", () => {
		const latency = new PeakEwma(5_000);
		assert.equal(latency.get(5_000), UNKNOWN_LATENCY_MS);
		assert.ok(Math.abs(latency.get(15_000) - 30 / Math.E) < 1e-9);
		assert.equal(latency.get(500_000), 1);
	});

	it("rises at once and falls by time, not by the number of answers", () => {
		const latency = new PeakEwma(0);
		latency.observe(200, 0);
		assert.equal(latency.get(0), 200);
		for (let i = 0; i < 1_000; i++) latency.observe(10, 0);
		assert.equal(latency.get(0), 200);
		for (let nowMs = 1; nowMs <= 10_000; nowMs++) latency.observe(10, nowMs);
		assert.ok(Math.abs(latency.get(10_000) - (10 + 190 / Math.E)) < 0.1, `${latency.get(10_000)}`);
	});

	it("charges a failure with the penalty, never less than it stands at", () => {
		const latency = new PeakEwma(0);
		latency.penalize(5_000, 0);
		assert.equal(latency.get(0), 5_000);
		latency.penalize(100, 0);
		assert.equal(latency.get(0), 5_000);
		latency.penalize(10 * PENALTY_MAX_MS, 0);
		assert.equal(latency.get(0), PENALTY_MAX_MS);
	});

	it("forgets nothing when the clock stands or goes back", () => {
		const latency = new PeakEwma(1_000);
		latency.observe(80, 1_000);
		assert.equal(latency.get(0), 80);
		latency.observe(90, 500);
		assert.equal(latency.get(1_000), 90);
	});

	it("refuses what is no latency, and stays as it was", () => {
		const latency = new PeakEwma(0);
		for (const value of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
			assert.throws(() => latency.observe(value, 0), RangeError);
			assert.throws(() => latency.penalize(value, 0), RangeError);
		}
		assert.equal(latency.get(0), UNKNOWN_LATENCY_MS);
	});
});

describe("peak-ewma", () => {
	it("prefers whoever answers sooner, weighed by what is under way", () => {
		const [quick, slow] = timed([10, 50]);
		const picker = build([quick, slow]);
		assert.equal(tally(picker, 100).get(quick), 100);
		quick.activeRequests = 5; // 10 x 6 > 50 x 1
		assert.equal(tally(picker, 100).get(slow), 100);
	});

	it("counts requests under way by weight", () => {
		const [light, heavy] = timed([10, 10]);
		heavy.weight = 4;
		light.activeRequests = 1;
		heavy.activeRequests = 3;
		assert.equal(tally(build([light, heavy]), 100).get(heavy), 100);
		heavy.activeRequests = 5;
		assert.equal(tally(build([light, heavy]), 100).get(light), 100);
	});

	it("takes an endpoint of which nothing is known for one of 30 ms", () => {
		const [known] = timed([29]);
		const [unknown] = endpointsOf([1]) as [TestEndpoint];
		assert.equal(tally(build([known, unknown]), 50).get(known), 50);
		known.latency?.observe(31, 0);
		assert.equal(tally(build([known, unknown]), 50).get(unknown), 50);
	});

	it("gives one that fails nearly nothing, however quickly it does", () => {
		const endpoints = timed(new Array(10).fill(10));
		const [failing] = endpoints;
		failing.latency?.penalize(5_000, 0);
		assert.equal(tally(build(endpoints), 10_000).get(failing), undefined);
	});
});

function build(endpoints: readonly TestEndpoint[]) {
	const settings: PickerSettings<TestEndpoint> = { ringSizeMin: 1, tableSize: 2, now: () => 0 };
	return buildPicker("peak-ewma", endpoints, seededRng(3), undefined, settings);
}

/** Endpoints that have just answered so late. */
function timed(latenciesMs: readonly number[]): [TestEndpoint, TestEndpoint, ...TestEndpoint[]] {
	const endpoints = endpointsOf(latenciesMs.map(() => 1)).map((endpoint, i) => {
		const latency = new PeakEwma(-1e6);
		latency.observe(latenciesMs[i] ?? 0, 0);
		return { ...endpoint, latency };
	});
	return endpoints as unknown as [TestEndpoint, TestEndpoint, ...TestEndpoint[]];
}
