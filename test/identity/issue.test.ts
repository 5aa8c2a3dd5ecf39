/** Authorities, requests and certificates of our own making: what they allow, what is refused, and that no key is ever shown. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createPublicKey, type KeyObject, X509Certificate } from "node:crypto";
import { test } from "node:test";
import { connect, createServer, type TLSSocket } from "node:tls";
import { inspect } from "node:util";
import { seededRng } from "../../src/core/rng.ts";
import type { Certificate } from "../../src/identity/certificate.ts";
import { createRequest, privateKeyPem, REQUEST_BYTES_MAX, readRequest } from "../../src/identity/certificate-request.ts";
import { TAG } from "../../src/identity/der-reader.ts";
import { KEY_USAGE } from "../../src/identity/extensions.ts";
import { createIntermediateAuthority, createRootAuthority, type Issued, type IssueOptions, issueCertificate } from "../../src/identity/issue.ts";
import { type Authority, authorityOf, chainPem, readKeyedChain } from "../../src/identity/keyed-chain.ts";
import { pemOf } from "../../src/identity/pem.ts";
import { rootsPem } from "../../src/identity/trust-bundle.ts";
import { verifyChain } from "../../src/identity/verify-chain.ts";
import { CLIENT_AUTH, DAY, HOUR, idOf, leaf, make, NOW_MS, root, SECOND, SERVER_AUTH, TRUST_DOMAIN, verifyOptions } from "./support.ts";

const ROOT = await createRootAuthority({ trustDomain: TRUST_DOMAIN, lifetimeMs: 3650 * DAY, nowMs: NOW_MS });
const ISSUER = await createIntermediateAuthority(ROOT, { trustDomain: TRUST_DOMAIN, lifetimeMs: 365 * DAY, nowMs: NOW_MS });
const ID = idOf("payments");

async function issue(changes: Partial<IssueOptions> = {}, authority = ISSUER): Promise<Issued> {
	const { request } = createRequest(changes.id ?? ID);
	return issueCertificate(authority, { request, id: ID, dnsNames: ["payments"], lifetimeMs: DAY, nowMs: NOW_MS, ...changes });
}

async function issued(changes: Partial<IssueOptions> = {}, authority = ISSUER): Promise<{ first: Certificate; chain: readonly Certificate[] }> {
	const result = await issue(changes, authority);
	assert.ok(result.ok, result.ok ? "" : result.words);
	const [first] = result.chain;
	assert.ok(first);
	return { first, chain: result.chain };
}

const derOf = ({ der }: Certificate): Buffer => der;
const made = ({ certificate: { der }, key }: Authority) => ({ der, key, name: "", kind: "P-256" as const });

test("a service gets a certificate for its identity and its name, for both ends of a handshake, and for nothing else", async () => {
	const { key, request } = createRequest(ID);
	const { first, chain } = await issued({ request });
	assert.deepEqual(first.names.uris, [ID.uri]);
	assert.deepEqual(first.names.dns, ["payments"]);
	assert.deepEqual(first.purposes, [SERVER_AUTH, CLIENT_AUTH]);
	assert.equal(first.keyUsage, KEY_USAGE.digitalSignature);
	assert.equal(first.ca, false);
	assert.equal(first.notAfterMs, NOW_MS + DAY);
	assert.equal(first.notBeforeMs, NOW_MS - 60 * SECOND);
	assert.deepEqual(first.key.spki, createPublicKey(key).export({ type: "spki", format: "der" }));
	assert.deepEqual(chain.slice(1), [ISSUER.certificate]);
	const verdict = verifyChain(chain.map(derOf), verifyOptions([made(ROOT)], { expected: ID }));
	assert.ok(verdict.ok, verdict.ok ? "" : verdict.words);
});

test("a root issues by itself as well, and then nothing stands between", async () => {
	const { chain } = await issued({}, ROOT);
	assert.equal(chain.length, 1);
	assert.equal(verifyChain(chain.map(derOf), verifyOptions([made(ROOT)])).ok, true);
});

test("an intermediate may issue for services and not make authorities", async () => {
	assert.equal(ROOT.certificate.pathLengthMax, 1);
	assert.equal(ISSUER.certificate.pathLengthMax, 0);
	const below = await createIntermediateAuthority(ISSUER, { trustDomain: TRUST_DOMAIN, lifetimeMs: DAY, nowMs: NOW_MS });
	const { chain } = await issued({}, below);
	const verdict = verifyChain(chain.map(derOf), verifyOptions([made(ROOT)]));
	assert.equal(verdict.ok ? "" : verdict.reason, "tls_chain_invalid");
});

test("serial numbers are random, positive and of one length", async () => {
	const serials = await Promise.all(Array.from({ length: 50 }, async () => (await issued()).first.serial));
	assert.equal(new Set(serials).size, 50);
	for (const serial of serials) assert.match(serial, /^[4-7][0-9a-f]{31}$/);
	const counts = new Map<string, number>();
	for (const digit of serials.join("")) counts.set(digit, (counts.get(digit) ?? 0) + 1);
	assert.equal(counts.size, 16);
});

test("a lifetime of a second is given, and none beyond a day or the authority's own end", async () => {
	assert.equal((await issued({ lifetimeMs: SECOND })).first.notAfterMs, NOW_MS + SECOND);
	for (const lifetimeMs of [0, 999, DAY + 1, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
		const result = await issue({ lifetimeMs });
		assert.equal(result.ok ? "" : result.fault, "lifetime");
	}
	const short = await createIntermediateAuthority(ROOT, { trustDomain: TRUST_DOMAIN, lifetimeMs: HOUR, nowMs: NOW_MS });
	assert.equal((await issued({}, short)).first.notAfterMs, NOW_MS + HOUR);
	const late = await issue({ nowMs: NOW_MS + HOUR }, short);
	assert.equal(late.ok ? "" : late.fault, "authority_over");
	await assert.rejects(createRootAuthority({ trustDomain: TRUST_DOMAIN, lifetimeMs: 0, nowMs: NOW_MS }), RangeError);
});

test("whoever asks for another identity than it has proven is refused", async () => {
	const { request } = createRequest(idOf("orders"));
	const result = await issue({ request });
	assert.deepEqual(result, {
		ok: false,
		fault: "identity_mismatch",
		words: "the request is for spiffe://mesh.local/orders, its sender is spiffe://mesh.local/payments",
	});
});

test("names that are no DNS names are not written into a certificate", async () => {
	for (const dnsNames of [["*"], ["Payments"], ["a b"], [""], ["-a"], ["a\0b"], Array.from({ length: 17 }, (_, i) => `n${i}`)]) {
		const result = await issue({ dnsNames });
		assert.equal(result.ok ? "" : result.fault, "dns_name", dnsNames.join());
	}
});

test("a request that openssl has made is taken, also with another kind of key", { skip: skipWithout("openssl") }, async () => {
	for (const key of [
		["-newkey", "rsa:2048"],
		["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
	]) {
		const args = [
			"req",
			"-new",
			"-nodes",
			"-keyout",
			"/dev/null",
			...key,
			"-subj",
			"/CN=payments",
			"-addext",
			`subjectAltName=URI:${ID.uri},DNS:other`,
			"-outform",
			"der",
		];
		const { stdout, stderr } = spawnSync("openssl", args);
		const { first } = await issued({ request: stdout });
		assert.deepEqual(first.names.dns, ["payments"], stderr.toString());
	}
});

test("openssl takes our requests", { skip: skipWithout("openssl") }, () => {
	const { stderr, status } = spawnSync("openssl", ["req", "-inform", "der", "-verify", "-noout"], {
		input: createRequest(ID).request,
		encoding: "utf8",
	});
	assert.equal(status, 0, stderr);
});

test("only who holds the key can ask for a certificate over it", () => {
	const { request } = createRequest(ID);
	const other = createRequest(ID).request;
	// The signature of another request behind the signed part of this one.
	const forged = Buffer.concat([request.subarray(0, -70), other.subarray(-70)]);
	const reading = readRequest(forged);
	assert.ok(!reading.ok);
	assert.match(reading.fault.kind, /not_signed_by_its_key|malformed/);
	const changed = Buffer.from(request);
	changed.write("x", changed.indexOf("payments"));
	const second = readRequest(changed);
	assert.equal(second.ok ? "" : second.fault.kind, "not_signed_by_its_key");
});

test("no change of bytes makes the reading of a request throw, or pass", () => {
	const rng = seededRng(11);
	const { request } = createRequest(ID);
	assert.deepEqual(readRequest(request).ok, true);
	for (let round = 0; round < 3_000; round++) {
		const bytes = Buffer.from(request);
		const at = Math.floor(rng() * bytes.length);
		bytes[at] = ((bytes[at] ?? 0) + 1 + Math.floor(rng() * 255)) & 0xff;
		const reading = readRequest(rng() < 0.1 ? bytes.subarray(0, at) : bytes);
		assert.equal(reading.ok, false, `byte ${at}`);
	}
	const large = readRequest(Buffer.alloc(REQUEST_BYTES_MAX + 1));
	assert.match(large.ok ? "" : large.fault.words, /more than 8192 bytes/);
});

test("an authority that was kept as PEM issues as before", async () => {
	const reading = readKeyedChain(chainPem(ISSUER.chain), privateKeyPem(ISSUER.key));
	assert.ok(reading.ok);
	const authority = authorityOf(reading.keyed);
	assert.ok(authority.ok);
	const { chain } = await issued({}, authority.authority);
	assert.equal(verifyChain(chain.map(derOf), verifyOptions([made(ROOT)])).ok, true);
});

test("certificates and keys that do not fit together are refused, and the refusal quotes no key", async () => {
	const [pem, key] = [chainPem(ISSUER.chain), privateKeyPem(ISSUER.key)];
	const nameless = Buffer.from(ISSUER.certificate.der);
	nameless[nameless.lastIndexOf("mesh.local intermediate") - 2] = TAG.null;
	const refusals = [
		[readKeyedChain(pemOf(nameless, "CERTIFICATE"), key), /certificate 1 is refused: OpenSSL/],
		[readKeyedChain("", key), /no block of CERTIFICATE/],
		[readKeyedChain(pem, privateKeyPem(ROOT.key)), /does not belong to the first certificate/],
		[readKeyedChain(pem, key.slice(0, 90)), /cannot be read/],
		[
			readKeyedChain(pem, ISSUER.key.export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" }).toString()),
			/without a passphrase/,
		],
		[readKeyedChain(pem.replace(/\n[A-Za-z0-9+/=]+\n-----END/, "\n-----END"), key), /certificate 1 is refused|not base64/],
	] as const;
	for (const [reading, words] of refusals) {
		assert.ok(!reading.ok);
		assert.match(reading.fault, words);
		for (const secret of secretsOf(ISSUER.key)) assert.ok(!reading.fault.includes(secret));
	}
	const service = await leaf(await root());
	const keyed = { chain: (await issued()).chain, key: service.key };
	assert.match(errorOf(authorityOf(keyed)), /no authority/);
	const other = await make({ ca: true, kind: "P-384" });
	const reading = readKeyedChain(chainPem([{ ...ISSUER.certificate, der: other.der }]), privateKeyPem(other.key));
	assert.ok(reading.ok);
	assert.match(errorOf(authorityOf(reading.keyed)), /P-384; only P-256/);
});

test("no key is shown by whatever prints what holds it", () => {
	const workload = createRequest(ID);
	for (const [holder, key] of [
		[ROOT, ROOT.key],
		[ISSUER, ISSUER.key],
		[workload, workload.key],
	] as const) {
		const printed = [
			inspect(holder, { depth: Number.POSITIVE_INFINITY, showHidden: true, getters: true }),
			inspect(holder),
			JSON.stringify(holder),
			String(holder.key),
			`${Object.entries(holder.key)}`,
			new Error("x", { cause: holder }).stack ?? "",
			inspect(new Error("x", { cause: holder }), { depth: Number.POSITIVE_INFINITY }),
		].join("\n");
		for (const secret of secretsOf(key)) assert.ok(!printed.includes(secret), `${secret.slice(0, 8)}... is printed`);
	}
});

test("secrets would be found if they were printed", () => {
	const { key } = createRequest(ID);
	const pem = privateKeyPem(key);
	assert.ok(secretsOf(key).some((secret) => inspect({ pem }).includes(secret)));
});

test("two services meet over TLS 1.3 with what was issued to them, and each knows the other", async (t) => {
	const nowMs = Date.now();
	const top = await createRootAuthority({ trustDomain: TRUST_DOMAIN, lifetimeMs: DAY, nowMs });
	const middle = await createIntermediateAuthority(top, { trustDomain: TRUST_DOMAIN, lifetimeMs: DAY, nowMs });
	const endOf = async (service: string) => {
		const { key, request } = createRequest(idOf(service));
		const { chain } = await issued({ request, id: idOf(service), dnsNames: [service], nowMs }, middle);
		return { key: privateKeyPem(key), cert: chainPem(chain), ca: rootsPem([top.certificate]), minVersion: "TLSv1.3" as const };
	};
	const met = Promise.withResolvers<TLSSocket>();
	const server = createServer({ ...(await endOf("payments")), requestCert: true, rejectUnauthorized: true }, met.resolve);
	t.after(() => server.close());
	await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
	const address = server.address();
	assert.ok(typeof address === "object" && address !== null);
	const client = connect({ ...(await endOf("checkout")), port: address.port, host: "127.0.0.1", servername: "payments" });
	t.after(() => client.destroy());
	await new Promise<void>((secured, failed) => client.once("secureConnect", secured).once("error", failed));
	const accepted = await met.promise;
	t.after(() => accepted.destroy());
	const options = verifyOptions([made(top)], { nowMs });
	const callee = verifyChain(presentedBy(client, middle), { ...options, purpose: "server", expected: idOf("payments") });
	const caller = verifyChain(presentedBy(accepted, middle), { ...options, purpose: "client" });
	assert.equal(callee.ok && callee.id.service, "payments");
	assert.equal(caller.ok && caller.id.service, "checkout");
});

test("what a sidecar needs of identities does not load the issuing library", () => {
	const files = ["verify-chain", "certificate-request", "keyed-chain", "rotation", "xfcc", "trust-bundle"].map(
		(name) => `../../src/identity/${name}.ts`,
	);
	assert.deepEqual(libraryFilesLoadedBy(files), []);
	assert.notDeepEqual(libraryFilesLoadedBy(["../../src/identity/issue.ts"]), []);
});

function presentedBy(socket: TLSSocket, middle: Authority): readonly Uint8Array[] {
	const certificate = socket.getPeerX509Certificate();
	assert.ok(certificate instanceof X509Certificate);
	return [certificate.raw, certificate.issuerCertificate?.raw ?? middle.certificate.der];
}

function libraryFilesLoadedBy(files: readonly string[]): string[] {
	const urls = files.map((file) => new URL(file, import.meta.url).href);
	const script = `
		import { createRequire } from "node:module";
		for (const url of ${JSON.stringify(urls)}) await import(url);
		const { cache } = createRequire(import.meta.url);
		console.log(JSON.stringify(Object.keys(cache).filter((file) => /@peculiar|reflect-metadata/.test(file))));`;
	const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8", cwd: import.meta.dirname });
	assert.equal(stderr, "");
	return JSON.parse(stdout) as string[];
}

/** In the forms in which a key could be seen: the whole, and its secret number alone. */
function secretsOf(key: KeyObject): string[] {
	const { d = "" } = key.export({ format: "jwk" });
	const number = Buffer.from(d, "base64url");
	const pem = privateKeyPem(key).split("\n").slice(1, -2);
	assert.equal(number.length, 32);
	return [...pem, d, number.toString("base64"), number.toString("hex"), number.toString("hex").toUpperCase(), [...number.subarray(0, 8)].join(", ")];
}

function errorOf(reading: { readonly ok: true } | { readonly ok: false; readonly fault: string }): string {
	return reading.ok ? "" : reading.fault;
}

function skipWithout(tool: string): string | false {
	return spawnSync(tool, ["version"]).status !== 0 && process.env.NEXUS_TEST_STRICT !== "1" ? `${tool} is not installed` : false;
}
