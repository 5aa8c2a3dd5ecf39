/** A seed decides the whole schedule. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type FaultKind, lanesOf, type Step, scheduleOf } from "./schedule.ts";

const KINDS: readonly FaultKind[] = ["nexus-killed", "nexus-stopped", "tail-torn", "disk-full", "consumer-killed", "broker-killed", "broker-stopped"];

function take(seed: number, count: number): Step[] {
	return [...scheduleOf(seed, KINDS).take(count)];
}

test("the same seed has the same schedule, another seed another one", () => {
	assert.deepEqual(take(7, 70), take(7, 70));
	assert.notDeepEqual(take(7, 70), take(8, 70));
});

test("each kind comes once in each round", () => {
	const steps = take(3, 10 * KINDS.length);
	for (let round = 0; round < 10; round++) {
		const kinds = steps.slice(round * KINDS.length, (round + 1) * KINDS.length).map(({ fault }) => fault.kind);
		assert.deepEqual(kinds.toSorted(), KINDS.toSorted());
	}
});

test("each kind is of one victim", () => {
	assert.deepEqual(lanesOf(KINDS).flat().toSorted(), KINDS.toSorted());
	assert.deepEqual(lanesOf(["clients-cut", "nexus-killed"]), [["nexus-killed"], ["clients-cut"]]);
});
