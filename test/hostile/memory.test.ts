/** Rows 3, 4, 5, 9, 10 and 65 of the shared list of hostile behaviours: what a peer does to our memory, in a process of its own. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite, type TestContext, test } from "node:test";
import { eventually, NexusProcess, temporaryFolder } from "../support/processes.ts";
import { type RawClient, type RawPeer, type RawUpstream, rawClient, rawUpstream } from "../support/raw-peer.ts";

const MIB = 1024 * 1024;
/** HOSTILE_STREAM_MIB=5120 and HOSTILE_IDLE_CONNECTIONS=10000 where somebody has the time; less takes seconds and would show the same growth. */
const { HOSTILE_STREAM_MIB = "512", HOSTILE_IDLE_CONNECTIONS = "1000" } = process.env;
const STREAM_BYTES = Number(HOSTILE_STREAM_MIB) * MIB;
const IDLE_CONNECTIONS = Number(HOSTILE_IDLE_CONNECTIONS);
/** Goes through before anything is measured: until then the collector has not seen how much of this it must expect. */
const WARM_UP_BYTES = 128 * MIB;
/** What a heap may grow by from then on; a stream that is kept would be four times that, or fifty. */
const GROWTH_BYTES_MAX = 96 * MIB;
/** And in all, from the start of the process. */
const RESIDENT_BYTES_MAX = 256 * MIB;
const SKIP = process.platform === "linux" ? false : "resident memory is read from /proc";
const PIECE = Buffer.alloc(256 * 1024, 0x78);

interface Stage {
	readonly sidecar: NexusProcess;
	readonly upstream: RawUpstream;
	readonly client: RawClient;
	readonly port: number;
	rss(): number;
}

