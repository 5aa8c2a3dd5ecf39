/** Rotation of intermediate and root while workloads are connected: what each step waits for, and that nothing is trusted too early or dropped too soon. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { readAuthorityDir, readRoots } from "../../../src/identity/authority-dir.ts";
import { Caller, HOUR_MS, JumpingClock, makeAuthority, serveAuthority, type TestAuthority, until, type Workload } from "./support.ts";

const FILES = ["ca.pem", "intermediate.key", "intermediate.pem", "root.key"];

/** Keeps polling as a sidecar does, and renews where the issuer is another one, until it is told to stop. */
async function live(workload: Workload, isOver: () => boolean): Promise<void> {
	let issuer = "";
	while (!isOver()) {
		const found = await workload.pollOnce("50ms");
		if (found === undefined) continue;
		if (issuer !== "" && found.issuer !== issuer) await workload.renew();
		issuer = found.issuer;
	}
}

async function stepOf({ status }: TestAuthority): Promise<string> {
	return (await status()).rotation?.step ?? "none";
}

test("without workloads a root is replaced by itself, and the folder looks as before", async (t) => {
	const authority = await serveAuthority(t, { ttlMs: 1_000 });
	const before = await authority.status();
	const caBefore = readFileSync(join(authority.dir, "ca.pem"), "utf8");
	await authority.operate("/v1/authority/rotate", { body: { what: "root" } }, 202);
	// Whoever reads ca.pem as a file trusts both meanwhile.
	const roots = readRoots(readFileSync(join(authority.dir, "ca.pem"), "utf8"));
	assert.ok(typeof roots !== "string" && (roots.length === 2 || roots[0].serial !== before.roots[0]?.serial));
	await until(async () => (await stepOf(authority)) === "none", "the rotation is done");
	const after = await authority.status();
	assert.deepEqual([after.roots.length, after.intermediates.length], [1, 1]);
	assert.notEqual(after.roots[0]?.serial, before.roots[0]?.serial);
	assert.notEqual(after.issuer, before.issuer);
	assert.deepEqual(readdirSync(authority.dir).sort(), FILES);
	for (const name of ["root.key", "intermediate.key"]) assert.equal(statSync(join(authority.dir, name)).mode & 0o777, 0o600);
	assert.notEqual(readFileSync(join(authority.dir, "ca.pem"), "utf8"), caBefore);
	const reading = await readAuthorityDir(authority.dir);
	assert.ok(reading.ok);
	assert.notEqual(reading.dir.root, undefined);
	// Nexus itself is under the new root.
	const trusting = new Caller(t, authority.url, { ca: readFileSync(join(authority.dir, "ca.pem"), "utf8") });
	assert.equal((await trusting.call("/livez")).status, 200);
});

test("a root is issued from only once every workload has it, and retired only once every workload shows a certificate under the new one", async (t) => {
	const clock = new JumpingClock();
	const authority = await serveAuthority(t, { clock, ttlMs: HOUR_MS });
	const [payments, orders] = [await authority.joined("payments"), await authority.joined("orders")];
	await Promise.all([payments.pollOnce(), orders.pollOnce()]);
	await authority.operate("/v1/authority/rotate", { body: { what: "root" } }, 202);
	await authority.operate("/v1/authority/rotate", { body: { what: "root" } }, 409);
	const refusal = await authority.operate("/v1/authority/rotate", { body: { what: "intermediate" } }, 409);
	assert.equal(refusal.json.reason, "under_way");
	const both = await payments.pollOnce("30s");
	assert.equal((both?.bundle.trustDomains["mesh.local"] ?? "").match(/BEGIN CERTIFICATE/g)?.length, 2);
	// Acknowledged by the next poll, not by the answer: that may have been lost.
	assert.equal((await authority.status()).rotation?.waitsForCount, 2);
	await payments.pollOnce();
	const { rotation } = await authority.status();
	assert.deepEqual(
		[rotation?.step, rotation?.waitsFor.map(({ identity, lacks }) => [identity, lacks])],
		["add", [[orders.id.uri, "has not said which bundle it has"]]],
	);
	await orders.pollOnce();
	await orders.pollOnce();
	// Nobody lacks anything, but somebody may not have been heard since the start.
	const patient = (await authority.status()).rotation;
	assert.deepEqual([patient?.step, patient?.waitsForCount], ["add", 0]);
	assert.ok((patient?.patienceLeftMs ?? 0) > 60_000);
	clock.skip(90_000);
	await untilStep(authority, "issue");
	const told = await payments.pollOnce("30s");
	assert.equal(told?.issuer, (await authority.status()).issuer);
	await payments.renew();
	// Given is not shown.
	const given = (await authority.status()).rotation?.waitsFor.find(({ identity }) => identity === payments.id.uri);
	assert.match(given?.lacks ?? "", /was given a new certificate, and has not shown it yet/);
	await payments.pollOnce();
	assert.deepEqual(
		(await authority.status()).rotation?.waitsFor.map(({ identity }) => identity),
		[orders.id.uri],
	);
	await orders.renew();
	await orders.pollOnce();
	await untilStep(authority, "none");
	const last = await payments.pollOnce("30s");
	assert.equal((last?.bundle.trustDomains["mesh.local"] ?? "").match(/BEGIN CERTIFICATE/g)?.length, 1);
	assert.equal((await orders.caller.call("/v1/trust-bundle")).status, 200);
});

