import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer as createHttpServer, type IncomingMessage, type RequestListener } from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import { silentLogger } from "../../src/core/log.ts";
import { seededRng } from "../../src/core/rng.ts";
import { HealthChecker } from "../../src/health/checker.ts";
import { type ProbeOptions, type ProbeResult, probe } from "../../src/health/probe.ts";
import type { Address } from "../../src/policy/snapshot.ts";
import { FakeClock } from "../support/fake-clock.ts";

const HTTP: ProbeOptions = { kind: "http", path: "/healthz", host: undefined, headers: new Map(), statuses: [200], timeoutMs: 2_000 };
const TCP: ProbeOptions = { ...HTTP, kind: "tcp" };

describe("an http check", () => {
	it("succeeds on the expected status, having sent path, host and headers and nothing that keeps the connection", async (t) => {
		let seen: IncomingMessage | undefined;
		const address = await httpServer(t, (request, response) => {
			seen = request;
			response.end("fine");
		});
		const headers = new Map([["x-probe", "1"]]);
		assert.deepEqual(await check(address, { ...HTTP, path: "/ready?deep=1", host: "payments.mesh", headers }), { ok: true });
		assert.equal(seen?.method, "GET");
		assert.equal(seen?.url, "/ready?deep=1");
		assert.equal(seen?.headers.host, "payments.mesh");
		assert.equal(seen?.headers["x-probe"], "1");
		assert.equal(seen?.headers["user-agent"], "nexus-health-check");
		assert.equal(seen?.headers.connection, "close");
	});

	it("names the endpoint in Host where policy says nothing else", async (t) => {
		let host: string | undefined;
		const address = await httpServer(t, (request, response) => {
			host = request.headers.host;
			response.end();
		});
		await check(address, HTTP);
		assert.equal(host, `127.0.0.1:${address.port}`);
	});

	it("works over a unix socket", async (t) => {
		const path = await socketPath(t);
		await listen(
			t,
			createHttpServer((_, response) => response.end()),
			path,
		);
		assert.deepEqual(await check({ kind: "unix", path }, HTTP), { ok: true });
	});

	it("fails on another status, and follows no redirect", async (t) => {
		const paths: (string | undefined)[] = [];
		const address = await httpServer(t, (request, response) => {
			paths.push(request.url);
			if (request.url === "/healthz") response.writeHead(302, { location: "/elsewhere" });
			response.end();
		});
		assert.deepEqual(await check(address, HTTP), { ok: false, error: "status 302, expected 200" });
		assert.deepEqual(paths, ["/healthz"]);
	});

	it("accepts each status of the list, and names the list otherwise", async (t) => {
		let status = 204;
		const address = await httpServer(t, (_, response) => response.writeHead(status).end());
		const options = { ...HTTP, statuses: [200, 204] };
		assert.deepEqual(await check(address, options), { ok: true });
		status = 500;
		assert.deepEqual(await check(address, options), { ok: false, error: "status 500, expected one of 200, 204" });
	});

	it("fails where nobody listens", async () => {
		assert.deepEqual(await check(await deadAddress(), HTTP), { ok: false, error: "connect refused" });
	});

	it("fails where there is no such socket", async (t) => {
		assert.deepEqual(await check({ kind: "unix", path: await socketPath(t) }, HTTP), { ok: false, error: "no such socket" });
	});

	it("fails when the connection is reset, or closed before the answer", async (t) => {
		const reset = await tcpServer(t, (socket) => socket.once("data", () => socket.resetAndDestroy()));
		assert.deepEqual(await check(reset, HTTP), { ok: false, error: "connection reset" });
		const closed = await tcpServer(t, (socket) => socket.once("data", () => socket.end()));
		assert.deepEqual(await check(closed, HTTP), { ok: false, error: "connection closed before the answer" });
	});

	it("fails on what is not HTTP, in one short line", async (t) => {
		const address = await tcpServer(t, (socket) => socket.end(`SSH-2.0-${"x".repeat(5_000)}\r\n`));
		const result = await check(address, HTTP);
		assert.equal(result.ok, false);
		assert.match(result.ok ? "" : result.error, /^not an HTTP\/1\.1 answer: [^\n]{1,180}$/);
	});

	it("times out on an endpoint that never answers, and lets go of it", async (t) => {
		const clock = new FakeClock();
		const arrived = deferred<Socket>();
		const address = await tcpServer(t, (socket) => socket.once("data", () => arrived.resolve(socket)));
		const result = probe(address, { ...HTTP, timeoutMs: 1_000 }, clock, new AbortController().signal);
		const socket = await arrived.promise;
		clock.advance(999);
		assert.equal(await Promise.race([result, soon("undecided")]), "undecided");
		clock.advance(1);
		assert.deepEqual(await result, { ok: false, error: "timeout after 1 s" });
		await closed(socket);
	});

	it("times out on a body that never ends, although the status was good", async (t) => {
		const clock = new FakeClock();
		const arrived = deferred<Socket>();
		const address = await httpServer(t, (request, response) => {
			response.write("still");
			arrived.resolve(request.socket);
		});
		const result = probe(address, { ...HTTP, timeoutMs: 250 }, clock, new AbortController().signal);
		const socket = await arrived.promise;
		clock.advance(250);
		assert.deepEqual(await result, { ok: false, error: "timeout after 250 ms" });
		await closed(socket);
	});

	it("reads no more than a little of an endless body, and goes by the status", async (t) => {
		const arrived = deferred<Socket>();
		const address = await httpServer(t, (request, response) => {
			arrived.resolve(request.socket);
			const more = () => {
				while (!response.destroyed && response.write(Buffer.alloc(64 * 1024)));
			};
			response.on("drain", more);
			more();
		});
		assert.deepEqual(await check(address, HTTP), { ok: true });
		const socket = await arrived.promise;
		await closed(socket);
		assert.ok(socket.bytesWritten < 32 * 1024 * 1024, `${socket.bytesWritten} bytes`);
	});

	it("frees its connection when it is called off", async (t) => {
		const clock = new FakeClock();
		const arrived = deferred<Socket>();
		const address = await tcpServer(t, (socket) => socket.once("data", () => arrived.resolve(socket)));
		const off = new AbortController();
		const result = probe(address, HTTP, clock, off.signal);
		const socket = await arrived.promise;
		off.abort();
		assert.equal((await result).ok, false);
		await closed(socket);
		assert.equal(clock.pendingTimers, 0);
	});
});

