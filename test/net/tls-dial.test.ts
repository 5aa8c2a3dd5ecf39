/** Calling over TLS: the same stream as without, a peer that is the one meant, and reasons where it is not. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { createServer as createTlsServer, type TLSSocket, type TlsOptions } from "node:tls";
import type { Clock } from "../../src/core/clock.ts";
import { LoopMemory } from "../../src/net/loop-memory.ts";
import { makeSecureContext, SecureContexts } from "../../src/net/secure-contexts.ts";
import type { TlsFailure } from "../../src/net/tls-cause.ts";
import { failureOf } from "../../src/net/tls-cause.ts";
import { dialTls, type TlsDialOptions, verifyByLibrary } from "../../src/net/tls-dial.ts";
import { alpnList, type ShownPeer } from "../../src/net/tls-peer.ts";
import { TlsSessions } from "../../src/net/tls-sessions.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { temporaryFolder } from "../support/processes.ts";
import { rawUpstream } from "../support/raw-peer.ts";
import { Collector, event, until } from "./support.ts";
import { acceptance, contextsOf, type Denied, type Made, make, mesh, type Peer, startWheel } from "./tls-support.ts";

interface Dialled {
	readonly socket: TLSSocket;
	readonly reader: Collector;
	readonly shared: LoopMemory;
	/** What became of it. */
	readonly done: Promise<{ ready: ShownPeer } | { failed: TlsFailure | Denied }>;
}

interface Extra {
	readonly clock?: Clock;
	readonly options?: Partial<TlsDialOptions<Peer, Denied>>;
}

async function dialled(t: TestContext, port: number, { clock, options = {} }: Extra = {}): Promise<Dialled> {
	const { client } = await mesh();
	const shared = new LoopMemory();
	const reader = new Collector();
	const { promise, resolve } = Promise.withResolvers<{ ready: ShownPeer } | { failed: TlsFailure | Denied }>();
	const socket = dialTls<Peer, Denied>(
		{
			address: { kind: "tcp", host: "127.0.0.1", port },
			serverName: "payments.mesh",
			alpn: alpnList([]),
			alpnRequired: false,
			contexts: contextsOf(client),
			sessions: new TlsSessions(),
			handshakeTimeoutMs: 20_000,
			checkHostName: false,
			verify: (shown) => ({ ok: true, shown }),
			...options,
		},
		{ onReady: (_peer, shown) => resolve({ ready: shown }), onFailed: (failed) => resolve({ failed }) },
		reader,
		startWheel(t, clock),
		shared,
	);
	socket.on("error", () => {});
	t.after(() => void socket.destroy());
	return { socket, reader, shared, done: promise };
}

async function readyOf(one: Dialled): Promise<ShownPeer> {
	const outcome = await one.done;
	assert.ok("ready" in outcome, "failed" in outcome ? `${outcome.failed.reason}: ${outcome.failed.words}` : "");
	return outcome.ready;
}

async function failureOfDial(one: Dialled): Promise<TlsFailure | Denied> {
	const outcome = await one.done;
	assert.ok("failed" in outcome, "it became ready");
	return outcome.failed;
}

/** A server of Node's own. */
async function tlsServer(t: TestContext, options: TlsOptions, onSocket: (socket: TLSSocket) => void = () => {}): Promise<number> {
	const server = createTlsServer(options, (socket) => {
		socket.on("error", () => {});
		t.after(() => void socket.destroy());
		onSocket(socket);
	});
	t.after(() => void server.close());
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	const address = server.address();
	return typeof address === "object" && address !== null ? address.port : 0;
}

