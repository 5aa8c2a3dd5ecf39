import assert from "node:assert/strict";
import { test } from "node:test";
import type { TlsRefusal } from "../../../src/identity/tls-refusal.ts";
import type { VerifiedPeer } from "../../../src/identity/verify-chain.ts";
import { verifyChain } from "../../../src/identity/verify-chain.ts";
import { type PeeredConnection, PeerWatch } from "../../../src/sidecar/identity/peer-watch.ts";
import { bundleOf, DAY, HOUR, leaf, root, verifyOptions } from "../../identity/support.ts";
import { FakeClock } from "../../support/fake-clock.ts";

class Connection implements PeeredConnection {
	readonly peer: VerifiedPeer | undefined;
	retired = 0;
	cuts = 0;

	constructor(peer: VerifiedPeer | undefined) {
		this.peer = peer;
	}

	retire(): void {
		this.retired++;
	}

	cut(): void {
		this.cuts++;
	}
}

async function setUp() {
	const clock = new FakeClock();
	const nowMs = clock.wallMs();
	const top = await root({ fromMs: nowMs - DAY, untilMs: nowMs + 100 * DAY });
	const other = await root({ fromMs: nowMs - DAY, untilMs: nowMs + 100 * DAY });
	const made = await leaf(top, { fromMs: nowMs - HOUR, untilMs: nowMs + DAY });
	const verdict = verifyChain([made.der], { ...verifyOptions([top]), nowMs });
	assert.ok(verdict.ok, verdict.ok ? "" : verdict.words);
	const cut: TlsRefusal[] = [];
	const watch = new PeerWatch({ clock, self: "spiffe://mesh.local/checkout", onCut: (refusal) => cut.push(refusal) });
	return { clock, nowMs, top, other, peer: verdict, watch, cut };
}

test("a connection is retired before what it rests on ends, the caller's end first, and cut at the end", async () => {
	const { clock, nowMs, peer, watch, cut } = await setUp();
	const [callee, caller] = [new Connection(peer), new Connection(peer)];
	watch.add(callee, nowMs + 100_000, 1);
	watch.add(caller, nowMs + 100_000, 2);
	clock.advance(69_000);
	assert.deepEqual([caller.retired, callee.retired], [0, 0]);
	clock.advance(11_500);
	assert.deepEqual([caller.retired, callee.retired], [1, 0]);
	clock.advance(10_500);
	assert.deepEqual([caller.retired, callee.retired], [1, 1]);
	assert.deepEqual([caller.cuts, callee.cuts], [0, 0]);
	watch.remove(caller);
	clock.advance(10_000);
	assert.deepEqual([caller.cuts, callee.cuts, watch.size, cut.length], [0, 1, 0, 0]);
});

test("of a certificate of a day no more than five minutes are given up", async () => {
	const { clock, nowMs, peer, watch } = await setUp();
	const connection = new Connection(peer);
	watch.add(connection, nowMs + DAY, 1);
	clock.advance(DAY - 451_000);
	assert.equal(connection.retired, 0);
	clock.advance(152_000);
	assert.equal(connection.retired, 1);
});

test("connections that began together are retired one after the other", async () => {
	const { clock, nowMs, peer, watch } = await setUp();
	const connections = Array.from({ length: 100 }, () => new Connection(peer));
	for (const connection of connections) watch.add(connection, nowMs + 1_000_000, 1);
	const retired = (): number => connections.filter((connection) => connection.retired > 0).length;
	let before = 0;
	for (clock.advance(850_000); before < 100; clock.advance(5_000)) {
		assert.ok(retired() - before <= 15, `${retired() - before} at once`);
		before = retired();
	}
	assert.ok(clock.wallMs() <= nowMs + 906_000);
});

test("what has ended by our clock alone takes one request at a time, for as long as clocks may differ", async () => {
	const { clock, nowMs, peer, watch } = await setUp();
	const connection = new Connection(peer);
	watch.add(connection, nowMs - 10_000, 1);
	clock.advance(1);
	assert.deepEqual([connection.retired, connection.cuts], [1, 0]);
	clock.advance(49_900);
	assert.equal(connection.cuts, 0);
	clock.advance(100);
	assert.equal(connection.cuts, 1);
});

test("a clock that is set forward past the end is noticed within half a minute", async () => {
	const { clock, nowMs, peer, watch } = await setUp();
	const connection = new Connection(peer);
	watch.add(connection, nowMs + DAY, 1);
	clock.jumpWall(2 * DAY);
	clock.advance(30_000);
	assert.equal(connection.cuts, 1);
});

test("who is on the deny list is cut at once, all of its connections and no others", async () => {
	const { top, peer, watch, cut, nowMs } = await setUp();
	const connections = [new Connection(peer), new Connection(peer)];
	const stranger = new Connection(undefined);
	for (const connection of [...connections, stranger]) watch.add(connection, nowMs + DAY, 1);
	watch.recheck(bundleOf([top], { identities: [peer.id.uri] }));
	assert.deepEqual(
		connections.map(({ cuts }) => cuts),
		[1, 1],
	);
	assert.equal(stranger.cuts, 0);
	assert.deepEqual(
		cut.map(({ reason }) => reason),
		["tls_cert_revoked", "tls_cert_revoked"],
	);
});

test("who comes from a former root is asked to leave, and cut five seconds later", async () => {
	const { clock, other, peer, watch, cut, nowMs } = await setUp();
	const [stays, leaves] = [new Connection(peer), new Connection(peer)];
	watch.add(stays, nowMs + DAY, 1);
	watch.add(leaves, nowMs + DAY, 1);
	watch.recheck(bundleOf([other]));
	assert.deepEqual([stays.cuts, cut.length], [0, 0]);
	clock.advance(4_100);
	assert.deepEqual([stays.retired, stays.cuts, cut.length], [1, 0, 0]);
	watch.remove(leaves);
	clock.advance(900);
	assert.deepEqual([stays.cuts, leaves.cuts], [1, 0]);
	assert.deepEqual(
		cut.map(({ reason }) => reason),
		["tls_unknown_ca"],
	);
});

test("nothing happens after the end", async () => {
	const { clock, nowMs, peer, watch } = await setUp();
	const connection = new Connection(peer);
	watch.add(connection, nowMs + 10_000, 1);
	watch.stop();
	clock.advance(20_000);
	assert.deepEqual([connection.retired, connection.cuts], [0, 0]);
});