describe("a tcp check", () => {
	it("succeeds on a connection and closes it without a byte", async (t) => {
		const ended = deferred<Socket>();
		const address = await tcpServer(t, (socket) => {
			socket.resume();
			socket.on("end", () => ended.resolve(socket));
		});
		assert.deepEqual(await check(address, TCP), { ok: true });
		assert.equal((await ended.promise).bytesRead, 0);
	});

	it("works over a unix socket", async (t) => {
		const path = await socketPath(t);
		await listen(t, createServer(), path);
		assert.deepEqual(await check({ kind: "unix", path }, TCP), { ok: true });
	});

	it("fails where nobody listens", async () => {
		assert.deepEqual(await check(await deadAddress(), TCP), { ok: false, error: "connect refused" });
	});

	it("succeeds where http would fail", async (t) => {
		const address = await tcpServer(t, (socket) => socket.end("220 smtp ready\r\n"));
		assert.deepEqual(await check(address, TCP), { ok: true });
	});

	it("ends at once when it was called off before it began", async (t) => {
		const address = await tcpServer(t, () => {});
		assert.equal((await probe(address, TCP, new FakeClock(), AbortSignal.abort())).ok, false);
	});
});

describe("checks of a real server", () => {
	it("see it fall ill, and well again", async (t) => {
		let status = 200;
		const address = await httpServer(t, (_, response) => response.writeHead(status).end());
		const changed: ((text: string) => void)[] = [];
		const change = () => new Promise<string>((resolve) => changed.push(resolve));
		const checker = new HealthChecker({
			policy: { ...HTTP, place: { file: "mesh.yaml", line: 1, column: 1 }, intervalMs: 10, unhealthyThreshold: 2, healthyThreshold: 2 },
			upstream: "payments",
			clock: systemClock,
			rng: seededRng(1),
			log: silentLogger,
			onChange: (_, healthy, { lastError }) => changed.shift()?.(healthy ? "healthy" : lastError),
		});
		t.after(() => checker.stop());
		const first = change();
		checker.setEndpoints([{ key: "one", address }]);
		assert.equal(await first, "healthy");
		const second = change();
		status = 503;
		assert.equal(await second, "status 503, expected 200");
		const third = change();
		status = 200;
		assert.equal(await third, "healthy");
	});
});

function check(address: Address, options: ProbeOptions): Promise<ProbeResult> {
	return probe(address, options, systemClock, new AbortController().signal);
}

type TcpAddress = Address & { kind: "tcp" };

function httpServer(t: TestContext, listener: RequestListener): Promise<TcpAddress> {
	return listen(t, createHttpServer(listener));
}

function tcpServer(t: TestContext, onSocket: (socket: Socket) => void): Promise<TcpAddress> {
	const server = createServer((socket) => {
		socket.on("error", () => {});
		onSocket(socket);
	});
	return listen(t, server);
}

async function listen(t: TestContext, server: Server, path?: string): Promise<TcpAddress> {
	const sockets = new Set<Socket>();
	server.on("connection", (socket: Socket) => sockets.add(socket));
	t.after(() => {
		server.close();
		for (const socket of sockets) socket.destroy();
	});
	if (path === undefined) server.listen(0, "127.0.0.1");
	else server.listen(path);
	await once(server, "listening");
	return { kind: "tcp", host: "127.0.0.1", port: path === undefined ? (server.address() as AddressInfo).port : 0 };
}

/** A port that was free a moment ago. */
async function deadAddress(): Promise<TcpAddress> {
	const server = createServer().listen(0, "127.0.0.1");
	await once(server, "listening");
	const { port } = server.address() as AddressInfo;
	server.close();
	await once(server, "close");
	return { kind: "tcp", host: "127.0.0.1", port };
}

async function socketPath(t: TestContext): Promise<string> {
	const directory = await mkdtemp(join(tmpdir(), "nexus-probe-"));
	t.after(() => rm(directory, { recursive: true }));
	return join(directory, "app.sock");
}

function deferred<T>() {
	return Promise.withResolvers<T>();
}

/** However it ends: with a reset as well. */
function closed(socket: Socket): Promise<void> {
	socket.resume();
	return new Promise((resolve) => {
		if (socket.closed) resolve();
		else socket.once("close", () => resolve());
	});
}

function soon<T>(value: T): Promise<T> {
	return new Promise((resolve) => setImmediate(() => resolve(value)));
}
