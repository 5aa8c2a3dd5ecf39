/** Rate limits over the wire: whose bucket it is, what a refusal says, who waits, and what a reload keeps. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { FakeClock } from "../../support/fake-clock.ts";
import { ok, RawClient } from "../../support/raw-peer.ts";
import type { StrictMessage } from "../../support/strict-reader.ts";
import {
	advanceUntil,
	assertAllReturned,
	fieldOf,
	type Group,
	GUARD,
	get,
	group,
	reasonOf,
	startOutbound,
	type Tried,
	tried,
	turns,
	until,
} from "../exchange/support.ts";
import { startSidecar } from "../support.ts";

async function inbound(t: TestContext, limits: string): Promise<Group & { tested: Tried; clock: FakeClock; policy: (limits: string) => string }> {
	const clock = new FakeClock();
	clock.advance(1);
	const application = await group(t, 1, () => ok());
	const policy = (next: string): string =>
		`inbound: { listen: "127.0.0.1:0", application: "${application.upstreams[0]?.address}", rateLimits: [ ${next} ] }\n`;
	const tested = tried(t, await startSidecar(t, policy(limits), { clock }), "inbound");
	return { ...application, tested, clock, policy };
}

async function statuses(tested: Tried, count: number, request = get()): Promise<number[]> {
	const all: number[] = [];
	for (let i = 0; i < count; i++) all.push((await tested.ask(request)).status);
	return all;
}

function admitted(all: readonly number[]): number {
	return all.filter((status) => status === 200).length;
}

function nobodyWaits(tested: Tried): boolean {
	return tested.sidecar.limits().every(({ waiting }) => waiting === 0);
}

describe("a limit of inbound", GUARD, () => {
	it("admits its burst, refuses the rest with 429 and when to come again, and asks the application for nothing", async (t) => {
		const { tested, seen } = await inbound(t, "{ name: all, requestsPerSecond: 2, burst: 3, key: global }");
		assert.deepEqual(await statuses(tested, 3), [200, 200, 200]);
		const answer = await tested.ask(get());
		assert.deepEqual([answer.status, reasonOf(answer), fieldOf(answer, "retry-after"), seen.length], [429, "rate_limited", "1", 3]);
		assert.match(fieldOf(answer, "ratelimit") ?? "", /^"all";r=0;t=1$/);
		assert.match(fieldOf(answer, "ratelimit-policy") ?? "", /^"all";q=4;w=2$/);
		assert.match(answer.body.toString(), /all/);
		assert.equal(fieldOf(answer, "connection"), undefined);
	});

	it("fills again at its rate, exactly", async (t) => {
		const { tested, clock } = await inbound(t, "{ name: all, requestsPerSecond: 4, burst: 1, key: global }");
		assert.deepEqual(await statuses(tested, 2), [200, 429]);
		clock.advance(249);
		assert.deepEqual(await statuses(tested, 1), [429]);
		clock.advance(1);
		assert.deepEqual(await statuses(tested, 2), [200, 429]);
	});

	it("counts each address by itself", async (t) => {
		const { tested } = await inbound(t, "{ name: each, requestsPerSecond: 1, burst: 2, key: ip }");
		assert.equal(admitted(await statuses(tested, 5)), 2);
		const socketOf = async (address: string): Promise<StrictMessage> => {
			const socket = connect({ port: tested.port("inbound"), host: "127.0.0.1", localAddress: address });
			t.after(() => void socket.destroy());
			return new RawClient(socket).send(get()).answer();
		};
		assert.equal((await socketOf("127.0.0.2")).status, 200);
		assert.equal((await socketOf("127.0.0.1")).status, 429);
	});

	it("counts each value of a header by itself, those without it together", async (t) => {
		const { tested } = await inbound(t, '{ name: each, requestsPerSecond: 1, burst: 2, key: "header:x-tenant" }');
		for (const fields of ["X-Tenant: a\r\n", "X-Tenant: b\r\n", ""]) assert.equal(admitted(await statuses(tested, 4, get(fields))), 2, fields);
	});

	it("counts each pair of a tuple by itself", async (t) => {
		const { tested } = await inbound(t, '{ name: each, requestsPerSecond: 1, burst: 1, key: ["header:x-a", "header:x-b"] }');
		for (const fields of ["X-A: 1\r\nX-B: 2\r\n", "X-A: 2\r\nX-B: 1\r\n", "X-A: 12\r\n", "X-A: 1\r\n"])
			assert.equal(admitted(await statuses(tested, 2, get(fields))), 1, fields);
	});

	it("that refuses takes nothing from the others", async (t) => {
		const { tested, clock } = await inbound(
			t,
			"{ name: first, requestsPerSecond: 1, burst: 10, key: global }, { name: second, requestsPerSecond: 1, burst: 2, key: global }",
		);
		assert.equal(admitted(await statuses(tested, 20)), 2);
		clock.advance(100);
		const views = tested.sidecar.limits().map(({ admitted, rejected }) => [admitted, rejected]);
		assert.deepEqual(views, [
			[2, 0],
			[2, 18],
		]);
	});

	it("refuses a request whose body is still to come, and does not read it as the next one", async (t) => {
		const { tested } = await inbound(t, "{ name: all, requestsPerSecond: 1, burst: 1, key: global }");
		await tested.ask(get());
		const client = await tested.client();
		client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n${get()}`);
		assert.deepEqual([(await client.answer()).status, fieldOf(client.answers[0] as StrictMessage, "connection")], [429, "close"]);
		await client.untilClosed();
		assert.equal(client.answers.length, 1);
	});

	it("is told once a second, with the keys that met it most", async (t) => {
		const { tested, clock } = await inbound(t, '{ name: each, requestsPerSecond: 1, burst: 1, key: "header:x-tenant" }');
		await statuses(tested, 6, get("X-Tenant: loud\r\n"));
		await statuses(tested, 2, get("X-Tenant: quiet\r\n"));
		const told = (): Record<string, unknown>[] =>
			tested.events.filter(({ type }) => type === "nexus.mesh.rate_limit.exceeded").map(({ data }) => data as Record<string, unknown>);
		await advanceUntil(clock, () => told().length > 0, 100);
		assert.equal(told().length, 1);
		const text = JSON.stringify(told()[0]);
		assert.match(text, /"limit":"each"/);
		// Values of fields may be secrets: told apart, not told.
		assert.match(text, /"refused":6,"top":\[{"key":"x-tenant: sha256:[0-9a-f]{8}","refused":5},{"key":"x-tenant: sha256:[0-9a-f]{8}","refused":1}\]/);
		assert.doesNotMatch(text, /loud|quiet/);
	});

	it("goes on with its buckets through a reload that changes something else, or its numbers", async (t) => {
		const { tested, clock, policy } = await inbound(t, "{ name: all, requestsPerSecond: 1, burst: 2, key: global }");
		assert.deepEqual(await statuses(tested, 3), [200, 200, 429]);
		tested.write(`${policy("{ name: all, requestsPerSecond: 1, burst: 2, key: global }")}accessLog: { sample: 0.5 }\n`);
		assert.equal((await tested.sidecar.reload()).kind, "applied");
		assert.deepEqual(await statuses(tested, 1), [429]);
		tested.write(policy("{ name: all, requestsPerSecond: 1, burst: 5, key: global }"));
		assert.equal((await tested.sidecar.reload()).kind, "applied");
		clock.advance(1000);
		assert.ok(admitted(await statuses(tested, 8)) < 8);
	});
});

describe("a limit with a queue", GUARD, () => {
	const QUEUE = "{ name: shaped, requestsPerSecond: 10, burst: 1, key: global, overflow: queue, maxQueued: 3, maxWait: 1s }";

	it("holds back what is over its rate, in order, and refuses whom the queue does not hold", async (t) => {
		const { tested, clock, seen } = await inbound(t, QUEUE);
		const clients = [];
		for (let i = 0; i < 5; i++) {
			const client = await tested.client();
			client.send(get("", `/${i}`));
			await until(() => seen.length > 0);
			await turns();
			clients.push(client);
		}
		const refused = await (clients[4] as (typeof clients)[0]).answer();
		assert.deepEqual([refused.status, reasonOf(refused), seen.length], [429, "rate_limited", 1]);
		for (let i = 1; i <= 3; i++) {
			await advanceUntil(clock, () => seen.length === i + 1, 10);
			assert.ok(clock.monotonicMs() >= 100 * i, `${clock.monotonicMs()} ms for ${i + 1} requests`);
		}
		assert.deepEqual(
			seen.map(({ request }) => request.target),
			["/0", "/1", "/2", "/3"],
		);
		for (const client of clients.slice(0, 4)) assert.equal((await client.answer()).status, 200);
		assertAllReturned(tested);
	});

	it("forgets a client that leaves, and the next one gets its turn", async (t) => {
		const { tested, clock, seen } = await inbound(t, QUEUE);
		const waits = async (count: number): Promise<void> => until(() => tested.sidecar.limits().some(({ waiting }) => waiting === count));
		await tested.ask(get("", "/0"));
		// A queue takes some real time when it is first used, in which this clock stands for what it likes.
		const first = await tested.client();
		first.send(get("", "/1"));
		await waits(1);
		await advanceUntil(clock, () => first.answers.length === 1, 1);
		const fromMs = clock.monotonicMs();
		const leaves = await tested.client();
		leaves.send(get("", "/2"));
		await waits(1);
		const stays = await tested.client();
		stays.send(get("", "/3"));
		await waits(2);
		leaves.reset();
		await waits(1);
		await advanceUntil(clock, () => nobodyWaits(tested), 1);
		const tookMs = clock.monotonicMs() - fromMs;
		assert.ok(tookMs < 200, `${tookMs}`);
		await until(() => stays.answers.length === 1);
		assert.deepEqual(
			seen.map(({ request }) => request.target),
			["/0", "/1", "/3"],
		);
	});

	it("lets no one wait beyond maxWait", async (t) => {
		const { tested, clock, seen } = await inbound(
			t,
			"{ name: shaped, requestsPerSecond: 1, burst: 1, key: global, overflow: queue, maxQueued: 9, maxWait: 300ms }",
		);
		await tested.ask(get());
		const client = await tested.client();
		client.send(get());
		await until(() => !nobodyWaits(tested));
		await advanceUntil(clock, () => nobodyWaits(tested), 10);
		// The clock stands still while the answer is on its way, however long that takes.
		await until(() => client.answers.length === 1);
		const [answer] = client.answers;
		assert.ok(answer !== undefined);
		assert.deepEqual([answer.status, reasonOf(answer), seen.length], [503, "queue_timeout", 1]);
		assert.ok(clock.monotonicMs() <= 500);
	});

	it("holds back a body as well, and then sends all of it", async (t) => {
		const { tested, clock, seen } = await inbound(t, QUEUE);
		await tested.ask(get());
		const body = "b".repeat(150_000);
		const client = await tested.client();
		client.send(`PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
		await advanceUntil(clock, () => seen.length === 2, 10);
		assert.ok(seen[1]?.request.body.toString() === body);
		assert.equal((await client.answer()).status, 200);
	});
});

describe("a limit of outbound", GUARD, () => {
	it("of a route acts before that of its upstream, and other routes share only the latter", async (t) => {
		const { upstreams } = await group(t, 1);
		const routes = "{ name: few, match: { path: /few/** }, to: api, rateLimits: [ { name: r, requestsPerSecond: 1, burst: 1, key: global } ] }";
		const tested = await startOutbound(t, upstreams, "rateLimits: [ { name: u, requestsPerSecond: 1, burst: 3, key: global } ]", {
			routes,
			clock: new FakeClock(),
		});
		assert.deepEqual(await statuses(tested, 2, get("", "/few/x")), [200, 429]);
		assert.deepEqual(await statuses(tested, 3, get("", "/other")), [200, 200, 429]);
		const refused = await tested.ask(get("", "/other"));
		assert.match(refused.body.toString(), /\bu\b/);
	});

	it("takes one token for a request, however often it is tried", async (t) => {
		const { upstreams, seen } = await group(t, 2, (nth) => (nth < 2 ? "HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n" : ok()));
		const tested = await startOutbound(
			t,
			upstreams,
			"rateLimits: [ { name: u, requestsPerSecond: 1, burst: 2, key: global } ], retry: { backoff: { base: 1ms, max: 1ms } }",
			{
				clock: new FakeClock(),
			},
		);
		assert.deepEqual(await statuses(tested, 3), [200, 200, 429]);
		assert.equal(seen.length, 4);
	});

	it("refuses without a try, so that nothing is marked as tried in vain", async (t) => {
		const { upstreams } = await group(t, 1);
		const tested = await startOutbound(t, upstreams, "rateLimits: [ { name: u, requestsPerSecond: 1, burst: 1, key: global } ]", {
			clock: new FakeClock(),
		});
		await tested.ask(get());
		const answer = await tested.ask(get());
		assert.deepEqual([answer.status, fieldOf(answer, "x-nexus-retried")], [429, undefined]);
		assert.equal(tested.upstream("api").endpoints[0]?.requests, 1);
	});
});
