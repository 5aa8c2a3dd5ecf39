/** A service as its caller sees it: endpoints come and go, and what stays keeps what it has. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { seededRng } from "../../src/core/rng.ts";
import { defaultUpstream } from "../../src/policy/compile.ts";
import type { EndpointPolicy } from "../../src/policy/snapshot.ts";
import type { Endpoint } from "../../src/upstream/endpoint.ts";
import { Upstream, type UpstreamOptions } from "../../src/upstream/upstream.ts";
import { rawUpstream } from "../support/raw-peer.ts";
import { Bench, lookupForEver, tcp, until } from "./support.ts";

const DEFAULTS = defaultUpstream();

const OPTIONS: UpstreamOptions = {
	name: "payments",
	loadBalancing: "round-robin",
	balancing: DEFAULTS.balancing,
	guards: {
		circuitBreaker: undefined,
		concurrency: undefined,
		outlierDetection: DEFAULTS.outlierDetection,
		retryBudget: DEFAULTS.retryBudget,
	},
	zone: undefined,
	timeout: { requestMs: 1000, connectMs: 1000, idleMs: 60_000 },
	pool: { connectionsMax: 10, pendingMax: 10, pendingTimeoutMs: 1000 },
	checked: false,
	holdWhileRefused: false,
};

function make(t: TestContext, options: Partial<UpstreamOptions> = {}): { upstream: Upstream; bench: Bench; options: UpstreamOptions } {
	const bench = new Bench(t);
	const merged = { ...OPTIONS, ...options };
	const upstream = new Upstream(merged, { clock: bench.clock, wheel: bench.wheel, shared: bench.shared, rng: seededRng(1) });
	t.after(() => upstream.destroy());
	return { upstream, bench, options: merged };
}

function at(port: number, weight = 1): EndpointPolicy {
	return { address: tcp(port), weight, zone: undefined };
}

function byKey(upstream: Upstream, port: number): Endpoint {
	const endpoint = [...upstream.endpoints()].find(({ key }) => key === `127.0.0.1:${port}`);
	assert.ok(endpoint !== undefined, `no endpoint ${port}`);
	return endpoint;
}

/** How often each endpoint is picked, by port. */
function picks(upstream: Upstream, count: number): Record<string, number> {
	const counts: Record<string, number> = {};
	for (let i = 0; i < count; i++) {
		const port = upstream.pick()?.key.split(":")[1] ?? "none";
		counts[port] = (counts[port] ?? 0) + 1;
	}
	return counts;
}

describe("the endpoints of an upstream", { timeout: 30_000 }, () => {
	it("are none at first, and resolved with the first list, even an empty one", (t) => {
		const { upstream } = make(t);
		assert.deepEqual([upstream.resolved, upstream.pick()], [false, undefined]);
		upstream.setEndpoints([]);
		assert.deepEqual([upstream.resolved, upstream.pick()], [true, undefined]);
	});

	it("keep connections, counters and identity where they stay on the list, and take new weights", async (t) => {
		const server = await rawUpstream(t);
		const { upstream, bench } = make(t, { loadBalancing: "weighted" });
		upstream.setEndpoints([at(server.port, 1), at(2, 1)]);
		const staying = byKey(upstream, server.port);
		(await bench.waiter(staying.pool).connection()).release();
		staying.requests = 7;
		upstream.setEndpoints([at(3, 1), at(server.port, 3)]);
		assert.equal(byKey(upstream, server.port), staying);
		assert.deepEqual([staying.pool.stats.idle, staying.pool.stats.connects, staying.requests, staying.weight], [1, 1, 7, 3]);
		assert.deepEqual(picks(upstream, 400), { 3: 100, [server.port]: 300 });
	});

	it("that leave get no more requests; their idle connections close, their busy ones finish, their waiters are told", async (t) => {
		const server = await rawUpstream(t);
		const { upstream, bench } = make(t, { pool: { ...OPTIONS.pool, connectionsMax: 2 } });
		upstream.setEndpoints([at(server.port), at(2)]);
		const leaving = byKey(upstream, server.port);
		const [busy, idle] = await Promise.all([bench.waiter(leaving.pool).connection(), bench.waiter(leaving.pool).connection()]);
		const waiter = bench.waiter(leaving.pool);
		upstream.setEndpoints([at(2)]);
		assert.deepEqual(picks(upstream, 10), { 2: 10 });
		assert.equal((await waiter.refusal()).reason, "no_healthy_endpoint");
		assert.equal(busy?.socket.destroyed, false);
		busy?.release();
		idle?.release();
		await until(() => leaving.pool.stats.open === 0);
		// Back again it is a new one.
		upstream.setEndpoints([at(server.port), at(2)]);
		assert.notEqual(byKey(upstream, server.port), leaving);
		await bench.waiter(byKey(upstream, server.port).pool).connection();
	});

	it("never receive a waiter whom their own removal sent away", (t) => {
		const { upstream, bench } = make(t, { lookup: lookupForEver });
		const gone: EndpointPolicy = { address: tcp(1, "gone.test"), weight: 1, zone: undefined };
		const left: EndpointPolicy = { address: tcp(1, "left.test"), weight: 1, zone: undefined };
		upstream.setEndpoints([gone, left]);
		const endpoint = [...upstream.endpoints()][0];
		assert.ok(endpoint !== undefined);
		const waiter = bench.waiter(endpoint.pool);
		const pickedAgain: (string | undefined)[] = [];
		waiter.onNoConnection = () => pickedAgain.push(upstream.pick()?.key, upstream.pick()?.key);
		upstream.setEndpoints([left]);
		assert.deepEqual(pickedAgain, ["left.test:1", "left.test:1"]);
	});

	it("appear once where a list names one twice", (t) => {
		const { upstream } = make(t);
		upstream.setEndpoints([at(1), at(1), at(2)]);
		assert.equal([...upstream.endpoints()].length, 2);
	});
});

