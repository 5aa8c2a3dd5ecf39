/** What a node knows of the others, on a clock of its own. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { silentLogger } from "../../../src/core/log.ts";
import { Cluster } from "../../../src/nexus/cluster/cluster.ts";
import { openState } from "../../../src/nexus/state/open-state.ts";
import type { StateStore } from "../../../src/nexus/state/state-store.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { quiet } from "../subscriptions/support.ts";

const LEASE_MS = 3_000;
const DAY_MS = 24 * 3_600_000;

async function stateOf(t: TestContext): Promise<StateStore> {
	const opened = await openState({ engine: "memory" });
	assert.ok(opened.ok);
	t.after(() => opened.store.close());
	return opened.store;
}

async function node(t: TestContext, state: StateStore, nodeId: string, clock: FakeClock): Promise<Cluster> {
	const cluster = new Cluster({ state, nodeId, host: nodeId, version: "0", leaseMs: LEASE_MS, clock, logger: silentLogger });
	t.after(() => cluster.close());
	await cluster.announce(`http://${nodeId}`);
	return cluster;
}

async function pass(ms: number, ...clocks: readonly FakeClock[]): Promise<void> {
	for (let passed = 0; passed < ms; passed += 500) {
		for (const clock of clocks) {
			clock.advance(500);
			await quiet();
		}
	}
}

test("a node whose clock is days behind is known for as long as it shows signs of life, and forgotten once it has been silent for long", async (t) => {
	const state = await stateOf(t);
	const [clock, behind] = [new FakeClock(), new FakeClock()];
	behind.jumpWall(-2 * DAY_MS);
	// Its signs of life come between the looks of the other one.
	behind.advance(500);
	const cluster = await node(t, state, "a", clock);
	await node(t, state, "b", behind);
	for (let n = 0; n < 20; n++) {
		await pass(500, behind, clock);
		assert.equal(await cluster.urlOf("b"), "http://b");
	}
	assert.deepEqual(
		cluster.others.map(({ id }) => id),
		["b"],
	);
	// Its clock stands still: it has died.
	await pass(2 * LEASE_MS, clock);
	assert.deepEqual(cluster.others, []);
	assert.equal(await cluster.urlOf("b"), undefined);
});
