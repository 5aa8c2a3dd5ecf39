import assert from "node:assert/strict";
import { test } from "node:test";
import { DeadlineWheel } from "../../../src/core/deadline-wheel.ts";
import { seededRng } from "../../../src/core/rng.ts";
import { LoopMemory } from "../../../src/net/loop-memory.ts";
import { upstreamView } from "../../../src/sidecar/admin/mesh-source.ts";
import { Upstream } from "../../../src/upstream/upstream.ts";
import { FakeClock } from "../../support/fake-clock.ts";

test("a live upstream is shown with what its endpoints are and do, in the order of its source", () => {
	const upstream = new Upstream(
		{
			name: "payments",
			loadBalancing: "weighted",
			timeout: { requestMs: 1000, connectMs: 1000, idleMs: 1000 },
			pool: { connectionsMax: 1, pendingMax: 1, pendingTimeoutMs: 1000 },
			checked: true,
			holdWhileRefused: false,
		},
		{ wheel: new DeadlineWheel(new FakeClock()), shared: new LoopMemory(), rng: seededRng(1) },
	);
	assert.deepEqual(upstreamView(upstream), { name: "payments", loadBalancing: "weighted", resolved: false, endpoints: [] });
	upstream.setEndpoints([
		{ address: { kind: "tcp", host: "10.0.0.11", port: 80 }, weight: 2, zone: "a" },
		{ address: { kind: "unix", path: "/run/app.sock" }, weight: 1, zone: undefined },
	]);
	upstream.setHealth("10.0.0.11:80", "unhealthy");
	const { resolved, endpoints } = upstreamView(upstream);
	assert.equal(resolved, true);
	assert.deepEqual(
		endpoints.map(({ address, weight, zone, health, activeRequests, requests }) => [address, weight, zone, health, activeRequests, requests]),
		[
			["10.0.0.11:80", 2, "a", "unhealthy", 0, 0],
			["unix:/run/app.sock", 1, undefined, "pending", 0, 0],
		],
	);
	assert.deepEqual(endpoints[0]?.pool, { open: 0, idle: 0, pending: 0, connects: 0, connectFailures: 0, overflows: 0 });
});
