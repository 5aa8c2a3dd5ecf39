/** Second tries beside a slow first one: when they are sent, which answer counts, and that nothing of the loser stays. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { FakeClock } from "../../support/fake-clock.ts";
import { ok, type RawUpstreamConnection } from "../../support/raw-peer.ts";
import {
	AT_ONCE,
	assertAllReturned,
	type Group,
	GUARD,
	get,
	group,
	NO_EJECTION,
	post,
	reply,
	startOutbound,
	type Tried,
	turns,
	until,
} from "../exchange/support.ts";

const HEDGE = `${NO_EJECTION}, circuitBreaker: {}, retry: { ${AT_ONCE}, hedge: { after: 50ms, maxExtra: 100% } }`;

async function silent(t: TestContext, keys = HEDGE, count = 2): Promise<Group & { tested: Tried; clock: FakeClock }> {
	const clock = new FakeClock();
	const endpoints = await group(t, count, () => undefined);
	const tested = await startOutbound(t, endpoints.upstreams, keys, { clock });
	return { ...endpoints, tested, clock };
}

function connectionOf({ seen }: Group, nth: number): RawUpstreamConnection {
	const tried = seen[nth];
	assert.ok(tried !== undefined, `try ${nth} has not come`);
	return tried.connection;
}

/** Sends a request, and lets both tries arrive. */
async function hedged(t: TestContext, keys = HEDGE) {
	const all = await silent(t, keys);
	const client = await all.tested.client();
	client.send(get());
	await until(() => all.seen.length === 1);
	all.clock.advance(51);
	await until(() => all.seen.length === 2);
	return { ...all, client };
}

describe("a request whose first try is silent for 50 ms", GUARD, () => {
	it("is sent a second time, to another endpoint, and not before", async (t) => {
		const { tested, clock, seen } = await silent(t);
		const client = await tested.client();
		client.send(get());
		await until(() => seen.length === 1);
		clock.advance(49);
		await turns();
		assert.equal(seen.length, 1);
		clock.advance(2);
		await until(() => seen.length === 2);
		assert.notEqual(seen[0]?.by, seen[1]?.by);
		assert.deepEqual(
			tested.upstream("api").endpoints.map(({ activeRequests }) => activeRequests),
			[1, 1],
		);
	});

	for (const [winner, loser] of [
		[0, 1],
		[1, 0],
	] as const) {
		it(`gets the answer of try ${winner + 1} where that is first, and try ${loser + 1} is given up`, async (t) => {
			const all = await hedged(t);
			const { client, tested } = all;
			connectionOf(all, winner).send(ok(`by ${winner}`));
			assert.equal((await client.answer()).body.toString(), `by ${winner}`);
			await connectionOf(all, loser).untilClosed();
			assertAllReturned(tested);
			assert.equal(await tested.metric("nexus_hedges_total", { upstream: "api", result: "sent" }), 1);
			assert.equal(await tested.metric("nexus_hedges_total", { upstream: "api", result: "won" }), winner);
			assert.equal(
				tested.upstream("api").endpoints.reduce((open, { pool }) => open + pool.open, 0),
				1,
			);
		});
	}

	it("gets no byte of an answer that comes too late", async (t) => {
		const all = await hedged(t);
		connectionOf(all, 1).send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsec");
		await all.client.untilText("sec");
		connectionOf(all, 0).send(ok("first!"));
		await turns();
		connectionOf(all, 1).send("ond");
		assert.equal((await all.client.answer()).body.toString(), "second");
		assertAllReturned(all.tested);
	});

	it("goes on with the one try where the other one fails, whichever it is", async (t) => {
		for (const failing of [0, 1]) {
			for (const failure of [reply(503), undefined]) {
				const all = await hedged(t);
				if (failure === undefined) connectionOf(all, failing).reset();
				else connectionOf(all, failing).send(failure);
				await until(() => all.tested.upstream("api").endpoints.filter(({ activeRequests }) => activeRequests > 0).length === 1);
				connectionOf(all, 1 - failing).send(ok("well"));
				assert.equal((await all.client.answer()).body.toString(), "well");
				assert.equal(all.seen.length, 2);
				assertAllReturned(all.tested);
			}
		}
	});

	it("is tried a third time where both fail, as the policy has one try left", async (t) => {
		const all = await hedged(t, HEDGE);
		connectionOf(all, 0).send(reply(503));
		await until(() => all.tested.upstream("api").endpoints.filter(({ activeRequests }) => activeRequests > 0).length === 1);
		connectionOf(all, 1).send(reply(503));
		await until(() => all.seen.length === 3);
		connectionOf(all, 2).send(ok("third"));
		assert.equal((await all.client.answer()).body.toString(), "third");
		assertAllReturned(all.tested);
	});

	it("is given up at both endpoints when its client goes", async (t) => {
		const all = await hedged(t);
		all.client.reset();
		await connectionOf(all, 0).untilClosed();
		await connectionOf(all, 1).untilClosed();
		assertAllReturned(all.tested);
	});

	it("is given up at both endpoints when its time is over", async (t) => {
		const all = await hedged(t, `${HEDGE}, timeout: { request: 1s }`);
		all.clock.advance(1200);
		assert.equal((await all.client.answer()).status, 504);
		await connectionOf(all, 0).untilClosed();
		await connectionOf(all, 1).untilClosed();
		assertAllReturned(all.tested);
	});

	it("takes a second slot, and none where the limit has none", async (t) => {
		const all = await silent(t, HEDGE.replace("circuitBreaker: {}", "circuitBreaker: { maxConcurrent: 1 }"));
		const client = await all.tested.client();
		client.send(get());
		await until(() => all.seen.length === 1);
		all.clock.advance(51);
		await turns();
		assert.deepEqual([all.seen.length, all.tested.upstream("api").concurrency], [1, { limit: 1, active: 1, pending: 1 }]);
		connectionOf(all, 0).send(ok());
		assert.equal((await client.answer()).status, 200);
		assertAllReturned(all.tested);
	});
});

