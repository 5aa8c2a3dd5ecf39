/** Ids: form, order, uniqueness. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { IdSource } from "../../src/core/ids.ts";

// RFC 9562 section 5.7: version 7, variant 10.
const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const NOW_MS = Date.UTC(2026, 0, 1);

describe("hex ids", () => {
	it("have the length asked for and lower-case hexadecimal digits alone, across refills of the pool", () => {
		const ids = new IdSource();
		for (let i = 0; i < 5_000; i++) {
			const length = 1 + (i % 32);
			assert.match(ids.hex(length), new RegExp(`^[0-9a-f]{${length}}$`));
		}
	});

	it("use every digit about as often as any other", () => {
		const ids = new IdSource();
		const counts = new Map<string, number>();
		for (let i = 0; i < 10_000; i++) for (const digit of ids.hex(16)) counts.set(digit, (counts.get(digit) ?? 0) + 1);
		assert.equal(counts.size, 16);
		// 10,000 expected, standard deviation 97: six of them are beyond chance.
		for (const [digit, count] of counts) assert.ok(Math.abs(count - 10_000) < 600, `${digit}: ${count}`);
	});

	it("never come twice, from one source or from two", () => {
		const sources = [new IdSource(), new IdSource()];
		const seen = new Set<string>();
		for (let i = 0; i < 50_000; i++) for (const source of sources) seen.add(source.hex(32));
		assert.equal(seen.size, 100_000);
	});
});

describe("UUIDv7", () => {
	it("has the form of RFC 9562 with version and variant, and carries its time", () => {
		const ids = new IdSource();
		for (let i = 0; i < 5_000; i++) {
			const wallMs = NOW_MS + i * 977.5;
			const id = ids.uuid7(wallMs);
			assert.match(id, UUID7);
			assert.equal(Number.parseInt(id.replaceAll("-", "").slice(0, 12), 16), Math.trunc(wallMs));
		}
	});

	it("sorts by time as text, also from the earliest to the latest time that fits", () => {
		const ids = new IdSource();
		const times = [0, 1, 15, 16, 2 ** 32, NOW_MS, NOW_MS + 1, NOW_MS + 1000, 2 ** 48 - 1];
		const made = times.map((wallMs) => ids.uuid7(wallMs));
		assert.deepEqual(made.toSorted(), made);
		for (const id of made) assert.match(id, UUID7);
	});

	it("never comes twice within one millisecond, and takes all four variants", () => {
		const ids = new IdSource();
		const seen = new Set<string>();
		for (let i = 0; i < 100_000; i++) seen.add(ids.uuid7(NOW_MS));
		assert.equal(seen.size, 100_000);
		assert.deepEqual([...new Set([...seen].map((id) => id[19]))].toSorted(), ["8", "9", "a", "b"]);
	});
});