describe("a dialled stream over TLS", { timeout: 20_000 }, () => {
	it("hands over every byte of a megabyte in order, both ways, by the shared buffer", async (t) => {
		const end = await acceptance(t, { clientCertificate: "required" });
		const one = await dialled(t, end.port);
		const { server, client } = await mesh();
		const shown = await readyOf(one);
		assert.ok(Buffer.from(shown.chain[0] ?? []).equals(server.der));
		const { stream, reader } = await end.ready();
		assert.ok(Buffer.from(stream.peer?.shown.chain[0] ?? []).equals(client.der));
		const large = Array.from({ length: 150_000 }, (_, i) => `${i},`).join("");
		one.socket.write(`${large}|end`, "latin1");
		await reader.untilText("|end");
		assert.equal(reader.text, `${large}|end`);
		stream.socket.write(`${large}|end`, "latin1");
		await one.reader.untilText("|end");
		assert.equal(one.reader.text, `${large}|end`);
		assert.deepEqual([...one.reader.buffers], [one.shared.bytes]);
	});

	it("stays readable after it has sent its last byte", async (t) => {
		const end = await acceptance(t);
		const one = await dialled(t, end.port);
		await readyOf(one);
		const { stream, reader } = await end.ready();
		one.socket.end("question");
		await event(stream.socket, "end");
		assert.equal(reader.text, "question");
		stream.socket.end("late answer");
		await one.reader.untilText("late answer");
		await event(one.socket, "close");
	});

	it("agrees on a protocol, or is refused for the lack of one", async (t) => {
		const end = await acceptance(t, { alpn: ["h2", "http/1.1"] });
		const alpn = alpnList(["http/1.1"]);
		assert.equal((await readyOf(await dialled(t, end.port, { options: { alpn, alpnRequired: true } }))).alpn, "http/1.1");
		const other = await failureOfDial(await dialled(t, end.port, { options: { alpn: alpnList(["h3"]) } }));
		assert.equal(other.reason, "tls_alpn_mismatch");
		const silent = await acceptance(t, { alpn: [] });
		assert.equal((await readyOf(await dialled(t, silent.port, { options: { alpn } }))).alpn, "");
		const none = await failureOfDial(await dialled(t, silent.port, { options: { alpn, alpnRequired: true } }));
		assert.deepEqual([none.reason, "endedBy" in none && none.endedBy], ["tls_alpn_mismatch", "us"]);
	});

	it("closes on whom the callback refuses", async (t) => {
		const end = await acceptance(t);
		const one = await dialled(t, end.port, { options: { verify: () => ({ ok: false, reason: "tls_cert_revoked", words: "on the list" }) } });
		assert.deepEqual(await failureOfDial(one), { ok: false, reason: "tls_cert_revoked", words: "on the list" });
		await event(one.socket, "close");
	});

	it("leaves a connection that cannot be made to the events of the socket", async (t) => {
		const upstream = await rawUpstream(t);
		await upstream.close();
		let failed = false;
		const one = await dialled(t, upstream.port);
		void one.done.then(() => {
			failed = true;
		});
		assert.equal(((await event(one.socket, "error")) as NodeJS.ErrnoException).code, "ECONNREFUSED");
		await event(one.socket, "close");
		assert.equal(failed, false);
	});
});

describe("resumption by the caller", { timeout: 20_000 }, () => {
	it("remembers the chain that the session began with, and has it judged again each time", async (t) => {
		const { server, client } = await mesh();
		const end = await acceptance(t, { clientCertificate: "required" });
		const contexts = contextsOf(client);
		const sessions = new TlsSessions();
		const judged: ShownPeer[] = [];
		const options = {
			contexts,
			sessions,
			verify: (shown: ShownPeer): Peer => {
				judged.push(shown);
				return { ok: true, shown };
			},
		};
		const first = await dialled(t, end.port, { options });
		assert.equal((await readyOf(first)).resumed, false);
		await until(() => sessions.get(0) !== undefined);
		for (let round = 1; round <= 3; round++) {
			const again = await readyOf(await dialled(t, end.port, { options }));
			assert.equal(again.resumed, true);
			assert.deepEqual(
				again.chain.map((der) => Buffer.from(der)),
				[server.der],
			);
			assert.equal(judged.length, 1 + round);
		}
		await until(() => end.acceptor.stats.resumed === 3);
	});

	it("forgets sessions when its own context is swapped, and after a failure", async (t) => {
		const { client, root } = await mesh();
		const end = await acceptance(t);
		const contexts = contextsOf(client);
		const sessions = new TlsSessions();
		const options = { contexts, sessions };
		await readyOf(await dialled(t, end.port, { options }));
		await until(() => sessions.get(0) !== undefined);
		contexts.swap(contextsOf(await make({ name: "checkout", issuer: root })).current);
		assert.equal((await readyOf(await dialled(t, end.port, { options }))).resumed, false);
		await until(() => sessions.get(1) !== undefined);
		const refusing: Partial<TlsDialOptions<Peer, Denied>> = { ...options, verify: () => ({ ok: false, reason: "tls_cert_revoked", words: "" }) };
		await failureOfDial(await dialled(t, end.port, { options: refusing }));
		assert.equal(sessions.get(1), undefined);
	});

	it("is offered the newest session of the present context alone", () => {
		const sessions = new TlsSessions();
		assert.equal(sessions.get(0), undefined);
		for (const byte of [1, 2]) sessions.put({ state: Buffer.from([byte]), chain: [] }, 0);
		assert.equal(sessions.get(0)?.state[0], 2);
		assert.equal(sessions.get(0)?.state[0], 2);
		assert.equal(sessions.get(1), undefined);
		sessions.clear();
		assert.equal(sessions.get(0), undefined);
	});
});

