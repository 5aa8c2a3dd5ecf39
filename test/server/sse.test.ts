/** Server-sent events: frames, heartbeats and slow readers. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { silentLogger } from "../../src/core/log.ts";
import { startHttpServer } from "../../src/server/http-server.ts";
import { SseStream, sseFrame } from "../../src/server/sse.ts";
import { FakeClock } from "../support/fake-clock.ts";

async function openStream(t: TestContext, clock: FakeClock, bufferBytesMax?: number): Promise<{ stream: SseStream; client: Socket }> {
	const opened = Promise.withResolvers<SseStream>();
	const server = await startHttpServer({
		listen: { host: "127.0.0.1", port: 0 },
		log: silentLogger,
		drainTimeoutMs: 0,
		handler: (_req, res) => opened.resolve(SseStream.open(res, { clock, ...(bufferBytesMax === undefined ? {} : { bufferBytesMax }) })),
	});
	t.after(() => server.close());
	const client = connect(server.address.port, server.address.host);
	client.on("error", () => {});
	t.after(() => client.destroy());
	client.write("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
	return { stream: await opened.promise, client };
}

async function readUntil(client: Socket, pattern: RegExp): Promise<string> {
	let text = "";
	while (!pattern.test(text)) text += String((await once(client, "data"))[0]);
	return text;
}

test("a frame carries id, event and data; line breaks can smuggle no field", () => {
	assert.equal(sseFrame({ data: "x" }), "data: x\n\n");
	assert.equal(sseFrame({ id: 7, event: "a", data: "x" }), "id: 7\nevent: a\ndata: x\n\n");
	assert.equal(
		sseFrame({ id: "7\nretry: 1", event: "a\r\ndata: forged", data: "x\r\ny\rz\n" }),
		"id: 7retry: 1\nevent: adata: forged\ndata: x\ndata: y\ndata: z\ndata: \n\n",
	);
});

test("events and heartbeats reach the reader, and closing ends the stream in order", async (t) => {
	const clock = new FakeClock();
	const { stream, client } = await openStream(t, clock);
	let closed = 0;
	stream.onClose(() => closed++);
	assert.equal(stream.send({ id: 1, data: "one" }), true);
	assert.match(await readUntil(client, /one/), /content-type: text\/event-stream/i);
	clock.advance(15_000);
	await readUntil(client, /:\n\n/);
	stream.send({ id: 2, data: "last" });
	stream.close();
	assert.match(await readUntil(client, /\r\n0\r\n\r\n/), /last/);
	assert.equal(closed, 1);
	assert.equal(stream.send({ data: "late" }), false);
	assert.equal(clock.pendingTimers, 0);
});

test("a reader that holds more than the bound is cut off instead of growing memory", async (t) => {
	const clock = new FakeClock();
	const { stream, client } = await openStream(t, clock, 100_000);
	client.pause();
	let sent = 0;
	// The kernel's buffers take some megabytes before ours begins to fill.
	while (sent < 10_000 && stream.send({ data: "x".repeat(10_000) })) sent++;
	assert.ok(sent < 10_000, "the stream never refused");
	assert.equal(stream.isOpen, false);
});

test("a reader that takes nothing over three heartbeats is cut off", async (t) => {
	const clock = new FakeClock();
	const { stream, client } = await openStream(t, clock, 64 * 1024 * 1024);
	client.pause();
	while (stream.isReady) stream.send({ data: "x".repeat(100_000) });
	let closed = false;
	stream.onClose(() => (closed = true));
	clock.advance(45_000);
	assert.equal(closed, true);
});

test("a slow reader that makes progress is kept, though its stream is full at every heartbeat", async (t) => {
	const clock = new FakeClock();
	const { stream, client } = await openStream(t, clock, 64 * 1024 * 1024);
	for (let round = 0; round < 6; round++) {
		client.pause();
		while (stream.isReady) stream.send({ data: "x".repeat(100_000) });
		clock.advance(15_000);
		const drained = new Promise<void>((resolve) => stream.onDrain(resolve));
		client.resume();
		await drained;
	}
	assert.equal(stream.isOpen, true);
});

test("onClose runs when the reader goes away, and at once when it has gone", async (t) => {
	const { stream, client } = await openStream(t, new FakeClock());
	client.destroy();
	await new Promise<void>((resolve) => stream.onClose(resolve));
	let late = false;
	stream.onClose(() => (late = true));
	assert.equal(late, true);
});
