/** The open-loop generator against servers that behave and that do not: it must tell them apart. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { afterEach, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { RateRequest, RateResult } from "../../bench/open-load.ts";

const PROGRAM = fileURLToPath(new URL("../../bench/load.ts", import.meta.url));
const GOOD = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const cleanups: (() => void)[] = [];

afterEach(() => {
	for (const cleanup of cleanups.splice(0)) cleanup();
});

/** Answers each request with what `answer` returns, counted over all connections; "later" is a good reply after 400 ms, "never" ends the connection. */
async function serve(answer: (count: number) => string): Promise<number> {
	const sockets = new Set<Socket>();
	let count = 0;
	const server = createServer((socket) => {
		sockets.add(socket);
		socket.on("error", () => undefined);
		socket.on("data", () => {
			const reply = answer(++count);
			if (reply === "never") socket.destroy();
			else if (reply === "later") setTimeout(() => socket.write(GOOD), 400);
			else socket.write(reply);
		});
	});
	cleanups.push(() => {
		for (const socket of sockets) socket.destroy();
		server.close();
	});
	server.listen(0, "127.0.0.1");
	await once(server, "listening");
	const address = server.address();
	assert.ok(address !== null && typeof address === "object");
	return address.port;
}

async function load(port: number): Promise<RateResult> {
	const request: RateRequest = { port, host: "origin", path: "/", bodyBytes: 2, rate: 200, warmSeconds: 0.1, seconds: 0.4, connections: 4 };
	const { stdout } = await promisify(execFile)(process.execPath, [PROGRAM, JSON.stringify(request)]);
	return JSON.parse(stdout) as RateResult;
}

test("every request that was due is sent and counted, those of the warm-up apart", async () => {
	const result = await load(await serve(() => GOOD));
	assert.equal(result.requests, 80);
	assert.deepEqual(result.faults, []);
	assert.ok(result.p50Ms > 0 && result.p50Ms <= result.p99Ms && result.p99Ms <= result.maxMs);
});

test("wrong statuses, wrong lengths and lost connections are faults, counted by kind", async () => {
	const answers = new Map([
		[10, "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno"],
		[20, "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno"],
		[30, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad"],
		[40, "never"],
	]);
	const result = await load(await serve((count) => answers.get(count) ?? GOOD));
	assert.deepEqual([...result.faults].sort(), [
		"1 x a body of 3 bytes",
		"1 x the connection was closed before the reply was complete",
		"2 x status 503",
	]);
});

test("requests behind a stall pay for it: their latency counts from when they were due", async () => {
	// Requests 20 to 23 take all four connections and are answered 400 ms later; the 80 counted ones are due meanwhile. Counted
	// from when they were sent, only these four would be slow.
	const result = await load(await serve((count) => (count >= 20 && count < 24 ? "later" : GOOD)));
	assert.deepEqual(result.faults, []);
	assert.ok(result.p50Ms > 100, `p50 ${result.p50Ms} ms`);
});
