/** A duty of one node at a time: taken over when its owner is silent, given up before that, handed over at an orderly end. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { silentLogger } from "../../../src/core/log.ts";
import { Duty } from "../../../src/nexus/cluster/duty.ts";
import { fencedState } from "../../../src/nexus/cluster/fenced-state.ts";
import { GroupedStore } from "../../../src/nexus/state/grouped-store.ts";
import { type Lease, Leases } from "../../../src/nexus/state/leases.ts";
import { memoryEngine } from "../../../src/nexus/state/memory-engine.ts";
import { put, type StateStore } from "../../../src/nexus/state/state-store.ts";
import { FakeClock } from "../../support/fake-clock.ts";

const TTL_MS = 9_000;

interface Node {
	readonly duty: Duty;
	readonly clock: FakeClock;
	readonly log: string[];
	/** What it does under the lease that it was given last. */
	readonly writes: () => StateStore;
}

function setUp(
	t: TestContext,
	begin: (name: string) => Promise<void> = async () => {},
	end: (writes: StateStore) => Promise<void> = async () => {},
): { store: StateStore; node: (name: string) => Node } {
	const store = new GroupedStore(memoryEngine());
	const duties: Duty[] = [];
	t.after(async () => {
		for (const duty of duties) await duty.close();
		await store.close();
	});
	return {
		store,
		node(name) {
			const clock = new FakeClock();
			const log: string[] = [];
			let given: Lease | undefined;
			const duty: Duty = new Duty({
				name: "sweep",
				leases: new Leases(store, clock),
				owner: name,
				ttlMs: TTL_MS,
				clock,
				logger: silentLogger,
				async onTaken(lease) {
					given = lease;
					await begin(name);
					log.push("taken");
				},
				async onLost() {
					log.push("lost");
					await end(writes);
				},
			});
			duties.push(duty);
			const leaseOf = (): Lease | undefined => (duty.isMine && duty.lease?.fence.revision === given?.fence.revision ? duty.lease : undefined);
			const writes = fencedState(store, leaseOf);
			return { duty, clock, log, writes: () => writes };
		},
	};
}

/** The state answers, and what hangs on that. */
async function settled(): Promise<void> {
	for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
}

async function pass(ms: number, ...nodes: readonly Node[]): Promise<void> {
	for (let left = ms; left > 0; left -= 500) {
		for (const { clock } of nodes) clock.advance(Math.min(500, left));
		await settled();
	}
}

test("one of two has it, for as long as it lives", async (t) => {
	const { node } = setUp(t);
	const [a, b] = [node("a"), node("b")];
	await a.duty.start();
	await b.duty.start();
	await pass(60_000, a, b);
	assert.deepEqual([a.duty.isMine, b.duty.isMine, b.duty.holder], [true, false, "a"]);
	assert.deepEqual([a.log, b.log], [["taken"], []]);
});

test("who is silent is followed within its time and a second, and can write no more, whenever it wakes", async (t) => {
	const { node, store } = setUp(t);
	const [a, b] = [node("a"), node("b")];
	await a.duty.start();
	await b.duty.start();
	const late = a.writes();
	assert.equal((await late.commit([put("work", "k", 1)])).ok, true);
	// Its process stands still: its clock goes on, and nothing in it runs.
	await pass(TTL_MS + 1_000, b);
	assert.deepEqual([b.duty.isMine, b.log], [true, ["taken"]]);
	assert.equal((await late.commit([put("work", "k", 2)])).ok, false, "by the fence alone: its own clock says that it still may");
	assert.equal((await late.saveCursor("c", 2)).ok, false);
	await pass(TTL_MS, a, b);
	assert.deepEqual([a.duty.isMine, a.duty.holder, a.log], [false, "b", ["taken", "lost"]]);
	const found = await store.get("work", "k");
	assert.equal(found.ok && found.value?.value, 1);
	assert.equal((await late.commit([put("work", "k", 3)])).ok, false);
});

test("an orderly end hands it over at once", async (t) => {
	const { node } = setUp(t);
	const [a, b] = [node("a"), node("b")];
	await a.duty.start();
	await b.duty.start();
	await a.duty.close();
	await pass(1_000, b);
	assert.equal(b.duty.isMine, true);
	assert.deepEqual(a.log, ["taken", "lost"]);
});

test("an orderly end writes down what it has done before another node has the duty", async (t) => {
	const saved: boolean[] = [];
	const { node, store } = setUp(t, undefined, async (writes) => void saved.push((await writes.saveCursor("c", 7)).ok));
	const a = node("a");
	await a.duty.start();
	await a.duty.close();
	assert.deepEqual([saved, (await store.cursor("c")).ok && a.duty.isMine], [[true], false]);
	const found = await store.cursor("c");
	assert.equal(found.ok && found.value, 7);
});

test("a state that is away costs it when its time is over, and it comes back with the state", async (t) => {
	const { node, store } = setUp(t);
	const a = node("a");
	await a.duty.start();
	const commit = store.commit.bind(store);
	store.commit = async () => ({ ok: false, failure: "unavailable", detail: "away" });
	await pass(TTL_MS - 500, a);
	assert.equal(a.duty.isMine, true);
	await pass(1_000, a);
	assert.deepEqual([a.duty.isMine, a.log], [false, ["taken", "lost"]]);
	store.commit = commit;
	await pass(2_000, a);
	assert.deepEqual([a.duty.isMine, a.log], [true, ["taken", "lost", "taken"]]);
});

test("who cannot begin leaves it to others", async (t) => {
	const { node } = setUp(t, async (name) => {
		if (name === "a") throw new Error("the disk is full");
	});
	const [a, b] = [node("a"), node("b")];
	await a.duty.start();
	await b.duty.start();
	await pass(1_000, a, b);
	assert.deepEqual([a.duty.isMine, b.duty.isMine], [false, true]);
});
