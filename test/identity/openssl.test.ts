/** The same verdict as `openssl verify` on chains of every kind, or a difference that is meant and stands here with its reason. */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { around, instead, TAG } from "../../src/identity/der-reader.ts";
import { der, derOid, derText } from "../../src/identity/der-writer.ts";
import { pemOf } from "../../src/identity/pem.ts";
import { readTrustBundle } from "../../src/identity/trust-bundle.ts";
import { verifyChain } from "../../src/identity/verify-chain.ts";
import {
	CLIENT_AUTH,
	CODE_SIGNING,
	DAY,
	Extension,
	HOUR,
	intermediate,
	KeyUsageFlags,
	leaf,
	type Made,
	make,
	NOW_MS,
	nameConstraints,
	newKey,
	root,
	SECOND,
	SERVER_AUTH,
	type Spec,
	TRUST_DOMAIN,
	verifyOptions,
} from "./support.ts";

const OPENSSL = spawnSync("openssl", ["version"]);
const skip = OPENSSL.status !== 0 && process.env.NEXUS_TEST_STRICT !== "1" ? "openssl is not installed" : false;
const CASES_MIN = 60;

interface Chain {
	readonly roots: readonly Made[];
	/** Leaf first. */
	readonly presented: readonly Made[];
	readonly purpose?: "server" | "client";
}

interface Case {
	readonly title: string;
	readonly build: () => Promise<Chain>;
	/** Ours; `ok`, or the reason. */
	readonly verdict: string;
	/** Why OpenSSL says otherwise, and why we stay with it. */
	readonly differs?: string;
}

const uri = (text: string): Buffer => derText(instead(6), text);
const dns = (text: string): Buffer => derText(instead(2), text);
const ip = (...bytes: number[]): Buffer => der(instead(7), Buffer.from(bytes));
const commonName = (text: string): Buffer => der(TAG.sequence, der(TAG.set, der(TAG.sequence, derOid("2.5.4.3"), derText(TAG.utf8String, text))));
const directory = (text: string): Buffer => der(around(4), commonName(text));
const unknown = (critical: boolean): Extension => new Extension("1.3.6.1.4.1.99999.1", critical, new Uint8Array(der(TAG.null)));
const policies = new Extension("2.5.29.32", true, new Uint8Array(der(TAG.sequence, der(TAG.sequence, derOid("1.3.6.1.4.1.99999.2")))));
const inhibitAnyPolicy = new Extension("2.5.29.54", true, new Uint8Array(der(TAG.integer, Buffer.of(0))));
const SIGN = KeyUsageFlags.digitalSignature;

/** Root, intermediate and leaf, each with what the case changes. */
const three =
	(leafSpec: Spec = {}, intermediateSpec: Spec = {}, rootSpec: Spec = {}, purpose?: "server" | "client") =>
	async (): Promise<Chain> => {
		const top = await root(rootSpec);
		const middle = await intermediate(top, intermediateSpec);
		return { roots: [top], presented: [await leaf(middle, leafSpec), middle], ...(purpose === undefined ? {} : { purpose }) };
	};

/** Three of one kind of key. */
const allOf = (kind: "P-384" | "RSA-2048" | "Ed25519", hash?: "SHA-384") =>
	three({ kind, ...(hash && { hash }) }, { kind, ...(hash && { hash }) }, { kind });

const constrained = (permitted: readonly Buffer[], excluded: readonly Buffer[], leafSpec: Spec = {}) =>
	three(leafSpec, { extra: [nameConstraints(permitted, excluded)] });

const ok = (title: string, build: () => Promise<Chain>, differs?: string): Case => ({
	title,
	build,
	verdict: "ok",
	...(differs === undefined ? {} : { differs }),
});
const bad = (verdict: string, title: string, build: () => Promise<Chain>, differs?: string): Case => ({
	title,
	build,
	verdict,
	...(differs === undefined ? {} : { differs }),
});

