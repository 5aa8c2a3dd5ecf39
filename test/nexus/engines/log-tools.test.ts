/** `nexus log`: logs that are not open and one that is; cut off and gone on, damaged and told. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type LogContext, runLogBackup, runLogCopy, runLogList, runLogRestore, runLogVerify } from "../../../src/cli/log.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { LogTools } from "../../../src/nexus/backup/log-tools.ts";
import { type CaptureIo, captureIo } from "../../cli/capture-io.ts";
import { skipWithout, startNats } from "../log/servers.ts";
import { batchOf, numbered, openLog, serveNexus, temporaryDir } from "../support.ts";

const EVENTS = 3_000;
const BATCH = 100;

function context(signal = new AbortController().signal): LogContext {
	return { tools: async (warn) => new LogTools(warn), clock: systemClock, signal };
}

/** The directory of a log of 3,000 events that nobody has open. */
async function filledLog(t: TestContext): Promise<string> {
	const dir = join(temporaryDir(t), "data");
	const { log } = openLog(t, dir);
	for (let n = 0; n < EVENTS; n += BATCH) assert.ok((await log.append(batchOf(numbered(`e${n}-`, BATCH, { partitionkey: "k" })))).ok);
	await log.close();
	return dir;
}

/** What a command printed as JSON. */
async function ran(command: (io: CaptureIo) => Promise<number>, code = 0): Promise<Record<string, unknown>> {
	const io = captureIo();
	assert.equal(await command(io), code, io.err());
	return io.out() === "" ? { error: io.err() } : (JSON.parse(io.out()) as Record<string, unknown>);
}

test("a backup is made of a log that is stopped, verified and restored; one that was changed is refused", async (t) => {
	const data = await filledLog(t);
	const base = temporaryDir(t);
	const [backup, restored] = [join(base, "backup"), join(base, "restored")];
	const made = await ran((io) => runLogBackup(undefined, { url: "", from: data, to: backup }, io, context()));
	assert.deepEqual([made.firstSequence, made.lastSequence], [1, EVENTS]);
	assert.equal((await ran((io) => runLogVerify(backup, { url: "" }, io, context()))).lastSequence, EVENTS);
	await ran((io) => runLogRestore(backup, restored, {}, io, context()));
	const verified = await ran((io) => runLogVerify(restored, { url: "" }, io, context()));
	assert.deepEqual([verified.events, verified.damaged], [EVENTS, []]);
	assert.match(String((await ran((io) => runLogRestore(backup, restored, {}, io, context()), 1)).error), /is not empty; nothing is written over/);
	const segment = join(backup, readdirSync(backup).find((name) => name.endsWith(".log")) ?? assert.fail());
	const bytes = readFileSync(segment);
	bytes.writeUInt8(bytes.readUInt8(5_000) ^ 1, 5_000);
	writeFileSync(segment, bytes);
	assert.match(
		String((await ran((io) => runLogVerify(backup, { url: "" }, io, context()), 1)).error),
		/is not what was backed up: its digest differs/,
	);
	assert.match(
		String((await ran((io) => runLogCopy({ from: backup, to: `${base}/x`, progress: `${base}/p` }, io, context()), 1)).error),
		/is a backup: restore it first/,
	);
});

test("a directory without a log is not found whole, and nothing is left in it", async (t) => {
	const dir = temporaryDir(t);
	writeFileSync(join(dir, "notes.txt"), "");
	for (const command of [
		(io: CaptureIo) => runLogVerify(dir, { url: "" }, io, context()),
		(io: CaptureIo) => runLogList([dir], { url: "" }, io, context()),
		(io: CaptureIo) => runLogBackup(undefined, { url: "", from: dir, to: join(dir, "b") }, io, context()),
		(io: CaptureIo) => runLogCopy({ from: dir, to: join(dir, "x"), progress: join(dir, "p") }, io, context()),
	]) {
		assert.match(String((await ran(command, 1)).error), /holds no log: there is no file in it as in 0000000000000001\.log/);
	}
	assert.deepEqual(readdirSync(dir), ["notes.txt"]);
});

test("a copy that was cut off goes on where it was, and is compared with its source", async (t) => {
	const data = await filledLog(t);
	const base = temporaryDir(t);
	const [to, progress] = [join(base, "copy"), join(base, "progress.json")];
	const abort = new AbortController();
	const { signal } = abort;
	let told = 0;
	const tools = new LogTools(() => {});
	const onProgress = (done: number): void => {
		told = done;
		if (done >= EVENTS / 3) abort.abort();
	};
	await assert.rejects(tools.copy({ from: data, to, progressFile: progress, signal, onProgress }), /run it again to go on from there/);
	assert.ok(told < EVENTS && existsSync(progress));
	assert.match(String((await ran((io) => runLogCopy({ from: to, to: data, progress }, io, context()), 1)).error), /is of another copy/);
	const report = await ran((io) => runLogCopy({ from: data, to, progress }, io, context()));
	assert.deepEqual([report.copied, report.after, report.wasResumed, report.damaged], [EVENTS, EVENTS, true, 0]);
	assert.equal(existsSync(progress), false);
	assert.equal((await ran((io) => runLogVerify(to, { url: "" }, io, context()))).events, EVENTS);
	assert.match(
		String((await ran((io) => runLogCopy({ from: data, to, progress }, io, context()), 1)).error),
		/the target holds events up to sequence 3000/,
	);
	assert.match(String((await ran((io) => runLogCopy({ from: data, to: data, progress }, io, context()), 1)).error), /both are the same log/);
});

