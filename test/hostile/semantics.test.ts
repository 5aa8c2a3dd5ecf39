/** Rows 17-36 of the shared list of hostile behaviours: what messages mean, and servers that do not keep to it. */
import assert from "node:assert/strict";
import { suite, type TestContext, test } from "node:test";
import { INTERIM_RESPONSES_MAX } from "../../src/http1/limits.ts";
import { ok, type RawClient, type RawUpstream, type RawUpstreamConnection, rawClient, rawUpstream } from "../support/raw-peer.ts";
import { relayFaults, type StrictMessage, valuesOf } from "../support/strict-reader.ts";
import { assertReason, type Running, runInbound } from "./support.ts";

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

interface Stage {
	readonly sidecar: Running;
	readonly upstream: RawUpstream;
	readonly client: RawClient;
	another(): Promise<RawClient>;
}

/** A client, a sidecar and an application that says `answer`, or nothing by itself. */
async function stage(
	t: TestContext,
	answer?: (request: StrictMessage, connection: RawUpstreamConnection, index: number) => string | undefined,
): Promise<Stage> {
	const upstream = await rawUpstream(t, answer);
	const sidecar = await runInbound(t, upstream.address);
	const another = (): Promise<RawClient> => rawClient(t, sidecar.port("inbound"));
	return { sidecar, upstream, client: await another(), another };
}

function head(client: RawClient, request: string): RawClient {
	client.methods.push("HEAD");
	return client.send(request);
}

