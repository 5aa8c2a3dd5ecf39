/** Sockets over the shared read buffer: dialled and adopted, half-open, paused and resumed. */
import assert from "node:assert/strict";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { adopt, dial } from "../../src/net/byte-socket.ts";
import { LoopMemory } from "../../src/net/loop-memory.ts";
import { temporaryFolder } from "../support/processes.ts";
import { type RawClient, rawClient, rawUpstream } from "../support/raw-peer.ts";
import { Accepted, Collector, event, startListener, until } from "./support.ts";

interface Adopted {
	readonly client: RawClient;
	readonly socket: Socket;
	readonly reader: Collector;
}

/** A connection of a client, adopted and reading. `change` may damage what the server hands out. */
async function adopted(t: TestContext, shared: LoopMemory, change: (socket: Socket) => Socket = (socket) => socket): Promise<Adopted> {
	const accepted = new Accepted();
	const listener = await startListener(t, { onConnection: (socket) => accepted.push(t, socket) });
	const client = await rawClient(t, listener.port);
	const reader = new Collector();
	const socket = adopt(change(await accepted.next()), shared, reader);
	t.after(() => void socket.destroy());
	socket.on("error", () => {});
	socket.resume();
	return { client, socket, reader };
}

/** As a Node would look that keeps its handle to itself. */
function hideHandle(socket: Socket): Socket {
	return new Proxy(socket, {
		get(target, key) {
			if (key === "_handle") return undefined;
			const value: unknown = Reflect.get(target, key, target);
			return typeof value === "function" ? value.bind(target) : value;
		},
	});
}

describe("an adopted socket", { timeout: 30_000 }, () => {
	for (const { name, change, isShared } of [
		{ name: "reading into the shared buffer", change: (socket: Socket) => socket, isShared: true },
		{ name: "falling back where the handle is hidden", change: hideHandle, isShared: false },
	]) {
		describe(name, () => {
			it("hands over every byte in order, and writes", async (t) => {
				const shared = new LoopMemory();
				const { client, socket, reader } = await adopted(t, shared, change);
				client.send("one");
				await reader.untilText("one");
				const large = "0123456789".repeat(100_000);
				client.send(large).send("|end");
				await reader.untilText("|end");
				assert.equal(reader.text, `one${large}|end`);
				assert.equal(reader.buffers.has(shared.bytes), isShared);
				socket.write("answer");
				await client.untilText("answer");
			});

			it("delivers nothing while it is paused, and then everything, in order", async (t) => {
				const { client, socket, reader } = await adopted(t, new LoopMemory(), change);
				client.send("before|");
				await reader.untilText("before|");
				for (let round = 0; round < 20; round++) {
					socket.pause();
					const seen = reader.text;
					client.send(`round ${round}|`);
					// What was sent has arrived once a second connection, made later, has been through the same loop.
					await rawUpstream(t).then(({ port }) => rawClient(t, port));
					assert.equal(reader.text, seen);
					socket.resume();
					await reader.untilText(`round ${round}|`);
				}
				assert.equal(reader.text, `before|${Array.from({ length: 20 }, (_, round) => `round ${round}|`).join("")}`);
			});

			it("can be paused from within a read, and misses nothing", async (t) => {
				const reader = new Collector();
				let socket: Socket | undefined;
				const accepted = new Accepted();
				const listener = await startListener(t, { onConnection: (arrived) => accepted.push(t, arrived) });
				const client = await rawClient(t, listener.port);
				socket = adopt(change(await accepted.next()), new LoopMemory(), {
					onBytes(buffer, from, to) {
						reader.onBytes(buffer, from, to);
						socket?.pause();
						setImmediate(() => socket?.resume());
					},
				});
				t.after(() => void socket?.destroy());
				socket.resume();
				const text = Array.from({ length: 50_000 }, (_, i) => `${i},`).join("");
				client.send(`${text}end`);
				await reader.untilText("end");
				assert.equal(reader.text, `${text}end`);
			});

			it("stays writable after the client has sent its last byte", async (t) => {
				const { client, socket, reader } = await adopted(t, new LoopMemory(), change);
				client.send("question");
				client.end();
				await event(socket, "end");
				assert.equal(reader.text, "question");
				socket.end("late answer");
				await client.untilClosed();
				assert.equal(client.text, "late answer");
				await until(() => socket.destroyed);
			});

			it("goes on reading after it has sent its last byte", async (t) => {
				const { client, socket, reader } = await adopted(t, new LoopMemory(), change);
				socket.end("bye");
				await client.untilClosed();
				client.send("last words");
				await reader.untilText("last words");
			});

			it("closes when the client resets", async (t) => {
				const { client, socket, reader } = await adopted(t, new LoopMemory(), change);
				client.send("x");
				await reader.untilText("x");
				client.reset();
				await event(socket, "close");
			});
		});
	}

	it("shares one buffer with all others: what was read is overwritten by the next read of anybody", async (t) => {
		const shared = new LoopMemory();
		const one = await adopted(t, shared);
		const two = await adopted(t, shared);
		one.client.send("aaaa");
		await one.reader.untilText("aaaa");
		const view = shared.bytes.subarray(0, 4);
		assert.equal(view.toString(), "aaaa");
		two.client.send("bbbb");
		await two.reader.untilText("bbbb");
		assert.equal(view.toString(), "bbbb");
		assert.equal(one.reader.text, "aaaa");
	});

	it("keeps the server from waiting for it: a listener that stopped is closed while adopted sockets live on", async (t) => {
		const accepted = new Accepted();
		const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => accepted.push(t, socket));
		await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
		const address = server.address();
		const client = await rawClient(t, typeof address === "object" && address !== null ? address.port : 0);
		const reader = new Collector();
		const socket = adopt(await accepted.next(), new LoopMemory(), reader);
		t.after(() => void socket.destroy());
		socket.resume();
		await new Promise((resolve) => server.close(resolve));
		client.send("still read");
		await reader.untilText("still read");
	});

	it("survives that the client is gone before it is adopted", async (t) => {
		const accepted = new Accepted();
		const listener = await startListener(t, { onConnection: (socket) => accepted.push(t, socket) });
		const client = await rawClient(t, listener.port);
		const socket = await accepted.next();
		socket.destroy();
		const own = adopt(socket, new LoopMemory(), new Collector());
		own.resume();
		await until(() => own.destroyed);
		await client.untilClosed();
	});
});

