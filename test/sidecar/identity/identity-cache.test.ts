/** What a sidecar keeps between two starts: modes and owners, damage, kill -9 in the middle of writing. Real files. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmod, chown, mkdir, readdir, readFile, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { systemClock } from "../../../src/core/clock.ts";
import { privateKeyPem } from "../../../src/identity/certificate-request.ts";
import { chainPem } from "../../../src/identity/keyed-chain.ts";
import { readTrustBundle, rootsPem, type TrustBundle } from "../../../src/identity/trust-bundle.ts";
import { IdentityCache } from "../../../src/sidecar/identity/identity-cache.ts";
import { createAuthority, isKeyOf, issueFor, type TestAuthority, TRUST_DOMAIN, temporaryDirectory } from "./support.ts";

interface Kept {
	readonly directory: string;
	readonly cache: IdentityCache;
	readonly authority: TestAuthority;
	/** A new one on the same directory, as after a start. */
	again(): IdentityCache;
}

async function keep(t: TestContext): Promise<Kept> {
	const directory = join(await temporaryDirectory(t), "identity");
	const authority = await createAuthority();
	const cache = new IdentityCache(directory, systemClock);
	assert.deepEqual(await cache.load(), { keyed: undefined, bundle: undefined, faults: [] });
	return { directory, cache, authority, again: () => new IdentityCache(directory, systemClock) };
}

function bundleOf({ root }: TestAuthority, version = 3): TrustBundle {
	const reading = readTrustBundle({ version, trustDomains: { [TRUST_DOMAIN]: rootsPem([root.certificate]) }, deniedSerials: ["4711"] });
	assert.ok(reading.ok);
	return reading.bundle;
}

test("key, certificate and bundle come back as they were kept, in files that only their owner can use", async (t) => {
	const { directory, cache, authority, again } = await keep(t);
	const keyed = await issueFor("payments", authority);
	assert.equal(await cache.saveIdentity(keyed), undefined);
	assert.equal(await cache.saveBundle(bundleOf(authority)), undefined);
	const loaded = await again().load();
	assert.deepEqual(loaded.faults, []);
	assert.ok(loaded.keyed);
	assert.ok(loaded.keyed.key.equals(keyed.key));
	assert.deepEqual(
		loaded.keyed.chain.map(({ fingerprint }) => fingerprint),
		keyed.chain.map(({ fingerprint }) => fingerprint),
	);
	assert.equal(loaded.bundle?.version, 3);
	assert.ok(loaded.bundle.isDeniedSerial("4711"));
	assert.equal((await stat(directory)).mode & 0o777, 0o700);
	for (const name of await readdir(directory)) assert.equal((await stat(join(directory, name))).mode & 0o777, 0o600, name);
	assert.deepEqual((await readdir(directory)).sort(), ["bundle.json", "identity.pem"]);
});

test("a file that others may use is refused with a sentence, and replaced by the next one that is kept", async (t) => {
	const { directory, cache, authority, again } = await keep(t);
	await cache.saveIdentity(await issueFor("payments", authority));
	await chmod(join(directory, "identity.pem"), 0o640);
	const { keyed, faults } = await again().load();
	assert.equal(keyed, undefined);
	assert.deepEqual(
		faults.map(({ reason }) => reason),
		["cache_refused"],
	);
	assert.match(faults[0]?.words ?? "", /identity\.pem may be used by others \(mode 640\), and must be 600: whoever has read it has its key/);
	const second = await issueFor("payments", authority);
	assert.equal(await cache.saveIdentity(second), undefined);
	assert.ok((await again().load()).keyed?.key.equals(second.key));
});

test("a link in place of a file is not followed", async (t) => {
	const { directory, cache, authority, again } = await keep(t);
	const elsewhere = join(directory, "..", "elsewhere.pem");
	const keyed = await issueFor("payments", authority);
	await writeFile(elsewhere, `${privateKeyPem(keyed.key)}${chainPem(keyed.chain)}`, { mode: 0o600 });
	await symlink(elsewhere, join(directory, "identity.pem"));
	const loaded = await again().load();
	assert.equal(loaded.keyed, undefined);
	assert.match(loaded.faults[0]?.words ?? "", /identity\.pem cannot be read: .*ELOOP/);
	const before = await readFile(elsewhere, "utf8");
	await cache.saveIdentity(await issueFor("payments", authority));
	assert.equal(await readFile(elsewhere, "utf8"), before, "nor written through");
});

test("a directory in which others may write is not used at all", async (t) => {
	const { directory, cache, authority, again } = await keep(t);
	await cache.saveIdentity(await issueFor("payments", authority));
	await chmod(directory, 0o777);
	const refused = again();
	const { keyed, faults } = await refused.load();
	assert.equal(keyed, undefined);
	assert.match(faults[0]?.words ?? "", /identity may be written to by others \(mode 777\): make it 700/);
	const before = await readFile(join(directory, "identity.pem"), "utf8");
	assert.equal(await refused.saveIdentity(await issueFor("payments", authority)), undefined);
	assert.equal(await readFile(join(directory, "identity.pem"), "utf8"), before);
});

