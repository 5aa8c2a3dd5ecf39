import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import { atLeastMs, backoffMs } from "../../../src/resilience/retry/backoff.ts";

interface BackoffCase {
	readonly kind?: string;
	readonly base: number;
	readonly max: number;
	readonly random: number;
	readonly seq: readonly number[];
	readonly after_reset?: readonly number[];
}

const VECTORS = new URL("../../../../shared/conformance/resilience-vectors.json", import.meta.url);
const cases: readonly BackoffCase[] = existsSync(VECTORS) ? JSON.parse(readFileSync(VECTORS, "utf8")).backoff.cases : [];
const skip = cases.length === 0 && "the shared conformance data is not here";

/** Draws the integer that Envoy's mock draws. */
const drawing = (random: number) => () => random / 2 ** 32;

test("waits as Envoy's jittered exponential backoff does for the same draws", { skip }, () => {
	const full = cases.filter((one) => one.kind === undefined);
	assert.equal(full.length, 2);
	for (const { base, max, random, seq, after_reset } of full) {
		const backoff = { baseMs: base, maxMs: max };
		for (const expected of after_reset === undefined ? [seq] : [seq, after_reset]) {
			assert.deepEqual(
				expected.map((_, i) => backoffMs(backoff, i + 1, drawing(random))),
				expected,
			);
		}
	}
});

test("waits as Envoy's jittered lower bound does for the same draws", { skip }, () => {
	const lower = cases.filter((one) => one.kind !== undefined);
	assert.equal(lower.length, 2);
	for (const { base, random, seq } of lower) assert.deepEqual([atLeastMs(base, drawing(random))], seq);
});

test("every wait lies below a ceiling that doubles up to the maximum, and all parts of the range are drawn", () => {
	const rng = seededRng(1);
	for (const [retry, ceiling] of [25, 50, 100, 200, 250, 250].entries()) {
		const waits = Array.from({ length: 2000 }, () => backoffMs({ baseMs: 25, maxMs: 250 }, retry + 1, rng));
		assert.ok(waits.every((ms) => Number.isInteger(ms) && ms >= 0 && ms < ceiling));
		const mean = waits.reduce((a, b) => a + b) / waits.length;
		assert.ok(Math.abs(mean - ceiling / 2) < ceiling * 0.05, `retry ${retry + 1}: mean ${mean}`);
	}
});

test("neither a thousandth retry nor a base of nothing breaks the arithmetic", () => {
	const rng = () => 0.999999;
	assert.ok(backoffMs({ baseMs: 25, maxMs: 250 }, 1000, rng) < 250);
	assert.equal(backoffMs({ baseMs: 0, maxMs: 0 }, 1, rng), 0);
	assert.equal(backoffMs({ baseMs: 0.5, maxMs: 0.5 }, 1, rng), 0);
	assert.equal(atLeastMs(0, rng), 0);
	assert.equal(atLeastMs(1, rng), 1);
});
