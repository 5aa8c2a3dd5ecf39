/** What is told of TLS: counts, rolled-up events, lines of the log, callers in plain text. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Logger } from "../../../src/core/log.ts";
import { REASONS } from "../../../src/core/reasons.ts";
import type { NexusEventData } from "../../../src/events/catalogue.ts";
import { type TlsRefusal, tlsRefusal } from "../../../src/identity/tls-refusal.ts";
import { failureOf, tlsFailure } from "../../../src/net/tls-cause.ts";
import type { TlsPlace } from "../../../src/sidecar/identity/tls-observer.ts";
import { TlsEvents } from "../../../src/sidecar/telling/tls-events.ts";
import { certificateOf, leaf, NOW_MS, root } from "../../identity/support.ts";
import { FakeClock } from "../../support/fake-clock.ts";

type Failure = NexusEventData["nexus.mesh.mtls.failure"];

const SELF = "spiffe://mesh.local/checkout";
const INBOUND: TlsPlace = { direction: "inbound", name: "inbound", address: "10.0.0.9" };
const PAYMENTS: TlsPlace = { direction: "outbound", name: "payments", address: "10.0.0.11:15006" };
const NO_CERTIFICATE = tlsFailure("tls_no_client_cert", "the caller has shown no certificate", "us");

function rig() {
	const clock = new FakeClock(NOW_MS);
	const events: { data: Failure; subject: string | undefined }[] = [];
	const lines: { message: string; fields: Record<string, unknown> }[] = [];
	const unexpected = (message: string): void => assert.fail(message);
	const log: Logger = {
		debug: unexpected,
		info: unexpected,
		error: unexpected,
		warn: (message, fields = {}) => void lines.push({ message, fields }),
	};
	const told = new TlsEvents({
		clock,
		log,
		feed: {
			emit(type, data, subject) {
				assert.equal(type, "nexus.mesh.mtls.failure");
				events.push({ data: data as Failure, subject });
			},
		},
		identities: { self: () => SELF, expected: (upstream) => (upstream === "payments" ? "spiffe://mesh.local/payments" : "") },
	});
	return { clock, events, lines, told };
}

function refusalOf(peer: string): TlsRefusal {
	return tlsRefusal("tls_wrong_trust_domain", `${peer} is of another trust domain`, { self: SELF, expected: "", peer });
}

test("what passes is counted by place, and nothing is said about it", () => {
	const { clock, events, lines, told } = rig();
	told.onSecured(INBOUND, "spiffe://mesh.local/shop", false);
	told.onSecured(INBOUND, "spiffe://mesh.local/shop", true);
	told.onSecured(INBOUND, "spiffe://mesh.local/shop", true);
	told.onPlaintext(INBOUND);
	told.onSecured(PAYMENTS, "spiffe://mesh.local/payments", false);
	clock.advance(10_000);
	const counts = told
		.report()
		.places.map(({ direction, name, full, resumed, plaintext, failed }) => ({ direction, name, full, resumed, plaintext, failed }));
	assert.deepEqual(counts, [
		{ direction: "inbound", name: "inbound", full: 1, resumed: 2, plaintext: 1, failed: 0 },
		{ direction: "outbound", name: "payments", full: 1, resumed: 0, plaintext: 0, failed: 0 },
	]);
	assert.deepEqual([events, lines, clock.pendingTimers], [[], [], 0]);
});

test("a refused peer is told once a window, with both identities, its certificate and what to do", async () => {
	const { clock, events, lines, told } = rig();
	const authority = await root({ name: "CN=Some root" });
	const certificate = certificateOf((await leaf(authority, { name: "CN=ledger", serial: "0a1b", uris: ["spiffe://mesh.local/ledger"] })).der);
	const ids = { self: SELF, expected: "spiffe://mesh.local/payments", peer: "spiffe://mesh.local/ledger" };
	const refusal = tlsRefusal("tls_san_mismatch", "it is ledger, and payments was meant", ids, { certificate, role: "leaf" });
	for (let i = 0; i < 500; i++) told.onFailed(PAYMENTS, refusal);
	assert.equal(events.length, 0);
	clock.advance(1000);
	const data: Failure = {
		windowMs: 1000,
		count: 500,
		kind: "connection",
		direction: "outbound",
		name: "payments",
		reason: "tls_san_mismatch",
		words: "it is ledger, and payments was meant",
		hint: REASONS.tls_san_mismatch.hint,
		endedBy: "us",
		address: "10.0.0.11:15006",
		...ids,
		role: "leaf",
		subject: "CN=ledger",
		issuer: "CN=Some root",
		serial: "0a1b",
		notBefore: new Date(certificate.notBeforeMs).toISOString(),
		notAfter: new Date(certificate.notAfterMs).toISOString(),
	};
	assert.deepEqual(events, [{ data, subject: "payments" }]);
	assert.equal(lines.length, 1);
	assert.equal(lines[0]?.message, "TLS has failed");
	const { windowMs: _, kind: __, ...logged } = data;
	assert.deepEqual(lines[0]?.fields, logged);
	assert.equal(clock.pendingTimers, 0);

	told.onFailed(PAYMENTS, refusal);
	clock.advance(1000);
	assert.equal(events.at(-1)?.data.count, 1);
	const [one] = told.report().failures;
	assert.deepEqual([one?.count, one?.firstMs, one?.lastMs], [501, NOW_MS, NOW_MS + 1000]);
});

test("of a failure without a certificate the policy says who was meant, and the catalogue what to do", () => {
	const { clock, events, told } = rig();
	told.onFailed(PAYMENTS, failureOf(Object.assign(new Error("read"), { code: "ECONNRESET" }), "client"));
	clock.advance(1000);
	const data = events[0]?.data;
	assert.deepEqual(
		[data?.reason, data?.endedBy, data?.self, data?.expected, data?.peer, data?.hint, data?.serial],
		["tls_handshake_reset", "peer", SELF, "spiffe://mesh.local/payments", "", REASONS.tls_handshake_reset.hint, ""],
	);
});

test("peers, causes and places are told apart; the log has one line for a cause", () => {
	const { clock, events, lines, told } = rig();
	told.onFailed(INBOUND, refusalOf("spiffe://other/a"));
	told.onFailed(INBOUND, refusalOf("spiffe://other/b"));
	told.onFailed({ ...INBOUND, address: "10.0.0.10" }, refusalOf("spiffe://other/b"));
	told.onFailed(INBOUND, NO_CERTIFICATE);
	told.onFailed(PAYMENTS, tlsFailure("tls_no_client_cert", "no certificate", "peer"));
	clock.advance(1000);
	assert.deepEqual(
		events.map(({ data: { direction, reason, peer, address, count } }) => [direction, reason, peer, address, count]),
		[
			["inbound", "tls_wrong_trust_domain", "spiffe://other/a", "10.0.0.9", 1],
			["inbound", "tls_wrong_trust_domain", "spiffe://other/b", "10.0.0.10", 2],
			["inbound", "tls_no_client_cert", "", "10.0.0.9", 1],
			["outbound", "tls_no_client_cert", "", "10.0.0.11:15006", 1],
		],
	);
	assert.deepEqual(
		lines.map(({ fields: { direction, reason, count, peers } }) => [direction, reason, count, peers]),
		[
			["inbound", "tls_wrong_trust_domain", 3, 2],
			["inbound", "tls_no_client_cert", 1, undefined],
			["outbound", "tls_no_client_cert", 1, undefined],
		],
	);
	const inbound = told.report().places[0];
	assert.deepEqual(
		[inbound?.failed, [...(inbound?.reasons ?? [])]],
		[
			4,
			[
				["tls_wrong_trust_domain", 3],
				["tls_no_client_cert", 1],
			],
		],
	);
});

test("a thousand invented identities make 32 events and one for the others; the next window has room again", () => {
	const { clock, events, lines, told } = rig();
	for (let i = 0; i < 1000; i++) told.onFailed(INBOUND, refusalOf(`spiffe://other/${i}`));
	clock.advance(1000);
	assert.equal(events.length, 33);
	assert.deepEqual([events[32]?.data.reason, events[32]?.data.count], ["others", 968]);
	assert.deepEqual(
		lines.map(({ fields }) => fields.count),
		[32, 968],
	);
	assert.equal(told.report().places[0]?.failed, 1000);

	told.onFailed(INBOUND, refusalOf("spiffe://other/new"));
	clock.advance(1000);
	assert.deepEqual([events.length, events[33]?.data.peer], [34, "spiffe://other/new"]);
	const { failures } = told.report();
	assert.deepEqual(
		[failures.length, failures[0]?.peer, failures[1]?.peer, failures[31]?.peer],
		[32, "spiffe://other/new", "spiffe://other/31", "spiffe://other/1"],
	);
});

test("connections that are cut are counted and told as such", () => {
	const { clock, events, lines, told } = rig();
	const refusal = tlsRefusal("tls_cert_revoked", "serial 7 is on the deny list", { self: SELF, expected: "", peer: "spiffe://mesh.local/shop" });
	told.onCut(refusal);
	told.onCut(refusal);
	clock.advance(1000);
	assert.deepEqual([...told.report().cut], [["tls_cert_revoked", 2]]);
	assert.deepEqual(told.report().places, []);
	const { kind, direction, name, count, peer } = events[0]?.data ?? assert.fail("there is no event");
	assert.deepEqual([events.length, kind, direction, name, count, peer, events[0]?.subject], [1, "cut", "", "", 2, "spiffe://mesh.local/shop", peer]);
	assert.match(lines[0]?.message ?? "", /cut/);
});

test("the last window is told at the end, once", () => {
	const { clock, events, told } = rig();
	told.stop();
	told.onFailed(INBOUND, NO_CERTIFICATE);
	clock.advance(400);
	told.stop();
	told.stop();
	clock.advance(5000);
	assert.deepEqual([events.length, clock.pendingTimers], [1, 0]);
});

test("callers in plain text are listed with first and last time, those that come most often first", () => {
	const { clock, told } = rig();
	told.onPlaintext({ ...INBOUND, address: "10.0.0.1" });
	clock.advance(60_000);
	told.onPlaintext({ ...INBOUND, address: "10.0.0.2" });
	told.onPlaintext({ ...INBOUND, address: "10.0.0.2" });
	clock.advance(60_000);
	told.onPlaintext({ ...INBOUND, address: "10.0.0.2" });
	const { plaintextCallers, lastPlaintextMs, sinceMs } = told.report();
	assert.deepEqual(plaintextCallers, [
		{ address: "10.0.0.2", count: 3, countError: 0, firstMs: NOW_MS + 60_000, lastMs: NOW_MS + 120_000 },
		{ address: "10.0.0.1", count: 1, countError: 0, firstMs: NOW_MS, lastMs: NOW_MS },
	]);
	assert.deepEqual([lastPlaintextMs, sinceMs], [NOW_MS + 120_000, NOW_MS]);
});

test("of ten thousand callers in plain text those are kept that come often, and the others bounded", () => {
	const { told } = rig();
	for (let i = 0; i < 10_000; i++) {
		told.onPlaintext({ ...INBOUND, address: `10.1.${i >> 8}.${i & 255}` });
		if (i % 10 === 0) told.onPlaintext({ ...INBOUND, address: "10.0.0.1" });
	}
	const callers = told.report().plaintextCallers;
	assert.equal(callers.length, 64);
	assert.equal(callers[0]?.address, "10.0.0.1");
	// What is counted too many is said; what is left is never more than it was.
	for (const { address, count, countError } of callers) assert.ok(count - countError <= (address === "10.0.0.1" ? 1000 : 1), address);
	assert.equal(told.report().places[0]?.plaintext, 11_000);
});
