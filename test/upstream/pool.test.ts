/** The pool of one endpoint: order, bounds, waiting, refusals, retirement. */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { describe, it } from "node:test";
import { freePorts } from "../support/processes.ts";
import { rawUpstream } from "../support/raw-peer.ts";
import { Bench, LATE_MAX_MS, lookupForEver, tcp, until } from "./support.ts";

describe("a pool", { timeout: 30_000 }, () => {
	it("opens a connection for whoever waits and hands out the newest idle one first", async (t) => {
		const upstream = await rawUpstream(t);
		const bench = new Bench(t);
		const pool = bench.pool(tcp(upstream.port));
		assert.equal(pool.takeIdle(), undefined);
		const [a, b, c] = await Promise.all([bench.waiter(pool).connection(), bench.waiter(pool).connection(), bench.waiter(pool).connection()]);
		assert.deepEqual(pool.stats, { open: 3, idle: 0, pending: 0, connects: 3, connectFailures: 0, overflows: 0 });
		for (const connection of [b, a, c]) connection?.release();
		assert.equal(pool.stats.idle, 3);
		assert.equal(pool.takeIdle(), c);
		assert.equal(pool.takeIdle(), a);
		assert.equal(pool.takeIdle(), b);
		assert.equal(pool.takeIdle(), undefined);
	});

	it("opens no more than its maximum, and passes a released connection to whoever waited longest", async (t) => {
		const upstream = await rawUpstream(t);
		const bench = new Bench(t);
		const pool = bench.pool(tcp(upstream.port), { connectionsMax: 2 });
		const [first, second] = await Promise.all([bench.waiter(pool).connection(), bench.waiter(pool).connection()]);
		const waiters = [bench.waiter(pool), bench.waiter(pool), bench.waiter(pool)];
		assert.deepEqual([pool.stats.open, pool.stats.connects, pool.stats.pending], [2, 2, 3]);
		second?.release();
		assert.equal(await waiters[0]?.connection(), second);
		first?.release();
		assert.equal(await waiters[1]?.connection(), first);
		assert.equal(waiters[2]?.ended, undefined);
		// One that closes makes room for a new one.
		first?.close();
		await waiters[2]?.connection();
		assert.deepEqual([pool.stats.open, pool.stats.connects], [2, 3]);
	});

	it("refuses beyond its queue, counts that, and takes the next one when somebody has left from the middle", async (t) => {
		const bench = new Bench(t);
		const pool = bench.pool(tcp(1, "nowhere.test"), { pendingMax: 3, lookup: lookupForEver });
		const [first, middle, last] = [bench.waiter(pool), bench.waiter(pool), bench.waiter(pool)];
		assert.equal(bench.waiter(pool).accepted, false);
		assert.equal(pool.stats.overflows, 1);
		pool.leave(middle);
		assert.deepEqual([middle.waitsIn, pool.stats.pending], [undefined, 2]);
		const late = bench.waiter(pool);
		assert.equal(late.accepted, true);
		bench.clock.advance(1000 + LATE_MAX_MS);
		for (const waiter of [first, last, late]) assert.equal((await waiter.refusal()).reason, "connect_timeout");
		assert.equal(middle.ended, undefined, "who has left hears nothing");
		assert.equal(pool.stats.pending, 0);
	});

	it("says queue_timeout to whoever waits too long while others hold all connections", async (t) => {
		const upstream = await rawUpstream(t);
		const bench = new Bench(t);
		const pool = bench.pool(tcp(upstream.port), { connectionsMax: 1, pendingTimeoutMs: 500 });
		const holder = await bench.waiter(pool).connection();
		const waiter = bench.waiter(pool);
		bench.clock.advance(400);
		assert.equal(waiter.ended, undefined);
		bench.clock.advance(100 + LATE_MAX_MS);
		assert.deepEqual(await waiter.refusal(), { reason: "queue_timeout", detail: "no connection became free within 500 ms" });
		holder.release();
		assert.equal(pool.takeIdle(), holder);
	});

	it("says connect_timeout, not queue_timeout, where no connection was ever accepted", async (t) => {
		for (const [connectTimeoutMs, pendingTimeoutMs] of [
			[1000, 1000],
			[500, 1000],
			[1000, 500],
		] as const) {
			const bench = new Bench(t);
			const pool = bench.pool(tcp(1, "nowhere.test"), { connectTimeoutMs, pendingTimeoutMs, lookup: lookupForEver });
			const waiter = bench.waiter(pool);
			bench.clock.advance(1000 + LATE_MAX_MS);
			assert.equal((await waiter.refusal()).reason, "connect_timeout");
			await until(() => pool.stats.open === 0);
		}
	});

	it("tells one waiter of each refused connection, and tries again for the others", async (t) => {
		const [port = 0] = await freePorts(1);
		const bench = new Bench(t);
		const pool = bench.pool(tcp(port), { connectionsMax: 1 });
		const waiters = [bench.waiter(pool), bench.waiter(pool), bench.waiter(pool)];
		for (const waiter of waiters) assert.match((await waiter.refusal()).detail, /ECONNREFUSED/);
		for (const waiter of waiters) assert.equal((await waiter.refusal()).reason, "connect_refused");
		assert.deepEqual(pool.stats, { open: 0, idle: 0, pending: 0, connects: 3, connectFailures: 3, overflows: 0 });
	});

	it("says connect_failed with the system's error where a name does not resolve", async (t) => {
		const bench = new Bench(t);
		const pool = bench.pool(tcp(80, "nowhere.test"), {
			lookup: (_host, _options, callback) => callback(Object.assign(new Error("no such host"), { code: "ENOTFOUND" }), "", 0),
		});
		assert.deepEqual(await bench.waiter(pool).refusal(), { reason: "connect_failed", detail: "no such host (ENOTFOUND)" });
	});

	it("says connect_refused where a unix socket is not there", async (t) => {
		const bench = new Bench(t);
		const pool = bench.pool({ kind: "unix", path: "/nowhere/app.sock" });
		assert.equal((await bench.waiter(pool).refusal()).reason, "connect_refused");
	});

	it("never hands out an idle connection that its endpoint has closed, in order or by a reset", async (t) => {
		for (const end of ["fin", "rst"] as const) {
			const upstream = await rawUpstream(t);
			const bench = new Bench(t);
			const pool = bench.pool(tcp(upstream.port));
			const [old, young] = await Promise.all([bench.waiter(pool).connection(), bench.waiter(pool).connection()]);
			old?.release();
			young?.release();
			await upstream.connection(1);
			const peer = upstream.connections.find(({ socket }) => socket.remotePort === young?.socket.localPort);
			if (end === "fin") peer?.end();
			else peer?.reset();
			await until(() => pool.stats.idle === 1);
			assert.equal(pool.takeIdle(), old);
			assert.equal(pool.stats.open, 1);
		}
	});

	it("passes over a connection that is being closed but has not told yet", async (t) => {
		const upstream = await rawUpstream(t);
		const bench = new Bench(t);
		const pool = bench.pool(tcp(upstream.port));
		const connection = await bench.waiter(pool).connection();
		connection.release();
		connection.socket.destroy();
		assert.equal(pool.takeIdle(), undefined);
	});

	it("closes an idle connection when its time is up, and none that is in use", async (t) => {
		const upstream = await rawUpstream(t);
		const bench = new Bench(t);
		const pool = bench.pool(tcp(upstream.port), { idleTimeoutMs: 5_000 });
		const [idle, busy] = await Promise.all([bench.waiter(pool).connection(), bench.waiter(pool).connection()]);
		idle?.release();
		bench.clock.advance(5_000 + LATE_MAX_MS);
		await until(() => pool.stats.open === 1);
		assert.equal(pool.takeIdle(), undefined);
		assert.equal(busy?.socket.destroyed, false);
		busy?.release();
		assert.equal(pool.takeIdle(), busy);
	});

	it("connects again for those who wait when the connection that they waited for breaks", async (t) => {
		const upstream = await rawUpstream(t);
		const bench = new Bench(t);
		const pool = bench.pool(tcp(upstream.port), { connectionsMax: 1 });
		const first = await bench.waiter(pool).connection();
		const waiter = bench.waiter(pool);
		(await upstream.connection(0)).reset();
		const second = await waiter.connection();
		assert.notEqual(second, first);
	});

	it("takes new limits for the next connection and the next waiter", async (t) => {
		const upstream = await rawUpstream(t);
		const bench = new Bench(t);
		const address = tcp(upstream.port);
		const pool = bench.pool(address, { connectionsMax: 1 });
		await bench.waiter(pool).connection();
		const options = { connectTimeoutMs: 1000, idleTimeoutMs: 1000, pendingTimeoutMs: 1000, holdWhileRefused: false, address };
		pool.configure({ ...options, connectionsMax: 2, pendingMax: 0 });
		assert.equal(bench.waiter(pool).accepted, false);
		pool.configure({ ...options, connectionsMax: 2, pendingMax: 1 });
		await bench.waiter(pool).connection();
		assert.equal(pool.stats.open, 2);
	});
});

