import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { DEFAULTS } from "../../../src/policy/defaults.ts";
import type { OutlierPolicy } from "../../../src/policy/resilience-policy.ts";
import { successRates, UNKNOWN_RATES } from "../../../src/resilience/outlier/success-rate.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { answers, QUIET, watched } from "./support.ts";

interface SuccessRateCase {
	readonly hosts?: number;
	readonly load?: readonly (readonly [number, number])[];
	readonly stdev_factor?: number;
	readonly interval_ms?: number;
	readonly expect?: {
		readonly success_rate_host5: number;
		readonly average: number;
		readonly threshold: number;
		readonly ejected: readonly number[];
	};
}

const VECTORS = new URL("../../../../shared/conformance/resilience-vectors.json", import.meta.url);
const vectors = existsSync(VECTORS) ? JSON.parse(readFileSync(VECTORS, "utf8")) : undefined;
const skip = vectors === undefined && "the shared conformance data is not here";

const FIVE = ["a", "b", "c", "d", "e"];
const SUCCESS_RATE = { minHosts: 5, requestVolume: 100, stdevFactor: 1.9 };
const FAILURE_PERCENTAGE = { threshold: 85, minHosts: 5, requestVolume: 50 };

test("ejects by success rate as Envoy does: rates, mean, threshold and who goes", { skip }, () => {
	const cases = vectors.outlier_success_rate.cases as readonly SuccessRateCase[];
	const loads = cases.filter((one) => one.load !== undefined);
	assert.equal(loads.length, 2);
	for (const { hosts, load = [], stdev_factor, interval_ms, expect } of loads) {
		const clock = new FakeClock();
		const policy = {
			...QUIET,
			maxEjectionPercent: 10,
			intervalMs: interval_ms ?? 10_000,
			successRate: { ...SUCCESS_RATE, stdevFactor: (stdev_factor ?? 1900) / 1000 },
		};
		const keys = FIVE.slice(0, hosts);
		const w = watched(policy, clock, keys);
		for (const [i, [good, bad]] of load.entries()) {
			answers(w, keys[i] ?? "", good, 200);
			answers(w, keys[i] ?? "", bad, 503);
		}
		clock.advance(policy.intervalMs);
		assert.deepEqual(w.detector.averages(), { successRateAverage: expect?.average ?? -1, threshold: expect?.threshold ?? -1 });
		assert.equal(w.detector.host("e").view().successRate, expect?.success_rate_host5 ?? -1);
		assert.deepEqual(
			keys.flatMap((key, i) => (w.detector.host(key).ejected ? [i] : [])),
			expect?.ejected ?? [],
		);
		if (expect === undefined) continue;
		// The second case of the vectors: ejected at 10,000 for 30,000.
		clock.advance(9_999);
		assert.equal(w.detector.host("e").ejected, true, "at 19,999");
		clock.advance(30_002);
		assert.equal(w.detector.host("e").ejected, false, "at 50,001");
		assert.deepEqual(w.told, ["ejected e success_rate 1 30000", "returned e time 1"]);
		assert.match(w.details[0] ?? "", /^success rate 50\.0 % is below 52\.0 % \(mean 90\.0 % of 5 hosts\)$/);
	}
});

test("the defaults are Envoy's", { skip }, () => {
	const envoy = vectors.outlier_defaults;
	const seconds = (ms: number) => `${ms / 1000}s`;
	assert.deepEqual(DEFAULTS.outlierDetection, {
		enabled: true,
		consecutiveFailures: envoy.consecutive_5xx,
		// Envoy counts these and enforces none of them.
		consecutiveGatewayFailures: (envoy.consecutive_gateway_failure * envoy.enforcing_consecutive_gateway_failure) / 100,
		consecutiveLocalOriginFailures: 0,
		interval: seconds(envoy.interval_ms),
		baseEjectionTime: seconds(envoy.base_ejection_time_ms),
		maxEjectionTime: seconds(envoy.max_ejection_time_ms),
		jitter: "0s",
		maxEjectionPercent: envoy.max_ejection_percent,
		successRate: {
			enabled: envoy.enforcing_success_rate === 100,
			minHosts: envoy.success_rate_minimum_hosts,
			requestVolume: envoy.success_rate_request_volume,
			stdevFactor: envoy.success_rate_stdev_factor / 1000,
		},
		failurePercentage: {
			enabled: false,
			threshold: envoy.failure_percentage_threshold,
			minHosts: envoy.failure_percentage_minimum_hosts,
			requestVolume: envoy.failure_percentage_request_volume,
		},
	});
});

