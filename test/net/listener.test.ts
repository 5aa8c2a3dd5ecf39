/** Listening: limits, refusals, and errors that a person understands. */
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { describe, it } from "node:test";
import { Listener } from "../../src/net/listener.ts";
import { RawClient, rawClient } from "../support/raw-peer.ts";
import { Accepted, startListener, until } from "./support.ts";

describe("a listener", { timeout: 30_000 }, () => {
	it("hands out sockets that are paused, so that no byte is read before somebody listens", async (t) => {
		const accepted = new Accepted();
		const listener = await startListener(t, { onConnection: (socket) => accepted.push(t, socket) });
		const client = await rawClient(t, listener.port);
		client.send("early");
		const socket = await accepted.next();
		assert.equal(socket.isPaused(), true);
		const arrived = new Promise<Buffer>((resolve) => socket.once("data", resolve));
		socket.resume();
		assert.equal((await arrived).toString(), "early");
	});

	it("refuses above its limit, counts it, and accepts again once a connection is given back", async (t) => {
		const accepted = new Accepted();
		const refused: Socket[] = [];
		const listener = await startListener(t, {
			connectionsMax: 2,
			onConnection: (socket) => accepted.push(t, socket),
			onRefused: (socket) => {
				refused.push(socket);
				socket.end("no room", () => socket.destroy());
			},
		});
		await rawClient(t, listener.port);
		await rawClient(t, listener.port);
		await Promise.all([accepted.next(), accepted.next()]);
		const third = await rawClient(t, listener.port);
		await third.untilText("no room");
		await third.untilClosed();
		assert.deepEqual(listener.stats, { accepted: 2, refused: 1, open: 2 });
		listener.release();
		await rawClient(t, listener.port);
		await accepted.next();
		assert.deepEqual(listener.stats, { accepted: 3, refused: 1, open: 2 });
		assert.equal(refused.length, 1);
	});

	it("closes without a word where nobody says how to refuse", async (t) => {
		const listener = await startListener(t, { connectionsMax: 0, onConnection: () => assert.fail("over the limit") });
		const client = await rawClient(t, listener.port);
		await client.untilClosed();
		assert.equal(client.bytes, 0);
		assert.equal(listener.stats.refused, 1);
	});

	it("follows a changed limit from the next connection on, and cuts nobody", async (t) => {
		const accepted = new Accepted();
		const listener = await startListener(t, { connectionsMax: 10, onConnection: (socket) => accepted.push(t, socket) });
		const first = await rawClient(t, listener.port);
		await rawClient(t, listener.port);
		const socket = await accepted.next();
		await accepted.next();
		listener.setConnectionsMax(1);
		const third = await rawClient(t, listener.port);
		await third.untilClosed();
		socket.write("still here");
		await first.untilText("still here");
		listener.setConnectionsMax(3);
		await rawClient(t, listener.port);
		await accepted.next();
		assert.deepEqual(listener.stats, { accepted: 3, refused: 1, open: 3 });
	});

	it("says in words that the port is taken, with its name and address", async (t) => {
		const first = await startListener(t, { onConnection: () => {} });
		const second = new Listener({
			name: "outbound",
			listen: { kind: "tcp", host: "127.0.0.1", port: first.port },
			connectionsMax: 1,
			onConnection: () => {},
			onFault: () => {},
		});
		await assert.rejects(second.start(), {
			message: `outbound cannot listen on 127.0.0.1:${first.port}: the port is taken by another process (EADDRINUSE)`,
		});
	});

	it("names an address that this machine does not have", async () => {
		// 192.0.2.0/24 is for documentation (RFC 5737).
		const listen = { kind: "tcp", host: "192.0.2.1", port: 1 } as const;
		const listener = new Listener({ name: "inbound", listen, connectionsMax: 1, onConnection: () => {}, onFault: () => {} });
		await assert.rejects(listener.start(), /^Error: inbound cannot listen on 192\.0\.2\.1:1: .*EADDRNOTAVAIL/);
		listener.stop();
	});

	it("accepts nobody after a stop, and keeps the connections that are open", async (t) => {
		const accepted = new Accepted();
		const listener = await startListener(t, { onConnection: (socket) => accepted.push(t, socket) });
		const { port } = listener;
		const client = await rawClient(t, port);
		const socket = await accepted.next();
		listener.stop();
		listener.stop();
		const late = new RawClient(connect({ port, host: "127.0.0.1" }));
		await late.until("a refusal", () => late.closed);
		assert.equal(late.error, "ECONNREFUSED");
		socket.on("data", (bytes) => socket.write(`echo ${bytes}`));
		socket.resume();
		client.send("hello");
		await client.untilText("echo hello");
		assert.deepEqual(listener.stats, { accepted: 1, refused: 0, open: 1 });
		assert.equal(listener.port, 0);
	});

	it("takes 500 connections that come at once", async (t) => {
		let count = 0;
		const listener = await startListener(t, {
			onConnection: (socket) => {
				count++;
				socket.destroy();
			},
		});
		await Promise.all(Array.from({ length: 500 }, () => rawClient(t, listener.port)));
		await until(() => count === 500);
		assert.equal(listener.stats.accepted, 500);
	});
});