describe("a handshake that fails is told to the caller", { timeout: 20_000 }, () => {
	it("as plain text on the other side", async (t) => {
		const upstream = await rawUpstream(t);
		const one = await dialled(t, upstream.port);
		const connection = await upstream.connection(0);
		await connection.until("a ClientHello", () => connection.bytes > 0);
		connection.tunnel = true;
		connection.send("HTTP/1.1 400 Bad Request\r\n\r\n");
		const failure = await failureOfDial(one);
		assert.equal(failure.reason, "tls_on_plaintext_port");
		connection.end();
	});

	it("as too slow", async (t) => {
		const clock = new FakeClock();
		const accepted: Socket[] = [];
		const server = createServer((socket) => accepted.push(socket));
		t.after(() => {
			for (const socket of accepted) socket.destroy();
			server.close();
		});
		await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
		const address = server.address();
		const one = await dialled(t, typeof address === "object" && address !== null ? address.port : 0, {
			clock,
			options: { handshakeTimeoutMs: 3_000 },
		});
		await event(one.socket, "connect");
		clock.advance(3_200);
		assert.equal((await failureOfDial(one)).reason, "tls_handshake_timeout");
		await event(one.socket, "close");
	});

	for (const how of ["end", "resetAndDestroy"] as const) {
		it(`as closed in the middle: ${how}`, async (t) => {
			const server = createServer((socket) => {
				socket.on("error", () => {});
				socket.once("data", () => socket[how]());
			});
			t.after(() => void server.close());
			await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
			const address = server.address();
			const one = await dialled(t, typeof address === "object" && address !== null ? address.port : 0);
			const failure = await failureOfDial(one);
			assert.deepEqual([failure.reason, "endedBy" in failure && failure.endedBy], ["tls_handshake_reset", "peer"]);
		});
	}

	it("as a version that is too old", async (t) => {
		const { server } = await mesh();
		const port = await tlsServer(t, { cert: server.certificate, key: server.key, minVersion: "TLSv1.2", maxVersion: "TLSv1.2" });
		assert.equal((await failureOfDial(await dialled(t, port))).reason, "tls_protocol_too_old");
	});

	it("as our lack of a certificate, which a server of TLS 1.3 tells after the handshake", async (t) => {
		const end = await acceptance(t, { clientCertificate: "required" });
		const one = await dialled(t, end.port, { options: { contexts: contextsOf(undefined) } });
		await readyOf(one);
		const failure = failureOf(await event(one.socket, "error"), "client");
		assert.deepEqual([failure.reason, failure.endedBy], ["tls_no_client_cert", "peer"]);
		await until(() => one.socket.destroyed);
	});

	it("as a refusal of our certificate, with the alert in words", async (t) => {
		const { server, client, root } = await mesh();
		const folder = temporaryFolder(t, "alert");
		const other = await make({ name: "other root", authority: true });
		writeFileSync(join(folder, "chain.pem"), server.certificate + server.key);
		writeFileSync(join(folder, "ca.pem"), root.certificate);
		const openssl = spawn(
			"openssl",
			["s_server", "-accept", "127.0.0.1:0", "-cert", "chain.pem", "-CAfile", "ca.pem", "-Verify", "3", "-verify_return_error"],
			{
				cwd: folder,
				stdio: ["pipe", "pipe", "ignore"],
			},
		);
		t.after(() => void openssl.kill());
		const port = await new Promise<number>((resolve) => {
			let said = "";
			openssl.on("error", () => resolve(0));
			openssl.stdout.on("data", (bytes: Buffer) => {
				said += bytes.toString();
				const found = /ACCEPT 127\.0\.0\.1:(\d+)/.exec(said);
				if (found !== null) resolve(Number(found[1]));
			});
		});
		if (port === 0) {
			t.skip("openssl is not installed");
			return;
		}
		const good = await dialled(t, port, { options: { contexts: contextsOf(client) } });
		await readyOf(good);
		good.socket.destroy();
		const expired = await make({ name: "checkout", issuer: root, fromMs: Date.now() - 2_000_000, untilMs: Date.now() - 1_000_000 });
		const stranger = await make({ name: "checkout", issuer: other });
		for (const [made, words] of [
			[expired, /alert 45: certificate expired/],
			[stranger, /alert 48: unknown certificate authority/],
		] as const) {
			const one = await dialled(t, port, { options: { contexts: contextsOf(made) } });
			await readyOf(one);
			const failure = failureOf(await event(one.socket, "error"), "client");
			assert.deepEqual([failure.reason, failure.endedBy], ["tls_refused_by_peer", "peer"]);
			assert.match(failure.words, words);
		}
	});
});