describe("delays of different routes", GUARD, () => {
	it("do not hold each other up", async (t) => {
		const clock = new FakeClock();
		const endpoints = await group(t, 2, () => undefined);
		const routes =
			"{ name: patient, match: { host: api, path: /patient }, to: api, retry: { hedge: { after: 10s, maxExtra: 100% } } }, { name: rest, match: { host: api }, to: api }";
		const tested = await startOutbound(t, endpoints.upstreams, HEDGE, { clock, routes });
		const [patient, quick] = [await tested.client(), await tested.client()];
		patient.send(get("", "/patient"));
		await until(() => endpoints.seen.length === 1);
		quick.send(get("", "/quick"));
		await until(() => endpoints.seen.length === 2);
		clock.advance(51);
		await until(() => endpoints.seen.length === 3);
		assert.equal(endpoints.seen[2]?.request.target, "/quick");
	});
});

describe("no second try is sent", GUARD, () => {
	for (const [what, request] of [
		["for a POST", post("x")],
		["for a request that is itself a retry of its caller", get("X-Nexus-Attempt: 2\r\n")],
		["for a body that is not complete", "PUT / HTTP/1.1\r\nHost: api\r\nContent-Length: 10\r\n\r\nhalf"],
		["for an upgrade", get("Connection: upgrade\r\nUpgrade: websocket\r\n")],
	] as const) {
		it(what, async (t) => {
			const { tested, clock, upstreams } = await silent(t);
			const client = await tested.client();
			client.send(request);
			await until(() => upstreams.some(({ connections }) => connections.length > 0));
			clock.advance(200);
			await turns();
			assert.equal(upstreams.flatMap(({ connections }) => connections).length, 1);
			assert.equal(await tested.metric("nexus_hedges_total", { upstream: "api", result: "sent" }), 0);
			client.reset();
			await until(() => tested.upstream("api").endpoints.every(({ activeRequests }) => activeRequests === 0));
		});
	}

	it("where there is no other endpoint", async (t) => {
		const { tested, clock, seen } = await silent(t, HEDGE, 1);
		const client = await tested.client();
		client.send(get());
		await until(() => seen.length === 1);
		clock.advance(200);
		await turns();
		assert.equal(seen.length, 1);
	});

	it("once an answer has begun, however long its body takes", async (t) => {
		const all = await silent(t);
		const client = await all.tested.client();
		client.send(get());
		await until(() => all.seen.length === 1);
		connectionOf(all, 0).send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha");
		await client.untilText("ha");
		all.clock.advance(200);
		await turns();
		connectionOf(all, 0).send("lf");
		assert.equal((await client.answer()).body.toString(), "half");
		assert.equal(all.seen.length, 1);
	});

	it("for the next request of a connection by the timer of the one before", async (t) => {
		const all = await silent(t);
		const client = await all.tested.client();
		client.send(get());
		await until(() => all.seen.length === 1);
		all.clock.advance(30);
		connectionOf(all, 0).send(ok());
		await client.answer();
		client.send(get());
		await until(() => all.seen.length === 2);
		all.clock.advance(30);
		await turns();
		assert.equal(all.seen.length, 2);
		all.clock.advance(25);
		await until(() => all.seen.length === 3);
	});

	it("beyond its share of the requests", async (t) => {
		const all = await silent(t, HEDGE.replace("100%", "10%"));
		const requests = 40;
		for (let i = 0; i < requests; i++) {
			const client = await all.tested.client();
			const before = all.seen.length;
			client.send(get());
			await until(() => all.seen.length > before);
			all.clock.advance(60);
			await turns(5);
			for (let n = before; n < all.seen.length; n++) connectionOf(all, n).send(ok());
			await client.answer();
			client.reset();
		}
		assert.equal(await all.tested.metric("nexus_hedges_total", { upstream: "api", result: "sent" }), 4);
		assert.equal(await all.tested.metric("nexus_hedges_total", { upstream: "api", result: "refused" }), 36);
	});

	it("where the retry budget is used up", async (t) => {
		const all = await silent(t, HEDGE.replace("hedge:", "budget: { ratio: 0, minPerSecond: 0 }, hedge:"));
		const client = await all.tested.client();
		client.send(get());
		await until(() => all.seen.length === 1);
		all.clock.advance(100);
		await turns();
		assert.equal(all.seen.length, 1);
		assert.equal(await all.tested.metric("nexus_hedges_total", { upstream: "api", result: "refused" }), 1);
	});
});

describe("a delay given as a quantile", GUARD, () => {
	it("is that of the answers so far, and nobody is hedged before there are enough of them", async (t) => {
		const all = await silent(t, HEDGE.replace("50ms", "p95"));
		const client = await all.tested.client();
		const answer = async (nth: number, afterMs: number): Promise<void> => {
			client.send(get());
			await until(() => all.seen.length === nth + 1);
			all.clock.advance(afterMs);
			connectionOf(all, nth).send(ok());
			await client.answer(nth);
		};
		await answer(0, 1000);
		for (let i = 1; i < 21; i++) await answer(i, 20);
		assert.equal(all.seen.length, 21);
		client.send(get());
		await until(() => all.seen.length === 22);
		all.clock.advance(15);
		await turns();
		assert.equal(all.seen.length, 22);
		// One of 21 took a second: 95 % took 20 ms, as the histogram has it up to 4.5 % more.
		all.clock.advance(8);
		await until(() => all.seen.length === 23);
	});
});
