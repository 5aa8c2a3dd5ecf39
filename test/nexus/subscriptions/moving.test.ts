/** Subscriptions on their way: to another node, or to what they are changed to. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { consumersOf } from "../../../src/nexus/api/consumer-routes.ts";
import type { StateStore } from "../../../src/nexus/state/state-store.ts";
import { fetchOnce } from "../../../src/nexus/subscriptions/consumers.ts";
import { memoryHouse, quiet } from "./support.ts";

const DOCUMENT = { filter: { type: "t" }, sink: { kind: "pull" } };

/** Positions are written down when the test says so. */
function slowCursors(state: StateStore): { readonly store: StateStore; release(): void } {
	const gate = Promise.withResolvers<void>();
	const saveCursor: StateStore["saveCursor"] = async (...args) => {
		await gate.promise;
		return state.saveCursor(...args);
	};
	const store = new Proxy(state, {
		get(target, name) {
			if (name === "saveCursor") return saveCursor;
			const value = Reflect.get(target, name, target) as unknown;
			return typeof value === "function" ? (value.bind(target) as unknown) : value;
		},
	});
	return { store, release: () => gate.resolve() };
}

test("who waits for events is let go when the subscription is changed, and who comes before that is done is told to come again", async (t) => {
	const house = await memoryHouse(t);
	const { store, release } = slowCursors(house.state);
	const subscriptions = await house.open({ state: store });
	t.after(() => subscriptions.close());
	assert.ok((await subscriptions.put("jobs", DOCUMENT)).ok);
	await house.publish({ id: "1", type: "t" });
	await quiet();
	const found = consumersOf(subscriptions, "jobs");
	assert.ok("consumers" in found);
	// Something is to be written down when it closes.
	const { entries } = fetchOnce(found.consumers, 1, 0, house.clock);
	assert.equal((await entries).length, 1);
	const waiting = fetchOnce(found.consumers, 1, 60_000, house.clock);
	found.consumers.onEnd(waiting.end);

	const changing = subscriptions.put("jobs", { ...DOCUMENT, description: "another one" });
	assert.deepEqual(await waiting.entries, []);
	const meanwhile = consumersOf(subscriptions, "jobs");
	assert.ok("response" in meanwhile, "it would wait at one that nobody serves any more");
	assert.deepEqual([meanwhile.response.status, meanwhile.response.headers.get("retry-after")], [503, "1"]);
	release();
	assert.ok((await changing).ok);
	assert.ok("consumers" in consumersOf(subscriptions, "jobs"));
});
