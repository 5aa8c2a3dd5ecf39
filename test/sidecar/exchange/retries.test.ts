/** Trying again: which failures, which requests, where, how often, and in what order the answers come. */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { describe, it } from "node:test";
import { FakeClock } from "../../support/fake-clock.ts";
import { freePorts } from "../../support/processes.ts";
import { ok, rawUpstream } from "../../support/raw-peer.ts";
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
	reply,
	said,
	startOutbound,
	turns,
	until,
} from "./support.ts";

const RETRY = `${NO_EJECTION}, retry: { ${AT_ONCE} }`;

describe("an answer of 503", GUARD, () => {
	for (const method of ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]) {
		it(`to a ${method} is tried again at another endpoint`, async (t) => {
			const { upstreams, seen } = await group(t, 2, (nth, _, { method }) =>
				nth === 0 ? reply(503) : method === "HEAD" ? "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n" : ok(),
			);
			const tested = await startOutbound(t, upstreams, RETRY);
			const answer = await tested.ask(`${method} / HTTP/1.1\r\nHost: api\r\n\r\n`);
			assert.deepEqual([answer.status, seen.length, seen[0]?.by === seen[1]?.by], [200, 2, false]);
			assert.equal(await tested.metric("nexus_retries_total", { upstream: "api", result: "sent" }), 1);
			assertAllReturned(tested);
		});
	}

	it("to a POST is the client's, as nobody knows whether it was acted on", async (t) => {
		const { upstreams, seen } = await group(t, 2, () => reply(503, "down"));
		const tested = await startOutbound(t, upstreams, RETRY);
		const answer = await tested.ask(post("order"));
		assert.deepEqual([answer.status, answer.body.toString(), seen.length], [503, "down", 1]);
		assert.deepEqual(said(failureOf(tested), "retry"), [
			"not tried again: the request may have been acted on, its method is not idempotent and it has no idempotency-key",
		]);
	});

	it("to a POST with an idempotency-key is tried again with the same body and key", async (t) => {
		const { upstreams, seen } = await group(t, 2, (nth) => (nth === 0 ? reply(503) : ok()));
		const tested = await startOutbound(t, upstreams, RETRY);
		const answer = await tested.ask(post("order", "Idempotency-Key: k1\r\n"));
		assert.equal(answer.status, 200);
		assert.deepEqual(
			seen.map(({ request }) => [request.method, request.body.toString(), fieldOf(request, "idempotency-key")]),
			[
				["POST", "order", "k1"],
				["POST", "order", "k1"],
			],
		);
	});

	it("is tried again as often as the policy says, at each endpoint once while there is another one", async (t) => {
		const { upstreams, seen } = await group(t, 3, () => reply(503, "down"));
		const tested = await startOutbound(t, upstreams, RETRY);
		const answer = await tested.ask(get());
		assert.deepEqual([answer.status, answer.body.toString()], [503, "down"]);
		assert.deepEqual(seen.map(({ by }) => by).sort(), [0, 1, 2]);
		const trace = failureOf(tested);
		assert.deepEqual(said(trace, "retry"), ["tried again at once", "tried again at once", "not tried again: all tries are used"]);
		assert.equal(trace.attempts, 3);
		const told = said(trace, "attempt");
		assert.equal(told.length, 3, told.join("; "));
		for (const [i, text] of told.entries()) assert.equal(text, `try ${i + 1} at ${upstreams[seen[i]?.by ?? 0]?.address}: answered with 503`);
	});

	for (const balancing of [
		"round-robin",
		"least-connections",
		"random",
		"weighted",
		"peak-ewma",
		'ring-hash, hashOn: "header:x-user", ringSize: 64',
		'maglev, hashOn: "header:x-user", tableSize: 251',
	]) {
		it(`is never tried again where it came from, by ${balancing}`, async (t) => {
			let first: number | undefined;
			const { upstreams, seen } = await group(t, 3, (_, by) => {
				first ??= by;
				return first === by ? reply(503) : ok();
			});
			const tested = await startOutbound(t, upstreams, `${RETRY}, loadBalancing: ${balancing}`);
			for (let i = 0; i < 8; i++) {
				first = undefined;
				const before = seen.length;
				assert.equal((await tested.ask(get("X-User: u1\r\n"))).status, 200);
				assert.equal(seen.length, before + 2);
			}
		});
	}

	it("is tried again at the only endpoint where there is no other one", async (t) => {
		const { upstreams, seen } = await group(t, 1, (nth) => (nth < 2 ? reply(503) : ok()));
		const tested = await startOutbound(t, upstreams, RETRY);
		assert.equal((await tested.ask(get())).status, 200);
		assert.equal(seen.length, 3);
		assert.equal(seen[0]?.connection, seen[2]?.connection, "an answer that has come whole leaves its connection to the next try");
	});

	it("is not tried again with attempts: 0", async (t) => {
		const { upstreams, seen } = await group(t, 2, () => reply(503));
		const tested = await startOutbound(t, upstreams, `${NO_EJECTION}, retry: { attempts: 0 }`);
		const answer = await tested.ask(get());
		assert.deepEqual([answer.status, seen.length, fieldOf(answer, "x-nexus-retried")], [503, 1, undefined]);
		assert.deepEqual(said(failureOf(tested), "retry"), ["not tried again: all tries are used"]);
	});

	it("with a body that is still coming costs its connection, one that has come whole does not", async (t) => {
		const { upstreams, seen } = await group(t, 1, (nth) => {
			if (nth === 0) return "HTTP/1.1 503 Down\r\nContent-Length: 100\r\n\r\nhalf";
			return nth === 1 ? reply(503, "whole") : ok();
		});
		const tested = await startOutbound(t, upstreams, RETRY);
		assert.equal((await tested.ask(get())).body.toString(), "ok");
		const [first, second, third] = seen.map(({ connection }) => connection);
		assert.notEqual(first, second);
		assert.equal(second, third);
		await first?.untilClosed();
		assert.equal(tested.upstream("api").endpoints[0]?.pool.open, 1);
	});
});

