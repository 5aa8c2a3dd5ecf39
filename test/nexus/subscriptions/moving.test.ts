/** Subscriptions that are closed and opened: changed, on another node, or where log and state cannot be read at that moment. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { consumersOf } from "../../../src/nexus/api/consumer-routes.ts";
import type { EventLog } from "../../../src/nexus/log/event-log.ts";
import type { StateFailed, StateStore } from "../../../src/nexus/state/state-store.ts";
import { fetchOnce } from "../../../src/nexus/subscriptions/consumers.ts";
import { OPEN_RETRY_MS, SAVE_RETRY_MS, UNWRITTEN_MAX } from "../../../src/nexus/subscriptions/limits.ts";
import { memoryHouse, quiet } from "./support.ts";

const DOCUMENT = { filter: { type: "t" }, sink: { kind: "pull" } };

/** Positions are written down when the test says so. */
function slowCursors(state: StateStore): { readonly store: StateStore; release(): void } {
	const gate = Promise.withResolvers<void>();
	const saveCursor: StateStore["saveCursor"] = async (...args) => {
		await gate.promise;
		return state.saveCursor(...args);
	};
	return { store: replaced(state, { saveCursor }), release: () => gate.resolve() };
}

function replaced<T extends object>(part: T, methods: Partial<T>): T {
	return new Proxy(part, {
		get(target, name) {
			const value = Reflect.get(name in methods ? methods : target, name) as unknown;
			return typeof value === "function" ? (value.bind(target) as unknown) : value;
		},
	});
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

const AWAY: StateFailed = { ok: false, failure: "unavailable", detail: "the server is away" };

for (const what of ["state", "log"] as const) {
	test(`what cannot be opened because the ${what} cannot be read is opened once it can, and goes on where it was`, async (t) => {
		const house = await memoryHouse(t);
		const before = await house.open();
		assert.ok((await before.put("jobs", DOCUMENT)).ok);
		await house.publish({ id: "1", type: "t" }, { id: "2", type: "t" });
		await quiet();
		const first = before.get("jobs")?.consumers ?? assert.fail();
		const taken = await fetchOnce(first, 2, 0, house.clock).entries;
		assert.equal(taken.length, 2);
		await before.close();

		let isAway = true;
		const cursor: StateStore["cursor"] = async (name) => (isAway ? AWAY : house.state.cursor(name));
		const read: EventLog["read"] = async (query) => (isAway ? Promise.reject(new Error("the broker is away")) : house.log.read(query));
		const parts = what === "state" ? { state: replaced(house.state, { cursor }) } : { log: replaced(house.log, { read }) };
		const subscriptions = await house.open(parts);
		t.after(() => subscriptions.close());
		const broken = subscriptions.get("jobs");
		assert.equal(broken?.state, "broken");
		assert.match(broken.trouble, /away/);
		house.clock.advance(OPEN_RETRY_MS);
		await quiet();
		assert.equal(subscriptions.get("jobs")?.state, "broken", "it is away still");
		isAway = false;
		house.clock.advance(OPEN_RETRY_MS);
		await quiet();
		assert.equal(subscriptions.get("jobs")?.state, "running");
		const second = subscriptions.get("jobs")?.consumers ?? assert.fail();
		const again = await fetchOnce(second, 10, 0, house.clock).entries;
		assert.ok(again !== "too_many" && taken !== "too_many");
		assert.deepEqual(
			again.map(({ sequence }) => sequence),
			taken.map(({ sequence }) => sequence),
		);
	});
}

test("where other nodes take over, a state that takes no progress holds deliveries before too many would come again", async (t) => {
	const house = await memoryHouse(t);
	let isAway = false;
	const saveCursor: StateStore["saveCursor"] = async (...args) => (isAway ? AWAY : house.state.saveCursor(...args));
	const portion = { mayChange: () => true, guardOf: () => () => true, part: () => 1 };
	const subscriptions = await house.open({ state: replaced(house.state, { saveCursor }), portion });
	t.after(() => subscriptions.close());
	assert.ok((await subscriptions.put("jobs", DOCUMENT)).ok);
	const consumers = subscriptions.get("jobs")?.consumers ?? assert.fail();
	isAway = true;
	const total = UNWRITTEN_MAX + 200;
	for (let n = 0; n < total; n++) await house.publish({ id: `${n}`, type: "t" });
	const takeAll = async (): Promise<number> => {
		for (let count = 0; ; ) {
			await quiet();
			const entries = await fetchOnce(consumers, 1, 0, house.clock).entries;
			assert.ok(entries !== "too_many");
			if (entries.length === 0) return count;
			count += entries.length;
			for (const { token } of await consumers.shown(entries)) void consumers.answer({ ack: [token], nak: [], term: [], progress: [] });
		}
	};
	assert.equal(await takeAll(), UNWRITTEN_MAX);
	isAway = false;
	house.clock.advance(SAVE_RETRY_MS);
	assert.equal(await takeAll(), 200);
});
