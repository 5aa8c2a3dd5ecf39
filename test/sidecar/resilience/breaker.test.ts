/** Circuit breakers over the wire: what trips them, what callers get meanwhile, how they close, and what stands in for the upstream. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { FakeClock } from "../../support/fake-clock.ts";
import { freePorts } from "../../support/processes.ts";
import { ok } from "../../support/raw-peer.ts";
import type { StrictMessage } from "../../support/strict-reader.ts";
import {
	AT_ONCE,
	assertAllReturned,
	failureOf,
	fieldOf,
	type Group,
	GUARD,
	get,
	group,
	NO_EJECTION,
	reasonOf,
	reply,
	startOutbound,
	type Tried,
	tried,
	turns,
	until,
	upstream,
} from "../exchange/support.ts";
import { startSidecar } from "../support.ts";

const ONCE = "retry: { attempts: 0 }";

/** An upstream whose answers the test chooses as it goes. */
async function switched(t: TestContext, keys: string, options: { count?: number; routes?: string; more?: string } = {}) {
	const clock = new FakeClock();
	const state: { answer: (by: number, request: StrictMessage) => string | undefined } = { answer: () => reply(503) };
	const { count = 1, ...rest } = options;
	const endpoints = await group(t, count, (_, by, request) => state.answer(by, request));
	const tested = await startOutbound(t, endpoints.upstreams, `${NO_EJECTION}, ${keys}`, { clock, ...rest });
	return { ...endpoints, tested, clock, state };
}

function states({ upstream: of }: Tried, name = "api"): Record<string, string> {
	return Object.fromEntries(of(name).breakers.map(({ key, state }) => [key, state]));
}

function eventsOf({ events }: Tried, type: string): { subject: string | undefined; data: Record<string, unknown> }[] {
	return events.filter((event) => event.type === type).map(({ subject, data }) => ({ subject, data: data as Record<string, unknown> }));
}

async function fail(tested: Tried, times: number, request = get()): Promise<void> {
	for (let i = 0; i < times; i++) assert.ok((await tested.ask(request)).status >= 500);
}

