/** Identity from files that somebody else writes: pairs, roots, gaps, damage, renewal. Real files, real certificates. */
import assert from "node:assert/strict";
import { rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Clock, systemClock } from "../../../src/core/clock.ts";
import { seededRng } from "../../../src/core/rng.ts";
import { privateKeyPem } from "../../../src/identity/certificate-request.ts";
import { TAG } from "../../../src/identity/der-reader.ts";
import { chainPem, type KeyedChain } from "../../../src/identity/keyed-chain.ts";
import { pemOf } from "../../../src/identity/pem.ts";
import { rootsPem } from "../../../src/identity/trust-bundle.ts";
import type { IdentityPolicy } from "../../../src/policy/identity-policy.ts";
import { IdentityKeeper } from "../../../src/sidecar/identity/identity-keeper.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { createAuthority, eventually, HOUR, isKeyOf, issueFor, surroundings, TRUST_DOMAIN, temporaryDirectory } from "./support.ts";

type FilesPolicy = Extract<IdentityPolicy, { kind: "files" }>;

async function setUp(t: TestContext, clock: Clock = systemClock) {
	const directory = await temporaryDirectory(t);
	const policy: FilesPolicy = {
		place: { file: "mesh.yaml", line: 1, column: 1 } as FilesPolicy["place"],
		kind: "files",
		cert: join(directory, "tls.crt"),
		key: join(directory, "tls.key"),
		ca: join(directory, "ca.crt"),
	};
	const around = surroundings(clock);
	const keeper = new IdentityKeeper({
		policy,
		service: "payments",
		trustDomain: TRUST_DOMAIN,
		nexusUrl: undefined,
		clock,
		rng: seededRng(7),
		log: around.log,
		feed: around.feed,
		onCut: () => {},
	});
	t.after(() => keeper.stop());
	return { policy, keeper, ...around };
}

/** As tools do it: each whole, one after the other. */
async function writePair(policy: FilesPolicy, keyed: KeyedChain): Promise<void> {
	await replace(policy.cert, chainPem(keyed.chain));
	await replace(policy.key, privateKeyPem(keyed.key));
}

/** Looks, as `eventually`, while time passes twenty times as fast. */
function passing(clock: FakeClock, holds: () => boolean, what: string): Promise<void> {
	return eventually(() => {
		clock.advance(100);
		return holds();
	}, what);
}

async function replace(path: string, text: string): Promise<void> {
	await writeFile(`${path}.new`, text, { mode: 0o600 });
	await rename(`${path}.new`, path);
}

test("a sidecar waits for files that are not there, says so once, and takes them when they come", async (t) => {
	const { policy, keeper, lines } = await setUp(t);
	const started = keeper.start();
	await eventually(() => lines.length >= 3, "each missing file is told");
	assert.match(keeper.notReady().join(), /no identity yet: .*ca\.crt|tls\.|cannot be read/);
	const authority = await createAuthority();
	const keyed = await issueFor("payments", authority);
	await replace(policy.ca, rootsPem([authority.root.certificate]));
	await writePair(policy, keyed);
	const identity = await started;
	assert.equal(identity.keyed.chain[0]?.serial, keyed.chain[0]?.serial);
	assert.deepEqual(keeper.notReady(), []);
	const missing = lines.filter(({ fields }) => fields.reason === "file_missing").map(({ message }) => message);
	assert.equal(new Set(missing).size, missing.length);
	assert.equal(keeper.status().state, "valid");
});

test("certificate and key that are replaced one after the other are taken together, and nothing is said about the moment between", async (t) => {
	const authority = await createAuthority();
	const { policy, keeper, lines, events } = await setUp(t);
	const first = await issueFor("payments", authority);
	await replace(policy.ca, rootsPem([authority.root.certificate]));
	await writePair(policy, first);
	const identity = await keeper.start();
	const second = await issueFor("payments", authority, { lifetimeMs: 2 * HOUR });
	await replace(policy.cert, chainPem(second.chain));
	await new Promise((resolve) => setImmediate(resolve));
	await replace(policy.key, privateKeyPem(second.key));
	await eventually(() => identity.keyed.chain[0]?.serial === second.chain[0]?.serial, "the new pair is taken");
	assert.ok(isKeyOf(identity.keyed.key, second));
	assert.deepEqual(
		lines.filter(({ level }) => level !== "info"),
		[],
	);
	assert.deepEqual(
		events.map(({ type }) => type),
		["nexus.mesh.certificate.rotated"],
	);
});

