import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import { drawDelayMs } from "../../../src/resilience/fault/delay.ts";

const draws = (distribution: "fixed" | "uniform" | "exponential", ms: number, msMax: number): number[] => {
	const rng = seededRng(3);
	return Array.from({ length: 20_000 }, () => drawDelayMs({ kind: "delay", distribution, ms, msMax }, rng));
};
const mean = (values: readonly number[]): number => values.reduce((sum, v) => sum + v, 0) / values.length;

test("a fixed delay is always the same", () => {
	assert.deepEqual([...new Set(draws("fixed", 200, 200))], [200]);
});

test("a uniform delay lies between ms and msMax, evenly", () => {
	const values = draws("uniform", 100, 300);
	assert.ok(Math.min(...values) >= 100 && Math.max(...values) <= 300);
	assert.ok(Math.abs(mean(values) - 200) < 2);
	// A quarter of them in each quarter of the range.
	for (let quarter = 0; quarter < 4; quarter++) {
		const share = values.filter((v) => v >= 100 + quarter * 50 && v < 150 + quarter * 50).length / values.length;
		assert.ok(Math.abs(share - 0.25) < 0.01, `${quarter}: ${share}`);
	}
});

test("an exponential delay has ms as its mean, a long tail, and never exceeds msMax", () => {
	const free = draws("exponential", 100, 1e9);
	assert.ok(Math.abs(mean(free) - 100) < 3, `${mean(free)}`);
	// Beyond three times the mean: e^-3.
	assert.ok(Math.abs(free.filter((v) => v > 300).length / free.length - Math.exp(-3)) < 0.005);
	const bounded = draws("exponential", 100, 250);
	assert.equal(Math.max(...bounded), 250);
});

test("the ends of the generator's range give finite delays", () => {
	for (const draw of [0, 1 - 2 ** -53]) {
		const ms = drawDelayMs({ kind: "delay", distribution: "exponential", ms: 100, msMax: 1000 }, () => draw);
		assert.ok(ms >= 0 && ms <= 1000, `${ms}`);
	}
});