describe("a status that the policy lists", GUARD, () => {
	it("is tried again also where it is none of a server's faults", async (t) => {
		const { upstreams } = await group(t, 2, (nth) => (nth === 0 ? reply(429) : ok()));
		const tested = await startOutbound(t, upstreams, `retry: { on: [429], ${AT_ONCE} }`);
		assert.equal((await tested.ask(get())).status, 200);
	});

	it("is the only one that is tried again", async (t) => {
		for (const status of [500, 502, 504, 404]) {
			const { upstreams, seen } = await group(t, 2, () => reply(status));
			const tested = await startOutbound(t, upstreams, `${NO_EJECTION}, retry: { on: [503], ${AT_ONCE} }`);
			assert.deepEqual([(await tested.ask(get())).status, seen.length], [status, 1]);
		}
	});
});

describe("a connection", GUARD, () => {
	it("that is refused is tried elsewhere at once, also for a POST and with attempts: 0", async (t) => {
		const [dead] = await freePorts(1);
		const { upstreams } = await group(t, 1);
		const endpoints = [{ address: `127.0.0.1:${dead}` }, ...upstreams];
		const tested = await startOutbound(t, endpoints, `${NO_EJECTION}, retry: { attempts: 0 }`);
		for (let i = 0; i < 4; i++) assert.equal((await tested.ask(post("x"))).status, 200);
		assert.ok((tested.upstream("api").endpoints[0]?.pool.connectFailures ?? 0) > 0);
		assertAllReturned(tested);
	});

	it("that is reset before the head is tried elsewhere", async (t) => {
		const { upstreams, seen } = await group(t, 2, (nth, _, __, connection) => {
			if (nth > 0) return ok();
			connection.reset();
			return undefined;
		});
		const tested = await startOutbound(t, upstreams, RETRY);
		assert.equal((await tested.ask(get())).status, 200);
		assert.notEqual(seen[0]?.by, seen[1]?.by);
		assertAllReturned(tested);
	});

	it("that is closed in the middle of the head is tried elsewhere, and never for a POST", async (t) => {
		for (const [request, status] of [
			[get(), 200],
			[post("x"), 502],
		] as const) {
			const { upstreams, seen } = await group(t, 2, (nth, _, __, connection) => {
				if (nth > 0) return ok();
				connection.send("HTTP/1.1 200 OK\r\nConte");
				connection.end();
				return undefined;
			});
			const tested = await startOutbound(t, upstreams, RETRY);
			const answer = await tested.ask(request);
			assert.deepEqual([answer.status, seen.length], [status, status === 200 ? 2 : 1]);
			if (status === 502) assert.equal(reasonOf(answer), "upstream_reset");
		}
	});

	it("that breaks behind the head is not tried again: the client sees that the answer was cut", async (t) => {
		const { upstreams, seen } = await group(t, 2, (_, __, ___, connection) => {
			connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
			connection.socket.end();
			return undefined;
		});
		const tested = await startOutbound(t, upstreams, RETRY);
		const client = await tested.client();
		await client.send(get()).untilClosed();
		assert.match(client.text, /^HTTP\/1\.1 200 .*\r\n\r\nhalf$/s);
		assert.equal(seen.length, 1);
		assertAllReturned(tested);
	});

	it("that nobody accepts any more tells the client so once no endpoint is left", async (t) => {
		const [one, two] = await freePorts(2);
		const tested = await startOutbound(t, [{ address: `127.0.0.1:${one}` }, { address: `127.0.0.1:${two}` }], RETRY);
		const answer = await tested.ask(get());
		assert.deepEqual([answer.status, reasonOf(answer), fieldOf(answer, "x-nexus-retried")], [503, "connect_refused", "1"]);
		assert.equal(said(failureOf(tested), "attempt").length, 3);
		assertAllReturned(tested);
	});
});

