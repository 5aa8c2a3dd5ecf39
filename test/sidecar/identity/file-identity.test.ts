/** Identity from files that somebody else writes: pairs, roots, gaps, damage, renewal. Real files, real certificates. */
import assert from "node:assert/strict";
import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { systemClock } from "../../../src/core/clock.ts";
import { seededRng } from "../../../src/core/rng.ts";
import { privateKeyPem } from "../../../src/identity/certificate-request.ts";
import { chainPem, type KeyedChain } from "../../../src/identity/keyed-chain.ts";
import { rootsPem } from "../../../src/identity/trust-bundle.ts";
import type { IdentityPolicy } from "../../../src/policy/identity-policy.ts";
import { IdentityKeeper } from "../../../src/sidecar/identity/identity-keeper.ts";
import { createAuthority, eventually, issueFor, surroundings, TRUST_DOMAIN, temporaryDirectory } from "./support.ts";

type FilesPolicy = Extract<IdentityPolicy, { kind: "files" }>;

async function setUp(t: TestContext) {
	const directory = await temporaryDirectory(t);
	const policy: FilesPolicy = {
		place: { file: "mesh.yaml", line: 1, column: 1 } as FilesPolicy["place"],
		kind: "files",
		cert: join(directory, "tls.crt"),
		key: join(directory, "tls.key"),
		ca: join(directory, "ca.crt"),
	};
	const around = surroundings(systemClock);
	const keeper = new IdentityKeeper({
		policy,
		service: "payments",
		trustDomain: TRUST_DOMAIN,
		nexusUrl: undefined,
		clock: systemClock,
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