test("the threshold is the mean less the factor times the population's deviation", () => {
	assert.deepEqual(successRates([50, 100, 100, 100, 100], 1.9), { successRateAverage: 90, threshold: 52 });
	assert.deepEqual(successRates([70, 70], 1.9), { successRateAverage: 70, threshold: 70 });
	assert.equal(successRates([], 1.9), UNKNOWN_RATES);
});

test("ejects at once after so many 5xx in a row, and an answer below 500 between them begins anew", () => {
	const w = watched({ ...QUIET, consecutiveFailures: 5 }, new FakeClock(), FIVE);
	answers(w, "a", 4, 500);
	answers(w, "a", 1, 404);
	answers(w, "a", 4, 503);
	assert.equal(w.detector.host("a").view().consecutiveFailures, 4);
	assert.deepEqual(w.told, []);
	answers(w, "a", 1, 599);
	assert.deepEqual(w.told, ["ejected a consecutive_failures 1 30000"]);
	assert.deepEqual(w.details, ["5 failures in a row, the last one a 599"]);
	assert.deepEqual(w.detector.host("a").view(), {
		ejected: true,
		ejections: 1,
		cause: "consecutive_failures",
		detail: "5 failures in a row, the last one a 599",
		leftMs: 30_000,
		timeFactor: 1,
		consecutiveFailures: 0,
		successRate: -1,
	});
});

test("gateway failures are 502, 503, 504 and what was not reached; another 5xx begins anew", () => {
	const w = watched({ ...QUIET, consecutiveGatewayFailures: 3 }, new FakeClock(), FIVE);
	answers(w, "a", 2, 503);
	answers(w, "a", 1, 500);
	answers(w, "a", 2, 504);
	assert.deepEqual(w.told, []);
	w.detector.host("a").onLocalFailure();
	assert.deepEqual(w.told, ["ejected a consecutive_gateway_failures 1 30000"]);
	assert.deepEqual(w.details, ["3 failures in a row, the last one without an answer"]);
});

test("failures of local origin are counted apart, and any answer begins anew", () => {
	const w = watched({ ...QUIET, consecutiveLocalOriginFailures: 2 }, new FakeClock(), FIVE);
	const host = w.detector.host("a");
	host.onLocalFailure();
	host.onStatus(503);
	host.onLocalFailure();
	assert.deepEqual(w.told, []);
	host.onLocalFailure();
	assert.deepEqual(w.told, ["ejected a consecutive_local_origin_failures 1 30000"]);
});

test("a failure that reaches two thresholds ejects once, by the narrower cause", () => {
	const policy = { ...QUIET, consecutiveFailures: 2, consecutiveGatewayFailures: 2, consecutiveLocalOriginFailures: 2 };
	const w = watched(policy, new FakeClock(), FIVE);
	answers(w, "a", 2, 502);
	w.detector.host("b").onLocalFailure();
	w.detector.host("b").onLocalFailure();
	assert.deepEqual(w.told, ["ejected a consecutive_gateway_failures 1 30000", "ejected b consecutive_local_origin_failures 1 30000"]);
});

test("returns at the first interval after its time, and is ejected for longer each time until it has been quiet", () => {
	const clock = new FakeClock();
	const w = watched({ ...QUIET, consecutiveFailures: 1, maxEjectionTimeMs: 70_000 }, clock, FIVE);
	const eject = () => answers(w, "a", 1, 500);
	clock.advance(5_000);
	eject();
	clock.advance(34_999);
	assert.equal(w.detector.host("a").ejected, true);
	assert.equal(w.detector.host("a").view().leftMs, 0, "its time is over, the interval is not");
	clock.advance(1);
	assert.equal(w.detector.host("a").ejected, false);
	eject();
	clock.advance(60_000);
	eject();
	assert.deepEqual(w.told, [
		"ejected a consecutive_failures 1 30000",
		"returned a time 1",
		"ejected a consecutive_failures 2 60000",
		"returned a time 2",
		"ejected a consecutive_failures 3 70000",
	]);
	clock.advance(70_000);
	assert.equal(w.detector.host("a").view().timeFactor, 3);
	clock.advance(20_000);
	assert.equal(w.detector.host("a").view().timeFactor, 1);
	eject();
	assert.equal(w.told.at(-1), "ejected a consecutive_failures 4 60000");
});

