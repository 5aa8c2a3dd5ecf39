/** Accepting TLS: bytes, order, pauses and ends as without it; and for whoever is not let in, a reason. */
import assert from "node:assert/strict";
import { connect as connectPlain, createServer, type Socket } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { UNSENT_BYTES_MAX } from "../../src/net/byte-socket.ts";
import { failureOf } from "../../src/net/tls-cause.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { type RawClient, rawClient } from "../support/raw-peer.ts";
import { event, until } from "./support.ts";
import { acceptance, contextOf, contextsOf, make, mesh, type TlsClient, tlsClient } from "./tls-support.ts";

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

/** The connection below TLS, which the test may use badly. */
function tcpOf(client: TlsClient): { reset(done: () => void): void; writeBuffer(req: null, bytes: Buffer): unknown } {
	return (client.tls as unknown as { _handle: { _parent: ReturnType<typeof tcpOf> } })._handle._parent;
}

function resetTcp(client: TlsClient): void {
	tcpOf(client).reset(() => {});
}

/** Relays to `port`, and passes what the client sends first through `change`. */
async function relay(
	t: TestContext,
	port: number,
	change: (first: Buffer) => Buffer[],
	pass: (bytes: Buffer, onward: Socket) => void = (bytes, onward) => void onward.write(bytes),
): Promise<number> {
	const server = createServer((socket) => {
		const onward = connectPlain(port, "127.0.0.1");
		onward.setNoDelay(true);
		t.after(() => void onward.destroy());
		for (const one of [socket, onward]) one.on("error", () => {});
		onward.pipe(socket);
		socket.once("data", (first: Buffer) => {
			for (const part of change(first)) onward.write(part);
			socket.on("data", (bytes: Buffer) => pass(bytes, onward));
		});
	});
	t.after(() => void server.close());
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	const address = server.address();
	return typeof address === "object" && address !== null ? address.port : 0;
}

/** One handshake record as many with a single byte each. */
function inSingleBytes(record: Buffer): Buffer[] {
	const bodies: Buffer[] = [];
	for (let at = 0; at < record.length; at += 5 + record.readUInt16BE(at + 3)) {
		for (const byte of record.subarray(at + 5, at + 5 + record.readUInt16BE(at + 3))) bodies.push(Buffer.from([0x16, 3, 1, 0, 1, byte]));
	}
	return [Buffer.concat(bodies)];
}

/** A caller whose first byte says that it wants to shake hands, and who says no more. */
async function begun(t: TestContext, port: number): Promise<RawClient> {
	const client = await rawClient(t, port);
	client.send("\x16");
	return client;
}

