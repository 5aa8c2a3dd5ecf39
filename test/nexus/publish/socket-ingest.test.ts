/** GET /v1/events/publish: a producer's WebSocket over real sockets. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { type TestContext, test } from "node:test";
import { WebSocket } from "ws";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { OpenStreams } from "../../../src/nexus/access/open-streams.ts";
import { InFlight } from "../../../src/nexus/publish/in-flight.ts";
import { Publisher } from "../../../src/nexus/publish/publisher.ts";
import { SocketIngest } from "../../../src/nexus/publish/socket-ingest.ts";
import { startHttpServer } from "../../../src/server/http-server.ts";
import { eventJson, idOf, openLog, readAll, serveNexus, temporaryDir } from "../support.ts";

interface Ack {
	readonly message: number;
	readonly accepted?: number;
	readonly duplicates?: number;
	readonly rejected?: readonly { readonly index: number; readonly reason: string }[];
	readonly sequence?: number;
	readonly durability?: string;
	readonly problem?: { readonly status: number; readonly reason: string };
}

interface Producer {
	readonly ws: WebSocket;
	readonly acks: Ack[];
	/** Resolves once there are so many. */
	acked(count: number): Promise<Ack[]>;
}

async function producer(t: TestContext, url: string, options: Record<string, unknown> = {}): Promise<Producer> {
	const ws = new WebSocket(`${url.replace("http", "ws")}/v1/events/publish`, "cloudevents.json", options);
	t.after(() => ws.terminate());
	const acks: Ack[] = [];
	let wake = (): void => {};
	ws.on("message", (data) => {
		acks.push(JSON.parse(String(data)) as Ack);
		wake();
	});
	await once(ws, "open");
	return {
		ws,
		acks,
		async acked(count) {
			while (acks.length < count) await new Promise<void>((resolve) => (wake = resolve));
			return acks;
		},
	};
}

/** Sockets on a log of their own, whose disk a test can hold. */
async function smallSockets(t: TestContext, options: { bytesMax?: number; beforeSync?: () => void } = {}) {
	const { log } = openLog(t, temporaryDir(t), options.beforeSync === undefined ? {} : { beforeSync: options.beforeSync });
	const publisher = new Publisher({
		log,
		check: () => undefined,
		park: () => Promise.resolve({ ok: true, refused: [] }),
		inFlight: new InFlight(options.bytesMax),
	});
	const openStreams = new OpenStreams(systemClock);
	t.after(() => openStreams.close());
	let isAllowed = true;
	const sockets = new SocketIngest({ publisher, openStreams, logger: silentLogger });
	const server = await startHttpServer({
		listen: { host: "127.0.0.1", port: 0 },
		log: silentLogger,
		handler: (req, res) => sockets.handle(req, res, () => isAllowed),
		drainTimeoutMs: 100,
	});
	t.after(() => server.close());
	const forbid = (): void => {
		isAllowed = false;
		openStreams.look();
	};
	return { log, publisher, sockets, forbid, url: `http://127.0.0.1:${server.address.port}` };
}

test("each message is acknowledged by number once it is durable: an event, or an array of them", async (t) => {
	const { nexus, url } = await serveNexus(t, temporaryDir(t));
	const { ws, acked } = await producer(t, url);
	assert.equal(ws.protocol, "cloudevents.json");
	ws.send(eventJson({ id: "1" }));
	ws.send(` [${eventJson({ id: "2" })}, 7, ${eventJson({ id: "1" })}]`);
	ws.send("{");
	ws.send("[]");
	const acks = (await acked(4)).toSorted((a, b) => a.message - b.message);
	assert.deepEqual(acks[0], { message: 1, accepted: 1, duplicates: 0, rejected: [], sequence: 1, durability: "disk" });
	assert.deepEqual(acks[1], {
		message: 2,
		accepted: 1,
		duplicates: 1,
		rejected: [{ index: 1, reason: "an event is a JSON object" }],
		sequence: 2,
		durability: "disk",
	});
	assert.deepEqual(
		acks.slice(2).map(({ problem }) => [problem?.status, problem?.reason]),
		[
			[400, "bad_event"],
			[400, "bad_event"],
		],
	);
	assert.deepEqual((await readAll(nexus.log)).map(idOf), ["1", "2"]);
});

