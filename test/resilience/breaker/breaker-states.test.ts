import assert from "node:assert/strict";
import { test } from "node:test";
import { BREAKER_EDGES, BREAKER_STATES, type BreakerState, nextBreakerState } from "../../../src/resilience/breaker/breaker-states.ts";

test("each event leads from a state to one state", () => {
	const pairs = BREAKER_EDGES.map(({ from, event }) => `${from} ${event}`);
	assert.equal(new Set(pairs).size, pairs.length);
	for (const { from, event, to } of BREAKER_EDGES) assert.equal(nextBreakerState(from, event), to);
});

test("every state is reached and left", () => {
	for (const state of Object.keys(BREAKER_STATES) as BreakerState[]) {
		assert.ok(
			BREAKER_EDGES.some(({ from, to }) => to === state && from !== state),
			`nothing leads to ${state}`,
		);
		assert.ok(
			BREAKER_EDGES.some(({ from, to }) => from === state && to !== state),
			`nothing leads out of ${state}`,
		);
	}
});

test("what is not in the table does not happen", () => {
	assert.throws(() => nextBreakerState("closed", "elapse"), /a breaker that is closed knows no elapse/);
	assert.throws(() => nextBreakerState("open", "trip"), /knows no trip/);
	assert.throws(() => nextBreakerState("closed", "release"), /knows no release/);
});