describe("health", { timeout: 30_000 }, () => {
	it("begins as pending where checks are made, which counts as usable, else as unchecked", (t) => {
		for (const checked of [true, false]) {
			const { upstream } = make(t, { checked });
			upstream.setEndpoints([at(1)]);
			assert.equal(byKey(upstream, 1).health, checked ? "pending" : "unchecked");
			assert.notEqual(upstream.pick(), undefined);
		}
	});

	it("takes an unhealthy endpoint out and closes its idle connections, and puts it back when it is well", async (t) => {
		const server = await rawUpstream(t);
		const { upstream, bench } = make(t, { checked: true });
		upstream.setEndpoints([at(server.port), at(2)]);
		const sick = byKey(upstream, server.port);
		const [busy, idle] = await Promise.all([bench.waiter(sick.pool).connection(), bench.waiter(sick.pool).connection()]);
		idle?.release();
		upstream.setHealth(sick.key, "unhealthy");
		assert.deepEqual(picks(upstream, 10), { 2: 10 });
		await until(() => sick.pool.stats.open === 1);
		assert.equal(busy?.socket.destroyed, false, "an answer under way is finished");
		upstream.setHealth(sick.key, "healthy");
		assert.deepEqual(picks(upstream, 10), { 2: 5, [server.port]: 5 });
		await bench.waiter(sick.pool).connection();
	});

	it("of all endpoints lost leaves none to pick where the policy knows no panic", (t) => {
		const { upstream } = make(t, { checked: true, balancing: { ...DEFAULTS.balancing, panicThreshold: 0 } });
		upstream.setEndpoints([at(1), at(2)]);
		upstream.setHealth("127.0.0.1:1", "unhealthy");
		upstream.setHealth("127.0.0.1:2", "unhealthy");
		assert.equal(upstream.pick(), undefined);
	});

	it("of most endpoints lost brings all of them back into use, as their checks may be what is wrong", (t) => {
		const { upstream } = make(t, { checked: true });
		upstream.setEndpoints([at(1), at(2), at(3)]);
		upstream.setHealth("127.0.0.1:1", "unhealthy");
		assert.deepEqual([upstream.panic, picks(upstream, 4)], [false, { 2: 2, 3: 2 }]);
		upstream.setHealth("127.0.0.1:2", "unhealthy");
		assert.deepEqual([upstream.panic, Object.keys(picks(upstream, 6)), upstream.panicPicks], [true, ["1", "2", "3"], 6]);
	});

	it("of an endpoint that is gone by now is ignored", (t) => {
		const { upstream } = make(t, { checked: true });
		upstream.setEndpoints([at(1)]);
		upstream.setHealth("127.0.0.1:9", "unhealthy");
		assert.deepEqual(picks(upstream, 2), { 1: 2 });
	});

	it("survives a new list and new settings", (t) => {
		const { upstream, options } = make(t, { checked: true });
		upstream.setEndpoints([at(1), at(2)]);
		upstream.setHealth("127.0.0.1:1", "unhealthy");
		upstream.setEndpoints([at(1), at(2), at(3)]);
		upstream.configure({ ...options, loadBalancing: "random", timeout: { ...options.timeout, requestMs: 1 } });
		assert.equal(byKey(upstream, 1).health, "unhealthy");
		assert.equal(picks(upstream, 100)["1"], undefined);
	});

	it("starts anew where checks begin, and no longer matters where they end", (t) => {
		const { upstream, options } = make(t, { checked: true });
		upstream.setEndpoints([at(1)]);
		upstream.setHealth("127.0.0.1:1", "unhealthy");
		upstream.configure({ ...options, checked: false });
		assert.equal(byKey(upstream, 1).health, "unchecked");
		assert.notEqual(upstream.pick(), undefined);
		upstream.configure({ ...options, checked: true });
		assert.equal(byKey(upstream, 1).health, "pending");
	});
});