describe("a stream over TLS", { timeout: 20_000 }, () => {
	for (const { name, change, isShared } of [
		{ name: "reading into the shared buffer", change: (socket: Socket) => socket, isShared: true },
		{ name: "falling back where the handle is hidden", change: hideHandle, isShared: false },
	]) {
		describe(name, () => {
			it("hands over every byte of a megabyte in order, both ways", async (t) => {
				const end = await acceptance(t, { change });
				const client = await tlsClient(t, end.port);
				const { stream, reader } = await end.ready();
				const large = Array.from({ length: 150_000 }, (_, i) => `${i},`).join("");
				client.send(large).send("|end");
				await reader.untilText("|end");
				assert.equal(reader.text, `${large}|end`);
				assert.equal(reader.buffers.has(end.shared.bytes), isShared);
				stream.socket.write(large, "latin1");
				stream.socket.write("|end", "latin1");
				await client.untilText("|end");
				assert.equal(client.text, `${large}|end`);
			});

			it("stays writable after the client has sent its last byte, and the other way round", async (t) => {
				const end = await acceptance(t, { change });
				const client = await tlsClient(t, end.port);
				const { stream, reader } = await end.ready();
				client.send("question");
				client.end();
				await event(stream.socket, "end");
				assert.equal(reader.text, "question");
				stream.socket.end("late answer");
				await client.untilClosed();
				assert.equal(client.text, "late answer");
				const other = await tlsClient(t, end.port);
				const second = await end.ready();
				second.stream.socket.end("bye");
				await other.untilClosed();
				other.send("last words");
				await second.reader.untilText("last words");
			});

			it("closes when the client resets", async (t) => {
				const end = await acceptance(t, { change });
				const client = await tlsClient(t, end.port);
				const { stream, reader } = await end.ready();
				client.send("x");
				await reader.untilText("x");
				const closed = event(stream.socket, "close");
				resetTcp(client);
				await closed;
			});
		});
	}

	it("knows what was agreed on: the name asked for, the protocol, the chain", async (t) => {
		const { client: service } = await mesh();
		const end = await acceptance(t, { alpn: ["h2", "http/1.1"] });
		await tlsClient(t, end.port, { ALPNProtocols: ["http/1.1"] });
		const { shown } = (await end.ready()).stream.peer ?? assert.fail("no peer");
		assert.deepEqual(
			{ ...shown, chain: shown.chain.map((der) => Buffer.from(der).equals(service.der)) },
			{ chain: [true], resumed: false, serverName: "payments.mesh", alpn: "http/1.1", protocol: "TLSv1.3", libraryVerdict: "" },
		);
	});

	it("holds back the records behind a pause, and the end behind them, though they came in one read", async (t) => {
		const end = await acceptance(t, { reads: false });
		let gather = false;
		const gathered: Buffer[] = [];
		let onward: Socket | undefined;
		const client = await tlsClient(
			t,
			await relay(
				t,
				end.port,
				(first) => [first],
				(bytes, to) => {
					onward = to;
					if (gather) gathered.push(bytes);
					else to.write(bytes);
				},
			),
		);
		const { stream } = await end.ready();
		const parts: string[] = [];
		let ended = false;
		stream.socket.on("end", () => {
			ended = true;
		});
		stream.readTo({
			onBytes(buffer, from, to) {
				parts.push(buffer.toString("latin1", from, to));
				stream.socket.pause();
			},
		});
		stream.socket.resume();
		gather = true;
		for (const text of ["one|", "two|", "three|"]) await new Promise<void>((resolve) => client.tls.write(text, () => resolve()));
		client.end();
		// Three records and the close.
		await until(() => Buffer.concat(gathered).length === 3 * 22 + "onetwothree|||".length + 24);
		onward?.write(Buffer.concat(gathered));
		await until(() => parts.length > 0);
		for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
		assert.deepEqual(parts, ["one|"]);
		assert.equal(ended, false);
		stream.socket.resume();
		await until(() => parts.length > 1);
		assert.equal(ended, false);
		while (!ended) {
			stream.socket.resume();
			await new Promise((resolve) => setImmediate(resolve));
		}
		assert.equal(parts.join(""), "one|two|three|");
	});

	it("delivers nothing while it is paused, and then everything, in order", async (t) => {
		const end = await acceptance(t);
		const client = await tlsClient(t, end.port);
		const { stream, reader } = await end.ready();
		client.send("before|");
		await reader.untilText("before|");
		for (let round = 0; round < 20; round++) {
			stream.socket.pause();
			const seen = reader.text;
			client.send(`round ${round}|`);
			// What was sent has arrived once a second connection, made later, has been through the same loop.
			(await begun(t, end.port)).end();
			await end.failed();
			assert.equal(reader.text, seen);
			stream.socket.resume();
			await reader.untilText(`round ${round}|`);
		}
		assert.equal(reader.text, `before|${Array.from({ length: 20 }, (_, round) => `round ${round}|`).join("")}`);
	});

	it("misses nothing of a long stream when each read pauses it", async (t) => {
		const end = await acceptance(t, { reads: false });
		const client = await tlsClient(t, end.port);
		const { stream } = await end.ready();
		let text = "";
		stream.readTo({
			onBytes(buffer, from, to) {
				assert.equal(stream.socket.isPaused(), false);
				text += buffer.toString("latin1", from, to);
				stream.socket.pause();
				setImmediate(() => stream.socket.resume());
			},
		});
		stream.socket.resume();
		const sent = Array.from({ length: 200_000 }, (_, i) => `${i},`).join("");
		client.send(`${sent}end`);
		await until(() => text.endsWith("end"));
		assert.equal(text, `${sent}end`);
	});

	it("takes what trickles in byte by byte", async (t) => {
		const end = await acceptance(t);
		const port = await relay(t, end.port, (first) => [first]);
		const client = await tlsClient(t, port);
		const { reader } = await end.ready();
		for (const byte of "slow drip") {
			client.send(byte);
			await new Promise((resolve) => setImmediate(resolve));
		}
		await reader.untilText("slow drip");
	});

	it("tells its writer to wait for a slow reader, and loses nothing", async (t) => {
		const end = await acceptance(t);
		const client = await tlsClient(t, end.port);
		client.keep = false;
		const { stream } = await end.ready();
		client.socket.pause();
		const part = Buffer.alloc(60_000, 0x61);
		let sent = 0;
		let lag = 0;
		// The kernel takes some megabytes at once; then what is unsent stays, turn after turn.
		while (lag < 20) {
			if (stream.socket.writableLength < UNSENT_BYTES_MAX) {
				end.shared.room(stream.socket, part.length).set(part);
				stream.socket.write(part);
				sent += part.length;
				lag = 0;
			} else lag++;
			await new Promise((resolve) => setImmediate(resolve));
		}
		assert.ok(stream.socket.writableLength < UNSENT_BYTES_MAX + part.length);
		client.socket.resume();
		await event(stream.socket, "drain" as "end");
		await client.until("all of it", () => client.bytes === sent);
	});

	it("can be ended by a reset", async (t) => {
		const end = await acceptance(t);
		const client = await tlsClient(t, end.port);
		const { stream } = await end.ready();
		const closed = event(stream.socket, "close");
		stream.socket.resetAndDestroy();
		await closed;
		await client.until("the reset", () => client.closed);
		assert.equal(client.error, "ECONNRESET");
	});

	it("closes on a record that was tampered with, and says so to its owner", async (t) => {
		const end = await acceptance(t);
		const client = await tlsClient(t, end.port);
		const { stream } = await end.ready();
		const error = event(stream.socket, "error") as Promise<NodeJS.ErrnoException>;
		const closed = event(stream.socket, "close");
		tcpOf(client).writeBuffer(null, Buffer.from("1703030020".padEnd(74, "0"), "hex"));
		assert.equal((await error).code, "ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC");
		await closed;
	});
});

