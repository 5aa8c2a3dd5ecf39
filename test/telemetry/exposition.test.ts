import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { METRICS } from "../../src/metrics/catalogue.ts";
import type { Emit, MetricSource } from "../../src/metrics/source.ts";
import { TrafficRegistry } from "../../src/metrics/traffic.ts";
import { trafficSource } from "../../src/metrics/traffic-source.ts";
import { Exposition } from "../../src/telemetry/exposition.ts";
import { processSource } from "../../src/telemetry/process-metrics.ts";
import { parseExposition } from "../support/exposition-parser.ts";

/** One sample of every metric of the catalogue, with label values that need escaping. */
const everything: MetricSource = {
	collect(emit) {
		for (const [name, spec] of Object.entries(METRICS)) {
			const labels = Object.fromEntries(spec.labels.map((label) => [label, `a"b\\c\nd {e},= ü`]));
			const value = spec.type === "histogram" ? { bounds: [0.1, 1], counts: [3, 0, 2], sum: 12.5 } : 1e21;
			(emit as (name: string, labels: unknown, value: unknown) => void)(name, labels, value);
		}
	},
};

function trafficOf(requests: number): TrafficRegistry {
	const traffic = new TrafficRegistry();
	const counters = traffic.counters("outbound", "pay", "payments");
	for (let i = 0; i < requests; i++) {
		counters.upstreamTime.observe(i);
		counters.overhead.observe(0.2);
		counters.finish(i % 10 === 0 ? 503 : 200, i % 10 === 0 ? "connect_refused" : undefined, i + 0.2);
	}
	counters.active = 3;
	return traffic;
}

test("every metric of the catalogue is written in the strict text format, label values unharmed", async () => {
	const families = parseExposition(await new Exposition([everything]).text());
	assert.deepEqual([...families.keys()], Object.keys(METRICS));
	for (const [name, spec] of Object.entries(METRICS)) {
		const family = families.get(name);
		assert.equal(family?.type, spec.type);
		assert.equal(family?.samples.length, spec.type === "histogram" ? 5 : 1, name);
		for (const label of spec.labels) assert.equal(family?.samples[0]?.labels[label], `a"b\\c\nd {e},= ü`);
	}
});

test("promtool finds nothing wrong with it", { skip: spawnSync("promtool", ["--version"]).status !== 0 && "promtool is not installed" }, async () => {
	const text = await new Exposition([trafficSource(trafficOf(100)), processSource("1.2.3")]).text();
	const result = spawnSync("promtool", ["check", "metrics"], { input: text, encoding: "utf8" });
	assert.equal(result.stdout + result.stderr, "");
	assert.equal(result.status, 0);
});

test("traffic reads as counted: classes, reasons, active, cumulated buckets in seconds", async () => {
	const families = parseExposition(await new Exposition([trafficSource(trafficOf(100))]).text());
	const requests = Object.fromEntries((families.get("nexus_requests_total")?.samples ?? []).map((s) => [s.labels.status_class, s.value]));
	assert.deepEqual(requests, { "2xx": 90, "3xx": 0, "4xx": 0, "5xx": 10 });
	assert.deepEqual(families.get("nexus_local_answers_total")?.samples, [
		{
			name: "nexus_local_answers_total",
			labels: { direction: "outbound", route: "pay", upstream: "payments", reason: "connect_refused" },
			value: 10,
		},
	]);
	assert.equal(families.get("nexus_requests_active")?.samples[0]?.value, 3);
	const duration = families.get("nexus_upstream_duration_seconds")?.samples ?? [];
	// 0 to 99 ms, one each: 0..10 lie at or below 10 ms.
	assert.equal(duration.find((s) => s.labels.le === "0.01")?.value, 11);
	assert.equal(duration.find((s) => s.labels.le === "+Inf")?.value, 100);
	assert.ok(Math.abs((duration.find((s) => s.name.endsWith("_sum"))?.value ?? 0) - 4.95) < 1e-9);
});

