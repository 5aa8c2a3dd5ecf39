/** Certificates from DER: the facts as they stand there, and a typed refusal for whatever is no certificate. */
import assert from "node:assert/strict";
import { createPublicKey, X509Certificate } from "node:crypto";
import { test } from "node:test";
import { seededRng } from "../../src/core/rng.ts";
import { readPublicKey } from "../../src/identity/algorithms.ts";
import { CERTIFICATE_BYTES_MAX, type Certificate, readCertificate } from "../../src/identity/certificate.ts";
import { DerReader, instead, TAG } from "../../src/identity/der-reader.ts";
import { der, derBits, derOid, derText } from "../../src/identity/der-writer.ts";
import { nameText } from "../../src/identity/distinguished-name.ts";
import { KEY_USAGE } from "../../src/identity/extensions.ts";
import { certificateOf, DAY, Extension, HOUR, intermediate, leaf, make, NOW_MS, newKey, root, SERVER_AUTH } from "./support.ts";

test("the facts are those that OpenSSL reads from the same bytes", async () => {
	const top = await root();
	for (const kind of ["P-256", "P-384", "RSA-2048", "Ed25519"] as const) {
		const made = await leaf(top, { kind, name: "CN=payments", dns: ["payments", "payments.mesh.local"], ips: ["10.0.0.1"] });
		const ours = certificateOf(made.der);
		const theirs = new X509Certificate(made.der);
		assert.equal(ours.serial, theirs.serialNumber.toLowerCase());
		assert.equal(ours.fingerprint, theirs.fingerprint256.replaceAll(":", "").toLowerCase());
		assert.equal(new Date(ours.notBeforeMs).getTime(), theirs.validFromDate.getTime());
		assert.equal(new Date(ours.notAfterMs).getTime(), theirs.validToDate.getTime());
		assert.equal(nameText(ours.subject), theirs.subject);
		assert.equal(nameText(ours.issuer), theirs.issuer);
		assert.equal(ours.key.name, kind);
		assert.deepEqual(ours.key.spki, theirs.publicKey.export({ type: "spki", format: "der" }));
		assert.deepEqual(ours.names.dns, ["payments", "payments.mesh.local"]);
		assert.deepEqual(ours.names.uris, ["spiffe://mesh.local/payments"]);
		assert.deepEqual(ours.names.addresses, [Buffer.of(10, 0, 0, 1)]);
		assert.deepEqual(ours.purposes, theirs.keyUsage);
		assert.equal(ours.ca, theirs.ca);
	}
});

test("an authority's facts are read: flag, path length, use of the key, identifiers", async () => {
	const top = await root({ pathLength: 3 });
	const facts = certificateOf((await intermediate(top, { pathLength: 0, purposes: [SERVER_AUTH] })).der);
	assert.equal(facts.ca, true);
	assert.equal(facts.pathLengthMax, 0);
	assert.equal(facts.keyUsage, KEY_USAGE.keyCertSign);
	assert.deepEqual(facts.purposes, [SERVER_AUTH]);
	assert.deepEqual(facts.authorityKeyId, certificateOf(top.der).subjectKeyId);
	assert.equal(facts.subjectKeyId.length, 20);
	assert.equal(certificateOf(top.der).pathLengthMax, 3);
});

test("what is not said is told apart from what is denied", async () => {
	const facts = certificateOf((await make({ keyIds: false })).der);
	const { ca, pathLengthMax, keyUsage, purposes, nameConstraints, unknownCritical } = facts;
	assert.deepEqual(
		{ ca, pathLengthMax, keyUsage, purposes, nameConstraints, unknownCritical },
		{
			ca: false,
			pathLengthMax: undefined,
			keyUsage: undefined,
			purposes: undefined,
			nameConstraints: undefined,
			unknownCritical: [],
		},
	);
	assert.equal(facts.names.uris.length + facts.names.dns.length, 0);
});

test("critical extensions that nobody here understands are named, others are read over", async () => {
	const extension = (oid: string, critical: boolean) => new Extension(oid, critical, new Uint8Array(der(TAG.null)));
	const facts = certificateOf((await make({ extra: [extension("1.3.6.1.4.1.99999.1", true), extension("2.5.29.99", false)] })).der);
	assert.deepEqual(facts.unknownCritical, ["1.3.6.1.4.1.99999.1"]);
});

test("the facts do not change with the buffer that they were read from", async () => {
	const bytes = Uint8Array.from((await leaf(await root())).der);
	const facts = certificateOf(bytes);
	bytes.fill(0);
	assert.deepEqual(certificateOf(facts.der), facts);
	assert.ok(Object.isFrozen(facts));
});

const altNames = (...names: Buffer[]): Extension => new Extension("2.5.29.17", false, new Uint8Array(der(TAG.sequence, ...names)));