suite("100-continue and other interim answers", () => {
	const PUT = "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

	test("the client gets exactly one 100, from the application, before it sends the body", async (t) => {
		const { client, upstream } = await stage(t);
		client.send(PUT);
		const connection = await upstream.connection(0);
		await connection.untilText(/^PUT .*\r\n\r\n$/s);
		assert.match(connection.text, /\r\nExpect: 100-continue\r\n/);
		connection.send("HTTP/1.1 100 Continue\r\n\r\n");
		await client.untilText("100 Continue");
		client.send("hello");
		assert.equal((await connection.request()).body.toString(), "hello");
		connection.send(ok());
		await client.answer();
		assert.deepEqual(
			client.messages.map((message) => message.status),
			[100, 200],
		);
	});

	test("a final answer without the body being read closes: the body never becomes a request", async (t) => {
		const { client, upstream } = await stage(t);
		client.send(PUT);
		const connection = await upstream.connection(0);
		await connection.untilText(/\r\n\r\n$/);
		connection.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
		const answer = await client.answer();
		assert.equal(answer.status, 417);
		assert.deepEqual(valuesOf(answer, "connection"), ["close"]);
		client.send("GET /x HTTP/1.1\r\nHost: evil\r\n\r\n");
		await client.untilClosed();
		await connection.untilClosed();
		assert.equal(client.answers.length, 1);
		assert.doesNotMatch(connection.text, /evil/);
		assert.equal(upstream.connections.length, 1);
	});

	test("an HTTP/1.0 client is never sent an interim answer, nor its Expect passed on", async (t) => {
		const { client, upstream } = await stage(t, () => `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n${ok()}`);
		client.send("PUT / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
		await client.untilClosed();
		assert.deepEqual(
			client.messages.map((message) => message.status),
			[200],
		);
		assert.deepEqual(valuesOf(upstream.requests[0] ?? assert.fail(), "expect"), []);
	});

	test("102 and 103 are relayed and never taken for the final answer", async (t) => {
		const { client } = await stage(
			t,
			() => `HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 3\r\n\r\n${ok("done")}`,
		);
		client.send(GET);
		assert.equal((await client.answer()).body.toString(), "done");
		assert.deepEqual(
			client.messages.map((message) => message.status),
			[102, 103, 200],
		);
		assert.deepEqual(valuesOf(client.messages[1] ?? assert.fail(), "link"), ["</a>"]);
	});

	test("interim answers without an end are cut off at their limit", async (t) => {
		const interims = (count: number): string => "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(count);
		const { client, another } = await stage(
			t,
			(_request, connection, index) => `${interims(INTERIM_RESPONSES_MAX + (connection.requests.length > 0 && index === 0 ? 1 : 0))}${ok()}`,
		);
		assertReason(await client.send(GET).answer(), 502, "upstream_protocol_error");
		const other = await another();
		assertReason(await other.send(GET).answer(), 502, "upstream_protocol_error");
	});

	test("as many interim answers as the limit pass", async (t) => {
		const { client } = await stage(t, () => `${"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(INTERIM_RESPONSES_MAX)}${ok()}`);
		assert.equal((await client.send(GET).answer()).status, 200);
		assert.equal(client.messages.length, INTERIM_RESPONSES_MAX + 1);
	});
});

suite("Upgrade", () => {
	const UPGRADE = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
	const SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n";

	test("101 that nobody asked for is a 502", async (t) => {
		const { client, upstream } = await stage(t, () => SWITCH);
		assertReason(await client.send(GET).answer(), 502, "upstream_protocol_error");
		await (await upstream.connection(0)).untilClosed();
	});

	test("after 101 both sides speak raw bytes, those that came early included", async (t) => {
		const { client, upstream } = await stage(t);
		client.send(`${UPGRADE}early\0\r\n`);
		const connection = await upstream.connection(0);
		const request = await connection.request();
		assert.deepEqual([valuesOf(request, "connection"), valuesOf(request, "upgrade")], [["upgrade"], ["websocket"]]);
		assert.doesNotMatch(connection.text, /early/, "nothing of the tunnel before it is one");
		connection.tunnel = true;
		connection.send(`${SWITCH}\x81\x05hello`);
		await client.untilText("\x81\x05hello");
		assert.match(client.text, /^HTTP\/1\.1 101 /);
		assert.match(client.text, /\r\nconnection: upgrade\r\n/i);
		await connection.untilText("early\0\r\n");
		client.send("GET / HTTP/1.1\r\n\r\n");
		await connection.untilText("GET / HTTP/1.1\r\n\r\n");
	});

	test("200 to an upgrade is a plain answer and no tunnel", async (t) => {
		const { client, upstream } = await stage(t, (_request, _connection, index) => ok(`plain ${index}`));
		client.send(UPGRADE);
		assert.equal((await client.answer(0)).body.toString(), "plain 0");
		client.send(GET);
		assert.equal((await client.answer(1)).body.toString(), "plain 1");
		assert.equal(upstream.requests.length, 2);
	});

	test("a refused upgrade is a plain answer, and what came behind the request is the next one", async (t) => {
		const { client, upstream } = await stage(t, (request, _connection, index) =>
			index === 0 ? "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno" : ok(request.target),
		);
		client.send(`${UPGRADE}GET /next HTTP/1.1\r\nHost: a\r\n\r\n`);
		assert.equal((await client.answer(0)).status, 403);
		assert.equal((await client.answer(1)).body.toString(), "/next");
		assert.deepEqual(relayFaults(upstream.requests[1] ?? assert.fail(), ""), []);
	});

	test("to h2c is never passed on, with its settings", async (t) => {
		const { client, upstream } = await stage(t, () => ok());
		for (const protocol of ["h2c", "H2C", "websocket, h2c", "h2c/1"]) {
			const index = client.answers.length;
			client.send(
				`GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: ${protocol}\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n`,
			);
			assert.equal((await client.answer(index)).status, 200);
			assert.deepEqual(relayFaults(upstream.requests.at(-1) ?? assert.fail(), ""), []);
		}
	});

	test("a field without Connection: upgrade is dropped", async (t) => {
		const { client, upstream } = await stage(t, () => ok());
		client.send("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n");
		assert.equal((await client.answer()).status, 200);
		assert.deepEqual(relayFaults(upstream.requests[0] ?? assert.fail(), ""), []);
	});
});

suite("answers without a body", () => {
	for (const [what, method, answer] of [
		["HEAD with a Content-Length", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"],
		["HEAD with chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
		["304 with a Content-Length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n"],
		["204 with a Content-Length", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 500\r\n\r\n"],
		["204 with Transfer-Encoding", "GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"],
	] as const) {
		test(`${what} ends with its head, and the connection is used again`, async (t) => {
			const { client, upstream } = await stage(t, (_request, _connection, index) => (index === 0 ? answer : ok("next")));
			client.methods.push(method);
			client.send(`${method} / HTTP/1.1\r\nHost: a\r\n\r\n`);
			const first = await client.answer(0);
			assert.equal(first.body.length, 0);
			assert.deepEqual(valuesOf(first, "content-length"), answer.includes("500") && !answer.includes("204") ? ["500"] : []);
			assert.deepEqual(relayFaults(first, ""), []);
			client.send(GET);
			assert.equal((await client.answer(1)).body.toString(), "next");
			assert.equal(upstream.connections.length, 1);
		});

		test(`${what} and body bytes all the same: they reach nobody, and the connection is closed`, async (t) => {
			const { client, upstream } = await stage(t, (_request, connection) =>
				upstream.connections.indexOf(connection) === 0 ? `${answer}HTTP/1.1 200 Smuggled\r\nContent-Length: 0\r\n\r\n` : ok("next"),
			);
			client.methods.push(method);
			client.send(`${method} / HTTP/1.1\r\nHost: a\r\n\r\n`);
			await client.answer(0);
			await (await upstream.connection(0)).untilClosed();
			client.send(GET);
			assert.equal((await client.answer(1)).body.toString(), "next");
			assert.doesNotMatch(client.text, /Smuggled/);
		});
	}

	test("205 with a body reaches the client without it", async (t) => {
		const { client } = await stage(t, (_request, _connection, index) =>
			index === 0 ? "HTTP/1.1 205 Reset Content\r\nContent-Length: 3\r\n\r\nabc" : ok("next"),
		);
		const first = await client.send(GET).answer(0);
		assert.deepEqual([first.status, first.body.length, valuesOf(first, "content-length")], [205, 0, ["0"]]);
		assert.equal((await client.send(GET).answer(1)).body.toString(), "next");
	});
});

suite("the end of an answer", () => {
	test("that runs until close reaches an HTTP/1.1 client chunked, and its connection goes on", async (t) => {
		const { client, upstream } = await stage(t, (_request, connection, index) => {
			if (upstream.connections.indexOf(connection) > 0) return ok("next");
			assert.equal(index, 0);
			connection.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
			connection.end();
			return undefined;
		});
		const answer = await client.send(GET).answer(0);
		assert.equal(answer.framing, "chunked");
		assert.equal(answer.body.toString(), "until the end");
		assert.equal((await client.send(GET).answer(1)).body.toString(), "next");
	});

	test("by a reset in the middle of one until close is no clean end for the client", async (t) => {
		const { client, upstream } = await stage(t);
		client.send(GET);
		const connection = await upstream.connection(0);
		await connection.request();
		connection.send("HTTP/1.1 200 OK\r\n\r\npart");
		await client.untilText("part");
		connection.reset();
		await client.untilClosed();
		assert.equal(client.answers.length, 0, "no complete answer");
		assert.doesNotMatch(client.text, /\r\n0\r\n/);
	});

	for (const [what, answer] of [
		["a length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"],
		["chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"],
	] as const) {
		test(`too early in a body with ${what} cuts the client's connection, and pads nothing`, async (t) => {
			const { client, upstream } = await stage(t);
			client.send(GET);
			const connection = await upstream.connection(0);
			await connection.request();
			connection.send(answer);
			await client.untilText("part");
			connection.end();
			await client.untilClosed();
			assert.equal(client.answers.length, 0);
			assert.doesNotMatch(client.text, /\r\n0\r\n/);
		});
	}

	test("before its head is complete is a 502 of ours", async (t) => {
		for (const part of ["", "HTTP/1.1 200 OK\r\nContent-"]) {
			const { client, upstream } = await stage(t);
			client.send(GET);
			const connection = await upstream.connection(0);
			await connection.request();
			connection.send(part);
			connection.end();
			assertReason(await client.answer(), 502, "upstream_reset");
		}
	});

	test("with broken chunks is a 502 while nothing has been sent, and cuts the client's connection afterwards", async (t) => {
		const { client, another, upstream } = await stage(t);
		client.send(GET);
		const first = await upstream.connection(0);
		await first.request();
		first.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npartXX\r\n0\r\n\r\n");
		assertReason(await client.answer(), 502, "upstream_protocol_error");
		const other = await another();
		other.send(GET);
		const second = await upstream.connection(1);
		await second.request();
		second.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart");
		await other.untilText("part");
		second.send("XX\r\n0\r\n\r\n");
		await other.untilClosed();
		assert.equal(other.answers.length, 0);
		await second.untilClosed();
	});

	test("followed by more bytes: they reach nobody, and that connection is not used again", async (t) => {
		const { client, upstream } = await stage(t, (_request, connection) =>
			upstream.connections.indexOf(connection) === 0 ? `${ok("first")}HTTP/1.1 200 Smuggled\r\nContent-Length: 0\r\n\r\n` : ok("second"),
		);
		assert.equal((await client.send(GET).answer(0)).body.toString(), "first");
		assert.equal((await client.send(GET).answer(1)).body.toString(), "second");
		await (await upstream.connection(0)).untilClosed();
		assert.doesNotMatch(client.text, /Smuggled/);
	});

	test("and an answer on an idle connection: it reaches nobody, and that connection is closed", async (t) => {
		const { client, upstream } = await stage(t, () => ok());
		for (const unasked of ["HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", "x", "HTTP/1.1 400 Bad Request\r\n\r\n"]) {
			const index = client.answers.length;
			assert.equal((await client.send(GET).answer(index)).status, 200);
			const connection = upstream.connections.at(-1) as RawUpstreamConnection;
			connection.send(unasked);
			await connection.untilClosed();
		}
		assert.equal((await client.send(GET).answer(3)).status, 200);
		assert.ok(client.answers.every((answer) => answer.status === 200));
	});
});

suite("an answer before the request is complete", () => {
	test("is relayed at once, both sides close, and the rest of the body becomes no request", async (t) => {
		const { client, upstream } = await stage(t);
		client.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome");
		const connection = await upstream.connection(0);
		await connection.untilText("some");
		connection.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!");
		const answer = await client.answer();
		assert.equal(answer.status, 413);
		assert.deepEqual(valuesOf(answer, "connection"), ["close"]);
		client.send("GET /evil HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100));
		await client.untilClosed();
		await connection.untilClosed();
		assert.equal(connection.requests.length, 0);
		assert.equal(upstream.connections.length, 1);
	});

	test("of our own closes as well: a request that is refused takes its body with it", async (t) => {
		const { client, upstream } = await stage(t);
		await upstream.close();
		client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\n");
		const answer = await client.answer();
		assertReason(answer, 503, "application_not_ready");
		assert.deepEqual(valuesOf(answer, "connection"), ["close"]);
		client.send("GET /evil HTTP/1.1\r\nHost: a\r\n\r\n");
		await client.untilClosed();
		assert.equal(client.answers.length, 1);
	});
});

suite("an application's head that no client may see", () => {
	for (const [what, answer] of [
		["a bare CR in a value", "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n"],
		["a bare LF in a value", "HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n"],
		["a NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"],
		["a folded line", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"],
		["two equal lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"],
		["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 0\r\n\r\nok"],
		["length and coding", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
		["another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxx"],
		["no HTTP at all", "SSH-2.0-OpenSSH_9.2\r\n"],
	] as const) {
		test(`${what}: 502 in its place, and the connection is closed`, async (t) => {
			const { client, upstream } = await stage(t, () => answer);
			assertReason(await client.send(GET).answer(), 502, "upstream_protocol_error");
			await (await upstream.connection(0)).untilClosed();
			assert.doesNotMatch(client.text, /Set-Cookie|SSH/);
		});
	}
});

suite("bodies", () => {
	for (const method of ["GET", "DELETE", "OPTIONS", "HEAD"]) {
		test(`of a ${method} are framed and relayed as they came`, async (t) => {
			const { client, upstream } = await stage(t, () => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
			client.methods.push(method, method);
			client.send(`${method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello`);
			await client.answer(0);
			client.send(`${method} / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`);
			await client.answer(1);
			assert.deepEqual(
				upstream.requests.map((request) => [request.framing, request.body.toString()]),
				[
					["length", "hello"],
					["chunked", "hello"],
				],
			);
		});
	}

	test("that are compressed pass untouched, with their ETag and length", async (t) => {
		const gzip = Buffer.from("1f8b0800000000000003cb48cdc9c95728cf2fca49010085114a0d0b000000", "hex").toString("latin1");
		const { client } = await stage(t, () => ok(gzip, 'Content-Encoding: gzip\r\nETag: "strong"\r\n'));
		const answer = await client.send(GET).answer();
		assert.equal(answer.body.toString("latin1"), gzip);
		assert.deepEqual(
			[valuesOf(answer, "etag"), valuesOf(answer, "content-encoding"), valuesOf(answer, "content-length")],
			[['"strong"'], ["gzip"], [String(gzip.length)]],
		);
	});

	test("hold every byte value both ways, whatever their framing", async (t) => {
		const every = String.fromCharCode(...Array.from({ length: 256 }, (_, i) => i)).repeat(300);
		const { client, upstream } = await stage(
			t,
			() => `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${every.length.toString(16)}\r\n${every}\r\n0\r\n\r\n`,
		);
		client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${every.length}\r\n\r\n${every}`);
		assert.equal((await client.answer()).body.toString("latin1"), every);
		assert.equal(upstream.requests[0]?.body.toString("latin1"), every);
	});
});

suite("HTTP/1.0", () => {
	test("a client gets its answer until close, never chunked", async (t) => {
		const { client, upstream } = await stage(t, () => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
		client.send("GET / HTTP/1.0\r\n\r\n");
		await client.untilClosed();
		const answer = await client.answer();
		assert.deepEqual([answer.framing, answer.body.toString(), valuesOf(answer, "connection")], ["close", "ok", ["close"]]);
		const request = upstream.requests[0] ?? assert.fail();
		assert.equal(request.version, "1.1");
		assert.equal(valuesOf(request, "host").length, 1, "it goes on as HTTP/1.1 with a Host");
	});

	test("a client that asks to keep the connection keeps it where the answer has a length", async (t) => {
		const { client } = await stage(t, () => ok());
		client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
		assert.deepEqual(valuesOf(await client.answer(0), "connection"), ["keep-alive"]);
		client.send("GET / HTTP/1.0\r\n\r\n");
		assert.deepEqual(valuesOf(await client.answer(1), "connection"), ["close"]);
		await client.untilClosed();
	});

	test("an application that keeps the connection is asked again on it, one that says nothing is not", async (t) => {
		const old = (keep: string): string => `HTTP/1.0 200 OK\r\n${keep}Content-Length: 2\r\n\r\nok`;
		for (const [keep, connections] of [
			["Connection: keep-alive\r\n", 1],
			["", 2],
		] as const) {
			const { client, upstream } = await stage(t, () => old(keep));
			assert.match((await client.send(GET).answer(0)).startLine, /^HTTP\/1\.1 200/);
			await client.send(GET).answer(1);
			assert.equal(upstream.connections.length, connections);
		}
	});
});

test("a HEAD that is refused by us has no body, and the connection goes on where it can", async (t) => {
	const { client } = await stage(t, () => "garbage");
	head(client, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
	const answer = await client.answer();
	assert.equal(answer.status, 502);
	assert.deepEqual(valuesOf(answer, "x-nexus-reason"), ["upstream_protocol_error"]);
	assert.equal(answer.body.length, 0);
	head(client, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
	assert.equal((await client.answer(1)).status, 502);
});
