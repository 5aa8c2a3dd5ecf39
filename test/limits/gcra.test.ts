/** The arithmetic of one bucket. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Gcra } from "../../src/limits/gcra.ts";

const SECOND = 1e9;

/** Requests at five times the rate, evenly, for 10 s from `fromNs`. */
function admitted(gcra: Gcra, rate: number, fromNs = 0): number {
	let fullAtNs = fromNs;
	let count = 0;
	for (let i = 0; i <= 10 * 5 * rate; i++) {
		const nowNs = fromNs + Math.ceil((i * SECOND) / (5 * rate));
		if (gcra.waitNs(fullAtNs, nowNs) > 0) continue;
		fullAtNs = gcra.take(fullAtNs, nowNs);
		count++;
	}
	return count;
}

describe("GCRA", () => {
	for (const [rate, burst] of [
		[1, 1],
		[3, 10],
		[7, 1],
		[100, 200],
		[999, 13],
		[1000, 1],
		[9999, 5],
	] as const) {
		test(`admits burst + rate x time exactly at five times the rate: ${rate}/s, burst ${burst}, 10 s`, () => {
			assert.equal(admitted(new Gcra(rate, burst), rate), burst + rate * 10);
		});
	}

	test("stays within a thousandth of the highest rates", () => {
		for (const rate of [33_333, 99_999, 700_001, 999_999]) {
			const periods = SECOND / new Gcra(rate, 1).periodNs;
			assert.ok(periods >= rate && periods < rate * 1.001, `${rate}/s is ${periods}/s`);
		}
	});

	test("counts as exactly after ninety days as at the beginning", () => {
		const ninetyDaysNs = 90 * 86_400 * SECOND;
		assert.equal(admitted(new Gcra(100, 200), 100, ninetyDaysNs), 1200);
	});

	test("says when there is room, to the nanosecond", () => {
		const gcra = new Gcra(10, 2);
		let fullAtNs = gcra.take(gcra.take(0, 0), 0);
		assert.equal(gcra.waitNs(fullAtNs, 0), SECOND / 10);
		assert.equal(gcra.waitNs(fullAtNs, SECOND / 10 - 1), 1);
		assert.equal(gcra.waitNs(fullAtNs, SECOND / 10), 0);
		fullAtNs = gcra.take(fullAtNs, SECOND / 10);
		assert.equal(gcra.waitNs(fullAtNs, SECOND / 10), SECOND / 10);
	});

	test("tells what is left", () => {
		const gcra = new Gcra(10, 3);
		assert.equal(gcra.remaining(0, 0), 3);
		const fullAtNs = gcra.take(0, 0);
		assert.equal(gcra.remaining(fullAtNs, 0), 2);
		assert.equal(gcra.remaining(fullAtNs, SECOND / 10 - 1), 2);
		assert.equal(gcra.remaining(fullAtNs, SECOND / 10), 3);
		assert.equal(gcra.remaining(1000 * SECOND, 0), 0);
	});

	test("lets one request in where the burst is less, and takes a rate below one a second", () => {
		const gcra = new Gcra(0.1, 0.5);
		assert.equal(gcra.remaining(0, 0), 1);
		assert.equal(gcra.waitNs(gcra.take(0, 0), 0), 10 * SECOND);
	});

	test("refuses what is no rate or no burst", () => {
		for (const rate of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) assert.throws(() => new Gcra(rate, 1), RangeError);
		for (const burst of [-1, Number.NaN, Number.POSITIVE_INFINITY]) assert.throws(() => new Gcra(1, burst), RangeError);
	});
});
