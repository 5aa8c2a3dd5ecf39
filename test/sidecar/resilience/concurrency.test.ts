/** How many requests may be under way to an upstream, who waits, in what order, and how the wait ends. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { FakeClock } from "../../support/fake-clock.ts";
import { ok, type RawClient } from "../../support/raw-peer.ts";
import {
	advanceUntil,
	assertAllReturned,
	failureOf,
	type Group,
	GUARD,
	get,
	group,
	reasonOf,
	startOutbound,
	type Tried,
	turns,
	until,
} from "../exchange/support.ts";

async function limited(t: TestContext, keys: string): Promise<Group & { tested: Tried; clock: FakeClock }> {
	const clock = new FakeClock();
	const endpoints = await group(t, 1, () => undefined);
	const tested = await startOutbound(t, endpoints.upstreams, `circuitBreaker: { failureThreshold: 0, ${keys} }, timeout: { request: 60s }`, {
		clock,
	});
	return { ...endpoints, tested, clock };
}

/** One request, known to the sidecar when this resolves. */
async function asks(tested: Tried, path: string): Promise<RawClient> {
	const client = await tested.client();
	const before = tested.upstream("api").concurrency;
	client.send(get("", path));
	await until(() => {
		const now = tested.upstream("api").concurrency;
		return (now?.active ?? 0) + (now?.pending ?? 0) > (before?.active ?? 0) + (before?.pending ?? 0) || client.answers.length > 0;
	});
	return client;
}

