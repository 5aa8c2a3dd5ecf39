import assert from "node:assert/strict";
import { test } from "node:test";
import { REDACTED, redact } from "../../src/telemetry/redact.ts";

test("what a condition compares a secret with is a secret", () => {
	const headers = new Map([
		["authorization", { kind: "exact", value: "Bearer abc" }],
		["x-api-key", { kind: "present" }],
		["x-a", { kind: "prefix", value: "b" }],
	]);
	assert.deepEqual(redact({ match: { headers } }), {
		match: {
			headers: { authorization: { kind: "exact", value: REDACTED }, "x-api-key": { kind: "present" }, "x-a": { kind: "prefix", value: "b" } },
		},
	});
});
