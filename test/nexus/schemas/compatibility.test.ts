/** Which changes of a schema break whom. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Rng, seededRng } from "../../../src/core/rng.ts";
import { changeFaults } from "../../../src/nexus/schemas/compatibility.ts";
import { SchemaCompiler } from "../../../src/nexus/schemas/schema-compiler.ts";
import type { JsonSchema } from "../../../src/nexus/schemas/schema-document.ts";

function paths(older: JsonSchema, newer: JsonSchema, mode: "backward" | "forward" | "full"): string[] {
	return changeFaults(older, newer, mode).map(({ path }) => path);
}

const base = { type: "object", required: ["id"], properties: { id: { type: "string" }, count: { type: "integer", minimum: 0 } } };

/** `newer` has the faults in the one mode, and in the other those. */
function change(newer: JsonSchema, backward: readonly string[], forward: readonly string[], older: JsonSchema = base): void {
	const text = JSON.stringify(newer);
	assert.deepEqual(paths(older, newer, "backward"), backward, `backward: ${text}`);
	assert.deepEqual(paths(older, newer, "forward"), forward, `forward: ${text}`);
	assert.equal(paths(older, newer, "full").length, backward.length + forward.length);
	assert.deepEqual(changeFaults(older, newer, "none"), []);
}

test("an optional property may come and go in both directions", () => {
	change({ ...base, properties: { ...base.properties, note: { type: "string" } } }, [], []);
	change({ ...base, properties: { id: base.properties.id } }, [], []);
});

test("a required property breaks those who do not send it, and one no longer required those who rely on it", () => {
	change({ ...base, required: ["id", "count"] }, ["/required"], []);
	change({ ...base, required: [] }, [], ["/required"]);
});

test("types, bounds and values may widen for readers, and narrow for writers", () => {
	const count = (schema: JsonSchema): JsonSchema => ({ ...base, properties: { ...base.properties, count: schema } });
	change(count({ type: "number", minimum: 0 }), [], ["/properties/count/type"]);
	change(count({ type: ["integer", "string"], minimum: 0 }), [], ["/properties/count/type"]);
	change(count({ type: "integer", minimum: 5 }), ["/properties/count/minimum"], []);
	change(count({ type: "integer" }), [], ["/properties/count/minimum"]);
	change(count({ type: "integer", minimum: 0, maximum: 9 }), ["/properties/count/maximum"], []);
	change(count({ type: "string" }), ["/properties/count/type"], ["/properties/count/type", "/properties/count/minimum"]);
	change({ enum: ["a", "b", "c"] }, [], [""], { enum: ["a", "b"] });
	change({ enum: ["a"] }, [""], [], { enum: ["a", "b"] });
	change({ const: "a" }, [""], [], { type: "string" });
	change({ type: "string" }, [], [""], { enum: ["a", "b"] });
	change({ multipleOf: 5 }, ["/multipleOf"], [], { multipleOf: 1 });
});

test("a schema that closes breaks those who send more", () => {
	change({ ...base, additionalProperties: false }, ["/additionalProperties"], []);
	const closed = { ...base, additionalProperties: false };
	change({ ...closed, properties: { ...base.properties, note: { type: "string" } } }, [], ["/properties/note"], closed);
	const map = { additionalProperties: { type: "integer" } };
	change({ additionalProperties: { type: "number" } }, [], ["/additionalProperties/type"], map);
	change({ ...map, properties: { a: { type: "string" } } }, ["/properties/a/type"], ["/properties/a/type"], map);
});

test("lists are compared member by member", () => {
	const list = (items: JsonSchema): JsonSchema => ({ type: "array", items });
	change(list({ type: "number" }), [], ["/items/type"], list({ type: "integer" }));
	change({ prefixItems: [{ type: "string" }] }, ["/prefixItems/0/type"], [], {});
	change({ type: "array", maxItems: 3 }, ["/maxItems"], [], { type: "array" });
});

test("what else lets a property or an item through is not taken away from a schema that closes", () => {
	const closed = { patternProperties: { "^x-": { type: "string" } }, additionalProperties: false };
	change({ additionalProperties: false }, ["/additionalProperties"], ["/patternProperties"], closed);
	const far = { properties: { a: true, b: true }, unevaluatedProperties: false };
	change({ properties: { a: true }, unevaluatedProperties: false }, ["/properties/b"], [], far);
	change({ unevaluatedProperties: false }, ["/unevaluatedProperties"], ["/allOf"], {
		allOf: [{ properties: { a: true } }],
		unevaluatedProperties: false,
	});
	change({ prefixItems: [true], unevaluatedItems: false }, ["/prefixItems/1"], [], { prefixItems: [true, true], unevaluatedItems: false });
	change({ contains: { const: 1 } }, ["/minContains"], [], { contains: { const: 1 }, minContains: 0 });
});

test("references and words that only people read make no difference", () => {
	const referring = {
		...base,
		title: "Order",
		properties: { id: { $ref: "#/$defs/id", description: "x" }, count: base.properties.count },
		$defs: { id: { type: "string" } },
	};
	change(referring, [], []);
	change({ ...referring, $defs: { id: { type: "integer" } } }, ["/properties/id/type"], ["/properties/id/type"], referring);
	change({ allOf: [{ $ref: "#/$defs/a" }], $defs: { a: { minimum: 1 } } }, ["/allOf"], ["/allOf"], {
		allOf: [{ $ref: "#/$defs/a" }],
		$defs: { a: { minimum: 0 } },
	});
});

