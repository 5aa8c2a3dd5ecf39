/** Duties of one owner: taken over when it is silent, never held by two. The engines' own tests race them on real servers. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { GroupedStore } from "../../../src/nexus/state/grouped-store.ts";
import { fenceOf, type Lease, Leases } from "../../../src/nexus/state/leases.ts";
import { memoryEngine } from "../../../src/nexus/state/memory-engine.ts";
import { put, type StateStore } from "../../../src/nexus/state/state-store.ts";
import { FakeClock } from "../../support/fake-clock.ts";

const TTL_MS = 10_000;

function setUp(t: TestContext): { store: StateStore; clock: FakeClock; node: (owner: string, clock?: FakeClock) => Node } {
	const store = new GroupedStore(memoryEngine());
	t.after(() => store.close());
	const clock = new FakeClock();
	return { store, clock, node: (owner, own = clock) => new Node(store, own, owner) };
}

class Node {
	readonly leases: Leases;
	readonly owner: string;

	constructor(store: StateStore, clock: FakeClock, owner: string) {
		this.leases = new Leases(store, clock);
		this.owner = owner;
	}

	async take(): Promise<Lease> {
		const outcome = await this.leases.acquire("sweep", { owner: this.owner, ttlMs: TTL_MS });
		return outcome.ok ? outcome.lease : assert.fail(JSON.stringify(outcome));
	}

	async isRefusedFor(): Promise<number> {
		const outcome = await this.leases.acquire("sweep", { owner: this.owner, ttlMs: TTL_MS });
		return !outcome.ok && outcome.failure === "held" ? outcome.retryInMs : assert.fail(JSON.stringify(outcome));
	}
}

test("a free lease is taken by one of those who ask at once", async (t) => {
	const { node } = setUp(t);
	const nodes = Array.from({ length: 8 }, (_, i) => node(`n${i}`));
	const outcomes = await Promise.all(nodes.map(({ leases, owner }) => leases.acquire("sweep", { owner, ttlMs: TTL_MS })));
	assert.equal(outcomes.filter(({ ok }) => ok).length, 1);
	for (const outcome of outcomes) assert.ok(outcome.ok || outcome.failure === "held");
});

test("a silent owner is replaced when its whole time has passed before the other's eyes, and its fence no longer holds", async (t) => {
	const { store, clock, node } = setUp(t);
	const lease = await node("a").take();
	const b = node("b");
	clock.advance(60_000);
	assert.equal(await b.isRefusedFor(), TTL_MS, "nobody knows how long it was silent before");
	clock.advance(TTL_MS - 1);
	assert.equal(await b.isRefusedFor(), 1);
	assert.equal((await store.commit([put("work", "w", "a"), fenceOf(lease)])).ok, true, "late, but nobody has taken over");
	clock.advance(1);
	const next = await b.take();
	assert.ok(next.fence.revision > lease.fence.revision);
	const late = await store.commit([put("work", "w", "a again"), fenceOf(lease)]);
	assert.equal(!late.ok && late.failure, "conflict");
	assert.equal((await store.saveCursor("sweep", 1, lease.fence)).ok, false);
	assert.equal((await store.commit([put("work", "w", "b"), fenceOf(next)])).ok, true);
	assert.deepEqual(await node("a").leases.renew(lease), { ok: false, failure: "lost" });
});

test("an owner that renews in time keeps its lease for ever, and its fence with it", async (t) => {
	const { clock, node } = setUp(t);
	const a = node("a");
	const b = node("b");
	let lease = await a.take();
	const { fence } = lease;
	for (let i = 0; i < 20; i++) {
		clock.advance(TTL_MS / 2);
		const renewed = await a.leases.renew(lease);
		assert.ok(renewed.ok);
		lease = renewed.lease;
		assert.deepEqual(lease.fence, fence);
		assert.equal(lease.validUntilMs, clock.monotonicMs() + TTL_MS);
		assert.equal(await b.isRefusedFor(), TTL_MS);
	}
});

test("a lease that has run out is not renewed, taken over or not", async (t) => {
	const { clock, node } = setUp(t);
	const a = node("a");
	const lease = await a.take();
	clock.advance(TTL_MS);
	assert.deepEqual(await a.leases.renew(lease), { ok: false, failure: "lost" });
	assert.ok((await a.take()).fence.revision > lease.fence.revision);
});

test("an owner that renews in the moment of the takeover keeps its lease", async (t) => {
	const { clock, node } = setUp(t);
	const a = node("a");
	const b = node("b");
	const lease = await a.take();
	await b.isRefusedFor();
	// As it looks to b, a has been silent long enough; a's clock has come less far.
	clock.advance(TTL_MS);
	const renewing = a.leases.renew({ ...lease, validUntilMs: clock.monotonicMs() + 1 });
	const taking = b.leases.acquire("sweep", { owner: "b", ttlMs: TTL_MS });
	const [renewed, taken] = await Promise.all([renewing, taking]);
	assert.equal(renewed.ok, true);
	assert.equal(!taken.ok && taken.failure, "held");
});

test("a node that comes back takes its own lease at once, and what it was before is fenced", async (t) => {
	const { store, node } = setUp(t);
	const before = await node("a").take();
	const after = await node("a").take();
	assert.ok(after.fence.revision > before.fence.revision);
	assert.equal((await store.commit([put("work", "w", 1), fenceOf(before)])).ok, false);
	assert.equal((await store.commit([put("work", "w", 1), fenceOf(after)])).ok, true);
});

test("a released lease is free at once; releasing what another has taken changes nothing", async (t) => {
	const { node } = setUp(t);
	const a = node("a");
	const lease = await a.take();
	assert.deepEqual(await a.leases.release(lease), { ok: true });
	const next = await node("b").take();
	assert.ok(next.fence.revision > lease.fence.revision);
	assert.deepEqual(await a.leases.release(lease), { ok: true });
	assert.equal(await a.isRefusedFor(), TTL_MS);
});

test("wall clocks that jump neither end a lease nor lengthen it", async (t) => {
	const { clock, node } = setUp(t);
	const other = new FakeClock(0);
	const a = node("a");
	const b = node("b", other);
	const lease = await a.take();
	assert.equal(await b.isRefusedFor(), TTL_MS);
	clock.jumpWall(-365 * 24 * 3_600_000);
	other.jumpWall(365 * 24 * 3_600_000);
	assert.equal(await b.isRefusedFor(), TTL_MS);
	assert.ok((await a.leases.renew(lease)).ok);
	assert.equal(await b.isRefusedFor(), TTL_MS, "a new sign of life");
	clock.jumpWall(365 * 24 * 3_600_000);
	other.advance(TTL_MS);
	other.jumpWall(-365 * 24 * 3_600_000);
	assert.equal((await b.take()).owner, "b");
});

test("a state that fails is told as such, by acquiring, renewing and releasing", async (t) => {
	const { store, node } = setUp(t);
	const a = node("a");
	const lease = await a.take();
	await store.close();
	for (const outcome of [await a.leases.acquire("sweep", { owner: "a", ttlMs: TTL_MS }), await a.leases.renew(lease), await a.leases.release(lease)])
		assert.equal(!outcome.ok && outcome.failure, "closed");
});
