/** Copies of a log that runs, and logs made of copies. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { restoreLog, verifyBackup } from "../../../src/nexus/log/backup.ts";
import type { AppendOutcome, EventLog } from "../../../src/nexus/log/event-log.ts";
import { batchOf, idOf, numbered, openLog, readAll, temporaryDir } from "./support.ts";

const SIZES = { segmentBytes: 6000, extentBytes: 2000 };

function backupOf(log: EventLog): NonNullable<EventLog["backup"]> {
	assert.ok(log.backup);
	return log.backup.bind(log);
}

test("a backup of a log that takes events holds all that was acknowledged before, and a log restored from it goes on", async (t) => {
	const dir = temporaryDir(t);
	const { log } = openLog(t, join(dir, "live"), SIZES);
	for (let i = 0; i < 40; i++) await log.append(batchOf(numbered(`${i}-`, 7)));
	const before = await readAll(log, { limit: 1000 });
	const underWay: Promise<AppendOutcome>[] = [];
	const progress: number[] = [];
	const report = await backupOf(log)(join(dir, "backup"), {
		onProgress({ bytes, totalBytes }) {
			progress.push(bytes / totalBytes);
			underWay.push(log.append(batchOf(numbered(`during-${progress.length}-`, 5))));
		},
	});
	await Promise.all(underWay);
	assert.deepEqual([report.firstSequence, report.lastSequence], [1, 280]);
	assert.equal(progress.at(-1), 1);
	await restoreLog(join(dir, "backup"), join(dir, "restored"));
	const { log: restored, recovery } = openLog(t, join(dir, "restored"), SIZES);
	assert.deepEqual(recovery, []);
	assert.deepEqual(await readAll(restored, { limit: 1000 }), before);
	const repeated = await restored.append(batchOf([{ id: "3-3" }, { id: "new" }]));
	assert.deepEqual(repeated.ok && [repeated.accepted, repeated.duplicates, repeated.sequence], [1, 1, 281]);
	assert.deepEqual((await readAll(restored)).map(idOf).at(-1), "new");
});

test("an empty log has a backup, and one restored from it is empty", async (t) => {
	const dir = temporaryDir(t);
	const { log } = openLog(t, join(dir, "live"));
	assert.deepEqual(await backupOf(log)(join(dir, "backup")), { firstSequence: 1, lastSequence: 0, bytes: 0 });
	await restoreLog(join(dir, "backup"), join(dir, "restored"));
	assert.deepEqual(await readAll(openLog(t, join(dir, "restored")).log), []);
});

test("nothing is written over, and a backup that is not whole is not restored and leaves nothing", async (t) => {
	const dir = temporaryDir(t);
	const { log } = openLog(t, join(dir, "live"), SIZES);
	for (let i = 0; i < 40; i++) await log.append(batchOf(numbered(`${i}-`, 7)));
	const backup = join(dir, "backup");
	const target = join(dir, "restored");
	await backupOf(log)(backup);
	await assert.rejects(backupOf(log)(backup), /is not empty; nothing is written over/);
	await assert.rejects(restoreLog(backup, join(dir, "live")), /is not empty; nothing is written over/);
	await assert.rejects(restoreLog(dir, target), /is no backup of a log/);
	const [first = "", second = ""] = readdirSync(backup).filter((name) => name.endsWith(".log"));
	const bytes = readFileSync(join(backup, first));
	const flipped = Buffer.from(bytes);
	(flipped[300] as number) ^= 4;
	writeFileSync(join(backup, first), flipped);
	await assert.rejects(restoreLog(backup, target), new RegExp(`${first} is not what was backed up`));
	writeFileSync(join(backup, first), bytes);
	truncateSync(join(backup, second), 100);
	await assert.rejects(restoreLog(backup, target), new RegExp(`${second} is not what was backed up: it is shorter`));
	rmSync(join(backup, second));
	await assert.rejects(restoreLog(backup, target), new RegExp(`${second} is not what was backed up: it cannot be opened`));
	await assert.rejects(verifyBackup(backup), new RegExp(`${second} is not what was backed up: it cannot be opened`));
	writeFileSync(join(backup, "backup.json"), '{"format":1,"files":[{"name":"../../etc/passwd","bytes":1,"sha256":""}]}');
	await assert.rejects(restoreLog(backup, target), /backup.json is damaged/);
	assert.equal(existsSync(target) || existsSync(`${target}.partial`), false);
});

test("a backup that is ended leaves nothing behind", async (t) => {
	const dir = temporaryDir(t);
	const { log } = openLog(t, join(dir, "live"), SIZES);
	for (let i = 0; i < 40; i++) await log.append(batchOf(numbered(`${i}-`, 7)));
	const ending = new AbortController();
	const backup = join(dir, "backup");
	await assert.rejects(backupOf(log)(backup, { signal: ending.signal, onProgress: () => ending.abort(new Error("enough")) }), /enough/);
	assert.equal(existsSync(backup) || existsSync(`${backup}.partial`), false);
});
