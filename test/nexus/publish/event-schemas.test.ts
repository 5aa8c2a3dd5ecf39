/** Schemas on a state that several nodes share, and what happens where the state does not take what is to be kept. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import type { CloudEvent } from "../../../src/events/cloud-event.ts";
import { EventSchemas } from "../../../src/nexus/publish/event-schemas.ts";
import { ParkedEvents } from "../../../src/nexus/publish/parked-events.ts";
import { Publisher } from "../../../src/nexus/publish/publisher.ts";
import { openState } from "../../../src/nexus/state/open-state.ts";
import { put, type StateStore } from "../../../src/nexus/state/state-store.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { eventually } from "../../support/processes.ts";
import { eventJson, openLog, temporaryDir } from "../support.ts";

const number = { type: "object", required: ["n"], properties: { n: { type: "number" } } };

function event(id: string, data: unknown): CloudEvent {
	return { specversion: "1.0", id, source: "/s", type: "t", data };
}

async function memoryState(t: TestContext): Promise<StateStore> {
	const opened = await openState({ engine: "memory" });
	assert.ok(opened.ok);
	t.after(() => opened.store.close());
	return opened.store;
}

async function node(t: TestContext, state: StateStore): Promise<EventSchemas> {
	const schemas = await EventSchemas.open({ state, clock: systemClock, logger: silentLogger });
	t.after(() => schemas.close());
	return schemas;
}

test("what one node is told, the others judge by; deleted and made anew as well", async (t) => {
	const state = await memoryState(t);
	const [one, two] = [await node(t, state), await node(t, state)];
	assert.ok((await one.put("t", { document: number, onViolation: "park" }, "somebody")).ok);
	await eventually("the other node knows it", async () => two.check(event("1", {})) !== undefined);
	assert.deepEqual(two.check(event("1", {})), { reason: "data must have required property 'n' (schema of t, version 1)", isParked: true });
	assert.equal(two.check(event("1", { n: 1 })), undefined);
	assert.equal(two.get("t")?.by, "somebody");

	assert.deepEqual(await two.delete("t"), { ok: true });
	assert.ok((await two.put("t", { document: { type: "string" } }, "another")).ok);
	await eventually("the first node knows the new one", async () => one.get("t")?.by === "another");
	assert.equal(one.versions("t").length, 1);
	assert.equal(one.check(event("1", "x")), undefined);
	assert.equal(one.check(event("1", {}))?.isParked, false);
	// A node that comes later finds the same.
	assert.deepEqual((await node(t, state)).get("t"), one.get("t"));
});

test("where the history does not reach back, what is known holds until all is read anew, however often that fails", async (t) => {
	const state = await memoryState(t);
	await (await node(t, state)).put("t", { document: number }, "somebody");
	let isForgetful = false;
	let failures = 0;
	const forgetful = {
		commit: (writes) => state.commit(writes),
		onChange: (listener) => state.onChange(listener),
		changes: async (table, after) => (isForgetful ? { ok: true, value: { kind: "reset" } } : state.changes(table, after)),
		async list(table, query) {
			if (!isForgetful) return state.list(table, query);
			isForgetful = ++failures < 3;
			return { ok: false, failure: "unavailable", detail: "the state is away" };
		},
	} satisfies Partial<StateStore> as unknown as StateStore;
	const clock = new FakeClock();
	const schemas = await EventSchemas.open({ state: forgetful, clock, logger: silentLogger });
	t.after(() => schemas.close());
	isForgetful = true;
	await eventually("it has been read anew after failures", async () => {
		assert.notEqual(schemas.check(event("1", {})), undefined);
		clock.advance(1_000);
		return !isForgetful;
	});
	assert.ok((await (await node(t, state)).put("u", { document: number }, "somebody")).ok);
	await eventually("changes are seen again", async () => {
		clock.advance(1_000);
		return schemas.get("u") !== undefined;
	});
	assert.notEqual(schemas.check(event("1", {})), undefined);
});

test("two nodes that change one type at the same time do not both win", async (t) => {
	const state = await memoryState(t);
	const [one, two] = [await node(t, state), await node(t, state)];
	const [first, second] = await Promise.all([one.put("t", { document: number }, "one"), two.put("t", { document: { type: "string" } }, "two")]);
	assert.deepEqual([first.ok, second.ok].sort(), [false, true]);
	const loser = first.ok ? second : first;
	assert.equal(!loser.ok && loser.why, "raced");
});

test("where the state does not keep them, nothing of the message is acknowledged; sent again, what is in the log is a duplicate", async (t) => {
	const { log } = openLog(t, temporaryDir(t));
	const state = await memoryState(t);
	const schemas = await node(t, state);
	await schemas.put("t", { document: number, onViolation: "park" }, "somebody");
	const parked = await ParkedEvents.open(state, systemClock);
	let isFailing = true;
	const publisher = new Publisher({
		log,
		check: (each) => schemas.check(each),
		park: (events) => (isFailing ? Promise.resolve({ ok: false, detail: "the disk says no" }) : parked.park(events)),
	});
	const message = messageOf([event("1", { n: 1 }), event("2", {})]);
	assert.deepEqual(await publisher.publish(message), { ok: false, failure: "parking", detail: "the disk says no" });
	isFailing = false;
	const again = await publisher.publish(message);
	assert.ok(again.ok);
	assert.deepEqual([again.accepted, again.duplicates, again.parked.length], [0, 1, 1]);
	assert.equal(parked.count, 1);
	assert.equal(publisher.inFlight.events, 0);
});

test("events larger than a value of the state are parked whole, shown, replaced and removed with all of their parts", async (t) => {
	const state = await memoryState(t);
	const parked = await ParkedEvents.open(state, systemClock);
	// Nothing takes more room as JSON in JSON.
	const json = (text: string): string => eventJson({ id: "1", data: text.repeat(250_000) });
	const large = (text: string) => ({ index: 1, event: event("1", text), json: json(text), reason: "data must be number" });
	const small = { index: 0, event: event("2", "x"), json: eventJson({ id: "2" }), reason: "data must be number" };
	const outcome = await parked.park([small, large('"\\')]);
	assert.ok(outcome.ok);
	assert.deepEqual(outcome.refused, []);
	const page = await parked.page(undefined, 10);
	assert.ok("events" in page);
	assert.deepEqual(page.events.map(({ event }) => event).sort(), [small.json, json('"\\')].sort());
	const parts = async (): Promise<number> => {
		const listed = await state.list("_parked-events");
		return listed.ok ? listed.value.entries.length : -1;
	};
	const before = await parts();
	assert.ok(before > 4);
	assert.ok((await parked.park([large("xy")])).ok);
	assert.equal(parked.count, 2);
	assert.ok((await parts()) < before);
	const key = page.events.find((each) => each.id === "1")?.key ?? "";
	const found = await parked.get(key);
	assert.ok(found !== undefined && "event" in found && found.event === json("xy"));
	// What a crash has left between the parts and their row.
	await state.commit([put("_parked-events", "nobody:0123:0", "AAAA")]);
	assert.equal((await ParkedEvents.open(state, systemClock)).count, 2);
	assert.equal(await parked.remove(key), true);
	assert.equal(await parts(), 0);
});

test("a batch is parked whatever its events are made of", async (t) => {
	const parked = await ParkedEvents.open(await memoryState(t), systemClock);
	// As JSON in JSON these take four times their room, and stand in their rows a second time.
	const events = Array.from({ length: 200 }, (_, index) => {
		const told = { ...event(String(index).padEnd(512, '"'), "x"), source: '"'.repeat(1024) };
		return { index, event: told, json: JSON.stringify(told), reason: '"'.repeat(300) };
	});
	assert.deepEqual(await parked.park(events), { ok: true, refused: [] });
	assert.equal(parked.count, 200);
});

function messageOf(events: readonly CloudEvent[]) {
	let start = 0;
	const texts = events.map((each) => JSON.stringify(each));
	const members = texts.map((text, i) => {
		const member = { ok: true as const, event: events[i] as CloudEvent, start, end: start + text.length };
		start += text.length;
		return member;
	});
	return { bytes: Buffer.from(texts.join("")), members };
}
