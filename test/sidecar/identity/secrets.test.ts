/** Nothing that is secret is shown by what people print while they look for a fault. */
import assert from "node:assert/strict";
import type { KeyObject } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { Socket } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { TLSSocket } from "node:tls";
import { inspect } from "node:util";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { seededRng } from "../../../src/core/rng.ts";
import { secretBytes } from "../../../src/core/secret-bytes.ts";
import { privateKeyPem } from "../../../src/identity/certificate-request.ts";
import { createJoinToken, readJoinToken } from "../../../src/identity/join-token.ts";
import { chainPem } from "../../../src/identity/keyed-chain.ts";
import { rootsPem } from "../../../src/identity/trust-bundle.ts";
import { tlsFailure } from "../../../src/net/tls-cause.ts";
import { IdentityKeeper } from "../../../src/sidecar/identity/identity-keeper.ts";
import { TlsEvents } from "../../../src/sidecar/telling/tls-events.ts";
import { createAuthority, issueFor, surroundings, TRUST_DOMAIN, temporaryDirectory } from "./support.ts";

/** As people and tools print things, from the usual to the nosiest. */
function everyPrint(value: unknown): string {
	const nosy = { depth: Number.POSITIVE_INFINITY, showHidden: true, maxArrayLength: null, maxStringLength: null, getters: true } as const;
	return [
		String(value),
		inspect(value),
		inspect(value, nosy),
		inspect(value, { ...nosy, customInspect: false }),
		inspect(value, { ...nosy, showProxy: true, compact: false, breakLength: 60 }),
		jsonOf(value),
	].join("\n");
}

function jsonOf(value: unknown): string {
	const seen = new Set<unknown>();
	return (
		JSON.stringify(value, (_, part) => {
			if (typeof part === "bigint") return String(part);
			if (typeof part !== "object" || part === null) return part;
			if (seen.has(part)) return undefined;
			seen.add(part);
			return part;
		}) ?? ""
	);
}

/**
 * In all the spellings in which a print could show it: base64, hexadecimal, and the bytes of a Buffer as they are inspected and as JSON has
 * them. Bytes are kept out of the pool of small Buffers here, too: any of them would show all of it.
 */
function spellings(secret: Buffer): string[] {
	const bytes = [...secret];
	return [
		secret.toString("base64").replace(/=+$/, ""),
		secret.toString("base64url"),
		secret.toString("hex"),
		bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(" "),
		bytes.join(","),
		bytes.join(", "),
	];
}

function textSpellings(text: string): string[] {
	return [text, ...spellings(secretBytes(text))];
}

/** The private number of an elliptic key, as it stands in every export, and the lines of its PEM. */
function secretsOf(key: KeyObject): string[] {
	const { d } = key.export({ format: "jwk" });
	assert.ok(d);
	const lines = privateKeyPem(key).trim().split("\n");
	return ["PRIVATE KEY", ...lines.slice(1, -1).flatMap(textSpellings), ...spellings(secretBytes(d, "base64url"))];
}

function assertHides(what: string, value: unknown, secrets: readonly string[]): void {
	const printed = everyPrint(value);
	for (const secret of secrets) {
		const at = printed.indexOf(secret);
		assert.equal(at, -1, `${what} shows a secret behind: ${printed.slice(Math.max(0, at - 120), at)}`);
	}
}

test("the search finds a secret that is shown, in each of its spellings", async () => {
	const { key } = await issueFor("payments", await createAuthority());
	const { d } = key.export({ format: "jwk" });
	const scalar = secretBytes(d ?? "", "base64url");
	const leaks = [
		privateKeyPem(key),
		{ key: privateKeyPem(key) },
		key.export({ format: "jwk" }),
		{ scalar },
		[...scalar],
		scalar.toString("hex"),
		new Uint8Array(scalar),
	];
	for (const leak of leaks) assert.throws(() => assertHides("a leak", leak, secretsOf(key)), /shows a secret/);
});

test("identity, keeper, contexts and connections show no key, however they are printed", async (t) => {
	const authority = await createAuthority();
	const keyed = await issueFor("payments", authority);
	const secrets = secretsOf(keyed.key);
	const directory = await temporaryDirectory(t);
	const [cert, key, ca] = ["tls.crt", "tls.key", "ca.crt"].map((name) => join(directory, name)) as [string, string, string];
	await writeFile(cert, chainPem(keyed.chain));
	await writeFile(key, secretBytes(privateKeyPem(keyed.key)), { mode: 0o600 });
	await writeFile(ca, rootsPem([authority.root.certificate]));
	const { log, feed, lines, events } = surroundings(systemClock);
	const place = { file: "mesh.yaml", line: 1, column: 1 };
	const common = { service: "payments", trustDomain: TRUST_DOMAIN, nexusUrl: undefined, clock: systemClock, rng: seededRng(3), log, feed };
	const keeper = new IdentityKeeper({ ...common, policy: { place, kind: "files", cert, key, ca }, onCut: () => {} });
	t.after(() => keeper.stop());
	const identity = await keeper.start();
	const server = identity.server("TLSv1.3");
	const socket = new TLSSocket(new Socket(), { isServer: true, secureContext: server.current });
	t.after(() => void socket.destroy());
	const pooled = Buffer.from("cut from the block that small Buffers share");
	const shown = { pooled, keeper, identity, server, client: identity.client, keyed: identity.keyed, status: keeper.status(), socket, lines, events };
	for (const [what, value] of Object.entries(shown)) assertHides(what, value, secrets);
});

test("what is told of TLS shows no key", async (t) => {
	const { key } = await issueFor("payments", await createAuthority());
	const identities = { self: () => "spiffe://mesh.local/payments", expected: () => "" };
	const told = new TlsEvents({ clock: systemClock, log: silentLogger, feed: { emit: () => {} }, identities });
	t.after(() => told.stop());
	told.onFailed({ direction: "inbound", name: "inbound", address: "10.0.0.9" }, tlsFailure("tls_no_client_cert", "no certificate", "us"));
	assertHides("TlsEvents", told, secretsOf(key));
	assertHides("its report", told.report(), secretsOf(key));
});

test("a join token shows no secret, made or read, damaged or whole", () => {
	const token = createJoinToken({ service: "payments", root: "ab".repeat(32) });
	const text = token.text();
	const { secret } = JSON.parse(secretBytes(text.slice(4), "base64url").toString()) as { secret: string };
	const secrets = [...textSpellings(text), ...textSpellings(secret), ...spellings(secretBytes(secret, "base64url"))];
	assertHides("a token", token, secrets);
	assertHides("a token that was read", readJoinToken(text), secrets);
	assertHides("a token with something behind it", readJoinToken(`${text}AAAA`), secrets);
	assertHides("half a token", readJoinToken(text.slice(0, -20)), [text.slice(0, -20), ...secrets]);
	assertHides("bytes that are no secret", Buffer.from("cut from the pool of small Buffers"), secrets);
	assert.throws(() => assertHides("its text", { text }, secrets), /shows a secret/);
});