const REFUSED: readonly (readonly [string, () => Promise<Uint8Array>, "malformed" | "unsupported" | "too_large", RegExp])[] = [
	["nothing", async () => Buffer.alloc(0), "malformed", /the certificate is missing/],
	["text", async () => Buffer.from("-----BEGIN CERTIFICATE-----"), "malformed", /missing|cut short/],
	["one that is too large", async () => Buffer.alloc(CERTIFICATE_BYTES_MAX + 1, 0x30), "too_large", /more than 16384 bytes/],
	["one with a byte behind it", async () => Buffer.concat([(await root()).der, Buffer.of(0)]), "malformed", /stands behind/],
	["one that is cut", async () => (await root()).der.subarray(0, -1), "malformed", /cut short/],
	[
		"one with a DNS name that holds NUL",
		async () => (await leaf(await root(), { uris: [], dns: [], extra: [altNames(derText(instead(2), "payments\0.evil"))] })).der,
		"malformed",
		/visible ASCII/,
	],
	[
		"one with a line break in its URI",
		async () => (await leaf(await root(), { uris: [], dns: [], extra: [altNames(derText(instead(6), "spiffe://a/b\r\nc: d"))] })).der,
		"malformed",
		/visible ASCII/,
	],
	[
		"one with an address of five bytes",
		async () => (await make({ extra: [altNames(der(instead(7), Buffer.alloc(5)))] })).der,
		"malformed",
		/impossible length/,
	],
	[
		"one with 129 names",
		async () => (await leaf(await root(), { dns: Array.from({ length: 128 }, (_, i) => `n${i}`) })).der,
		"malformed",
		/more than 128 names/,
	],
	[
		"one whose serial number is negative",
		async () => patched((await root({ serial: "41".repeat(8) })).der, Buffer.from("41".repeat(8), "hex"), Buffer.from("c1".repeat(8), "hex")),
		"malformed",
		/not positive/,
	],
	["one with a serial number of 21 bytes", async () => (await root({ serial: "41".repeat(21) })).der, "malformed", /more than 20 bytes/],
	["an RSA key of 1024 bits", async () => (await root({ kind: "RSA-1024" })).der, "unsupported", /has 1024 bits/],
	["a signature over SHA-1", async () => (await root({ hash: "SHA-1" })).der, "unsupported", /1\.2\.840\.10045\.4\.1/],
	[
		"a date that is not in the calendar",
		async () => patched((await root({ fromMs: Date.UTC(2026, 0, 2) })).der, Buffer.from("260102"), Buffer.from("260230")),
		"malformed",
		/calendar/,
	],
];

for (const [title, build, kind, words] of REFUSED) {
	test(`${title} is refused as ${kind}`, async () => {
		const reading = readCertificate(await build());
		assert.ok(!reading.ok);
		assert.equal(reading.fault.kind, kind, reading.fault.words);
		assert.match(reading.fault.words, words);
	});
}

test("an RSA key whose exponent is none, or makes each signature cost milliseconds, is refused", () => {
	const modulus = createPublicKey(newKey("RSA-2048")).export({ format: "jwk" }).n ?? "";
	const numbers = [Buffer.of(0), Buffer.from(modulus, "base64url")];
	const keyOf = (exponent: Uint8Array) => {
		const key = der(TAG.sequence, der(TAG.integer, ...numbers), der(TAG.integer, exponent));
		return readPublicKey(der(TAG.sequence, der(TAG.sequence, derOid("1.2.840.113549.1.1.1"), der(TAG.null)), derBits(key)));
	};
	for (const exponent of [[3], [1, 0, 1], [0x7f, 0xff, 0xff, 0xff]]) assert.ok(typeof keyOf(Uint8Array.from(exponent)) === "object", `${exponent}`);
	for (const exponent of [[0], [1], [4], [0x81], [0, 0x80, 0, 0, 1], [0x7f, ...Buffer.alloc(255, 1)]]) {
		assert.match(String(keyOf(Uint8Array.from(exponent))), /the exponent of the RSA key/, `${exponent}`);
	}
});

test("DER is read strictly: no indefinite, longer or overrunning length, no tag of two bytes", () => {
	for (const [bytes, words] of [
		[[0x30, 0x80, 0, 0], /indefinite/],
		[[0x30, 0x81, 0x01, 0], /shortest form/],
		[[0x30, 0x82, 0x00, 0x80], /shortest form/],
		[[0x30, 0x84, 1, 0, 0, 0], /cut short/],
		[[0x30, 0x05, 0], /cut short/],
		[[0x30], /cut short/],
		[[0x1f, 0x81, 0x01, 0x00], /more than one byte/],
	] as const) {
		const reader = DerReader.of(Uint8Array.from(bytes));
		reader.element("it");
		assert.match(reader.fault, words);
	}
	const readings: readonly (readonly [Buffer, (reader: DerReader) => unknown])[] = [
		[der(TAG.integer, Buffer.of(0, 1)), (reader) => reader.integer("it")],
		[der(TAG.integer), (reader) => reader.integer("it")],
		[der(TAG.integer, Buffer.of(0x80)), (reader) => reader.smallInteger("it")],
		[der(TAG.boolean, Buffer.of(1)), (reader) => reader.boolean("it")],
		[der(TAG.oid, Buffer.of(0x80)), (reader) => reader.oid("it")],
		[der(TAG.bitString, Buffer.of(1, 0xff)), (reader) => reader.wholeBytes("it")],
		[der(TAG.bitString), (reader) => reader.namedBits(9, "it")],
		[derText(TAG.utcTime, "2601010000Z"), (reader) => reader.time("it")],
		[derText(TAG.generalizedTime, "20260101000000.5Z"), (reader) => reader.time("it")],
	];
	for (const [bytes, read] of readings) {
		const reader = DerReader.of(bytes);
		read(reader);
		assert.notEqual(reader.fault, "", bytes.toString("hex"));
	}
});

