import assert from "node:assert/strict";
import { test } from "node:test";
import { bool, choice, defaulted, defaultsOf, keysAt, list, numeric, object, optional, readAs, record, string } from "../../src/policy/shape.ts";

const whole = numeric({ min: 1, max: 10, whole: true, digits: /^\d{1,9}$/ });
const shape = object({
	name: string(5),
	size: defaulted(whole, () => 3),
	kind: optional(choice(["a", "b"])),
	on: optional(bool),
	parts: defaulted(list(object({ size: whole }), { min: 1, max: 2 }), () => []),
	by: optional(record(whole)),
});

function issuesOf(given: unknown): string[] {
	const reading = readAs(shape, given);
	assert.ok(!reading.ok);
	return reading.issues.map(({ path, code, ...rest }) => `${path.join(".")} ${code} ${Object.values(rest).flat().join(",")}`.trim());
}

test("what is left out becomes its default or stays away", () => {
	const reading = readAs(shape, { name: "x" });
	assert.deepEqual(reading, { ok: true, value: { name: "x", size: 3, parts: [] } });
	assert.ok(reading.ok && !("kind" in reading.value));
});

test("text of numbers and flags counts, as what comes from the environment is text", () => {
	const reading = readAs(shape, { name: "x", size: "10", on: "false", parts: [{ size: 1 }], by: { a: 2, constructor: 3 } });
	assert.deepEqual(reading, { ok: true, value: { name: "x", size: 10, on: false, parts: [{ size: 1 }], by: { a: 2, constructor: 3 } } });
});

test("everything that does not fit is told at once, with its place", () => {
	assert.deepEqual(issuesOf({ nme: 1, size: 11, kind: "c", on: 1, parts: [{ size: 0 }, { size: 1.5, x: 1 }], by: { a: "x" } }), [
		"unknown_keys nme",
		"name type string",
		"size too_big number,10",
		"kind choice a,b",
		"on type boolean",
		"parts.0.size too_small number,1",
		"parts.1 unknown_keys x",
		"parts.1.size type int",
		"by.a type number",
	]);
	assert.deepEqual(issuesOf([]), ["type object"]);
	assert.deepEqual(issuesOf(null), ["type object"]);
	assert.deepEqual(issuesOf({ name: "longer" }), ["name too_big number,5"]);
	assert.deepEqual(issuesOf({ name: "x", parts: [] }), ["parts too_small items,1"]);
	assert.deepEqual(issuesOf({ name: "x", parts: [{}, {}, {}] }), ["parts too_big items,2"]);
	assert.deepEqual(issuesOf({ name: "x", size: Number.NaN, by: [] }), ["size type number", "by type record"]);
});

test("a name that objects have by themselves is a name like others", () => {
	const given: unknown = JSON.parse('{"name":"x","by":{"__proto__":4}}');
	const reading = readAs(shape, given);
	assert.ok(reading.ok);
	assert.deepEqual(Object.entries(reading.value.by ?? {}), [["__proto__", 4]]);
	assert.deepEqual(issuesOf(JSON.parse('{"name":"x","__proto__":1}')), ["unknown_keys __proto__"]);
	assert.deepEqual(issuesOf({ name: "x", toString: 1 }), ["unknown_keys toString"]);
});

test("it knows its keys at any place, and says itself as JSON Schema", () => {
	assert.deepEqual(keysAt(shape, []), ["name", "size", "kind", "on", "parts", "by"]);
	assert.deepEqual(keysAt(shape, ["parts", 7]), ["size"]);
	assert.deepEqual(keysAt(shape, ["by", "any"]), []);
	assert.deepEqual(keysAt(shape, ["nothing", "there"]), []);
	assert.deepEqual(shape.json.required, ["name"]);
	assert.deepEqual(shape.json.properties?.parts?.items, {
		type: "object",
		properties: { size: { type: "integer", minimum: 1, maximum: 10 } },
		required: ["size"],
		additionalProperties: false,
	});
});

test("a shape whose keys may all be left out has a value of nothing", () => {
	assert.deepEqual(defaultsOf(object({ size: defaulted(whole, () => 3) })), { size: 3 });
	assert.throws(() => defaultsOf(shape), /name/);
});
