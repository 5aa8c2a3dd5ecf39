/** What a fast data plane gets wrong, once measured in a prototype: each trap is a test. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { describe, it } from "node:test";
import { rawClient, rawUpstream } from "../support/raw-peer.ts";
import { readResponses, valuesOf } from "../support/strict-reader.ts";
import { startSidecar } from "./support.ts";

const REQUESTS = 20_000;

describe("20,000 pipelined requests to a reader that stops and goes", { timeout: 120_000 }, () => {
	for (const { name, length } of [
		{ name: "small answers", length: () => 100 },
		// Around what is glued to the head, and beyond a read.
		{ name: "answers of every size", length: (n: number) => (n % 97 === 0 ? 70_000 : n % 11 === 0 ? 16_000 : n % 200) },
	]) {
		it(`get every reply exact and in order, with ${name}`, async (t) => {
			const bodyOf = (n: number): string => `${n}:${String.fromCharCode(97 + (n % 26)).repeat(length(n))}`;
			const upstream = await rawUpstream(t, ({ target }) => {
				const body = bodyOf(Number(target.slice(1)));
				// Two framings in turn, and small ones in two writes: the parts of an answer come in reads of their own.
				return Number(target.slice(1)) % 2 === 0
					? `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`
					: `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
			});
			const sidecar = await startSidecar(t, `inbound: { listen: "127.0.0.1:0", application: "${upstream.address}" }\n`);
			const client = await rawClient(t, sidecar.port("inbound"));
			client.keep = false;
			// The first number that is not complete yet, and the bytes from there on.
			let next = 0;
			let rest = Buffer.alloc(0);
			let reads = 0;
			const all = Promise.withResolvers<void>();
			client.socket.on("close", () => all.reject(new Error(`closed after ${next} answers`)));
			client.socket.on("data", (bytes: Buffer) => {
				rest = Buffer.concat([rest, bytes]);
				const { messages, ending, fault, consumed } = readResponses(rest, [], false);
				assert.notEqual(ending, "fault", fault);
				rest = rest.subarray(consumed);
				for (const message of messages) {
					assert.equal(message.body.toString("latin1"), bodyOf(next), `answer ${next}`);
					next++;
				}
				if (next === REQUESTS) all.resolve();
				// Stops after every third read, for as long as it takes the sidecar to fill what lies between.
				if (++reads % 3 === 0) {
					client.socket.pause();
					setImmediate(() => setImmediate(() => client.socket.resume()));
				}
			});
			const requests = Array.from({ length: REQUESTS }, (_, n) => `GET /${n} HTTP/1.1\r\nHost: tested\r\n\r\n`).join("");
			// In pieces that end anywhere in a head.
			for (let at = 0; at < requests.length; at += 7_001) client.send(requests.slice(at, at + 7_001));
			await all.promise;
			assert.equal(rest.length, 0);
			const [endpoint] = sidecar.upstream("application").endpoints;
			assert.deepEqual([endpoint?.activeRequests, endpoint?.pool.open], [0, 1], "one at a time, in order, over one connection");
			for (const connection of upstream.connections) connection.keep = false;
		});
	}

	it("with bodies reach the upstream exact and in order", async (t) => {
		const received = createHash("sha256");
		let count = 0;
		const all = Promise.withResolvers<void>();
		const upstream = await rawUpstream(t, ({ target, body }) => {
			received.update(`${target}=${body.toString("latin1")};`);
			if (++count === REQUESTS) all.resolve();
			return "HTTP/1.1 204 No Content\r\n\r\n";
		});
		const sidecar = await startSidecar(t, `inbound: { listen: "127.0.0.1:0", application: "${upstream.address}" }\n`);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.keep = false;
		const expected = createHash("sha256");
		const parts: string[] = [];
		for (let n = 0; n < REQUESTS; n++) {
			const body = `${n}`.repeat(n % 40);
			expected.update(`/${n}=${body};`);
			parts.push(
				n % 2 === 0
					? `POST /${n} HTTP/1.1\r\nHost: t\r\nContent-Length: ${body.length}\r\n\r\n${body}`
					: `POST /${n} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n${body === "" ? "" : `${body.length.toString(16)}\r\n${body}\r\n`}0\r\n\r\n`,
			);
		}
		const text = parts.join("");
		for (let at = 0; at < text.length; at += 9_973) client.send(text.slice(at, at + 9_973));
		await all.promise;
		assert.equal(received.digest("hex"), expected.digest("hex"));
		for (const connection of upstream.connections) connection.keep = false;
	});
});

describe("fields of one hop", { timeout: 60_000 }, () => {
	it("do not pass, two and more in one head, at its beginning, in its middle and at its end, both ways", async (t) => {
		const upstream = await rawUpstream(
			t,
			() =>
				"HTTP/1.1 200 OK\r\nConnection: x-hop, keep-alive\r\nA: 1\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\nB: 2\r\nProxy-Connection: keep-alive\r\nContent-Length: 2\r\nProxy-Authenticate: Basic\r\nC: 3\r\nX-HOP: again\r\n\r\nok",
		);
		const sidecar = await startSidecar(t, `inbound: { listen: "127.0.0.1:0", application: "${upstream.address}" }\n`);
		const client = await rawClient(t, sidecar.port("inbound"));
		const answer = await client
			.send(
				"GET / HTTP/1.1\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\nHost: tested\r\nA: 1\r\nTE: trailers\r\nConnection: x-hop\r\nB: 2\r\nConnection: te, keep-alive\r\nProxy-Connection: x\r\nx-hop: 2\r\n\r\n",
			)
			.answer();
		const hop = ["connection", "keep-alive", "proxy-connection", "x-hop"];
		const request = await (await upstream.connection(0)).request();
		for (const name of hop) {
			assert.deepEqual(valuesOf(request, name), [], `${name} of the request`);
			assert.deepEqual(valuesOf(answer, name), [], `${name} of the answer`);
		}
		for (const [name, value] of [
			["a", "1"],
			["b", "2"],
		] as const) {
			assert.deepEqual(valuesOf(request, name), [value]);
			assert.deepEqual(valuesOf(answer, name), [value]);
		}
		assert.deepEqual(valuesOf(answer, "c"), ["3"]);
	});
});

/** Reads a head and then `length` bytes, pausing after each read; resolves with the hash of the bytes. */
function slowBody(socket: Socket, length: number): Promise<string> {
	const { promise, resolve, reject } = Promise.withResolvers<string>();
	const hash = createHash("sha256");
	let head = "";
	let left = length;
	socket.on("data", (bytes: Buffer) => {
		let body: Uint8Array = bytes;
		if (!head.includes("\r\n\r\n")) {
			const before = head.length;
			head += bytes.toString("latin1");
			const end = head.indexOf("\r\n\r\n");
			body = bytes.subarray(end === -1 ? bytes.length : end + 4 - before);
		}
		hash.update(body);
		left -= body.length;
		if (left === 0) resolve(hash.digest("hex"));
		socket.pause();
		setImmediate(() => socket.resume());
	});
	socket.on("close", () => reject(new Error(`closed with ${left} bytes missing`)));
	socket.resume();
	return promise;
}