test("a maximum below the base time is the base time", () => {
	const w = watched({ ...QUIET, consecutiveFailures: 1, maxEjectionTimeMs: 1000 }, new FakeClock(), FIVE);
	answers(w, "a", 1, 500);
	assert.deepEqual(w.told, ["ejected a consecutive_failures 1 30000"]);
});

test("jitter is drawn with each ejection and comes on top of the maximum", () => {
	const clock = new FakeClock();
	const w = watched({ ...QUIET, consecutiveFailures: 1, maxEjectionTimeMs: 30_000, jitterMs: 4000 }, clock, FIVE, () => 0.5);
	answers(w, "a", 1, 500);
	assert.deepEqual(w.told, ["ejected a consecutive_failures 1 32000"]);
	clock.advance(30_000);
	assert.equal(w.detector.host("a").ejected, true);
	clock.advance(10_000);
	assert.equal(w.detector.host("a").ejected, false);
});

test("no more than the maximum percentage is ejected, but one always; who is kept is counted", () => {
	const ejectedOf = (hosts: number, maxEjectionPercent: number) => {
		const keys = Array.from({ length: hosts }, (_, i) => `h${i}`);
		const w = watched({ ...QUIET, consecutiveFailures: 1, maxEjectionPercent }, new FakeClock(), keys);
		for (const key of keys) answers(w, key, 1, 500);
		assert.equal(w.detector.ejected, keys.filter((key) => w.detector.host(key).ejected).length);
		assert.equal(w.detector.withheld, hosts - w.detector.ejected);
		return w.detector.ejected;
	};
	assert.equal(ejectedOf(1, 10), 1);
	assert.equal(ejectedOf(5, 10), 1);
	assert.equal(ejectedOf(10, 10), 1);
	assert.equal(ejectedOf(20, 10), 2);
	assert.equal(ejectedOf(10, 25), 2);
	assert.equal(ejectedOf(10, 50), 5);
	assert.equal(ejectedOf(3, 100), 3);
	assert.equal(ejectedOf(10, 0), 0);
});

test("a host that was kept is judged again after as many failures", () => {
	const w = watched({ ...QUIET, consecutiveFailures: 3, maxEjectionPercent: 10 }, new FakeClock(), ["a", "b"]);
	answers(w, "a", 3, 500);
	answers(w, "b", 3, 500);
	w.detector.onHealthy("a");
	answers(w, "b", 2, 500);
	assert.equal(w.detector.host("b").ejected, false);
	answers(w, "b", 1, 500);
	assert.equal(w.detector.host("b").ejected, true);
});

test("under the cap the worst rate goes first, not the first in the list", () => {
	const clock = new FakeClock();
	const w = watched({ ...QUIET, maxEjectionPercent: 10, failurePercentage: { threshold: 50, minHosts: 3, requestVolume: 10 } }, clock, FIVE);
	for (const [i, key] of FIVE.entries()) {
		answers(w, key, 10 - 2 * i, 200);
		answers(w, key, 2 * i, 500);
	}
	clock.advance(10_000);
	assert.deepEqual(w.told, ["ejected e failure_percentage 1 30000"]);
	assert.deepEqual(w.details, ["80.0 % of 10 requests failed, 50 % are too many"]);
	assert.equal(w.detector.withheld, 1, "d, with 60 %");
});

