/** Subscriptions that are closed and opened: changed, on another node, or where log and state cannot be read at that moment. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { consumersOf } from "../../../src/nexus/api/consumer-routes.ts";
import type { EventLog } from "../../../src/nexus/log/event-log.ts";
import type { StateFailed, StateStore } from "../../../src/nexus/state/state-store.ts";
import { ConsumerStream } from "../../../src/nexus/subscriptions/consumer-stream.ts";
import { fetchOnce, type Taken } from "../../../src/nexus/subscriptions/consumers.ts";
import { OPEN_RETRY_MS, SAVE_PAUSE_MS, SAVE_RETRY_MS, SHARED_START_EVENTS, UNWRITTEN_MAX } from "../../../src/nexus/subscriptions/limits.ts";
import { numbered } from "../support.ts";
import { memoryHouse, mortal, quiet, receiver, until } from "./support.ts";

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

for (const how of ["the subscription is changed", "Nexus stops"] as const) {
	test(`a try that a consumer on a stream has in hand when ${how} has not failed: its event comes again, and its answer counts`, async (t) => {
		const house = await memoryHouse(t);
		const before = await house.open();
		const document = { ...DOCUMENT, delivery: { attempts: 1 } };
		assert.ok((await before.put("jobs", document)).ok);
		const consumers = before.get("jobs")?.consumers ?? assert.fail();
		const sent: Taken[] = [];
		const stream = new ConsumerStream({ consumers, credit: 8, isReady: () => true, send: (taken) => sent.push(...taken) });
		const end = (): void => stream.close();
		before.waits.add(end);
		consumers.onEnd(end);
		stream.start();
		await house.publish({ id: "1", type: "t" });
		await quiet();
		assert.equal(sent.length, 1);
		let after = before;
		if (how === "Nexus stops") {
			before.waits.endAll();
			await quiet();
			await before.close();
			after = await house.open();
		} else assert.ok((await before.put("jobs", { ...document, description: "another one" })).ok);
		t.after(() => after.close());
		assert.equal(after.letters.count("jobs"), undefined);
		assert.equal(after.get("jobs")?.numbers.open, 1);
		const next = after.get("jobs")?.consumers ?? assert.fail();
		assert.deepEqual(await next.answer({ ack: sent.map(({ token }) => token), nak: [], term: [], progress: [] }), {
			settled: 1,
			unknown: [],
			isDurable: true,
		});
	});
}

test("a receiver that is gone pauses the subscription that asked it, and not what that was changed into meanwhile", async (t) => {
	const house = await memoryHouse(t);
	const asked = Promise.withResolvers<void>();
	const answered = Promise.withResolvers<void>();
	const gone = await receiver(t, async () => {
		asked.resolve();
		await answered.promise;
		return { status: 410 };
	});
	const next = await receiver(t);
	const subscriptions = await house.open();
	t.after(() => subscriptions.close());
	const to = (url: string): object => ({ filter: { type: "t" }, sink: { kind: "webhook", url }, delivery: { backoff: ["0ms"] } });
	assert.ok((await subscriptions.put("jobs", to(gone.url))).ok);
	await house.publish({ id: "1", type: "t" });
	await asked.promise;
	const changing = subscriptions.put("jobs", to(next.url));
	answered.resolve();
	assert.ok((await changing).ok);
	// Behind what the old one has asked for.
	assert.ok((await subscriptions.put("jobs", to(next.url))).ok);
	assert.equal(subscriptions.get("jobs")?.state, "running");
});

test("a member that has joined a broadcast begins there after a crash as well", async (t) => {
	const house = await memoryHouse(t);
	const hooks = [await receiver(t), await receiver(t)];
	const document = (count: number): object => ({
		filter: { type: "t" },
		sink: { kind: "webhook", members: hooks.slice(0, count).map(({ url }, i) => ({ name: `m${i}`, url })) },
		strategy: "broadcast",
	});
	const life = mortal(house.state);
	const before = await house.open({ state: life.store });
	assert.ok((await before.put("jobs", document(1))).ok);
	await house.publish({ id: "old", type: "t" });
	await until("the first one has it", () => before.get("jobs")?.numbers.acked === 1);
	assert.ok((await before.put("jobs", document(2))).ok);
	await quiet();
	house.clock.advance(SAVE_PAUSE_MS);
	await quiet();
	life.kill();
	const after = await house.open();
	t.after(() => after.close());
	await house.publish({ id: "new", type: "t" });
	await until("both have the new one", () => hooks.every((hook) => hook.ids().includes("new")));
	assert.deepEqual(
		hooks.map((hook) => hook.ids().includes("old")),
		[true, false],
	);
});

test("one that begins far behind reads on its own: what others wait for does not stand in line behind it", async (t) => {
	const house = await memoryHouse(t);
	for (let n = 0; n <= SHARED_START_EVENTS; n += 4096) await house.publish(...numbered(`${n}-`, 4096, { type: "other" }));
	const subscriptions = await house.open();
	t.after(() => subscriptions.close());
	assert.ok((await subscriptions.put("all", { filter: { type: "no-such-type" }, sink: { kind: "pull" }, from: "all" })).ok);
	assert.ok((await subscriptions.put("jobs", DOCUMENT)).ok);
	await house.publish({ id: "1", type: "t" });
	const open = (): number | undefined => subscriptions.get("jobs")?.numbers.open;
	// To read all the others takes more than a hundred turns of the loop.
	for (let n = 0; n < 4 && open() === 0; n++) await quiet();
	assert.equal(open(), 1);
});

test("what cannot be read for a moment is told as that: nothing begins, nothing is replayed, and both can be asked for again", async (t) => {
	const house = await memoryHouse(t);
	let isAway = false;
	const list: StateStore["list"] = async (...args) => (isAway ? AWAY : house.state.list(...args));
	const read: EventLog["read"] = async (query) => (isAway ? Promise.reject(new Error("the broker is away")) : house.log.read(query));
	const subscriptions = await house.open({ state: replaced(house.state, { list }), log: replaced(house.log, { read }) });
	t.after(() => subscriptions.close());
	assert.ok((await subscriptions.put("jobs", DOCUMENT)).ok);
	await quiet();
	isAway = true;
	const wish = { count: 1, matches: undefined, sequences: undefined, waitMs: 60_000 };
	const timers = house.clock.pendingTimers;
	assert.deepEqual(await subscriptions.replay("jobs", wish), { ok: false, failure: "unavailable", detail: "the server is away" });
	assert.equal(house.clock.pendingTimers, timers);
	const begun = await subscriptions.put("late", { ...DOCUMENT, from: { time: "2020-01-01T00:00:00Z" } });
	assert.deepEqual(begun, { ok: false, failure: "unavailable", detail: "the log could not be read: the broker is away" });
	isAway = false;
	assert.ok((await subscriptions.replay("jobs", wish)).ok);
	assert.ok((await subscriptions.put("late", { ...DOCUMENT, from: { time: "2020-01-01T00:00:00Z" } })).ok);
});
