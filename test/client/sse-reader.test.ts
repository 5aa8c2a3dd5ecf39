/** Reading a stream of events that may break anywhere. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SseReader } from "../../src/client/sse-reader.ts";

test("a stream that breaks within an event is resumed behind the last whole one, at whichever byte", () => {
	const first = "id: 1\ndata: a\n\n";
	const second = "id: 2\ndata: b\n\n";
	for (let cut = 0; cut < second.length; cut++) {
		const reader = new SseReader("");
		assert.deepEqual(
			reader.push(first + second.slice(0, cut)).map(({ id }) => id),
			["1"],
		);
		assert.equal(reader.lastId, "1", `cut after ${JSON.stringify(second.slice(0, cut))}`);
		// What is resumed comes whole, and counts once.
		const resumed = new SseReader(reader.lastId);
		assert.deepEqual(
			resumed.push(second).map(({ id }) => id),
			["2"],
		);
		assert.equal(resumed.lastId, "2");
	}
});

test("an id without data moves the place to resume at", () => {
	const reader = new SseReader("");
	assert.deepEqual(reader.push("id: 7\n\n"), []);
	assert.equal(reader.lastId, "7");
});