test("a log moves to NATS by the file that chooses it, and back", { skip: skipWithout("nats-server") }, async (t) => {
	const data = await filledLog(t);
	const { address } = await startNats(t);
	const base = temporaryDir(t);
	const [file, back] = [join(base, "nats.yaml"), join(base, "back")];
	writeFileSync(file, `log: { nats: { servers: ["${address}"] } }\n`);
	const progress = join(base, "progress.json");
	assert.equal((await ran((io) => runLogCopy({ from: data, to: file, progress }, io, context()))).copied, EVENTS);
	assert.equal((await ran((io) => runLogCopy({ from: file, to: back, progress }, io, context()))).copied, EVENTS);
	const { logs } = (await ran((io) => runLogList([data, file, back], { url: "" }, io, context()))) as {
		logs: { engine: string; lastSequence: number }[];
	};
	assert.deepEqual(
		logs.map(({ engine, lastSequence }) => [engine, lastSequence]),
		[
			["embedded", EVENTS],
			["nats", EVENTS],
			["embedded", EVENTS],
		],
	);
});

test("events that are damaged on disk are told, and make the exit code 1", async (t) => {
	const data = await filledLog(t);
	const segment = join(data, readdirSync(data).find((name) => name.endsWith(".log")) ?? assert.fail());
	const bytes = readFileSync(segment);
	const at = bytes.indexOf('"e1000-7"');
	bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
	writeFileSync(segment, bytes);
	const report = (await ran((io) => runLogVerify(data, { url: "" }, io, context()), 1)) as {
		events: number;
		damaged: { first: number; last: number }[];
		recovered: string[];
	};
	const lost = report.damaged.reduce((sum, { first, last }) => sum + last - first + 1, 0);
	assert.equal(report.events + lost, EVENTS, JSON.stringify(report));
	assert.ok(lost > 0 && lost <= BATCH);
});

test("a running Nexus makes its own backup, lists and verifies; its directory is not taken from it", async (t) => {
	const dir = join(temporaryDir(t), "data");
	const { nexus, url } = await serveNexus(t, dir);
	for (let n = 0; n < EVENTS; n += BATCH) await nexus.log.append(batchOf(numbered(`r${n}-`, BATCH)));
	const io = captureIo({ isTTY: true });
	assert.equal(await runLogBackup("mine", { url }, io, context()), 0, io.err());
	assert.match(io.out(), /^sequences 1 to \d+ \(\d+\.\d KiB\) are in .*\/backups\/mine, on the machine of Nexus\n$/);
	assert.match(String((await ran((out) => runLogBackup("mine", { url }, out, context()), 1)).error), /There is a backup mine already/);
	assert.match(String((await ran((out) => runLogBackup("../x", { url }, out, context()), 1)).error), /is no name/);
	const list = captureIo({ isTTY: true, columns: 200 });
	assert.equal(await runLogList([], { url }, list, context()), 0);
	assert.match(list.out(), /embedded +disk +1 +\d+.*BACKUP +STATE.*mine +done/s);
	const verified = await ran((out) => runLogVerify(undefined, { url }, out, context()));
	assert.ok(Number(verified.events) >= EVENTS);
	assert.match(String((await ran((out) => runLogVerify(dir, { url }, out, context()), 1)).error), /in use by another Nexus/);
	assert.equal((await ran((out) => runLogVerify(join(dir, "backups", "mine"), { url }, out, context()))).firstSequence, 1);
	assert.deepEqual(await nexus.close(), []);
	const again = await serveNexus(t, dir);
	const { backups } = (await ran((out) => runLogList([], { url: again.url }, out, context()))) as { backups: { name: string; state: string }[] };
	assert.deepEqual(
		backups.map(({ name, state }) => [name, state]),
		[["mine", "unknown"]],
	);
});

test("a terminal sees how far it is, a pipe sees nothing but the result", async (t) => {
	const data = await filledLog(t);
	const base = temporaryDir(t);
	const io = captureIo({ isTTY: true });
	assert.equal(await runLogCopy({ from: data, to: join(base, "a"), progress: join(base, "p") }, io, context()), 0, io.err());
	assert.match(io.err(), /\rcopying \[#+-*\] +\d+ % {2}\d+ of 3000/);
	assert.ok(io.err().endsWith("\r\x1b[K"), "the line is free again");
	assert.equal(io.out(), "3000 events copied and compared\n");
	const pipe = captureIo();
	assert.equal(await runLogCopy({ from: data, to: join(base, "b"), progress: join(base, "p") }, pipe, context()), 0);
	assert.equal(pipe.err(), "");
});
