/** Who gets a certificate: by token, by the one before, and nobody else. Over TLS. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { connect } from "node:tls";
import { createRequest } from "../../../src/identity/certificate-request.ts";
import { readJoinToken } from "../../../src/identity/join-token.ts";
import { readKeyedChain } from "../../../src/identity/keyed-chain.ts";
import { Caller, identityOf, JumpingClock, makeAuthority, serveAuthority, Workload } from "./support.ts";

test("a join token gets a certificate of its service, with names that Nexus gives, and the bundle", async (t) => {
	const { joined, url, dir } = await serveAuthority(t);
	const payments = await joined("payments");
	const reading = readKeyedChain(payments.certificate, payments.key);
	assert.ok(reading.ok);
	const [leaf, intermediate, ...rest] = reading.keyed.chain;
	assert.deepEqual([leaf?.names.uris, leaf?.names.dns, rest], [["spiffe://mesh.local/payments"], ["payments"], []]);
	assert.equal(intermediate?.ca, true);
	// Its chain is good for the roots of the folder, and for calling Nexus.
	const ca = readFileSync(join(dir, "ca.pem"), "utf8");
	const verified = new Caller(t, url, { cert: payments.certificate, key: payments.key, ca });
	assert.equal((await verified.call("/v1/trust-bundle")).status, 200);
	const nested = await joined("ns/shop/sa/Orders");
	const other = readKeyedChain(nested.certificate, nested.key);
	assert.ok(other.ok);
	assert.deepEqual(other.keyed.chain[0]?.names.dns, []);
});

test("the root that a token names comes with the handshake, under the certificate of Nexus", async (t) => {
	const { joinToken, nexus } = await serveAuthority(t);
	const token = readJoinToken(await joinToken("payments"));
	assert.ok(token.ok);
	const socket = connect({ host: "127.0.0.1", port: nexus.address.port, rejectUnauthorized: false, minVersion: "TLSv1.3" });
	t.after(() => void socket.destroy());
	await new Promise((resolve) => socket.once("secureConnect", resolve));
	const chain = [];
	for (let at = socket.getPeerX509Certificate(); at !== undefined; at = at.issuerCertificate) chain.push(at);
	assert.equal(chain.length, 3);
	assert.match(chain[0]?.subjectAltName ?? "", /URI:spiffe:\/\/mesh\.local\/nexus/);
	assert.equal(chain[2]?.fingerprint256.replaceAll(":", "").toLowerCase(), token.token.root);
});

test("Nexus has a certificate for every name and address that it is called by", async (t) => {
	const { nexus } = await serveAuthority(t, { allowedHosts: ["Nexus.example.com", "10.0.0.5", "fd00::5"] });
	const socket = connect({ host: "127.0.0.1", port: nexus.address.port, rejectUnauthorized: false, minVersion: "TLSv1.3" });
	t.after(() => void socket.destroy());
	await new Promise((resolve) => socket.once("secureConnect", resolve));
	const certificate = socket.getPeerX509Certificate();
	for (const name of ["nexus", "localhost", "nexus.example.com"]) assert.ok(certificate?.checkHost(name), name);
	for (const address of ["127.0.0.1", "::1", "10.0.0.5", "fd00::5"]) assert.ok(certificate?.checkIP(address), address);
});

test("a certificate renews itself, for the same service alone", async (t) => {
	const { joined, status } = await serveAuthority(t);
	const payments = await joined("payments");
	const before = payments.certificate;
	await payments.renew();
	assert.notEqual(payments.certificate, before);
	await payments.pollOnce();
	const { workloads } = await status();
	assert.equal(workloads.length, 1);
	const foreign = createRequest(identityOf("orders")).request.toString("base64");
	const answer = await payments.caller.call("/v1/certificates", { body: { request: foreign } });
	assert.deepEqual([answer.status, answer.json.reason], [403, "unauthorized"]);
	assert.match(String(answer.json.detail), /for spiffe:\/\/mesh\.local\/orders, its sender is spiffe:\/\/mesh\.local\/payments/);
});

test("the answer of a renewal ends its connection, so that the next request shows the new certificate", async (t) => {
	const { joined } = await serveAuthority(t);
	const payments = await joined("payments");
	const { request } = createRequest(payments.id);
	const answer = await payments.caller.call("/v1/certificates", { body: { request: request.toString("base64") } });
	assert.deepEqual([answer.status, answer.headers.connection], [201, "close"]);
	// On another connection of the old certificate it is told to come again: once, as it may never have got the new one.
	const called = await payments.caller.call("/v1/trust-bundle?after=9999999999&wait=30s");
	assert.deepEqual([called.status, called.headers.connection], [204, "close"]);
	const held = await Promise.race([payments.caller.call("/v1/trust-bundle?after=9999999999&wait=1s"), "held" as const]);
	assert.equal(held, "held");
});

test("a connection whose certificate is about to end ends with its answer, so that its caller comes again with the next one", async (t) => {
	const clock = new JumpingClock();
	const { joined } = await serveAuthority(t, { clock });
	const payments = await joined("payments");
	assert.notEqual((await payments.caller.call("/v1/trust-bundle")).headers.connection, "close");
	clock.jump(24 * 3_600_000 - 30_000);
	assert.equal((await payments.caller.call("/v1/trust-bundle")).headers.connection, "close");
});

test("a token for another service, an unknown, a damaged and an expired one are refused, and only its holder is told why", async (t) => {
	const clock = new JumpingClock();
	const { joinToken, anybody, operate } = await serveAuthority(t, { clock });
	const ask = (token: string | undefined, service = "payments") =>
		anybody.call("/v1/certificates", {
			body: { request: createRequest(identityOf(service)).request.toString("base64") },
			...(token === undefined ? {} : { token }),
		});
	const token = await joinToken("payments");
	const wrong = await ask(token, "orders");
	assert.deepEqual([wrong.status, wrong.json.reason], [403, "unauthorized"]);
	const none = await ask(undefined);
	assert.deepEqual([none.status, none.json.reason, none.headers["www-authenticate"]], [401, "unauthenticated", "Bearer"]);
	const damaged = await ask(token.slice(0, -4));
	assert.deepEqual([damaged.status, damaged.json.reason], [401, "unauthenticated"]);
	const content = JSON.parse(Buffer.from(token.slice(4), "base64url").toString()) as Record<string, string>;
	const forged = (change: Record<string, string>) => `nxj_${Buffer.from(JSON.stringify({ ...content, ...change })).toString("base64url")}`;
	for (const change of [{ secret: "A".repeat(43) }, { id: "0".repeat(16) }, { service: "orders" }] as const) {
		const answer = await ask(forged(change), "service" in change ? "orders" : "payments");
		assert.deepEqual([answer.status, answer.json.detail], [401, "The token is unknown."], JSON.stringify(change));
	}
	const short = await joinToken("payments", 1, "1m");
	clock.jump(61_000);
	const expired = await ask(short);
	assert.equal(expired.status, 401);
	assert.match(String(expired.json.detail), /^The token has expired at 2/);
	const wrongSecret = JSON.parse(Buffer.from(short.slice(4), "base64url").toString()) as Record<string, string>;
	const guess = await ask(`nxj_${Buffer.from(JSON.stringify({ ...wrongSecret, secret: "A".repeat(43) })).toString("base64url")}`);
	assert.equal(guess.json.detail, "The token is unknown.");
	// None of all that has spent the token.
	assert.equal((await ask(token)).status, 201);
	const used = await ask(token);
	assert.deepEqual([used.status, used.json.detail], [401, "The token has been used already."]);
	const api = String((await operate("/v1/tokens", { body: { role: "operate", name: "ci" } }, 201)).json.token);
	assert.equal((await ask(api)).status, 401);
});

test("of many who come with a token of one use at once, exactly one gets a certificate; of three uses, three", async (t) => {
	const { joinToken, anybody, status } = await serveAuthority(t);
	const ask = (token: string) =>
		anybody.call("/v1/certificates", { token, body: { request: createRequest(identityOf("payments")).request.toString("base64") } });
	for (const uses of [1, 3]) {
		const token = await joinToken("payments", uses);
		const answers = await Promise.all(Array.from({ length: 12 }, () => ask(token)));
		assert.equal(answers.filter(({ status }) => status === 201).length, uses);
		assert.equal(answers.filter(({ status }) => status === 401).length, 12 - uses);
	}
	assert.equal((await status()).workloadCount, 4);
});

test("nobody gets the name of Nexus, and no token is made for it", async (t) => {
	const { operate } = await serveAuthority(t);
	for (const service of ["nexus", "", "../x", "a b", "x".repeat(2049)]) await operate("/v1/tokens", { body: { service } }, 400);
});

test("requests that cannot be read are refused with the reason, and the token stays good", async (t) => {
	const { joinToken, anybody } = await serveAuthority(t);
	const token = await joinToken("payments");
	const good = createRequest(identityOf("payments")).request;
	const forged = Buffer.from(good);
	forged.writeUInt8(forged.readUInt8(forged.length - 1) ^ 1, forged.length - 1);
	const bodies: unknown[] = [
		"",
		"{",
		"[]",
		'"text"',
		{},
		{ request: 7 },
		{ request: "%" },
		{ request: good.toString("base64"), more: 1 },
		{ request: "" },
		{ request: Buffer.from("no DER").toString("base64") },
		{ request: good.subarray(0, -1).toString("base64") },
		{ request: Buffer.concat([good, Buffer.of(0)]).toString("base64") },
		{ request: forged.toString("base64") },
		{ request: Buffer.alloc(9000, 0x30).toString("base64") },
	];
	for (const body of bodies) {
		const answer = await anybody.call("/v1/certificates", { method: "POST", token, body });
		assert.deepEqual([answer.status, answer.json.reason], [400, "bad_request"], JSON.stringify(body).slice(0, 60));
	}
	const large = await anybody.call("/v1/certificates", { token, body: { request: "A".repeat(70_000) } });
	assert.deepEqual([large.status, large.json.reason], [413, "body_too_large"]);
	const zipped = await anybody.call("/v1/certificates", { token, body: {}, headers: { "content-encoding": "gzip" } });
	assert.equal(zipped.status, 415);
	assert.equal((await anybody.call("/v1/certificates", { token, body: { request: good.toString("base64") } })).status, 201);
});

test("who shows a certificate of another authority, or one that has ended, is refused over TLS with the reason", async (t) => {
	const { url, joined } = await serveAuthority(t);
	const elsewhere = await serveAuthority(t, { folders: await makeAuthority(t) });
	const stranger = await elsewhere.joined("payments");
	const answer = await new Caller(t, url, { cert: stranger.certificate, key: stranger.key }).call("/v1/trust-bundle");
	assert.deepEqual([answer.status, answer.json.reason], [403, "tls_unknown_ca"]);
	const payments = await joined("payments");
	await assert.rejects(new Caller(t, url, { cert: payments.certificate, key: stranger.key }).call("/v1/trust-bundle"));
});

test("a service that was denied gets no certificate, by token or by renewal", async (t) => {
	const { operate, joined, joinToken, url } = await serveAuthority(t);
	const payments = await joined("payments");
	await operate("/v1/authority/revocations", { body: { identity: "payments" } }, 200);
	const body = { request: createRequest(payments.id).request.toString("base64") };
	const renewal = await payments.caller.call("/v1/certificates", { body });
	assert.deepEqual([renewal.status, renewal.json.reason], [403, "tls_cert_revoked"]);
	const again = new Workload(t, url, "payments");
	const joining = await again.caller.call("/v1/certificates", { token: await joinToken("payments"), body });
	assert.deepEqual([joining.status, joining.json.reason], [403, "unauthorized"]);
});
