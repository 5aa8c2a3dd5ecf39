/** The trust bundle: roots by trust domain, what is revoked, and every fault of a document at once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { pemOf, readPem } from "../../src/identity/pem.ts";
import { readTrustBundle, trustBundleDocument } from "../../src/identity/trust-bundle.ts";
import { certificateOf, KeyUsageFlags, leaf, type Made, root } from "./support.ts";

const pem = (...made: readonly Made[]): string => made.map(({ der }) => pemOf(der, "CERTIFICATE")).join("");

test("a document is read, and written back so that it reads the same", async () => {
	const [old, next, other] = [await root({ name: "CN=old" }), await root({ name: "CN=next" }), await root()];
	const document = {
		version: 4,
		trustDomains: { "mesh.local": pem(old, next), "partner.example": pem(other) },
		deniedSerials: ["00:AB:cd", "7"],
		deniedIdentities: ["spiffe://mesh.local/stolen"],
	};
	const first = readTrustBundle(document);
	assert.ok(first.ok);
	const { bundle } = first;
	assert.deepEqual([...bundle.roots.keys()], ["mesh.local", "partner.example"]);
	assert.deepEqual(
		bundle.roots.get("mesh.local")?.map(({ der }) => der),
		[old.der, next.der],
	);
	assert.ok(bundle.isDeniedSerial("abcd") && bundle.isDeniedSerial("00abcd") && bundle.isDeniedSerial("07"));
	assert.ok(!bundle.isDeniedSerial("ab") && !bundle.isDeniedSerial("70"));
	assert.ok(bundle.isDeniedIdentity("spiffe://mesh.local/stolen") && !bundle.isDeniedIdentity("spiffe://mesh.local/fine"));
	const again = readTrustBundle(JSON.parse(JSON.stringify(trustBundleDocument(bundle))));
	assert.ok(again.ok);
	assert.deepEqual(trustBundleDocument(again.bundle), trustBundleDocument(bundle));
});

test("one root that is listed twice is one root", async () => {
	const top = await root();
	const reading = readTrustBundle({ version: 1, trustDomains: { "mesh.local": pem(top, top) } });
	assert.equal(reading.ok && reading.bundle.roots.get("mesh.local")?.length, 1);
});

test("a bundle does not change in anybody's hands", async () => {
	const reading = readTrustBundle({ version: 1, trustDomains: { "mesh.local": pem(await root()) } });
	assert.ok(reading.ok);
	const { bundle } = reading;
	assert.ok(Object.isFrozen(bundle) && Object.isFrozen(bundle.deniedSerials) && Object.isFrozen(bundle.roots.get("mesh.local")));
	assert.throws(() => (bundle.roots as Map<string, readonly unknown[]>).set("evil.example", []), TypeError);
});

test("all faults of a document are told at once, each with its place", async () => {
	const top = await root();
	const reading = readTrustBundle({
		version: 2,
		trustDomains: {
			"mesh.local": pem(top) + pem(await leaf(top)),
			"Mesh.Local": pem(top),
			"empty.example": "no certificate",
			"signs.example": pem(await root({ keyUsage: KeyUsageFlags.digitalSignature })),
			"many.example": pem(...Array.from({ length: 9 }, () => top)),
			"torn.example": "-----BEGIN CERTIFICATE-----\nMIIB",
			"odd.example": "-----BEGIN CERTIFICATE-----\nM?==\n-----END CERTIFICATE-----",
			"text.example": pemOf(Buffer.from("hello"), "CERTIFICATE"),
		},
		deniedSerials: ["12", "xyz", ""],
		deniedIdentities: ["spiffe://mesh.local"],
	});
	assert.ok(!reading.ok);
	const told = [
		/^trustDomains\.mesh\.local: certificate 2 is no root authority, it lacks the authority flag/,
		/^trustDomains\.Mesh\.Local: is no trust domain/,
		/^trustDomains\.empty\.example: there is no block of CERTIFICATE/,
		/^trustDomains\.signs\.example: certificate 1 is no root authority, its key may not sign/,
		/^trustDomains\.many\.example: there are more than 8 blocks/,
		/^trustDomains\.torn\.example: a block of CERTIFICATE has no end/,
		/^trustDomains\.odd\.example: block 1 of CERTIFICATE is not base64/,
		/^trustDomains\.text\.example: certificate 1 is no root authority/,
		/^deniedSerials\[1\]: is not a serial number/,
		/^deniedSerials\[2\]: is not a serial number/,
		/^deniedIdentities\[0\]: is not a SPIFFE ID/,
	];
	assert.equal(reading.faults.length, told.length, reading.faults.join("\n"));
	for (const [i, pattern] of told.entries()) assert.match(reading.faults[i] ?? "", pattern);
});

test("what has not the shape of a bundle is refused with the place of the fault", () => {
	for (const [document, place] of [
		[undefined, "bundle"],
		["text", "bundle"],
		[{ version: -1, trustDomains: {} }, "version"],
		[{ version: 1.5, trustDomains: {} }, "version"],
		[{ version: 1, trustDomains: [] }, "trustDomains"],
		[{ version: 1, trustDomains: { a: 1 } }, "trustDomains.a"],
		[{ version: 1, trustDomains: {}, deniedSerials: "12" }, "deniedSerials"],
		[{ version: 1, trustDomains: {}, more: 1 }, "bundle"],
		[{ version: 1, trustDomains: {} }, "trustDomains"],
	] as const) {
		const reading = readTrustBundle(document);
		assert.ok(!reading.ok);
		assert.equal(reading.faults[0]?.split(": ")[0], place);
	}
});

test("a deny list of more than 10,000 entries is refused", async () => {
	const document = { version: 1, trustDomains: { "mesh.local": pem(await root()) } };
	const serials = (count: number) => Array.from({ length: count }, (_, i) => (i + 1).toString(16));
	assert.equal(readTrustBundle({ ...document, deniedSerials: serials(10_000) }).ok, true);
	const reading = readTrustBundle({ ...document, deniedSerials: serials(10_001) });
	assert.deepEqual(reading, { ok: false, faults: ["deniedSerials: are more than 10000"] });
});

test("PEM is read between other text and other blocks, with any line ends, and written in lines of 64", async () => {
	const { der } = await root();
	const text = pemOf(der, "CERTIFICATE");
	for (const line of text.trim().split("\n")) assert.ok(line.length <= 64);
	const mixed = `subject=x\r\n${pemOf(Buffer.of(1, 2, 3), "PRIVATE KEY")}${text.replaceAll("\n", "\r\n")}\nthe end`;
	assert.deepEqual(readPem(mixed, "CERTIFICATE", 1), { ok: true, blocks: [der] });
	assert.deepEqual(readPem(mixed, "PRIVATE KEY", 1), { ok: true, blocks: [Buffer.of(1, 2, 3)] });
	assert.equal(readPem("x".repeat(1024 * 1024 + 1), "CERTIFICATE", 1).ok, false);
	assert.equal(certificateOf(der).ca, true);
});
