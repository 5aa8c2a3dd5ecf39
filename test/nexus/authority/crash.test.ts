/** Rotation that is cut off: between any two writes, and by killing a real `nexus serve` again and again. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { writePublicFile } from "../../../src/core/secret-file.ts";
import { readAuthorityDir } from "../../../src/identity/authority-dir.ts";
import { createAuthority, createIntermediate } from "../../../src/identity/new-authority.ts";
import { trustNext, writeNext } from "../../../src/nexus/authority/authority-files.ts";
import { EMPTY_STATE, type IdentityState, type RotationState } from "../../../src/nexus/authority/identity-state.ts";
import { type NexusProcess, spawnNexus } from "../nexus-process.ts";
import { Caller, makeAuthority, serveAuthority, TRUST_DOMAIN, until, Workload } from "./support.ts";

const FILES = ["ca.pem", "intermediate.key", "intermediate.pem", "root.key"];

/** A folder and a state as a rotation has left them at this step; the fingerprint of what comes next. */
async function cutOff(t: TestContext, what: RotationState["what"], step: RotationState["step"]) {
	const folders = await makeAuthority(t);
	const options = { trustDomain: TRUST_DOMAIN, nowMs: Date.now() };
	const reading = await readAuthorityDir(folders.dir);
	assert.ok(reading.ok && reading.dir.root !== undefined);
	const old = reading.dir.intermediate.certificate.fingerprint;
	const next = what === "root" ? await createAuthority(options) : { intermediate: await createIntermediate(reading.dir.root, options) };
	await writeNext(folders.dir, next);
	const { fingerprint } = next.intermediate.certificate;
	const rotation: RotationState = { what, step, version: 7, startedMs: Date.now(), stepMs: Date.now(), next: fingerprint };
	const state: IdentityState = { ...EMPTY_STATE, version: 7, rotation };
	writeFileSync(join(folders.dataDir, "identity.json"), JSON.stringify(state));
	return { folders, old, next: fingerprint };
}

/** The writes of the last step, one after the other: any number of them may have been done. */
const LAST_WRITES: readonly ((dir: string) => Promise<void> | void)[] = [
	(dir) => renameSync(join(dir, "next-intermediate.key"), join(dir, "intermediate.key")),
	(dir) => renameSync(join(dir, "next-intermediate.pem"), join(dir, "intermediate.pem")),
	(dir) => renameSync(join(dir, "next-root.key"), join(dir, "root.key")),
	(dir) => writePublicFile(join(dir, "ca.pem"), readFileSync(join(dir, "next-ca.pem"), "utf8")),
	(dir) => rmSync(join(dir, "next-ca.pem")),
];

for (const [what, writes] of [
	["root", 5],
	["intermediate", 2],
] as const) {
	for (let done = 0; done <= writes; done++) {
		test(`a rotation of the ${what} that is cut off after ${done} of its last ${writes} writes is done at the next start`, async (t) => {
			const { folders, next } = await cutOff(t, what, "retire");
			for (const write of LAST_WRITES.slice(0, done)) await write(folders.dir);
			const authority = await serveAuthority(t, { folders });
			const status = await authority.status();
			assert.deepEqual([status.rotation, status.issuer, status.roots.length], [null, next, 1]);
			assert.ok((await readAuthorityDir(folders.dir)).ok);
			assert.deepEqual(readdirSync(folders.dir).sort(), FILES);
			await (await authority.joined("payments")).pollOnce();
		});
	}
}

test("a rotation that is cut off before it was written down never began, and nothing of it is left", async (t) => {
	const { folders, old } = await cutOff(t, "root", "add");
	rmSync(join(folders.dataDir, "identity.json"));
	const authority = await serveAuthority(t, { folders });
	const status = await authority.status();
	assert.deepEqual([status.rotation, status.issuer, status.roots.length], [null, old, 1]);
	assert.deepEqual(readdirSync(folders.dir).sort(), FILES);
});