test("what is of no use is named, and the certificate that was taken before goes on", async (t) => {
	const clock = new FakeClock(Date.now());
	const [authority, others] = [await createAuthority(), await createAuthority()];
	const { policy, keeper, lines } = await setUp(t, clock);
	const first = await issueFor("payments", authority);
	await replace(policy.ca, rootsPem([authority.root.certificate]));
	await writePair(policy, first);
	const identity = await keeper.start();
	const serial = first.chain[0]?.serial;
	const says = async (words: RegExp): Promise<void> => {
		await passing(clock, () => words.test(keeper.status().lastError?.words ?? ""), `${words}, not ${keeper.status().lastError?.words}`);
		assert.equal(identity.keyed.chain[0]?.serial, serial);
		assert.deepEqual(keeper.notReady(), []);
	};
	const other = await issueFor("payments", authority);
	await replace(policy.key, privateKeyPem(other.key));
	await says(/tls\.crt: the private key does not belong to the first certificate/);
	await replace(policy.cert, chainPem(first.chain).slice(0, 400));
	await says(/tls\.crt: a block of CERTIFICATE has no end/);
	const nameless = Buffer.from(first.chain[0]?.der ?? "");
	nameless[nameless.indexOf("payments") - 2] = TAG.null;
	await replace(policy.cert, pemOf(nameless, "CERTIFICATE"));
	await says(/tls\.crt: certificate 1 is refused: OpenSSL, which is to show it, cannot read it/);
	await writePair(policy, await issueFor("search", authority));
	await says(/is of no use: the certificate is for spiffe:\/\/mesh\.local\/search, and this service is spiffe:\/\/mesh\.local\/payments/);
	await writePair(policy, await issueFor("payments", others));
	await says(/is of no use: .* comes from the authority .*, which bundle version 1 does not have/);
	await writePair(policy, await issueFor("payments", authority, { nowMs: Date.now() - 3 * HOUR }));
	await says(/is of no use: .* ended .* ago/);
	await rm(policy.key);
	await says(/tls\.key cannot be read: .*ENOENT/);
	await writeFile(policy.key, "A".repeat(2 * 1024 * 1024));
	await says(/tls\.key has more than 1048576 bytes/);
	await writePair(policy, other);
	await passing(clock, () => identity.keyed.chain[0]?.serial === other.chain[0]?.serial, "a good one is taken");
	assert.equal(keeper.status().lastError, undefined);
	assert.ok(lines.some(({ message }) => message === "the source of the identity works again"));
});

test("roots that are replaced decide at once whom connections may stand with; roots that trust nobody change nothing", async (t) => {
	const clock = new FakeClock(Date.now());
	const [authority, others] = [await createAuthority(), await createAuthority()];
	const { policy, keeper, lines } = await setUp(t, clock);
	const roots = (...of: readonly { readonly root: { readonly certificate: Parameters<typeof rootsPem>[0][number] } }[]): string =>
		rootsPem(of.map(({ root }) => root.certificate));
	await replace(policy.ca, roots(authority));
	await writePair(policy, await issueFor("payments", authority));
	const identity = await keeper.start();
	await replace(policy.ca, "# no certificate any more\n");
	await passing(clock, () => lines.some(({ message }) => /ca\.crt: .*there is no block of CERTIFICATE/.test(message)), "empty roots are told");
	assert.equal(identity.bundle.version, 1);
	const leaf = (await issueFor("payments", others)).chain;
	await replace(policy.ca, chainPem(leaf.slice(0, 1)));
	await passing(clock, () => lines.some(({ message }) => /is no root authority/.test(message)), "a leaf is no root");
	assert.equal(identity.bundle.version, 1);
	await replace(policy.ca, roots(authority, others));
	await passing(clock, () => identity.bundle.roots.get(TRUST_DOMAIN)?.length === 2, "both roots are trusted");
	const theirs = await issueFor("payments", others);
	await writePair(policy, theirs);
	await passing(clock, () => identity.keyed.chain[0]?.serial === theirs.chain[0]?.serial, "a certificate under the second root is taken");
	await replace(policy.ca, roots(authority));
	await passing(
		clock,
		() => lines.some(({ message }) => /our own certificate is of no use any more/.test(message)),
		"who took our root away is told",
	);
});

test("a certificate that nobody renews is warned about at 80 % and 95 % of its life and at its end, in words that name the file", async (t) => {
	const authority = await createAuthority();
	const clock = new FakeClock(Date.now());
	const { policy, keeper, lines, events } = await setUp(t, clock);
	await replace(policy.ca, rootsPem([authority.root.certificate]));
	await writePair(policy, await issueFor("payments", authority));
	const identity = await keeper.start();
	const expiring = () =>
		events.filter(({ type }) => type === "nexus.mesh.certificate.expiring").map(({ data }) => data as { expired: boolean; lastError: string });
	clock.advance(0.78 * HOUR);
	assert.deepEqual(expiring(), []);
	// Looking at files takes a moment of real time.
	await eventually(() => keeper.status().renewals.failed > 0, "it has looked for a new one");
	clock.advance(0.03 * HOUR);
	assert.equal(expiring().length, 1);
	assert.match(expiring()[0]?.lastError ?? "", /whoever renews .*tls\.crt has not done so yet/);
	clock.advance(0.15 * HOUR);
	assert.equal(expiring().length, 2);
	assert.deepEqual(keeper.notReady(), []);
	clock.advance(0.1 * HOUR);
	assert.deepEqual(
		expiring().map(({ expired }) => expired),
		[false, false, true],
	);
	assert.match(keeper.notReady().join(), /^the certificate ended at /);
	assert.ok(lines.some(({ level, fields }) => level === "error" && fields.reason === "tls_cert_expired"));
	const late = await issueFor("payments", authority, { lifetimeMs: 3 * HOUR, nowMs: clock.wallMs() });
	await writePair(policy, late);
	await eventually(() => {
		clock.advance(200);
		return identity.keyed.chain[0]?.serial === late.chain[0]?.serial;
	}, "a late one is taken");
	assert.deepEqual(keeper.notReady(), []);
	assert.equal(events.at(-1)?.type, "nexus.mesh.certificate.rotated");
});

test("a certificate that is not valid yet is waited for, as clocks are set late", async (t) => {
	const authority = await createAuthority(Date.now() - HOUR);
	const clock = new FakeClock(Date.now() - HOUR);
	const { policy, keeper } = await setUp(t, clock);
	await replace(policy.ca, rootsPem([authority.root.certificate]));
	await writePair(policy, await issueFor("payments", authority));
	const started = keeper.start();
	await eventually(() => {
		clock.advance(100);
		return /begins in .* our clock says/.test(keeper.notReady().join());
	}, "it says that the clock is wrong");
	clock.jumpWall(HOUR);
	await eventually(() => {
		clock.advance(100);
		return keeper.notReady().length === 0;
	}, "the clock is set");
	await started;
});