describe("a port that takes TLS only", { timeout: 20_000 }, () => {
	it("takes a ClientHello in records of one byte", async (t) => {
		const end = await acceptance(t);
		const client = await tlsClient(t, await relay(t, end.port, inSingleBytes));
		const { reader } = await end.ready();
		client.send("made it");
		await reader.untilText("made it");
	});

	for (const text of ["GET / HTTP/1.1\r\n\r\n", "DELETE /x HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\0\0\0\0\0\0"]) {
		it(`says so in plain text to plain text, and closes: ${JSON.stringify(text.slice(0, 6))}`, async (t) => {
			const end = await acceptance(t);
			const client = await rawClient(t, end.port);
			client.send(text);
			const { failure, peer } = await end.failed();
			assert.equal(failure.reason, "tls_plaintext_on_tls_port");
			assert.equal(peer.remoteAddress, "127.0.0.1");
			await client.untilText("HTTP/1.1 400 Bad Request");
			client.end();
			await client.untilClosed();
			await until(() => end.gone === 1);
		});
	}

	it("refuses a version that is too old, and the caller is told", async (t) => {
		const end = await acceptance(t);
		const client = await tlsClient(t, end.port, { bare: true, minVersion: "TLSv1.2", maxVersion: "TLSv1.2" });
		const error = await event(client.socket, "error");
		assert.equal((await end.failed()).failure.reason, "tls_protocol_too_old");
		const seen = failureOf(error, "client");
		assert.deepEqual([seen.reason, seen.endedBy], ["tls_protocol_too_old", "peer"]);
	});

	it("speaks TLS 1.2 where that is asked for, and does not negotiate anew", async (t) => {
		const { server } = await mesh();
		const end = await acceptance(t, { contexts: contextsOf(server, { minVersion: "TLSv1.2" }) });
		const client = await tlsClient(t, end.port, { bare: true, minVersion: "TLSv1.2", maxVersion: "TLSv1.2" });
		const { stream, reader } = await end.ready();
		assert.equal(stream.peer?.shown.protocol, "TLSv1.2");
		client.send("x");
		await reader.untilText("x");
		const failed = event(client.socket, "error");
		client.tls.renegotiate({}, () => {});
		assert.match(String(await failed), /no renegotiation/i);
		assert.equal(end.shown.length, 1);
	});

	it("refuses a caller with no application protocol in common", async (t) => {
		const end = await acceptance(t, { alpn: ["http/1.1"] });
		const client = await tlsClient(t, end.port, { ALPNProtocols: ["h3"] });
		const seen = failureOf(await event(client.socket, "error"), "client");
		assert.deepEqual([seen.reason, seen.endedBy], ["tls_alpn_mismatch", "peer"]);
		assert.equal((await end.failed()).failure.reason, "tls_alpn_mismatch");
	});

	it("refuses a caller with no key exchange in common", async (t) => {
		const { server } = await mesh();
		const end = await acceptance(t, { contexts: contextsOf(server, { groups: "X25519" }) });
		const client = await tlsClient(t, end.port, { secureContext: contextOf(undefined, { groups: "P-521" }) });
		const seen = failureOf(await event(client.socket, "error"), "client");
		assert.equal(seen.reason, "tls_no_shared_cipher");
		assert.equal((await end.failed()).failure.reason, "tls_no_shared_cipher");
	});

	it("refuses a caller without a certificate where one is required, by the alert for it", async (t) => {
		const end = await acceptance(t, { clientCertificate: "required" });
		const client = await tlsClient(t, end.port, { bare: true });
		const error = await event(client.socket, "error");
		assert.equal((await end.failed()).failure.reason, "tls_no_client_cert");
		assert.equal(failureOf(error, "client").reason, "tls_no_client_cert");
		assert.equal(end.shown.length, 0);
	});

	it("lets a caller without a certificate be judged where one is only requested", async (t) => {
		const end = await acceptance(t, { clientCertificate: "requested" });
		await tlsClient(t, end.port, { bare: true });
		assert.deepEqual((await end.ready()).stream.peer?.shown.chain, []);
	});

	it("refuses whom the callback refuses, tells it over TLS, and closes in order", async (t) => {
		const end = await acceptance(t, {
			clientCertificate: "required",
			verify: () => ({ ok: false, reason: "tls_cert_revoked", words: "on the list" }),
			answerToRefused: (refusal) => `refused: ${refusal.words}`,
		});
		const client = await tlsClient(t, end.port);
		client.send("GET / HTTP/1.1\r\n\r\n");
		const { failure, peer } = await end.failed();
		assert.deepEqual(failure, { ok: false, reason: "tls_cert_revoked", words: "on the list" });
		assert.equal(peer.serverName, "payments.mesh");
		await client.untilClosed();
		assert.equal(client.text, "refused: on the list");
		assert.equal(client.error, "");
		client.end();
		await until(() => end.gone === 1);
		assert.deepEqual(end.acceptor.stats, { tls: 0, resumed: 0, plaintext: 0, failed: 1 });
	});

	it("tells a connection that ends in the middle of the handshake, in order or by a reset", async (t) => {
		const end = await acceptance(t);
		for (const leave of ["end", "reset"] as const) {
			const client = await rawClient(t, end.port);
			client.send(Buffer.from("160301", "hex"));
			await until(() => end.handshakes.stats.underWay === 1);
			client[leave]();
			const { failure } = await end.failed();
			assert.deepEqual([failure.reason, "endedBy" in failure && failure.endedBy], ["tls_handshake_reset", "peer"]);
			await until(() => end.handshakes.stats.underWay === 0);
		}
		await until(() => end.gone === 2);
	});

	it("survives that the connection is gone before it is looked at", async (t) => {
		const end = await acceptance(t, {
			change: (socket) => {
				socket.destroy();
				return socket;
			},
		});
		await (await rawClient(t, end.port)).untilClosed();
		await until(() => end.gone === 1);
		// Who has said nothing has not failed at anything: checks and scans do that all day.
		assert.deepEqual([end.acceptor.stats.failed, end.handshakes.stats.begun], [0, 0]);
	});

	it("gives a handshake its time and no more", async (t) => {
		const clock = new FakeClock();
		const end = await acceptance(t, { clock, handshakeTimeoutMs: 5_000 });
		const client = await begun(t, end.port);
		await until(() => end.handshakes.stats.underWay === 1);
		clock.advance(4_900);
		assert.equal(end.acceptor.stats.failed, 0);
		clock.advance(300);
		assert.equal((await end.failed()).failure.reason, "tls_handshake_timeout");
		await client.untilClosed();
		assert.equal(end.handshakes.stats.underWay, 0);
		assert.equal(end.gone, 1);
	});

	it("bounds how many handshakes are under way and wait, and takes the next one once there is room", async (t) => {
		const clock = new FakeClock();
		const end = await acceptance(t, { clock, limits: { underWayMax: 2, waitingMax: 2, graceMs: 1_000 } });
		const silent = [];
		for (let i = 0; i < 4; i++) {
			silent.push(await begun(t, end.port));
			await until(() => end.handshakes.stats.underWay + end.handshakes.stats.waiting === i + 1);
		}
		assert.deepEqual(end.handshakes.stats, { underWay: 2, waiting: 2, begun: 2, givenUp: 0 });
		const fifth = await begun(t, end.port);
		assert.equal((await end.failed()).failure.reason, "tls_handshake_overflow");
		await fifth.untilClosed();
		// Whoever is slow has had its time by now, and makes room.
		for (const one of silent.slice(2)) one.end();
		silent[0]?.reset();
		assert.equal((await end.failed()).failure.reason, "tls_handshake_reset");
		clock.advance(1_100);
		const honest = await tlsClient(t, end.port);
		const ready = end.next().then(async function ready(outcome): Promise<void> {
			if (outcome.kind === "ready") return;
			await ready(await end.next());
		});
		honest.send("hello");
		await ready;
	});

	it("begins a few handshakes per turn of the loop, and every caller gets through", async (t) => {
		const end = await acceptance(t, { limits: { beginsPerTurn: 4, underWayMax: 8 } });
		const clients = await Promise.all(Array.from({ length: 40 }, () => tlsClient(t, end.port)));
		for (const client of clients) client.send("x");
		for (let i = 0; i < clients.length; i++) {
			const { reader } = await end.ready();
			await reader.untilText("x");
		}
		assert.deepEqual(end.handshakes.stats, { underWay: 0, waiting: 0, begun: 40, givenUp: 0 });
		assert.deepEqual(end.acceptor.stats, { tls: 40, resumed: 0, plaintext: 0, failed: 0 });
	});
});