test("ejects by failure percentage alone, and not below its volume or its number of hosts", () => {
	for (const [volume, hosts, expected] of [
		[50, 5, 1],
		[49, 5, 0],
		[50, 4, 0],
	] as const) {
		const clock = new FakeClock();
		const keys = FIVE.slice(0, hosts);
		const w = watched({ ...QUIET, failurePercentage: FAILURE_PERCENTAGE }, clock, keys);
		for (const key of keys) answers(w, key, 50, 200);
		clock.advance(10_000);
		for (const key of keys.slice(1)) answers(w, key, volume, 200);
		answers(w, "a", Math.floor(volume * 0.15), 200);
		for (let i = Math.floor(volume * 0.15); i < volume; i++) w.detector.host("a").onLocalFailure();
		clock.advance(10_000);
		assert.equal(w.told.length, expected, `${volume} requests to ${hosts} hosts`);
		assert.deepEqual(w.detector.averages(), UNKNOWN_RATES, "nobody asked for success rates");
	}
});

test("each interval is judged by its own requests, and a quiet one says nothing", () => {
	const clock = new FakeClock();
	const w = watched({ ...QUIET, successRate: SUCCESS_RATE }, clock, FIVE);
	for (const key of FIVE) answers(w, key, 100, 200);
	clock.advance(10_000);
	assert.deepEqual(w.detector.averages(), { successRateAverage: 100, threshold: 100 });
	assert.equal(w.detector.host("a").view().successRate, 100);
	for (const key of FIVE) answers(w, key, 99, 500);
	clock.advance(10_000);
	assert.deepEqual(w.detector.averages(), UNKNOWN_RATES);
	assert.equal(w.detector.host("a").view().successRate, -1);
	assert.deepEqual(w.told, []);
});

test("what an ejected host answers does not count, neither then nor at its return", () => {
	const clock = new FakeClock();
	const policy = { ...QUIET, consecutiveFailures: 3, failurePercentage: { threshold: 50, minHosts: 1, requestVolume: 1 } };
	const w = watched(policy, clock, FIVE);
	answers(w, "a", 3, 500);
	clock.advance(25_000);
	answers(w, "a", 100, 500);
	clock.advance(5_000);
	assert.deepEqual(w.told, ["ejected a consecutive_failures 1 30000", "returned a time 1"]);
	answers(w, "a", 2, 500);
	assert.equal(w.detector.host("a").ejected, false);
});

test("a healthy active check returns an ejected host at once, and does nothing to others", () => {
	const w = watched({ ...QUIET, consecutiveFailures: 1 }, new FakeClock(), FIVE);
	answers(w, "a", 1, 500);
	w.detector.onHealthy("a");
	w.detector.onHealthy("a");
	w.detector.onHealthy("b");
	w.detector.onHealthy("nobody");
	assert.deepEqual(w.told, ["ejected a consecutive_failures 1 30000", "returned a health-check 1"]);
	answers(w, "a", 1, 500);
	assert.equal(w.told.at(-1), "ejected a consecutive_failures 2 60000");
});

test("a host that left and comes back begins anew, and its old self counts nothing", () => {
	const w = watched({ ...QUIET, consecutiveFailures: 2, maxEjectionPercent: 20 }, new FakeClock(), FIVE);
	const old = w.detector.host("a");
	answers(w, "a", 2, 500);
	answers(w, "b", 2, 500);
	assert.equal(w.detector.withheld, 1);
	w.detector.setHosts(["b", "c", "d", "e"]);
	assert.equal(old.ejected, false);
	assert.throws(() => w.detector.host("a"), /knows no host a/);
	answers(w, "b", 2, 500);
	assert.equal(w.detector.host("b").ejected, true, "the place under the cap is free again");
	w.detector.setHosts(FIVE);
	for (let i = 0; i < 10; i++) old.onStatus(500);
	assert.notEqual(w.detector.host("a"), old);
	assert.equal(w.detector.host("a").ejections, 0);
	assert.deepEqual(w.told, ["ejected a consecutive_failures 1 30000", "ejected b consecutive_failures 1 30000"]);
});