describe("a pool that holds back while its endpoint refuses", { timeout: 30_000 }, () => {
	it("keeps everybody waiting until the application comes up, and then gives each a connection", async (t) => {
		const [port = 0] = await freePorts(1);
		const bench = new Bench(t);
		const pool = bench.pool(tcp(port), { holdWhileRefused: true, pendingTimeoutMs: 60_000 });
		const waiters = [bench.waiter(pool), bench.waiter(pool), bench.waiter(pool)];
		// The three attempts of the beginning, then one at a time.
		await until(() => pool.stats.connectFailures === 3);
		for (let redial = 1; redial <= 5; redial++) {
			bench.clock.advance(100 + LATE_MAX_MS);
			await until(() => pool.stats.connectFailures === 3 + redial);
			assert.equal(pool.stats.connects, 3 + redial);
		}
		assert.equal(bench.waiter(pool).accepted, true);
		for (const waiter of waiters) assert.equal(waiter.ended, undefined);
		const server = createServer((socket) => t.after(() => void socket.destroy()));
		t.after(() => void server.close());
		await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
		bench.clock.advance(100 + LATE_MAX_MS);
		// Nobody releases one: each gets its own.
		const connections = await Promise.all(waiters.map((waiter) => waiter.connection()));
		assert.equal(new Set(connections).size, 3);
	});

	it("says application_not_ready when it never comes up, with the system's error", async (t) => {
		const [port = 0] = await freePorts(1);
		const bench = new Bench(t);
		const pool = bench.pool(tcp(port), { holdWhileRefused: true });
		const waiter = bench.waiter(pool);
		await until(() => pool.stats.connectFailures === 1);
		bench.clock.advance(1000 + LATE_MAX_MS);
		const { reason, detail } = await waiter.refusal();
		assert.equal(reason, "application_not_ready");
		assert.match(detail, /ECONNREFUSED/);
	});

	it("stops dialling when nobody waits any more, and begins again with the next one", async (t) => {
		const [port = 0] = await freePorts(1);
		const bench = new Bench(t);
		const pool = bench.pool(tcp(port), { holdWhileRefused: true });
		const waiter = bench.waiter(pool);
		await until(() => pool.stats.connectFailures === 1);
		pool.leave(waiter);
		bench.clock.advance(60_000);
		assert.equal(pool.stats.connects, 1);
		bench.waiter(pool);
		await until(() => pool.stats.connectFailures === 2);
	});
});