describe("resumption", { timeout: 20_000 }, () => {
	it("spares the handshake its certificates, and asks about the peer again", async (t) => {
		const { client: service } = await mesh();
		const end = await acceptance(t, { clientCertificate: "required" });
		const secureContext = contextOf(service);
		const first = await tlsClient(t, end.port, { secureContext });
		await end.ready();
		await until(() => first.sessions.length > 0);
		const again = await tlsClient(t, end.port, { secureContext, session: first.sessions[0] as Buffer });
		const { stream, reader } = await end.ready();
		again.send("resumed");
		await reader.untilText("resumed");
		assert.equal(stream.peer?.shown.resumed, true);
		assert.deepEqual(
			stream.peer.shown.chain.map((der) => Buffer.from(der)),
			[service.der],
		);
		assert.equal(end.acceptor.stats.resumed, 1);
		assert.equal(end.shown.length, 2);
	});

	it("does not save a caller who is refused by now", async (t) => {
		const { client: service } = await mesh();
		let revoked = false;
		const end = await acceptance(t, {
			verify: (shown) => (revoked ? { ok: false, reason: "tls_cert_revoked", words: `resumed ${shown.resumed}` } : { ok: true, shown }),
		});
		const secureContext = contextOf(service);
		const first = await tlsClient(t, end.port, { secureContext });
		await end.ready();
		await until(() => first.sessions.length > 0);
		revoked = true;
		const again = await tlsClient(t, end.port, { secureContext, session: first.sessions[0] as Buffer });
		assert.equal((await end.failed()).failure.words, "resumed true");
		await again.untilClosed();
	});

	it("ends with the context: a swap shows the new certificate at once, and verifies everybody anew", async (t) => {
		const { client: service, root } = await mesh();
		const end = await acceptance(t);
		const secureContext = contextOf(service);
		const first = await tlsClient(t, end.port, { secureContext });
		const before = await end.ready();
		await until(() => first.sessions.length > 0);
		const renewed = await make({ name: "payments", issuer: root, dns: ["payments.mesh"] });
		end.contexts.swap(contextOf(renewed));
		const again = await tlsClient(t, end.port, { secureContext, session: first.sessions[0] as Buffer });
		const { stream } = await end.ready();
		assert.equal(stream.peer?.shown.resumed, false);
		assert.ok(again.tls.getPeerX509Certificate()?.raw.equals(renewed.der));
		first.send("still here");
		await before.reader.untilText("still here");
	});
});