async function stage(t: TestContext, limits = "{}"): Promise<Stage> {
	const upstream = await rawUpstream(t);
	const file = join(temporaryFolder(t, "memory"), "policy.yaml");
	writeFileSync(
		file,
		`service: tested\nadmin: { listen: 127.0.0.1:0 }\ndrainTimeout: 1s\n` +
			`inbound: { listen: 127.0.0.1:0, application: "${upstream.address}", limits: ${limits} }\n`,
	);
	const sidecar = new NexusProcess(t, ["sidecar", "--config", file]);
	const ready = await sidecar.said(/"inbound":"127\.0\.0\.1:(\d+)".*"ready"/, "stderr");
	const port = Number(ready[1]);
	const rss = (): number => Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${sidecar.process.pid}/status`, "utf8"))?.[1]) * 1024;
	assert.ok(rss() > 0);
	return { sidecar, upstream, client: await rawClient(t, port), port, rss };
}

/** Sends `bytes` in pieces as fast as the other side takes them; `frame` puts a piece on the wire. Resolves when the last one has been handed over. */
async function pour(peer: RawPeer, bytes: number, frame: (socket: RawPeer["socket"], piece: Buffer) => boolean): Promise<void> {
	for (let left = bytes; left > 0; left -= PIECE.length) {
		assert.ok(!peer.socket.destroyed, `closed with ${left} bytes left ${peer.error}`);
		if (!frame(peer.socket, PIECE.subarray(0, Math.min(PIECE.length, left)))) await drained(peer);
	}
}

function drained(peer: RawPeer): Promise<void> {
	return new Promise((resolve) => {
		const done = (): void => {
			peer.socket.off("drain", done).off("close", done);
			resolve();
		};
		peer.socket.on("drain", done).on("close", done);
	});
}

const plain = (socket: RawPeer["socket"], piece: Buffer): boolean => socket.write(piece);

function chunked(socket: RawPeer["socket"], piece: Buffer): boolean {
	socket.write(`${piece.length.toString(16)}\r\n`);
	socket.write(piece);
	return socket.write("\r\n");
}

/** The highest of what `rss` says while `work` runs, above what it said before. */
async function growthDuring(rss: () => number, work: () => Promise<void>): Promise<number> {
	const before = rss();
	let highest = before;
	const timer = setInterval(() => {
		highest = Math.max(highest, rss());
	}, 20);
	try {
		await work();
	} finally {
		clearInterval(timer);
	}
	return Math.max(highest, rss()) - before;
}

async function assertFlat(t: TestContext, rss: () => number, work: () => Promise<void>): Promise<void> {
	const growth = await growthDuring(rss, work);
	const told = `${(growth / MIB).toFixed(1)} MiB more than before, ${(rss() / MIB).toFixed(1)} MiB in all`;
	t.diagnostic(told);
	assert.ok(growth < GROWTH_BYTES_MAX, told);
	assert.ok(rss() < RESIDENT_BYTES_MAX, told);
}

suite("resident memory stays flat", { skip: SKIP, timeout: 600_000 }, () => {
	for (const [what, head, frame, end] of [
		["with a length", `Content-Length: ${STREAM_BYTES}\r\n`, plain, ""],
		["in chunks", "Transfer-Encoding: chunked\r\n", chunked, "0\r\n\r\n"],
	] as const) {
		test(`while a large answer ${what} goes through at full speed, to its last byte`, async (t) => {
			const { client, upstream, rss } = await stage(t);
			client.keep = false;
			client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
			const connection = await upstream.connection(0);
			await connection.request();
			connection.send(`HTTP/1.1 200 OK\r\n${head}\r\n`);
			await pour(connection, WARM_UP_BYTES, frame);
			await assertFlat(t, rss, async () => {
				await pour(connection, STREAM_BYTES - WARM_UP_BYTES, frame);
				connection.send(end);
				await client.until("all of the body", () => client.bytes >= STREAM_BYTES);
			});
		});

		test(`while a large upload ${what} goes through at full speed, to its last byte`, async (t) => {
			const { client, upstream, rss } = await stage(t);
			client.send(`POST / HTTP/1.1\r\nHost: a\r\n${head}\r\n`);
			const connection = await upstream.connection(0);
			connection.keep = false;
			await pour(client, WARM_UP_BYTES, frame);
			await assertFlat(t, rss, async () => {
				await pour(client, STREAM_BYTES - WARM_UP_BYTES, frame);
				client.send(end);
				await connection.until("all of the body", () => connection.bytes >= STREAM_BYTES);
			});
		});
	}

	test("while a client does not read: the application is made to wait, and all of it arrives afterwards", async (t) => {
		const bytes = STREAM_BYTES / 2;
		const { client, upstream, rss } = await stage(t);
		client.keep = false;
		client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
		const connection = await upstream.connection(0);
		await connection.request();
		connection.send(`HTTP/1.1 200 OK\r\nContent-Length: ${WARM_UP_BYTES + bytes}\r\n\r\n`);
		await pour(connection, WARM_UP_BYTES, plain);
		client.socket.pause();
		const poured = { done: false };
		await assertFlat(t, rss, async () => {
			const all = pour(connection, bytes, plain).then(() => {
				poured.done = true;
			});
			await untilStill(() => connection.socket.bytesWritten);
			assert.equal(poured.done, false, "the application was made to wait");
			client.socket.resume();
			await all;
			await client.until("all of the body", () => client.bytes >= WARM_UP_BYTES + bytes);
		});
	});

	test("while an application does not read: the client is made to wait, and all of it arrives afterwards", async (t) => {
		const bytes = STREAM_BYTES / 2;
		const { client, upstream, rss } = await stage(t);
		client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${WARM_UP_BYTES + bytes}\r\n\r\n`);
		const connection = await upstream.connection(0);
		connection.keep = false;
		await pour(client, WARM_UP_BYTES, plain);
		connection.socket.pause();
		const poured = { done: false };
		await assertFlat(t, rss, async () => {
			const all = pour(client, bytes, plain).then(() => {
				poured.done = true;
			});
			await untilStill(() => client.socket.bytesWritten);
			assert.equal(poured.done, false, "the client was made to wait");
			connection.socket.resume();
			await all;
			await connection.until("all of the body", () => connection.bytes >= WARM_UP_BYTES + bytes);
		});
	});

	test("over a million chunks of one byte, both ways", async (t) => {
		const { client, upstream, rss } = await stage(t);
		const chunks = Buffer.from("1\r\nx\r\n".repeat(10_000));
		client.keep = false;
		client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
		const connection = await upstream.connection(0);
		connection.keep = false;
		const pourChunks = async (peer: RawPeer): Promise<void> => {
			for (let i = 0; i < 100; i++) if (!peer.socket.write(chunks)) await drained(peer);
		};
		await assertFlat(t, rss, async () => {
			connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
			await Promise.all([pourChunks(client), pourChunks(connection)]);
			client.send("0\r\n\r\n");
			await connection.until("a million bytes", () => connection.bytes > 1_000_000);
			// Not before: an answer that ends before its request ends the upload as well.
			connection.send("0\r\n\r\n");
			await client.until("a million bytes", () => client.bytes > 1_000_000);
		});
	});

	test("while a tunnel carries a large message", async (t) => {
		const bytes = STREAM_BYTES / 2;
		const { client, upstream, rss } = await stage(t);
		client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
		const connection = await upstream.connection(0);
		await connection.request();
		connection.tunnel = true;
		connection.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
		await client.untilText("101");
		client.keep = connection.keep = false;
		await Promise.all([pour(client, WARM_UP_BYTES, plain), pour(connection, WARM_UP_BYTES, plain)]);
		await assertFlat(t, rss, async () => {
			await Promise.all([pour(client, bytes, plain), pour(connection, bytes, plain)]);
			await connection.until("all of it", () => connection.bytes >= WARM_UP_BYTES + bytes);
			await client.until("all of it", () => client.bytes >= WARM_UP_BYTES + bytes);
		});
	});

	test("at a few KiB for each idle connection, new ones are served at once, and the idle time closes them all", async (t) => {
		const { client, upstream, port, rss } = await stage(t, "{ keepAliveIdleTimeout: 5s, maxConnections: 1000000 }");
		const idle: RawClient[] = [];
		const growth = await growthDuring(rss, async () => {
			for (let i = 0; i < IDLE_CONNECTIONS; i++) idle.push(await rawClient(t, port));
		});
		const each = growth / IDLE_CONNECTIONS / 1024;
		t.diagnostic(`${each.toFixed(1)} KiB for each of ${IDLE_CONNECTIONS} idle connections`);
		assert.ok(each < 16, `${each.toFixed(1)} KiB for each idle connection`);
		client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
		const connection = await upstream.connection(0);
		await connection.request();
		connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
		assert.equal((await client.answer()).status, 200);
		for (const one of idle) await one.untilClosed();
	});
});

/** Resolves once `value` has not changed over a while: what was to be buffered on the way is. */
async function untilStill(value: () => number): Promise<void> {
	let last = -1;
	let same = 0;
	await eventually("the stream stands still", async () => {
		const now = value();
		same = now === last ? same + 1 : 0;
		last = now;
		return same >= 25;
	});
}