function untilStep(authority: TestAuthority, step: string): Promise<boolean> {
	return until(async () => (await stepOf(authority)) === step, `the step ${step}`);
}

test("an intermediate is replaced under workloads that go on all the while", async (t) => {
	const authority = await serveAuthority(t, { ttlMs: 2_000 });
	const workloads = await Promise.all(["a", "b", "c"].map((name) => authority.joined(name)));
	let isOver = false;
	const lives = workloads.map((workload) => live(workload, () => isOver));
	for (const what of ["intermediate", "root", "intermediate"]) {
		const before = (await authority.status()).issuer;
		await authority.operate("/v1/authority/rotate", { body: { what } }, 202);
		await untilStep(authority, "none");
		assert.notEqual((await authority.status()).issuer, before);
	}
	isOver = true;
	await Promise.all(lives);
});

test("who is away is waited for until its certificate ends, or is denied", async (t) => {
	const clock = new JumpingClock();
	const authority = await serveAuthority(t, { clock, ttlMs: 60_000 });
	await authority.joined("gone");
	await authority.joined("also-gone");
	await authority.operate("/v1/authority/rotate", { body: { what: "intermediate" } }, 202);
	const { rotation } = await authority.status();
	assert.deepEqual([rotation?.step, rotation?.waitsForCount], ["issue", 2]);
	await authority.operate("/v1/authority/revocations", { body: { serial: rotation?.waitsFor[0]?.serial } }, 200);
	assert.equal((await authority.status()).rotation?.waitsForCount, 1);
	clock.jump(62_000);
	assert.equal((await authority.status()).rotation?.waitsForCount, 0);
});

test("without the root's key an intermediate is refused, and a root is replaced", async (t) => {
	const folders = await makeAuthority(t);
	rmSync(join(folders.dir, "root.key"));
	const authority = await serveAuthority(t, { ttlMs: 1_000, folders });
	const refusal = await authority.operate("/v1/authority/rotate", { body: { what: "intermediate" } }, 409);
	assert.equal(refusal.json.reason, "no_root_key");
	assert.equal((await authority.status()).hasRootKey, false);
	await authority.operate("/v1/authority/rotate", { body: { what: "root" } }, 202);
	await untilStep(authority, "none");
	assert.equal((await authority.status()).hasRootKey, true);
	await authority.operate("/v1/authority/rotate", { body: { what: "neither" } }, 400);
});

test("an intermediate that comes near its end is replaced without being asked", async (t) => {
	const clock = new JumpingClock();
	const folders = await makeAuthority(t, clock.wallMs() - 300 * 24 * 3_600_000);
	const authority = await serveAuthority(t, { clock, folders, ttlMs: 1_000 });
	const isReplaced = async () => {
		const { intermediates, rotation } = await authority.status();
		return rotation === null && Date.parse(intermediates[0]?.notAfter ?? "") > clock.wallMs() + 360 * 24 * 3_600_000;
	};
	await until(isReplaced, "a new intermediate");
});

test("Nexus refuses to start on a folder that is no authority, and says which file", async (t) => {
	const folders = await makeAuthority(t);
	const path = join(folders.dir, "intermediate.key");
	const key = readFileSync(path, "utf8");
	writeFileSync(path, readFileSync(join(folders.dir, "root.key")));
	await assert.rejects(serveAuthority(t, { folders }), /intermediate\.pem cannot be used: the private key does not belong/);
	rmSync(path);
	await assert.rejects(serveAuthority(t, { folders }), /intermediate\.key is missing/);
	writeFileSync(path, key);
	writeFileSync(join(folders.dataDir, "identity.json"), "{");
	await assert.rejects(serveAuthority(t, { folders }), /identity\.json cannot be used: it is not JSON; tokens, deny lists and rotations stand there/);
	rmSync(join(folders.dir, "ca.pem"));
	rmSync(join(folders.dataDir, "identity.json"));
	await assert.rejects(serveAuthority(t, { folders }), /there is no .*ca\.pem; `nexus ca init --dir .*` makes an authority/);
});

test("certificates of seconds are renewed by Nexus itself, and connections that stand go on", async (t) => {
	const authority = await serveAuthority(t, { ttlMs: 1_000 });
	const serials = new Set<string>();
	const { connect } = await import("node:tls");
	const look = () =>
		new Promise<boolean>((resolve, reject) => {
			const socket = connect({ host: "127.0.0.1", port: authority.nexus.address.port, rejectUnauthorized: false }, () => {
				serials.add(socket.getPeerX509Certificate()?.serialNumber ?? "");
				socket.destroy();
				resolve(serials.size >= 3);
			});
			socket.on("error", reject);
		});
	await until(look, "a third certificate");
	assert.equal((await authority.anybody.call("/livez")).status, 200);
});
