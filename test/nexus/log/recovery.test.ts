/** What is left of a log after crashes, torn tails, bit flips and full disks: all that was whole, and nothing else. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
	appendFileSync,
	closeSync,
	cpSync,
	mkdirSync,
	openSync,
	readdirSync,
	readFileSync,
	rmSync,
	statSync,
	truncateSync,
	writeFileSync,
	writeSync,
} from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import { type BlockHead, decodeBlockHead, decodeSegmentHeader, peekBlock, SEGMENT_HEADER_BYTES } from "../../../src/nexus/log/block-codec.ts";
import { batchOf, idOf, numbered, openLog, readAll, temporaryDir, writtenBytes } from "./support.ts";

interface BlockSpan {
	readonly start: number;
	readonly end: number;
	readonly firstSequence: number;
	readonly events: number;
}

function blocksOf(file: string): BlockSpan[] {
	const bytes = readFileSync(file).subarray(0, writtenBytes(file));
	const header = decodeSegmentHeader(bytes);
	assert.ok(header);
	const blocks: BlockSpan[] = [];
	for (let start = SEGMENT_HEADER_BYTES; start < bytes.length; ) {
		const peeked = peekBlock(bytes, start);
		const head: BlockHead | undefined = peeked && decodeBlockHead(header.id, Buffer.from(bytes.subarray(start, start + peeked.headBytes)));
		assert.ok(peeked && head);
		const end = start + peeked.headBytes + peeked.bodyBytes;
		blocks.push({ start, end, firstSequence: head.firstSequence, events: head.events });
		start = end;
	}
	return blocks;
}

function segmentFiles(dir: string): string[] {
	return readdirSync(dir)
		.filter((name) => name.endsWith(".log"))
		.sort()
		.map((name) => join(dir, name));
}

// 60 batches of 1 to 7.
const EVENTS = 234;

/** A log as a killed process leaves it: copied while open, the index behind the blocks. */
async function killedLog(t: TestContext): Promise<string> {
	const dir = temporaryDir(t);
	const { log } = openLog(t, join(dir, "live"), { segmentBytes: 12_000, extentBytes: 3_000 });
	for (let i = 0; i < 60; i++) await log.append(batchOf(numbered(`${i}-`, 1 + (i % 7), { data: "x".repeat(i * 3) })));
	cpSync(join(dir, "live"), join(dir, "killed"), { recursive: true });
	await log.close();
	return join(dir, "killed");
}

function sequencesOf(blocks: readonly BlockSpan[]): number[] {
	return blocks.flatMap(({ firstSequence, events }) => Array.from({ length: events }, (_, i) => firstSequence + i));
}

/** Opens the log, checks what can be read, that it goes on, and that a second start finds nothing to mend. */
async function expectRecovered(t: TestContext, dir: string, sequences: number[], what: string): Promise<void> {
	const options = { segmentBytes: 12_000, extentBytes: 3_000 };
	const { log } = openLog(t, dir, options);
	assert.deepEqual(
		(await readAll(log)).map(({ sequence }) => sequence),
		sequences,
		what,
	);
	const appended = await log.append(batchOf([{ id: "after recovery" }]));
	assert.ok(appended.ok && appended.accepted === 1, what);
	await log.close();
	const again = openLog(t, dir, options);
	assert.deepEqual(again.recovery, [], what);
	const events = await readAll(again.log);
	assert.deepEqual(
		events.map(({ sequence }) => sequence),
		[...sequences, appended.sequence],
		what,
	);
	assert.equal(events.map(idOf).at(-1), "after recovery", what);
	const repeated = await again.log.append(batchOf([{ id: "after recovery" }]));
	assert.ok(repeated.ok && repeated.duplicates === 1, what);
	await again.log.close();
}

test("a killed log opens whole, and so does one without any index", async (t) => {
	const killed = await killedLog(t);
	const sequences = sequencesOf(segmentFiles(killed).flatMap(blocksOf));
	assert.equal(sequences.length, EVENTS);
	const bare = `${killed}-bare`;
	cpSync(killed, bare, { recursive: true });
	for (const name of readdirSync(bare)) if (name.endsWith(".idx")) rmSync(join(bare, name));
	for (const dir of [killed, bare]) {
		const { log, recovery } = openLog(t, dir, { segmentBytes: 12_000, extentBytes: 3_000 });
		assert.deepEqual(recovery, [], "room behind the last block is no damage");
		await log.close();
	}
	await expectRecovered(t, killed, sequences, "killed");
	await expectRecovered(t, bare, sequences, "without index");
});

