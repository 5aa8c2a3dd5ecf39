/** undici over TLS with our contexts and our verdict: real servers, real certificates, each failure with its type. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer as createHttpsServer, type ServerOptions } from "node:https";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { TLSSocket } from "node:tls";
import { Client } from "undici";
import { systemClock } from "../../src/core/clock.ts";
import { codeOf } from "../../src/core/errors.ts";
import { TlsConnectError, type TlsConnectorOptions, tlsConnector, tlsFailureIn } from "../../src/net/tls-connector.ts";
import { verifyByLibrary } from "../../src/net/tls-dial.ts";
import type { ShownPeer, Verified } from "../../src/net/tls-peer.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { contextOf, contextsOf, make, mesh } from "./tls-support.ts";

interface Seen {
	readonly port: number;
	/** Subjects of the clients, by request. */
	readonly subjects: string[];
	readonly names: string[];
}

async function serve(t: TestContext, options: ServerOptions = {}, path?: string): Promise<Seen> {
	const { server } = await mesh();
	const subjects: string[] = [];
	const names: string[] = [];
	const https = createHttpsServer(
		{ cert: server.certificate, key: server.key, requestCert: true, rejectUnauthorized: false, ...options },
		(req, res) => {
			const socket = req.socket as TLSSocket;
			subjects.push(socket.getPeerX509Certificate()?.subject ?? "");
			names.push(String((socket as unknown as { servername: unknown }).servername));
			res.end("hello");
		},
	);
	await listen(t, https, path);
	return { port: path === undefined ? (https.address() as AddressInfo).port : 0, subjects, names };
}

/** A port of TCP that does with its connections what the test wants. */
async function listenRaw(t: TestContext, onConnection: (socket: Socket) => void): Promise<number> {
	const server = createServer(onConnection);
	await listen(t, server);
	return (server.address() as AddressInfo).port;
}

async function listen(t: TestContext, server: Server, path?: string): Promise<void> {
	const sockets = new Set<Socket>();
	server.on("connection", (socket: Socket) => {
		sockets.add(socket);
		socket.on("error", () => {});
	});
	await new Promise<void>((resolve) => (path === undefined ? server.listen(0, "127.0.0.1", resolve) : server.listen(path, resolve)));
	t.after(() => {
		for (const socket of sockets) socket.destroy();
		server.close();
	});
}

async function get(t: TestContext, port: number, options: Partial<TlsConnectorOptions<Verified>> = {}): Promise<string> {
	const { client } = await mesh();
	const connect = tlsConnector({
		serverName: "payments.mesh",
		checkHostName: false,
		contexts: contextsOf(client),
		timeoutMs: 10_000,
		clock: systemClock,
		verify: () => ({ ok: true }),
		...options,
	});
	const http = new Client(`https://127.0.0.1:${port}`, { connect });
	t.after(() => http.destroy());
	const { body } = await http.request({ method: "GET", path: "/" });
	return body.text();
}

async function failure(asked: Promise<unknown>): Promise<{ reason: string; words: string; thrown: unknown }> {
	const thrown = await asked.then(
		() => assert.fail("it was answered"),
		(error: unknown) => error,
	);
	const found = tlsFailureIn(thrown);
	assert.ok(found, `TLS is not the cause: ${thrown}`);
	return { reason: found.reason, words: found.words, thrown };
}

test("a request goes over mutual TLS, and the verdict is given what the server has shown", async (t) => {
	const { server } = await mesh();
	const { port, subjects, names } = await serve(t);
	const shown: ShownPeer[] = [];
	const ready: TLSSocket[] = [];
	const verify = (peer: ShownPeer): Verified => {
		shown.push(peer);
		return { ok: true };
	};
	assert.equal(await get(t, port, { verify, onReady: (socket) => ready.push(socket) }), "hello");
	assert.deepEqual(subjects, ["CN=checkout"]);
	assert.deepEqual(names, ["payments.mesh"]);
	assert.equal(Buffer.compare(shown[0]?.chain[0] ?? Buffer.of(), server.der), 0);
	assert.equal(shown[0]?.protocol, "TLSv1.3");
	assert.equal(shown[0]?.alpn, "http/1.1");
	assert.equal(ready.length, 1);
});

