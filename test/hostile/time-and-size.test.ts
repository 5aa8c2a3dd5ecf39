/** Rows 1-16 of the shared list of hostile behaviours: clients that are slow, large or many. Memory has a file of its own. */
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { HEAD_BYTES_MAX, TARGET_BYTES_MAX } from "../../src/http1/limits.ts";
import { ok, rawClient, rawUpstream } from "../support/raw-peer.ts";
import { valuesOf } from "../support/strict-reader.ts";
import { assertReason, runInbound } from "./support.ts";

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

suite("slow clients", () => {
	test("a head that drips is answered 408 at the deadline from its first byte, however steadily it drips", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		const sidecar = await runInbound(t, upstream.address, { limits: "{ requestHeadTimeout: 300ms }" });
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send("GET / HTTP/1.1\r\nHost: a\r\nX: ");
		// Ten drips within each deadline: were it counted from the last byte, the drip would go on until patience ends.
		const drip = setInterval(() => client.send("v"), 30);
		t.after(() => clearInterval(drip));
		await client.untilClosed();
		clearInterval(drip);
		assertReason(await client.answer(), 408, "request_timeout");
		assert.equal(upstream.connections.length, 0);
	});

	test("a body that stops is answered 408, its upstream connection is closed and its slot is free", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		const sidecar = await runInbound(t, upstream.address, { limits: "{ bodyIdleTimeout: 200ms }" });
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
		await client.untilClosed();
		assertReason(await client.answer(), 408, "request_timeout");
		const connection = await upstream.connection(0);
		await connection.untilClosed();
		assert.equal(connection.requests.length, 0, "the upstream never saw a complete request");
		assert.equal(sidecar.upstream("application").endpoints[0]?.activeRequests, 0);
	});

	test("a body that drips within its idle time is ended by the request timeout, and its upstream connection is closed", async (t) => {
		const upstream = await rawUpstream(t);
		const sidecar = await runInbound(t, upstream.address, { timeout: "{ request: 300ms }" });
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
		const drip = setInterval(() => client.send("v"), 30);
		t.after(() => clearInterval(drip));
		assertReason(await client.answer(), 504, "upstream_timeout");
		await client.untilClosed();
		await (await upstream.connection(0)).untilClosed();
	});

	test("a client that stops reading its answer is cut after the idle time, and the application's connection is free", async (t) => {
		const upstream = await rawUpstream(t, () => ok("x".repeat(20_000_000)));
		const sidecar = await runInbound(t, upstream.address, { timeout: "{ idle: 200ms }" });
		const client = await rawClient(t, sidecar.port("inbound"), { paused: true });
		client.send(GET);
		const connection = await upstream.connection(0);
		await connection.untilClosed();
		client.socket.resume();
		await client.untilClosed();
		assert.equal(client.answers.length, 0, "the answer was not complete");
		assert.equal(sidecar.upstream("application").endpoints[0]?.activeRequests, 0);
	});

	test("an application that stops reading an upload is given up after the request timeout, and the client is told", async (t) => {
		const upstream = await rawUpstream(t);
		const sidecar = await runInbound(t, upstream.address, { timeout: "{ request: 300ms }" });
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
		const connection = await upstream.connection(0);
		connection.socket.pause();
		for (let i = 0; i < 20; i++) client.send("x".repeat(1_000_000));
		assertReason(await client.answer(), 504, "upstream_timeout");
		connection.keep = false;
		connection.socket.resume();
		await connection.untilClosed();
	});

	test("a client that is gone without a word is closed at the keep-alive idle time", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		const sidecar = await runInbound(t, upstream.address, { limits: "{ keepAliveIdleTimeout: 200ms }" });
		const silent = await rawClient(t, sidecar.port("inbound"));
		const once = await rawClient(t, sidecar.port("inbound"));
		await once.send(GET).answer();
		await silent.untilClosed();
		await once.untilClosed();
		assert.equal(silent.bytes, 0);
	});
});

