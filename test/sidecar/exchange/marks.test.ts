/** What sidecars say to each other about a request: how much time it has left, which try it is, and that trying again was in vain. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { FakeClock } from "../../support/fake-clock.ts";
import { ok, rawUpstream } from "../../support/raw-peer.ts";
import { type StrictMessage, valuesOf } from "../../support/strict-reader.ts";
import { startSidecar } from "../support.ts";
import {
	AT_ONCE,
	advanceUntil,
	assertAllReturned,
	fieldOf,
	GUARD,
	get,
	group,
	NO_EJECTION,
	post,
	reasonOf,
	reply,
	startOutbound,
	type Tried,
	tried,
	turns,
	until,
} from "./support.ts";

const RETRY = `${NO_EJECTION}, retry: { ${AT_ONCE} }`;

/** Time passes and no timer runs, as in a process that is stopped. */
class StallingClock extends FakeClock {
	#stalledMs = 0;

	override monotonicMs(): number {
		return super.monotonicMs() + this.#stalledMs;
	}

	stall(ms: number): void {
		this.#stalledMs += ms;
	}
}

function leftMs(request: StrictMessage | undefined): number {
	assert.ok(request !== undefined);
	const values = valuesOf(request, "x-nexus-deadline-ms");
	assert.equal(values.length, 1, `${values}`);
	assert.match(values[0] ?? "", /^[0-9]+$/);
	return Number(values[0]);
}

describe("x-nexus-attempt", GUARD, () => {
	it("goes with each try but the first", async (t) => {
		const { upstreams, seen } = await group(t, 3, () => reply(503));
		const tested = await startOutbound(t, upstreams, RETRY);
		await tested.ask(get());
		assert.deepEqual(
			seen.map(({ request }) => valuesOf(request, "x-nexus-attempt")),
			[[], ["2"], ["3"]],
		);
	});

	it("of the caller goes on, and keeps us from trying again", async (t) => {
		const { upstreams, seen } = await group(t, 2, () => reply(503));
		const tested = await startOutbound(t, upstreams, RETRY);
		const answer = await tested.ask(get("X-Nexus-Attempt: 2\r\n"));
		assert.equal(answer.status, 503);
		assert.deepEqual(
			seen.map(({ request }) => valuesOf(request, "x-nexus-attempt")),
			[["2"]],
		);
		assert.equal(await tested.metric("nexus_retries_total", { upstream: "api", result: "suppressed" }), 1);
		assert.equal(fieldOf(answer, "x-nexus-retried"), undefined, "one try is no vain retry");
	});

	for (const value of ["0", "-1", "1.5", "two", "999", "", "2, 3"]) {
		it(`of ${JSON.stringify(value)} says nothing`, async (t) => {
			const { upstreams, seen } = await group(t, 2, (nth) => (nth === 0 ? reply(503) : ok()));
			const tested = await startOutbound(t, upstreams, RETRY);
			assert.equal((await tested.ask(get(`X-Nexus-Attempt: ${value}\r\n`))).status, 200);
			assert.deepEqual(
				seen.map(({ request }) => valuesOf(request, "x-nexus-attempt")),
				[[], ["2"]],
			);
		});
	}
});

