/** Retention by type and compaction by key: what is superfluous goes, everything else stays where and as it was. */
import assert from "node:assert/strict";
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import type { RetentionLimits, TypeRetention } from "../../../src/nexus/log/event-log.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { batchOf, idOf, numbered, openLog, readAll, type TestEvent, temporaryDir } from "./support.ts";

const SIZES = { segmentBytes: 6000, extentBytes: 2000 };
const forever = (types: readonly TypeRetention[]): RetentionLimits => ({
	bytesMax: Number.POSITIVE_INFINITY,
	ageMsMax: Number.POSITIVE_INFINITY,
	types,
});

test("of events with the same type and key only the newest stays; others, and those without a key, are not touched", async (t) => {
	const dir = temporaryDir(t);
	const { log } = openLog(t, dir, SIZES);
	const random = seededRng(3);
	const all: (TestEvent & { type: string })[] = [];
	for (let n = 0; n < 120; n++) {
		const batch = Array.from({ length: 1 + Math.floor(random() * 6) }, (_, i) => {
			const type = ["config.set", "config.flag", "order.placed"][Math.floor(random() * 3)] as string;
			const key =
				random() < 0.1 ? {} : random() < 0.5 ? { partitionkey: `k${Math.floor(random() * 6)}` } : { subject: `k${Math.floor(random() * 6)}` };
			return { id: `${n}-${i}`, type, data: "x".repeat(Math.floor(random() * 80)), ...key };
		});
		all.push(...batch);
		await log.append(batchOf(batch));
	}
	const before = await readAll(log, { limit: 1000 });
	const bytesBefore = log.stats().bytes;
	await log.truncate(forever([{ type: "config.*", lastPerKey: true }]));
	const kept = await readAll(log, { limit: 1000 });
	// The last segment is being written and keeps everything, so what stays is a set between the two extremes.
	const lastOf = new Map<string, string>();
	for (const { id, type, partitionkey, subject } of all) if (type !== "order.placed") lastOf.set(`${type} ${partitionkey ?? subject ?? id}`, id);
	const necessary = new Set([...all.filter(({ type }) => type === "order.placed").map(({ id }) => id), ...lastOf.values()]);
	const ids = kept.map(idOf);
	assert.deepEqual(
		[...necessary].filter((id) => !ids.includes(id)),
		[],
	);
	assert.ok(kept.length < before.length * 0.7, `${kept.length} of ${before.length} stay`);
	assert.ok(log.stats().bytes < bytesBefore * 0.9);
	// The same sequences, times and bytes as before.
	const bySequence = new Map(before.map((event) => [event.sequence, event]));
	for (const event of kept) assert.deepEqual(event, bySequence.get(event.sequence));
	assert.deepEqual((await readAll(log, { order: "desc", limit: 7 })).map(idOf), ids.toReversed());
	assert.deepEqual(
		(await readAll(log, { type: "config.set", limit: 7 })).map(idOf),
		kept.filter(({ json }) => json.includes('"config.set"')).map(idOf),
	);
	// Again finds nothing to do, and a new start finds nothing to mend.
	const bytes = log.stats().bytes;
	await log.truncate(forever([{ type: "config.*", lastPerKey: true }]));
	assert.equal(log.stats().bytes, bytes);
	await log.close();
	const again = openLog(t, dir, SIZES);
	assert.deepEqual(again.recovery, []);
	assert.deepEqual(await readAll(again.log, { limit: 1000 }), kept);
	const appended = await again.log.append(batchOf([{ id: "new" }]));
	assert.equal(appended.ok && appended.sequence, before.length + 1);
	const repeated = await again.log.append(batchOf([{ id: ids[3] ?? "", source: "/s" }]));
	assert.equal(repeated.ok && repeated.duplicates, 1);
});

test("a type keeps its own age and count; the first pattern that fits an event counts", async (t) => {
	const clock = new FakeClock();
	const { log } = openLog(t, temporaryDir(t), { ...SIZES, clock });
	for (let n = 0; n < 60; n++) {
		await log.append(
			batchOf([
				{ id: `debug-${n}`, type: "debug.line", data: "x".repeat(100) },
				{ id: `audit-${n}`, type: "debug.audit", data: "x".repeat(20) },
				{ id: `rollup-${n}`, type: "rollup", data: "x".repeat(100) },
			]),
		);
		clock.advance(1000);
	}
	await log.truncate(forever([{ type: "debug.audit" }, { type: "debug.*", ageMsMax: 30_500 }, { type: "rollup", eventsMax: 10 }]));
	const ids = (await readAll(log, { limit: 1000 })).map(idOf);
	const count = (prefix: string): number => ids.filter((id) => id.startsWith(prefix)).length;
	assert.equal(count("audit"), 60);
	assert.ok(count("debug") >= 30 && count("debug") <= 45, `${count("debug")}`);
	assert.ok(count("rollup") >= 10 && count("rollup") <= 25, `${count("rollup")}`);
	assert.equal(ids.at(-1), "rollup-59");
	assert.ok(!ids.includes("debug-0") && !ids.includes("rollup-0"));
});

