/** The CloudEvents envelope, rule by rule. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { validateEvent } from "../../src/events/cloud-event.ts";

const minimal = { specversion: "1.0", id: "1", source: "/s", type: "t" };

function fault(extra: Record<string, unknown>): string {
	const verdict = validateEvent({ ...minimal, ...extra });
	return verdict.ok ? "" : verdict.reason;
}

test("a good event passes as the very object that was given", () => {
	const event = { ...minimal, subject: "s", time: "2026-01-02T03:04:05.678+02:00", priority: 9, custom1: true, count: -5, data: { a: null } };
	assert.equal((validateEvent(event) as { event: unknown }).event, event);
});

test("JSON null unsets an attribute, but is data where it stands in data", () => {
	const verdict = validateEvent({ ...minimal, subject: null, data_base64: null, data: null });
	assert.deepEqual(verdict, { ok: true, event: { ...minimal, data: null } });
	assert.match(fault({ id: null }), /id must be a non-empty string/);
});

test("what is no object is no event", () => {
	for (const value of [null, undefined, 1, "x", [], [minimal]]) assert.equal(validateEvent(value).ok, false);
});

test("each wrong attribute is named in the reason", () => {
	assert.match(fault({ specversion: "0.3" }), /specversion/);
	assert.match(fault({ id: undefined }), /id is missing/);
	assert.match(fault({ id: 5 }), /id must be a non-empty string/);
	assert.match(fault({ id: "x".repeat(513) }), /id is longer than 512/);
	assert.match(fault({ source: "a\nb" }), /source contains a control character/);
	assert.match(fault({ type: "a\u009bm" }), /type contains a control character/);
	assert.match(fault({ subject: "" }), /subject/);
	assert.match(fault({ time: "yesterday" }), /time/);
	assert.match(fault({ time: "2026-13-01T00:00:00Z" }), /time/);
	assert.match(fault({ priority: 10 }), /priority/);
	assert.match(fault({ priority: "5" }), /priority/);
	assert.match(fault({ data: 1, data_base64: "AA==" }), /exclude/);
	assert.match(fault({ data_base64: "*" }), /base64/);
	assert.match(fault({ Upper: "x" }), /attribute name "Upper"/);
	assert.match(fault({ a_b: null }), /attribute name "a_b"/);
	assert.match(fault({ n: 2147483648 }), /32 bits/);
	assert.match(fault({ n: 1.5 }), /32 bits/);
	assert.match(fault({ n: {} }), /string, a boolean or an integer/);
	assert.equal(validateEvent(JSON.parse('{"specversion":"1.0","id":"1","source":"/s","type":"t","__proto__":{"x":1}}')).ok, false);
});