test("switched off, all return and nothing counts; switched on again, it begins anew", () => {
	const clock = new FakeClock();
	const on: OutlierPolicy = { ...QUIET, consecutiveFailures: 2 };
	const w = watched(on, clock, FIVE);
	answers(w, "a", 2, 500);
	answers(w, "b", 1, 500);
	w.detector.configure({ ...on, enabled: false });
	assert.equal(w.detector.host("a").ejected, false);
	assert.equal(clock.pendingTimers, 0);
	answers(w, "a", 10, 500);
	assert.deepEqual(w.told, ["ejected a consecutive_failures 1 30000", "returned a policy 1"]);
	w.detector.configure(on);
	assert.equal(clock.pendingTimers, 1);
	answers(w, "b", 1, 500);
	answers(w, "a", 2, 500);
	assert.deepEqual(w.told.slice(2), ["ejected a consecutive_failures 2 30000"]);
});

test("a changed policy acts at once on thresholds, and on the time of who is ejected", () => {
	const clock = new FakeClock();
	const w = watched({ ...QUIET, consecutiveFailures: 5 }, clock, FIVE);
	answers(w, "a", 4, 500);
	w.detector.configure({ ...QUIET, consecutiveFailures: 2, baseEjectionTimeMs: 10_000, intervalMs: 1000 });
	answers(w, "a", 1, 500);
	assert.deepEqual(w.told, ["ejected a consecutive_failures 1 10000"]);
	w.detector.configure({ ...QUIET, baseEjectionTimeMs: 3000, intervalMs: 1000 });
	clock.advance(3000);
	assert.equal(w.told.at(-1), "returned a time 1");
});

test("a timer runs only while detection is on and there are hosts, and a reload does not restart it", () => {
	const clock = new FakeClock();
	const policy = { ...QUIET, consecutiveFailures: 1, baseEjectionTimeMs: 10_000 };
	const w = watched(policy, clock);
	assert.equal(clock.pendingTimers, 0);
	w.detector.setHosts(["a"]);
	assert.equal(clock.pendingTimers, 1);
	answers(w, "a", 1, 500);
	for (let i = 0; i < 20; i++) {
		clock.advance(500);
		w.detector.configure({ ...policy });
		w.detector.setHosts(["a", "b"]);
	}
	assert.equal(w.detector.host("a").ejected, false, "10 s have passed, however often the policy came");
	w.detector.setHosts([]);
	assert.equal(clock.pendingTimers, 0);
	watched({ ...policy, enabled: false }, clock, FIVE);
	assert.equal(clock.pendingTimers, 0);
});

test("a timer that fires half a millisecond early does not cost a host an interval", () => {
	const clock = new FakeClock();
	const early = { monotonicMs: () => clock.monotonicMs(), wallMs: () => 0, setTimer: (ms: number, run: () => void) => clock.setTimer(ms - 0.5, run) };
	const w = watched({ ...QUIET, failurePercentage: { threshold: 50, minHosts: 1, requestVolume: 1 } }, early, FIVE);
	answers(w, "a", 1, 500);
	clock.advance(10_000);
	assert.equal(w.detector.host("a").ejected, true);
	clock.advance(29_999);
	assert.equal(w.detector.host("a").ejected, true);
	clock.advance(2);
	// Ejected at 9,999.5; the interval at 39,998 is 29,998.5 later and too soon, however generous.
	assert.equal(w.detector.host("a").ejected, true);
	const exact = watched({ ...QUIET, baseEjectionTimeMs: 10_000, failurePercentage: { threshold: 50, minHosts: 1, requestVolume: 1 } }, early, FIVE);
	answers(exact, "a", 1, 500);
	clock.advance(20_000);
	assert.deepEqual(exact.told, ["ejected a failure_percentage 1 10000", "returned a time 1"]);
});

test("stopped, it tells nobody anything any more and leaves no host ejected", () => {
	const clock = new FakeClock();
	const w = watched({ ...QUIET, consecutiveFailures: 1 }, clock, FIVE);
	const host = w.detector.host("a");
	answers(w, "a", 1, 500);
	w.detector.stop();
	assert.equal(host.ejected, false);
	w.detector.setHosts(["a"]);
	w.detector.configure({ ...QUIET, consecutiveFailures: 1, intervalMs: 5 });
	answers(w, "a", 5, 500);
	assert.equal(clock.pendingTimers, 0);
	assert.deepEqual(w.told, ["ejected a consecutive_failures 1 30000"]);
});