test("compaction runs by itself where types have limits, also while events come and are read", async (t) => {
	const clock = new FakeClock();
	const types = [{ type: "config", lastPerKey: true }];
	const { log } = openLog(t, temporaryDir(t), { ...SIZES, clock, retention: { bytesMax: 1e9, ageMsMax: 1e9, types } });
	for (let n = 0; n < 100; n++) await log.append(batchOf([{ id: `${n}`, type: "config", subject: "one", data: "x".repeat(200) }]));
	const bytes = log.stats().bytes;
	clock.advance(60_000);
	const during = await Promise.all([readAll(log, { limit: 3 }), log.append(batchOf(numbered("during", 3)))]);
	assert.ok(during[0].map(idOf).includes("99"));
	while (log.stats().bytes > bytes / 2) await new Promise((resolve) => setImmediate(resolve));
	const ids = (await readAll(log)).map(idOf);
	assert.ok(ids.includes("99") && ids.length < 60);
	assert.deepEqual(ids.slice(-3), ["during0", "during1", "during2"]);
});

test("what has become too old since goes within the hour, also where no event comes any more", async (t) => {
	const clock = new FakeClock();
	const types = [{ type: "debug", ageMsMax: 1_800_000 }];
	const { log } = openLog(t, temporaryDir(t), { ...SIZES, clock, retention: { bytesMax: 1e9, ageMsMax: 1e12, types } });
	for (let n = 0; n < 100; n++) await log.append(batchOf([{ id: `${n}`, type: "debug", data: "x".repeat(200) }]));
	clock.advance(60_000);
	assert.equal((await readAll(log)).length, 100);
	const { bytes } = log.stats();
	clock.advance(3_600_000);
	while (log.stats().bytes > bytes / 2) await new Promise((resolve) => setImmediate(resolve));
	assert.ok((await readAll(log)).length < 50);
});

test("a segment with damage is left as it is", async (t) => {
	const dir = temporaryDir(t);
	const { log } = openLog(t, dir, SIZES);
	for (let n = 0; n < 60; n++) await log.append(batchOf([{ id: `marker-${n}`, type: "config", subject: "one", data: "x".repeat(200) }]));
	const [first = ""] = readdirSync(dir).filter((name) => name.endsWith(".log"));
	const bytes = readFileSync(join(dir, first));
	(bytes[bytes.indexOf("marker-2")] as number) ^= 1;
	writeFileSync(join(dir, first), bytes);
	await log.truncate(forever([{ type: "config", lastPerKey: true }]));
	assert.deepEqual(readFileSync(join(dir, first)), bytes);
	assert.ok(statSync(join(dir, readdirSync(dir).filter((name) => name.endsWith(".log"))[1] ?? "")).size < bytes.length / 2);
});

test("a crash at any step of a rewrite leaves the old segment or the new one, and nothing beside", async (t) => {
	const dir = temporaryDir(t);
	const live = join(dir, "live");
	const { log } = openLog(t, live, SIZES);
	for (let n = 0; n < 100; n++) await log.append(batchOf([{ id: `${n}`, type: "config", subject: `k${n % 3}`, data: "x".repeat(200) }]));
	cpSync(live, join(dir, "old"), { recursive: true });
	await log.truncate(forever([{ type: "config", lastPerKey: true }]));
	await log.close();
	const [first = ""] = readdirSync(live).filter((name) => name.endsWith(".log"));
	const after = (await readAll(openLog(t, live, SIZES).log, { limit: 1000 })).map(idOf);
	const index = first.replace(".log", ".idx");
	const steps: Readonly<Record<string, (place: string) => void>> = {
		"half written": (place) => {
			mkdirSync(join(place, "compacting"));
			writeFileSync(join(place, "compacting", first), readFileSync(join(live, first)).subarray(0, 500));
		},
		"segment moved, index not": (place) => cpSync(join(live, first), join(place, first)),
		"index moved, segment not": (place) => cpSync(join(live, index), join(place, index)),
		"both moved": (place) => {
			cpSync(join(live, first), join(place, first));
			cpSync(join(live, index), join(place, index));
		},
	};
	for (const [what, step] of Object.entries(steps)) {
		const place = join(dir, what);
		cpSync(join(dir, "old"), place, { recursive: true });
		step(place);
		const { log: opened, recovery } = openLog(t, place, SIZES);
		assert.deepEqual(recovery, [], what);
		const ids = (await readAll(opened, { limit: 1000 })).map(idOf);
		const isNew = what.includes("moved") && !what.startsWith("index");
		assert.equal(ids.includes("0"), !isNew, what);
		assert.equal(ids.at(-1), "99", what);
		assert.deepEqual(
			after.filter((id) => !ids.includes(id)),
			[],
			what,
		);
		assert.ok(!readdirSync(place).includes("compacting"), what);
	}
});
