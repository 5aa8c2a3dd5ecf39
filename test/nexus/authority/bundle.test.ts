/** The trust bundle as sidecars take it, deny lists, and what both do to callers that are connected. Over TLS. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BundlePolls, type Poll } from "../../../src/nexus/authority/bundle-polls.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { Caller, JumpingClock, makeAuthority, serveAuthority, until } from "./support.ts";

test("a poll is answered at once where there is something newer, with 204 when its time is over, and by a change in between", async (t) => {
	const { joined, operate } = await serveAuthority(t);
	const payments = await joined("payments");
	const first = await payments.pollOnce();
	assert.deepEqual(Object.keys(first?.bundle.trustDomains ?? {}), ["mesh.local"]);
	assert.match(first?.issuer ?? "", /^[0-9a-f]{64}$/);
	assert.equal(await payments.pollOnce(), undefined);
	assert.equal(await payments.pollOnce("20ms"), undefined);
	const held = payments.pollOnce("60s");
	await until(async () => /nexus_trust_bundle_waiters 1/.test((await operate("/metrics", {}, 200)).text), "the poll waits");
	await operate("/v1/authority/revocations", { body: { serial: "0A:BC" } }, 200);
	const next = await held;
	assert.deepEqual(next?.bundle.deniedSerials, ["abc"]);
	assert.ok((next?.bundle.version ?? 0) > (first?.bundle.version ?? 0));
	const waiters = async () => /nexus_trust_bundle_waiters 0/.test((await operate("/metrics", {}, 200)).text);
	await until(waiters, "nobody waits any more");
});

test("polls that ask for what cannot be are refused, and who goes away is forgotten", async (t) => {
	const { joined, operate, url } = await serveAuthority(t);
	const payments = await joined("payments");
	for (const query of ["after=x", "after=-1", "wait=61s", "wait=soon", "more=1"]) {
		assert.equal((await payments.caller.call(`/v1/trust-bundle?${query}`)).status, 400, query);
	}
	assert.equal((await new Caller(t, url).call("/v1/trust-bundle")).status, 401);
	await payments.pollOnce();
	const abort = new AbortController();
	const { request } = await import("node:https");
	const leaving = request(new URL(`/v1/trust-bundle?after=${payments.version}&wait=60s`, url), {
		cert: payments.certificate,
		key: payments.key,
		rejectUnauthorized: false,
		signal: abort.signal,
	});
	leaving.on("error", () => {});
	leaving.end();
	await until(async () => /nexus_trust_bundle_waiters 1/.test((await operate("/metrics", {}, 200)).text), "the poll waits");
	abort.abort();
	await until(async () => /nexus_trust_bundle_waiters 0/.test((await operate("/metrics", {}, 200)).text), "the poll is forgotten");
});

test("a denied certificate is refused on the connection that it has, on new ones, and its streams end; others go on", async (t) => {
	const { joined, operate, status } = await serveAuthority(t, { access: { anonymous: [], identities: { read: ["payments"] }, isStated: true } });
	const [payments, orders] = [await joined("payments"), await joined("orders")];
	await Promise.all([payments.pollOnce(), orders.pollOnce()]);
	const stream = payments.caller.call("/v1/events/stream");
	await until(async () => /nexus_followers 1/.test((await operate("/metrics", {}, 200)).text), "the stream is open");
	const { workloads } = await status();
	const serial = workloads.find(({ identity }) => identity === payments.id.uri)?.serial ?? "";
	await operate("/v1/authority/revocations", { body: { serial: serial.toUpperCase() } }, 200);
	assert.equal((await stream).status, 200);
	const after = await payments.caller.call("/v1/trust-bundle");
	assert.deepEqual([after.status, after.json.reason], [403, "tls_cert_revoked"]);
	assert.ok((await orders.pollOnce("60s"))?.bundle.deniedSerials?.includes(serial));
	await operate("/v1/authority/revocations", { method: "DELETE", body: { serial } }, 200);
	assert.equal((await payments.caller.call("/v1/trust-bundle")).status, 200);
	await operate("/v1/authority/revocations", { method: "DELETE", body: { serial } }, 404);
});

test("deny lists refuse what is no serial number and no identity, and what all rests on", async (t) => {
	const { operate, status } = await serveAuthority(t);
	const bodies = [
		{ serial: "xyz" },
		{ serial: "" },
		{ serial: "0".repeat(60).replace(/0$/, "g") },
		{ identity: "spiffe://Mesh/x" },
		{ identity: "a b" },
		{},
		{ serial: "1", identity: "x" },
	];
	for (const body of bodies) await operate("/v1/authority/revocations", { body }, 400);
	const { roots, intermediates } = await status();
	for (const { serial } of [...roots, ...intermediates]) await operate("/v1/authority/revocations", { body: { serial } }, 409);
	for (const identity of ["nexus", "spiffe://mesh.local/nexus"]) await operate("/v1/authority/revocations", { body: { identity } }, 409);
	const { bundleVersion } = await status();
	// Twice the same is once.
	const first = (await operate("/v1/authority/revocations", { body: { identity: "payments" } }, 200)).json.bundleVersion;
	const second = (await operate("/v1/authority/revocations", { body: { identity: "spiffe://mesh.local/payments" } }, 200)).json.bundleVersion;
	assert.ok(Number(first) > bundleVersion);
	assert.equal(second, first);
});

test("what is denied stays so after a restart, and versions grow over restarts, lost data and a clock that goes back", async (t) => {
	const clock = new JumpingClock();
	const folders = await makeAuthority(t);
	const first = await serveAuthority(t, { folders, clock });
	await first.operate("/v1/authority/revocations", { body: { identity: "payments" } }, 200);
	const { bundleVersion } = await first.status();
	await first.nexus.close();
	const second = await serveAuthority(t, { folders, clock });
	const restarted = await second.status();
	assert.deepEqual(restarted.deniedIdentities, ["spiffe://mesh.local/payments"]);
	assert.ok(restarted.bundleVersion > bundleVersion);
	clock.jump(-30_000);
	await second.operate("/v1/authority/revocations", { body: { identity: "orders" } }, 200);
	const back = await second.status();
	assert.ok(back.bundleVersion > restarted.bundleVersion);
	await second.nexus.close();
	clock.jump(40_000);
	const { dataDir } = await makeAuthority(t);
	const anew = await serveAuthority(t, { folders: { dir: folders.dir, dataDir }, clock });
	assert.ok((await anew.status()).bundleVersion > back.bundleVersion);
});

test("closing answers those who wait", async (t) => {
	const { joined, nexus, operate } = await serveAuthority(t);
	const payments = await joined("payments");
	await payments.pollOnce();
	const held = payments.pollOnce("60s");
	await until(async () => /nexus_trust_bundle_waiters 1/.test((await operate("/metrics", {}, 200)).text), "the poll waits");
	assert.deepEqual(await nexus.close(), []);
	assert.equal(await held, undefined);
});

test("so many may wait and no more; each is answered once, a crowd in several turns of the loop", async () => {
	const clock = new FakeClock();
	const polls = new BundlePolls(clock, 600);
	const answers: string[] = [];
	const poll = (after: number): Poll => ({ after, answer: (outcome) => answers.push(outcome) });
	for (let i = 0; i < 599; i++) assert.ok(polls.add(poll(1), 30_000));
	assert.ok(polls.add(poll(5), 30_000));
	assert.ok(!polls.add(poll(1), 30_000));
	polls.changed(2);
	assert.equal(answers.length, 256);
	await until(() => answers.length === 599, "the rest is answered");
	assert.equal(polls.size, 1);
	clock.advance(30_000);
	assert.deepEqual([answers.length, answers.at(-1), polls.size, clock.pendingTimers], [600, "over", 0, 0]);
});