test("small commits have room made for them, which a finished segment and a closed log give back", async (t) => {
	const dir = temporaryDir(t);
	const { log } = openLog(t, dir, { segmentBytes: 12_000, extentBytes: 3_000 });
	for (let i = 0; segmentFiles(dir).length < 2; i++) await log.append(batchOf([{ id: `a${i}` }]));
	const [first = "", second = ""] = segmentFiles(dir);
	assert.equal(statSync(first).size, writtenBytes(first));
	const { size } = statSync(second);
	assert.ok(size > writtenBytes(second) + 500_000, String(size));
	await log.append(batchOf([{ id: "goes into the room" }]));
	assert.equal(statSync(second).size, size);
	await log.close();
	assert.equal(statSync(second).size, writtenBytes(second));
});

test("a tail torn at any place gives back exactly the blocks before it", async (t) => {
	const killed = await killedLog(t);
	const random = seededRng(11);
	for (let round = 0; round < 60; round++) {
		const dir = `${killed}-${round}`;
		cpSync(killed, dir, { recursive: true });
		const files = segmentFiles(dir);
		const last = files.at(-1) as string;
		const blocks = blocksOf(last);
		const size = Math.floor(random() * (writtenBytes(last) + 100));
		truncateSync(last, size);
		const kept = [...files.slice(0, -1).flatMap(blocksOf), ...blocks.filter(({ end }) => end <= size)];
		await expectRecovered(t, dir, sequencesOf(kept), `cut to ${size}`);
		rmSync(dir, { recursive: true });
	}
});

test("a flipped bit costs its own block and no other, in whichever segment", async (t) => {
	const killed = await killedLog(t);
	const random = seededRng(12);
	for (let round = 0; round < 60; round++) {
		const dir = `${killed}-${round}`;
		cpSync(killed, dir, { recursive: true });
		const files = segmentFiles(dir);
		const file = files[Math.floor(random() * files.length)] as string;
		const all = files.map((each) => ({ file: each, blocks: blocksOf(each) }));
		const bytes = readFileSync(file);
		// Or of the room behind the last one, where there is some.
		const end = Math.min(bytes.length, writtenBytes(file) + 100);
		const at = SEGMENT_HEADER_BYTES + Math.floor(random() * (end - SEGMENT_HEADER_BYTES));
		(bytes[at] as number) ^= 1 << Math.floor(random() * 8);
		writeFileSync(file, bytes);
		const kept = all.flatMap(({ file: each, blocks }) => (each === file ? blocks.filter(({ start, end }) => at < start || at >= end) : blocks));
		await expectDamaged(t, dir, sequencesOf(kept), `byte ${at} of ${file}`);
		rmSync(dir, { recursive: true });
	}
});

/** As `expectRecovered`, but what is damaged in the middle stays so. */
async function expectDamaged(t: TestContext, dir: string, sequences: number[], what: string): Promise<void> {
	const { log } = openLog(t, dir, { segmentBytes: 12_000, extentBytes: 3_000 });
	assert.deepEqual(
		(await readAll(log)).map(({ sequence }) => sequence),
		sequences,
		what,
	);
	const appended = await log.append(batchOf([{ id: "after recovery" }]));
	assert.ok(appended.ok && appended.accepted === 1, what);
	assert.deepEqual(
		(await readAll(log)).map(({ sequence }) => sequence),
		[...sequences, appended.sequence],
		what,
	);
	await log.close();
}

test("garbage behind the last block is cut and told, with the file, the place and the size", async (t) => {
	const killed = await killedLog(t);
	const garbage = Buffer.from("NXB1 looks like the start of a block but is none");
	for (const where of ["in the room", "behind it"]) {
		const dir = `${killed} ${where}`;
		cpSync(killed, dir, { recursive: true });
		const last = segmentFiles(dir).at(-1) as string;
		const end = writtenBytes(last);
		const at = where === "in the room" ? end : statSync(last).size;
		const fd = openSync(last, "r+");
		writeSync(fd, garbage, 0, garbage.length, at);
		closeSync(fd);
		const { log, recovery } = openLog(t, dir, { segmentBytes: 12_000, extentBytes: 3_000 });
		assert.deepEqual(recovery, [{ kind: "tail-cut", file: last, offset: end, bytes: at + garbage.length - end }], where);
		assert.equal((await readAll(log)).length, EVENTS);
		await log.close();
	}
});

test("a segment whose header is damaged is set aside, not deleted; the others are read", async (t) => {
	const killed = await killedLog(t);
	const [first, ...others] = segmentFiles(killed);
	assert.ok(first);
	const bytes = readFileSync(first);
	(bytes[3] as number) ^= 1;
	writeFileSync(first, bytes);
	const expected = sequencesOf(others.flatMap(blocksOf));
	const { log, recovery } = openLog(t, killed, { segmentBytes: 12_000, extentBytes: 3_000 });
	assert.deepEqual(recovery, [{ kind: "set-aside", file: first }]);
	assert.deepEqual(
		(await readAll(log)).map(({ sequence }) => sequence),
		expected,
	);
	assert.deepEqual(readFileSync(`${first}.damaged`), bytes);
});