describe("retry-after", GUARD, () => {
	it("is waited for before the next try", async (t) => {
		const clock = new FakeClock();
		const at: number[] = [];
		const { upstreams, seen } = await group(t, 2, (nth) => {
			at.push(clock.monotonicMs());
			return nth === 0 ? reply(503, "", "Retry-After: 2\r\n") : ok();
		});
		const tested = await startOutbound(t, upstreams, NO_EJECTION, { clock });
		const client = await tested.client();
		client.send(get());
		await until(() => seen.length === 1);
		await advanceUntil(clock, () => seen.length === 2, 10);
		assert.equal((await client.answer()).status, 200);
		const waitedMs = (at[1] ?? 0) - (at[0] ?? 0);
		assert.ok(waitedMs >= 2000 && waitedMs <= 3010, `${waitedMs} ms: the 2 s of the answer, and up to half of it on top`);
	});

	it("beyond what the policy allows ends the tries, and goes on to the client", async (t) => {
		const { upstreams, seen } = await group(t, 2, () => reply(503, "", "Retry-After: 6\r\n"));
		const tested = await startOutbound(t, upstreams, NO_EJECTION);
		const answer = await tested.ask(get());
		assert.deepEqual([answer.status, fieldOf(answer, "retry-after"), seen.length], [503, "6", 1]);
		assert.deepEqual(said(failureOf(tested), "retry"), ["not tried again: the upstream asks to wait longer than the policy allows"]);
	});

	it("that is longer than the request has time left ends the tries", async (t) => {
		const { upstreams, seen } = await group(t, 2, () => reply(503, "", "Retry-After: 2\r\n"));
		const tested = await startOutbound(t, upstreams, `${NO_EJECTION}, timeout: { request: 1s }`);
		assert.equal((await tested.ask(get())).status, 503);
		assert.equal(seen.length, 1);
		assert.equal(await tested.metric("nexus_retries_total", { upstream: "api", result: "late" }), 1);
	});
});