test("what belongs to another user is refused", { skip: process.getuid?.() !== 0 && "only root can give files away" }, async (t) => {
	const { directory, cache, authority, again } = await keep(t);
	await cache.saveIdentity(await issueFor("payments", authority));
	await chown(join(directory, "identity.pem"), 1, 1);
	assert.match((await again().load()).faults[0]?.words ?? "", /identity\.pem belongs to user 1, and this process is user 0/);
	await chown(directory, 1, 1);
	assert.match((await again().load()).faults[0]?.words ?? "", /identity belongs to user 1, .*: others could exchange what is kept there/);
});

test("damage is told and read over; what is whole is still used", async (t) => {
	const { directory, cache, authority, again } = await keep(t);
	await cache.saveIdentity(await issueFor("payments", authority));
	await cache.saveBundle(bundleOf(authority));
	const path = join(directory, "identity.pem");
	const whole = await readFile(path, "utf8");
	const [other] = [await issueFor("payments", authority)];
	const damaged: readonly [string, RegExp][] = [
		["", /is damaged: there is no block of CERTIFICATE/],
		[whole.slice(0, -300), /is damaged: a block of CERTIFICATE has no end/],
		[whole.slice(whole.indexOf("-----BEGIN CERT")), /is damaged: the private key cannot be read/],
		[`${privateKeyPem(other.key)}${whole.slice(whole.indexOf("-----BEGIN CERT"))}`, /does not belong to the first certificate/],
	];
	for (const [text, words] of damaged) {
		await writeFile(path, text);
		const { keyed, bundle, faults } = await again().load();
		assert.equal(keyed, undefined);
		assert.equal(bundle?.version, 3);
		assert.match(faults[0]?.words ?? "", words);
		assert.ok(!faults[0]?.words.includes("MII"), "no key is quoted");
	}
	for (const text of ["", "{", "null", '{"version":1,"trustDomains":{}}']) {
		await writeFile(join(directory, "bundle.json"), text);
		assert.match((await again().load()).faults[1]?.words ?? "", /bundle\.json is damaged/);
	}
});

test("what cannot be written is told, and what was kept before is still there", async (t) => {
	const { directory, cache, authority, again } = await keep(t);
	const keyed = await issueFor("payments", authority);
	await cache.saveIdentity(keyed);
	await rm(directory, { recursive: true });
	const fault = await cache.saveIdentity(keyed);
	assert.match(fault?.words ?? "", /identity\.pem cannot be written: .*ENOENT/);
	await mkdir(directory, { mode: 0o700 });
	assert.equal(await cache.saveIdentity(keyed), undefined);
	assert.ok((await again().load()).keyed?.key.equals(keyed.key));
});

const WRITER = `
const { IdentityCache } = await import(process.argv[1]);
const { systemClock } = await import(process.argv[2]);
const cache = new IdentityCache(process.argv[3], systemClock);
let { keyed, bundle } = await cache.load();
process.stdout.write("writing");
for (;;) await Promise.all([cache.saveIdentity(keyed), cache.saveBundle(bundle)]);
`;

test("a process that is killed while it writes leaves whole files, and what it has left beside them is removed once it is old", async (t) => {
	const { directory, cache, authority, again } = await keep(t);
	const keyed = await issueFor("payments", authority);
	await cache.saveIdentity(keyed);
	await cache.saveBundle(bundleOf(authority));
	const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
	const files = [source("../../../src/sidecar/identity/identity-cache.ts"), source("../../../src/core/clock.ts")];
	for (let round = 0; round < 8; round++) {
		const writer = spawn(process.execPath, ["--input-type=module", "-e", WRITER, ...files, directory], { stdio: ["ignore", "pipe", "inherit"] });
		await new Promise((resolve) => writer.stdout.once("data", resolve));
		// Somewhere in the middle of whatever it does by then.
		for (let turn = 0; turn < round * 7; turn++) await new Promise((resolve) => setImmediate(resolve));
		writer.kill("SIGKILL");
		await new Promise((resolve) => writer.once("close", resolve));
		const loaded = await again().load();
		assert.deepEqual(loaded.faults, []);
		assert.ok(loaded.keyed !== undefined && isKeyOf(loaded.keyed.key, loaded.keyed));
		assert.equal(loaded.bundle?.version, 3);
	}
	const left = join(directory, "identity.pem.0123456789ab");
	await writeFile(left, "half a key", { mode: 0o600 });
	await again().load();
	assert.equal((await stat(left)).isFile(), true, "it may belong to a process that runs beside us");
	await utimes(left, new Date(), new Date(Date.now() - 3_600_000));
	await again().load();
	await assert.rejects(stat(left), /ENOENT/);
});
