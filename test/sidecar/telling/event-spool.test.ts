import assert from "node:assert/strict";
import { test } from "node:test";
import { EventSpool, type SpooledEvent } from "../../../src/sidecar/telling/event-spool.ts";
import { event } from "./support.ts";

function idsOf(events: readonly SpooledEvent[]): string[] {
	return events.map((e) => JSON.parse(e.json).id);
}

test("failures of the mesh leave first where there is a backlog, all else in the order in which it came", () => {
	const spool = new EventSpool();
	[5, 1, 9, 1, 0, 8].forEach((priority, n) => {
		spool.push(event(n, priority));
	});
	assert.deepEqual(idsOf(spool.take(4, 1e9)), ["e0", "e1", "e2", "e5"]);
	assert.deepEqual(idsOf(spool.take(4, 1e9)), ["e3", "e4"]);
	assert.deepEqual([spool.size, spool.bytes, spool.take(4, 1e9).length], [0, 0, 0]);
});

test("events that fit into one batch leave in the order in which they came, whatever their priority", () => {
	const spool = new EventSpool();
	[5, 1, 9, 1, 0, 8].forEach((priority, n) => {
		spool.push(event(n, priority));
	});
	assert.deepEqual(idsOf(spool.take(64, 1e9)), ["e0", "e1", "e2", "e3", "e4", "e5"]);
});

test("a full spool drops the oldest of the least important, even what comes in", () => {
	const spool = new EventSpool({ eventsMax: 4 });
	[1, 5, 1, 9].forEach((priority, n) => {
		spool.push(event(n, priority));
	});
	spool.push(event(4, 5)); // e0 goes
	spool.push(event(5, 8)); // e2 goes
	spool.push(event(6, 0)); // e6 itself goes
	assert.equal(spool.losses.total("overflow"), 3);
	assert.deepEqual(idsOf(spool.take(9, 1e9)), ["e1", "e3", "e4", "e5"]);
});

test("a million events leave a bounded number and a bounded size, and every loss is counted", () => {
	const spool = new EventSpool({ eventsMax: 1000, bytesMax: 100_000 });
	for (let n = 0; n < 1_000_000; n++) {
		spool.push(event(n, n % 10));
		if (spool.size > 1000 || spool.bytes > 100_000) assert.fail(`${spool.size} events, ${spool.bytes} bytes`);
	}
	const left = spool.size;
	assert.equal(left + spool.losses.total("overflow"), 1_000_000);
	const all = spool.take(1e9, 1e9);
	assert.ok(all.every((e) => JSON.parse(e.json).priority === 9));
	assert.deepEqual([all.length, spool.bytes], [left, 0]);
});

test("a batch ends at its bound of bytes, but holds one event at least", () => {
	const spool = new EventSpool();
	for (let n = 0; n < 5; n++) spool.push(event(n, 5, 1000));
	assert.equal(spool.take(64, 2500).length, 2);
	assert.equal(spool.take(64, 10).length, 1);
	assert.equal(spool.size, 2);
});

test("an event larger than any Nexus takes is dropped and counted", () => {
	const spool = new EventSpool();
	spool.push(event(0, 9, 1_100_000));
	assert.deepEqual([spool.size, spool.losses.total("tooLarge")], [0, 1]);
});

test("a priority that does not exist counts as none", () => {
	const spool = new EventSpool({ eventsMax: 1 });
	spool.push({ ...event(0), priority: 99 });
	spool.push(event(1, 1));
	assert.deepEqual(idsOf(spool.take(1, 1e9)), ["e1"]);
});

test("a smaller bound acts at once, a larger one from then on", () => {
	const spool = new EventSpool({ eventsMax: 4 });
	for (let n = 0; n < 4; n++) spool.push(event(n));
	spool.setEventsMax(2);
	assert.deepEqual([spool.size, spool.losses.total("overflow")], [2, 2]);
	spool.setEventsMax(3);
	for (let n = 4; n < 6; n++) spool.push(event(n));
	assert.deepEqual(idsOf(spool.take(9, 1e9)), ["e3", "e4", "e5"]);
});
