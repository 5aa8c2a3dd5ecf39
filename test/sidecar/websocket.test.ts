/** WebSockets through both directions of a sidecar, by the `ws` package, and upgrades written by hand. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it, type TestContext } from "node:test";
import WebSocket, { WebSocketServer } from "ws";
import { rawClient, rawUpstream } from "../support/raw-peer.ts";
import { valuesOf } from "../support/strict-reader.ts";
import { echo, httpServer, startSidecar, type TestSidecar } from "./support.ts";

interface Chain {
	readonly callee: TestSidecar;
	readonly caller: TestSidecar;
	/** Connected through both. */
	open(): Promise<WebSocket>;
	/** What the service's side of each connection was closed with. */
	readonly closes: Promise<readonly [code: number, reason: string]>[];
}

/** application -> outbound of one sidecar -> inbound of another -> service */
async function chain(t: TestContext): Promise<Chain> {
	const service = await httpServer(t, echo("service"));
	const server = new WebSocketServer({ server: service.server, path: "/chat" });
	const closes: Promise<readonly [number, string]>[] = [];
	server.on("connection", (socket) => {
		closes.push(new Promise((resolve) => socket.on("close", (code: number, reason: Buffer) => resolve([code, reason.toString()]))));
		socket.on("message", (data: Buffer, isBinary: boolean) => {
			if (!isBinary && data.toString() === "close me") socket.close(4001, "as you wish");
			else socket.send(data, { binary: isBinary });
		});
	});
	const callee = await startSidecar(t, `inbound: { listen: "127.0.0.1:0", application: "${service.address}" }\n`);
	const caller = await startSidecar(
		t,
		`outbound: { listen: "127.0.0.1:0" }\nupstreams:\n  chat: { endpoints: [ { address: "127.0.0.1:${callee.port("inbound")}" } ] }\n`,
	);
	return {
		callee,
		caller,
		closes,
		async open() {
			const socket = new WebSocket(`ws://127.0.0.1:${caller.port("outbound")}/chat`, { headers: { host: "chat" } });
			t.after(() => socket.terminate());
			await new Promise((resolve, reject) => {
				socket.once("open", resolve);
				socket.once("error", reject);
			});
			return socket;
		},
	};
}

async function roundTrip(socket: WebSocket, message: string | Buffer): Promise<{ data: Buffer; isBinary: boolean }> {
	const reply = new Promise<{ data: Buffer; isBinary: boolean }>((resolve) =>
		socket.once("message", (data: Buffer, isBinary: boolean) => resolve({ data, isBinary })),
	);
	socket.send(message);
	return reply;
}

describe("a WebSocket through two sidecars", { timeout: 60_000 }, () => {
	it("carries text and binary messages of 1 MiB, in order", async (t) => {
		const socket = await (await chain(t)).open();
		const text = await roundTrip(socket, "grüezi");
		assert.deepEqual([text.data.toString(), text.isBinary], ["grüezi", false]);
		for (let i = 0; i < 5; i++) {
			const sent = randomBytes(1024 * 1024);
			const { data, isBinary } = await roundTrip(socket, sent);
			assert.ok(isBinary && data.equals(sent));
		}
	});

	it("passes the close code on, from either side", async (t) => {
		const made = await chain(t);
		const one = await made.open();
		one.close(4000, "done");
		assert.deepEqual(await made.closes[0], [4000, "done"]);
		const two = await made.open();
		const closed = new Promise((resolve) => two.once("close", (code: number, reason: Buffer) => resolve([code, reason.toString()])));
		two.send("close me");
		assert.deepEqual(await closed, [4001, "as you wish"]);
	});

	it("ends on the other side when one side is cut", async (t) => {
		const made = await chain(t);
		const socket = await made.open();
		await roundTrip(socket, "x");
		socket.terminate();
		assert.deepEqual(await made.closes[0], [1006, ""]);
	});

	it("counts as one request that is active until it ends", async (t) => {
		const made = await chain(t);
		const socket = await made.open();
		await roundTrip(socket, "x");
		const active = (sidecar: TestSidecar, direction: string): Promise<number> =>
			sidecar.metric("nexus_requests_active", { direction, upstream: direction === "inbound" ? "application" : "chat" });
		assert.deepEqual([await active(made.caller, "outbound"), await active(made.callee, "inbound")], [1, 1]);
		const { closes } = made;
		socket.close(1000);
		await closes[0];
		while ((await active(made.caller, "outbound")) + (await active(made.callee, "inbound")) > 0)
			await new Promise((resolve) => setImmediate(resolve));
		assert.equal(await made.caller.metric("nexus_requests_total", { upstream: "chat", status_class: "1xx" }), 1);
	});

	it("to a path that is none is refused with the service's own answer", async (t) => {
		const made = await chain(t);
		const socket = new WebSocket(`ws://127.0.0.1:${made.caller.port("outbound")}/elsewhere`, { headers: { host: "chat" } });
		const refused = new Promise((resolve) => socket.once("unexpected-response", (_request, response) => resolve(response.statusCode)));
		socket.on("error", () => {});
		t.after(() => socket.terminate());
		assert.equal(await refused, 400);
	});
});

describe("an upgrade", { timeout: 60_000 }, () => {
	it("holds bytes that the client sends too early until the upstream has switched, and then delivers them first", async (t) => {
		const upstream = await rawUpstream(t);
		const sidecar = await startSidecar(t, `inbound: { listen: "127.0.0.1:0", application: "${upstream.address}" }\n`);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send("GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly|");
		const connection = await upstream.connection(0);
		const request = await connection.request();
		assert.deepEqual([valuesOf(request, "connection"), valuesOf(request, "upgrade")], [["upgrade"], ["echo"]]);
		client.send("bird|");
		assert.ok(connection.text.endsWith("\r\n\r\n"), "nothing of the tunnel before 101");
		connection.keep = true;
		connection.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nwelcome|");
		await connection.untilText("early|bird|");
		await client.untilText("\r\n\r\nwelcome|");
		client.send("later");
		await connection.untilText("early|bird|later");
		connection.keep = false;
	});

	it("that the upstream answers with something else leaves an ordinary connection behind", async (t) => {
		const upstream = await rawUpstream(t, () => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno");
		const sidecar = await startSidecar(t, `inbound: { listen: "127.0.0.1:0", application: "${upstream.address}" }\n`);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
		assert.equal((await client.answer(0)).body.toString(), "no");
		client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
		assert.equal((await client.answer(1)).body.toString(), "no");
	});

	it("to HTTP/2 in clear text is not passed on: it would take requests past every rule", async (t) => {
		const upstream = await rawUpstream(t, () => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
		const sidecar = await startSidecar(t, `inbound: { listen: "127.0.0.1:0", application: "${upstream.address}" }\n`);
		const client = await rawClient(t, sidecar.port("inbound"));
		const fields = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
		assert.equal((await client.send(`GET / HTTP/1.1\r\nHost: a\r\n${fields}\r\n`).answer()).status, 200);
		const [request] = upstream.requests;
		assert.ok(request !== undefined);
		for (const name of ["connection", "upgrade", "http2-settings"]) assert.deepEqual(valuesOf(request, name), [], name);
	});
});
