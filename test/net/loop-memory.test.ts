import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { LoopMemory, OWN_ROOM } from "../../src/net/loop-memory.ts";

/** A client socket whose peer reads nothing until `peer.resume()`. */
async function pair(t: TestContext): Promise<{ socket: Socket; peer: Socket }> {
	const server = createServer({ pauseOnConnect: true }).listen(0, "127.0.0.1");
	await once(server, "listening");
	const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
	const [[peer]] = (await Promise.all([once(server, "connection"), once(socket, "connect")])) as [[Socket], unknown];
	t.after(() => {
		socket.destroy();
		peer.destroy();
		server.close();
	});
	return { socket, peer };
}

describe("the memory of an event loop", () => {
	it("is used again once the system has taken a write", async (t) => {
		const { socket } = await pair(t);
		const memory = new LoopMemory();
		const first = memory.room(socket, 1000).fill(1);
		memory.write(socket, first);
		assert.equal(socket.writableLength, 0);
		assert.equal(memory.room(socket, 1000).buffer, first.buffer);
	});

	it("belongs to the socket whose write is only partly taken: every byte arrives as it was written", async (t) => {
		const { socket, peer } = await pair(t);
		const memory = new LoopMemory();
		const size = 100_000;
		let written = 0;
		// Until the system's buffers are full, with a pattern that tells each write from the next.
		while (socket.writableLength === 0) memory.write(socket, memory.room(socket, size).fill(++written % 251));
		const other = await pair(t);
		const again = memory.room(other.socket, size).fill(0xff);
		memory.write(other.socket, again);
		const received: Buffer[] = [];
		let bytes = 0;
		peer.on("data", (part: Buffer) => {
			received.push(part);
			bytes += part.length;
		});
		peer.resume();
		while (bytes < written * size) await once(peer, "data");
		const all = Buffer.concat(received);
		for (let i = 0; i < written; i++)
			assert.ok(
				all.subarray(i * size, (i + 1) * size).every((byte) => byte === (i + 1) % 251),
				`write ${i + 1} is damaged`,
			);
	});

	it("takes large pieces back from a slow reader, and not before the system has them", async (t) => {
		const { socket, peer } = await pair(t);
		const memory = new LoopMemory();
		while (socket.writableLength === 0) memory.write(socket, memory.room(socket, 100_000));
		const piece = memory.room(socket, 60_000);
		memory.write(socket, piece);
		const other = memory.room(socket, 60_000);
		assert.notEqual(other.buffer, piece.buffer);
		memory.write(socket, other);
		peer.resume();
		await once(socket, "drain");
		const lagging = await pair(t);
		while (lagging.socket.writableLength === 0) memory.write(lagging.socket, memory.room(lagging.socket, 100_000));
		assert.ok([piece.buffer, other.buffer].includes(memory.room(lagging.socket, 60_000).buffer));
	});

	it("gives a socket that lags behind, and a piece that is too large, memory of just that size", async (t) => {
		const { socket } = await pair(t);
		const memory = new LoopMemory();
		while (socket.writableLength === 0) memory.write(socket, memory.room(socket, 100_000));
		assert.equal(memory.room(socket, 100_000).buffer.byteLength, 100_000);
		const { socket: idle } = await pair(t);
		assert.equal(memory.room(idle, 200_000).length, 200_000);
		assert.equal(OWN_ROOM.room(10).length, 10);
	});
});
