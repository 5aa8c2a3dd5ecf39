/** The retry budget of an upstream over the wire: what it lets through, what the client gets when it is used up, and how that is told. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "../../support/fake-clock.ts";
import {
	AT_ONCE,
	assertAllReturned,
	failureOf,
	fieldOf,
	GUARD,
	get,
	group,
	NO_EJECTION,
	reasonOf,
	reply,
	said,
	startOutbound,
	until,
} from "../exchange/support.ts";

const NONE = `${NO_EJECTION}, retry: { ${AT_ONCE}, budget: { ratio: 0, minPerSecond: 0 } }`;

describe("with a budget that is used up", GUARD, () => {
	it("an answer is the client's as it came, marked so that nobody before us tries again either", async (t) => {
		const { upstreams, seen } = await group(t, 2, () => reply(503, "down", "X-Own: 1\r\n"));
		const tested = await startOutbound(t, upstreams, NONE);
		const answer = await tested.ask(get());
		assert.deepEqual(
			[answer.status, answer.body.toString(), fieldOf(answer, "x-own"), fieldOf(answer, "x-nexus-retried"), reasonOf(answer), seen.length],
			[503, "down", "1", "1", undefined, 1],
		);
		assert.deepEqual(said(failureOf(tested), "retry"), ["not tried again: the retry budget of the upstream is used up"]);
		assert.match(failureOf(tested).decisions.find(({ stage }) => stage === "retry")?.place?.file ?? "", /policy\.yaml$/);
	});

	it("a failure without an answer is told as retry_budget_exhausted, with what went wrong", async (t) => {
		const { upstreams } = await group(t, 2, (_, __, ___, connection) => {
			connection.send("HTTP/1.1 200 OK\r\nHalf");
			connection.socket.end();
			return undefined;
		});
		const tested = await startOutbound(t, upstreams, NONE);
		const answer = await tested.ask(get());
		assert.deepEqual([answer.status, reasonOf(answer), fieldOf(answer, "x-nexus-retried")], [503, "retry_budget_exhausted", "1"]);
		assert.match(answer.body.toString(), /upstream_reset/);
		assertAllReturned(tested);
	});

	it("the event is rolled up: one a second with the count, and not one for each refusal", async (t) => {
		const clock = new FakeClock();
		const { upstreams } = await group(t, 2, () => reply(503));
		const tested = await startOutbound(t, upstreams, NONE, { clock });
		const told = (): Record<string, unknown>[] =>
			tested.events.filter(({ type }) => type === "nexus.mesh.retry.budget_exhausted").map(({ data }) => data as Record<string, unknown>);
		for (let i = 0; i < 7; i++) await tested.ask(get());
		assert.equal(told().length, 0);
		clock.advance(1000);
		await until(() => told().length > 0);
		assert.deepEqual(
			told().map(({ upstream, refused }) => [upstream, refused]),
			[["api", 7]],
		);
		clock.advance(5000);
		assert.equal(told().length, 1);
		assert.equal(await tested.metric("nexus_retries_total", { upstream: "api", result: "refused" }), 7);
	});
});

describe("the budget", GUARD, () => {
	it("is a share of the requests and a reserve, over all of its window", async (t) => {
		const clock = new FakeClock();
		const { upstreams, seen } = await group(t, 2, () => reply(503));
		const tested = await startOutbound(t, upstreams, `${NO_EJECTION}, retry: { ${AT_ONCE}, budget: { ratio: 0.2, minPerSecond: 1, window: 10s } }`, {
			clock,
		});
		const client = await tested.client();
		for (let i = 0; i < 100; i++) {
			client.send(get());
			await client.answer(i);
			clock.advance(10);
		}
		// 20 % of 100, and 1/s over 10 s.
		assert.equal(seen.length, 100 + 20 + 10);
		assert.equal(await tested.metric("nexus_retry_budget_balance", { upstream: "api" }), 0);
	});

	it("is not charged for what reached nobody, nor for a request that must not be tried again", async (t) => {
		const { upstreams } = await group(t, 2, () => reply(503));
		const tested = await startOutbound(t, upstreams, `${NO_EJECTION}, retry: { ${AT_ONCE}, budget: { ratio: 0, minPerSecond: 0.1, window: 10s } }`);
		assert.equal((await tested.ask("POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 0\r\n\r\n")).status, 503);
		assert.equal(await tested.metric("nexus_retry_budget_balance", { upstream: "api" }), 1);
		await tested.ask(get());
		assert.equal(await tested.metric("nexus_retry_budget_balance", { upstream: "api" }), 0);
	});
});