describe("a pool that is retired", { timeout: 30_000 }, () => {
	it("closes busy connections after their answer, sends waiters away with the reason and takes no more", async (t) => {
		const upstream = await rawUpstream(t);
		const bench = new Bench(t);
		const pool = bench.pool(tcp(upstream.port), { connectionsMax: 2 });
		const [busy, other] = await Promise.all([bench.waiter(pool).connection(), bench.waiter(pool).connection()]);
		const last = bench.waiter(pool);
		pool.retire("no_healthy_endpoint");
		assert.equal((await last.refusal()).reason, "no_healthy_endpoint");
		assert.equal(bench.waiter(pool).accepted, false);
		assert.equal(busy?.socket.destroyed, false);
		busy?.release();
		await until(() => pool.stats.open === 1);
		assert.equal(pool.takeIdle(), undefined);
		other?.release();
		await until(() => pool.stats.open === 0);
	});

	it("closes idle connections now when it is retired", async (t) => {
		const upstream = await rawUpstream(t);
		const bench = new Bench(t);
		const pool = bench.pool(tcp(upstream.port));
		const connection = await bench.waiter(pool).connection();
		connection.release();
		pool.retire("no_route");
		assert.equal(connection.socket.destroyed, true);
		assert.equal(pool.takeIdle(), undefined);
	});

	it("opens new connections after a drain that only closes the old ones", async (t) => {
		const upstream = await rawUpstream(t);
		const bench = new Bench(t);
		const pool = bench.pool(tcp(upstream.port));
		const [idle, busy] = await Promise.all([bench.waiter(pool).connection(), bench.waiter(pool).connection()]);
		idle?.release();
		pool.drain();
		await until(() => pool.stats.open === 1);
		const fresh = await bench.waiter(pool).connection();
		busy?.release();
		await until(() => pool.stats.open === 1);
		fresh.release();
		assert.equal(pool.takeIdle(), fresh);
	});

	it("closes everything at once when it is destroyed", async (t) => {
		const upstream = await rawUpstream(t);
		const bench = new Bench(t);
		const pool = bench.pool(tcp(upstream.port));
		const [idle, busy] = await Promise.all([bench.waiter(pool).connection(), bench.waiter(pool).connection()]);
		idle?.release();
		pool.destroy();
		assert.ok(idle?.socket.destroyed && busy?.socket.destroyed);
		await until(() => pool.stats.open === 0);
	});
});
