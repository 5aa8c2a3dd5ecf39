/** The most frequent keys in bounded memory. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { TopKeys } from "../../src/limits/top-keys.ts";

test("the top keys are exact while there are few", () => {
	const keys = new TopKeys();
	for (const key of ["a", "b", "a", "c", "a", "b"]) keys.add(key);
	assert.equal(keys.total, 6);
	assert.deepEqual(keys.top(2), [
		{ key: "a", count: 3 },
		{ key: "b", count: 2 },
	]);
	assert.deepEqual(new TopKeys().top(5), []);
});

test("frequent keys are found in a flood of others, and counted too high by a sixty-fourth of it at most", () => {
	const keys = new TopKeys();
	for (let i = 0; i < 100_000; i++) {
		keys.add(`flood ${i}`);
		if (i % 4 === 0) keys.add("often");
		if (i % 10 === 0) keys.add("less often");
	}
	const [first, second] = keys.top(5);
	assert.deepEqual([first?.key, second?.key], ["often", "less often"]);
	for (const [found, count] of [
		[first, 25_000],
		[second, 10_000],
	] as const) {
		assert.ok(found !== undefined && found.count >= count && found.count <= count + keys.total / 64, JSON.stringify(found));
	}
});