suite("large heads", () => {
	test("a header section past the limit is answered 431 and closed without being read to its end", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send(`GET / HTTP/1.1\r\nHost: a\r\nX: ${"v".repeat(HEAD_BYTES_MAX)}`);
		assertReason(await client.answer(), 431, "head_too_large");
		await client.untilClosed();
		assert.equal(upstream.connections.length, 0);
	});

	test("a head of the limit passes, though it takes more than one read", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		const start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
		const value = "v".repeat(HEAD_BYTES_MAX - start.length - 4);
		client.send(start).send(value).send("\r\n\r\n");
		assert.equal((await client.answer()).status, 200);
		assert.deepEqual(valuesOf((await upstream.connection(0)).requests[0] ?? assert.fail(), "x"), [value]);
	});

	test("a target past the limit is answered 414 and closed", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send(`GET /${"t".repeat(TARGET_BYTES_MAX)}`);
		assertReason(await client.answer(), 414, "target_too_long");
		await client.untilClosed();
	});

	test("too many fields are answered 431", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send(`GET / HTTP/1.1\r\nHost: a\r\n${"A: 1\r\n".repeat(200)}\r\n`);
		assertReason(await client.answer(), 431, "head_too_large");
	});

	test("a head of 8 KB in segments of one byte is relayed as if it had come at once", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		const sidecar = await runInbound(t, upstream.address);
		const head = `GET /p HTTP/1.1\r\nHost: a\r\n${`X-Field: ${"v".repeat(100)}\r\n`.repeat(72)}\r\n`;
		const whole = await rawClient(t, sidecar.port("inbound"));
		await whole.send(head).answer();
		const bytewise = await rawClient(t, sidecar.port("inbound"));
		for (const byte of head) {
			bytewise.send(byte);
			await new Promise((resolve) => setImmediate(resolve));
		}
		assert.equal((await bytewise.answer()).status, 200);
		const [first, second] = upstream.requests;
		const plain = (request = first): unknown => request?.fields.filter(([name]) => !/^(?:x-request-id|traceparent|x-nexus-deadline-ms)$/.test(name));
		assert.deepEqual(plain(second), plain(first));
	});
});

