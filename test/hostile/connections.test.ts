/** Rows 51-60 of the shared list of hostile behaviours: connections that break, cannot be made, or must end. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { suite, type TestContext, test } from "node:test";
import { eventually, freePorts, NexusProcess, temporaryFolder } from "../support/processes.ts";
import { ok, type RawUpstreamConnection, rawClient, rawUpstream } from "../support/raw-peer.ts";
import { valuesOf } from "../support/strict-reader.ts";
import { assertReason, runInbound, runSidecar } from "./support.ts";

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/** An application whose first connection serves one request, and then breaks with the next one. */
async function racing(t: TestContext, breakOff: (connection: RawUpstreamConnection) => void) {
	const upstream = await rawUpstream(t, (request, connection, index) => {
		if (upstream.connections.indexOf(connection) > 0 || index === 0) return ok(`${request.method} ${request.body.toString()}`);
		breakOff(connection);
		return undefined;
	});
	const sidecar = await runInbound(t, upstream.address);
	const client = await rawClient(t, sidecar.port("inbound"));
	await client.send(GET).answer(0);
	return { upstream, client };
}

suite("a kept connection that closes just as it is used again", () => {
	for (const [how, breakOff] of [
		["in good order", (connection: RawUpstreamConnection) => connection.end()],
		["by a reset", (connection: RawUpstreamConnection) => connection.reset()],
	] as const) {
		test(`${how}: an idempotent request is sent once more, on a new connection`, async (t) => {
			const { upstream, client } = await racing(t, breakOff);
			client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
			assert.equal((await client.answer(1)).body.toString(), "PUT body");
			assert.equal(upstream.connections.length, 2);
			const [, first, second] = upstream.requests;
			const own = new Set(["x-nexus-deadline-ms", "x-nexus-attempt"]);
			const theirs = (fields: readonly (readonly [string, string])[] | undefined) => fields?.filter(([name]) => !own.has(name));
			assert.deepEqual(theirs(second?.fields), theirs(first?.fields), "the same request, but for what each try says of itself");
		});

		test(`${how}: a POST is not sent twice, and is told why`, async (t) => {
			const { upstream, client } = await racing(t, breakOff);
			client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
			assertReason(await client.answer(1), 502, "upstream_idle_race");
			assert.equal(upstream.connections.length, 1);
		});
	}

	test("after a byte of the answer: nothing is sent again", async (t) => {
		const { upstream, client } = await racing(t, (connection) => {
			connection.send("H");
			connection.end();
		});
		client.send(GET);
		assertReason(await client.answer(1), 502, "upstream_reset");
		assert.equal(upstream.connections.length, 1);
	});

	test("while a body was streamed to it: nothing is sent again", async (t) => {
		const upstream = await rawUpstream(t);
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send(GET);
		const connection = await upstream.connection(0);
		await connection.request(0);
		connection.send(ok());
		await client.answer(0);
		client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nfirst");
		await connection.untilText("first");
		client.send("second");
		await connection.untilText("second");
		connection.reset();
		assertReason(await client.answer(1), 502, "upstream_idle_race");
		assert.equal(upstream.connections.length, 1);
	});

	test("again on the new one: once is enough", async (t) => {
		const upstream = await rawUpstream(t, (_request, connection, index) => {
			if (index === 0 && upstream.connections.length === 1) return ok();
			connection.reset();
			return undefined;
		});
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		await client.send(GET).answer(0);
		client.send(GET);
		assertReason(await client.answer(1), 502, "upstream_reset");
		assert.equal(upstream.connections.length, 2);
	});
});

test("a request that takes too long is answered 504, and the late answer reaches nobody", async (t) => {
	const upstream = await rawUpstream(t);
	const sidecar = await runInbound(t, upstream.address, { timeout: "{ request: 200ms }" });
	const client = await rawClient(t, sidecar.port("inbound"));
	client.send(GET);
	const connection = await upstream.connection(0);
	await connection.request();
	assertReason(await client.answer(0), 504, "upstream_timeout");
	connection.send(ok("late"));
	await connection.untilClosed();
	client.send(GET);
	const second = await upstream.connection(1);
	await second.request();
	second.send(ok("in time"));
	assert.equal((await client.answer(1)).body.toString(), "in time");
});

