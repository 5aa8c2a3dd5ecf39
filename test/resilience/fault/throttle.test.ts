import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import { Throttle } from "../../../src/resilience/fault/throttle.ts";

test("the pause after a piece is what its bytes take at the rate", () => {
	const throttle = new Throttle(1000, 0);
	assert.equal(throttle.pauseMs(500, 0), 500);
	assert.equal(throttle.pauseMs(0, 500), 0);
	assert.equal(throttle.pauseMs(1, 500), 1);
});

test("pieces that come before the pause is over wait for all of them", () => {
	const throttle = new Throttle(1000, 0);
	throttle.pauseMs(100, 0);
	assert.equal(throttle.pauseMs(100, 40), 160);
});

test("time without bytes is not saved up for a burst", () => {
	const throttle = new Throttle(1000, 0);
	throttle.pauseMs(100, 0);
	assert.equal(throttle.pauseMs(100, 60_000), 100);
});

test("whatever the pieces, the average is the rate to the last byte", () => {
	const rng = seededRng(11);
	const throttle = new Throttle(8192, 1000);
	let nowMs = 1000;
	let bytes = 0;
	for (let i = 0; i < 10_000; i++) {
		const piece = 1 + Math.floor(rng() * 4096);
		bytes += piece;
		nowMs += throttle.pauseMs(piece, nowMs);
	}
	assert.ok(Math.abs(((nowMs - 1000) / 1000) * 8192 - bytes) < 1);
});

test("a rate of nothing is a mistake of the program", () => {
	for (const rate of [0, -1, Number.NaN]) assert.throws(() => new Throttle(rate, 0), RangeError);
});
