/** One connection to an endpoint: what may be used again, what must not, and how each end is told. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { INTERIM_RESPONSES_MAX } from "../../src/http1/limits.ts";
import type { Http1Connection } from "../../src/upstream/http1-connection.ts";
import { freePorts } from "../support/processes.ts";
import { type RawUpstreamConnection, rawUpstream } from "../support/raw-peer.ts";
import { Bench, Handler, LATE_MAX_MS, lookupForEver, Owner, tcp, until } from "./support.ts";

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

interface Made {
	readonly connection: Http1Connection;
	readonly owner: Owner;
	readonly peer: RawUpstreamConnection;
	readonly bench: Bench;
}

async function connected(t: TestContext): Promise<Made> {
	const upstream = await rawUpstream(t);
	const bench = new Bench(t);
	const owner = new Owner();
	const connection = bench.single(tcp(upstream.port), owner);
	await owner.until("connected");
	return { connection, owner, peer: await upstream.connection(0), bench };
}

function send(connection: Http1Connection, options: { text?: string; complete?: boolean; head?: boolean; upgrade?: boolean } = {}): Handler {
	const handler = new Handler();
	handler.onDone = () => connection.release();
	connection.send(handler, options.text ?? GET, options.complete ?? true, options.head ?? false, options.upgrade ?? false);
	return handler;
}

/** One exchange from its beginning to its end, so that the connection counts as used. */
async function useOnce({ connection, peer }: Made): Promise<void> {
	const handler = send(connection);
	await peer.until("a request", () => peer.bytes > 0);
	peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	await handler.until(({ done }) => done);
}

