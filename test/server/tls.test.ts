/** TLS and plain text on the one port of a local API: what reaches the handler, what is refused, and what a hostile client costs. */
import assert from "node:assert/strict";
import { connect as connectPlain, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { silentLogger } from "../../src/core/log.ts";
import { createRequest, privateKeyPem } from "../../src/identity/certificate-request.ts";
import { ChainMemo } from "../../src/identity/chain-memo.ts";
import { issueCertificate } from "../../src/identity/issue.ts";
import { chainPem } from "../../src/identity/keyed-chain.ts";
import { createAuthority } from "../../src/identity/new-authority.ts";
import { spiffeIdOf } from "../../src/identity/spiffe-id.ts";
import { readTrustBundle, rootsPem } from "../../src/identity/trust-bundle.ts";
import { verifyChain } from "../../src/identity/verify-chain.ts";
import { makeSecureContext, SecureContexts } from "../../src/net/secure-contexts.ts";
import { startHttpServer } from "../../src/server/http-server.ts";
import type { ServerRequest } from "../../src/server/server-request.ts";
import { tlsFront } from "../../src/server/tls-front.ts";

const TRUST_DOMAIN = "mesh.local";

interface Served {
	readonly port: number;
	readonly failures: string[];
	/** PEM of a service of the mesh. */
	readonly client: { cert: string; key: string };
	close(): Promise<void>;
}

async function serve(t: TestContext): Promise<Served> {
	const nowMs = Date.now();
	const { root, intermediate } = await createAuthority({ trustDomain: TRUST_DOMAIN, nowMs });
	const pemOf = async (service: string) => {
		const id = spiffeIdOf(TRUST_DOMAIN, service);
		assert.ok(id.ok);
		const { key, request } = createRequest(id.id);
		const issued = await issueCertificate(intermediate, { request, id: id.id, dnsNames: [service], lifetimeMs: 3_600_000, nowMs });
		assert.ok(issued.ok);
		return { cert: chainPem(issued.chain), key: privateKeyPem(key) };
	};
	const own = await pemOf("nexus");
	const made = makeSecureContext({ certificate: own.cert, key: own.key, trust: "own" });
	assert.ok(made.ok);
	const bundle = readTrustBundle({ version: 1, trustDomains: { [TRUST_DOMAIN]: rootsPem([root.certificate]) } });
	assert.ok(bundle.ok);
	const memo = new ChainMemo();
	const failures: string[] = [];
	const server = await startHttpServer({
		listen: { host: "127.0.0.1", port: 0 },
		log: silentLogger,
		drainTimeoutMs: 1_000,
		front: tlsFront({
			contexts: new SecureContexts(made.context),
			verify: (chain, resumed) =>
				verifyChain(chain, { bundle: bundle.bundle, nowMs: Date.now(), purpose: "client", self: "spiffe://mesh.local/nexus", memo, resumed }),
			onFailed: ({ reason }) => failures.push(reason),
		}),
		async handler(req: ServerRequest, res) {
			const body = await req.body(1024 * 1024);
			const { isSecure, peer } = req.caller;
			res
				.writeHead(200)
				.end(JSON.stringify({ isSecure, peer: peer?.id.uri ?? "", length: body.ok ? body.body.length : -1, from: req.remoteAddress }));
		},
	});
	t.after(() => server.close());
	return { port: server.address.port, failures, client: await pemOf("payments"), close: () => server.close() };
}

function tlsTo(t: TestContext, port: number, options: ConnectionOptions = {}): TLSSocket {
	const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false, checkServerIdentity: () => undefined, ...options });
	socket.on("error", () => {});
	t.after(() => void socket.destroy());
	return socket;
}

/** All that comes until the end. */
function allOf(socket: Socket): Promise<string> {
	return new Promise((resolve) => {
		let text = "";
		socket.on("data", (part) => (text += String(part)));
		socket.on("close", () => resolve(text));
	});
}

const ask = (length = 0): string => `POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${length}\r\nconnection: close\r\n\r\n`;