test("an answer that stalls in its body is cut after the idle time", async (t) => {
	const upstream = await rawUpstream(t, () => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
	const sidecar = await runInbound(t, upstream.address, { timeout: "{ idle: 200ms }" });
	const client = await rawClient(t, sidecar.port("inbound"));
	client.send(GET);
	await client.untilClosed();
	assert.match(client.text, /half$/);
	assert.equal(client.answers.length, 0);
	await (await upstream.connection(0)).untilClosed();
});

suite("half-closed", () => {
	test("by the client behind its request: the answer is still delivered", async (t) => {
		const upstream = await rawUpstream(t);
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send(GET);
		client.end();
		const connection = await upstream.connection(0);
		await connection.request();
		// A turn of the loop or many: the FIN has long been seen by then.
		for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
		connection.send(ok("x".repeat(100_000)));
		assert.equal((await client.answer()).body.length, 100_000);
		await client.untilClosed();
	});

	test("by the client inside its request: nobody waits for the rest, and the upstream sees no complete request", async (t) => {
		const upstream = await rawUpstream(t);
		const sidecar = await runInbound(t, upstream.address);
		const inBody = await rawClient(t, sidecar.port("inbound"));
		inBody.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
		const connection = await upstream.connection(0);
		await connection.untilText("half");
		inBody.end();
		await inBody.untilClosed();
		await connection.untilClosed();
		assert.equal(connection.requests.length, 0);
		const inHead = await rawClient(t, sidecar.port("inbound"));
		inHead.send("GET / HTTP/1.1\r\nHo");
		inHead.end();
		await inHead.untilClosed();
		assert.equal(upstream.connections.length, 1);
	});

	test("by one side of a tunnel: the other direction stays open", async (t) => {
		const upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n";
		const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n";
		for (const first of ["client", "upstream"] as const) {
			const upstream = await rawUpstream(t);
			const sidecar = await runInbound(t, upstream.address);
			const client = await rawClient(t, sidecar.port("inbound"));
			client.send(upgrade);
			const connection = await upstream.connection(0);
			await connection.request();
			connection.tunnel = true;
			connection.send(switching);
			await client.untilText("101");
			const [early, late] = first === "client" ? [client, connection] : [connection, client];
			early.send("last words");
			early.end();
			await late.untilText("last words");
			await late.untilClosed();
			late.send("still here");
			await early.untilText("still here");
			late.end();
			await early.untilClosed();
		}
	});
});

test("a client that resets in the middle of its answer frees both connections, a hundred times over", async (t) => {
	const upstream = await rawUpstream(t, (_request, connection) => {
		connection.keep = false;
		return `HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n${"x".repeat(100_000)}`;
	});
	const sidecar = await runInbound(t, upstream.address);
	const once = async (): Promise<void> => {
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send(GET);
		await client.until("some of the answer", () => client.bytes > 1000);
		client.reset();
	};
	const closed = async (): Promise<void> => {
		for (const connection of upstream.connections) await connection.untilClosed();
		for (const connection of upstream.connections) connection.socket.destroy();
	};
	for (let i = 0; i < 10; i++) await once();
	await closed();
	const descriptors = openDescriptors();
	for (let i = 0; i < 100; i++) await once();
	await closed();
	assert.equal(upstream.connections.length, 110);
	await eventually("nothing is open or active", async () => {
		const [endpoint] = sidecar.upstream("application").endpoints;
		return endpoint?.activeRequests === 0 && endpoint.pool.open === 0;
	});
	const now = openDescriptors();
	if (descriptors !== undefined && now !== undefined) assert.ok(now <= descriptors + 5, `${descriptors} descriptors before, ${now} after`);
});

function openDescriptors(): number | undefined {
	try {
		return readdirSync("/proc/self/fd").length;
	} catch {
		return undefined; // no such list on this system; the counters above are looked at everywhere
	}
}

suite("an endpoint that cannot be reached", () => {
	const outbound = (address: string, timeout: string): string => `
outbound: { listen: 127.0.0.1:0 }
upstreams: { a: { endpoints: [ { address: "${address}" } ], timeout: ${timeout} } }
`;

	test("as it refuses is a 503 with the reason", async (t) => {
		const gone = await rawUpstream(t);
		await gone.close();
		const sidecar = await runSidecar(t, outbound(gone.address, "{}"));
		const client = await rawClient(t, sidecar.port("outbound"));
		client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
		assertReason(await client.answer(), 503, "connect_refused");
	});

	test("as it does not answer at all is a 504 after the connect timeout, never longer than the total", {
		skip: process.platform !== "linux",
	}, async (t) => {
		const port = await blackHole(t);
		for (const [timeout, reasons] of [
			["{ connect: 200ms, request: 20s }", ["connect_timeout"]],
			["{ connect: 20s, request: 200ms }", ["upstream_timeout"]],
		] as const) {
			const sidecar = await runSidecar(t, outbound(`127.0.0.1:${port}`, timeout));
			const client = await rawClient(t, sidecar.port("outbound"));
			client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
			const answer = await client.answer();
			assert.equal(answer.status, 504);
			assert.deepEqual(valuesOf(answer, "x-nexus-reason"), reasons);
		}
	});

	test("as it does not come up yet is an application that requests wait for", async (t) => {
		const [port = 0] = await freePorts(1);
		const sidecar = await runInbound(t, `127.0.0.1:${port}`, { pool: "{ pendingTimeout: 20s }" });
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send(GET);
		const child = spawn(process.execPath, ["-e", `require("node:http").createServer((q, s) => s.end("up")).listen(${port}, "127.0.0.1")`]);
		endAfter(t, child);
		assert.equal((await client.answer()).body.toString(), "up");
	});
});

/** A port whose queue of unaccepted connections is full: the kernel drops further SYNs without a word. */
async function blackHole(t: TestContext): Promise<number> {
	const script = `const s = require("node:net").createServer(); s.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => console.log(s.address().port))`;
	const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
	endAfter(t, child);
	const port = await new Promise<number>((resolve) => child.stdout?.once("data", (line: Buffer) => resolve(Number(line.toString()))));
	child.kill("SIGSTOP");
	for (let i = 0; i < 8; i++) {
		const socket = connect(port, "127.0.0.1");
		socket.on("error", () => {});
		t.after(() => socket.destroy());
	}
	return port;
}

function endAfter(t: TestContext, child: ChildProcess): void {
	const ended = new Promise((resolve) => child.once("close", resolve));
	t.after(async () => {
		child.kill("SIGKILL");
		await ended;
	});
}

suite("draining", () => {
	const policy = (port: number, admin: number, application: string): string =>
		`service: tested\nadmin: { listen: 127.0.0.1:${admin} }\ndrainTimeout: 20s\ninbound: { listen: 127.0.0.1:${port}, application: "${application}" }\n`;

	async function started(t: TestContext, application: string): Promise<{ process: NexusProcess; port: number }> {
		const [port = 0, admin = 0] = await freePorts(2);
		const file = join(temporaryFolder(t, "drain"), "policy.yaml");
		writeFileSync(file, policy(port, admin, application));
		const process = new NexusProcess(t, ["sidecar", "--config", file]);
		await process.said(/"ready"/, "stderr");
		return { process, port };
	}

	test("lets a request in flight finish with connection: close, takes no new connection, and ends with 0", async (t) => {
		const upstream = await rawUpstream(t);
		const { process, port } = await started(t, upstream.address);
		const idle = await rawClient(t, port);
		const busy = await rawClient(t, port);
		busy.send(GET);
		const connection = await upstream.connection(0);
		await connection.request();
		process.process.kill("SIGTERM");
		await idle.untilClosed();
		await assert.rejects(rawClient(t, port), /ECONNREFUSED/);
		connection.send(ok("to the end"));
		const answer = await busy.answer();
		assert.equal(answer.body.toString(), "to the end");
		assert.deepEqual(valuesOf(answer, "connection"), ["close"]);
		await busy.untilClosed();
		assert.deepEqual(await process.ended, { code: 0, signal: null });
	});

	test("is not waited for at a second signal", async (t) => {
		const upstream = await rawUpstream(t);
		const { process, port } = await started(t, upstream.address);
		const idle = await rawClient(t, port);
		const busy = await rawClient(t, port);
		busy.send(GET);
		await (await upstream.connection(0)).request();
		process.process.kill("SIGTERM");
		await idle.untilClosed();
		process.process.kill("SIGTERM");
		const { code } = await process.ended;
		assert.equal(code, 143);
		await busy.untilClosed();
	});

	test("loses no last answer to a reset: a client that still sends reads it whole", async (t) => {
		const upstream = await rawUpstream(t);
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send(`POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc${"more that nobody asked for".repeat(1000)}`);
		const connection = await upstream.connection(0);
		await connection.request();
		connection.send(ok("x".repeat(200_000)));
		client.send("and more");
		assert.equal((await client.answer()).body.length, 200_000);
		await client.untilClosed();
		assert.equal(client.error, "");
	});
});