for (const isTrusted of [false, true]) {
	test(`a rotation goes on from the step that was written down, with the new root ${isTrusted ? "already" : "not yet"} in ca.pem`, async (t) => {
		for (const step of ["add", "issue"] as const) {
			const { folders, old, next } = await cutOff(t, "root", step);
			if (isTrusted) {
				const reading = await readAuthorityDir(folders.dir, {
					roots: "next-ca.pem",
					rootKey: "next-root.key",
					intermediate: "next-intermediate.pem",
					intermediateKey: "next-intermediate.key",
				});
				assert.ok(reading.ok);
				await trustNext(folders.dir, { root: reading.dir.roots[0], intermediate: reading.dir.intermediate });
			}
			const authority = await serveAuthority(t, { folders });
			const status = await authority.status();
			assert.deepEqual([status.rotation?.step, status.issuer, status.roots.length], [step, step === "add" ? old : next, 2]);
			const payments = await authority.joined("payments");
			assert.equal((await payments.pollOnce())?.bundle.trustDomains[TRUST_DOMAIN]?.match(/BEGIN/g)?.length, 2);
		}
	});
}

test("a rotation whose next authority cannot be read is given up, and the mesh goes on", async (t) => {
	const { folders, old } = await cutOff(t, "root", "issue");
	rmSync(join(folders.dir, "next-intermediate.key"));
	const authority = await serveAuthority(t, { folders });
	const status = await authority.status();
	assert.deepEqual([status.rotation, status.issuer], [null, old]);
});

test("a nexus serve that is killed again and again during a rotation of the root ends it, and no workload is ever refused", async (t) => {
	const { base, dir, dataDir } = await makeAuthority(t);
	const port = await freePort();
	const configFile = join(base, "nexus.yaml");
	writeFileSync(configFile, `listen: 127.0.0.1:${port}\ndata: ./data\nauthority: { dir: ./ca, certificateTtl: 8s }\n`);
	let nexus: NexusProcess = await spawnNexus(["--config", configFile]);
	t.after(() => nexus.stop("SIGKILL"));
	const operator = readFileSync(join(dataDir, "operator.token"), "utf8").trim();
	const anybody = new Caller(t, nexus.url);
	const rotationOf = async () => {
		const { status, json } = await anybody.call("/v1/authority", { token: operator });
		assert.equal(status, 200);
		return json as { issuer: string; rotation: { step: string } | null; roots: unknown[] };
	};
	const made = await anybody.call("/v1/tokens", { token: operator, body: { service: "payments", uses: 1 } });
	const payments = new Workload(t, nexus.url, "payments");
	await payments.join(String(made.json.token));

	let isOver = false;
	const life = liveThroughRestarts(payments, () => isOver);
	const before = (await rotationOf()).issuer;
	assert.equal((await anybody.call("/v1/authority/rotate", { token: operator, body: { what: "root" } })).status, 202);
	// Killed as soon as each step is seen, and once more wherever it is then.
	for (const step of ["add", "issue"]) {
		await until(async () => (await rotationOf().catch(() => undefined))?.rotation?.step === step, `the step ${step}`);
		for (let again = 0; again < 2; again++) {
			await nexus.stop("SIGKILL");
			nexus = await spawnNexus(["--config", configFile]);
		}
	}
	await until(async () => (await rotationOf().catch(() => undefined))?.rotation === null, "the end of the rotation");
	const after = await rotationOf();
	assert.notEqual(after.issuer, before);
	assert.equal(after.roots.length, 1);
	isOver = true;
	await life;
	assert.deepEqual(readdirSync(dir).sort(), FILES);
	assert.equal((await payments.caller.call("/v1/trust-bundle")).status, 200);
});

/** A sidecar's client in short: what it cannot reach it asks again; what is refused fails the test. */
async function liveThroughRestarts(workload: Workload, isOver: () => boolean): Promise<void> {
	let renewAtMs = Date.now() + 2_000;
	let issuer = "";
	while (!isOver()) {
		try {
			const found = await workload.pollOnce("200ms");
			if (Date.now() > renewAtMs || (found !== undefined && issuer !== "" && found.issuer !== issuer)) {
				await workload.renew();
				renewAtMs = Date.now() + 2_000;
			}
			issuer = found?.issuer ?? issuer;
		} catch (thrown) {
			if (thrown instanceof assert.AssertionError && !/draining/.test(thrown.message)) throw thrown;
			await new Promise((resolve) => setTimeout(resolve, 20));
		}
	}
}

function freePort(): Promise<number> {
	return new Promise((resolve, reject) => {
		const server = createServer().on("error", reject);
		server.listen(0, "127.0.0.1", () => {
			const address = server.address();
			server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
		});
	});
}