describe("x-nexus-deadline-ms", GUARD, () => {
	async function sent(
		t: TestContext,
		fields: string,
		keys = "timeout: { request: 2s }",
	): Promise<{ answer: StrictMessage; seen: StrictMessage[]; tested: Tried }> {
		const { upstreams, seen } = await group(t, 1);
		const tested = await startOutbound(t, upstreams, keys, { clock: new FakeClock() });
		const answer = await tested.ask(get(fields));
		return { answer, seen: seen.map(({ request }) => request), tested };
	}

	it("says what the policy gives the request where the caller says nothing", async (t) => {
		assert.equal(leftMs((await sent(t, "")).seen[0]), 2000);
	});

	it("of the caller shortens the time", async (t) => {
		assert.equal(leftMs((await sent(t, "X-Nexus-Deadline-Ms: 700\r\n")).seen[0]), 700);
	});

	for (const value of ["2001", "999999999", "1000000000", "99999999999999999999", "-5", "1e3", "0x10", "5 s", "", "700, 800"]) {
		it(`of ${JSON.stringify(value)} cannot lengthen it, nor says anything else`, async (t) => {
			const { answer, seen } = await sent(t, `X-Nexus-Deadline-Ms: ${value}\r\n`);
			assert.deepEqual([answer.status, leftMs(seen[0])], [200, 2000]);
		});
	}

	for (const value of ["0", "000"]) {
		it(`of ${value} is refused, and nothing is sent`, async (t) => {
			const { answer, seen, tested } = await sent(t, `X-Nexus-Deadline-Ms: ${value}\r\n`);
			assert.deepEqual([answer.status, reasonOf(answer), seen.length], [504, "deadline_exceeded", 0]);
			assertAllReturned(tested);
			// The connection goes on with the next one.
			assert.equal((await tested.ask(get())).status, 200);
		});
	}

	it("of 0 with a body that is still to come is refused as well, and closes the connection", async (t) => {
		const { upstreams, seen } = await group(t, 1);
		const tested = await startOutbound(t, upstreams, "");
		const answer = await tested.ask("POST / HTTP/1.1\r\nHost: api\r\nX-Nexus-Deadline-Ms: 0\r\nContent-Length: 10\r\n\r\nhalf");
		assert.deepEqual([answer.status, reasonOf(answer), fieldOf(answer, "connection"), seen.length], [504, "deadline_exceeded", "close", 0]);
	});

	it("is what is left at each try", async (t) => {
		const clock = new FakeClock();
		const at: number[] = [];
		const { upstreams, seen } = await group(t, 2, (nth) => {
			at.push(clock.monotonicMs());
			return nth < 2 ? reply(503, "", "Retry-After: 1\r\n") : ok();
		});
		const tested = await startOutbound(t, upstreams, `${NO_EJECTION}, timeout: { request: 10s }`, { clock });
		const client = await tested.client();
		client.send(get());
		await until(() => seen.length === 1);
		const beganMs = clock.monotonicMs();
		await advanceUntil(clock, () => client.answers.length === 1, 10);
		assert.equal(seen.length, 3);
		for (const [i, { request }] of seen.entries()) {
			// It leaves within a step of the clock, and arrives at its end.
			const lateMs = leftMs(request) - (10_000 - ((at[i] ?? 0) - beganMs));
			assert.ok(lateMs >= 0 && lateMs <= 10, `${lateMs}`);
		}
		assert.ok(leftMs(seen[2]?.request) <= 8000);
	});

	it("is shortened by each hop of a chain", async (t) => {
		const clock = new FakeClock();
		const { upstreams, seen } = await group(t, 1);
		const last = await startOutbound(t, upstreams, "", { clock });
		const first = await startOutbound(
			t,
			[{ address: `127.0.0.1:${last.port("outbound")}` }],
			"timeout: { request: 3s }, fault: { delay: { duration: 500ms } }",
			{ clock },
		);
		const client = await first.client();
		client.send(get("X-Nexus-Deadline-Ms: 2500\r\n"));
		await advanceUntil(clock, () => client.answers.length === 1, 10);
		const left = leftMs(seen[0]?.request);
		assert.ok(left <= 2000 && left >= 1900, `${left}`);
	});

	it("ends the request at the first hop whose time is over, and the next one hears of it", async (t) => {
		const clock = new FakeClock();
		const silent = await rawUpstream(t);
		const last = await startOutbound(t, [silent], "", { clock });
		const first = await startOutbound(t, [{ address: `127.0.0.1:${last.port("outbound")}` }], `${RETRY}, timeout: { request: 1s }`, { clock });
		const client = await first.client();
		client.send(get());
		const connection = await silent.connection(0);
		assert.equal(leftMs(await connection.request()), 1000);
		await advanceUntil(clock, () => client.answers.length === 1, 50);
		assert.match(reasonOf(client.answers[0] as StrictMessage) ?? "", /timeout/);
		await connection.untilClosed();
		await until(() => last.upstream("api").endpoints[0]?.activeRequests === 0);
		assertAllReturned(first);
		assertAllReturned(last);
	});

	it("that passes while the request waits for a slot keeps it from being sent", async (t) => {
		const clock = new FakeClock();
		const silent = await rawUpstream(t);
		const tested = await startOutbound(t, [silent], "circuitBreaker: { maxConcurrent: 1, pendingTimeout: 10s }", { clock });
		const [one, two] = [await tested.client(), await tested.client()];
		one.send(get("", "/one"));
		const connection = await silent.connection(0);
		await connection.request();
		two.send(get("X-Nexus-Deadline-Ms: 120\r\n", "/two"));
		await until(() => tested.upstream("api").concurrency?.pending === 1);
		// Its time is over, and the coarse timer that will tell so has not come round.
		clock.advance(121);
		connection.send(ok());
		await one.answer();
		await advanceUntil(clock, () => two.answers.length === 1, 10);
		assert.equal(two.answers[0]?.status, 504);
		await turns();
		assert.equal(silent.requests.length, 1);
		assertAllReturned(tested);
	});

	it("that passes during a pause between two tries keeps the next one from being sent", async (t) => {
		const clock = new StallingClock();
		const { upstreams, seen } = await group(t, 2, () => reply(503, "", "Retry-After: 1\r\n"));
		const tested = await startOutbound(t, upstreams, NO_EJECTION, { clock });
		const client = await tested.client();
		client.send(get("X-Nexus-Deadline-Ms: 1600\r\n"));
		await until(() => tested.sidecar.upstreams()[0]?.retries.sent === 1);
		clock.stall(1600);
		await advanceUntil(clock, () => client.answers.length === 1, 10);
		assert.equal(client.answers[0]?.status, 504);
		await turns();
		assert.equal(seen.length, 1);
		assertAllReturned(tested);
	});
});