suite("chunked bodies", () => {
	test("a chunk of a terabyte is streamed: what has come is upstream before the rest exists", async (t) => {
		const upstream = await rawUpstream(t);
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000\r\n");
		const connection = await upstream.connection(0);
		client.send("v".repeat(1_000_000));
		await connection.until("a megabyte", () => connection.bytes > 1_000_000);
		client.reset();
		await connection.untilClosed();
		assert.equal(connection.requests.length, 0, "the upstream never saw a complete request");
	});

	test("extensions past their limit are refused, and the upstream never sees a complete message", async (t) => {
		const upstream = await rawUpstream(t);
		const sidecar = await runInbound(t, upstream.address);
		for (const body of [`1;${"e".repeat(16_384)}\r\nx\r\n0\r\n\r\n`, `${`1;${"e".repeat(100)}\r\nx\r\n`.repeat(1000)}0\r\n\r\n`]) {
			const client = await rawClient(t, sidecar.port("inbound"));
			client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
			client.send(body);
			assertReason(await client.answer(), 400, "bad_request");
			await client.untilClosed();
		}
		for (const connection of upstream.connections) {
			await connection.untilClosed();
			assert.equal(connection.requests.length, 0);
		}
	});

	test("extensions within their limit are dropped, never relayed", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0;c\r\n\r\n");
		assert.equal((await client.answer()).status, 200);
		const connection = await upstream.connection(0);
		assert.equal(connection.requests[0]?.body.toString(), "abc");
		assert.doesNotMatch(connection.text, /;/);
	});

	test("ten thousand trailer fields are refused", async (t) => {
		const upstream = await rawUpstream(t);
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send(`POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n${"A: 1\r\n".repeat(10_000)}\r\n`);
		assertReason(await client.answer(), 431, "head_too_large");
		for (const connection of upstream.connections) assert.equal(connection.requests.length, 0);
	});

	for (const method of ["GET", "POST"]) {
		test(`an empty body with trailers of a ${method} stays one, without the forbidden ones`, async (t) => {
			const upstream = await rawUpstream(t, () => ok());
			const sidecar = await runInbound(t, upstream.address);
			const client = await rawClient(t, sidecar.port("inbound"));
			client.send(`${method} / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nHost: b\r\n\r\n`);
			assert.equal((await client.answer()).status, 200);
			const [request] = upstream.requests;
			assert.equal(request?.framing, "chunked");
			assert.equal(request?.body.length, 0);
			assert.deepEqual(request?.trailers, [["X-Sum", "1"]]);
		});
	}

	test("trailers of an answer reach the client that asked for them, and no other", async (t) => {
		const upstream = await rawUpstream(
			t,
			() => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a\r\n\r\n",
		);
		const sidecar = await runInbound(t, upstream.address);
		const asking = await rawClient(t, sidecar.port("inbound"));
		assert.deepEqual((await asking.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n").answer()).trailers, [["X-Sum", "1"]]);
		const other = await rawClient(t, sidecar.port("inbound"));
		assert.deepEqual((await other.send(GET).answer()).trailers, []);
	});
});

suite("many at once", () => {
	test("connections above the limit are refused with a reason, and those below go on", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		const sidecar = await runInbound(t, upstream.address, { limits: "{ maxConnections: 5 }" });
		const inside = await Promise.all(Array.from({ length: 5 }, () => rawClient(t, sidecar.port("inbound"))));
		await Promise.all(inside.map((client) => client.send(GET).answer(0)));
		for (let i = 0; i < 20; i++) {
			const refused = await rawClient(t, sidecar.port("inbound"));
			await refused.untilClosed();
			assertReason(await refused.answer(), 503, "connection_limit");
		}
		for (const client of inside) assert.equal((await client.send(GET).answer(1)).status, 200);
		inside[0]?.reset();
		const next = async (): Promise<number> => {
			const client = await rawClient(t, sidecar.port("inbound"));
			return (await client.send(GET).answer()).status;
		};
		let status = await next();
		for (let i = 0; i < 100 && status !== 200; i++) status = await next();
		assert.equal(status, 200, "the place of a closed connection is free again");
	});

	test("a hundred pipelined requests in one packet are answered in order, one at a time", async (t) => {
		let open = 0;
		let most = 0;
		const upstream = await rawUpstream(t, (request, connection) => {
			most = Math.max(most, ++open);
			setImmediate(() => {
				open--;
				connection.send(ok(request.target));
			});
			return undefined;
		});
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send(Array.from({ length: 100 }, (_, i) => `GET /${i} HTTP/1.1\r\nHost: a\r\n\r\n`).join(""));
		await client.answer(99);
		assert.deepEqual(
			client.answers.map((answer) => answer.body.toString()),
			Array.from({ length: 100 }, (_, i) => `/${i}`),
		);
		assert.equal(most, 1);
	});

	test("twenty thousand pipelined requests of a client that reads in fits and starts are answered in order, none damaged", async (t) => {
		const count = 20_000;
		const upstream = await rawUpstream(t, (request) => ok(request.target.repeat(20)));
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"), { paused: true });
		client.send(Array.from({ length: count }, (_, i) => `GET /${i} HTTP/1.1\r\nHost: a\r\n\r\n`).join(""));
		// Reads a little, stands still until the sidecar has nothing more to do, reads again.
		let stops = 0;
		client.socket.on("data", () => {
			if (++stops % 3 !== 0) return;
			client.socket.pause();
			setTimeout(() => client.socket.resume(), 2);
		});
		client.socket.resume();
		const last = `/${count - 1}`.repeat(20);
		await client.until("the last answer", () => client.received.subarray(-last.length).toString("latin1") === last);
		const answers = client.answers;
		assert.equal(answers.length, count);
		for (const [i, answer] of answers.entries()) assert.equal(answer.body.toString("latin1"), `/${i}`.repeat(20));
	});

	test("bodies and requests in one stream are taken apart at the right byte", async (t) => {
		const upstream = await rawUpstream(t, (request) => ok(`${request.method} ${request.body.toString("latin1")}`));
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		const one =
			"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nGETPUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n0\r\r\n1\r\n\n\r\n0\r\n\r\n";
		client.send(one.repeat(200));
		await client.answer(399);
		for (const [i, answer] of client.answers.entries()) assert.equal(answer.body.toString("latin1"), i % 2 === 0 ? "POST GET" : "PUT 0\r\n");
	});

	test("a request behind one that said Connection: close is not processed", async (t) => {
		const upstream = await rawUpstream(t, (request) => ok(request.target));
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send("GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
		await client.untilClosed();
		assert.deepEqual(
			client.answers.map((answer) => answer.body.toString()),
			["/1"],
		);
		assert.deepEqual(valuesOf(client.answers[0] ?? assert.fail(), "connection"), ["close"]);
		assert.equal(upstream.requests.length, 1);
	});
});
