/** What of a request's body is kept for another try, that it arrives byte for byte the same, and what happens beyond. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import { KeptBody } from "../../../src/sidecar/exchange/kept-body.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { freePorts } from "../../support/processes.ts";
import { ok, type RawClient, type RawUpstream, rawUpstream } from "../../support/raw-peer.ts";
import {
	AT_ONCE,
	advanceUntil,
	assertAllReturned,
	failureOf,
	fieldOf,
	GUARD,
	group,
	NO_EJECTION,
	reply,
	said,
	startOutbound,
	type Tried,
	turns,
} from "./support.ts";

const KIB = 1024;
const RETRY = `${NO_EJECTION}, retry: { ${AT_ONCE} }`;

/** No two parts of it are alike. */
function bytes(length: number): Buffer {
	const rng = seededRng(length + 1);
	return Buffer.from(Array.from({ length }, () => Math.floor(rng() * 256)));
}

function chunked(body: Buffer, size: number, trailers = ""): Buffer {
	const parts: Buffer[] = [];
	for (let at = 0; at < body.length; at += size) {
		const part = body.subarray(at, at + size);
		parts.push(Buffer.from(`${part.length.toString(16)}\r\n`, "latin1"), part, Buffer.from("\r\n", "latin1"));
	}
	parts.push(Buffer.from(`0\r\n${trailers}\r\n`, "latin1"));
	return Buffer.concat(parts);
}

/** One endpoint for which the test speaks: the first try is its first connection, the second one its second. */
async function spoken(t: TestContext, keys = RETRY): Promise<{ tested: Tried; endpoint: RawUpstream; client: RawClient }> {
	const endpoint = await rawUpstream(t);
	const tested = await startOutbound(t, [endpoint], keys);
	return { tested, endpoint, client: await tested.client() };
}

describe("a body up to 64 KiB", GUARD, () => {
	for (const length of [1, 4 * KIB, 4 * KIB + 1, 20_000, 64 * KIB - 1, 64 * KIB]) {
		it(`of ${length} bytes with a length arrives the same a second time`, async (t) => {
			const body = bytes(length);
			const { upstreams, seen } = await group(t, 2, (nth) => (nth === 0 ? reply(503) : ok()));
			const tested = await startOutbound(t, upstreams, RETRY);
			const client = await tested.client();
			client.send(`PUT / HTTP/1.1\r\nHost: api\r\nContent-Length: ${length}\r\n\r\n`).send(body);
			assert.equal((await client.answer()).status, 200);
			assert.equal(seen.length, 2);
			for (const { request } of seen) assert.ok(request.body.equals(body));
			assertAllReturned(tested);
		});

		it(`of ${length} bytes in chunks, with trailers, arrives the same a second time`, async (t) => {
			const body = bytes(length);
			const { upstreams, seen } = await group(t, 2, (nth) => (nth === 0 ? reply(503) : ok()));
			const tested = await startOutbound(t, upstreams, RETRY);
			const client = await tested.client();
			client.send("PUT / HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n").send(chunked(body, 1000, "x-sum: 7\r\n"));
			assert.equal((await client.answer()).status, 200);
			assert.equal(seen.length, 2);
			for (const { request } of seen) {
				assert.ok(request.body.equals(body));
				assert.deepEqual(request.trailers, [["x-sum", "7"]]);
			}
		});
	}

	it("that comes byte by byte arrives the same a second time", async (t) => {
		const body = bytes(600);
		const { upstreams, seen } = await group(t, 2, (nth) => (nth === 0 ? reply(503) : ok()));
		const tested = await startOutbound(t, upstreams, RETRY);
		const client = await tested.client();
		client.send(`PUT / HTTP/1.1\r\nHost: api\r\nContent-Length: ${body.length}\r\n\r\n`);
		for (const byte of body) {
			client.send(Buffer.of(byte));
			await new Promise((resolve) => setImmediate(resolve));
		}
		assert.equal((await client.answer()).status, 200);
		for (const { request } of seen) assert.ok(request.body.equals(body));
	});

	it("goes on from where the client is when the first try fails in the middle of it", async (t) => {
		const { endpoint, client } = await spoken(t);
		const body = bytes(30_000);
		client.send("PUT / HTTP/1.1\r\nHost: api\r\nContent-Length: 30000\r\n\r\n").send(body.subarray(0, 10_000));
		const first = await endpoint.connection(0);
		await first.until("the first third", () => first.bytes > 10_000);
		first.send(reply(503));
		await first.untilClosed();
		const second = await endpoint.connection(1);
		await second.until("the first third again", () => second.bytes > 10_000);
		client.send(body.subarray(10_000));
		assert.ok((await second.request()).body.equals(body));
		second.send(ok());
		assert.equal((await client.answer()).status, 200);
	});

	it("of which more comes during the pause arrives whole", async (t) => {
		const clock = new FakeClock();
		const endpoint = await rawUpstream(t);
		const tested = await startOutbound(t, [endpoint], `${NO_EJECTION}, retry: { backoff: { base: 1s, max: 1s } }, timeout: { request: 60s }`, {
			clock,
		});
		const body = bytes(60_000);
		const client = await tested.client();
		client.send("PUT / HTTP/1.1\r\nHost: api\r\nContent-Length: 60000\r\n\r\n").send(body.subarray(0, 10_000));
		const first = await endpoint.connection(0);
		await first.until("the first part", () => first.bytes > 10_000);
		first.send(reply(503));
		await first.untilClosed();
		for (let at = 10_000; at < body.length; at += 10_000) {
			client.send(body.subarray(at, at + 10_000));
			await turns(5);
		}
		assert.equal(endpoint.connections.length, 1);
		await advanceUntil(clock, () => endpoint.connections.length === 2, 50);
		const second = await endpoint.connection(1);
		assert.ok((await second.request()).body.equals(body));
		second.send(ok());
		assert.equal((await client.answer()).status, 200);
	});

	it("of a request that its endpoint refused to connect goes to the next one whole, whatever its method", async (t) => {
		const [dead] = await freePorts(1);
		const { upstreams, seen } = await group(t, 1);
		const tested = await startOutbound(t, [{ address: `127.0.0.1:${dead}` }, ...upstreams], NO_EJECTION);
		const body = bytes(300_000);
		const client = await tested.client();
		client.send("POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 300000\r\n\r\n").send(body);
		assert.equal((await client.answer()).status, 200);
		assert.ok(seen[0]?.request.body.equals(body));
	});
});

