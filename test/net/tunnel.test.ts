/** Opaque bytes both ways: order, backpressure, half-closes, resets, the idle deadline. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { DeadlineWheel } from "../../src/core/deadline-wheel.ts";
import { adopt, type ByteReader, dial, UNSENT_BYTES_MAX } from "../../src/net/byte-socket.ts";
import { LoopMemory } from "../../src/net/loop-memory.ts";
import { openTunnel, TUNNEL_IDLE_MS, type Tunnel } from "../../src/net/tunnel.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { type RawClient, type RawUpstreamConnection, rawClient, rawUpstream } from "../support/raw-peer.ts";
import { Accepted, startListener, until } from "./support.ts";

/** One read may come on top of what a socket may hold back. */
const HELD_BYTES_MAX = UNSENT_BYTES_MAX + new LoopMemory().bytes.length;

interface Between {
	readonly client: RawClient;
	readonly upstream: RawUpstreamConnection;
	/** Our two sockets. */
	readonly near: Socket;
	readonly far: Socket;
	readonly tunnel: Tunnel;
	readonly clock: FakeClock;
	readonly fired: string[];
}

async function tunnelled(t: TestContext): Promise<Between> {
	const shared = new LoopMemory();
	const accepted = new Accepted();
	const listener = await startListener(t, { onConnection: (socket) => accepted.push(t, socket) });
	const server = await rawUpstream(t);
	const client = await rawClient(t, listener.port);
	const readers: { near?: ByteReader; far?: ByteReader } = {};
	const near = adopt(await accepted.next(), shared, { onBytes: (...args) => readers.near?.onBytes(...args) });
	const far = dial({ kind: "tcp", host: "127.0.0.1", port: server.port }, shared, { onBytes: (...args) => readers.far?.onBytes(...args) });
	const upstream = await server.connection(0);
	upstream.keep = false;
	client.keep = false;
	const clock = new FakeClock();
	const fired: string[] = [];
	const tunnel = openTunnel(
		near,
		far,
		shared,
		new DeadlineWheel(clock).deadline(() => {
			fired.push("idle");
			near.destroy();
			far.destroy();
		}),
	);
	readers.near = tunnel.fromClient;
	readers.far = tunnel.fromUpstream;
	// As the caller of a tunnel does: when one has closed, so has the other.
	for (const [one, other] of [
		[near, far],
		[far, near],
	] as const) {
		t.after(() => void one.destroy());
		one.on("error", () => {});
		one.on("close", () => {
			if (!other.writableEnded) other.destroy();
		});
	}
	near.resume();
	return { client, upstream, near, far, tunnel, clock, fired };
}

/** 32 MiB that differ everywhere: far more than all the buffers on the way hold. */
const LARGE = Buffer.alloc(32 * 1024 * 1024);
for (let at = 0; at < LARGE.length; at += 4) LARGE.writeUInt32BE(Math.imul(at, 2654435761) >>> 0, at);

function hashOf(socket: Socket): { count: number; digest(): string } {
	const hash = createHash("sha256");
	const sum = { count: 0, digest: () => hash.digest("hex") };
	socket.on("data", (bytes: Buffer) => {
		sum.count += bytes.length;
		hash.update(bytes);
	});
	return sum;
}

describe("a tunnel", { timeout: 60_000 }, () => {
	it("carries bytes both ways at once, whole and in order, and counts them", async (t) => {
		const { client, upstream, tunnel } = await tunnelled(t);
		const up = hashOf(upstream.socket);
		const down = hashOf(client.socket);
		client.send(LARGE);
		upstream.send(LARGE);
		await until(() => up.count === LARGE.length && down.count === LARGE.length);
		const expected = createHash("sha256").update(LARGE).digest("hex");
		assert.equal(up.digest(), expected);
		assert.equal(down.digest(), expected);
		assert.deepEqual([tunnel.fromClient.bytes, tunnel.fromUpstream.bytes], [LARGE.length, LARGE.length]);
	});

	for (const direction of ["client to upstream", "upstream to client"] as const) {
		it(`stops reading, ${direction}, while the reader has stopped, holds no more than the limit, and loses nothing`, async (t) => {
			const { client, upstream, near, far } = await tunnelled(t);
			const toUpstream = direction === "client to upstream";
			const [writer, reader] = toUpstream ? [client, upstream] : [upstream, client];
			const [reading, writing] = toUpstream ? [near, far] : [far, near];
			const sum = hashOf(reader.socket);
			reader.socket.pause();
			writer.send(LARGE);
			for (let stop = 0; stop < 5; stop++) {
				await until(() => reading.isPaused());
				assert.ok(writing.writableLength >= UNSENT_BYTES_MAX && writing.writableLength <= HELD_BYTES_MAX, `${writing.writableLength} held`);
				assert.ok(sum.count < LARGE.length);
				reader.socket.resume();
				const seen = sum.count;
				await until(() => sum.count > seen);
				reader.socket.pause();
			}
			reader.socket.resume();
			await until(() => sum.count === LARGE.length);
			assert.equal(sum.digest(), createHash("sha256").update(LARGE).digest("hex"));
		});
	}

	it("passes the client's half-close on behind its last byte, and still carries the answer", async (t) => {
		const { client, upstream, near, far } = await tunnelled(t);
		upstream.keep = client.keep = true;
		client.send("question");
		client.end();
		await upstream.until("the end", () => upstream.ended);
		assert.equal(upstream.text, "question");
		upstream.send("answer");
		await client.untilText("answer");
		upstream.end();
		await client.until("the end", () => client.ended);
		await until(() => near.destroyed && far.destroyed);
	});

	it("passes the upstream's half-close on behind its last byte, and still carries what the client says", async (t) => {
		const { client, upstream, near, far } = await tunnelled(t);
		upstream.keep = client.keep = true;
		upstream.send("goodbye");
		upstream.end();
		await client.until("the end", () => client.ended);
		assert.equal(client.text, "goodbye");
		client.send("one more thing");
		await upstream.untilText("one more thing");
		client.end();
		await until(() => near.destroyed && far.destroyed);
	});

	it("delivers a large answer whole although its sender has closed long before a slow reader has it", async (t) => {
		const { client, upstream, far } = await tunnelled(t);
		const down = hashOf(client.socket);
		client.socket.pause();
		upstream.send(LARGE);
		upstream.end();
		await until(() => far.isPaused());
		client.socket.resume();
		await client.until("the end", () => client.ended);
		assert.equal(down.count, LARGE.length);
	});

	it("ends for the other side when one side resets", async (t) => {
		for (const side of ["client", "upstream"] as const) {
			const { client, upstream, near, far } = await tunnelled(t);
			client.send("x");
			await upstream.until("a byte", () => upstream.bytes === 1);
			(side === "client" ? client : upstream).reset();
			await (side === "client" ? upstream : client).untilClosed();
			await until(() => near.destroyed && far.destroyed);
		}
	});

	it("is ended by silence of both sides, and by a byte of either kept open", async (t) => {
		const { client, upstream, clock, fired, near, far } = await tunnelled(t);
		for (const writer of [client, upstream]) {
			clock.advance(TUNNEL_IDLE_MS - 1000);
			const [reader, seen] = writer === client ? [upstream, upstream.bytes] : [client, client.bytes];
			writer.send("ping");
			await reader.until("the ping", () => reader.bytes > seen);
		}
		assert.deepEqual(fired, []);
		clock.advance(TUNNEL_IDLE_MS + 200);
		assert.deepEqual(fired, ["idle"]);
		await Promise.all([client.untilClosed(), upstream.untilClosed()]);
		assert.ok(near.destroyed && far.destroyed);
	});
});
