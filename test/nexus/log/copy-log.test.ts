/** A log that moves. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { type CopyState, copyLog } from "../../../src/nexus/log/copy-log.ts";
import type { EventLog } from "../../../src/nexus/log/event-log.ts";
import { openMemoryLog } from "../../../src/nexus/log/memory-log.ts";
import { openRedisLog } from "../../../src/nexus/log/redis-log.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { skipWithout, startRedis } from "./servers.ts";
import { batchOf, idOf, numbered, openLog, readAll, temporaryDir } from "./support.ts";

async function memoryLog(t: TestContext): Promise<EventLog> {
	const log = await openMemoryLog({ clock: systemClock, log: silentLogger });
	t.after(() => log.close());
	return log;
}

/** 2,000 events in 40 commits, a second apart. */
async function fullLog(t: TestContext, dir = temporaryDir(t)): Promise<EventLog> {
	const clock = new FakeClock();
	const { log } = openLog(t, dir, { clock, segmentBytes: 20_000, extentBytes: 5_000 });
	for (let i = 0; i < 40; i++) {
		await log.append(batchOf(numbered(`${i}-`, 50, { partitionkey: `k${i % 3}` })));
		clock.advance(1000);
	}
	return log;
}

test("a copy holds the same events in the same order, with their times, and says how far it is", async (t) => {
	const from = await fullLog(t);
	const to = await memoryLog(t);
	const told: number[] = [];
	const outcome = await copyLog({ from, to, onProgress: ({ copied }, last) => void told.push(copied / last) });
	assert.deepEqual(outcome, { ok: true, state: { after: 2000, base: 0, copied: 2000, duplicates: 0, damaged: 0 } });
	assert.deepEqual(await readAll(to, { limit: 1000 }), await readAll(from, { limit: 1000 }));
	assert.deepEqual(told, [0.25, 0.5, 0.75, 1]);
	// And back, into a log on disk.
	const { log: back } = openLog(t, temporaryDir(t));
	assert.equal((await copyLog({ from: to, to: back })).ok, true);
	assert.deepEqual(await readAll(back, { limit: 1000 }), await readAll(from, { limit: 1000 }));
});

test("a copy that was ended goes on where it stood, also where its last page was not told", async (t) => {
	const from = await fullLog(t);
	const to = await memoryLog(t);
	const ending = new AbortController();
	const states: CopyState[] = [];
	const ended = await copyLog({
		from,
		to,
		signal: ending.signal,
		onProgress(state) {
			states.push(state);
			if (states.length === 2) ending.abort();
		},
	});
	assert.equal(ended.ok || ended.failure, "aborted");
	// As after a crash: the state of the first page is the last that was stored.
	const resumed = await copyLog({ from, to, resume: states[0] as CopyState });
	assert.equal(resumed.ok, true);
	assert.deepEqual([resumed.state.copied, resumed.state.duplicates], [1500, 500]);
	assert.deepEqual((await readAll(to)).map(idOf), (await readAll(from)).map(idOf));
});

test("a target that holds something is refused, and one that somebody else wrote into is told", async (t) => {
	const from = await fullLog(t);
	const to = await memoryLog(t);
	await to.append(batchOf([{ id: "mine" }]));
	const refused = await copyLog({ from, to });
	assert.equal(refused.ok || refused.failure, "not-empty");
	const other = await memoryLog(t);
	let isFirst = true;
	const outcome = await copyLog({
		from,
		to: other,
		async onProgress() {
			if (isFirst) await other.append(batchOf([{ id: "somebody else's" }]));
			isFirst = false;
		},
	});
	assert.equal(outcome.ok || outcome.failure, "differs");
	assert.match(
		outcome.ok ? "" : outcome.detail,
		/sequence 501 of the source is not where it should be: the target has another event at sequence 501/,
	);
});

test("a target that fails says so, and the copy goes on when it is over", async (t) => {
	const from = await fullLog(t);
	let isFull = false;
	const beforeSync = (): void => {
		if (isFull) throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
	};
	const { log: to } = openLog(t, temporaryDir(t), { beforeSync });
	const fill = (): void => {
		isFull = true;
	};
	const failed = await copyLog({ from, to, onProgress: fill });
	assert.deepEqual([failed.ok || failed.failure, failed.state.copied], ["full", 500]);
	isFull = false;
	const resumed = await copyLog({ from, to, resume: failed.state });
	assert.deepEqual([resumed.ok, resumed.state.copied], [true, 2000]);
});

test("what is damaged in the source is counted, and the rest is copied", async (t) => {
	const dir = temporaryDir(t);
	const from = await fullLog(t, dir);
	const file = join(dir, readdirSync(dir).find((name) => name.endsWith(".log")) ?? "");
	const bytes = readFileSync(file);
	(bytes[bytes.indexOf('"id":"1-20"')] as number) ^= 1;
	writeFileSync(file, bytes);
	const outcome = await copyLog({ from, to: await memoryLog(t) });
	assert.deepEqual(outcome, { ok: true, state: { after: 2000, base: 0, copied: 1950, duplicates: 0, damaged: 50 } });
});

test("a log moves to a broker", { skip: skipWithout("redis-server") }, async (t) => {
	const { url } = await startRedis(t, ["--appendonly", "yes", "--appendfsync", "always"]);
	const from = await fullLog(t);
	const to = await openRedisLog({ url, prefix: "nexus", clock: systemClock, log: silentLogger });
	t.after(() => to.close());
	assert.equal((await copyLog({ from, to })).ok, true);
	assert.deepEqual(await readAll(to, { limit: 1000 }), await readAll(from, { limit: 1000 }));
});