describe("a body beyond what is kept", GUARD, () => {
	for (const [what, keys, length] of [
		["64 KiB", RETRY, 64 * KIB + 1],
		["maxBodyBytes", `${NO_EJECTION}, retry: { ${AT_ONCE}, maxBodyBytes: 1KiB }`, 5000],
		["maxBodyBytes, also where it has come with the head", `${NO_EJECTION}, retry: { ${AT_ONCE}, maxBodyBytes: 16 }`, 17],
		["maxBodyBytes: 0", `${NO_EJECTION}, retry: { ${AT_ONCE}, maxBodyBytes: 0 }`, 1],
	] as const) {
		it(`of ${what} is sent once: the answer is the client's, and the trace says why`, async (t) => {
			const body = bytes(length);
			const { upstreams, seen } = await group(t, 2, () => reply(503, "down"));
			const tested = await startOutbound(t, upstreams, keys);
			const client = await tested.client();
			const head = `PUT / HTTP/1.1\r\nHost: api\r\nContent-Length: ${length}\r\n\r\n`;
			client.send(Buffer.concat([Buffer.from(head, "latin1"), body]));
			assert.deepEqual([(await client.answer()).body.toString(), seen.length], ["down", 1]);
			assert.ok(seen[0]?.request.body.equals(body));
			assert.deepEqual(said(failureOf(tested), "retry"), ["not tried again: the request's body is not held any more"]);
			assert.equal(await tested.metric("nexus_retries_total", { upstream: "api", result: "not_replayable" }), 1);
			const { body: failures } = await tested.admin("GET", "/failures");
			assert.match(JSON.stringify(failures), /"brief":"not_replayable"/);
		});
	}

	it("that is still coming when the first try fails ends with that answer, and closes the client's connection", async (t) => {
		const { endpoint, client } = await spoken(t);
		client.send("PUT / HTTP/1.1\r\nHost: api\r\nContent-Length: 300000\r\n\r\n").send(bytes(200_000));
		const first = await endpoint.connection(0);
		await first.until("most of it", () => first.bytes > 200_000);
		first.send(reply(503, "no"));
		const answer = await client.answer();
		assert.deepEqual([answer.body.toString(), fieldOf(answer, "connection"), endpoint.connections.length], ["no", "close", 1]);
		first.keep = false;
	});
});

describe("small parts of a body", GUARD, () => {
	it("are kept together: a client that sends single bytes does not make a buffer of each", () => {
		const kept = new KeptBody();
		kept.begin(64 * KIB);
		const body = bytes(20_000);
		for (let at = 0; at < body.length; at++) kept.add(Buffer.from(body.subarray(at, at + 1)), 1);
		assert.ok(kept.parts.length <= 10, `${kept.parts.length} parts`);
		assert.ok(Buffer.concat(kept.parts).equals(body));
	});
});