test("counters that no request touched cost a scrape nothing", async () => {
	const traffic = new TrafficRegistry();
	for (let i = 0; i < 1000; i++) traffic.counters("outbound", "", `upstream-${i}`);
	assert.equal(parseExposition(await new Exposition([trafficSource(traffic)]).text()).get("nexus_requests_total")?.samples.length, 0);
});

test("a scrape of a thousand routes lets the loop turn, and still tells what was true when it began", async () => {
	const traffic = new TrafficRegistry();
	const all = Array.from({ length: 1000 }, (_, i) => traffic.counters("outbound", `route-${i}`, "payments"));
	for (const counters of all) counters.finish(200, undefined, 2);
	let turns = 0;
	let ended = false;
	const turn = (): void => {
		turns++;
		for (const counters of all) counters.finish(200, undefined, 2);
		if (!ended) setImmediate(turn);
	};
	setImmediate(turn);
	const families = parseExposition(await new Exposition([trafficSource(traffic)]).text());
	ended = true;
	assert.ok(turns > 50, `${turns} turns`);
	const durations = families.get("nexus_request_duration_seconds")?.samples ?? [];
	assert.equal(durations.length, 1000 * 21);
	assert.ok(durations.every((s) => !s.name.endsWith("_count") || s.value === 1));
});

test("scrapes at the same time see a reading each, and the next one sees what happened since", async () => {
	let n = 0;
	const exposition = new Exposition([{ collect: (emit) => emit("nexus_policy_version", {}, ++n) }]);
	const texts = await Promise.all([exposition.text(), exposition.text(), exposition.text()]);
	const values = [...texts, await exposition.text()].map((text) => parseExposition(text).get("nexus_policy_version")?.samples[0]?.value);
	assert.deepEqual(values, [1, 2, 3, 4]);
});

test("a metric, or a label, that the catalogue does not know is a fault", async () => {
	const scrape = (collect: (emit: (...args: unknown[]) => void) => void): Promise<string> =>
		new Exposition([{ collect: (emit: Emit) => collect(emit as (...args: unknown[]) => void) }]).text();
	await assert.rejects(
		scrape((emit) => emit("nexus_surprise_total", {}, 1)),
		/nexus_surprise_total is not in the catalogue/,
	);
	await assert.rejects(
		scrape((emit) => emit("nexus_connections_open", {}, 1)),
		/lacks its label listener/,
	);
	await assert.rejects(
		scrape((emit) => emit("nexus_policy_version", { user: "eve" }, 1)),
		/a label that the catalogue does not know/,
	);
});

test("the process shows its CPU, memory, start and build, and from the second scrape on the lag of its event loop", async () => {
	const exposition = new Exposition([processSource("1.2.3")]);
	const first = parseExposition(await exposition.text());
	assert.ok((first.get("process_resident_memory_bytes")?.samples[0]?.value ?? 0) > 1e7);
	assert.ok((first.get("process_cpu_seconds_total")?.samples[0]?.value ?? 0) > 0);
	const start = first.get("process_start_time_seconds")?.samples[0]?.value ?? 0;
	assert.ok(Math.abs(start - (Date.now() - performance.now()) / 1000) < 60);
	assert.deepEqual(first.get("nexus_build_info")?.samples[0]?.labels, { version: "1.2.3", node: process.versions.node });
	assert.equal(first.get("nexus_event_loop_lag_seconds")?.samples.length, 0);
	let lag = parseExposition(await exposition.text()).get("nexus_event_loop_lag_seconds")?.samples ?? [];
	while (lag.length === 0) {
		const until = performance.now() + 60;
		while (performance.now() < until); // the loop is held up, which is what is measured
		await new Promise(setImmediate);
		lag = parseExposition(await exposition.text()).get("nexus_event_loop_lag_seconds")?.samples ?? [];
	}
	assert.deepEqual(
		lag.map((s) => s.labels.stat),
		["mean", "p50", "p99", "max"],
	);
});