test("messages that follow the handshake in the same packet, in pieces and in fragments, are all taken", async (t) => {
	const { nexus, url } = await serveNexus(t, temporaryDir(t));
	const frames = ["1", "2", "3"].map((id) => maskedText(eventJson({ id, data: "x".repeat(300) })));
	const whole = maskedText(eventJson({ id: "4" }));
	const payload = whole.subarray(6);
	// The same again as a message of two fragments.
	const fragments = [masked(0x01, unmasked(payload).subarray(0, 10)), masked(0x80, unmasked(payload).subarray(10))];
	const socket = connect(nexus.address.port, "127.0.0.1");
	t.after(() => socket.destroy());
	const head = `GET /v1/events/publish HTTP/1.1\r\nhost: ${new URL(url).host}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;
	const bytes = Buffer.concat([Buffer.from(head), ...frames, ...fragments]);
	socket.setNoDelay(true);
	for (const [from, to] of [
		[0, head.length + 5],
		[head.length + 5, head.length + 6],
		[head.length + 6, bytes.length - 1],
		[bytes.length - 1, bytes.length],
	]) {
		await new Promise((resolve) => socket.write(bytes.subarray(from, to), resolve));
		await new Promise((resolve) => setImmediate(resolve));
	}
	let text = "";
	for await (const chunk of socket) {
		text += String(chunk);
		if (text.includes('"message":4,')) break;
	}
	assert.match(text, /^HTTP\/1\.1 101 /);
	assert.match(text, /s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/);
	assert.deepEqual((await readAll(nexus.log)).map(idOf), ["1", "2", "3", "4"]);
});

test("who asks for no WebSocket, or has no right to one, gets an answer that says so", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t), { access: { anonymous: ["read"], identities: {}, isStated: true } });
	assert.equal((await fetch(`${url}/v1/events/publish`)).status, 401);
	const open = await serveNexus(t, temporaryDir(t));
	const plain = await fetch(`${open.url}/v1/events/publish`);
	assert.equal(plain.status, 426);
	assert.equal(plain.headers.get("upgrade"), "websocket");
	const ws = new WebSocket(`${url.replace("http", "ws")}/v1/events/publish`);
	const [error] = (await once(ws, "error")) as [Error];
	assert.match(error.message, /401/);
	const page = new WebSocket(`${open.url.replace("http", "ws")}/v1/events/publish`, { origin: "http://evil.example" });
	const [refused] = (await once(page, "error")) as [Error];
	assert.match(refused.message, /403/);
});

test("a right that ends, ends the WebSocket; a message above 4 MiB does as well", async (t) => {
	const { url, forbid } = await smallSockets(t);
	const first = await producer(t, url);
	first.ws.on("error", () => {});
	first.ws.send("x".repeat(4 * 1024 * 1024 + 1));
	assert.equal(((await once(first.ws, "close")) as [number])[0], 1009);
	const second = await producer(t, url);
	const closed = once(second.ws, "close") as Promise<[number]>;
	forbid();
	assert.equal((await closed)[0], 1008);
});

test("who sends faster than the disk takes is not read until it has, and loses nothing", async (t) => {
	const { log, publisher, url } = await smallSockets(t, { bytesMax: 64 * 1024 });
	const { ws, acks, acked } = await producer(t, url);
	const total = 2_000;
	let next = 0;
	const send = (): void => void ws.send(eventJson({ id: String(++next), data: "x".repeat(500) }));
	let mostBytes = 0;
	const look = setInterval(() => {
		mostBytes = Math.max(mostBytes, publisher.inFlight.bytes);
	}, 1);
	t.after(() => clearInterval(look));
	while (next < total) send();
	await acked(total);
	// One read of the socket may come on top of the bound.
	assert.ok(mostBytes < 64 * 1024 + 128 * 1024, `${mostBytes} bytes in flight`);
	assert.equal(log.stats().lastSequence, total);
	assert.equal(publisher.inFlight.bytes, 0);
	assert.equal(publisher.inFlight.events, 0);
	assert.ok(acks.every(({ accepted }) => accepted === 1));
});

test("a full disk is told for each message, and the connection stays", async (t) => {
	let isFull = true;
	const beforeSync = (): void => {
		if (isFull) throw Object.assign(new Error("no space"), { code: "ENOSPC" });
	};
	const { url } = await smallSockets(t, { beforeSync });
	const { ws, acked } = await producer(t, url);
	ws.send(eventJson({ id: "1" }));
	assert.deepEqual((await acked(1))[0]?.problem?.status, 507);
	isFull = false;
	ws.send(eventJson({ id: "1" }));
	assert.equal((await acked(2))[1]?.accepted, 1);
});

test("Nexus stops: what was read is acknowledged, then it says goodbye", async (t) => {
	const { nexus, url } = await serveNexus(t, temporaryDir(t));
	const { ws, acks, acked } = await producer(t, url);
	ws.send(eventJson({ id: "0" }));
	await acked(1);
	const closed = once(ws, "close") as Promise<[number]>;
	for (let i = 1; i <= 100; i++) ws.send(eventJson({ id: String(i) }));
	await acked(2);
	const closing = nexus.close();
	assert.equal((await closed)[0], 1001);
	assert.deepEqual(await closing, []);
	// Nothing is acknowledged that is not there, and the acknowledgements have no gaps.
	assert.deepEqual(
		acks.map(({ message }) => message),
		acks.map((_, i) => i + 1),
	);
	assert.ok(acks.every(({ accepted }) => accepted === 1));
});

test("a producer that vanishes leaves nothing behind", async (t) => {
	const { publisher, sockets, url } = await smallSockets(t);
	const { ws, acked } = await producer(t, url);
	ws.send(eventJson({ id: "1" }));
	await acked(1);
	for (let i = 0; i < 50; i++) ws.send(eventJson({ id: `x${i}` }));
	ws.terminate();
	while (sockets.counts.producers > 0 || publisher.inFlight.events > 0) await new Promise((resolve) => setImmediate(resolve));
	assert.equal(publisher.inFlight.bytes, 0);
});

const MASK = Buffer.from([1, 2, 3, 4]);

function unmasked(bytes: Buffer): Buffer {
	return Buffer.from(bytes.map((byte, i) => byte ^ (MASK[i & 3] as number)));
}

function masked(opcode: number, bytes: Buffer): Buffer {
	const head =
		bytes.length < 126 ? Buffer.from([opcode, 0x80 | bytes.length]) : Buffer.from([opcode, 0x80 | 126, bytes.length >> 8, bytes.length & 0xff]);
	return Buffer.concat([head, MASK, unmasked(bytes)]);
}

function maskedText(text: string): Buffer {
	return masked(0x81, Buffer.from(text));
}
