/** How long one try may take, and all of them together. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "../../support/fake-clock.ts";
import { ok } from "../../support/raw-peer.ts";
import {
	AT_ONCE,
	advanceUntil,
	assertAllReturned,
	failureOf,
	fieldOf,
	GUARD,
	get,
	group,
	NO_EJECTION,
	post,
	reasonOf,
	said,
	startOutbound,
	turns,
	until,
} from "../exchange/support.ts";

const PER_TRY = `${NO_EJECTION}, timeout: { request: 10s }, retry: { ${AT_ONCE}, perTryTimeout: 1s }`;

describe("retry.perTryTimeout", GUARD, () => {
	it("ends a try that has no answer, closes its connection, and the next one goes elsewhere", async (t) => {
		const clock = new FakeClock();
		const { upstreams, seen } = await group(t, 2, (nth) => (nth === 0 ? undefined : ok()));
		const tested = await startOutbound(t, upstreams, PER_TRY, { clock });
		const client = await tested.client();
		client.send(get());
		await until(() => seen.length === 1);
		clock.advance(950);
		await turns();
		assert.equal(seen.length, 1);
		clock.advance(200);
		assert.equal((await client.answer()).status, 200);
		assert.notEqual(seen[0]?.by, seen[1]?.by);
		await seen[0]?.connection.untilClosed();
		assertAllReturned(tested);
	});

	it("of all tries is what the client is told in the end", async (t) => {
		const clock = new FakeClock();
		const { upstreams, seen } = await group(t, 2, () => undefined);
		const tested = await startOutbound(t, upstreams, PER_TRY, { clock });
		const client = await tested.client();
		client.send(get());
		await advanceUntil(clock, () => client.answers.length === 1, 50);
		const [answer] = client.answers;
		assert.ok(answer !== undefined);
		assert.deepEqual([answer.status, reasonOf(answer), fieldOf(answer, "x-nexus-retried"), seen.length], [504, "per_try_timeout", "1", 3]);
		assert.deepEqual(said(failureOf(tested), "retry"), ["tried again at once", "tried again at once", "not tried again: all tries are used"]);
		assertAllReturned(tested);
	});

	it("is not tried again for a POST that has left", async (t) => {
		const clock = new FakeClock();
		const { upstreams, seen } = await group(t, 2, () => undefined);
		const tested = await startOutbound(t, upstreams, PER_TRY, { clock });
		const client = await tested.client();
		client.send(post("x"));
		await advanceUntil(clock, () => client.answers.length === 1, 50);
		assert.deepEqual([client.answers[0]?.status, seen.length], [504, 1]);
	});

	it("is not tried again where the policy does not list it", async (t) => {
		const clock = new FakeClock();
		const { upstreams, seen } = await group(t, 2, () => undefined);
		const tested = await startOutbound(t, upstreams, PER_TRY.replace("retry: {", "retry: { on: [503],"), { clock });
		const client = await tested.client();
		client.send(get());
		await advanceUntil(clock, () => client.answers.length === 1, 50);
		assert.deepEqual([client.answers[0]?.status, seen.length], [504, 1]);
	});

	it("does not cut an answer whose head has come", async (t) => {
		const clock = new FakeClock();
		const { upstreams, seen } = await group(t, 1, () => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha");
		const tested = await startOutbound(t, upstreams, PER_TRY, { clock });
		const client = await tested.client();
		client.send(get());
		await client.untilText("ha");
		clock.advance(5000);
		await turns();
		seen[0]?.connection.send("lf");
		assert.equal((await client.answer()).body.toString(), "half");
	});

	it("counts against the endpoint", async (t) => {
		const clock = new FakeClock();
		const { upstreams } = await group(t, 1, () => undefined);
		const tested = await startOutbound(t, upstreams, `circuitBreaker: { failureThreshold: 1 }, retry: { attempts: 0, perTryTimeout: 1s }`, { clock });
		const client = await tested.client();
		client.send(get());
		await advanceUntil(clock, () => client.answers.length === 1, 50);
		assert.deepEqual([tested.upstream("api").breakers[0]?.state, tested.upstream("api").breakers[0]?.lastErrors.length], ["open", 1]);
	});
});

describe("timeout.request", GUARD, () => {
	it("covers all tries, and ends the last one in the middle", async (t) => {
		const clock = new FakeClock();
		const { upstreams, seen } = await group(t, 3, () => undefined);
		const tested = await startOutbound(t, upstreams, PER_TRY.replace("10s", "2500ms"), { clock });
		const client = await tested.client();
		client.send(get());
		const beganMs = clock.monotonicMs();
		await advanceUntil(clock, () => client.answers.length === 1, 50);
		const tookMs = clock.monotonicMs() - beganMs;
		assert.ok(tookMs >= 2500 && tookMs <= 2700, `${tookMs} ms`);
		const [answer] = client.answers;
		assert.ok(answer !== undefined);
		assert.deepEqual([answer.status, reasonOf(answer), seen.length], [504, "upstream_timeout", 3]);
		await Promise.all(seen.map(({ connection }) => connection.untilClosed()));
		assertAllReturned(tested);
	});

	it("of a route goes before that of its upstream", async (t) => {
		const clock = new FakeClock();
		const { upstreams, seen } = await group(t, 1, () => undefined);
		const routes = "{ name: quick, match: { path: /quick/** }, to: api, timeout: { request: 500ms }, retry: { attempts: 0 } }";
		const tested = await startOutbound(t, upstreams, "timeout: { request: 10s }", { clock, routes });
		const client = await tested.client();
		client.send(get("", "/quick/x"));
		await until(() => seen.length === 1);
		assert.equal(fieldOf(seen[0]?.request as never, "x-nexus-deadline-ms"), "500");
		clock.advance(650);
		assert.equal((await client.answer()).status, 504);
		assertAllReturned(tested);
	});

	it("tells in the trace which try it ended", async (t) => {
		const clock = new FakeClock();
		const { upstreams } = await group(t, 1, () => undefined);
		const tested = await startOutbound(t, upstreams, "timeout: { request: 500ms }", { clock });
		const client = await tested.client();
		client.send(get());
		await advanceUntil(clock, () => client.answers.length === 1, 50);
		assert.deepEqual(said(failureOf(tested), "attempt"), [`try 1 at ${upstreams[0]?.address}: given up before it was answered`]);
	});
});

describe("timeout.idle", GUARD, () => {
	it("ends an answer that stops in the middle", async (t) => {
		const clock = new FakeClock();
		const { upstreams } = await group(t, 1, () => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha");
		const tested = await startOutbound(t, upstreams, "timeout: { request: 10s, idle: 2s }", { clock });
		const client = await tested.client();
		client.send(get());
		await client.untilText("ha");
		clock.advance(2200);
		await client.untilClosed();
		assert.ok(client.text.endsWith("ha"));
		assertAllReturned(tested);
	});
});