describe("a pause between two tries", GUARD, () => {
	const slow = `${NO_EJECTION}, retry: { backoff: { base: 5s, max: 5s } }, timeout: { request: 60s }`;

	it("ends when the client resets, and no request leaves any more", async (t) => {
		const clock = new FakeClock();
		const { upstreams, seen } = await group(t, 2, () => reply(503));
		const tested = await startOutbound(t, upstreams, slow, { clock });
		const client = await tested.client();
		client.send(get());
		await until(() => tested.sidecar.upstreams()[0]?.retries.sent === 1);
		client.reset();
		await until(() => tested.sidecar.listeners().some(({ name, open }) => name === "outbound" && open === 0));
		clock.advance(10_000);
		await turns();
		assert.equal(seen.length, 1);
		assertAllReturned(tested);
	});

	it("ends with the time of the request", async (t) => {
		const clock = new FakeClock();
		const { upstreams, seen } = await group(t, 2, (nth) => (nth === 0 ? reply(503) : undefined));
		const tested = await startOutbound(t, upstreams, slow.replace("60s", "6s"), { clock });
		const client = await tested.client();
		client.send(get());
		await until(() => seen.length === 1);
		await advanceUntil(clock, () => client.answers.length === 1, 50);
		const [answer] = client.answers;
		assert.deepEqual([answer?.status, reasonOf(answer as never)], [504, "upstream_timeout"]);
		assert.equal(seen.length, 2);
		const nowMs = clock.monotonicMs();
		assert.ok(nowMs >= 6000 && nowMs <= 6200, `all tries together took ${nowMs} ms`);
		assertAllReturned(tested);
	});

	it("holds up a drain no longer than the drain may take", async (t) => {
		const clock = new FakeClock();
		const { upstreams, seen } = await group(t, 2, () => reply(503));
		const tested = await startOutbound(t, upstreams, slow, { clock });
		const client = await tested.client();
		client.send(get());
		await until(() => tested.sidecar.upstreams()[0]?.retries.sent === 1);
		let closed = false;
		void tested.sidecar.close("api").then(() => {
			closed = true;
		});
		await advanceUntil(clock, () => closed, 50);
		await client.untilClosed();
		assert.equal(client.text, "");
		assert.equal(seen.length, 1);
		assertAllReturned(tested);
	});
});

describe("pipelined requests", GUARD, () => {
	it("behind one that is tried again keep their order", async (t) => {
		const failed = new Set<string>();
		const { upstreams } = await group(t, 2, (_, __, { target }) => {
			if (target === "/4" || failed.has(target)) return ok(target);
			failed.add(target);
			return reply(503);
		});
		const tested = await startOutbound(t, upstreams, RETRY);
		const client = await tested.client();
		client.send(["/1", "/2", "/3", "/4", "/5"].map((path) => get("", path)).join(""));
		await client.answer(4);
		assert.deepEqual(
			client.answers.map(({ body }) => body.toString()),
			["/1", "/2", "/3", "/4", "/5"],
		);
	});
});

describe("Expect: 100-continue", GUARD, () => {
	it("of a request that is tried again asks the client for its body once, and sends it both times", async (t) => {
		const silent = await rawUpstream(t);
		const tested = await startOutbound(t, [silent], RETRY);
		const client = await tested.client();
		client.send("PUT / HTTP/1.1\r\nHost: api\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
		const first = await silent.connection(0);
		await first.untilText("\r\n\r\n");
		first.send("HTTP/1.1 100 Continue\r\n\r\n");
		await client.untilText("100 Continue");
		client.send("body");
		assert.equal((await first.request()).body.toString(), "body");
		first.send(reply(503));
		await first.request(1);
		first.send("HTTP/1.1 100 Continue\r\n\r\n").send(ok("done"));
		assert.equal((await client.answer()).body.toString(), "done");
		assert.equal(first.requests[1]?.body.toString(), "body");
	});

	it("refused with a final answer before the body is not tried again without it", async (t) => {
		const silent = await rawUpstream(t);
		const tested = await startOutbound(t, [silent], `${NO_EJECTION}, retry: { attempts: 1, ${AT_ONCE} }`);
		const client = await tested.client();
		client.send("PUT / HTTP/1.1\r\nHost: api\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
		const first = await silent.connection(0);
		await first.untilText("\r\n\r\n");
		first.send(reply(503));
		// The request is whole as far as it has come: it is tried again, on a connection that owes nobody a body.
		const second = await silent.connection(1);
		await second.untilText("\r\n\r\n");
		second.send(reply(417, "no"));
		assert.deepEqual([(await client.answer()).status, fieldOf(client.answers[0] as never, "connection")], [417, "close"]);
	});
});

describe("an upstream that takes connections and resets them", GUARD, () => {
	it("is asked no more often than the policy says, though each try finds a dead connection", async (t) => {
		let connects = 0;
		const server = createServer((socket) => {
			connects++;
			socket.resetAndDestroy();
		});
		await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
		t.after(() => server.close());
		const address = server.address();
		assert.ok(address !== null && typeof address === "object");
		const tested = await startOutbound(t, [{ address: `127.0.0.1:${address.port}` }], RETRY);
		const answer = await tested.ask(get());
		// The kernel tells of the reset with the connection, or a moment later.
		assert.match(reasonOf(answer) ?? "", /^(connect_failed|upstream_reset)$/);
		assert.equal(connects, 3);
		assertAllReturned(tested);
	});
});
