/** Schemas of event types and what violates them, over the API of a Nexus with a state on disk. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_TYPE } from "../../../src/events/http-binding.ts";
import { eventJson, readAll, serveNexus, temporaryDir } from "../support.ts";

const TYPE = "shop.order.placed";
const order = { type: "object", required: ["total"], properties: { total: { type: "number" } } };

interface Answer<T> {
	readonly status: number;
	readonly body: T;
}

async function call<T = Record<string, unknown>>(url: string, method: string, path: string, body?: unknown): Promise<Answer<T>> {
	const init = body === undefined ? { method } : { method, body: JSON.stringify(body), headers: { "content-type": "application/json" } };
	const response = await fetch(`${url}${path}`, init);
	const text = await response.text();
	return { status: response.status, body: (text === "" ? undefined : JSON.parse(text)) as T };
}

const putSchema = (url: string, body: unknown, type = TYPE) => call(url, "PUT", `/v1/schemas/${encodeURIComponent(type)}`, body);

async function publish(url: string, ...events: Record<string, unknown>[]) {
	const body = `[${events.map((event) => JSON.stringify({ ...JSON.parse(eventJson({ id: "1" })), type: TYPE, ...event })).join(",")}]`;
	const response = await fetch(`${url}/v1/events`, { method: "POST", body, headers: { "content-type": BATCH_TYPE } });
	return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

test("a schema is kept in versions, judged by what was before, and survives a restart", async (t) => {
	const dir = temporaryDir(t);
	const { nexus, url } = await serveNexus(t, dir);
	const first = await putSchema(url, { schema: order });
	assert.equal(first.status, 201);
	assert.equal(first.body.version, 1);
	assert.deepEqual([first.body.compatibility, first.body.onViolation, first.body.isBuiltIn], ["backward", "refuse", false]);
	assert.equal((await putSchema(url, { schema: order })).status, 200);
	const narrower = { ...order, required: ["total", "id"] };
	const refused = await putSchema(url, { schema: narrower });
	assert.equal(refused.status, 409);
	assert.equal(refused.body.reason, "incompatible_schema");
	assert.match(String(refused.body.detail), /"id" is required on one side only.*version 1/);
	const second = await putSchema(url, { schema: { ...order, properties: { ...order.properties, id: { type: "string" } } }, compatibility: "full" });
	assert.deepEqual([second.status, second.body.version], [201, 2]);
	// The same schema with another answer to what violates it is no new version.
	assert.deepEqual([(await putSchema(url, { schema: second.body.schema, onViolation: "park" })).status], [200]);
	await nexus.close();

	const again = await serveNexus(t, dir);
	const latest = await call(again.url, "GET", `/v1/schemas/${TYPE}`);
	assert.deepEqual([latest.body.version, latest.body.compatibility, latest.body.onViolation], [2, "full", "park"]);
	assert.deepEqual((await call(again.url, "GET", `/v1/schemas/${TYPE}/versions/1`)).body.schema, order);
	assert.equal((await call<{ versions: unknown[] }>(again.url, "GET", `/v1/schemas/${TYPE}/versions`)).body.versions.length, 2);
	assert.equal((await call(again.url, "GET", `/v1/schemas/${TYPE}/versions/3`)).status, 404);
	assert.equal((await call(again.url, "DELETE", `/v1/schemas/${TYPE}`)).status, 204);
	assert.equal((await call(again.url, "DELETE", `/v1/schemas/${TYPE}`)).status, 404);
	assert.equal((await putSchema(again.url, { schema: true })).body.version, 1);
});

test("what is no schema is 422 with its faults; what is built in can be read and not changed", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	const wrong = await putSchema(url, { schema: { type: "object", propertys: {} } });
	assert.equal(wrong.status, 422);
	assert.match(String(wrong.body.detail), /propertys is no keyword that is supported; properties is near/);
	assert.equal((await putSchema(url, { schem: {} })).status, 400);
	assert.equal((await putSchema(url, { schema: {}, onViolation: "shrug" })).status, 400);
	const type = "nexus.mesh.endpoint.ejected";
	assert.equal((await putSchema(url, { schema: true }, type)).status, 403);
	assert.equal((await call(url, "DELETE", `/v1/schemas/${type}`)).status, 403);
	const builtIn = await call(url, "GET", `/v1/schemas/${type}`);
	assert.deepEqual([builtIn.body.isBuiltIn, builtIn.body.onViolation, builtIn.body.createdAt], [true, "park", null]);
	const { body } = await call<{ schemas: { type: string }[] }>(url, "GET", "/v1/schemas");
	assert.ok(body.schemas.some((schema) => schema.type === type));
	// A type may hold what a path and a key may not.
	const odd = "a/b ü?";
	assert.equal((await putSchema(url, { schema: order }, odd)).status, 201);
	assert.equal((await call(url, "GET", `/v1/schemas/${encodeURIComponent(odd)}`)).body.type, odd);
});

test("events that violate their schema are refused one by one, or parked; the others of the batch are kept", async (t) => {
	const { nexus, url } = await serveNexus(t, temporaryDir(t));
	await putSchema(url, { schema: order });
	const refused = await publish(url, { id: "1", data: { total: "x" } }, { id: "2", data: { total: 2 } });
	assert.equal(refused.status, 200);
	assert.deepEqual(refused.body.rejected, [{ index: 0, reason: `data/total must be number (schema of ${TYPE}, version 1)` }]);
	assert.equal(refused.body.parked, undefined);
	assert.equal((await publish(url, { id: "1", data: {} })).status, 400);

	await putSchema(url, { schema: order, onViolation: "park" });
	const parked = await publish(url, { id: "3", data: {} }, { id: "4", data: { total: 4 } }, { id: "5", data: { total: "5" } });
	assert.deepEqual([parked.status, parked.body.accepted, parked.body.rejected], [200, 1, []]);
	assert.deepEqual(
		(parked.body.parked as { index: number }[]).map(({ index }) => index),
		[0, 2],
	);
	assert.equal((await publish(url, { id: "3", data: {} })).status, 200);
	const { body } = await call<{ events: { key: string; id: string; reason: string; event: unknown }[]; next: unknown }>(
		url,
		"GET",
		"/v1/parked-events",
	);
	assert.deepEqual(body.events.map(({ id }) => id).sort(), ["3", "5"]);
	assert.equal(body.next, null);
	assert.equal((await readAll(nexus.log, { type: TYPE })).length, 2);

	const five = body.events.find(({ id }) => id === "5");
	await putSchema(url, { schema: { ...order, properties: { total: { type: ["number", "string"] } } } });
	const replayed = await call(url, "POST", "/v1/parked-events/replay", { type: TYPE });
	assert.equal(replayed.body.recovered, 1);
	assert.equal(replayed.body.stillFailed, 1);
	assert.equal((await call(url, "GET", `/v1/parked-events/${five?.key}`)).status, 404);
	assert.equal((await readAll(nexus.log, { type: TYPE })).length, 3);
	const three = body.events.find(({ id }) => id === "3");
	assert.equal((await call(url, "DELETE", `/v1/parked-events/${three?.key}`)).status, 204);
	assert.equal((await call(url, "DELETE", `/v1/parked-events/${three?.key}`)).status, 404);
	assert.deepEqual((await call(url, "POST", "/v1/parked-events/replay", {})).body, { recovered: 0, stillFailed: 0, failures: [] });
});

test("parked events survive a restart, and come in pages", async (t) => {
	const dir = temporaryDir(t);
	const { nexus, url } = await serveNexus(t, dir);
	const type = "nexus.mesh.endpoint.ejected";
	const bad = Array.from({ length: 150 }, (_, i) => ({ id: String(i), type, data: { upstream: i } }));
	const sent = await publish(url, ...bad);
	assert.deepEqual([sent.status, sent.body.accepted, sent.body.sequence, (sent.body.parked as unknown[]).length], [200, 0, 0, 150]);
	await nexus.close();
	const again = await serveNexus(t, dir);
	const found = new Set<string>();
	let after = "";
	for (let next: string | null = ""; next !== null; ) {
		const { body }: Answer<{ events: { id: string }[]; next: string | null }> = await call(
			again.url,
			"GET",
			`/v1/parked-events?limit=40&type=${type}${after}`,
		);
		for (const { id } of body.events) found.add(id);
		next = body.next;
		after = `&after=${next}`;
	}
	assert.equal(found.size, 150);
	const metrics = await (await fetch(`${again.url}/metrics`)).text();
	assert.match(metrics, /^nexus_events_parked 150$/m);
});

test("an event that was stored before a crash of its dispatch is a duplicate when it comes again, and is still there to be dispatched", async (t) => {
	const dir = temporaryDir(t);
	const { nexus, url } = await serveNexus(t, dir);
	assert.equal((await publish(url, { id: "1" })).body.accepted, 1);
	// The end comes before anybody has read it: what is to be dispatched is a position in the log, and nothing else has to be kept.
	await nexus.close();
	const again = await serveNexus(t, dir);
	assert.deepEqual((await publish(again.url, { id: "1" })).body, { accepted: 0, duplicates: 1, rejected: [], sequence: 1, durability: "disk" });
	const { body } = await call<{ events: { sequence: number }[] }>(again.url, "GET", "/v1/events?after=0");
	assert.deepEqual(
		body.events.map(({ sequence }) => sequence),
		[1],
	);
});