describe("the shared read buffer", { timeout: 60_000 }, () => {
	it("is never what waits to be written: many connections with partial writes get their own bytes and nobody else's", async (t) => {
		// Larger than what the kernel takes at once, so that most writes are partial while other connections are read.
		const SIZE = 8_000_000;
		let arrived = 0;
		const upstream = await rawUpstream(t, ({ target }, connection) => {
			arrived++;
			connection.keep = false;
			const letter = target.slice(1, 2);
			return `HTTP/1.1 200 OK\r\nContent-Length: ${SIZE}\r\n\r\n${letter.repeat(SIZE)}`;
		});
		const sidecar = await startSidecar(t, `inbound: { listen: "127.0.0.1:0", application: "${upstream.address}" }\n`);
		const letters = [..."abcdefghijkl"];
		const clients = await Promise.all(letters.map(() => rawClient(t, sidecar.port("inbound"), { paused: true })));
		for (const [i, client] of clients.entries()) {
			client.keep = false;
			client.send(`GET /${letters[i]} HTTP/1.1\r\nHost: tested\r\n\r\n`);
		}
		// Each is full to the brim before the first one reads.
		while (arrived < letters.length) await new Promise((resolve) => setImmediate(resolve));
		const bodies = clients.map((client) => slowBody(client.socket, SIZE));
		for (const [i, letter] of letters.entries()) {
			const expected = createHash("sha256").update(letter.repeat(SIZE)).digest("hex");
			assert.equal(await bodies[i], expected, letter);
		}
	});

	it("is never what waits on the way in: uploads to slow readers arrive as they were sent", async (t) => {
		const SIZE = 3_000_000;
		const upstream = await rawUpstream(t);
		const sidecar = await startSidecar(t, `inbound: { listen: "127.0.0.1:0", application: "${upstream.address}" }\n`);
		const letters = [..."abcdefgh"];
		const clients = await Promise.all(letters.map(() => rawClient(t, sidecar.port("inbound"))));
		for (const [i, client] of clients.entries()) {
			client.send(`PUT /${letters[i]} HTTP/1.1\r\nHost: tested\r\nContent-Length: ${SIZE}\r\n\r\n`).send((letters[i] as string).repeat(SIZE));
		}
		for (let i = 0; i < letters.length; i++) {
			const connection = await upstream.connection(i);
			connection.socket.on("data", () => {
				connection.socket.pause();
				setImmediate(() => connection.socket.resume());
			});
		}
		for (let i = 0; i < letters.length; i++) {
			const request = await (await upstream.connection(i)).request();
			assert.equal(request.body.toString("latin1"), request.target.slice(1).repeat(SIZE));
		}
	});
});
