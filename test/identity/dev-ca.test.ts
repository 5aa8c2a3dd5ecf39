/** `certs/dev-ca.ts`: from an empty folder to certificates that openssl takes, with keys that only their owner reads. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { writeSecretFile } from "../../src/core/secret-file.ts";
import { readKeyedChain } from "../../src/identity/keyed-chain.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

function folderOf(t: TestContext): string {
	const folder = mkdtempSync(join(tmpdir(), "nexus-dev-ca-"));
	t.after(() => rmSync(folder, { recursive: true, force: true }));
	return folder;
}

function run(folder: string, ...args: string[]): { status: number | null; stdout: string; stderr: string } {
	return spawnSync(process.execPath, [join(ROOT, "certs/dev-ca.ts"), "--out", folder, ...args], { encoding: "utf8", timeout: 60_000 });
}

const text = (folder: string, name: string): string => readFileSync(join(folder, name), "utf8");

test("an empty folder gets an authority and each service a certificate with its key; keys are their owner's alone", (t) => {
	const folder = folderOf(t);
	const { status, stdout, stderr } = run(folder, "payments", "orders");
	assert.equal(status, 0, stderr);
	const files = ["ca.pem", "intermediate.key", "intermediate.pem", "orders.key", "orders.pem", "payments.key", "payments.pem", "root.key"];
	assert.deepEqual(readdirSync(folder).sort(), files);
	for (const file of files) {
		assert.ok(stdout.includes(join(folder, file)), file);
		if (file.endsWith(".key")) assert.equal(statSync(join(folder, file)).mode & 0o777, 0o600, file);
	}
	assert.doesNotMatch(stdout + stderr, /PRIVATE KEY/);
	for (const service of ["payments", "orders"]) {
		const reading = readKeyedChain(text(folder, `${service}.pem`), text(folder, `${service}.key`));
		assert.ok(reading.ok);
		assert.equal(reading.keyed.chain.length, 2);
		assert.deepEqual(reading.keyed.chain[0]?.names.uris, [`spiffe://mesh.local/${service}`]);
	}
});

test("openssl takes what it made, in its strict mode and for both purposes", { skip: skipWithout("openssl", "version") }, (t) => {
	const folder = folderOf(t);
	assert.equal(run(folder, "payments").status, 0);
	for (const purpose of ["sslserver", "sslclient"]) {
		const chain = ["-CAfile", join(folder, "ca.pem"), "-untrusted", join(folder, "intermediate.pem"), join(folder, "payments.pem")];
		const { status, stderr } = spawnSync("openssl", ["verify", "-x509_strict", "-check_ss_sig", "-purpose", purpose, ...chain], { encoding: "utf8" });
		assert.equal(status, 0, stderr);
	}
});

test("a second run keeps the authority, and renews a service's certificate", (t) => {
	const folder = folderOf(t);
	assert.equal(run(folder, "payments").status, 0);
	const before = ["ca.pem", "root.key", "intermediate.pem", "payments.pem"].map((name) => text(folder, name));
	const { status, stdout } = run(folder, "payments", "--hours", "1");
	assert.equal(status, 0);
	assert.doesNotMatch(stdout, /root\.key|ca\.pem/);
	const after = ["ca.pem", "root.key", "intermediate.pem", "payments.pem"].map((name) => text(folder, name));
	assert.deepEqual(after.slice(0, 3), before.slice(0, 3));
	assert.notEqual(after[3], before[3]);
});

test("what cannot be right is refused in one line, and nothing of it is written", (t) => {
	const folder = folderOf(t);
	assert.equal(run(folder).status, 0);
	const refusals = [
		[["--trust-domain", "other.mesh", "payments"], 1, /the authority in .* is not of other\.mesh/],
		[["--trust-domain", "Mesh", "payments"], 1, /Mesh is no trust domain/],
		[["../payments"], 1, /\.\.\/payments is no name of a service/],
		[["payments", "--hours", "25"], 1, /is not between 1 s and 24 h/],
		[["payments", "--hours", "soon"], 1, /is not between 1 s and 24 h/],
		[["--wrong"], 2, /usage:/],
	] as const;
	for (const [args, code, words] of refusals) {
		const { status, stderr } = run(folder, ...args);
		assert.equal(status, code, stderr);
		assert.match(stderr, words);
		assert.doesNotMatch(stderr, /\n {4}at /);
	}
	assert.ok(!existsSync(join(folder, "payments.pem")) && !existsSync(join(folder, "payments.key")));
	rmSync(join(folder, "ca.pem"));
	const { status, stderr } = run(folder, "payments");
	assert.equal(status, 1);
	assert.match(stderr, /there is no .*ca\.pem/);
	writeFileSync(join(folder, "ca.pem"), text(folder, "intermediate.pem"));
	assert.match(run(folder, "payments").stderr, /is not signed by ca\.pem: delete it/);
	writeFileSync(join(folder, "intermediate.key"), text(folder, "root.key"));
	assert.match(run(folder, "payments").stderr, /cannot be used: the private key does not belong/);
});

const isRepository = spawnSync("git", ["-C", ROOT, "rev-parse"]).status === 0;

test("git would not take any of the files", { skip: !isRepository && "this is no repository" }, () => {
	for (const file of ["ca.pem", "root.key", "payments.key", "payments.key.0a1b2c3d4e5f"]) {
		assert.equal(spawnSync("git", ["-C", ROOT, "check-ignore", "-q", `certs/${file}`]).status, 0, file);
	}
	assert.equal(spawnSync("git", ["-C", ROOT, "check-ignore", "-q", "certs/dev-ca.ts"]).status, 1);
});

test("a secret replaces what was there, also a link, and leaves nothing beside it when it fails", async (t) => {
	const folder = folderOf(t);
	const [path, elsewhere] = [join(folder, "a.key"), join(folder, "elsewhere")];
	writeFileSync(elsewhere, "theirs", { mode: 0o644 });
	symlinkSync(elsewhere, path);
	await writeSecretFile(path, "ours");
	assert.equal(text(folder, "a.key"), "ours");
	assert.equal(text(folder, "elsewhere"), "theirs");
	assert.equal(statSync(path).mode & 0o777, 0o600);
	await assert.rejects(writeSecretFile(join(folder, "none", "a.key"), "ours"), { code: "ENOENT" });
	await assert.rejects(writeSecretFile(folder, "ours"), { code: /EISDIR|ENOTEMPTY|EEXIST/ });
	assert.deepEqual(readdirSync(folder).sort(), ["a.key", "elsewhere"]);
});

function skipWithout(tool: string, ...args: string[]): string | false {
	return spawnSync(tool, args).status !== 0 && process.env.NEXUS_TEST_STRICT !== "1" ? `${tool} is not installed` : false;
}
