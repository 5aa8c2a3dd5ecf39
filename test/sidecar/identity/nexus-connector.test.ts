/** Events to Nexus with the identity of the mesh: who is shown, who is believed, and what a new certificate or bundle changes. Real TLS. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { systemClock } from "../../../src/core/clock.ts";
import { readTrustBundle, rootsPem, type TrustBundle, type TrustBundleDocument } from "../../../src/identity/trust-bundle.ts";
import { MeshIdentity } from "../../../src/sidecar/identity/mesh-identity.ts";
import { NexusClient, type PostVerdict } from "../../../src/sidecar/telling/nexus-client.ts";
import { json, SmallAuthority } from "./small-authority.ts";
import { createAuthority, eventually, idOf, issueFor, type TestAuthority, TRUST_DOMAIN } from "./support.ts";

function bundleOf({ root }: TestAuthority, members: Partial<TrustBundleDocument> = {}): TrustBundle {
	const reading = readTrustBundle({ version: 1, trustDomains: { [TRUST_DOMAIN]: rootsPem([root.certificate]) }, ...members });
	assert.ok(reading.ok);
	return reading.bundle;
}

async function setUp(t: TestContext, name = "nexus") {
	const authority = await createAuthority();
	const nexus = await SmallAuthority.start(t, authority, name);
	nexus.misbehave = (req, res) => {
		req.resume();
		json(res, 202, { accepted: 1, rejected: [] });
		return true;
	};
	const identity = MeshIdentity.create(
		{ keyed: await issueFor("payments", authority), bundle: bundleOf(authority) },
		{ self: idOf("payments"), clock: systemClock, onCut: () => {} },
	);
	assert.ok(typeof identity !== "string");
	t.after(() => identity.stop());
	const client = new NexusClient({ url: nexus.url, clock: systemClock, identity: () => identity });
	t.after(() => client.close());
	return { authority, nexus, identity, client };
}

function post(client: NexusClient): Promise<PostVerdict> {
	return client.post(['{"id":"1"}'], new AbortController().signal);
}

test("Nexus sees who sends, and the connection is kept from one batch to the next", async (t) => {
	const { nexus, identity, client } = await setUp(t);
	assert.deepEqual(await post(client), { kind: "delivered", rejected: 0, firstReason: "" });
	assert.equal((await post(client)).kind, "delivered");
	const serial = identity.keyed.chain[0]?.serial;
	assert.deepEqual(
		nexus.asked.map((asked) => [asked.by, asked.serial]),
		[
			["spiffe://mesh.local/payments", serial],
			["spiffe://mesh.local/payments", serial],
		],
	);
	assert.equal(nexus.connections, 1);
	assert.equal(identity.watched, 1);
});

test("a new certificate is shown with the next batch, on a new connection", async (t) => {
	const { authority, nexus, identity, client } = await setUp(t);
	await post(client);
	const next = await issueFor("payments", authority);
	assert.equal(identity.showFromNowOn(next), undefined);
	assert.equal((await post(client)).kind, "delivered");
	assert.equal(nexus.asked.at(-1)?.serial, next.chain[0]?.serial);
	await eventually(() => nexus.connections === 1 && identity.watched === 1, "the old connection is gone");
});

test("another service in Nexus' place gets no event, and the failure says who it is", async (t) => {
	const { nexus, client } = await setUp(t, "search");
	const verdict = await post(client);
	assert.ok(verdict.kind === "failed");
	assert.equal(verdict.message, "the peer is spiffe://mesh.local/search, not spiffe://mesh.local/nexus, which was meant (tls_san_mismatch)");
	assert.deepEqual(nexus.asked, []);
});

test("a Nexus that is revoked is cut off at once, and gets no further event", async (t) => {
	const { authority, nexus, identity, client } = await setUp(t);
	await post(client);
	identity.trustFromNowOn(bundleOf(authority, { version: 2, deniedIdentities: ["spiffe://mesh.local/nexus"] }));
	await eventually(() => nexus.connections === 0, "the connection is cut");
	const verdict = await post(client);
	assert.ok(verdict.kind === "failed");
	assert.match(verdict.message, /tls_cert_revoked/);
	assert.equal(nexus.asked.length, 1);
	identity.trustFromNowOn(bundleOf(authority, { version: 3 }));
	assert.equal((await post(client)).kind, "delivered");
});

test("as long as there is no identity nothing is sent, and in plain text it needs none", async (t) => {
	const client = new NexusClient({ url: "https://127.0.0.1:1", clock: systemClock, identity: () => undefined });
	t.after(() => client.close());
	assert.deepEqual(await post(client), { kind: "failed", message: "this service has no identity yet", retryAfterMs: undefined });
	const plain = new NexusClient({ url: "http://127.0.0.1:1", clock: systemClock, identity: () => undefined });
	t.after(() => plain.close());
	const verdict = await post(plain);
	assert.ok(verdict.kind === "failed" && /ECONNREFUSED/.test(verdict.message));
});