const GOOD: readonly Case[] = [
	ok("root, intermediate, leaf", three()),
	ok("the same for a client", three({}, {}, {}, "client")),
	ok("a leaf right under its root", async () => {
		const top = await root();
		return { roots: [top], presented: [await leaf(top)] };
	}),
	ok("two intermediates", async () => {
		const top = await root();
		const upper = await intermediate(top);
		const lower = await intermediate(upper);
		return { roots: [top], presented: [await leaf(lower), lower, upper] };
	}),
	ok("intermediates in the wrong order", async () => {
		const top = await root();
		const upper = await intermediate(top);
		const lower = await intermediate(upper);
		return { roots: [top], presented: [await leaf(lower), upper, lower] };
	}),
	ok("path lengths that are just enough", three({}, { pathLength: 0 }, { pathLength: 1 })),
	ok("without key identifiers", three({ keyIds: false }, { keyIds: false }, { keyIds: false })),
	ok("RSA of 2048 bits", allOf("RSA-2048")),
	ok("P-384 with SHA-384", allOf("P-384", "SHA-384")),
	ok("Ed25519", allOf("Ed25519")),
	ok("a leaf without extended key usage", three({ purposes: undefined })),
	ok("a leaf without key usage", three({ keyUsage: undefined })),
	ok("a leaf that says nothing of being an authority", three({ ca: undefined })),
	ok("a server's leaf as a server", three({ purposes: [SERVER_AUTH] })),
	ok("a client's leaf as a client", three({ purposes: [CLIENT_AUTH] }, {}, {}, "client")),
	ok("an intermediate with both purposes", three({}, { purposes: [SERVER_AUTH, CLIENT_AUTH] })),
	ok("an intermediate without key usage", three({}, { keyUsage: undefined })),
	ok("an unrelated certificate beside", async () => {
		const chain = await three()();
		return { ...chain, presented: [...chain.presented, await intermediate(await root())] };
	}),
	ok("the root among what is shown", async () => {
		const chain = await three()();
		return { ...chain, presented: [...chain.presented, ...chain.roots] };
	}),
	ok("two roots of one name and two keys, told apart by key identifiers", async () => {
		const [old, next] = [await root({ name: "CN=same" }), await root({ name: "CN=same" })];
		return { roots: [old, next], presented: [await leaf(next)] };
	}),
	ok("a root that was issued anew with its old key, both trusted", async () => {
		const key = newKey();
		const [old, next] = [await root({ name: "CN=again", key, untilMs: NOW_MS + DAY }), await root({ name: "CN=again", key })];
		return { roots: [old, next], presented: [await leaf(next)] };
	}),
	ok("an authority that issued itself a new certificate, which does not count for the path length", async () => {
		const top = await root({ pathLength: 0 });
		const again = await make({ issuer: top, name: top.name, ca: true, keyUsage: KeyUsageFlags.keyCertSign, pathLength: 0 });
		return { roots: [top], presented: [await leaf(again), again] };
	}),
	ok("a permitted URI", constrained([uri("mesh.local")], [])),
	ok("a URI below a permitted one", constrained([uri(".local")], [])),
	ok("a permitted DNS name, and one below it", constrained([dns("payments")], [], { dns: ["payments", "a.payments"] })),
	ok("another DNS name is excluded", constrained([], [dns("orders")])),
	ok("a permitted IP address", constrained([ip(10, 0, 0, 0, 255, 0, 0, 0)], [], { ips: ["10.1.2.3"] })),
	ok("a permitted directory name", constrained([directory("payments")], [], { name: "CN=payments" })),
	ok("a permitted directory name, in other letters and of another type of string", constrained([directory("PayMents")], [], { name: "CN=payments" })),
	ok("critical certificate policies", three({ extra: [policies] })),
	ok("an unknown extension that is not critical", three({ extra: [unknown(false)] })),
	ok("fifty DNS names", three({ dns: Array.from({ length: 50 }, (_, i) => `payments-${i}`) })),
	ok("dates beyond 2050", three({}, {}, { untilMs: Date.UTC(2070, 0, 1) })),
];