test("choices may be added for readers; what is not looked into must be the same", () => {
	change({ anyOf: [{ type: "string" }, { type: "null" }] }, [], ["/anyOf/1"], { anyOf: [{ type: "string" }] });
	change({ oneOf: [{ type: "string" }, { type: "null" }] }, ["/oneOf"], ["/oneOf"], { oneOf: [{ type: "string" }] });
	change({ pattern: "^a" }, ["/pattern"], [], {});
	change({ format: "uuid" }, ["/format"], [], {});
	change({ properties: { a: false } }, ["/properties/a"], [], { properties: { a: { type: "string" } } });
});

test("a reason tells in words what was and what is", () => {
	assert.deepEqual(changeFaults(base, { ...base, required: ["id", "count"] }, "backward"), [
		{ path: "/required", message: '"count" is required on one side only: what was valid may not be any more' },
	]);
	assert.deepEqual(changeFaults({ type: "string", maxLength: 9 }, { type: "string", maxLength: 5 }, "full"), [
		{ path: "/maxLength", message: "5 is narrower than 9: what was valid may not be any more" },
	]);
});

test("where a random change is said to be backward, no data that was valid becomes invalid", () => {
	const random = seededRng(99);
	const compiler = new SchemaCompiler();
	let changes = 0;
	let compared = 0;
	for (let i = 0; i < 3000; i++) {
		const older = randomSchema(random, 2);
		const newer = random() < 0.3 ? randomSchema(random, 2) : mutated(random, older);
		if (changeFaults(older, newer, "backward").length > 0) continue;
		const [was, is] = [compiler.compile(older), compiler.compile(newer)];
		assert.ok(was.ok && is.ok);
		changes++;
		for (let n = 0; n < 10; n++) {
			const data = randomData(random, 2, older);
			if (was.check(data) !== undefined) continue;
			compared++;
			assert.equal(is.check(data), undefined, `${JSON.stringify(data)}: ${JSON.stringify(older)} -> ${JSON.stringify(newer)}`);
		}
	}
	assert.ok(changes > 500 && compared > 1000, `${changes} changes, ${compared} values`);
});

const NAMES = ["a", "b", "c"];

function randomSchema(random: Rng, depth: number): Exclude<JsonSchema, boolean> {
	const draw = Math.floor(random() * (depth > 0 ? 8 : 5));
	const bound = (): number => Math.floor(random() * 4);
	switch (draw) {
		case 0:
			return { type: "integer", ...(random() < 0.5 ? { minimum: bound() } : {}), ...(random() < 0.3 ? { maximum: bound() + 2 } : {}) };
		case 1:
			return { type: "string", ...(random() < 0.5 ? { maxLength: bound() } : {}) };
		case 2:
			return { enum: ["a", 1, null].filter(() => random() < 0.8).concat(["b"]) };
		case 3:
			return { type: random() < 0.5 ? ["integer", "string"] : "number" };
		case 4:
			return {};
		case 5:
			return { type: "array", items: randomSchema(random, depth - 1), ...(random() < 0.3 ? { maxItems: bound() } : {}) };
		case 6:
			return { anyOf: [randomSchema(random, depth - 1), randomSchema(random, depth - 1)] };
		default:
			return {
				type: "object",
				properties: Object.fromEntries(NAMES.map((name) => [name, randomSchema(random, depth - 1)])),
				required: NAMES.filter(() => random() < 0.3),
				...(random() < 0.3 ? { additionalProperties: random() < 0.5 ? false : randomSchema(random, depth - 1) } : {}),
			};
	}
}

function mutated(random: Rng, schema: Exclude<JsonSchema, boolean>): Exclude<JsonSchema, boolean> {
	const copy = structuredClone(schema) as Record<string, unknown>;
	const keywords = Object.keys(copy);
	const keyword = keywords[Math.floor(random() * keywords.length)];
	if (keyword === undefined) return randomSchema(random, 1);
	if (typeof copy[keyword] === "number") copy[keyword] = (copy[keyword] as number) + (random() < 0.5 ? 1 : -1);
	else if (keyword === "required") copy.required = NAMES.filter(() => random() < 0.3);
	else if (keyword === "type" && copy.type === "integer") copy.type = "number";
	else if (keyword !== "type" && keyword !== "properties") delete copy[keyword];
	else if (keyword === "properties") (copy.properties as Record<string, unknown>).a = randomSchema(random, 1);
	return copy;
}

/** Objects have only properties that the schema names, as data of producers has. */
function randomData(random: Rng, depth: number, schema: JsonSchema): unknown {
	const shape = typeof schema === "object" ? schema : {};
	if (shape.type === "object" || (depth > 0 && random() < 0.1)) {
		const properties = (shape.properties ?? {}) as Readonly<Record<string, JsonSchema>>;
		return Object.fromEntries(
			Object.entries(properties).flatMap(([name, one]) => (random() < 0.7 ? [[name, randomData(random, depth - 1, one)]] : [])),
		);
	}
	if (shape.type === "array") return Array.from({ length: Math.floor(random() * 3) }, () => randomData(random, depth - 1, shape.items as JsonSchema));
	if (Array.isArray(shape.anyOf)) return randomData(random, depth, shape.anyOf[random() < 0.5 ? 0 : 1] as JsonSchema);
	const values = ["a", "b", "abc", "", 0, 1, 2, 5, 1.5, null, true];
	return values[Math.floor(random() * values.length)];
}