describe("a breaker of an upstream", GUARD, () => {
	it("opens after 5 failures in a row, answers at once, and tells so", async (t) => {
		const { tested, seen } = await switched(t, `circuitBreaker: {}, ${ONCE}`);
		await fail(tested, 5);
		assert.deepEqual(states(tested), { "": "open" });
		const answer = await tested.ask(get());
		assert.deepEqual([answer.status, reasonOf(answer), fieldOf(answer, "retry-after"), seen.length], [503, "breaker_open", "60", 5]);
		assert.equal(fieldOf(answer, "x-nexus-retried"), undefined);
		const [tripped] = eventsOf(tested, "nexus.circuit_breaker.tripped");
		assert.deepEqual([tripped?.subject, tripped?.data.dependency, tripped?.data.scope, tripped?.data.openForMs], ["api", "api", "upstream", 60_000]);
		assert.match(String(tripped?.data.policy), /policy\.yaml:\d+/);
		assert.equal(await tested.metric("nexus_breaker_state", { upstream: "api", state: "open" }), 1);
		const refused = failureOf(tested).decisions.find(({ stage }) => stage === "attempt");
		assert.deepEqual([refused?.text, refused?.place?.line], ["try 1: breaker_open, the circuit breaker of api is open", 6]);
		assertAllReturned(tested);
	});

	it("tells the time that is left in retry-after", async (t) => {
		const { tested, clock } = await switched(t, `circuitBreaker: { failureThreshold: 1 }, ${ONCE}`);
		await fail(tested, 1);
		clock.advance(45_500);
		assert.equal(fieldOf(await tested.ask(get()), "retry-after"), "15");
	});

	it("counts what is listed, and neither 4xx nor what comes between", async (t) => {
		const { tested, state } = await switched(t, `circuitBreaker: { failureThreshold: 3, failureStatuses: [500-504, 429] }, ${ONCE}`);
		const answers = [503, 429, 200, 500, 504, 404, 429, 505, 502, 429];
		let nth = 0;
		state.answer = () => reply(answers[nth++] ?? 0);
		for (const status of answers) {
			assert.deepEqual(states(tested), { "": "closed" });
			assert.equal((await tested.ask(get())).status, status);
		}
		assert.deepEqual(states(tested), { "": "closed" });
		// The last two were failures.
		state.answer = () => reply(503);
		await fail(tested, 1);
		assert.deepEqual(states(tested), { "": "open" });
	});

	it("counts an endpoint that refuses, resets or is silent", async (t) => {
		const [dead] = await freePorts(1);
		const clock = new FakeClock();
		const tested = await startOutbound(t, [{ address: `127.0.0.1:${dead}` }], `${NO_EJECTION}, circuitBreaker: { failureThreshold: 2 }, ${ONCE}`, {
			clock,
		});
		await fail(tested, 2);
		assert.deepEqual(states(tested), { "": "open" });

		for (const behave of ["reset", "silent"]) {
			const { tested, clock, seen } = await switchedTo(t, behave);
			const client = await tested.client();
			client.send(get());
			await until(() => seen.length === 1);
			clock.advance(1200);
			assert.ok((await client.answer()).status >= 500);
			assert.deepEqual(states(tested), { "": "open" });
			assertAllReturned(tested);
		}
	});

	async function switchedTo(t: TestContext, behave: string): Promise<Group & { tested: Tried; clock: FakeClock }> {
		const clock = new FakeClock();
		const endpoints = await group(t, 1, (_, __, ___, connection) => {
			if (behave === "reset") connection.reset();
			return undefined;
		});
		const keys = `${NO_EJECTION}, circuitBreaker: { failureThreshold: 1 }, timeout: { request: 1s }, ${ONCE}`;
		return { ...endpoints, clock, tested: await startOutbound(t, endpoints.upstreams, keys, { clock }) };
	}

	it("does not count a client that goes, in whatever phase", async (t) => {
		const { tested, seen, state } = await switched(t, `circuitBreaker: { failureThreshold: 1 }, ${ONCE}`);
		for (const answer of [undefined, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"]) {
			state.answer = () => answer;
			const client = await tested.client();
			const before = seen.length;
			client.send(get());
			await until(() => seen.length > before);
			if (answer !== undefined) await client.untilText("half");
			client.reset();
			await until(() => tested.upstream("api").endpoints[0]?.activeRequests === 0);
			assert.deepEqual(states(tested), { "": "closed" });
			assertAllReturned(tested);
		}
	});

	it("lets one probe through when its time is over, and closes after two that succeed", async (t) => {
		const { tested, clock, seen, state } = await switched(t, `circuitBreaker: { openFor: 10s }, ${ONCE}`);
		await fail(tested, 5);
		clock.advance(10_000);
		assert.deepEqual(states(tested), { "": "half-open" });
		state.answer = () => undefined;
		const probe = await tested.client();
		probe.send(get());
		await until(() => seen.length === 6);
		const beside = await tested.ask(get());
		assert.deepEqual([reasonOf(beside), fieldOf(beside, "retry-after"), seen.length], ["breaker_open", "1", 6]);
		seen[5]?.connection.send(ok());
		assert.equal((await probe.answer()).status, 200);
		assert.deepEqual(states(tested), { "": "half-open" });
		state.answer = () => ok();
		assert.equal((await tested.ask(get())).status, 200);
		assert.deepEqual(states(tested), { "": "closed" });
		for (const type of ["tripped", "half_open", "reset"]) assert.equal(eventsOf(tested, `nexus.circuit_breaker.${type}`).length, 1, type);
		assertAllReturned(tested);
	});

	it("opens again with a probe that fails, and stays half-open with one whose client goes", async (t) => {
		const { tested, clock, seen, state } = await switched(t, `circuitBreaker: { openFor: 10s }, ${ONCE}`);
		await fail(tested, 5);
		clock.advance(10_000);
		state.answer = () => undefined;
		const probe = await tested.client();
		probe.send(get());
		await until(() => seen.length === 6);
		probe.reset();
		await until(() => tested.upstream("api").breakers[0]?.probes === 0);
		assert.deepEqual(states(tested), { "": "half-open" });
		state.answer = () => reply(503);
		await fail(tested, 1);
		assert.deepEqual(states(tested), { "": "open" });
		assertAllReturned(tested);
	});

	it("that a request trips by its own tries ends them", async (t) => {
		const { tested, seen } = await switched(t, `circuitBreaker: { failureThreshold: 2 }, retry: { attempts: 5, ${AT_ONCE} }`);
		const answer = await tested.ask(get());
		assert.deepEqual([answer.status, reasonOf(answer), seen.length], [503, "breaker_open", 2]);
		assertAllReturned(tested);
	});

	it("opens by a rate of failures, and by slow calls", async (t) => {
		const byRate = await switched(t, `circuitBreaker: { failureRate: 0.5, minRequests: 10 }, ${ONCE}`);
		let nth = 0;
		byRate.state.answer = () => (nth++ % 2 === 0 ? reply(503) : ok());
		for (let i = 0; i < 9; i++) await byRate.tested.ask(get());
		assert.deepEqual(states(byRate.tested), { "": "closed" });
		await byRate.tested.ask(get());
		assert.deepEqual(states(byRate.tested), { "": "open" });

		const bySlow = await switched(t, `circuitBreaker: { slowCallRate: 1, slowCallDuration: 500ms, minRequests: 3, window: 60s }, ${ONCE}`);
		bySlow.state.answer = () => undefined;
		for (let i = 0; i < 3; i++) {
			assert.deepEqual(states(bySlow.tested), { "": "closed" });
			const client = await bySlow.tested.client();
			client.send(get());
			await until(() => bySlow.seen.length === i + 1);
			bySlow.clock.advance(600);
			bySlow.seen[i]?.connection.send(ok());
			await client.answer();
		}
		assert.deepEqual(states(bySlow.tested), { "": "open" });
	});
});

describe("a breaker of each endpoint", GUARD, () => {
	const keys = `circuitBreaker: { scope: endpoint, failureThreshold: 2 }, ${ONCE}`;

	it("keeps requests from the one that fails, and from no other", async (t) => {
		const { tested, seen, state, upstreams } = await switched(t, keys, { count: 3 });
		state.answer = (by) => (by === 0 ? reply(503) : ok());
		for (let i = 0; i < 12; i++) await tested.ask(get());
		assert.equal(seen.filter(({ by }) => by === 0).length, 2);
		assert.deepEqual(states(tested), {
			[upstreams[0]?.address ?? ""]: "open",
			[upstreams[1]?.address ?? ""]: "closed",
			[upstreams[2]?.address ?? ""]: "closed",
		});
		assert.equal(eventsOf(tested, "nexus.circuit_breaker.tripped")[0]?.subject, `api/${upstreams[0]?.address}`);
		assertAllReturned(tested);
	});

	it("answers with breaker_open once all are open", async (t) => {
		const { tested, seen } = await switched(t, keys, { count: 2 });
		await fail(tested, 4);
		const answer = await tested.ask(get());
		assert.deepEqual([reasonOf(answer), fieldOf(answer, "retry-after"), seen.length], ["breaker_open", "60", 4]);
		assertAllReturned(tested);
	});

	it("lets a retry go back to the endpoint that failed where the others are open", async (t) => {
		const { tested, seen, state } = await switched(
			t,
			`circuitBreaker: { scope: endpoint, failureThreshold: 3 }, retry: { attempts: 1, ${AT_ONCE} }`,
			{ count: 2 },
		);
		state.answer = (by) => (by === 0 ? reply(503) : ok());
		while (states(tested)[tested.upstream("api").endpoints[0]?.address ?? ""] !== "open") await tested.ask(get());
		let once = true;
		state.answer = () => {
			if (!once) return ok("again");
			once = false;
			return reply(503);
		};
		const count = seen.length;
		const answer = await tested.ask(get());
		assert.deepEqual([answer.body.toString(), seen.slice(count).map(({ by }) => by)], ["again", [1, 1]]);
		assertAllReturned(tested);
	});
});

describe("a breaker of each route", GUARD, () => {
	it("opens for its own route alone", async (t) => {
		const routes = "{ name: a, match: { path: /a/** }, to: api }, { name: b, match: { path: /b/** }, to: api }";
		const { tested, state } = await switched(t, `circuitBreaker: { scope: route, failureThreshold: 2 }, ${ONCE}`, { routes });
		state.answer = (_, { target }) => (target.startsWith("/a") ? reply(503) : ok());
		await fail(tested, 2, get("", "/a/x"));
		assert.equal(reasonOf(await tested.ask(get("", "/a/x"))), "breaker_open");
		assert.equal((await tested.ask(get("", "/b/x"))).status, 200);
		assert.deepEqual(states(tested), { a: "open", b: "closed" });
		assertAllReturned(tested);
	});
});

describe("while a breaker is open", GUARD, () => {
	async function withOther(t: TestContext, fallback: string, more: (other: Group) => string = () => "") {
		const other = await group(t, 1, () => ok("other"));
		const third = await group(t, 1, () => ok("third"));
		const yaml = `  other: ${upstream(other.upstreams, `circuitBreaker: { failureThreshold: 1 }, ${ONCE}`)}\n  third: ${upstream(third.upstreams, "")}\n${more(other)}`;
		const all = await switched(t, `circuitBreaker: { failureThreshold: 1, ${fallback} }, ${ONCE}`, { more: yaml });
		return { ...all, other, third };
	}

	it("the upstreams of failover answer, in their order", async (t) => {
		const { tested, seen, other } = await withOther(t, "failover: [other, third]");
		await fail(tested, 1);
		assert.equal((await tested.ask(get())).body.toString(), "other");
		assert.equal(fieldOf(other.seen[0]?.request as StrictMessage, "x-nexus-attempt"), undefined, "it is the first try of anybody");
		assert.equal(seen.length, 1);
		tested.sidecar.forceBreaker("other", "open");
		assert.equal((await tested.ask(get())).body.toString(), "third");
		assert.equal(await tested.metric("nexus_local_answers_total", { upstream: "api", reason: "breaker_open" }), 0);
		assertAllReturned(tested);
	});

	it("the upstreams of failover get the whole body", async (t) => {
		const { tested, other } = await withOther(t, "failover: [other]");
		await fail(tested, 1);
		const body = "b".repeat(200_000);
		const client = await tested.client();
		client.send(`POST / HTTP/1.1\r\nHost: api\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
		assert.equal((await client.answer()).body.toString(), "other");
		assert.ok(other.seen[0]?.request.body.toString() === body);
	});

	it("its own refusal is the answer where all of failover are open too", async (t) => {
		const { tested, other } = await withOther(t, "failover: [other]");
		await fail(tested, 1);
		tested.sidecar.forceBreaker("other", "open");
		assert.equal(reasonOf(await tested.ask(get())), "breaker_open");
		assert.equal(other.seen.length, 0);
		assertAllReturned(tested);
	});

	it("a fixed answer stands in for it, to HEAD without its body", async (t) => {
		const { tested, seen } = await switched(
			t,
			`circuitBreaker: { failureThreshold: 1, respond: { status: 200, body: "[]", contentType: application/json } }, ${ONCE}`,
		);
		await fail(tested, 1);
		const answer = await tested.ask(get());
		assert.deepEqual(
			[answer.status, answer.body.toString(), fieldOf(answer, "content-type"), reasonOf(answer)],
			[200, "[]", "application/json", "breaker_open"],
		);
		const head = await tested.ask("HEAD / HTTP/1.1\r\nHost: api\r\n\r\n");
		assert.deepEqual([head.status, fieldOf(head, "content-length"), head.body.length, seen.length], [200, "2", 0, 1]);
		assertAllReturned(tested);
	});

	it("a body that is still to come is not read as the next request", async (t) => {
		const { tested } = await switched(t, `circuitBreaker: { failureThreshold: 1, respond: { status: 200, body: "[]" } }, ${ONCE}`);
		await fail(tested, 1);
		const client = await tested.client();
		client.send(`POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 100\r\n\r\n${get()}`);
		assert.equal(fieldOf(await client.answer(), "connection"), "close");
		await client.untilClosed();
		assert.equal(client.answers.length, 1);
	});
});

describe("POST /upstreams/NAME/breaker", GUARD, () => {
	it("holds it open, closed, or lets it judge again", async (t) => {
		const { tested, seen, state } = await switched(t, `circuitBreaker: { failureThreshold: 2 }, ${ONCE}`);
		const force = async (state: string, name = "api"): Promise<number> =>
			(await tested.admin("POST", `/upstreams/${name}/breaker?state=${state}`)).status;
		state.answer = () => ok();
		assert.equal(await force("open"), 200);
		assert.deepEqual([reasonOf(await tested.ask(get())), seen.length], ["breaker_open", 0]);
		assert.equal(await force("closed"), 200);
		state.answer = () => reply(503);
		await fail(tested, 4);
		assert.deepEqual(states(tested), { "": "closed" });
		assert.equal(await force("auto"), 200);
		await fail(tested, 2);
		assert.deepEqual(states(tested), { "": "open" });
		assert.equal(await force("ajar"), 400);
		assert.equal(await force("open", "nobody"), 404);
	});
});

describe("the breaker of inbound", GUARD, () => {
	it("answers for the application while it is not well", async (t) => {
		const clock = new FakeClock();
		const { upstreams, seen } = await group(t, 1, () => reply(500));
		const policy = `inbound: { listen: "127.0.0.1:0", application: "${upstreams[0]?.address}", circuitBreaker: { failureThreshold: 2, openFor: 10s } }\n`;
		const tested = tried(t, await startSidecar(t, policy, { clock }), "inbound");
		await fail(tested, 2);
		assert.deepEqual([reasonOf(await tested.ask(get())), seen.length], ["breaker_open", 2]);
		clock.advance(10_000);
		await turns();
		await fail(tested, 1);
		assert.equal(seen.length, 3);
		assertAllReturned(tested);
	});
});