describe("circuitBreaker.maxConcurrent", GUARD, () => {
	it("lets so many requests through at a time, and the others in the order in which they came", async (t) => {
		const { tested, seen } = await limited(t, "maxConcurrent: 2");
		const paths = ["/0", "/1", "/2", "/3", "/4", "/5"];
		const clients: RawClient[] = [];
		for (const path of paths) clients.push(await asks(tested, path));
		await until(() => seen.length === 2);
		await turns();
		assert.deepEqual(tested.upstream("api").concurrency, { limit: 2, active: 2, pending: 4 });
		for (let i = 0; i < paths.length; i++) {
			await until(() => seen.length > i);
			assert.ok(seen.length <= i + 2);
			seen[i]?.connection.send(ok(paths[i]));
		}
		for (const [i, client] of clients.entries()) assert.equal((await client.answer()).body.toString(), paths[i]);
		assert.deepEqual(
			seen.map(({ request }) => request.target),
			paths,
		);
		assertAllReturned(tested);
	});

	it("refuses whom the queue does not hold, and says which line of the policy does", async (t) => {
		const { tested, seen } = await limited(t, "maxConcurrent: 1, maxPending: 1");
		await asks(tested, "/0");
		await asks(tested, "/1");
		const answer = await tested.ask(get("", "/2"));
		assert.deepEqual([answer.status, reasonOf(answer), seen.length], [503, "endpoint_overflow", 1]);
		assert.equal(failureOf(tested).decisions.find(({ stage }) => stage === "attempt")?.place?.line, 6);
	});

	it("refuses at once where nobody may wait", async (t) => {
		const { tested, seen } = await limited(t, "maxConcurrent: 1, maxPending: 0");
		const first = await asks(tested, "/0");
		assert.equal(reasonOf(await tested.ask(get())), "endpoint_overflow");
		seen[0]?.connection.send(ok());
		assert.equal((await first.answer()).status, 200);
		const second = await asks(tested, "/1");
		await until(() => seen.length === 2);
		seen[1]?.connection.send(ok());
		assert.equal((await second.answer()).status, 200);
		assertAllReturned(tested);
	});

	it("ends a wait after pendingTimeout with queue_timeout", async (t) => {
		const { tested, clock, seen } = await limited(t, "maxConcurrent: 1, pendingTimeout: 500ms");
		await asks(tested, "/0");
		const waits = await asks(tested, "/1");
		clock.advance(450);
		await turns();
		assert.equal(waits.answers.length, 0);
		clock.advance(200);
		const answer = await waits.answer();
		assert.deepEqual([answer.status, reasonOf(answer), seen.length], [503, "queue_timeout", 1]);
		assert.equal(tested.upstream("api").concurrency?.pending, 0);
	});

	it("forgets who has left the queue", async (t) => {
		const { tested, seen } = await limited(t, "maxConcurrent: 1");
		const first = await asks(tested, "/0");
		const second = await asks(tested, "/1");
		const third = await asks(tested, "/2");
		await until(() => seen.length === 1);
		second.reset();
		await until(() => tested.upstream("api").concurrency?.pending === 1);
		seen[0]?.connection.send(ok());
		await first.answer();
		await until(() => seen.length === 2);
		assert.equal(seen[1]?.request.target, "/2");
		seen[1]?.connection.send(ok());
		await third.answer();
		assertAllReturned(tested);
	});

	it("gives the slot of a client that goes to the next one", async (t) => {
		const { tested, seen } = await limited(t, "maxConcurrent: 1");
		const first = await asks(tested, "/0");
		await asks(tested, "/1");
		await until(() => seen.length === 1);
		first.reset();
		await until(() => seen.length === 2);
		assert.equal(seen[1]?.request.target, "/1");
	});

	it("is a limit of bodies too: the slot is free with the last byte, not with the head", async (t) => {
		const { tested, seen } = await limited(t, "maxConcurrent: 1");
		const first = await asks(tested, "/0");
		await asks(tested, "/1");
		await until(() => seen.length === 1);
		seen[0]?.connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha");
		await first.untilText("ha");
		await turns();
		assert.equal(seen.length, 1);
		seen[0]?.connection.send("lf");
		await until(() => seen.length === 2);
	});

	it("ends the wait of a request whose own time is over", async (t) => {
		const { tested, clock, seen } = await limited(t, "maxConcurrent: 1, pendingTimeout: 30s");
		await asks(tested, "/0");
		const client = await tested.client();
		client.send(get("X-Nexus-Deadline-Ms: 300\r\n"));
		await until(() => tested.upstream("api").concurrency?.pending === 1);
		await advanceUntil(clock, () => client.answers.length === 1, 50);
		assert.deepEqual([client.answers[0]?.status, seen.length], [504, 1]);
		assert.equal(tested.upstream("api").concurrency?.pending, 0);
	});

	it("is told by metrics", async (t) => {
		const { tested } = await limited(t, "maxConcurrent: 1");
		await asks(tested, "/0");
		await asks(tested, "/1");
		for (const [name, value] of [
			["limit", 1],
			["active", 1],
			["pending", 1],
		] as const)
			assert.equal(await tested.metric(`nexus_concurrency_${name}`, { upstream: "api" }), value);
	});

	it("raised by a reload lets those in who wait", async (t) => {
		const { tested, seen, upstreams } = await limited(t, "maxConcurrent: 1");
		for (const path of ["/0", "/1", "/2"]) await asks(tested, path);
		await until(() => seen.length === 1);
		const keys = "circuitBreaker: { failureThreshold: 0, maxConcurrent: 3 }, timeout: { request: 60s }";
		tested.write(`outbound: { listen: "127.0.0.1:0" }\nupstreams:\n  api: { endpoints: [ { address: "${upstreams[0]?.address}" } ], ${keys} }\n`);
		assert.equal((await tested.sidecar.reload()).kind, "applied");
		await until(() => seen.length === 3);
		for (const { connection } of seen) connection.send(ok());
		await until(() => tested.upstream("api").concurrency?.active === 0);
		assertAllReturned(tested);
	});

	it("removed by a reload lets those in who wait", async (t) => {
		const { tested, seen, upstreams } = await limited(t, "maxConcurrent: 1");
		const clients = [await asks(tested, "/0"), await asks(tested, "/1")];
		await until(() => seen.length === 1);
		tested.write(
			`outbound: { listen: "127.0.0.1:0" }\nupstreams:\n  api: { endpoints: [ { address: "${upstreams[0]?.address}" } ], timeout: { request: 60s } }\n`,
		);
		assert.equal((await tested.sidecar.reload()).kind, "applied");
		seen[0]?.connection.send(ok());
		await until(() => seen.length === 2);
		seen[1]?.connection.send(ok());
		for (const client of clients) assert.equal((await client.answer()).status, 200);
		assertAllReturned(tested);
	});
});
