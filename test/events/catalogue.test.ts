/** The catalogue of nexus.* events. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { IdSource } from "../../src/core/ids.ts";
import { makeEvent, NEXUS_EVENT_TYPES, NEXUS_EVENTS } from "../../src/events/catalogue.ts";
import { validateEvent } from "../../src/events/cloud-event.ts";

test("an event of the catalogue is a valid CloudEvent with the identity of its sidecar", () => {
	const event = makeEvent(
		"nexus.mesh.endpoint.unhealthy",
		{ upstream: "payments", endpoint: "10.0.0.1:80", kind: "http", lastError: "503", consecutive: 3 },
		{ service: "checkout", instance: "a1", ids: new IdSource(), wallMs: Date.UTC(2026, 0, 2), subject: "payments" },
	);
	assert.equal(validateEvent(event).ok, true);
	assert.equal(event.source, "/mesh/checkout/a1");
	assert.equal(event.time, "2026-01-02T00:00:00.000Z");
	assert.equal(event.priority, 8);
	assert.equal(event.partitionkey, "a1");
	assert.match(event.id, /^[0-9a-f]{8}-[0-9a-f]{4}-7/);
	assert.equal("traceparent" in event, false);
});

test("every type has a weight from 0 to 9 and one sentence", () => {
	for (const type of NEXUS_EVENT_TYPES) {
		assert.match(type, /^nexus(\.[a-z_]+)+$/);
		const { priority, sentence } = NEXUS_EVENTS[type];
		assert.ok(Number.isInteger(priority) && priority >= 0 && priority <= 9, type);
		assert.match(sentence, /^[A-Z].*\.$/, type);
	}
});
