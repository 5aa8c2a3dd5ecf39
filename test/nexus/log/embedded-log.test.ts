/** The embedded log as Nexus uses it. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { BACKENDS } from "../../../src/nexus/log/capabilities.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { logConformance } from "./conformance.ts";
import { forgeHash } from "./forge.ts";
import { batchOf, idOf, numbered, openLog, readAll, temporaryDir } from "./support.ts";

logConformance("embedded", {
	capabilities: BACKENDS.embedded,
	async make(t) {
		const dir = temporaryDir(t);
		return { open: async () => openLog(t, dir, { segmentBytes: 3000, extentBytes: 1000 }).log };
	},
});

test("appended events are numbered from 1, durable, and read back byte for byte in both orders", async (t) => {
	const { log } = openLog(t, temporaryDir(t));
	const batch = batchOf(numbered("a", 5, { data: { text: "é€😀" } }));
	assert.deepEqual(await log.append(batch), { ok: true, accepted: 5, duplicates: 0, sequence: 5, durability: "disk" });
	const up = await readAll(log);
	assert.deepEqual(
		up.map(({ sequence }) => sequence),
		[1, 2, 3, 4, 5],
	);
	assert.equal(Buffer.concat(up.map(({ json }) => json)).equals(batch.bytes), true);
	assert.deepEqual((await readAll(log, { order: "desc", limit: 2 })).map(idOf), ["a4", "a3", "a2", "a1", "a0"]);
});

test("reads stop at the limit and go on where they stopped, over blocks, extents and segments", async (t) => {
	const { log } = openLog(t, temporaryDir(t), { segmentBytes: 2000, extentBytes: 500 });
	for (let i = 0; i < 40; i++) await log.append(batchOf(numbered(`b${i}-`, 7)));
	assert.ok(log.stats().segments > 5);
	for (const limit of [1, 3, 100]) {
		assert.deepEqual(
			(await readAll(log, { limit })).map(({ sequence }) => sequence),
			Array.from({ length: 280 }, (_, i) => i + 1),
		);
	}
	assert.deepEqual(
		(await readAll(log, { order: "desc", limit: 9 })).map(({ sequence }) => sequence),
		Array.from({ length: 280 }, (_, i) => 280 - i),
	);
	assert.deepEqual(
		(await log.read({ order: "asc", after: 100, limit: 2 })).events.map(({ sequence }) => sequence),
		[101, 102],
	);
	assert.deepEqual(
		(await log.read({ order: "desc", after: 100, limit: 2 })).events.map(({ sequence }) => sequence),
		[99, 98],
	);
	assert.deepEqual(await log.read({ order: "asc", after: 280, limit: 2 }), { events: [], damaged: [], scannedTo: 280, atEnd: true });
	assert.deepEqual((await log.read({ order: "asc", after: 9999, limit: 2 })).events, []);
});

test("filters by type, source, subject and time give what a scan by hand gives", async (t) => {
	const clock = new FakeClock();
	const { log } = openLog(t, temporaryDir(t), { clock, segmentBytes: 3000 });
	const start = clock.wallMs();
	const all: { id: string; type: string; source: string; subject: string | undefined; at: number }[] = [];
	for (let i = 0; i < 60; i++) {
		const events = [0, 1, 2].map((k) => ({
			id: `${i}-${k}`,
			type: ["order.placed", "order.paid", "stock.low", `rare.${i}`][(i * 7 + k) % 4] as string,
			source: `/s/${(i + k) % 3}`,
			...((i + k) % 5 === 0 ? { subject: `item-${i % 2}` } : {}),
		}));
		await log.append(batchOf(events));
		for (const event of events) all.push({ subject: undefined, ...event, at: clock.wallMs() - start });
		clock.advance(1000);
	}
	// A jump back: time no longer follows the order.
	clock.jumpWall(-30_000);
	await log.append(batchOf([{ id: "late", type: "order.paid", source: "/s/0" }]));
	all.push({ id: "late", type: "order.paid", source: "/s/0", subject: undefined, at: 30_000 });
	const queries = [
		[{ type: "order.*" }, (e: (typeof all)[0]) => e.type.startsWith("order.")],
		[{ type: "*.p*d" }, (e: (typeof all)[0]) => /\.p.*d$/.test(e.type)],
		[{ type: "rare.33" }, (e: (typeof all)[0]) => e.type === "rare.33"],
		[{ source: "/s/1" }, (e: (typeof all)[0]) => e.source === "/s/1"],
		[{ source: "/nowhere" }, () => false],
		[{ type: "stock.low", source: "/s/2" }, (e: (typeof all)[0]) => e.type === "stock.low" && e.source === "/s/2"],
		[{ subject: "item-1" }, (e: (typeof all)[0]) => e.subject === "item-1"],
		[{ sinceMs: start + 20_000, untilMs: start + 30_000 }, (e: (typeof all)[0]) => e.at >= 20_000 && e.at <= 30_000],
		[{ type: "order.paid", sinceMs: start + 30_000 }, (e: (typeof all)[0]) => e.type === "order.paid" && e.at >= 30_000],
	] as const;
	for (const [query, expected] of queries) {
		const ids = all.filter(expected).map(({ id }) => id);
		assert.deepEqual((await readAll(log, { ...query, limit: 4 })).map(idOf), ids, JSON.stringify(query));
		assert.deepEqual((await readAll(log, { ...query, limit: 4, order: "desc" })).map(idOf), ids.reverse(), JSON.stringify(query));
	}
});

test("batches that arrive together are one commit", async (t) => {
	const { log } = openLog(t, temporaryDir(t));
	const outcomes = await Promise.all([0, 1, 2, 3].map((i) => log.append(batchOf(numbered(`${i}-`, 3)))));
	assert.deepEqual(
		outcomes.map((outcome) => outcome.ok && outcome.sequence),
		[3, 6, 9, 12],
	);
	assert.equal(log.stats().commits, 1);
});

test("the same (source, id) is taken once: in one batch, in flight, when durable, and after a restart", async (t) => {
	const dir = temporaryDir(t);
	const { log } = openLog(t, dir);
	const twice = batchOf([{ id: "1" }, { id: "1" }, { id: "1", source: "/other" }]);
	const [first, inFlight] = await Promise.all([log.append(twice), log.append(batchOf([{ id: "1" }]))]);
	assert.deepEqual(first, { ok: true, accepted: 2, duplicates: 1, sequence: 2, durability: "disk" });
	assert.deepEqual(inFlight, { ok: true, accepted: 0, duplicates: 1, sequence: 1, durability: "disk" });
	assert.deepEqual(await log.append(twice), { ok: true, accepted: 0, duplicates: 3, sequence: 2, durability: "disk" });
	await log.close();
	const { log: reopened } = openLog(t, dir);
	assert.deepEqual(await reopened.append(batchOf([{ id: "2" }, { id: "1" }])), {
		ok: true,
		accepted: 1,
		duplicates: 1,
		sequence: 3,
		durability: "disk",
	});
	assert.deepEqual((await readAll(reopened)).map(idOf), ["1", "1", "2"]);
});

test("a duplicate waits for the commit of the event that it repeats, and fails with it", async (t) => {
	let failures = 1;
	const beforeSync = (): void => {
		if (failures-- > 0) throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
	};
	const dir = temporaryDir(t);
	const { log } = openLog(t, dir, { beforeSync });
	const [first, second] = await Promise.all([log.append(batchOf([{ id: "1" }])), log.append(batchOf([{ id: "1" }]))]);
	assert.deepEqual([first.ok || first.failure, second.ok || second.failure], ["full", "full"]);
	assert.equal(log.stats().isFailing, true);
	assert.deepEqual((await log.read({ order: "asc", limit: 9 })).events, []);
	// What failed was never in the log: sent again it is new, and gets the sequence that was not used.
	assert.deepEqual(await log.append(batchOf([{ id: "1" }])), { ok: true, accepted: 1, duplicates: 0, sequence: 1, durability: "disk" });
	assert.equal(log.stats().isFailing, false);
	await log.close();
	const { log: reopened, recovery } = openLog(t, dir);
	assert.deepEqual(recovery, []);
	assert.deepEqual((await readAll(reopened)).map(idOf), ["1"]);
});

test("after a failed commit the log goes on in a segment of its own, and nothing that failed comes back at a restart", async (t) => {
	const dir = temporaryDir(t);
	let isBroken = false;
	const beforeSync = (): void => {
		if (isBroken) throw Object.assign(new Error("input/output error"), { code: "EIO" });
	};
	const { log } = openLog(t, dir, { beforeSync });
	await log.append(batchOf(numbered("good", 3)));
	isBroken = true;
	for (let i = 0; i < 3; i++) {
		const failed = await log.append(batchOf(numbered(`lost${i}-`, 2)));
		assert.equal(failed.ok || failed.failure, "io");
	}
	isBroken = false;
	assert.deepEqual(await log.append(batchOf([{ id: "after" }])), { ok: true, accepted: 1, duplicates: 0, sequence: 4, durability: "disk" });
	assert.equal(readdirSync(dir).filter((name) => name.endsWith(".log")).length, 2);
	await log.close();
	const { log: reopened } = openLog(t, dir);
	assert.deepEqual((await readAll(reopened)).map(idOf), ["good0", "good1", "good2", "after"]);
});

test("an event whose hash collides with another's is kept: the hit is verified in the log", async (t) => {
	const dir = temporaryDir(t);
	const { log } = openLog(t, dir);
	await log.append(batchOf([{ id: "1" }]));
	await log.append(batchOf([{ id: "2" }]));
	await log.close();
	// Event 1 gets the hash of event 2, as in a collision; without its index the segment is read again.
	const index = join(dir, readdirSync(dir).find((name) => name.endsWith(".idx")) ?? "");
	const segmentFile = index.replace(/\.idx$/, ".log");
	writeFileSync(index, "");
	writeFileSync(segmentFile, forgeHash(readFileSync(segmentFile), 0, 1));
	const { log: reopened } = openLog(t, dir);
	assert.deepEqual(await reopened.append(batchOf([{ id: "2" }])), { ok: true, accepted: 0, duplicates: 1, sequence: 2, durability: "disk" });
	await reopened.close();
	writeFileSync(index, "");
	writeFileSync(segmentFile, forgeHash(readFileSync(segmentFile), 1, "other"));
	const { log: collided } = openLog(t, dir);
	// Now only event 1 carries the hash of event 2, which is itself unknown by hash: it is new, not a duplicate.
	assert.deepEqual(await collided.append(batchOf([{ id: "2" }])), { ok: true, accepted: 1, duplicates: 0, sequence: 3, durability: "disk" });
});

test("a block damaged on disk is told with its sequences, and the events around it are still read", async (t) => {
	const dir = temporaryDir(t);
	const { log } = openLog(t, dir);
	for (let i = 0; i < 3; i++) await log.append(batchOf(numbered(`${i}-`, 2, { data: `marker-${i}` })));
	const file = join(dir, readdirSync(dir).find((name) => name.endsWith(".log")) ?? "");
	const bytes = readFileSync(file);
	(bytes[bytes.indexOf("marker-1")] as number) ^= 1;
	writeFileSync(file, bytes);
	const page = await log.read({ order: "asc", limit: 100 });
	assert.deepEqual(page.events.map(idOf), ["0-0", "0-1", "2-0", "2-1"]);
	assert.deepEqual(page.damaged, [{ first: 3, last: 4 }]);
	assert.equal(log.stats().damagedBlocks, 1);
});

test("retention removes old segments; sequences go on and readers start at what is left", async (t) => {
	const clock = new FakeClock();
	const dir = temporaryDir(t);
	const { log } = openLog(t, dir, { clock, segmentBytes: 1000, retention: { bytesMax: 3000, ageMsMax: 1e9 } });
	for (let i = 0; i < 20; i++) await log.append(batchOf(numbered(`${i}-`, 5)));
	const before = log.stats();
	clock.advance(60_000);
	const after = log.stats();
	assert.ok(after.bytes < before.bytes && after.bytes <= 3000 + 1000, JSON.stringify(after));
	assert.equal(after.lastSequence, 100);
	const events = await readAll(log);
	assert.equal(events[0]?.sequence, after.firstSequence);
	assert.equal(events.at(-1)?.sequence, 100);
	// An event that is gone may come again: the window speaks for what the log has.
	assert.equal((await log.append(batchOf([{ id: "0-0" }]))).ok, true);
	assert.equal(log.stats().lastSequence, 101);
});

test("a reader in the middle of a segment that retention removes still gets its page", async (t) => {
	const clock = new FakeClock();
	const { log } = openLog(t, temporaryDir(t), { clock, segmentBytes: 1000, retention: { bytesMax: 1, ageMsMax: 1e9 } });
	for (let i = 0; i < 10; i++) await log.append(batchOf(numbered(`${i}-`, 5)));
	const reading = log.read({ order: "asc", limit: 50 });
	clock.advance(60_000);
	assert.equal((await reading).events.length, 50);
	assert.ok((await log.read({ order: "asc", limit: 50 })).events.length < 50);
});

test("a quiet log begins a new segment by age, so that retention by age finds whole ones", async (t) => {
	const clock = new FakeClock();
	const { log } = openLog(t, temporaryDir(t), { clock, retention: { bytesMax: 1e9, ageMsMax: 7000 } });
	await log.append(batchOf([{ id: "1" }]));
	clock.advance(1001);
	await log.append(batchOf([{ id: "2" }]));
	assert.equal(log.stats().segments, 2);
});

test("a directory belongs to one log at a time", async (t) => {
	const dir = temporaryDir(t);
	const { log } = openLog(t, dir);
	assert.throws(() => openLog(t, dir), new RegExp(`in use by another Nexus \\(process ${process.pid}\\)`));
	await log.close();
	openLog(t, dir);
});

test("a closed log refuses, having committed what it had taken", async (t) => {
	const dir = temporaryDir(t);
	const { log } = openLog(t, dir);
	const taken = log.append(batchOf([{ id: "1" }]));
	const closing = log.close();
	const refused = await log.append(batchOf([{ id: "2" }]));
	assert.equal(refused.ok || refused.failure, "closed");
	assert.equal((await taken).ok, true);
	await closing;
	const { log: reopened } = openLog(t, dir);
	assert.deepEqual((await readAll(reopened)).map(idOf), ["1"]);
});

test("commit listeners hear of each commit, when its events can be read, until they stop", async (t) => {
	const { log } = openLog(t, temporaryDir(t));
	const heard: number[] = [];
	const stop = log.onCommit(() => heard.push(log.stats().lastSequence));
	await log.append(batchOf(numbered("a", 2)));
	await log.append(batchOf(numbered("b", 3)));
	stop();
	await log.append(batchOf(numbered("c", 1)));
	assert.deepEqual(heard, [2, 5]);
});

test("what was staged before the log was looked at is not acknowledged where its commit fails meanwhile", async (t) => {
	const clock = new FakeClock();
	let isFull = false;
	const beforeSync = (): void => {
		if (isFull) throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
	};
	const retention = { bytesMax: 10_000_000, ageMsMax: 1e9 };
	const { log } = openLog(t, temporaryDir(t), { clock, segmentBytes: 2_500_000, retention, beforeSync });
	// Blocks that take a while to read, and a last segment with room.
	for (let i = 0; i < 9; i++) await log.append(batchOf(numbered(`${i}-`, 40, { data: "x".repeat(50_000) })));
	clock.advance(60_000);
	assert.ok(log.stats().firstSequence > 1);
	isFull = true;
	// The log is looked at for "6-0", which takes longer than the commit that fails. "0-0" is gone with its segment, and so is new.
	const appending = log.append(batchOf([{ id: "new" }, { id: "6-0" }, { id: "0-0" }]));
	while (log.stats().failures === 0) await new Promise((resolve) => setImmediate(resolve));
	isFull = false;
	const outcome = await appending;
	const there = (await readAll(log)).map(idOf);
	assert.ok(!outcome.ok || there.includes("new"), `acknowledged as ${JSON.stringify(outcome)}, and the log has ${there.slice(-3)}`);
});

test("an index that somebody has removed does not end retention", async (t) => {
	const dir = temporaryDir(t);
	const { log } = openLog(t, dir, { segmentBytes: 1000 });
	for (let i = 0; i < 20; i++) await log.append(batchOf(numbered(`${i}-`, 5)));
	for (const name of readdirSync(dir)) if (name.endsWith(".idx")) rmSync(join(dir, name));
	const limits = { bytesMax: 3000, ageMsMax: Number.POSITIVE_INFINITY };
	await log.truncate(limits).catch(() => {});
	await log.truncate(limits);
	assert.ok(log.stats().bytes <= 4000, `${log.stats().bytes} bytes`);
});
