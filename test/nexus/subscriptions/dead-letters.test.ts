/** Dead letters are counted as they are, whatever the state has left open, and gone is gone. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { openState } from "../../../src/nexus/state/open-state.ts";
import type { CommitOutcome, StateStore } from "../../../src/nexus/state/state-store.ts";
import { DeadLetters } from "../../../src/nexus/subscriptions/dead-letters.ts";
import type { Entry } from "../../../src/nexus/subscriptions/delivery.ts";

const ENTRY: Entry = {
	sequence: 7,
	receivedAtMs: 0,
	json: Buffer.from("{}"),
	key: undefined,
	priority: 0,
	replay: undefined,
	attempts: 1,
	state: "parking",
	dueMs: 0,
	firstTriedAtMs: 0,
	takenAtMs: 0,
	cut: undefined,
	over: undefined,
};
const FAILURE = { reason: "never", attempts: 1, firstTriedAtMs: 0, lastTriedAtMs: 0 };
const LETTER = { sequence: 7, member: "" };
const UNKNOWN: CommitOutcome = { ok: false, failure: "unknown", detail: "the connection broke" };

/** `isBroken`: what is written is written, and nobody hears of it. */
async function house(t: TestContext): Promise<{ letters: DeadLetters; isBroken: boolean }> {
	const opened = await openState({ engine: "memory" });
	assert.ok(opened.ok);
	const { store } = opened;
	t.after(() => store.close());
	const made = { isBroken: false };
	const commit: StateStore["commit"] = async (writes) => {
		const outcome = await store.commit(writes);
		return made.isBroken ? UNKNOWN : outcome;
	};
	const state: StateStore = Object.assign(Object.create(store) as StateStore, {
		commit,
		get: store.get.bind(store),
		list: store.list.bind(store),
	});
	return Object.assign(made, { letters: new DeadLetters(state) });
}

test("a letter whose writing was in doubt is counted once it is there, and no longer than it is", async (t) => {
	const it = await house(t);
	const { letters } = it;
	const park = (): Promise<boolean> => letters.park("s", "", ENTRY, FAILURE, 0);
	it.isBroken = true;
	assert.equal(await park(), false);
	it.isBroken = false;
	assert.equal(await park(), true);
	assert.equal(letters.count("s")?.count, 1);
	assert.equal(await park(), true, "it has failed again");
	assert.equal(letters.count("s")?.count, 1);
	it.isBroken = true;
	assert.equal(await letters.remove("s", LETTER), "failed");
	it.isBroken = false;
	assert.equal(await letters.remove("s", LETTER), "absent");
	assert.equal(letters.count("s"), undefined);
});