describe("a port that takes both", { timeout: 20_000 }, () => {
	it("hands plain text over from its first byte on, also byte by byte", async (t) => {
		const end = await acceptance(t, { mode: "permissive" });
		const client = await rawClient(t, end.port);
		for (const byte of "GET / HTTP/1.1") {
			client.send(byte);
			await new Promise((resolve) => setImmediate(resolve));
		}
		const { stream, reader } = await end.ready();
		assert.equal(stream.peer, undefined);
		await reader.untilText("GET / HTTP/1.1");
		stream.socket.write("answer");
		await client.untilText("answer");
		client.end();
		await event(stream.socket, "end");
		stream.socket.end();
		await client.untilClosed();
		assert.deepEqual(end.acceptor.stats, { tls: 0, resumed: 0, plaintext: 1, failed: 0 });
	});

	for (const { name, change } of [
		{ name: "whole", change: (first: Buffer) => [first] },
		{ name: "in records of one byte", change: inSingleBytes },
		{ name: "in segments of one byte", change: (first: Buffer) => [...first].map((byte) => Buffer.from([byte])) },
	]) {
		it(`knows TLS by its first byte, the ClientHello ${name}`, async (t) => {
			const end = await acceptance(t, { mode: "permissive", clientCertificate: "required" });
			const client = await tlsClient(t, await relay(t, end.port, change));
			const { stream, reader } = await end.ready();
			client.send("over TLS");
			await reader.untilText("over TLS");
			assert.equal(stream.peer?.shown.chain.length, 1);
			assert.ok(reader.buffers.has(end.shared.bytes));
			stream.socket.end("bye");
			await client.untilText("bye");
		});
	}

	it("finds TLS also where the handle is hidden", async (t) => {
		const end = await acceptance(t, { mode: "permissive", change: hideHandle });
		const client = await tlsClient(t, end.port);
		const { reader } = await end.ready();
		client.send("over TLS");
		await reader.untilText("over TLS");
	});

	it("drops who says nothing at all, or leaves before the first byte", async (t) => {
		const clock = new FakeClock();
		const end = await acceptance(t, { mode: "permissive", clock, firstByteTimeoutMs: 60_000 });
		const silent = await rawClient(t, end.port);
		const leaving = await rawClient(t, end.port);
		leaving.end();
		await until(() => end.gone === 1);
		clock.advance(61_000);
		await silent.untilClosed();
		assert.equal(end.gone, 2);
		assert.equal(end.acceptor.stats.failed, 0);
	});
});
