/** The two publishers at their bounds, and at their end. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { NexusClient, NexusError } from "nexus-mesh/client";
import { type WebSocket, WebSocketServer } from "ws";
import { until } from "../nexus/subscriptions/support.ts";
import { serveNexus, temporaryDir } from "../nexus/support.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

interface Silent {
	readonly url: string;
	readonly sockets: WebSocket[];
	/** The answer to whoever wants a WebSocket from now on; 101: it has one. */
	status: number;
}

/** Takes WebSockets, and acknowledges nothing. */
async function silent(t: TestContext): Promise<Silent> {
	const server = createServer();
	const webSockets = new WebSocketServer({ noServer: true });
	const sockets: WebSocket[] = [];
	server.on("upgrade", (req, socket, head) => {
		const { status } = state;
		if (status !== 101) socket.end(`HTTP/1.1 ${status} No\r\ncontent-length: 30\r\n\r\n{"title":"No.","reason":"not"}`);
		else webSockets.handleUpgrade(req, socket, head, (ws) => sockets.push(ws));
	});
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	t.after(() => {
		for (const ws of sockets) ws.terminate();
		server.close();
	});
	const state: Silent = { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sockets, status: 101 };
	return state;
}

test("events that wait are bounded in bytes, too", async (t) => {
	const { url, sockets } = await silent(t);
	const client = new NexusClient({ url, source: "/s" });
	const abort = new AbortController();
	const publisher = client.publisher({ pendingBytesMax: 1_000, lingerMs: 60_000, signal: abort.signal });
	const waiting = publisher.send({ type: "t", data: "x".repeat(1_000) });
	await assert.rejects(publisher.send({ type: "t" }), /1 events wait for Nexus already/);
	const socket = await client.openSocket({ unackedBytesMax: 1_000, signal: abort.signal });
	const unacked = socket.send({ type: "t", data: "x".repeat(1_000) });
	await assert.rejects(socket.send({ type: "t" }), (error: unknown) => error instanceof NexusError && error.reason === "overloaded");
	assert.equal(socket.unacked, 1);

	abort.abort(new Error("enough"));
	await assert.rejects(unacked, /^Error: enough$/);
	const closing = publisher.close();
	await assert.rejects(waiting, /^Error: enough$/);
	await closing;
	await assert.rejects(publisher.send({ type: "t" }), /closed/);
	await assert.rejects(socket.send({ type: "t" }), /^Error: enough$/);
	await socket.close();
	await until("the connection is closed", () => sockets[0]?.readyState === 3);
	await assert.rejects(client.openSocket({ signal: abort.signal }), /^Error: enough$/);
});

test("a socket that is refused for good gives up what waits, and whatever is sent after that", async (t) => {
	const server = await silent(t);
	const socket = await new NexusClient({ url: server.url, source: "/s", rng: () => 0.01 }).openSocket();
	const waiting = socket.send({ type: "t" });
	server.status = 403;
	server.sockets[0]?.terminate();
	const isRefusal = (error: unknown): boolean => error instanceof NexusError && error.status === 403 && error.reason === "not";
	await assert.rejects(waiting, isRefusal);
	await assert.rejects(socket.send({ type: "t" }), isRefusal);
	assert.equal(socket.unacked, 0);
	await socket.close();
});

test("a socket that is away for longer than its patience gives up what waits, and takes up what comes later", async (t) => {
	const server = await silent(t);
	const { sockets } = server;
	const socket = await new NexusClient({ url: server.url, source: "/s", rng: () => 0.01 }).openSocket({ patienceMs: 0 });
	const first = socket.send({ type: "t", id: "first" });
	server.status = 503;
	sockets[0]?.terminate();
	await assert.rejects(first, (error: unknown) => error instanceof NexusError && error.status === 503 && error.isTransient);
	server.status = 101;
	await until("it is connected again", () => sockets.length === 2);
	let got = "";
	sockets[1]?.on("message", (data) => {
		got = String(data);
		sockets[1]?.send(JSON.stringify({ message: 1, accepted: 1, duplicates: 0, rejected: [], sequence: 1, durability: "disk" }));
	});
	assert.equal((await socket.send({ type: "t", id: "again" })).accepted, 1);
	assert.match(got, /"id":"again"/);
	await socket.close();
});

test("a program that waits for nothing but its receipt gets it", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	const program = `
		const { NexusClient } = await import("nexus-mesh/client");
		const publisher = new NexusClient({ url: ${JSON.stringify(url)}, source: "/s" }).publisher({ lingerMs: 200 });
		console.log((await publisher.send({ type: "t" })).durability);`;
	const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", program], { cwd: ROOT });
	assert.equal(stdout, "disk\n");
});
