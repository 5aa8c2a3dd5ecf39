/** Faults that act on the body of an answer, over the wire: throttled and truncated, in each framing. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { FakeClock } from "../../support/fake-clock.ts";
import { freePorts } from "../../support/processes.ts";
import { ok, type RawClient, type RawUpstreamConnection } from "../../support/raw-peer.ts";
import {
	AT_ONCE,
	advanceUntil,
	assertAllReturned,
	GUARD,
	get,
	group,
	NO_EJECTION,
	reasonOf,
	reply,
	startOutbound,
	type Tried,
	turns,
	until,
} from "./support.ts";

const BODY = Array.from({ length: 1000 }, (_, i) => String.fromCharCode(97 + (i % 26))).join("");

type Framing = "content-length" | "chunked" | "chunked with trailers" | "close-delimited";
const FRAMINGS: readonly Framing[] = ["content-length", "chunked", "chunked with trailers", "close-delimited"];

function framed(framing: Framing, body: string): string {
	if (framing === "content-length") return ok(body);
	if (framing === "close-delimited") return `HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n${body}`;
	const chunks = (body.match(/.{1,300}/gs) ?? []).map((part) => `${part.length.toString(16)}\r\n${part}\r\n`).join("");
	const [field, trailers] = framing === "chunked" ? ["", ""] : ["Trailer: x-sum\r\n", "x-sum: 7\r\n"];
	return `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n${field}\r\n${chunks}0\r\n${trailers}\r\n`;
}

function answering(framing: Framing, body = BODY) {
	return (_: number, __: number, ___: unknown, connection: RawUpstreamConnection): undefined => {
		connection.send(framed(framing, body));
		if (framing === "close-delimited") connection.socket.end();
		return undefined;
	};
}

async function faulty(t: TestContext, framing: Framing, fault: string, body = BODY): Promise<{ tested: Tried; clock: FakeClock; client: RawClient }> {
	const clock = new FakeClock();
	const { upstreams } = await group(t, 1, answering(framing, body));
	const tested = await startOutbound(t, upstreams, `timeout: { request: 60s }, fault: { ${fault} }`, { clock });
	return { tested, clock, client: await tested.client() };
}

describe("a throttled answer", GUARD, () => {
	for (const framing of FRAMINGS) {
		it(`that is ${framing} takes its time and arrives whole`, async (t) => {
			const { tested, clock, client } = await faulty(t, framing, "throttle: { bytesPerSecond: 1000 }");
			client.send(get("TE: trailers\r\nConnection: te\r\n"));
			await client.untilText("\r\n\r\n");
			const beganMs = clock.monotonicMs();
			await advanceUntil(clock, () => client.answers.length === 1, 10);
			const tookMs = clock.monotonicMs() - beganMs;
			const [answer] = client.answers;
			assert.equal(answer?.body.toString(), BODY);
			// 50 bytes every 50 ms, the first of them at once; another turn where the end comes by itself.
			assert.ok(tookMs >= 900 && tookMs <= 1100, `${tookMs} ms`);
			if (framing === "chunked with trailers") assert.deepEqual(answer?.trailers, [["x-sum", "7"]]);
			assertAllReturned(tested);
		});
	}

	it("leaves a connection that the next request can use", async (t) => {
		const { tested, clock, client } = await faulty(t, "content-length", "throttle: { bytesPerSecond: 1000 }");
		for (let i = 0; i < 3; i++) {
			client.send(get());
			await advanceUntil(clock, () => client.answers.length === i + 1, 50);
		}
		assert.equal(tested.upstream("api").endpoints[0]?.pool.connects, 1);
	});

	it("larger than one read is read no faster than it goes on", async (t) => {
		const body = BODY.repeat(1000);
		const { tested, clock, client } = await faulty(t, "content-length", "throttle: { bytesPerSecond: 200000 }", body);
		client.send(get());
		await client.untilText("\r\n\r\n");
		clock.advance(1000);
		await turns(50);
		assert.ok(client.bytes < 400_000, `${client.bytes} bytes after a second`);
		await advanceUntil(clock, () => client.answers.length === 1, 50);
		assert.ok(client.answers[0]?.body.toString() === body);
		assertAllReturned(tested);
	});

	it("to HEAD, and one without a body, are not held up", async (t) => {
		const clock = new FakeClock();
		const { upstreams } = await group(t, 1, (_, __, { method }) =>
			method === "HEAD" ? "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" : "HTTP/1.1 204 None\r\n\r\n",
		);
		const tested = await startOutbound(t, upstreams, "fault: { throttle: { bytesPerSecond: 1 } }", { clock });
		assert.equal((await tested.ask("HEAD / HTTP/1.1\r\nHost: api\r\n\r\n")).status, 200);
		assert.equal((await tested.ask(get())).status, 204);
		assertAllReturned(tested);
	});

	it("ends with its client, and nothing goes on", async (t) => {
		const { tested, clock, client } = await faulty(t, "content-length", "throttle: { bytesPerSecond: 100 }");
		client.send(get());
		await client.untilText("\r\n\r\n");
		client.reset();
		await until(() => tested.upstream("api").endpoints[0]?.activeRequests === 0);
		clock.advance(20_000);
		await turns();
		assertAllReturned(tested);
		assert.equal(tested.upstream("api").endpoints[0]?.pool.open, 0);
	});

	it("that is tried again at once does not disturb the next try", async (t) => {
		const clock = new FakeClock();
		const { upstreams } = await group(t, 1, (nth) => (nth === 0 ? reply(503, "down") : ok("well")));
		const tested = await startOutbound(t, upstreams, `${NO_EJECTION}, retry: { ${AT_ONCE} }, fault: { throttle: { bytesPerSecond: 100 } }`, {
			clock,
		});
		const client = await tested.client();
		client.send(get());
		await advanceUntil(clock, () => client.answers.length === 1, 10);
		assert.deepEqual([client.answers[0]?.status, client.answers[0]?.body.toString()], [200, "well"]);
		client.send(get());
		await advanceUntil(clock, () => client.answers.length === 2, 10);
		assertAllReturned(tested);
	});

	it("does not take the blame for an endpoint that refuses connections", async (t) => {
		const [dead] = await freePorts(1);
		const tested = await startOutbound(t, [{ address: `127.0.0.1:${dead}` }], `retry: { attempts: 0 }, fault: { throttle: { bytesPerSecond: 100 } }`);
		assert.equal(reasonOf(await tested.ask(get())), "connect_refused");
	});
});

describe("a truncated answer", GUARD, () => {
	for (const framing of FRAMINGS) {
		it(`that is ${framing} breaks off so that the client notices`, async (t) => {
			const { tested, client } = await faulty(t, framing, "truncate: { afterBytes: 100 }");
			await client.send(get()).untilClosed();
			const [head, ...rest] = client.text.split("\r\n\r\n");
			const body = rest.join("\r\n\r\n");
			assert.match(head ?? "", /^HTTP\/1\.1 200 /);
			const data = framing === "content-length" ? body : body.replace(/^64\r\n/, "").replace(/\r\n$/, "");
			assert.equal(data, BODY.slice(0, 100));
			assert.ok(!body.includes("\r\n0\r\n"), "the end of a chunked body was written");
			assertAllReturned(tested);
			await until(() => tested.upstream("api").endpoints[0]?.pool.open === 0);
			const [failure] = tested.sidecar.failures();
			assert.deepEqual([failure?.reason, failure?.status], ["fault_injected", 200]);
			assert.match(failure?.detail ?? "", /cut after 100 bytes/);
		});

		it(`that is ${framing} and no longer than that arrives whole`, async (t) => {
			const { tested, client } = await faulty(t, framing, "truncate: { afterBytes: 1000 }");
			assert.equal((await client.send(get()).answer()).body.toString(), BODY);
			assertAllReturned(tested);
		});
	}

	it("for a client of HTTP/1.0 ends in a reset, as an orderly end would look like the answer's own", async (t) => {
		const { client } = await faulty(t, "chunked", "truncate: { afterBytes: 100 }");
		await client.send("GET / HTTP/1.0\r\nHost: api\r\n\r\n").untilClosed();
		await client.until("the reset", () => client.closed);
		assert.equal(client.error, "ECONNRESET");
	});

	it("is throttled as well where both act", async (t) => {
		const clock = new FakeClock();
		const { upstreams } = await group(t, 1, answering("content-length"));
		const tested = await startOutbound(t, upstreams, "timeout: { request: 60s }", { clock });
		for (const [name, lease] of [
			["slow", { throttle: { bytesPerSecond: 1000 } }],
			["cut", { truncate: { afterBytes: 500 } }],
		] as const) {
			const url = `http://127.0.0.1:${tested.port("admin")}/faults/${name}`;
			const put = await fetch(url, { method: "PUT", body: JSON.stringify({ upstream: "api", for: "10m", ...lease }) });
			assert.ok(put.ok, await put.text());
		}
		const client = await tested.client();
		client.send(get());
		await client.untilText("\r\n\r\n");
		const beganMs = clock.monotonicMs();
		await advanceUntil(clock, () => client.ended || client.closed, 10);
		const tookMs = clock.monotonicMs() - beganMs;
		assert.ok(client.text.endsWith(`\r\n\r\n${BODY.slice(0, 500)}`));
		assert.ok(tookMs >= 400 && tookMs <= 600, `${tookMs} ms`);
		assertAllReturned(tested);
	});

	it("is told in the trace, with the fault that did it", async (t) => {
		const { tested, client } = await faulty(t, "content-length", "name: f1, truncate: { afterBytes: 10 }");
		await client.send(get()).untilClosed();
		assert.deepEqual(tested.sidecar.failures()[0]?.detail, "fault f1: cut after 10 bytes of the body");
	});
});