test("the handler is told whether a request came over TLS, and from whom", async (t) => {
	const { port, client } = await serve(t);
	const plain = connectPlain(port, "127.0.0.1");
	plain.write(ask());
	assert.match(await allOf(plain), /\{"isSecure":false,"peer":"","length":0,"from":"127\.0\.0\.1"\}$/);
	const nobody = tlsTo(t, port);
	nobody.write(ask());
	assert.match(await allOf(nobody), /\{"isSecure":true,"peer":"","length":0,"from":"127\.0\.0\.1"\}$/);
	const payments = tlsTo(t, port, client);
	payments.write(ask());
	assert.match(await allOf(payments), /\{"isSecure":true,"peer":"spiffe:\/\/mesh\.local\/payments","length":0,/);
});

test("bodies of many records arrive whole over TLS, and a client that sends byte by byte is served", async (t) => {
	const { port } = await serve(t);
	const large = tlsTo(t, port);
	large.write(ask(1_000_000));
	large.write(Buffer.alloc(1_000_000, 1));
	assert.match(await allOf(large), /"length":1000000,/);
	const slow = tlsTo(t, port);
	await new Promise((resolve) => slow.once("secureConnect", resolve));
	const answer = allOf(slow);
	for (const byte of ask(3)) slow.write(byte);
	slow.write("abc");
	assert.match(await answer, /"length":3,/);
});

test("older TLS, a certificate of nobody, garbage behind the first byte and a close in the middle are failures with a reason", async (t) => {
	const { port, failures, client } = await serve(t);
	const old = tlsTo(t, port, { minVersion: "TLSv1.2", maxVersion: "TLSv1.2" });
	await allOf(old);
	const elsewhere = await serve(t);
	const stranger = tlsTo(t, port, elsewhere.client);
	stranger.write(ask());
	assert.match(await allOf(stranger), /^HTTP\/1\.1 403 Forbidden\r\n[\s\S]*"reason":"tls_unknown_ca"/);
	const garbage = connectPlain(port, "127.0.0.1");
	garbage.write(Buffer.concat([Buffer.of(0x16, 3, 1, 0, 64), Buffer.alloc(64, 0xff)]));
	await allOf(garbage);
	const early = connectPlain(port, "127.0.0.1");
	early.end(Buffer.of(0x16, 3, 1));
	await allOf(early);
	assert.deepEqual(failures, ["tls_protocol_too_old", "tls_unknown_ca", "tls_handshake_failed", "tls_handshake_reset"]);
	const after = tlsTo(t, port, client);
	after.write(ask());
	assert.match(await allOf(after), /"peer":"spiffe:\/\/mesh\.local\/payments"/);
});

test("closing ends handshakes, idle connections and silent ones, and lets running answers finish", async (t) => {
	const { port, close, client } = await serve(t);
	const silent = connectPlain(port, "127.0.0.1");
	const shaking = connectPlain(port, "127.0.0.1");
	shaking.write(Buffer.of(0x16));
	const idle = tlsTo(t, port, client);
	await new Promise((resolve) => idle.once("secureConnect", resolve));
	const ends = [silent, shaking, idle].map((socket) => {
		socket.on("error", () => {});
		return allOf(socket);
	});
	// A request that is served proves that the silent ones were accepted before it.
	const last = tlsTo(t, port);
	last.write(ask());
	await allOf(last);
	await close();
	assert.deepEqual(await Promise.all(ends), ["", "", ""]);
});

test("while many shake hands at once, one that is known already is served", async (t) => {
	const { port, client } = await serve(t);
	const known = tlsTo(t, port, client);
	await new Promise((resolve) => known.once("secureConnect", resolve));
	const crowd = Array.from({ length: 200 }, () => tlsTo(t, port));
	known.write(ask());
	assert.match(await allOf(known), /"peer":"spiffe:\/\/mesh\.local\/payments"/);
	for (const socket of crowd) socket.write(ask());
	for (const text of await Promise.all(crowd.map(allOf))) assert.match(text, /^HTTP\/1\.1 200/);
});
