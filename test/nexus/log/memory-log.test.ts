/** The log in memory. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { BACKENDS } from "../../../src/nexus/log/capabilities.ts";
import { openMemoryLog } from "../../../src/nexus/log/memory-log.ts";
import { logConformance } from "./conformance.ts";
import { batchOf, idOf, numbered, readAll } from "./support.ts";

logConformance("memory", {
	capabilities: BACKENDS.memory,
	async make(t) {
		return {
			async open() {
				const log = await openMemoryLog({ clock: systemClock, log: silentLogger });
				t.after(() => log.close());
				return log;
			},
		};
	},
});

test("memory: the oldest events go before there is more than the bound, and may come again", async (t) => {
	const log = await openMemoryLog({ clock: systemClock, log: silentLogger, bytesMax: 100_000 });
	t.after(() => log.close());
	for (let i = 0; i < 100; i++) await log.append(batchOf(numbered(`${i}-`, 100)));
	const { events } = await log.read({ order: "desc", limit: 1 });
	assert.deepEqual(events.map(idOf), ["99-99"]);
	const kept = await log.append(batchOf([{ id: "99-99" }, { id: "0-0" }]));
	assert.deepEqual(kept.ok && [kept.accepted, kept.duplicates], [1, 1]);
	await log.truncate({ bytesMax: 100_000, ageMsMax: Number.POSITIVE_INFINITY });
	assert.ok(log.stats().bytes <= 100_000);
	assert.ok(log.stats().firstSequence > 9_000);
	assert.equal((await readAll(log, { limit: 1000 }))[0]?.sequence !== undefined, true);
});