describe("a service outside of the mesh is judged by OpenSSL", { timeout: 20_000 }, () => {
	async function verdict(
		t: TestContext,
		server: Made,
		roots: readonly string[],
		links: readonly Made[] = [],
		serverName = "payments.mesh",
	): Promise<string> {
		const cert = [server, ...links].map(({ certificate }) => certificate).join("");
		const port = await tlsServer(t, { cert, key: server.key });
		const made = makeSecureContext({ certificate: "", key: "", trust: { roots } });
		assert.ok(made.ok);
		const { promise, resolve } = Promise.withResolvers<string>();
		const socket = dialTls(
			{
				address: { kind: "tcp", host: "127.0.0.1", port },
				serverName,
				alpn: alpnList([]),
				alpnRequired: false,
				contexts: new SecureContexts(made.context),
				sessions: new TlsSessions(),
				handshakeTimeoutMs: 20_000,
				checkHostName: true,
				verify: verifyByLibrary,
			},
			{ onReady: () => resolve("good"), onFailed: (failure) => resolve(failure.reason) },
			new Collector(),
			startWheel(t),
			new LoopMemory(),
		);
		socket.on("error", () => {});
		t.after(() => void socket.destroy());
		return promise;
	}

	it("a good chain is good", async (t) => {
		const { server, root } = await mesh();
		assert.equal(await verdict(t, server, [root.certificate]), "good");
	});

	it("every fault has its reason", async (t) => {
		const { server, root } = await mesh();
		const roots = [root.certificate];
		const now = Date.now();
		const dns = ["payments.mesh"];
		const other = await make({ name: "other root", authority: true });
		const link = await make({ name: "link", issuer: root, authority: true, pathLength: 0 });
		const below = await make({ name: "below", issuer: link, authority: true });
		assert.deepEqual(
			{
				expired: await verdict(t, await make({ name: "p", issuer: root, dns, fromMs: now - 9e6, untilMs: now - 8e6 }), roots),
				early: await verdict(t, await make({ name: "p", issuer: root, dns, fromMs: now + 8e6, untilMs: now + 9e6 }), roots),
				stranger: await verdict(t, await make({ name: "p", issuer: other, dns }), roots),
				alone: await verdict(t, await make({ name: "p", dns }), roots),
				withRoot: await verdict(t, await make({ name: "p", issuer: other, dns }), roots, [other]),
				otherName: await verdict(t, server, roots, [], "search.mesh"),
				clientOnly: await verdict(t, await make({ name: "p", issuer: root, dns, usages: ["1.3.6.1.5.5.7.3.2"] }), roots),
				tooLong: await verdict(t, await make({ name: "p", issuer: below, dns }), roots, [below, link]),
				noAuthority: await verdict(t, await make({ name: "p", issuer: server, dns }), roots, [server]),
			},
			{
				expired: "tls_cert_expired",
				early: "tls_cert_not_yet_valid",
				stranger: "tls_unknown_ca",
				alone: "tls_unknown_ca",
				withRoot: "tls_unknown_ca",
				otherName: "tls_san_mismatch",
				clientOnly: "tls_wrong_key_usage",
				tooLong: "tls_chain_invalid",
				// OpenSSL finds that its use is wrong, as it is of all that a service might be issued for.
				noAuthority: "tls_wrong_key_usage",
			},
		);
	});

	it("trusts the roots of the system where it is told to, which know nothing of a mesh", async (t) => {
		const { server } = await mesh();
		const made = makeSecureContext({ certificate: "", key: "", trust: "system" });
		assert.ok(made.ok);
		const port = await tlsServer(t, { cert: server.certificate, key: server.key });
		const one = await dialled(t, port, { options: { contexts: new SecureContexts(made.context) } });
		assert.equal(verifyByLibrary(await readyOf(one)).ok, false);
	});
});
