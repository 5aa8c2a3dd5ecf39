/** What keeps traces: by token, of failures, and in one header field. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Decision } from "../../../src/policy/decision-trace.ts";
import { COMPACT_CHARS_MAX, compactTrace } from "../../../src/telemetry/tracing/compact-trace.ts";
import { traceBytes } from "../../../src/telemetry/tracing/trace-size.ts";
import { FailureRing, TraceStore } from "../../../src/telemetry/tracing/trace-store.ts";
import { isTraceToken } from "../../../src/telemetry/tracing/trace-tokens.ts";
import { decision, trace } from "./support.ts";

const PLACE = { file: "/etc/nexus/policy.yaml", line: 12, column: 7 };

test("a trace is found by its id until 256 newer ones have come; the same id holds the latest", () => {
	const store = new TraceStore();
	for (let i = 0; i < 300; i++) assert.ok(store.put(`t${i}`, trace({ id: String(i) })));
	assert.equal(store.size, 256);
	assert.equal(store.get("t43"), undefined);
	assert.equal(store.get("t44")?.id, "44");
	store.put("t44", trace({ id: "again" }));
	assert.equal(store.size, 256);
	store.put("new", trace());
	assert.equal(store.get("t44")?.id, "again");
	assert.equal(store.get("t45"), undefined);
	assert.equal(store.get("nobody"), undefined);
});

test("stores are bounded in bytes, and take nothing that is larger than all of it", () => {
	const large = (id: string, chars: number) => trace({ id, status: 503, decisions: [decision({ text: "x".repeat(chars) })] });
	const store = new TraceStore();
	for (let i = 0; i < 20; i++) store.put(`t${i}`, large(String(i), 100_000));
	assert.equal(store.size, 10);
	assert.ok(store.bytes <= 1024 * 1024);
	assert.ok(store.get("t19"));
	assert.equal(store.put("t19", large("huge", 2_000_000)), false);
	assert.equal(store.get("t19"), undefined, "a stale trace under the id would be a wrong answer");
	const ring = new FailureRing();
	for (let i = 0; i < 20; i++) assert.ok(ring.offer(large(String(i), 100_000)));
	assert.equal(ring.size, 10);
	assert.ok(ring.bytes <= 1024 * 1024);
	assert.equal(ring.offer(large("huge", 2_000_000)), false);
	assert.equal(ring.list()[0]?.id, "19");
});

test("the size counts text and data, however deep, and ends in a cycle", () => {
	const plain = traceBytes(trace());
	const cycle: Record<string, unknown> = {};
	Object.assign(cycle, { self: cycle });
	assert.ok(
		traceBytes(trace({ decisions: [decision({ data: { candidates: [{ endpoint: "x".repeat(1000) }], tags: ["y".repeat(500)] } })] })) > plain + 1500,
	);
	assert.ok(traceBytes(trace({ decisions: [decision({ data: cycle as Decision["data"] & object })] })) < plain + 2000);
	assert.ok(traceBytes(trace({ target: "z".repeat(16_000) })) > plain + 15_000);
});

test("the ring keeps the last hundred that failed, newest first", () => {
	const ring = new FailureRing();
	assert.equal(ring.offer(trace({ status: 200 })), false);
	assert.equal(ring.offer(trace({ status: 404 })), false);
	assert.equal(ring.offer(trace({ id: "reason", status: 429, reason: "rate_limited" })), true);
	assert.equal(ring.offer(trace({ id: "status", status: 500 })), true);
	assert.equal(ring.offer(trace({ id: "unanswered", status: 0, reason: "client_closed" })), true);
	const ids = (): string[] => ring.list().map(({ id }) => id);
	assert.deepEqual(ids(), ["unanswered", "status", "reason"]);
	assert.deepEqual(ids(), ["unanswered", "status", "reason"], "looking changes nothing");
	for (let i = 0; i < 250; i++) ring.offer(trace({ id: String(i), status: 502 }));
	assert.deepEqual(
		ids(),
		Array.from({ length: 100 }, (_, i) => String(249 - i)),
	);
});

test("the compact form has the decisions in order, each with its line, and the times of what takes time", () => {
	const decisions = [
		decision({ text: "canary", place: PLACE }),
		decision({ stage: "pick", text: "10.0.0.1:80 by weighted, 2 of 2 usable", data: { brief: "10.0.0.1:80" } }),
		decision({ stage: "attempt", verdict: "no", atMs: 12.04, text: "try 1 was answered with 503", data: { brief: "1 503" } }),
		decision({ stage: "retry", atMs: 12.1, text: "25ms", data: { brief: 7 }, place: { ...PLACE, line: 30 } }),
		decision({ stage: "attempt", atMs: 41, data: { brief: "2 200" } }),
	];
	assert.equal(
		compactTrace(decisions),
		"route=canary(policy.yaml:12); pick=10.0.0.1:80; !attempt=1 503 @12ms; retry=25ms(policy.yaml:30) @12.1ms; attempt=2 200 @41ms",
	);
	assert.equal(compactTrace([]), "");
});

test("nothing in a decision can end the field, begin another one, or look like another decision", () => {
	const evil = "a\r\nset-cookie: x=1; attempt=9 200\u0000\u007f\u00e9\u{1f600}\t";
	const text = compactTrace([
		decision({ text: evil, place: { file: `/x/${evil}`, line: 1, column: 1 } }),
		decision({ stage: "answer", data: { brief: evil } }),
	]);
	assert.match(text, /^[\x20-\x7e]*$/);
	assert.equal(text.split("; ").length, 2);
	assert.equal(text.split(";").length, 2);
});

test("a long trace ends at a whole decision, with a mark, within 4 KiB", () => {
	const long = Array.from({ length: 256 }, (_, i) => decision({ text: `${i} `.repeat(100), place: PLACE }));
	const text = compactTrace(long);
	assert.ok(text.length <= COMPACT_CHARS_MAX && text.length > COMPACT_CHARS_MAX - 300, String(text.length));
	const items = text.split("; ");
	assert.equal(items.pop(), "...");
	for (const item of items) assert.match(item, /^route=(\d+ )+.*\.\.\.\(policy\.yaml:12\)$/);
	for (let length = 1; length < 200; length++) {
		const many = Array.from({ length: 200 }, () => decision({ text: "x".repeat(length) }));
		assert.ok(compactTrace(many).length <= COMPACT_CHARS_MAX, String(length));
	}
});

test("a token is 1 to 64 characters that need no escape anywhere", () => {
	for (const token of ["a", "abc-1_2.Z", "x".repeat(64)]) assert.ok(isTraceToken(token), token);
	for (const token of ["", "a b", "a/b", "a\n", "\u00e9", "x".repeat(65), "%2e"]) assert.ok(!isTraceToken(token), token);
});
