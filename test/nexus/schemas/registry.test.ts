/** The registry: versions, refused changes, judged events; and the schemas that are built in. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { IdSource } from "../../../src/core/ids.ts";
import { makeEvent, NEXUS_EVENT_TYPES, NEXUS_EVENTS } from "../../../src/events/catalogue.ts";
import type { CloudEvent } from "../../../src/events/cloud-event.ts";
import { BUILT_IN_SCHEMAS } from "../../../src/nexus/schemas/built-in.ts";
import { eventsPage } from "../../../src/nexus/schemas/events-page.ts";
import { TYPES_MAX, VERSIONS_MAX } from "../../../src/nexus/schemas/limits.ts";
import { type SchemaRecord, SchemaRegistry } from "../../../src/nexus/schemas/registry.ts";
import { SchemaCompiler } from "../../../src/nexus/schemas/schema-compiler.ts";

const compiler = new SchemaCompiler();

function event(data: unknown, extra: Partial<CloudEvent> = {}): CloudEvent {
	return { specversion: "1.0", id: "1", source: "/s", type: "order.paid", data, ...extra };
}

const v1 = { type: "object", required: ["id"], properties: { id: { type: "string" } } };
const v2 = { ...v1, properties: { ...v1.properties, total: { type: "number" } } };
const narrower = { ...v1, required: ["id", "total"], properties: v2.properties };

test("a schema gets versions; the same again is the version that is there", () => {
	const registry = new SchemaRegistry(compiler);
	const first = registry.put("order.paid", v1);
	assert.deepEqual(first, { ok: true, isNew: true, record: { type: "order.paid", version: 1, compatibility: "backward", document: v1 } });
	assert.deepEqual(registry.put("order.paid", structuredClone(v1)), { ...first, isNew: false });
	assert.equal((registry.put("order.paid", v2) as { record: SchemaRecord }).record.version, 2);
	assert.equal(registry.get("order.paid")?.version, 2);
	assert.deepEqual(registry.get("order.paid", 1)?.document, v1);
	assert.equal(registry.get("order.paid", 3), undefined);
	assert.equal(registry.get("order.gone"), undefined);
	assert.deepEqual(
		registry.versions("order.paid").map(({ version }) => version),
		[1, 2],
	);
	assert.ok(registry.types().includes("order.paid"));
});

test("a change that breaks somebody is refused with the reasons and the version, and changes nothing", () => {
	const registry = new SchemaRegistry(compiler);
	registry.put("order.paid", v1);
	registry.put("order.paid", v2);
	const result = registry.put("order.paid", narrower);
	assert.ok(!result.ok);
	assert.equal(result.why, "incompatible");
	assert.deepEqual(result.faults[0], {
		path: "/required",
		message: '"total" is required on one side only: what was valid may not be any more (version 2)',
	});
	assert.match(String(result.faults[1]?.message), /version 1\)$/);
	assert.equal(registry.get("order.paid")?.version, 2);
	assert.equal(registry.put("order.paid", narrower, "forward").ok, true);
});

test("none begins anew: what was before it is not compared any more", () => {
	const registry = new SchemaRegistry(compiler);
	registry.put("order.paid", v1);
	assert.equal(registry.put("order.paid", { type: "string" }, "none").ok, true);
	assert.equal(registry.put("order.paid", { type: ["string", "number"] }, "full").ok, false);
	assert.equal(registry.put("order.paid", { type: ["string", "number"] }, "backward").ok, true);
	assert.equal(registry.violation(event("x")), undefined);
	assert.match(String(registry.violation(event({ id: "a" }))), /must be string,number/);
});

test("events are judged by the latest schema, and by those that are meant to go on beside it", () => {
	const registry = new SchemaRegistry(compiler);
	assert.equal(registry.violation(event(5)), undefined);
	registry.put("order.paid", v1, "forward");
	registry.put("order.paid", narrower, "forward");
	assert.equal(registry.violation(event({ id: "a", total: 1 })), undefined);
	assert.equal(registry.violation(event({ id: "a" })), undefined);
	assert.equal(registry.violation(event({ total: 1 })), "data must have required property 'id' (schema of order.paid, version 2)");
	assert.match(String(registry.violation(event(undefined))), /^data is missing: order.paid has a schema \(version 2\)/);
	assert.match(String(registry.violation(event(undefined, { data_base64: "AA==" }))), /data_base64 is none/);
	assert.equal(registry.violation(event(5, { type: "other" })), undefined);
});

test("what was kept is taken up again", () => {
	const registry = new SchemaRegistry(compiler);
	const kept: SchemaRecord[] = [];
	for (const document of [v1, v2]) {
		const result = registry.put("order.paid", document);
		assert.ok(result.ok);
		kept.push(JSON.parse(JSON.stringify(result.record)) as SchemaRecord);
	}
	const again = new SchemaRegistry(compiler, kept);
	assert.deepEqual(again.versions("order.paid"), registry.versions("order.paid"));
	assert.match(String(again.violation(event({}))), /required property 'id'/);
	assert.equal(again.put("order.paid", narrower).ok, false);
});

test("wrong schemas, reserved types, and too many of either are refused", () => {
	const why = (result: ReturnType<SchemaRegistry["put"]>): string => (result.ok ? "fine" : result.why);
	const registry = new SchemaRegistry(compiler);
	assert.equal(why(registry.put("order.paid", { type: "strng" })), "invalid");
	assert.equal(why(registry.put("", v1)), "invalid");
	assert.equal(why(registry.put("x".repeat(300), v1)), "invalid");
	assert.equal(why(registry.put("nexus.mesh.sidecar.started", v1)), "reserved");
	assert.equal(why(registry.put("nexus.mine", v1)), "reserved");
	const versions = Array.from(
		{ length: VERSIONS_MAX },
		(_, i): SchemaRecord => ({ type: "a", version: i + 1, compatibility: "none", document: { minimum: i } }),
	);
	assert.equal(why(new SchemaRegistry(compiler, versions).put("a", true)), "full");
	const types = Array.from({ length: TYPES_MAX }, (_, i): SchemaRecord => ({ type: `t${i}`, version: 1, compatibility: "none", document: true }));
	assert.equal(why(new SchemaRegistry(compiler, types).put("one-more", true)), "full");
});

test("every event of the catalogue has a schema that is built in, and no other has", () => {
	assert.deepEqual(Object.keys(BUILT_IN_SCHEMAS).sort(), [...NEXUS_EVENT_TYPES].sort());
	for (const [type, document] of Object.entries(BUILT_IN_SCHEMAS)) {
		const compiled = compiler.compile(document);
		assert.ok(compiled.ok, `${type}: ${JSON.stringify(compiled)}`);
		assert.ok(Array.isArray(document.required) && document.required.length > 0, `${type} asks for nothing`);
		assert.notEqual(compiled.check({}), undefined, type);
	}
});

test("an event as a sidecar makes it passes, also with members that this Nexus does not know; one of a wrong shape does not", () => {
	const registry = new SchemaRegistry(compiler);
	const context = { service: "checkout", instance: "a1", ids: new IdSource(), wallMs: 0 };
	const made = makeEvent("nexus.mesh.retry.budget_exhausted", { windowMs: 1000, upstream: "payments", refused: 3, policy: "" }, context);
	assert.equal(registry.violation(made), undefined);
	assert.equal(registry.violation({ ...made, data: { ...made.data, more: true } } as CloudEvent), undefined);
	assert.match(String(registry.violation({ ...made, data: { ...made.data, refused: "3" } } as CloudEvent)), /^data\/refused must be integer/);
	const at = new Date(0).toISOString();
	const counts = { consecutiveFailures: 5, requests: 9, failures: 5, slowCalls: 0 };
	const breaker = {
		service: "a",
		dependency: "b",
		scope: "upstream",
		scopeKey: "",
		cause: "",
		counts,
		lastErrors: ["503"],
		policy: "",
		at,
		openForMs: 1,
	} as const;
	assert.equal(registry.violation(makeEvent("nexus.circuit_breaker.tripped", breaker, context)), undefined);
});

test("the page of events names every event, its sentence and its data", () => {
	const page = eventsPage();
	for (const type of NEXUS_EVENT_TYPES) assert.ok(page.includes(`## \`${type}\`\n\n${NEXUS_EVENTS[type].sentence}`), type);
	assert.ok(page.includes("| `latency.boundsMs` | list of number | Upper bounds of the counts; the last count is beyond all. |"));
	assert.ok(page.includes("| `faults[].place` | string | `file:line:column` |"));
	assert.ok(page.includes("| `cause` | `signal`, `api` |"));
	assert.ok(!page.includes("undefined"));
});