test("after a fault nothing more is read, and the first fault stays", () => {
	const reader = DerReader.of(Buffer.concat([der(TAG.integer, Buffer.of(1)), der(TAG.null)]));
	assert.equal(reader.oid("the type"), "");
	const { fault } = reader;
	assert.match(fault, /^the type is missing/);
	assert.equal(reader.more, false);
	assert.equal(reader.element("more").length + reader.rest().length + reader.bytes(TAG.null, "null").length, 0);
	assert.equal(reader.fault, fault);
});

test("times of both forms are read, with the century that RFC 5280 gives them", () => {
	const time = (tag: number, text: string): string => new Date(DerReader.of(derText(tag, text)).time("it")).toISOString();
	assert.equal(time(TAG.utcTime, "491231235959Z"), "2049-12-31T23:59:59.000Z");
	assert.equal(time(TAG.utcTime, "500101000000Z"), "1950-01-01T00:00:00.000Z");
	assert.equal(time(TAG.generalizedTime, "99991231235959Z"), "9999-12-31T23:59:59.000Z");
});

test("object identifiers are written as they are read", () => {
	for (const oid of ["2.5.29.17", "1.2.840.113549.1.9.14", "0.9.2342.19200300.100.1.25", "2.999.3"]) {
		assert.equal(DerReader.of(derOid(oid)).oid("it"), oid);
	}
});

test("an object identifier that is made of a UUID is read in full (X.667)", () => {
	const arc = 0xf81d4fae_7dec_11d0_a765_00a0c91e6bf6n;
	const digits = Array.from({ length: 19 }, (_, i) => Number((arc >> BigInt(7 * (18 - i))) & 0x7fn) | (i === 18 ? 0 : 0x80));
	assert.equal(DerReader.of(der(TAG.oid, Buffer.of(2 * 40 + 25, ...digits))).oid("it"), "2.25.329800735698586629295641978511506172918");
});

test("names are told in ASCII, most specific part first, whatever they hold", () => {
	const part = (oid: string, tag: number, text: string): Buffer => der(TAG.set, der(TAG.sequence, derOid(oid), derText(tag, text)));
	const name = der(
		TAG.sequence,
		part("2.5.4.10", TAG.utf8String, 'A, "B"\r\n'),
		part("2.5.4.3", TAG.utf8String, " \u00e9=#"),
		part("1.2.3.4", TAG.utf8String, "x"),
	);
	assert.equal(nameText(name), '1.2.3.4=#0c0178,CN=\\ \\C3\\A9\\=#,O=A\\, \\"B\\"\\0D\\0A');
	assert.equal(nameText(der(TAG.sequence)), "");
	assert.equal(nameText(Buffer.of(0x30, 0x03, 0x31)), "?");
	assert.equal(nameText(der(TAG.sequence, part("2.5.4.3", TAG.utf8String, "a".repeat(5000)))).length, 1024);
});

test("no change of bytes makes reading throw, run long, or take another certificate for the same", async () => {
	const rng = seededRng(5);
	const top = await root();
	const originals = [
		top.der,
		(await leaf(top)).der,
		(await intermediate(top, { pathLength: 1, untilMs: NOW_MS + 40 * 365 * DAY, fromMs: NOW_MS - HOUR })).der,
	];
	let read = 0;
	for (let round = 0; round < 6_000; round++) {
		const original = originals[round % originals.length] ?? top.der;
		const bytes = Buffer.from(original);
		for (let changes = 1 + Math.floor(rng() * 3); changes > 0; changes--) bytes[Math.floor(rng() * bytes.length)] = Math.floor(rng() * 256);
		const cut = rng() < 0.1 ? bytes.subarray(0, Math.floor(rng() * bytes.length)) : bytes;
		const reading = readCertificate(cut);
		if (!reading.ok) {
			assert.match(reading.fault.words, /^[\x20-\x7e]+$/);
			continue;
		}
		read++;
		assert.equal(isSame(reading.certificate, certificateOf(original)), cut.equals(original));
		assert.match(nameText(reading.certificate.subject), /^[\x20-\x7e]*$/);
	}
	// Bytes of key and signature may be anything, and so may those of names.
	assert.ok(read > 500, `${read}`);
});

function isSame(a: Certificate, b: Certificate): boolean {
	return a.fingerprint === b.fingerprint;
}

function patched(bytes: Buffer, from: Buffer, to: Buffer): Buffer {
	const at = bytes.indexOf(from);
	assert.notEqual(at, -1);
	const copy = Buffer.from(bytes);
	to.copy(copy, at);
	return copy;
}