describe("a dialled socket", { timeout: 30_000 }, () => {
	it("reads into the shared buffer over TCP", async (t) => {
		const shared = new LoopMemory();
		const reader = new Collector();
		const upstream = await rawUpstream(t);
		const socket = dial({ kind: "tcp", host: "127.0.0.1", port: upstream.port }, shared, reader);
		t.after(() => void socket.destroy());
		(await upstream.connection(0)).send("hello");
		await reader.untilText("hello");
		assert.deepEqual([...reader.buffers], [shared.bytes]);
		socket.write("question");
		await (await upstream.connection(0)).untilText("question");
	});

	it("reads into the shared buffer over a unix socket", async (t) => {
		const path = join(temporaryFolder(t, "dial"), "app.sock");
		const server = createServer((socket) => socket.end("hello"));
		t.after(() => void server.close());
		await new Promise<void>((resolve) => server.listen(path, resolve));
		const shared = new LoopMemory();
		const reader = new Collector();
		const socket = dial({ kind: "unix", path }, shared, reader);
		t.after(() => void socket.destroy());
		await reader.untilText("hello");
		assert.deepEqual([...reader.buffers], [shared.bytes]);
	});

	it("finds a name's address by the look-up that it is given, or the system's", async (t) => {
		const upstream = await rawUpstream(t);
		const asked: string[] = [];
		const given = dial({ kind: "tcp", host: "payments.test", port: upstream.port }, new LoopMemory(), new Collector(), (host, options, callback) => {
			asked.push(host);
			if (options.all === true) callback(null, [{ address: "127.0.0.1", family: 4 }]);
			else callback(null, "127.0.0.1", 4);
		});
		t.after(() => void given.destroy());
		await upstream.connection(0);
		assert.deepEqual(asked, ["payments.test"]);
		const system = dial({ kind: "tcp", host: "localhost", port: upstream.port }, new LoopMemory(), new Collector());
		t.after(() => void system.destroy());
		await upstream.connection(1);
	});

	it("tells by its error that nobody listens", async (t) => {
		const upstream = await rawUpstream(t);
		await upstream.close();
		for (const address of [
			{ kind: "tcp", host: "127.0.0.1", port: upstream.port },
			{ kind: "unix", path: join(temporaryFolder(t, "dial"), "nobody.sock") },
		] as const) {
			const socket = dial(address, new LoopMemory(), new Collector());
			const error = (await event(socket, "error")) as NodeJS.ErrnoException;
			assert.equal(error.code, address.kind === "tcp" ? "ECONNREFUSED" : "ENOENT");
		}
	});
});
