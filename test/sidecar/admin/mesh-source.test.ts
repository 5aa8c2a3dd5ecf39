import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { DeadlineWheel } from "../../../src/core/deadline-wheel.ts";
import { seededRng } from "../../../src/core/rng.ts";
import { LoopMemory } from "../../../src/net/loop-memory.ts";
import { loadPolicy } from "../../../src/policy/load.ts";
import { upstreamView } from "../../../src/sidecar/admin/mesh-source.ts";
import { Upstream } from "../../../src/upstream/upstream.ts";
import { FakeClock } from "../../support/fake-clock.ts";

function upstreamOf(t: TestContext, keys: string): { upstream: Upstream; clock: FakeClock } {
	const result = loadPolicy(
		`service: checkout\noutbound: {}\nupstreams:\n  payments: { endpoints: [{ address: "10.0.0.1:80" }], ${keys} }\n`,
		"a.yaml",
		{},
		1,
	);
	const policy = result.ok ? result.snapshot.upstreams.get("payments") : undefined;
	if (policy === undefined) throw new Error("the policy of this test is wrong");
	const { name, loadBalancing, balancing, circuitBreaker, concurrency, outlierDetection, retryBudget } = policy;
	const clock = new FakeClock();
	const wheel = new DeadlineWheel(clock);
	const upstream = new Upstream(
		{
			name,
			loadBalancing,
			balancing,
			guards: { circuitBreaker, concurrency, outlierDetection, retryBudget },
			timeout: { requestMs: 1000, connectMs: 1000, idleMs: 1000 },
			pool: { connectionsMax: 1, pendingMax: 1, pendingTimeoutMs: 1000 },
			checked: true,
			holdWhileRefused: false,
			zone: undefined,
		},
		{ clock, wheel, shared: new LoopMemory(), rng: seededRng(1) },
	);
	t.after(() => {
		upstream.destroy();
		wheel.stop();
	});
	return { upstream, clock };
}

const A = { address: { kind: "tcp", host: "10.0.0.11", port: 80 }, weight: 2, zone: "a" } as const;
const B = { address: { kind: "unix", path: "/run/app.sock" }, weight: 1, zone: undefined } as const;

test("a live upstream is shown with what its endpoints are and do, in the order of its source", (t) => {
	const { upstream, clock } = upstreamOf(t, "loadBalancing: weighted");
	const empty = upstreamView(upstream, clock);
	assert.deepEqual(
		[empty.name, empty.loadBalancing, empty.resolved, empty.endpoints, empty.breakers, empty.concurrency],
		["payments", "weighted", false, [], [], undefined],
	);
	upstream.setEndpoints([A, B]);
	upstream.setHealth("10.0.0.11:80", "unhealthy");
	const { resolved, endpoints } = upstreamView(upstream, clock);
	assert.equal(resolved, true);
	assert.deepEqual(
		endpoints.map(({ address, weight, zone, health, activeRequests, requests }) => [address, weight, zone, health, activeRequests, requests]),
		[
			["10.0.0.11:80", 2, "a", "unhealthy", 0, 0],
			["unix:/run/app.sock", 1, undefined, "pending", 0, 0],
		],
	);
	assert.deepEqual(endpoints[0]?.pool, { open: 0, idle: 0, pending: 0, connects: 0, connectFailures: 0, overflows: 0 });
	assert.deepEqual([endpoints[0]?.ejected, endpoints[0]?.ejections, endpoints[0]?.latencyMs], [false, {}, undefined]);
});

test("what guards a live upstream is shown as it stands", (t) => {
	const keys =
		"loadBalancing: peak-ewma, circuitBreaker: { maxConcurrent: 7 }, outlierDetection: { consecutiveFailures: 2, maxEjectionPercent: 100 }";
	const { upstream, clock } = upstreamOf(t, keys);
	upstream.setEndpoints([A, B]);
	const before = upstreamView(upstream, clock);
	assert.deepEqual(
		before.breakers.map(({ scope, key, state, trips }) => [scope, key, state, trips]),
		[["upstream", "", "closed", 0]],
	);
	assert.deepEqual([before.concurrency?.limit, before.concurrency?.active, before.concurrency?.pending], [7, 0, 0]);
	// 10 a second over 10 s, before any request has paid in.
	assert.deepEqual([before.retryBudget, before.panic, before.retries.sent], [{ balance: 100 }, false, 0]);
	const [first] = upstream.endpoints();
	first?.outlier?.onStatus(503);
	first?.outlier?.onStatus(503);
	first?.latency?.observe(250, clock.monotonicMs());
	upstream.guards.breakers?.force("open");
	const { breakers, endpoints } = upstreamView(upstream, clock);
	assert.deepEqual([breakers[0]?.state, breakers[0]?.forced, breakers[0]?.trips], ["open", "open", 1]);
	const [ejected, other] = endpoints;
	assert.deepEqual(
		[ejected?.ejected, ejected?.ejections, ejected?.ejectionEndsInMs, ejected?.latencyMs],
		[true, { consecutive_failures: 1 }, 30_000, 250],
	);
	assert.match(ejected?.ejectedFor ?? "", /2 failures in a row/);
	assert.deepEqual([other?.ejected, other?.ejections, other?.ejectionEndsInMs], [false, {}, 0]);
});
