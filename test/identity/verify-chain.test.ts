/** What is said about a peer: each typed reason from real certificates, with words, identities, dates and a hint. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { REASONS } from "../../src/core/reasons.ts";
import { ChainMemo } from "../../src/identity/chain-memo.ts";
import type { TlsReason, TlsRefusal } from "../../src/identity/tls-refusal.ts";
import { readTrustBundle } from "../../src/identity/trust-bundle.ts";
import { type ChainVerdict, recheckPeer, type VerifiedPeer, type VerifyOptions, verifyChain } from "../../src/identity/verify-chain.ts";
import {
	bundleOf,
	CLIENT_AUTH,
	certificateOf,
	DAY,
	HOUR,
	idOf,
	intermediate,
	leaf,
	type Made,
	NOW_MS,
	root,
	SECOND,
	type Spec,
	verifyOptions,
} from "./support.ts";

const TOP = await root({ name: "CN=mesh root" });
const MIDDLE = await intermediate(TOP, { name: "CN=mesh intermediate" });

async function shown(spec: Spec = {}, issuer: Made = MIDDLE): Promise<readonly Buffer[]> {
	return [(await leaf(issuer, { name: "CN=payments", ...spec })).der, ...(issuer === TOP ? [] : [issuer.der])];
}

function verify(presented: readonly Uint8Array[], changes: Partial<VerifyOptions> = {}): ChainVerdict {
	return verifyChain(presented, verifyOptions([TOP], changes));
}

function refused(verdict: ChainVerdict, reason: TlsReason, words: RegExp): TlsRefusal {
	assert.ok(!verdict.ok, "the peer was taken");
	assert.equal(verdict.reason, reason, verdict.words);
	assert.match(verdict.words, words);
	assert.notEqual(verdict.hint, "");
	for (const text of [verdict.words, verdict.hint, verdict.self, verdict.expected, verdict.peer, verdict.subject, verdict.issuer]) {
		assert.match(text, /^[\x20-\x7e]{0,1024}$/);
	}
	return verdict;
}

function taken(verdict: ChainVerdict): VerifiedPeer {
	assert.ok(verdict.ok, verdict.ok ? "" : `${verdict.reason}: ${verdict.words}`);
	return verdict;
}

test("a peer that is who was meant is taken, with its identity, its path and the moment until which both hold", async () => {
	const presented = await shown({ untilMs: NOW_MS + HOUR });
	const peer = taken(verify(presented, { expected: idOf("payments") }));
	assert.deepEqual(peer.id, idOf("payments"));
	assert.deepEqual(
		peer.path.map(({ der }) => der),
		[...presented, TOP.der],
	);
	assert.equal(peer.leaf, peer.path[0]);
	assert.equal(peer.validUntilMs, NOW_MS + HOUR);
});

test("the path ends with its first certificate that ends, also where that is not the leaf", async () => {
	const middle = await intermediate(TOP, { untilMs: NOW_MS + 10 * SECOND });
	assert.equal(taken(verify(await shown({}, middle))).validUntilMs, NOW_MS + 10 * SECOND);
});

test("a refusal tells both identities, the certificate at fault and its dates", async () => {
	const untilMs = NOW_MS - 3 * 60 * SECOND;
	const presented = await shown({ untilMs, serial: "4a0b" });
	const refusal = refused(
		verify(presented, { expected: idOf("payments") }),
		"tls_cert_expired",
		/spiffe:\/\/mesh\.local\/payments \(serial 4a0b\) is refused: it ended 3 min ago/,
	);
	assert.deepEqual(
		{ ...refusal, words: "", hint: "" },
		{
			ok: false,
			reason: "tls_cert_expired",
			words: "",
			hint: "",
			self: "spiffe://mesh.local/checkout",
			expected: "spiffe://mesh.local/payments",
			peer: "spiffe://mesh.local/payments",
			role: "leaf",
			subject: "CN=payments",
			issuer: "CN=mesh intermediate",
			serial: "4a0b",
			notBefore: new Date(NOW_MS - HOUR).toISOString(),
			notAfter: new Date(untilMs).toISOString(),
		},
	);
	assert.equal(refusal.hint, REASONS.tls_cert_expired.hint);
});

test("clocks that are up to a minute apart are no reason to refuse anybody; a second more is", async () => {
	const presented = await shown({ fromMs: NOW_MS, untilMs: NOW_MS + HOUR });
	taken(verify(presented, { nowMs: NOW_MS - 60 * SECOND }));
	refused(verify(presented, { nowMs: NOW_MS - 61 * SECOND }), "tls_clock_skew", /it begins in 61 s, at .*; our clock says /);
	taken(verify(presented, { nowMs: NOW_MS + HOUR + 60 * SECOND }));
	refused(verify(presented, { nowMs: NOW_MS + HOUR + 61 * SECOND }), "tls_cert_expired", /it ended 61 s ago/);
});

test("a certificate for another day is told apart from a wrong clock", async () => {
	const presented = await shown({ fromMs: NOW_MS + 2 * DAY, untilMs: NOW_MS + 3 * DAY });
	refused(verify(presented), "tls_cert_not_yet_valid", /it begins in 2 d/);
	refused(verify(presented, { nowMs: NOW_MS + DAY }), "tls_clock_skew", /it begins in 24 h/);
});

test("an authority that is over is told rather than the leaf that is over as well", async () => {
	const middle = await intermediate(TOP, { name: "CN=old intermediate", untilMs: NOW_MS - HOUR });
	const refusal = refused(
		verify(await shown({ untilMs: NOW_MS - 2 * HOUR }, middle)),
		"tls_cert_expired",
		/^the intermediate certificate CN=old intermediate above spiffe/,
	);
	assert.equal(refusal.role, "intermediate");
});

test("who shows nothing is refused, each side in its words", () => {
	refused(verify([], { purpose: "client" }), "tls_no_client_cert", /the caller has shown no certificate/);
	refused(verify([]), "tls_bad_certificate", /the service has shown no certificate/);
});

test("another service than the one that was meant is refused with both names", async () => {
	const words = /the peer is spiffe:\/\/mesh\.local\/payments, not spiffe:\/\/mesh\.local\/orders, which was meant/;
	refused(verify(await shown(), { expected: idOf("orders") }), "tls_san_mismatch", words);
});

test("the name of the subject and DNS names are no identity", async () => {
	const presented = await shown({ name: "CN=orders", dns: ["orders", "spiffe://mesh.local/orders"] });
	refused(verify(presented, { expected: idOf("orders") }), "tls_san_mismatch", /not spiffe:\/\/mesh\.local\/orders/);
});

test("exactly one URI counts as an identity, and only a SPIFFE ID", async () => {
	refused(verify(await shown({ uris: [] })), "tls_san_mismatch", /names no service: it has no SPIFFE ID/);
	refused(verify(await shown({ uris: ["spiffe://mesh.local/a", "spiffe://mesh.local/b"] })), "tls_san_mismatch", /it has 2 URIs/);
	refused(verify(await shown({ uris: ["https://mesh.local/a"] })), "tls_san_mismatch", /is no SPIFFE ID, it does not begin with/);
	refused(verify(await shown({ uris: ["spiffe://mesh.local"] })), "tls_san_mismatch", /is no SPIFFE ID, it names a trust domain, but no service/);
});

test("a trust domain that the bundle does not have is told by its name, with those that are trusted", async () => {
	const presented = await shown({ uris: ["spiffe://other.mesh/payments"] });
	refused(verify(presented), "tls_wrong_trust_domain", /belongs to the trust domain other\.mesh; trusted here: mesh\.local/);
});

test("the roots of one trust domain vouch for nobody of another", async () => {
	const partner = await root({ name: "CN=partner root" });
	const pem = (made: Made) => `-----BEGIN CERTIFICATE-----\n${made.der.toString("base64")}\n-----END CERTIFICATE-----`;
	const reading = readTrustBundle({ version: 1, trustDomains: { "mesh.local": pem(TOP), "partner.example": pem(partner) } });
	assert.ok(reading.ok);
	const { bundle } = reading;
	const own = await leaf(partner, { uris: ["spiffe://partner.example/payments"] });
	taken(verify([own.der], { bundle }));
	refused(verify([own.der], { bundle, expected: idOf("payments") }), "tls_wrong_trust_domain", /not spiffe:\/\/mesh\.local\/payments/);
	const forged = await leaf(partner, { uris: ["spiffe://mesh.local/payments"] });
	refused(
		verify([forged.der], { bundle }),
		"tls_unknown_ca",
		/CN=partner root, which bundle version 1 does not have for mesh\.local: it has CN=mesh root/,
	);
});

test("an unknown authority is named, beside those that are known", async () => {
	const other = await root({ name: "CN=other root" });
	const refusal = refused(
		verify(await shown({}, await intermediate(other, { name: "CN=other intermediate" }))),
		"tls_unknown_ca",
		/the authority CN=other root, which bundle version 7 does not have/,
	);
	assert.equal(refusal.role, "intermediate");
	assert.equal(refusal.subject, "CN=other intermediate");
});

test("while one root follows another, leaves of both are taken", async () => {
	const next = await root({ name: "CN=next root" });
	const bundle = bundleOf([TOP, next]);
	taken(verify(await shown(), { bundle }));
	taken(verify(await shown({}, await intermediate(next)), { bundle }));
	refused(verify(await shown(), { bundle: bundleOf([next]) }), "tls_unknown_ca", /CN=mesh root/);
});

test("a serial on the deny list is refused, be it that of the leaf or of an authority above it", async () => {
	const presented = await shown({ serial: "4a0b" });
	refused(
		verify(presented, { bundle: bundleOf([TOP], { serials: ["4A:0B"] }) }),
		"tls_cert_revoked",
		/the serial number 4a0b is on the deny list of bundle version 7/,
	);
	const { serial } = certificateOf(MIDDLE.der);
	assert.equal(
		refused(verify(presented, { bundle: bundleOf([TOP], { serials: [serial] }) }), "tls_cert_revoked", /above spiffe/).role,
		"intermediate",
	);
});

test("an identity on the deny list is refused whatever certificate it has", async () => {
	const bundle = bundleOf([TOP], { identities: ["spiffe://mesh.local/payments"] });
	refused(verify(await shown(), { bundle }), "tls_cert_revoked", /the identity spiffe:\/\/mesh\.local\/payments is on the deny list/);
	taken(verify(await shown({ uris: ["spiffe://mesh.local/orders"] }), { bundle }));
});

test("a forged signature is told by the certificate that carries it", async () => {
	const other = await root();
	const refusal = refused(
		verify(await shown({ signer: other })),
		"tls_bad_certificate",
		/CN=payments .* is refused: CN=mesh intermediate has not signed it/,
	);
	assert.equal(refusal.role, "leaf");
});

test("a signature of one kind is not taken for one of another", async () => {
	// Signed by an RSA key, under the name and key identifier of an authority with P-256.
	const presented = await shown({ signer: await root({ kind: "RSA-2048" }) });
	refused(verify(presented), "tls_bad_certificate", /has not signed it/);
});

test("each side is held to the purpose that it has in the handshake", async () => {
	const presented = await shown({ purposes: [CLIENT_AUTH] });
	taken(verify(presented, { purpose: "client" }));
	refused(verify(presented, { purpose: "server" }), "tls_wrong_key_usage", /lacks serverAuth/);
});

test("what cannot be read is refused with the place, be it the leaf or another one", async () => {
	refused(verify([Buffer.from("nonsense")]), "tls_bad_certificate", /the peer's certificate is refused: .*\(offset \d+\)/);
	const [first = Buffer.alloc(0)] = await shown();
	refused(verify([first, Buffer.of(0x30, 0)]), "tls_bad_certificate", /an intermediate certificate of the peer is refused/);
});

test("no more than eight certificates are looked at", async () => {
	const [first = Buffer.alloc(0)] = await shown();
	taken(verify([first, ...Array.from({ length: 7 }, () => MIDDLE.der)]));
	refused(verify([first, ...Array.from({ length: 8 }, () => MIDDLE.der)]), "tls_bad_certificate", /has sent 9 certificates, more than 8/);
});

test("a maze of authorities that all bear one name costs sixteen signatures and no more", async () => {
	const maze = { name: "CN=maze", keyIds: false };
	const first = await root(maze);
	const walls = await Promise.all(Array.from({ length: 7 }, () => intermediate(first, maze)));
	const memo = new CountingMemo();
	const presented = [(await leaf(first, { keyIds: false })).der, ...walls.map(({ der }) => der)];
	assert.equal(verifyChain(presented, verifyOptions([await root()], { memo })).ok, false);
	assert.ok(memo.asked > 1 && memo.asked <= 16, `${memo.asked}`);
});

test("a path of more than six certificates is not climbed", async () => {
	let issuer = TOP;
	const above: Made[] = [];
	for (let depth = 0; depth < 5; depth++) {
		issuer = await intermediate(issuer);
		above.unshift(issuer);
	}
	refused(verify([(await leaf(issuer)).der, ...above.map(({ der }) => der)]), "tls_unknown_ca", /comes from the authority/);
	const [, ...lower] = above;
	const parent = lower[0] ?? TOP;
	taken(verify([(await leaf(parent)).der, ...lower.map(({ der }) => der)]));
});

test("what a peer writes into its names reaches nobody's terminal", async () => {
	const presented = await shown({ name: "CN=\u001b[31mred\u0007,O=\u00e9" }, await intermediate(await root({ name: "CN=\u001b[0m" })));
	refused(verify(presented), "tls_unknown_ca", /\\1B\[0m/);
});

test("a chain that was verified costs no signature the second time, and a refused one is not remembered", async () => {
	const memo = new CountingMemo();
	const presented = await shown();
	taken(verify(presented, { memo }));
	assert.equal(memo.links, 2);
	taken(verify(presented, { memo }));
	assert.equal(memo.links, 2);
	const expired = await shown({ untilMs: NOW_MS - HOUR / 2 });
	refused(verify(expired, { memo }), "tls_cert_expired", /ended/);
	assert.equal(memo.links, 2);
	// The signature alone is remembered: every rule is asked again.
	refused(verify(presented, { memo, nowMs: NOW_MS + 400 * DAY }), "tls_cert_expired", /ended/);
});

test("a memo forgets its oldest link when it is full", async () => {
	const memo = new ChainMemo(2);
	for (let i = 0; i < 3; i++) taken(verify([(await leaf(TOP)).der], { memo }));
	assert.equal(memo.links, 2);
});

test("a link of the memo holds for these two certificates alone", async () => {
	const memo = new ChainMemo();
	taken(verify(await shown(), { memo }));
	refused(verify(await shown({ signer: await root() }), { memo }), "tls_bad_certificate", /has not signed it/);
});

test("sessions under many intermediates are resumed side by side, and those that are shown again and again outlast the others", async () => {
	const sessions: (readonly [leaf: Buffer, chain: readonly Buffer[]])[] = [];
	for (let i = 0; i < 40; i++) {
		const chain = await shown({}, await intermediate(TOP));
		sessions.push([chain[0] as Buffer, chain]);
	}
	const memo = new ChainMemo();
	for (const [, chain] of sessions) taken(verify(chain, { memo }));
	for (const [first] of sessions) taken(verify([first], { memo, resumed: true }));
	const small = new ChainMemo(1024, 2);
	const [often, once, last] = sessions.map(([first, chain]) => ({ first, chain }));
	assert.ok(often && once && last);
	for (const { chain } of [often, once, often, last]) taken(verify(chain, { memo: small }));
	taken(verify([often.first], { memo: small, resumed: true }));
	refused(verify([once.first], { memo: small, resumed: true }), "tls_unknown_ca", /which bundle version 7 does not have/);
});

test("a resumed session shows the leaf alone, and is verified with the intermediates of earlier ones", async () => {
	const memo = new ChainMemo();
	const [first = Buffer.alloc(0), ...others] = await shown({ serial: "4a0b" });
	refused(verify([first], { memo, resumed: true }), "tls_unknown_ca", /CN=mesh root|CN=mesh intermediate/);
	taken(verify([first, ...others], { memo }));
	taken(verify([first], { memo, resumed: true }));
	refused(verify([first], { memo, resumed: true, bundle: bundleOf([TOP], { serials: ["4a0b"] }) }), "tls_cert_revoked", /deny list/);
	refused(verify([first], { memo, resumed: true, expected: idOf("orders") }), "tls_san_mismatch", /which was meant/);
	refused(verify([first], { memo, resumed: true, bundle: bundleOf([await root()]) }), "tls_unknown_ca", /CN=mesh root/);
	// In a full handshake the peer has to show them: what it forgets must fail always, not by chance.
	refused(verify([first], { memo }), "tls_unknown_ca", /CN=mesh intermediate/);
});

test("of intermediates so many are remembered and no more", async () => {
	const memo = new ChainMemo(1024, 16);
	for (let i = 0; i < 20; i++) taken(verify(await shown({}, await intermediate(TOP)), { memo }));
	assert.equal([...memo.intermediates].length, 16);
});

test("a peer is looked at again: over, revoked, or under a root that is not trusted any more", async () => {
	const peer = taken(verify(await shown({ serial: "4a0b", untilMs: NOW_MS + HOUR })));
	const self = "spiffe://mesh.local/checkout";
	const again = (bundle = bundleOf([TOP]), nowMs = NOW_MS) => recheckPeer(peer, { bundle, nowMs, self });
	assert.equal(again(), undefined);
	assert.equal(again(bundleOf([await root(), TOP])), undefined);
	assert.equal(again(bundleOf([TOP]), NOW_MS + 2 * HOUR)?.reason, "tls_cert_expired");
	assert.equal(again(bundleOf([TOP], { serials: ["4a0b"] }))?.reason, "tls_cert_revoked");
	assert.equal(again(bundleOf([TOP], { identities: ["spiffe://mesh.local/payments"] }))?.reason, "tls_cert_revoked");
	const gone = again(bundleOf([await root()]));
	assert.equal(gone?.reason, "tls_unknown_ca");
	assert.match(gone.words, /the root CN=mesh root is not in bundle version 7 any more/);
	assert.equal(gone.peer, "spiffe://mesh.local/payments");
});

class CountingMemo extends ChainMemo {
	asked = 0;

	override isSignedBy(...pair: Parameters<ChainMemo["isSignedBy"]>): boolean {
		this.asked++;
		return super.isSignedBy(...pair);
	}
}
