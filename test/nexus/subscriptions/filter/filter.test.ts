/** The dialects and the short form: what passes, and what is told of a wrong filter. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { CloudEvent } from "../../../../src/events/cloud-event.ts";
import { compileFilter } from "../../../../src/nexus/subscriptions/filter/filter.ts";
import { FILTER_DEPTH_MAX, FILTER_TERMS_MAX } from "../../../../src/nexus/subscriptions/filter/limits.ts";
import { type FilterPart, filterFaults, filterPart } from "../../../../src/nexus/subscriptions/filter/schema.ts";

const event = {
	specversion: "1.0",
	id: "1",
	source: "/mesh/checkout/a1",
	type: "order.paid",
	subject: "o-7",
	priority: 6,
	region: "eu",
	total: 120,
	urgent: true,
	data: { type: "x" },
} as unknown as CloudEvent;

function passes(part: unknown, given: CloudEvent = event): boolean {
	const checked = filterPart.safeParse(part);
	assert.ok(checked.success, JSON.stringify(checked.error?.issues));
	return compileFilter(checked.data as FilterPart).matches(given);
}

function faults(part: unknown): string[] {
	const checked = filterPart.safeParse(part);
	return checked.success ? [] : filterFaults(checked.error).map(({ path, message }) => `${path}: ${message}`);
}

test("without a filter, or with an empty one, every event passes", () => {
	for (const part of [{}, { filter: {} }, { filters: [] }, { filter: { type: "*" } }, { filter: { priorityMin: 0 } }])
		assert.equal(passes(part), true);
});

test("exact, prefix and suffix compare every attribute that they name, letter by letter", () => {
	assert.equal(passes({ filters: [{ exact: { type: "order.paid", region: "eu" } }] }), true);
	assert.equal(passes({ filters: [{ exact: { type: "order.paid", region: "us" } }] }), false);
	assert.equal(passes({ filters: [{ exact: { type: "Order.paid" } }] }), false);
	assert.equal(passes({ filters: [{ prefix: { type: "order.", source: "/mesh/" } }] }), true);
	assert.equal(passes({ filters: [{ prefix: { type: "orders" } }] }), false);
	assert.equal(passes({ filters: [{ suffix: { type: ".paid", subject: "7" } }] }), true);
	assert.equal(passes({ filters: [{ suffix: { type: "order" } }] }), false);
});

test("attributes that are no text are compared in their canonical form, and missing ones never pass", () => {
	assert.equal(passes({ filters: [{ exact: { total: "120", urgent: "true", priority: "6" } }] }), true);
	assert.equal(passes({ filters: [{ prefix: { total: "12" } }] }), true);
	assert.equal(passes({ filters: [{ exact: { colour: "red" } }] }), false);
	assert.equal(passes({ filters: [{ not: { exact: { colour: "red" } } }] }), true);
	assert.equal(passes({ filters: [{ prefix: { constructor: "f" } }] }), false);
});

test("all, any and not join filters; the filters of a document must all pass", () => {
	const yes = { exact: { region: "eu" } };
	const no = { exact: { region: "us" } };
	assert.equal(passes({ filters: [{ all: [yes, yes] }] }), true);
	assert.equal(passes({ filters: [{ all: [yes, no] }] }), false);
	assert.equal(passes({ filters: [{ any: [no, yes] }] }), true);
	assert.equal(passes({ filters: [{ any: [no, no] }] }), false);
	assert.equal(passes({ filters: [{ not: no }] }), true);
	assert.equal(passes({ filters: [yes, no] }), false);
	assert.equal(passes({ filters: [{ not: { any: [no, { all: [yes, { not: yes }] }] } }] }), true);
});

test("sql passes where it is true without an error", () => {
	assert.equal(passes({ filters: [{ sql: "type LIKE 'order.%' AND total > 100 AND urgent" }] }), true);
	assert.equal(passes({ filters: [{ sql: "total > 200" }] }), false);
	assert.equal(passes({ filters: [{ sql: "total" }] }), false);
	assert.equal(passes({ filters: [{ sql: "NOT (colour = 'red')" }] }), false);
	assert.equal(passes({ filters: [{ not: { sql: "colour = 'red'" } }] }), true);
});

test("the short form asks for everything that it names", () => {
	assert.equal(passes({ filter: { type: "order.*" } }), true);
	assert.equal(passes({ filter: { type: "order.paid" } }), true);
	assert.equal(passes({ filter: { type: "*.paid" } }), true);
	assert.equal(passes({ filter: { type: "order" } }), false);
	assert.equal(passes({ filter: { source: "/mesh/checkout/a1", subject: "o-7" } }), true);
	assert.equal(passes({ filter: { source: "/mesh/checkout/*" } }), false);
	assert.equal(passes({ filter: { priorityMin: 6 } }), true);
	assert.equal(passes({ filter: { priorityMin: 7 } }), false);
	const { priority: _, ...plain } = event;
	assert.equal(passes({ filter: { priorityMin: 1 } }, plain), false);
	assert.equal(passes({ filter: { metadata: { region: ["us", "eu"], total: 120, urgent: true } } }), true);
	assert.equal(passes({ filter: { metadata: { region: ["us", "asia"] } } }), false);
	assert.equal(passes({ filter: { type: "order.*", metadata: { colour: "red" } } }), false);
});

test("a fault names the path, and in CESQL the character", () => {
	assert.deepEqual(faults({ filters: [{ any: [{ exact: { type: "a" } }, { sql: "type = = 'a'" }] }] }), [
		'filters[0].any[1].sql: character 8: "=" stands where a value should stand',
	]);
	assert.deepEqual(faults({ filters: [{ sql: "SHUFFLE(type)" }] }), ["filters[0].sql: character 1: there is no function SHUFFLE of 1 argument"]);
	assert.deepEqual(faults({ filters: [{ exact: { type: "" } }] }), ["filters[0].exact.type: must not be empty"]);
	assert.match(String(faults({ filters: [{ exact: { Type: "a" } }] })), /^filters\[0\]\.exact\.Type: .*a-z and 0-9/);
	assert.match(String(faults({ filters: [{ exact: { data: "a" } }] })), /^filters\[0\]\.exact\.data: .*filters do not see/);
	assert.deepEqual(faults({ filters: [{ exact: {} }] }), ["filters[0].exact: names no attribute"]);
	assert.deepEqual(faults({ filters: [{ all: [] }] }), ["filters[0].all: holds no filter"]);
	assert.match(String(faults({ filters: [{}] })), /^filters\[0\]: must have exactly one of exact, prefix/);
	assert.match(String(faults({ filters: [{ exact: { type: "a" }, sql: "TRUE" }] })), /^filters\[0\]: must have exactly one of/);
	assert.deepEqual(faults({ filters: [{ cesql: "TRUE" }] }), ['filters[0]: unknown dialect "cesql"; sql is near']);
	assert.deepEqual(faults({ filters: [{ prefx: { type: "a" } }] }), ['filters[0]: unknown dialect "prefx"; prefix is near']);
	assert.deepEqual(faults({ filter: { typ: "a" } }), ['filter: unknown condition "typ"; type is near']);
	assert.match(String(faults({ filter: { priorityMin: 10 } })), /^filter\.priorityMin: /);
	assert.match(String(faults({ filter: { metadata: { region: { a: 1 } } } })), /^filter\.metadata\.region: must be text/);
	assert.match(String(faults({ filter: { metadata: { total: 1.5 } } })), /^filter\.metadata\.total: /);
	assert.match(String(faults({ filter: { type: "a" }, filters: [] })), /^: filter and filters exclude each other/);
	assert.match(String(faults({ filters: "all" })), /^filters: /);
	assert.match(String(faults(JSON.parse('{"filters": [{"exact": {"__proto__": "x"}}]}'))), /^filters/);
});

test("depth and size are judged before anything walks into a filter", () => {
	const nest = (depth: number): unknown => {
		let filter: unknown = { exact: { type: "a" } };
		for (let i = 1; i < depth; i++) filter = { not: filter };
		return filter;
	};
	assert.deepEqual(faults({ filters: [nest(FILTER_DEPTH_MAX)] }), []);
	assert.deepEqual(faults({ filters: [nest(50_000)] }), [`filters: stands more than ${FILTER_DEPTH_MAX} filters deep`]);
	const any = Array.from({ length: FILTER_TERMS_MAX + 1 }, (_, i) => ({ exact: { type: `t${i}` } }));
	assert.deepEqual(faults({ filters: [{ any: any.slice(1) }] }), []);
	assert.deepEqual(faults({ filters: [{ any }] }), [`filters: has more than ${FILTER_TERMS_MAX} conditions`]);
	const exact = Object.fromEntries(any.map((_, i) => [`t${i}`, "v"]));
	assert.deepEqual(faults({ filters: [{ exact }] }), [`filters: has more than ${FILTER_TERMS_MAX} conditions`]);
	assert.match(String(faults({ filters: [{ sql: "x".repeat(5000) }] })), /longer than 4096 characters/);
});

test("the checked part shows its shape in a description of the API", async () => {
	const { createRoute, OpenAPIHono } = await import("@hono/zod-openapi");
	const app = new OpenAPIHono();
	const route = createRoute({
		method: "put",
		path: "/s",
		request: { body: { content: { "application/json": { schema: filterPart } } } },
		responses: { 200: { description: "fine" } },
	});
	app.openapi(route, (context) => context.body(null));
	const document = JSON.stringify(app.getOpenAPI31Document({ openapi: "3.1.0", info: { title: "t", version: "1" } }));
	for (const word of ["FilterDialect", "ShortFilter", "priorityMin", '"sql"', '"any"'])
		assert.ok(document.includes(word), `${word} is not in ${document}`);
});
