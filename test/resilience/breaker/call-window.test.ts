import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import { CallWindow } from "../../../src/resilience/breaker/call-window.ts";

interface WindowCase {
	readonly record: readonly (readonly [string, string])[];
	readonly expect: Readonly<Record<string, number>>;
}

const VECTORS = vectorsOf("sliding_window_resilience4j");

test("a window counts as the one of resilience4j does", { skip: VECTORS === undefined && "no conformance data here" }, () => {
	for (const { record, expect } of (VECTORS?.cases ?? []) as readonly WindowCase[]) {
		const window = new CallWindow(5_000);
		for (const [duration, kind] of record) window.record(kind.endsWith("error"), kind.startsWith("slow"), Number.parseFloat(duration), 100);
		const { requests, failures, slowCalls, slowFailures, totalMs } = window;
		const counted: Record<string, number> = {
			total: requests,
			success: requests - failures,
			failed: failures,
			slow: slowCalls,
			slow_success: slowCalls - slowFailures,
			slow_failed: slowFailures,
			total_ms: totalMs,
			avg_ms: totalMs / requests,
			slow_rate: (100 * slowCalls) / requests,
			failure_rate: (100 * failures) / requests,
		};
		for (const [name, value] of Object.entries(expect)) assert.equal(counted[name], value, name);
	}
});

test("a call falls out with its bucket, a tenth of the window at a time", () => {
	const window = new CallWindow(1_000);
	window.record(true, true, 5, 0);
	window.record(false, false, 7, 99);
	window.record(true, false, 11, 100);
	window.advance(999);
	assert.deepEqual([window.requests, window.failures, window.slowCalls, window.slowFailures, window.totalMs], [3, 2, 1, 1, 23]);
	window.advance(1_000);
	assert.deepEqual([window.requests, window.failures, window.slowCalls, window.slowFailures, window.totalMs], [1, 1, 0, 0, 11]);
	window.advance(1_100);
	assert.deepEqual([window.requests, window.failures, window.slowCalls, window.slowFailures, window.totalMs], [0, 0, 0, 0, 0]);
});

test("nothing is left of a window after a long silence, whatever its length", () => {
	for (const silenceMs of [1_000, 1_001, 10_000, 1e9]) {
		const window = new CallWindow(1_000);
		for (let at = 0; at < 1_000; at += 10) window.record(true, true, 0.1, at);
		assert.equal(window.requests, 100);
		window.advance(999 + silenceMs);
		assert.deepEqual([window.requests, window.failures, window.slowCalls, window.slowFailures, window.totalMs], [0, 0, 0, 0, 0]);
	}
});

test("a time that lies before the newest one, and a latency that is no number, do no harm", () => {
	const window = new CallWindow(1_000);
	window.record(false, false, 10, 5_000);
	window.record(false, false, Number.NaN, 4_000);
	window.record(false, false, -1, 0);
	assert.deepEqual([window.requests, window.totalMs], [3, 10]);
	window.advance(5_999);
	assert.equal(window.requests, 3, "a step back has dropped something");
	window.advance(6_000);
	assert.equal(window.requests, 0);
});

test("a million random calls are counted as a list of them would be", () => {
	const rng = seededRng(11);
	const window = new CallWindow(500);
	let calls: { slot: number; failed: boolean }[] = [];
	let nowMs = 0;
	for (let i = 0; i < 1_000_000; i++) {
		nowMs += rng() < 0.001 ? rng() * 1_000 : rng();
		const failed = rng() < 0.3;
		window.record(failed, false, 1, nowMs);
		const slot = Math.floor(nowMs / 50);
		calls.push({ slot, failed });
		if (i % 1_000 !== 0) continue;
		calls = calls.filter((call) => call.slot > slot - 10);
		assert.deepEqual([window.requests, window.failures], [calls.length, calls.filter((call) => call.failed).length]);
	}
});

function vectorsOf(name: string): { readonly cases: readonly unknown[] } | undefined {
	try {
		return JSON.parse(readFileSync(new URL("../../../../shared/conformance/resilience-vectors.json", import.meta.url), "utf8"))[name];
	} catch {
		return undefined;
	}
}
