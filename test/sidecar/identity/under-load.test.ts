/**
 * A mesh of real processes under 200 clients: certificates, intermediate and root rotate, Nexus is killed and stays away, services are revoked.
 * `MESH_TTL=3s MESH_ROUNDS=28` rotates every two seconds for a minute.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { eventually } from "../../support/processes.ts";
import { Crowd, identityOf, startJoinedMesh } from "./joined-mesh.ts";

const ROUNDS = Number(process.env.MESH_ROUNDS ?? 2);
/** Short enough to be renewed within a test, long enough for a machine that is busy with others. */
const TTL = process.env.MESH_TTL ?? "8s";

describe("a mesh under 200 clients", { timeout: 300_000 }, () => {
	it("loses no request while leaf, intermediate and root rotate", async (t) => {
		const mesh = await startJoinedMesh(t, TTL);
		const crowd = new Crowd(t, mesh);
		const before = await identityOf(mesh.payments);
		for (let round = 1; round <= ROUNDS; round++) {
			await eventually(`both have renewed ${round} times`, async () => {
				const [payments, checkout] = await Promise.all([identityOf(mesh.payments), identityOf(mesh.checkout)]);
				return payments.renewals.renewed >= round && checkout.renewals.renewed >= round;
			});
		}
		await mesh.operate("ca", "rotate", "--intermediate");
		const intermediate = await identityOf(mesh.payments);
		assert.notEqual(intermediate.certificate.issuer, before.certificate.issuer);
		assert.deepEqual(intermediate.bundle.roots, before.bundle.roots);
		await mesh.operate("ca", "rotate", "--root");
		await eventually("both trust the new root alone", async () => {
			const pages = await Promise.all([identityOf(mesh.payments), identityOf(mesh.checkout)]);
			return pages.every(({ bundle }) => bundle.roots.length === 1 && bundle.roots[0]?.fingerprint !== before.bundle.roots[0]?.fingerprint);
		});
		await crowd.stop();
		assert.deepEqual([...crowd.failures], []);
		assert.ok(crowd.answered > 1_000, `${crowd.answered} answers`);
		t.diagnostic(`${crowd.answered} requests, ${(await identityOf(mesh.payments)).renewals.renewed} renewals`);
	});

	it("loses no request while Nexus is killed, and away when certificates are due", async (t) => {
		// What is left behind the first try must be enough for a Nexus that starts on a busy machine: the tokens are used up.
		const mesh = await startJoinedMesh(t, "30s");
		const crowd = new Crowd(t, mesh);
		const nexus = mesh.processes.find(({ stdout }) => stdout.includes("nexus ready at"));
		assert.ok(nexus !== undefined);
		nexus.process.kill("SIGKILL");
		await nexus.ended;
		const held = (await identityOf(mesh.checkout)).renewals.renewed;
		await eventually("both have tried to renew in vain", async () => {
			const pages = await Promise.all([identityOf(mesh.payments), identityOf(mesh.checkout)]);
			return pages.every(({ renewals }) => renewals.failed > 0);
		});
		await mesh.startNexus();
		await eventually("both have renewed", async () => {
			const pages = await Promise.all([identityOf(mesh.payments), identityOf(mesh.checkout)]);
			return pages.every(({ renewals }) => renewals.renewed > held);
		});
		await crowd.stop();
		assert.deepEqual([...crowd.failures], []);
		assert.ok(crowd.answered > 1_000, `${crowd.answered} answers`);
	});

	it("cuts and refuses a caller that is revoked, and lets it in again when that is taken back", async (t) => {
		const mesh = await startJoinedMesh(t, "1h");
		const crowd = new Crowd(t, mesh);
		await eventually("requests pass", async () => crowd.answered > 200);
		const askedMs = performance.now();
		await mesh.operate("ca", "revoke", "--identity", "spiffe://mesh.local/checkout");
		const revokedMs = performance.now();
		await eventually("it is refused", async () => crowd.failures.has("403 tls_cert_revoked"));
		t.diagnostic(
			`refused ${Math.round(performance.now() - revokedMs)} ms after the command had ended, which took ${Math.round(revokedMs - askedMs)} ms`,
		);
		assert.equal((await crowd.ask("/")).reason, "tls_cert_revoked");
		await mesh.operate("ca", "revoke", "--identity", "spiffe://mesh.local/checkout", "--undo");
		await eventually("it is let in again", async () => (await crowd.ask("/")).status === 200);
		await crowd.stop();
	});

	it("shows no key and no token in anything that it prints or answers", async (t) => {
		const mesh = await startJoinedMesh(t, "2s");
		const crowd = new Crowd(t, mesh);
		await eventually("both have renewed", async () => (await identityOf(mesh.checkout)).renewals.renewed > 1);
		await mesh.operate("ca", "rotate", "--intermediate");
		await mesh.operate("token", "list");
		await mesh.operate("ca", "status");
		await crowd.stop();
		const pages = ["/config", "/identity", "/metrics", "/upstreams", "/limits", "/failures"];
		const answers = await Promise.all(
			[mesh.payments, mesh.checkout].flatMap((admin) => pages.map(async (page) => (await fetch(admin + page)).text())),
		);
		const events = await mesh.operate("events", "--json");
		const said = [...mesh.processes.flatMap(({ stdout, stderr }) => [stdout, stderr]), ...answers, events].join("\n");
		assert.ok(said.length > 10_000);
		assert.doesNotMatch(said, /PRIVATE KEY/);
		const secrets = ["payments.token", "checkout.token", "data/operator.token", "certs/root.key", "certs/intermediate.key"];
		for (const file of secrets) {
			const text = readFileSync(join(mesh.folder, file), "utf8");
			// Of PEM each line, of a token the whole; what is shorter says nothing.
			for (const line of text.split("\n").filter((one) => one.length >= 40 && !one.startsWith("-----"))) assert.ok(!said.includes(line), file);
		}
	});
});