describe("settings", { timeout: 30_000 }, () => {
	it("that change reach the pools that exist, whose connections stay", async (t) => {
		const server = await rawUpstream(t);
		const { upstream, bench, options } = make(t);
		upstream.setEndpoints([at(server.port)]);
		const { pool } = byKey(upstream, server.port);
		const connection = await bench.waiter(pool).connection();
		connection.release();
		upstream.configure({ ...options, pool: { ...options.pool, pendingMax: 0 } });
		assert.equal(bench.waiter(pool).accepted, false);
		assert.equal(pool.takeIdle(), connection);
		assert.equal(upstream.options.pool.pendingMax, 0);
	});

	it("that leave the balancing alone keep its place in the turns", (t) => {
		const { upstream, options } = make(t);
		upstream.setEndpoints([at(1), at(2), at(3)]);
		const order = [upstream.pick()?.key];
		upstream.configure({ ...options, timeout: { ...options.timeout, requestMs: 5 } });
		order.push(upstream.pick()?.key);
		upstream.setEndpoints([at(1), at(2), at(3)]);
		order.push(upstream.pick()?.key);
		assert.equal(new Set(order).size, 3, order.join(" "));
	});

	it("of another balancing act at once", (t) => {
		const { upstream, options } = make(t);
		upstream.setEndpoints([at(1), at(2)]);
		const [first, second] = [byKey(upstream, 1), byKey(upstream, 2)];
		first.activeRequests = 5;
		assert.deepEqual(picks(upstream, 10), { 1: 5, 2: 5 });
		upstream.configure({ ...options, loadBalancing: "least-connections" });
		assert.deepEqual(picks(upstream, 10), { 2: 10 });
		first.activeRequests = second.activeRequests = 0;
	});
});

describe("an upstream that leaves the policy", { timeout: 30_000 }, () => {
	it("finishes what runs and closes the rest", async (t) => {
		const server = await rawUpstream(t);
		const { upstream, bench } = make(t);
		upstream.setEndpoints([at(server.port)]);
		const { pool } = byKey(upstream, server.port);
		const [busy, idle] = await Promise.all([bench.waiter(pool).connection(), bench.waiter(pool).connection()]);
		idle?.release();
		upstream.retire();
		await until(() => pool.stats.open === 1);
		busy?.release();
		await until(() => pool.stats.open === 0);
		assert.equal(bench.waiter(pool).accepted, false);
	});
});

describe("a further try", () => {
	it("goes to any of the others by chance and weight, not to the neighbour of the one that failed", (t) => {
		const { upstream } = make(t);
		upstream.setEndpoints([at(1), at(2), at(3), at(4, 4)]);
		const failed = byKey(upstream, 1);
		const counts: Record<string, number> = {};
		for (let i = 0; i < 6000; i++) {
			const port = upstream.pick([failed])?.key.split(":")[1] ?? "none";
			counts[port] = (counts[port] ?? 0) + 1;
		}
		assert.deepEqual(Object.keys(counts), ["2", "3", "4"]);
		for (const [port, share] of [
			["2", 1 / 6],
			["3", 1 / 6],
			["4", 4 / 6],
		] as const)
			assert.ok(Math.abs((counts[port] ?? 0) / 6000 - share) < 0.03, JSON.stringify(counts));
	});

	it("goes to the one that failed where there is no other", (t) => {
		const { upstream } = make(t);
		upstream.setEndpoints([at(1)]);
		const failed = byKey(upstream, 1);
		assert.equal(upstream.pick([failed]), failed);
	});
});
