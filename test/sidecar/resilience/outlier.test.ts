/** Endpoints that traffic shows to be unwell: who is ejected, who comes back, and what happens when too few are left. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { FakeClock } from "../../support/fake-clock.ts";
import { freePorts } from "../../support/processes.ts";
import { ok } from "../../support/raw-peer.ts";
import {
	advanceUntil,
	assertAllReturned,
	type Group,
	GUARD,
	get,
	group,
	reply,
	startOutbound,
	type Tried,
	turns,
	until,
} from "../exchange/support.ts";

const ONCE = "retry: { attempts: 0 }";

async function unwell(t: TestContext, count: number, keys: string): Promise<Group & { tested: Tried; clock: FakeClock; ill: Set<number> }> {
	const clock = new FakeClock();
	const ill = new Set([0]);
	const endpoints = await group(t, count, (_, by, { target }) => (ill.has(by) && target !== "/healthz" ? reply(500) : ok()));
	const tested = await startOutbound(t, endpoints.upstreams, keys, { clock });
	return { ...endpoints, tested, clock, ill };
}

function ejected(tested: Tried): boolean[] {
	return tested.upstream("api").endpoints.map((endpoint) => endpoint.ejected);
}

function eventsOf({ events }: Tried, change: "ejected" | "returned"): Record<string, unknown>[] {
	return events.filter(({ type }) => type === `nexus.mesh.endpoint.${change}`).map(({ data }) => data as Record<string, unknown>);
}

async function askUntil(tested: Tried, holds: () => boolean): Promise<number> {
	let asked = 0;
	for (; !holds(); asked++) {
		assert.ok(asked < 200, `${holds}`);
		await tested.ask(get());
	}
	return asked;
}

describe("an endpoint that fails 5 times in a row", GUARD, () => {
	it("is ejected without a word in the policy, and told so", async (t) => {
		const { tested, seen, upstreams } = await unwell(t, 3, ONCE);
		await askUntil(tested, () => ejected(tested)[0] === true);
		assert.equal(seen.filter(({ by }) => by === 0).length, 5);
		assert.deepEqual(ejected(tested), [true, false, false]);
		const before = seen.length;
		for (let i = 0; i < 12; i++) assert.equal((await tested.ask(get())).status, 200);
		assert.ok(seen.slice(before).every(({ by }) => by !== 0));
		const [event] = eventsOf(tested, "ejected");
		assert.deepEqual([event?.upstream, event?.endpoint, event?.forMs, event?.ejections], ["api", upstreams[0]?.address, 30_000, 1]);
		assert.equal(await tested.metric("nexus_endpoint_ejected", { upstream: "api", endpoint: upstreams[0]?.address ?? "" }), 1);
		assertAllReturned(tested);
	});

	it("is not ejected where a success comes between", async (t) => {
		const { tested, seen, ill } = await unwell(t, 2, ONCE);
		for (let i = 0; i < 20; i++) {
			ill.clear();
			if (seen.filter(({ by }) => by === 0).length % 5 !== 4) ill.add(0);
			await tested.ask(get());
		}
		assert.deepEqual(ejected(tested), [false, false]);
	});

	it("is ejected as well where it refuses connections, though retries heal each request", async (t) => {
		const [dead] = await freePorts(1);
		const { upstreams } = await group(t, 2);
		const tested = await startOutbound(t, [{ address: `127.0.0.1:${dead}` }, ...upstreams], "");
		let asked = 0;
		for (; ejected(tested)[0] !== true; asked++) {
			assert.ok(asked < 50);
			assert.equal((await tested.ask(get())).status, 200);
		}
		assert.equal(tested.upstream("api").endpoints[0]?.pool.connectFailures, 5);
	});

	it("stays where the policy says so", async (t) => {
		const { tested } = await unwell(t, 2, `outlierDetection: { enabled: false }, ${ONCE}`);
		for (let i = 0; i < 20; i++) await tested.ask(get());
		assert.deepEqual(ejected(tested), [false, false]);
	});

	it("comes back after its time, and is told so; the next time it stays away for longer", async (t) => {
		const { tested, clock, ill, seen } = await unwell(t, 2, ONCE);
		await askUntil(tested, () => ejected(tested)[0] === true);
		await advanceUntil(clock, () => ejected(tested)[0] === false, 500);
		assert.ok(clock.monotonicMs() >= 30_000 && clock.monotonicMs() <= 42_000, `${clock.monotonicMs()}`);
		assert.deepEqual(
			eventsOf(tested, "returned").map(({ by }) => by),
			["time"],
		);
		const before = seen.length;
		await askUntil(tested, () => ejected(tested)[0] === true);
		assert.ok(seen.length > before);
		assert.equal(eventsOf(tested, "ejected")[1]?.forMs, 60_000);
		ill.clear();
		await advanceUntil(clock, () => ejected(tested)[0] === false, 1000);
		await askUntil(tested, () => seen.at(-1)?.by === 0);
		assertAllReturned(tested);
	});

	it("comes back with a health check that succeeds", async (t) => {
		const check = "healthCheck: { kind: http, path: /healthz, interval: 1s, timeout: 500ms, unhealthyThreshold: 1, healthyThreshold: 1 }";
		const { tested, clock, ill } = await unwell(t, 2, `${check}, ${ONCE}`);
		await askUntil(tested, () => ejected(tested)[0] === true);
		const ejectedMs = clock.monotonicMs();
		ill.clear();
		await advanceUntil(clock, () => ejected(tested)[0] === false, 50);
		assert.ok(clock.monotonicMs() - ejectedMs < 5000, `${clock.monotonicMs() - ejectedMs}`);
		assert.deepEqual(
			eventsOf(tested, "returned").map(({ by }) => by),
			["health-check"],
		);
	});
});

describe("when too few endpoints are left", GUARD, () => {
	it("all are used: it is told in the trace and by metrics", async (t) => {
		const { tested, ill, seen } = await unwell(t, 4, `outlierDetection: { maxEjectionPercent: 100 }, ${ONCE}`);
		ill.add(1).add(2);
		await askUntil(tested, () => ejected(tested).filter(Boolean).length === 3);
		assert.ok(tested.upstream("api").panic);
		assert.equal(await tested.metric("nexus_upstream_panic", { upstream: "api" }), 1);
		const before = seen.length;
		for (let i = 0; i < 8; i++) await tested.ask(get("X-Nexus-Trace: t1\r\n"));
		assert.deepEqual([...new Set(seen.slice(before).map(({ by }) => by))].sort(), [0, 1, 2, 3]);
		assert.equal(await tested.metric("nexus_upstream_panic_picks_total", { upstream: "api" }), 8);
		const { body } = await tested.admin("GET", "/traces/t1");
		assert.match(JSON.stringify(body), /so few are usable that all are used \(panic\)/);
		// A success is no way back; a few of them are better than an endpoint that is overrun.
		ill.clear();
		assert.equal((await tested.ask(get())).status, 200);
	});

	it("no more than maxEjectionPercent are ejected, but always one", async (t) => {
		const { tested, ill } = await unwell(t, 4, `outlierDetection: { maxEjectionPercent: 10 }, ${ONCE}`);
		for (const by of [1, 2, 3]) ill.add(by);
		for (let i = 0; i < 60; i++) await tested.ask(get());
		assert.equal(ejected(tested).filter(Boolean).length, 1);
		await turns();
		await until(() => tested.upstream("api").endpoints.every(({ activeRequests }) => activeRequests === 0));
	});
});
