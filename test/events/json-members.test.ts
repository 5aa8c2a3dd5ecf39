/** Slicing the members of a JSON array out of its bytes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRng } from "../../src/core/rng.ts";
import { arrayMembers } from "../../src/events/json-members.ts";

function slices(text: string): string[] {
	const bytes = Buffer.from(text);
	const bounds = arrayMembers(bytes);
	return Array.from({ length: bounds.length / 2 }, (_, i) => bytes.toString("utf8", bounds[2 * i], bounds[2 * i + 1]));
}

test("members keep their bytes; white space between them does not belong to them", () => {
	assert.deepEqual(slices(' [ {"a" : [1, 2]} ,\n"x,]\\"",3 , null,[ ] ] '), ['{"a" : [1, 2]}', '"x,]\\""', "3", "null", "[ ]"]);
	assert.deepEqual(slices("[]"), []);
	assert.deepEqual(slices('["\\\\","é😀"]'), ['"\\\\"', '"é😀"']);
	// Backslashes on both sides of where a long string is searched and not walked.
	for (let length = 30; length < 60; length++) {
		for (const end of ['\\"', "\\\\", '\\\\\\"']) {
			const text = JSON.stringify("x".repeat(length)).replace(/"$/, `${end}"`);
			assert.deepEqual(slices(`[${text},1]`), [text, "1"]);
		}
	}
});

test("each slice of any array parses to the member at its place", () => {
	const random = seededRng(7);
	const value = (depth: number): unknown => {
		const kind = Math.floor(random() * (depth > 3 ? 4 : 6));
		if (kind === 0) return null;
		if (kind === 1) return Math.floor(random() * 1e6) - 5e5;
		if (kind === 2) return random() < 0.5;
		if (kind === 3)
			return Array.from({ length: Math.floor(random() * random() * 200) }, () => '"\\[]{},: \n€😀a'[Math.floor(random() * 14)]).join("");
		if (kind === 4) return Array.from({ length: Math.floor(random() * 4) }, () => value(depth + 1));
		return Object.fromEntries(Array.from({ length: Math.floor(random() * 4) }, (_, i) => [`k"${i}]`, value(depth + 1)]));
	};
	for (let round = 0; round < 2000; round++) {
		const members = Array.from({ length: Math.floor(random() * 6) }, () => value(0));
		const text = JSON.stringify(members, null, round % 3);
		assert.deepEqual(
			slices(text).map((slice) => JSON.parse(slice)),
			JSON.parse(text),
		);
	}
});
