import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { afterResult, type HealthState, PENDING, statusOf } from "../../src/health/endpoint-health.ts";

const THRESHOLDS = { unhealthyThreshold: 3, healthyThreshold: 2 };

/** Every state that three failures down and two successes up can tell apart, with what follows: [success, failure]. */
const TABLE: readonly [string, HealthState, { success: string; failure: string }][] = [
	["pending", PENDING, { success: "healthy 1 ok", failure: "starting 1 failed" }],
	["starting after one failure", { kind: "starting", run: 1, failed: true }, { success: "healthy 1 ok", failure: "starting 2 failed" }],
	["starting after many", { kind: "starting", run: 9, failed: true }, { success: "healthy 1 ok", failure: "starting 10 failed" }],
	["healthy", { kind: "healthy", run: 5, failed: false }, { success: "healthy 6 ok", failure: "healthy 1 failed" }],
	["healthy with one failure", { kind: "healthy", run: 1, failed: true }, { success: "healthy 1 ok", failure: "healthy 2 failed" }],
	["healthy with two failures", { kind: "healthy", run: 2, failed: true }, { success: "healthy 1 ok", failure: "unhealthy 3 failed" }],
	["unhealthy", { kind: "unhealthy", run: 3, failed: true }, { success: "unhealthy 1 ok", failure: "unhealthy 4 failed" }],
	["unhealthy with one success", { kind: "unhealthy", run: 1, failed: false }, { success: "healthy 2 ok", failure: "unhealthy 1 failed" }],
	["known to be healthy", { kind: "healthy", run: 0, failed: false }, { success: "healthy 1 ok", failure: "healthy 1 failed" }],
	["known to be unhealthy", { kind: "unhealthy", run: 0, failed: true }, { success: "unhealthy 1 ok", failure: "unhealthy 1 failed" }],
];

describe("the health of an endpoint", () => {
	for (const [title, state, { success, failure }] of TABLE) {
		it(`${title}: a success leads to ${success}, a failure to ${failure}`, () => {
			assert.equal(shown(afterResult(state, true, THRESHOLDS)), success);
			assert.equal(shown(afterResult(state, false, THRESHOLDS)), failure);
		});
	}

	it("changes with every result where both thresholds are 1", () => {
		const once = { unhealthyThreshold: 1, healthyThreshold: 1 };
		let state: HealthState = { kind: "healthy", run: 1, failed: false };
		for (const [succeeded, kind] of [
			[false, "unhealthy"],
			[true, "healthy"],
			[false, "unhealthy"],
			[false, "unhealthy"],
		] as const) {
			state = afterResult(state, succeeded, once);
			assert.equal(state.kind, kind);
		}
	});

	it("never leaves healthy while it flaps below the threshold, nor unhealthy", () => {
		let up: HealthState = { kind: "healthy", run: 1, failed: false };
		let down: HealthState = { kind: "unhealthy", run: 3, failed: true };
		for (let i = 0; i < 30; i++) {
			up = afterResult(up, i % 3 === 2, THRESHOLDS);
			down = afterResult(down, i % 2 === 0, THRESHOLDS);
			assert.equal(up.kind, "healthy");
			assert.equal(down.kind, "unhealthy");
		}
	});

	it("tells the outside that starting is unhealthy", () => {
		assert.equal(statusOf(PENDING), "pending");
		assert.equal(statusOf({ kind: "starting", run: 1, failed: true }), "unhealthy");
		assert.equal(statusOf({ kind: "unhealthy", run: 3, failed: true }), "unhealthy");
		assert.equal(statusOf({ kind: "healthy", run: 1, failed: true }), "healthy");
	});
});

function shown(state: Exclude<HealthState, { kind: "pending" }>): string {
	return `${state.kind} ${state.run} ${state.failed ? "failed" : "ok"}`;
}