test("a segment that was just being created when the process died is removed", async (t) => {
	const killed = await killedLog(t);
	const unborn = join(killed, "0000000000000235.log");
	for (const content of ["", "NXSEG001 half of a header"]) {
		writeFileSync(unborn, content);
		const { log, recovery } = openLog(t, killed, { segmentBytes: 12_000, extentBytes: 3_000 });
		assert.deepEqual(recovery, [{ kind: "unborn-removed", file: unborn }]);
		assert.equal((await readAll(log)).length, EVENTS);
		await log.close();
	}
});

test("a damaged index is made again from the blocks", async (t) => {
	const killed = await killedLog(t);
	const random = seededRng(13);
	const expected = sequencesOf(segmentFiles(killed).flatMap(blocksOf));
	for (let round = 0; round < 30; round++) {
		const dir = `${killed}-${round}`;
		cpSync(killed, dir, { recursive: true });
		for (const name of readdirSync(dir)) {
			if (!name.endsWith(".idx")) continue;
			const size = statSync(join(dir, name)).size;
			truncateSync(join(dir, name), Math.floor(random() * (size + 1)));
			if (random() < 0.3) appendFileSync(join(dir, name), "garbage");
		}
		await expectRecovered(t, dir, expected, `round ${round}`);
		rmSync(dir, { recursive: true });
	}
});

for (const [title, run] of [
	["a full disk refuses and says so, keeps all it acknowledged, and goes on by itself when there is room", fillAndFree],
	["a full disk that takes a part of an index hides nothing", fillUpToAPage],
] as const) {
	test(title, async (t) => {
		const dir = join(temporaryDir(t), "small");
		mkdirSync(dir);
		const mounted = process.getuid?.() === 0 && spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", dir]).status === 0;
		if (!mounted) {
			t.skip("a small file system can only be mounted by root on Linux");
			return;
		}
		try {
			await run(t, dir);
		} finally {
			// Before the clean-up of the directory, which cannot remove what is mounted.
			spawnSync("umount", ["-l", dir]);
		}
	});
}

async function fillAndFree(t: TestContext, dir: string): Promise<void> {
	const filler = join(dir, "filler");
	writeFileSync(filler, Buffer.alloc(500_000));
	const { log } = openLog(t, dir, { extentBytes: 50_000 });
	const acknowledged: string[] = [];
	const refused: string[] = [];
	for (let i = 0; refused.length < 5; i++) {
		const events = numbered(`${i}-`, 10, { data: "x".repeat(1000) });
		const outcome = await log.append(batchOf(events));
		if (outcome.ok) acknowledged.push(...events.map(({ id }) => id));
		else {
			assert.equal(outcome.failure, "full");
			refused.push(...events.map(({ id }) => id));
			assert.ok(i < 1000);
		}
	}
	assert.deepEqual((await readAll(log)).map(idOf), acknowledged);
	rmSync(filler);
	const events = refused.map((id) => ({ id }));
	assert.deepEqual(await log.append(batchOf(events)), {
		ok: true,
		accepted: refused.length,
		duplicates: 0,
		sequence: acknowledged.length + refused.length,
		durability: "disk",
	});
	await log.close();
	const { log: reopened } = openLog(t, dir);
	assert.deepEqual((await readAll(reopened)).map(idOf), [...acknowledged, ...refused]);
	await reopened.close();
}

async function fillUpToAPage(t: TestContext, dir: string): Promise<void> {
	const filler = join(dir, "filler");
	const fillerBytes = 500_000;
	writeFileSync(filler, Buffer.alloc(fillerBytes));
	const { log } = openLog(t, dir);
	const acknowledged: string[] = [];
	for (let i = 0; ; i++) {
		const outcome = await log.append(batchOf([{ id: `${i}` }]));
		if (!outcome.ok) break;
		acknowledged.push(`${i}`);
	}
	const PAGE = 4096;
	// What comes next begins a segment of its own, and ends this one with its index: of which there is room for a part.
	truncateSync(filler, Math.floor(fillerBytes / PAGE - 1) * PAGE);
	assert.equal((await log.append(batchOf([{ id: "more" }]))).ok, false);
	assert.deepEqual((await readAll(log)).map(idOf), acknowledged);
	rmSync(filler);
	assert.equal((await log.append(batchOf([{ id: "more" }]))).ok, true);
	assert.deepEqual((await readAll(log)).map(idOf), [...acknowledged, "more"]);
	await log.close();
	const { log: reopened } = openLog(t, dir);
	assert.deepEqual((await readAll(reopened)).map(idOf), [...acknowledged, "more"]);
	await reopened.close();
}