const BAD: readonly Case[] = [
	bad("tls_cert_expired", "an expired leaf", three({ untilMs: NOW_MS - 5 * 60 * SECOND })),
	bad("tls_cert_expired", "an expired intermediate", three({}, { untilMs: NOW_MS - HOUR / 2 })),
	bad("tls_cert_expired", "an expired root", three({}, {}, { untilMs: NOW_MS - HOUR / 2 })),
	bad("tls_clock_skew", "a leaf that begins in five minutes", three({ fromMs: NOW_MS + 5 * 60 * SECOND })),
	bad("tls_cert_not_yet_valid", "a leaf that begins in three days", three({ fromMs: NOW_MS + 3 * DAY, untilMs: NOW_MS + 4 * DAY })),
	bad("tls_clock_skew", "an intermediate that begins in an hour", three({}, { fromMs: NOW_MS + HOUR })),
	bad("tls_unknown_ca", "another root", async () => ({ ...(await three()()), roots: [await root()] })),
	bad("tls_unknown_ca", "another root of the same name, by key identifier", async () => {
		const chain = await three({}, {}, { name: "CN=same" })();
		return { ...chain, roots: [await root({ name: "CN=same" })] };
	}),
	bad("tls_bad_certificate", "another root of the same name, by signature alone", async () => {
		const without = { name: "CN=same", keyIds: false };
		const chain = await three({}, { keyIds: false }, without)();
		return { ...chain, roots: [await root(without)] };
	}),
	bad("tls_unknown_ca", "a leaf that signed itself", async () => ({
		roots: [await root()],
		presented: [await leaf(await root(), { name: "CN=me", issuerName: "CN=me" })],
	})),
	bad("tls_unknown_ca", "the intermediate is not shown", async () => {
		const { roots, presented } = await three()();
		return { roots, presented: presented.slice(0, 1) };
	}),
	bad("tls_bad_certificate", "a leaf that somebody else signed", async () => {
		const [top, other] = [await root(), await root()];
		return { roots: [top], presented: [await leaf(top, { signer: other })] };
	}),
	bad("tls_bad_certificate", "an intermediate that somebody else signed", async () => {
		const [top, other] = [await root(), await root()];
		const middle = await intermediate(top, { signer: other });
		return { roots: [top], presented: [await leaf(middle), middle] };
	}),
	bad("tls_chain_invalid", "a service as an authority", three({}, { ca: false, keyUsage: SIGN })),
	bad("tls_chain_invalid", "an intermediate that says nothing of being one", three({}, { ca: undefined })),
	bad("tls_chain_invalid", "an intermediate whose key may not sign certificates", three({}, { keyUsage: SIGN })),
	bad("tls_chain_invalid", "an intermediate below a root that allows none", three({}, {}, { pathLength: 0 })),
	bad("tls_chain_invalid", "an intermediate below one that allows none", async () => {
		const top = await root();
		const upper = await intermediate(top, { pathLength: 0 });
		const lower = await intermediate(upper);
		return { roots: [top], presented: [await leaf(lower), lower, upper] };
	}),
	bad("tls_chain_invalid", "an unknown critical extension of the leaf", three({ extra: [unknown(true)] })),
	bad("tls_chain_invalid", "an unknown critical extension of the intermediate", three({}, { extra: [unknown(true)] })),
	bad("tls_wrong_key_usage", "a client's leaf as a server", three({ purposes: [CLIENT_AUTH] })),
	bad("tls_wrong_key_usage", "a server's leaf as a client", three({ purposes: [SERVER_AUTH] }, {}, {}, "client")),
	bad("tls_wrong_key_usage", "a leaf for signing code", three({ purposes: [CODE_SIGNING] })),
	bad("tls_wrong_key_usage", "a leaf for any purpose, which names none", three({ purposes: ["2.5.29.37.0"] })),
	bad("tls_wrong_key_usage", "an intermediate for clients above a server", three({}, { purposes: [CLIENT_AUTH] })),
	bad(
		"tls_wrong_key_usage",
		"a leaf whose key may only agree on keys, as a client",
		three({ keyUsage: KeyUsageFlags.keyEncipherment }, {}, {}, "client"),
	),
	bad("tls_chain_invalid", "a URI that is not permitted", constrained([uri("other.local")], [])),
	bad("tls_chain_invalid", "a URI right at a subtree that begins below", constrained([uri(".mesh.local")], [])),
	bad("tls_chain_invalid", "an excluded URI", constrained([], [uri("mesh.local")])),
	bad("tls_chain_invalid", "a DNS name that is not permitted", constrained([dns("orders")], [])),
	bad("tls_chain_invalid", "a DNS name that only ends like the permitted one", constrained([dns("ments")], [])),
	bad("tls_chain_invalid", "an excluded DNS name", constrained([], [dns("payments")])),
	bad("tls_chain_invalid", "an excluded IP address", constrained([], [ip(10, 0, 0, 0, 255, 0, 0, 0)], { ips: ["10.1.2.3"] })),
	bad("tls_chain_invalid", "a directory name that is not permitted", constrained([directory("orders")], [], { name: "CN=payments" })),
	bad(
		"tls_bad_certificate",
		"an RSA key of 1024 bits",
		three({ kind: "RSA-1024" }),
		"its default level of security takes 80 bits of strength; SP 800-131A wants 112",
	),
	bad(
		"tls_bad_certificate",
		"a signature over SHA-1",
		three({ hash: "SHA-1" }),
		"its default level of security takes SHA-1 here; collisions of it are for sale",
	),
	bad(
		"tls_bad_certificate",
		"an extension that is there twice",
		three({ extra: [policies, policies] }),
		"RFC 5280 4.2 forbids it; OpenSSL looks at some kinds only",
	),
	bad(
		"tls_bad_certificate",
		"a path length on a leaf",
		three({ pathLength: 1 }),
		"RFC 5280 4.2.1.9 forbids it; OpenSSL says so with -x509_strict alone",
	),
];

