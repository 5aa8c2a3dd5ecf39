import assert from "node:assert/strict";
import { test } from "node:test";
import { TrafficRegistry } from "../../src/metrics/traffic.ts";

test("one set of labels has one set of counters for ever, whatever characters the names share", () => {
	const registry = new TrafficRegistry();
	const counters = registry.counters("outbound", "pay", "payments");
	assert.equal(registry.counters("outbound", "pay", "payments"), counters);
	assert.notEqual(registry.counters("inbound", "pay", "payments"), counters);
	assert.notEqual(registry.counters("outbound", "", "pay"), registry.counters("outbound", "pay", ""));
});

test("finishing counts class, reason and latency, each request under one outcome", () => {
	const counters = new TrafficRegistry().counters("outbound", "pay", "payments");
	counters.finish(200, undefined, 3);
	counters.finish(204, undefined, 4);
	counters.finish(503, undefined, 5);
	counters.finish(503, "connect_refused", 6);
	counters.finish(200, "upstream_reset", 7);
	counters.finish(101, undefined, 8);
	counters.finish(0, "client_closed", 9);
	assert.deepEqual([...counters.statusClasses], [1, 1, 3, 0, 0, 2]);
	assert.deepEqual(Object.fromEntries(counters.reasons), { connect_refused: 1, upstream_reset: 1, client_closed: 1 });
	const outcomes = Array.from(counters.outcomes(), ([outcome, latency]) => [outcome, latency.count, latency.sumMs]);
	assert.deepEqual(outcomes, [
		["1xx", 1, 8],
		["2xx", 2, 7],
		["5xx", 1, 5],
		["connect_refused", 1, 6],
		["upstream_reset", 1, 7],
		["client_closed", 1, 9],
	]);
	assert.equal(counters.total.count, 7);
});

test("a status that is none counts as none instead of growing the table", () => {
	const counters = new TrafficRegistry().counters("inbound", "", "application");
	for (const status of [-1, 99, 600, 99999, Number.NaN]) counters.finish(status, undefined, 1);
	assert.deepEqual([...counters.statusClasses], [5, 0, 0, 0, 0, 0]);
});