describe("a connection is used again", { timeout: 30_000 }, () => {
	for (const [what, answer] of [
		["a length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"],
		["chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"],
		["no body", "HTTP/1.1 204 No Content\r\n\r\n"],
		["HTTP/1.0 and keep-alive", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"],
		["an interim answer before", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"],
	] as const) {
		it(`after an answer with ${what}, whole or byte by byte`, async (t) => {
			const made = await connected(t);
			const { connection, owner, peer } = made;
			for (const step of [answer.length, 1]) {
				const handler = send(connection);
				for (let at = 0; at < answer.length; at += step) peer.send(answer.slice(at, at + step));
				await handler.until(({ done }) => done);
				assert.ok(handler.body === "ok" || handler.status === 204);
			}
			assert.deepEqual(owner.notes, ["connected", "reusable", "reusable"]);
			assert.equal(connection.reused, true);
		});
	}

	it("after the answer to HEAD, whose length announces nothing", async (t) => {
		const { connection, owner, peer } = await connected(t);
		const handler = send(connection, { head: true });
		peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
		await handler.until(({ done }) => done);
		assert.deepEqual(owner.notes, ["connected", "reusable"]);
	});
});

describe("a connection is closed and not used again", { timeout: 30_000 }, () => {
	for (const [what, answer] of [
		["Connection: close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"],
		["HTTP/1.0 without keep-alive", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"],
		["bytes behind its end", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n"],
		["bytes behind its last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nx"],
	] as const) {
		it(`after an answer with ${what}`, async (t) => {
			const { connection, owner, peer } = await connected(t);
			const handler = send(connection);
			peer.send(answer);
			await handler.until(({ done }) => done);
			assert.equal(handler.body, "ok");
			await owner.until("closed");
			assert.deepEqual(owner.notes, ["connected", "closed"]);
			assert.equal(handler.broken, undefined);
		});
	}

	it("after an answer that ends with the connection, which is a whole answer", async (t) => {
		const { connection, owner, peer } = await connected(t);
		const handler = send(connection);
		peer.send("HTTP/1.1 200 OK\r\n\r\nall of it");
		await handler.until(({ body }) => body === "all of it");
		assert.equal(handler.done, false);
		peer.end();
		await handler.until(({ done }) => done);
		await owner.until("closed");
		assert.deepEqual([handler.body, handler.broken], ["all of it", undefined]);
	});

	it("when the answer came before the request was complete", async (t) => {
		const { connection, owner, peer } = await connected(t);
		const handler = send(connection, { text: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", complete: false });
		peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
		await handler.until(({ done }) => done);
		await owner.until("closed");
		assert.deepEqual(owner.notes, ["connected", "closed"]);
	});

	it("but is used again when the rest of the request was written in time", async (t) => {
		const { connection, owner, peer } = await connected(t);
		const handler = send(connection, { text: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", complete: false });
		assert.equal(connection.write(Buffer.from("12345"), false), true);
		assert.equal(connection.write(Buffer.from("6789"), true), true);
		assert.equal((await peer.request()).body.toString(), "123456789");
		peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
		await handler.until(({ done }) => done);
		assert.deepEqual(owner.notes, ["connected", "reusable"]);
	});

	it("after its answer when it was retired meanwhile, and at once when it is idle", async (t) => {
		const made = await connected(t);
		const handler = send(made.connection);
		made.connection.retire();
		made.peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
		await handler.until(({ done }) => done);
		await made.owner.until("closed");
		assert.equal(handler.body, "ok");
		const idle = await connected(t);
		idle.connection.retire();
		await idle.owner.until("closed");
		assert.deepEqual(idle.owner.notes, ["connected", "closed"]);
	});

	it("by bytes that nobody asked for, before the first request and between two", async (t) => {
		for (const used of [false, true]) {
			const made = await connected(t);
			if (used) await useOnce(made);
			made.peer.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
			await made.owner.until("closed");
		}
	});

	it("by the end of its idle time", async (t) => {
		const made = await connected(t);
		await useOnce(made);
		made.bench.clock.advance(60_000 + LATE_MAX_MS);
		await made.owner.until("closed");
		await made.peer.untilClosed();
	});
});

describe("a broken answer", { timeout: 30_000 }, () => {
	for (const [what, answer, rule] of [
		["is no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", /at byte/],
		["frames its body in two ways", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", /RFC 9112 6\.3/],
		["has a broken chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n", /chunk size/],
		["switches protocols unasked", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", /101/],
	] as const) {
		it(`that ${what} ends in upstream_protocol_error with the rule, and the connection is closed`, async (t) => {
			const { connection, owner, peer } = await connected(t);
			const handler = send(connection);
			peer.send(answer);
			await handler.until(({ broken }) => broken !== undefined);
			assert.equal(handler.broken?.reason, "upstream_protocol_error");
			assert.match(handler.broken?.detail ?? "", rule);
			await owner.until("closed");
		});
	}

	it("with more interim answers than the limit ends, one with the limit does not", async (t) => {
		for (const [count, isBroken] of [
			[INTERIM_RESPONSES_MAX, false],
			[INTERIM_RESPONSES_MAX + 1, true],
		] as const) {
			const { connection, peer } = await connected(t);
			const handler = send(connection);
			peer.send(`${"HTTP/1.1 102 Processing\r\n\r\n".repeat(count)}HTTP/1.1 204 No Content\r\n\r\n`);
			await handler.until(({ done, broken }) => done || broken !== undefined);
			assert.equal(handler.broken?.reason, isBroken ? "upstream_protocol_error" : undefined);
			assert.equal(handler.interims.length, INTERIM_RESPONSES_MAX);
		}
	});

	for (const [what, begin] of [
		["before its first byte", ""],
		["in its head", "HTTP/1.1 200 OK\r\nContent-Le"],
		["after an interim answer", "HTTP/1.1 103 Early Hints\r\n\r\n"],
		["in a body of known length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"],
		["in its chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal"],
	] as const) {
		for (const end of ["close", "reset"] as const) {
			it(`by a ${end} ${what} is upstream_reset on a new connection`, async (t) => {
				const { connection, owner, peer } = await connected(t);
				const handler = send(connection);
				peer.send(begin);
				await until(() => begin === "" || connection.answerBegun);
				if (end === "close") peer.end();
				else peer.reset();
				await handler.until(({ broken }) => broken !== undefined);
				assert.equal(handler.broken?.reason, "upstream_reset");
				assert.equal(handler.done, false);
				await owner.until("closed");
			});

			it(`by a ${end} ${what} on a used connection is ${begin === "" ? "upstream_idle_race" : "upstream_reset"}`, async (t) => {
				const made = await connected(t);
				await useOnce(made);
				const handler = send(made.connection);
				made.peer.send(begin);
				await until(() => begin === "" || made.connection.answerBegun);
				if (end === "close") made.peer.end();
				else made.peer.reset();
				await handler.until(({ broken }) => broken !== undefined);
				assert.equal(handler.broken?.reason, begin === "" ? "upstream_idle_race" : "upstream_reset");
			});
		}
	}

	it("is told to nobody after the handler has closed the connection", async (t) => {
		const { connection, owner, peer } = await connected(t);
		const handler = send(connection);
		connection.close();
		connection.close();
		await owner.until("closed");
		await peer.untilClosed();
		assert.deepEqual([handler.broken, handler.status], [undefined, 0]);
	});
});

describe("switching protocols", { timeout: 30_000 }, () => {
	it("hands over what came behind the 101, and from then on every byte goes to the tunnel", async (t) => {
		const { connection, peer, owner } = await connected(t);
		const handler = send(connection, { upgrade: true });
		peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nfirst");
		await handler.until(({ upgraded }) => upgraded !== undefined);
		assert.equal(handler.upgraded, "first");
		let tunnelled = "";
		connection.tunnelTo({
			onBytes(buffer, from, to) {
				tunnelled += buffer.toString("latin1", from, to);
			},
		});
		peer.send("HTTP/1.1 400 this is no answer\r\n\r\n");
		await until(() => tunnelled.endsWith("\r\n\r\n"));
		assert.equal(tunnelled, "HTTP/1.1 400 this is no answer\r\n\r\n");
		connection.release();
		assert.deepEqual(owner.notes, ["connected"], "a tunnel is never reusable");
	});

	it("is refused by an answer of another status, which is an answer like any other", async (t) => {
		const { connection, peer, owner } = await connected(t);
		const handler = send(connection, { upgrade: true });
		peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
		await handler.until(({ done }) => done);
		assert.deepEqual([handler.upgraded, handler.body, owner.notes.at(-1)], [undefined, "ok", "reusable"]);
	});
});

describe("connecting", { timeout: 30_000 }, () => {
	it("fails once, with the reason and the system's error", async (t) => {
		const [port = 0] = await freePorts(1);
		const bench = new Bench(t);
		const owner = new Owner();
		bench.single(tcp(port), owner);
		await owner.until("failed");
		bench.clock.advance(60_000);
		assert.deepEqual(owner.notes, [`failed: connect_refused: connect ECONNREFUSED 127.0.0.1:${port}`]);
	});

	it("ends at its time with connect_timeout, once", async (t) => {
		const bench = new Bench(t);
		const owner = new Owner();
		const connection = bench.single(tcp(80, "nowhere.test"), owner, { lookup: lookupForEver });
		bench.clock.advance(950);
		assert.deepEqual(owner.notes, []);
		bench.clock.advance(50 + LATE_MAX_MS);
		await until(() => connection.socket.destroyed);
		assert.deepEqual(owner.notes, ["failed: connect_timeout: no answer to the connection attempt in time"]);
	});

	it("given up by its owner is told as a failure", async (t) => {
		const bench = new Bench(t);
		const owner = new Owner();
		bench.single(tcp(80, "nowhere.test"), owner, { lookup: lookupForEver }).retire();
		await owner.until("failed");
		assert.deepEqual(owner.notes, ["failed: connect_failed: closed while connecting"]);
	});
});

describe("backpressure", { timeout: 30_000 }, () => {
	it("stops being writable beyond the bound, and says when it is again", async (t) => {
		const { connection, peer } = await connected(t);
		peer.socket.pause();
		const handler = send(connection, { text: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n", complete: false });
		let writables = 0;
		handler.onWritable = () => {
			writables++;
		};
		const part = Buffer.alloc(64 * 1024);
		while (connection.write(part, false));
		assert.equal(connection.writable, false);
		assert.equal(writables, 0);
		peer.keep = false;
		peer.socket.resume();
		await until(() => writables > 0);
		assert.equal(connection.writable, true);
	});

	it("delivers nothing while reading is paused", async (t) => {
		const { connection, peer } = await connected(t);
		const handler = send(connection);
		peer.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nfour");
		await handler.until(({ body }) => body === "four");
		connection.pauseReading();
		peer.send("more");
		const other = await connected(t); // whatever was under way has arrived by then
		await useOnce(other);
		assert.equal(handler.body, "four");
		connection.resumeReading();
		await handler.until(({ done }) => done);
		assert.equal(handler.body, "fourmore");
	});
});
