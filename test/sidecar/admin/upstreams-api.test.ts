import assert from "node:assert/strict";
import { test } from "node:test";
import type { LimiterView } from "../../../src/limits/limited.ts";
import { parseExposition } from "../../support/exposition-parser.ts";
import { ENDPOINT, GUARD, rig } from "./support.ts";

const LIMIT: LimiterView = {
	direction: "outbound",
	place: "payments",
	limit: "per-caller",
	admitted: 10,
	rejected: 3,
	queued: 2,
	timedOut: 1,
	waiting: 0,
	keys: 5,
	overflows: 0,
	shared: undefined,
};

test("GET /upstreams/NAME shows one upstream with all that guards it, and knows no other", GUARD, async (t) => {
	const { call } = await rig(t);
	const { status, json } = await call("GET", "/upstreams/payments");
	const [all] = (await call("GET", "/upstreams")).json.upstreams as unknown[];
	assert.deepEqual([status, json], [200, all]);
	const { breakers, concurrency, panic } = json as {
		breakers: { scope: string; key: string; state: string }[];
		concurrency: unknown;
		panic: boolean;
	};
	assert.deepEqual([breakers[0]?.scope, breakers[0]?.key, breakers[0]?.state], ["endpoint", ENDPOINT, "closed"]);
	assert.deepEqual([concurrency, panic], [{ limit: 64, active: 2, pending: 1 }, true]);
	const unknown = await call("GET", "/upstreams/paiments");
	assert.deepEqual([unknown.status, unknown.json.reason], [404, "no_upstream"]);
});

test("POST /upstreams/NAME/breaker holds a breaker open or closed until it is told auto", GUARD, async (t) => {
	const { view, call } = await rig(t);
	const force = async (query: string): Promise<unknown[]> => {
		const { status, json } = await call("POST", `/upstreams/payments/breaker?${query}`);
		const breakers = json.breakers as { key: string; state: string; forced?: string }[];
		return [status, json.state, ...breakers.map(({ key, state, forced }) => [key, state, forced])];
	};
	assert.deepEqual(await force("state=open"), [200, "open", [ENDPOINT, "open", "open"]]);
	assert.equal(view.breakers.of(ENDPOINT).acquire(), -1);
	assert.deepEqual(await force(`state=closed&key=${ENDPOINT}`), [200, "closed", [ENDPOINT, "closed", "closed"]]);
	assert.deepEqual(await force("state=auto"), [200, "auto", [ENDPOINT, "closed", undefined]]);
});

test("a breaker that is not there, or a state that there is not, is said", GUARD, async (t) => {
	const { view, call } = await rig(t);
	for (const [path, status, reason] of [
		["/upstreams/payments/breaker", 400, "bad_request"],
		["/upstreams/payments/breaker?state=half-open", 400, "bad_request"],
		["/upstreams/payments/breaker?state=open&key=10.0.0.99:1", 404, "no_breaker"],
		["/upstreams/ledger/breaker?state=open", 404, "no_breaker"],
		["/upstreams/paiments/breaker?state=open", 404, "no_upstream"],
	] as const) {
		const answer = await call("POST", path);
		assert.deepEqual([path, answer.status, answer.json.reason], [path, status, reason]);
	}
	assert.equal(view.breakers.of(ENDPOINT).state, "closed");
});

test("GET /limits shows each limit with what it has judged", GUARD, async (t) => {
	const { view, call } = await rig(t);
	assert.deepEqual((await call("GET", "/limits")).json, { limits: [] });
	view.rateLimits = [LIMIT];
	const { shared: _, ...shown } = LIMIT;
	assert.deepEqual((await call("GET", "/limits")).json, { limits: [shown] });
});

test("/metrics tells breakers, ejections, concurrency, budgets, limits and faults from the same views", GUARD, async (t) => {
	const { view, call } = await rig(t);
	view.breakers.force("open");
	const shared = { available: true, granted: 4, empty: 1, failed: 2, lastFailure: "" };
	view.rateLimits = [LIMIT, { ...LIMIT, place: "ledger", shared }, { ...LIMIT, direction: "inbound", place: "inbound" }];
	await call("PUT", "/faults/f1", { upstream: "ledger", reset: {}, for: "1m" });
	view.faults.injector("ledger").decide({ method: "GET", host: "ledger", target: "/", header: () => undefined }, "10.0.0.12:15006");
	const families = parseExposition((await call("GET", "/metrics")).text);
	const samples = (name: string): unknown[] => families.get(name)?.samples.map(({ labels, value }) => [...Object.values(labels), value]) ?? [];
	assert.deepEqual(samples("nexus_breaker_state"), [
		["payments", "endpoint", ENDPOINT, "closed", 0],
		["payments", "endpoint", ENDPOINT, "open", 1],
		["payments", "endpoint", ENDPOINT, "half-open", 0],
	]);
	assert.deepEqual(samples("nexus_breaker_trips_total"), [["payments", "endpoint", ENDPOINT, 1]]);
	assert.deepEqual(samples("nexus_endpoint_ejected"), [["payments", ENDPOINT, 1]]);
	assert.deepEqual(samples("nexus_endpoint_ejections_total"), [["payments", ENDPOINT, "consecutive_failures", 2]]);
	assert.deepEqual(samples("nexus_concurrency_limit"), [["payments", 64]]);
	assert.deepEqual([samples("nexus_concurrency_active"), samples("nexus_concurrency_pending")], [[["payments", 2]], [["payments", 1]]]);
	assert.deepEqual(samples("nexus_upstream_panic"), [
		["payments", 1],
		["ledger", 0],
	]);
	assert.deepEqual(samples("nexus_upstream_panic_picks_total")[0], ["payments", 11]);
	assert.deepEqual(samples("nexus_retry_budget_balance")[0], ["payments", 100]);
	assert.deepEqual(samples("nexus_retries_total").slice(0, 5), [
		["payments", "sent", 7],
		["payments", "refused", 2],
		["payments", "not_replayable", 1],
		["payments", "suppressed", 0],
		["payments", "late", 0],
	]);
	assert.deepEqual(samples("nexus_hedges_total").slice(0, 3), [
		["payments", "sent", 3],
		["payments", "won", 1],
		["payments", "refused", 4],
	]);
	assert.deepEqual(samples("nexus_rate_limit_keys"), [
		["outbound", "per-caller", 10],
		["inbound", "per-caller", 5],
	]);
	assert.deepEqual(samples("nexus_rate_limit_requests_total").slice(0, 4), [
		["outbound", "per-caller", "admitted", 20],
		["outbound", "per-caller", "rejected", 6],
		["outbound", "per-caller", "queued", 4],
		["outbound", "per-caller", "timed_out", 2],
	]);
	assert.deepEqual(samples("nexus_rate_limit_shared_total"), [
		["outbound", "per-caller", "granted", 4],
		["outbound", "per-caller", "empty", 1],
		["outbound", "per-caller", "failed", 2],
	]);
	assert.deepEqual(samples("nexus_faults_active"), [[2]]);
	assert.deepEqual(samples("nexus_faults_injected_total"), [["f1", "reset", 1]]);
});