test("a peer that the verdict refuses gets no request, and the failure is that of the verdict", async (t) => {
	const { port, subjects } = await serve(t);
	const refusal = { ok: false, reason: "tls_cert_revoked", words: "revoked yesterday" } as const;
	const { reason, thrown } = await failure(get(t, port, { verify: () => refusal }));
	assert.equal(reason, "tls_cert_revoked");
	assert.ok(thrown instanceof TlsConnectError);
	assert.equal(thrown.failure, refusal);
	assert.equal(codeOf(thrown), "tls_cert_revoked");
	assert.deepEqual(subjects, []);
});

test("a swapped context is shown with the next connection", async (t) => {
	const { root, client } = await mesh();
	const { port, subjects } = await serve(t);
	const contexts = contextsOf(client);
	await get(t, port, { contexts });
	contexts.swap(contextOf(await make({ name: "checkout-2", issuer: root })));
	await get(t, port, { contexts });
	assert.deepEqual(subjects, ["CN=checkout", "CN=checkout-2"]);
});

test("a port that answers in plain text is told as such", async (t) => {
	const port = await listenRaw(t, (socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
	assert.equal((await failure(get(t, port))).reason, "tls_on_plaintext_port");
});

test("a server that wants another certificate of ours is told, though it says so after the handshake", async (t) => {
	const { root } = await mesh();
	const { port } = await serve(t, { rejectUnauthorized: true, ca: root.certificate });
	assert.equal((await failure(get(t, port, { contexts: contextsOf(undefined) }))).reason, "tls_no_client_cert");
});

test("a server that closes in the middle of the handshake is told", async (t) => {
	const port = await listenRaw(t, (socket) => socket.once("data", () => socket.destroy()));
	assert.equal((await failure(get(t, port))).reason, "tls_handshake_reset");
	const polite = await listenRaw(t, (socket) => socket.once("data", () => socket.end()));
	assert.equal((await failure(get(t, polite))).reason, "tls_handshake_reset");
});

test("a server that says nothing is given up after the time that was set, and its connection is closed", async (t) => {
	const clock = new FakeClock();
	const begun = Promise.withResolvers<Socket>();
	const port = await listenRaw(t, (socket) => socket.once("data", () => begun.resolve(socket)));
	const asked = failure(get(t, port, { clock, timeoutMs: 5_000 }));
	const socket = await begun.promise;
	const closed = new Promise((resolve) => socket.on("close", resolve));
	clock.advance(5_000);
	const { reason, words } = await asked;
	assert.equal(reason, "tls_handshake_timeout");
	assert.equal(words, "the handshake was not done within 5000 ms");
	await closed;
	assert.equal(clock.pendingTimers, 0);
});

test("where nobody listens the system has the word, not TLS", async (t) => {
	const port = await listenRaw(t, () => {});
	const gone = createServer();
	await new Promise<void>((resolve) => gone.listen(0, "127.0.0.1", resolve));
	const closedPort = (gone.address() as AddressInfo).port;
	await new Promise((resolve) => gone.close(resolve));
	assert.notEqual(port, closedPort);
	const thrown = await get(t, closedPort).then(
		() => assert.fail("it was answered"),
		(error: unknown) => error,
	);
	assert.equal(codeOf(thrown), "ECONNREFUSED");
	assert.equal(tlsFailureIn(thrown), undefined);
});

test("an address takes the place of the URL's, such as a Unix socket", async (t) => {
	const directory = await mkdtemp(join(tmpdir(), "nexus-connector-"));
	t.after(() => rm(directory, { recursive: true, force: true }));
	const path = join(directory, "socket");
	const { subjects } = await serve(t, {}, path);
	assert.equal(await get(t, 1, { address: { kind: "unix", path } }), "hello");
	assert.deepEqual(subjects, ["CN=checkout"]);
});

test("outside of the mesh the host name counts, against roots that are given", async (t) => {
	const { root } = await mesh();
	const { port, subjects } = await serve(t);
	const outside = { checkHostName: true, contexts: contextsOf(undefined, { trust: { roots: [root.certificate] } }), verify: verifyByLibrary };
	assert.equal(await get(t, port, outside), "hello");
	assert.deepEqual(subjects, [""]);
	assert.equal((await failure(get(t, port, { ...outside, serverName: "other.mesh" }))).reason, "tls_san_mismatch");
	const strangers = contextsOf(undefined, { trust: { roots: [(await make({ name: "stranger", authority: true })).certificate] } });
	assert.equal((await failure(get(t, port, { ...outside, contexts: strangers }))).reason, "tls_unknown_ca");
});