const DIFFERENT: readonly Case[] = [
	ok(
		"an intermediate under two roots, of which one is trusted",
		async () => {
			const [known, strange] = [await root(), await root()];
			const first = await intermediate(strange);
			const second = await intermediate(known, { name: first.name, key: first.key });
			return { roots: [known], presented: [await leaf(first), first, second] };
		},
		"we try every way up (as Go), which rotation needs; OpenSSL goes the first one and does not turn back",
	),
	ok("a leaf that ended 30 s ago", three({ untilMs: NOW_MS - 30 * SECOND }), "clocks of two machines may be a minute apart; OpenSSL gives nothing"),
	ok("a leaf that begins in 30 s", three({ fromMs: NOW_MS + 30 * SECOND }), "as above"),
	ok(
		"a trusted authority that another one has signed",
		async () => {
			const middle = await intermediate(await root());
			return { roots: [middle], presented: [await leaf(middle)] };
		},
		"what stands in the bundle is trusted (RFC 5280 6.1, as Go); OpenSSL wants -partial_chain for that",
	),
	bad("tls_chain_invalid", "an authority as a service", three({ ca: true }), "X509-SVID 5.2: signing certificates are not for authentication"),
	bad(
		"tls_chain_invalid",
		"a service whose key may sign certificates",
		three({ keyUsage: SIGN | KeyUsageFlags.keyCertSign }),
		"X509-SVID 5.2, as above",
	),
	bad(
		"tls_san_mismatch",
		"two URIs",
		three({ uris: [`spiffe://${TRUST_DOMAIN}/payments`, `spiffe://${TRUST_DOMAIN}/orders`] }),
		"X509-SVID 2: one certificate, one identity",
	),
	bad("tls_san_mismatch", "no URI", three({ uris: [] }), "who has no SPIFFE ID is nobody here"),
	bad(
		"tls_chain_invalid",
		"a critical inhibitAnyPolicy",
		three({ extra: [inhibitAnyPolicy] }),
		"we do not process policies, so RFC 5280 4.2 makes us refuse; OpenSSL reads over it",
	),
	bad(
		"tls_unknown_ca",
		"an issuer that is spelt in capitals",
		async () => {
			const top = await root({ name: "CN=Authority" });
			return { roots: [top], presented: [await leaf(top, { issuerName: "CN=AUTHORITY" })] };
		},
		"RFC 5280 4.1.2.6 wants both names written alike; Go compares bytes as well",
	),
];

const CASES = [...GOOD, ...BAD, ...DIFFERENT];

test(`there are ${CASES_MIN} chains or more, and each has a name of its own`, () => {
	assert.ok(CASES.length >= CASES_MIN, `${CASES.length}`);
	assert.equal(new Set(CASES.map(({ title }) => title)).size, CASES.length);
});

for (const { title, build, verdict, differs } of CASES) {
	test(`${title}: ${verdict}${differs === undefined ? "" : `, unlike OpenSSL: ${differs}`}`, { skip }, async (t) => {
		const chain = await build();
		assert.equal(ourVerdict(chain), verdict);
		const folder = mkdtempSync(join(tmpdir(), "nexus-openssl-"));
		t.after(() => rmSync(folder, { recursive: true, force: true }));
		const theirs = await opensslVerdict(chain, folder);
		const agrees = (theirs === "ok") === (verdict === "ok");
		assert.equal(agrees, differs === undefined, `openssl says: ${theirs}`);
	});
}

function ourVerdict({ roots, presented, purpose = "server" }: Chain): string {
	const pem = roots.map((made) => pemOf(made.der, "CERTIFICATE")).join("");
	const reading = readTrustBundle({ version: 1, trustDomains: { [TRUST_DOMAIN]: pem } });
	assert.ok(reading.ok, reading.ok ? "" : reading.faults.join("; "));
	const verdict = verifyChain(
		presented.map((made) => made.der),
		verifyOptions([], { bundle: reading.bundle, purpose }),
	);
	return verdict.ok ? "ok" : verdict.reason;
}

async function opensslVerdict({ roots, presented, purpose = "server" }: Chain, folder: string): Promise<string> {
	const file = (name: string, list: readonly Made[]): string => {
		const path = join(folder, name);
		writeFileSync(path, list.map((made) => pemOf(made.der, "CERTIFICATE")).join(""));
		return path;
	};
	const [first, ...others] = presented;
	assert.ok(first);
	const untrusted = others.length === 0 ? [] : ["-untrusted", file("untrusted.pem", others)];
	const trusted = ["-no-CApath", "-no-CAstore", "-CAfile", file("roots.pem", roots), ...untrusted];
	const how = ["-purpose", `ssl${purpose}`, "-attime", String(NOW_MS / SECOND)];
	try {
		await promisify(execFile)("openssl", ["verify", ...trusted, ...how, file("leaf.pem", [first])]);
		return "ok";
	} catch (refused) {
		const { stderr, code } = refused as { stderr: string; code: number };
		assert.equal(code, 2, stderr);
		return stderr.trim();
	}
}
