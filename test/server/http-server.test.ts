/** The server of the local APIs over real sockets. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { type TestContext, test } from "node:test";
import { silentLogger } from "../../src/core/log.ts";
import { type HttpServer, type HttpServerOptions, startHttpServer } from "../../src/server/http-server.ts";
import { sendJson, sendProblem } from "../../src/server/problem.ts";

const listen = { host: "127.0.0.1", port: 0 };

async function serve(t: TestContext, options: Omit<HttpServerOptions, "listen" | "log"> & Partial<HttpServerOptions>): Promise<HttpServer> {
	const server = await startHttpServer({ listen, log: silentLogger, ...options });
	t.after(() => server.close());
	return server;
}

/** Writes raw bytes and resolves with all that came back until the server closed. */
async function exchange(server: HttpServer, bytes: string): Promise<string> {
	const socket = connect(server.address.port, server.address.host);
	socket.write(bytes);
	const chunks: Buffer[] = [];
	for await (const chunk of socket) chunks.push(chunk as Buffer);
	return Buffer.concat(chunks).toString();
}

test("an unexpected Host and a browser's Origin are refused before the handler sees them", async (t) => {
	let handled = 0;
	const server = await serve(t, { handler: () => void handled++ });
	const rebound = await exchange(server, "GET / HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
	assert.match(rebound, /^HTTP\/1\.1 421 /);
	assert.match(rebound, /content-type: application\/problem\+json/i);
	const driveBy = await exchange(
		server,
		"POST / HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
	);
	assert.match(driveBy, /^HTTP\/1\.1 403 /);
	assert.equal(handled, 0);
	assert.equal(server.refused.requests, 2);
});

test("a handler that throws or rejects becomes a 500 problem and a log line", async (t) => {
	const logged: string[] = [];
	const log = { ...silentLogger, error: (message: string, fields?: Record<string, unknown>) => void logged.push(`${message}: ${fields?.error}`) };
	const server = await serve(t, {
		log,
		handler: (req) => {
			if (req.url === "/sync") throw new Error("first secret");
			return Promise.reject(new Error("second secret"));
		},
	});
	for (const path of ["/sync", "/async"]) {
		const response = await fetch(`http://127.0.0.1:${server.address.port}${path}`);
		assert.equal(response.status, 500);
		assert.equal(response.headers.get("content-type"), "application/problem+json");
		const text = await response.text();
		assert.equal(JSON.parse(text).reason, "internal");
		assert.doesNotMatch(text, /secret/);
	}
	assert.match(logged.join("\n"), /first secret\n.*second secret/);
});

test("a taken port is a clear error", async (t) => {
	const server = await serve(t, { handler: (_req, res) => sendJson(res, 200, {}) });
	await assert.rejects(
		startHttpServer({ listen: { host: "127.0.0.1", port: server.address.port }, log: silentLogger, handler: () => {} }),
		/127\.0\.0\.1:\d+ is in use: another process listens there/,
	);
});

test("close waits for the running request, ends idle connections and takes no new one", async (t) => {
	let release = (): void => {};
	const entered = Promise.withResolvers<void>();
	const server = await serve(t, {
		handler: async (_req, res) => {
			entered.resolve();
			await new Promise<void>((resolve) => (release = resolve));
			sendJson(res, 200, { done: true });
		},
	});
	const idle = connect(server.address.port, server.address.host);
	await once(idle, "connect");
	idle.resume();
	const running = fetch(`http://127.0.0.1:${server.address.port}/`);
	await entered.promise;
	let closed = false;
	const closing = server.close().then(() => (closed = true));
	await once(idle, "close");
	assert.equal(closed, false);
	await assert.rejects(fetch(`http://127.0.0.1:${server.address.port}/`));
	release();
	assert.deepEqual(await (await running).json(), { done: true });
	await closing;
});

test("close cuts a request that outlives the drain timeout", async (t) => {
	const entered = Promise.withResolvers<void>();
	const server = await serve(t, { drainTimeoutMs: 20, handler: () => entered.resolve() });
	const stuck = fetch(`http://127.0.0.1:${server.address.port}/`);
	await entered.promise;
	await Promise.all([assert.rejects(stuck), server.close()]);
});

test("connections over the limit are dropped and counted", async (t) => {
	const server = await serve(t, { connectionsMax: 1, handler: (_req, res) => sendJson(res, 200, {}) });
	const first = connect(server.address.port, server.address.host);
	t.after(() => first.destroy());
	await once(first, "connect");
	const second = connect(server.address.port, server.address.host);
	second.on("error", () => {});
	second.resume();
	await once(second, "close");
	assert.equal(server.refused.connections, 1);
});

test("a head over the limit is refused with 431", async (t) => {
	const server = await serve(t, { handler: (_req, res) => sendJson(res, 200, {}) });
	assert.match(await exchange(server, `GET / HTTP/1.1\r\nhost: localhost\r\nx: ${"a".repeat(20_000)}\r\n\r\n`), /^HTTP\/1\.1 431 /);
});

test("a body up to the limit is read whole, a larger one is 413 even when its length was not announced", async (t) => {
	const server = await serve(t, {
		handler: async (req, res) => {
			const result = await req.body(10);
			if (result.ok) sendJson(res, 200, { body: result.body.toString() });
			else sendProblem(res, result.problem);
		},
	});
	const head = "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
	assert.match(await exchange(server, `${head}content-length: 10\r\n\r\n0123456789`), /^HTTP\/1\.1 200 .*"0123456789"/s);
	assert.match(await exchange(server, `${head}transfer-encoding: chunked\r\n\r\n4\r\n0123\r\n3\r\n456\r\n0\r\n\r\n`), /"0123456"/);
	assert.match(await exchange(server, `${head}content-length: 11\r\n\r\n0123456789a`), /^HTTP\/1\.1 413 .*body_too_large/s);
	assert.match(await exchange(server, `${head}transfer-encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n`), /^HTTP\/1\.1 413 /);
});

test("a body announced far beyond the limit is refused unread and never taken for the next request", async (t) => {
	let handled = 0;
	const server = await serve(t, {
		handler: async (req, res) => {
			handled++;
			const result = await req.body(10);
			if (!result.ok) sendProblem(res, result.problem);
		},
	});
	const answer = await exchange(
		server,
		"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n",
	);
	assert.match(answer, /^HTTP\/1\.1 413 /);
	assert.match(answer, /connection: close/i);
	assert.equal(handled, 1);
});

test("a body that ends early is a 400 result, not a hang", async (t) => {
	const seen = Promise.withResolvers<number>();
	const server = await serve(t, {
		handler: async (req) => {
			const result = await req.body(1000);
			seen.resolve(result.ok ? 0 : result.problem.status);
		},
	});
	const socket = connect(server.address.port, server.address.host);
	socket.write("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\npartial", () => socket.destroy());
	assert.equal(await seen.promise, 400);
});
