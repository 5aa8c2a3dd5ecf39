/** Which schemas are taken, what is told of the others, and how data is judged. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { FORMATS } from "../../../src/nexus/schemas/formats.ts";
import { SchemaCompiler } from "../../../src/nexus/schemas/schema-compiler.ts";
import { eventually } from "../../support/processes.ts";

const compiler = new SchemaCompiler();

function check(document: unknown, data: unknown): string | undefined {
	const compiled = compiler.compile(document);
	assert.ok(compiled.ok, JSON.stringify(compiled));
	return compiled.check(data);
}

function faults(document: unknown): string[] {
	const compiled = compiler.compile(document);
	return compiled.ok ? [] : compiled.faults.map(({ path, message }) => `${path}: ${message}`);
}

const order = {
	$schema: "https://json-schema.org/draft/2020-12/schema",
	$id: "https://shop.example/order",
	type: "object",
	required: ["total", "items"],
	properties: {
		total: { type: "number", minimum: 0 },
		state: { enum: ["new", "paid"] },
		items: { type: "array", items: { $ref: "#/$defs/item" }, maxItems: 3 },
		mail: { type: "string", format: "email" },
		code: { type: "string", pattern: "^[A-Z]{2}-\\d+$" },
	},
	additionalProperties: false,
	$defs: { item: { type: "object", required: ["sku"], properties: { sku: { type: "string" } } } },
};

test("data is judged, and the first thing that is wrong is told with its place", () => {
	const good = { total: 1, items: [{ sku: "a" }], state: "new", mail: "a@b.example", code: "AB-1" };
	assert.equal(check(order, good), undefined);
	assert.equal(check(order, { ...good, total: "1" }), "data/total must be number");
	assert.equal(check(order, { ...good, items: [{}] }), "data/items/0 must have required property 'sku'");
	assert.equal(check(order, { ...good, state: "gone" }), 'data/state must be equal to one of the allowed values: "new", "paid"');
	assert.equal(check(order, { ...good, more: 1 }), 'data must NOT have additional properties: "more"');
	assert.equal(check(order, { ...good, mail: "a" }), 'data/mail must match format "email"');
	assert.match(String(check(order, { ...good, code: "ab-1" })), /^data\/code must match pattern/);
	assert.equal(check(true, 1), undefined);
	assert.equal(check(false, 1), "data boolean schema is false");
	assert.ok(String(check({ enum: Array.from({ length: 500 }, (_, i) => i) }, -1)).length <= 300);
});

test("keywords of 2020-12 are known", () => {
	assert.equal(check({ prefixItems: [{ type: "string" }], items: { type: "integer" } }, ["a", 1, 2]), undefined);
	assert.equal(check({ prefixItems: [{ type: "string" }], items: { type: "integer" } }, ["a", "b"]), "data/1 must be integer");
	// Also where the list is shorter than what is said of its members one by one.
	const tuple = { prefixItems: [{ type: "string" }, { type: "string" }, { type: "string" }] };
	assert.match(String(check({ ...tuple, contains: { const: "x" } }, ["a"])), /must contain at least 1/);
	assert.match(String(check({ ...tuple, uniqueItems: true, maxItems: 3 }, ["a", "a"])), /must NOT have duplicate items/);
	assert.match(String(check({ ...tuple, minItems: 3 }, ["a", "a"])), /fewer than 3/);
	assert.match(String(check({ ...tuple, unevaluatedItems: false }, ["a", "b", "c", "d"])), /more than 3 items/);
	assert.equal(check({ ...tuple, unevaluatedItems: false }, ["a", "b"]), undefined);
	assert.match(String(check({ ...tuple, items: { type: "integer" } }, ["a", "b", "c", "d"])), /data\/3 must be integer/);
	assert.equal(check({ properties: { a: true }, unevaluatedProperties: false }, { b: 1 }), 'data must NOT have unevaluated properties: "b"');
	assert.match(String(check({ dependentRequired: { a: ["b"] } }, { a: 1 })), /must have property b/);
	assert.equal(check({ contains: { const: 1 }, minContains: 2 }, [1, 2, 1]), undefined);
});

test("the same identity in two documents is no matter, and neither is compiling one twice", () => {
	const other = { $id: order.$id, type: "string" };
	assert.equal(check(order, "x"), "data must be object");
	assert.equal(check(other, "x"), undefined);
	assert.equal(check(order, "x"), "data must be object");
});

test("names that every object of JavaScript has are names like others", () => {
	for (const name of ["constructor", "toString", "__proto__", "hasOwnProperty"]) {
		assert.equal(check(JSON.parse(`{ "properties": { "${name}": { "type": "string" } } }`), {}), undefined, name);
		assert.match(String(check({ required: [name] }, {})), /must have required property/, name);
		assert.equal(check({ required: [name] }, JSON.parse(`{ "${name}": 1 }`)), undefined, name);
		assert.match(String(check({ dependentRequired: { a: [name] } }, { a: 1 })), /must have property/, name);
	}
});

test("data that is nested deeper than it can be compared is refused, not thrown", () => {
	const deep = (): unknown => JSON.parse(`${"[".repeat(200_000)}${"]".repeat(200_000)}`);
	assert.equal(check({ uniqueItems: true, maxItems: 2 }, [deep(), deep()]), "data is nested too deep to be compared");
	assert.equal(check({ uniqueItems: true, maxItems: 2 }, [deep(), 1]), undefined);
	assert.equal(check({ items: { type: "array" } }, [deep()]), undefined);
});

test("what has been compiled is let go of with its check", async () => {
	setFlagsFromString("--expose_gc");
	const collect = runInNewContext("gc") as () => void;
	const compiled = (): WeakRef<object> => {
		const properties = { a: { type: "string" } };
		assert.equal(check({ properties }, { a: "b" }), undefined);
		return new WeakRef(properties);
	};
	const kept = Array.from({ length: 20 }, compiled);
	await eventually("all but the last few are gone", async () => {
		collect();
		return kept.filter((one) => one.deref() !== undefined).length < 10;
	});
});

test("what is no schema is refused with its place", () => {
	assert.deepEqual(faults([]), [": a schema is a JSON object, true or false"]);
	assert.deepEqual(faults("x"), [": a schema is a JSON object, true or false"]);
	assert.match(String(faults({ properties: { a: { type: "strng" } } })), /^\/properties\/a\/type: must be equal to one of the allowed values/);
	assert.match(String(faults({ minimum: "1" })), /^\/minimum: must be number/);
	assert.deepEqual(faults({ properties: { a: 5 } }), ["/properties/a: a schema is an object, true or false"]);
	assert.deepEqual(faults({ propertys: {} }), ["/propertys: is no keyword that is supported; properties is near"]);
	assert.deepEqual(faults({ $dynamicRef: "#a" }), ["/$dynamicRef: is no keyword that is supported"]);
	assert.match(
		String(faults({ $schema: "http://json-schema.org/draft-07/schema#" })),
		/^\/\$schema: must be https:\/\/json-schema.org\/draft\/2020-12\/schema/,
	);
	assert.match(String(faults({ properties: { a: { $id: "x" } } })), /only the document as a whole/);
	assert.match(String(faults({ format: "colour" })), /^\/format: is not a format that is checked; there are date, /);
	assert.match(String(faults({ properties: { a: { pattern: "(a" } } })), /^\/properties\/a\/pattern: the pattern has a \( that is not closed/);
	assert.match(String(faults({ patternProperties: { "(?=a)": true } })), /^\/patternProperties\/\(\?=a\): the pattern looks around/);
});

test("nothing is fetched, and no reference leads nowhere", () => {
	for (const reference of ["https://example.com/schema", "other.json", "other.json#/a", "#anchor", "file:///etc/passwd", ""]) {
		assert.match(String(faults({ $ref: reference })), /only references within the document/, reference);
	}
	assert.deepEqual(faults({ properties: { a: { $ref: "#/$defs/none" } } }), [": there is no schema at #/$defs/none"]);
	assert.deepEqual(faults({ $ref: "#/title", title: "x" }), [": there is no schema at #/title"]);
	assert.deepEqual(faults({ properties: { "a/b": { type: "string" }, c: { $ref: "#/properties/a~1b" } } }), []);
});

test("what a schema costs is bounded before it is compiled", () => {
	assert.match(String(faults({ properties: { child: { $ref: "#" } } })), /refers to itself/);
	assert.match(String(faults({ $ref: "#/$defs/a", $defs: { a: { $ref: "#/$defs/b" }, b: { $ref: "#/$defs/a" } } })), /refers to itself/);
	const doubling = Object.fromEntries(
		Array.from({ length: 40 }, (_, i) => [
			`d${i}`,
			i === 39 ? { type: "string" } : { allOf: [{ $ref: `#/$defs/d${i + 1}` }, { $ref: `#/$defs/d${i + 1}` }] },
		]),
	);
	assert.match(String(faults({ $ref: "#/$defs/d0", $defs: doubling })), /512 are allowed/);
	const wide = (count: number): unknown => ({
		properties: Object.fromEntries(Array.from({ length: count }, (_, i) => [`p${i}`, { type: "string" }])),
	});
	assert.deepEqual(faults(wide(500)), []);
	assert.match(String(faults(wide(600))), /601 schemas/);
	assert.match(String(faults({ description: "x".repeat(70_000) })), /more than 65536/);
	let deep: unknown = true;
	for (let i = 0; i < 50_000; i++) deep = { not: deep };
	assert.match(String(faults(deep)), /more than 64 deep/);
	assert.match(String(faults({ uniqueItems: true })), /needs maxItems of at most 256/);
	assert.deepEqual(faults({ uniqueItems: true, maxItems: 100 }), []);
	assert.ok(faults(Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`wrong${i}`, 1]))).length <= 20);
});

test("formats are those of their specifications", () => {
	const cases: Readonly<Record<string, readonly [good: string[], bad: string[]]>> = {
		date: [
			["2024-02-29", "0001-01-01"],
			["2023-02-29", "2024-13-01", "24-01-01", ""],
		],
		time: [
			["23:59:60Z", "01:02:03.5+02:00"],
			["24:00:00Z", "01:02:03"],
		],
		"date-time": [
			["2026-01-02T03:04:05Z", "2026-01-02t03:04:05.678-01:30"],
			["2026-02-30T00:00:00Z", "2026-01-02 03:04:05Z", "2026-01-02T03:04:05"],
		],
		duration: [
			["P1D", "PT1H30M", "P2W", "P1Y2M3DT4H5M6S"],
			["P", "PT", "1D", "P1W2D", "P1DT"],
		],
		email: [["a.b+c@x.example"], ["@x", "a@", "a b@x", "a@-x", "a"]],
		hostname: [
			["a.example", "a"],
			["-a", "a..b", "", "a_b", `${"a".repeat(64)}.x`],
		],
		ipv4: [["127.0.0.1"], ["127.0.0.256", "::1", "1.2.3"]],
		ipv6: [
			["::1", "fe80::1"],
			["fe80::1%eth0", "1.2.3.4", ":::"],
		],
		uri: [
			["https://a.example/b?c#d", "urn:isbn:1"],
			["/a", "a b:c", ""],
		],
		"uri-reference": [["/a", "https://a.example", "#x", ""], ["http://[x"]],
		uuid: [["0198c0de-0000-7000-8000-00000000000A"], ["0198c0de00007000800000000000000a", "x"]],
	};
	assert.deepEqual(Object.keys(cases).sort(), [...FORMATS.keys()].sort());
	for (const [format, [good, bad]] of Object.entries(cases)) {
		for (const text of good) assert.equal(check({ format }, text), undefined, `${format} ${text}`);
		for (const text of bad) assert.notEqual(check({ format }, text), undefined, `${format} ${text}`);
		assert.equal(check({ format }, 5), undefined);
	}
});
