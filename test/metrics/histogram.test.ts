import assert from "node:assert/strict";
import { test } from "node:test";
import { LATENCY_BOUNDS_S, LatencyHistogram } from "../../src/metrics/histogram.ts";

test("a value on a bound counts in the bucket of that bound, as Prometheus' le means it", () => {
	const histogram = new LatencyHistogram();
	for (const bound of LATENCY_BOUNDS_S) histogram.observe(bound * 1000);
	assert.deepEqual([...histogram.counts], [...LATENCY_BOUNDS_S.map(() => 1), 0]);
});

test("what is beyond every bound counts in the last bucket, and the sum keeps it", () => {
	const histogram = new LatencyHistogram();
	histogram.observe(61_000);
	histogram.observe(0);
	assert.equal(histogram.counts.at(-1), 1);
	assert.equal(histogram.counts[0], 1);
	assert.equal(histogram.count, 2);
	assert.equal(histogram.sumMs, 61_000);
});
