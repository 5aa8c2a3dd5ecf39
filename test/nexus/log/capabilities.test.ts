/** What logs promise, and what is said where that is not enough. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BACKENDS, FEATURE_TITLES, type LogFeature, missingCapabilities } from "../../../src/nexus/log/capabilities.ts";
import { capabilityTable } from "../../../src/nexus/log/capability-table.ts";

test("what a log can do is not missing; what it cannot is named, with the reason", () => {
	assert.deepEqual(missingCapabilities({ features: ["compaction", "backup"], durability: "disk" }, { capabilities: BACKENDS.embedded }), []);
	assert.deepEqual(missingCapabilities({ features: ["orderedByKey", "compaction"], durability: "disk" }, { capabilities: BACKENDS.kafka }), [
		"the log kafka acknowledges with durability os (acks=all, page cache; disk or quorum where the topic says flush.messages=1), and disk is asked for",
		"the log kafka cannot do what is configured: compaction by key: no (embedded only)",
	]);
	const capabilities = { ...BACKENDS.redis, durability: "quorum" as const };
	assert.deepEqual(missingCapabilities({ features: [], durability: "disk" }, { capabilities }), []);
});

test("the table for the documentation has a row per feature and a column per backend, and every no has its reason", () => {
	const rows = capabilityTable().trimEnd().split("\n");
	assert.equal(rows.length, 3 + Object.keys(FEATURE_TITLES).length);
	for (const row of rows) assert.equal(row.split(" | ").length, 1 + Object.keys(BACKENDS).length, row);
	assert.match(rows[0] ?? "", /^\| {2}\| `embedded` \| `memory` \| `nats` \| `redis` \| `kafka` \| `rabbitmq` \|$/);
	for (const { features } of Object.values(BACKENDS)) {
		for (const feature of Object.keys(FEATURE_TITLES) as LogFeature[]) assert.ok(features[feature].has || features[feature].note, feature);
	}
});
