import assert from "node:assert/strict";
import { test } from "node:test";
import { effectiveTimeoutMs, parseDeadline, remainingMs } from "../../../src/resilience/deadline/deadline-header.ts";

test("reads one to nine digits as milliseconds", () => {
	assert.equal(parseDeadline("1"), 1);
	assert.equal(parseDeadline("0"), 0);
	assert.equal(parseDeadline("15000"), 15_000);
	assert.equal(parseDeadline("007"), 7);
	assert.equal(parseDeadline("999999999"), 999_999_999);
});

test("anything else says nothing", () => {
	for (const value of ["", " ", "-1", "+1", "1.5", "1e3", "0x10", " 1", "1 ", "1ms", "1000000000", "100, 200", "١", "NaN", "12\u00003"]) {
		assert.equal(parseDeadline(value), undefined, JSON.stringify(value));
	}
});

test("a caller can shorten the time of the policy, never lengthen it", () => {
	assert.equal(effectiveTimeoutMs(15_000, undefined), 15_000);
	assert.equal(effectiveTimeoutMs(15_000, 200), 200);
	assert.equal(effectiveTimeoutMs(15_000, 20_000), 15_000);
	assert.equal(effectiveTimeoutMs(15_000, 0), 0);
});

test("what is left is rounded down, and 0 or less once it is over", () => {
	assert.equal(remainingMs(1000, 200, 1000), 200);
	assert.equal(remainingMs(1000, 200, 1000.4), 199);
	assert.equal(remainingMs(1000, 200, 1199.2), 0);
	assert.equal(remainingMs(1000, 200, 1200), 0);
	assert.ok(remainingMs(1000, 200, 1300) < 0);
	assert.ok(remainingMs(1000, 0, 1000) <= 0);
});

test("over a chain of hops the time only shrinks, and the last one is told when nothing is left", () => {
	let nowMs = 0;
	let header: number | undefined;
	let hops = 0;
	for (;;) {
		const timeoutMs = effectiveTimeoutMs(1000, header);
		const startedMs = nowMs;
		nowMs += 150.7;
		const left = remainingMs(startedMs, timeoutMs, nowMs);
		if (left <= 0) break;
		assert.ok(left < timeoutMs && left <= 1000 - nowMs);
		header = parseDeadline(String(left));
		assert.equal(header, left);
		hops++;
	}
	assert.equal(hops, 6);
});