describe("x-nexus-retried", GUARD, () => {
	it("goes with an answer that all tries got, and with our own", async (t) => {
		const { upstreams } = await group(t, 2, (_, __, { target }, connection) => {
			if (target === "/answers") return reply(503);
			connection.reset();
			return undefined;
		});
		const tested = await startOutbound(t, upstreams, RETRY);
		assert.deepEqual(valuesOf(await tested.ask(get("", "/answers")), "x-nexus-retried"), ["1"]);
		const reset = await tested.ask(get("", "/resets"));
		assert.deepEqual([reasonOf(reset), valuesOf(reset, "x-nexus-retried")], ["upstream_reset", ["1"]]);
	});

	it("does not go with an answer after which nothing is wrong any more, nor with one that trying again would not have mended", async (t) => {
		for (const status of [200, 404, 500]) {
			const { upstreams } = await group(t, 2, (nth) => (nth === 0 ? reply(503) : reply(status)));
			const tested = await startOutbound(t, upstreams, RETRY);
			const answer = await tested.ask(get());
			assert.deepEqual([answer.status, fieldOf(answer, "x-nexus-retried")], [status, undefined]);
		}
	});

	it("of an upstream keeps us from trying again, and goes on once", async (t) => {
		const { upstreams, seen } = await group(t, 2, () => reply(503, "", "X-Nexus-Retried: 1\r\n"));
		const tested = await startOutbound(t, upstreams, RETRY);
		const answer = await tested.ask(get());
		assert.deepEqual([answer.status, valuesOf(answer, "x-nexus-retried"), seen.length], [503, ["1"], 1]);
		assert.equal(await tested.metric("nexus_retries_total", { upstream: "api", result: "suppressed" }), 1);
	});

	it("of an answer that is fine means nothing", async (t) => {
		const { upstreams, seen } = await group(t, 2, (nth) => (nth === 0 ? ok("ok", "X-Nexus-Retried: 1\r\n") : ok()));
		const tested = await startOutbound(t, upstreams, RETRY);
		assert.equal((await tested.ask(get())).status, 200);
		assert.equal(seen.length, 1);
	});

	it("keeps the tries of a chain of two to those of the hop behind", async (t) => {
		const { upstreams, seen } = await group(t, 2, () => reply(503));
		const last = await startOutbound(t, upstreams, RETRY);
		const first = await startOutbound(t, [{ address: `127.0.0.1:${last.port("outbound")}` }], RETRY);
		const answer = await first.ask(get());
		assert.deepEqual([answer.status, valuesOf(answer, "x-nexus-retried"), seen.length], [503, ["1"], 3]);
	});

	describe("of an inbound answer", () => {
		/** A sidecar whose application answers by hand, and calls `api` itself, which always fails. */
		async function service(t: TestContext) {
			const { upstreams, seen } = await group(t, 2, () => reply(503));
			const application = await rawUpstream(t);
			const api = `{ endpoints: [ ${upstreams.map(({ address }) => `{ address: "${address}" }`).join(", ")} ], ${RETRY} }`;
			const policy = `inbound: { listen: "127.0.0.1:0", application: "${application.address}" }\noutbound: { listen: "127.0.0.1:0" }\nupstreams: { api: ${api} }\n`;
			const sidecar = await startSidecar(t, policy);
			return { calls: tried(t, sidecar), inbound: tried(t, sidecar, "inbound"), application, seen };
		}

		it("is there where the application's own call with that request id was tried in vain", async (t) => {
			const { calls, inbound, application, seen } = await service(t);
			const client = await inbound.client();
			client.send(get("X-Request-Id: r1\r\n", "/", "tested"));
			const connection = await application.connection(0);
			const id = fieldOf(await connection.request(), "x-request-id");
			assert.equal(id, "r1");
			assert.equal((await calls.ask(get(`X-Request-Id: ${id}\r\n`))).status, 503);
			assert.equal(seen.length, 3);
			connection.send(reply(500, "could not"));
			assert.deepEqual(valuesOf(await client.answer(), "x-nexus-retried"), ["1"]);
		});

		it("is not there where it mends what it got, or speaks of another request", async (t) => {
			const { calls, inbound, application } = await service(t);
			assert.equal((await calls.ask(get("X-Request-Id: r1\r\n"))).status, 503);
			const client = await inbound.client();
			client.send(get("X-Request-Id: r1\r\n", "/", "tested"));
			const connection = await application.connection(0);
			await connection.request();
			connection.send(ok());
			assert.deepEqual(valuesOf(await client.answer(), "x-nexus-retried"), []);
			client.send(get("X-Request-Id: r2\r\n", "/", "tested"));
			await connection.request(1);
			connection.send(reply(503));
			assert.deepEqual(valuesOf(await client.answer(1), "x-nexus-retried"), []);
		});

		it("is not there where the call of the application was not idempotent and so never repeated", async (t) => {
			const { calls, inbound, application } = await service(t);
			assert.equal((await calls.ask(post("x", "X-Request-Id: r1\r\n"))).status, 503);
			const client = await inbound.client();
			client.send(get("X-Request-Id: r1\r\n", "/", "tested"));
			const connection = await application.connection(0);
			await connection.request();
			connection.send(reply(503));
			assert.deepEqual(valuesOf(await client.answer(), "x-nexus-retried"), []);
		});
	});
});
