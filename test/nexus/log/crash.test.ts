/** 500 crashes: processes that are killed with SIGKILL, and the state of the disk at every step of a commit in between. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { seededRng } from "../../../src/core/rng.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { batchOf, idOf, numbered, openLog, readAll, temporaryDir, writtenBytes } from "./support.ts";

const PROCESS = fileURLToPath(new URL("log-process.ts", import.meta.url));
// Together 500. A process costs a tenth of a second and shows that nothing of the guarantee is in its memory; an image costs milliseconds and
// hits the places between two system calls.
const KILLS = 60;
const IMAGES = 440;
const EVENTS_PER_ACK = 4;
/** Of a disk, in bytes. */
const SECTOR = 512;

/** Lets a process append until it has told `acks` acknowledgements, kills it, and returns all that it told. */
async function killedAfter(t: TestContext, dir: string, generation: number, acks: number): Promise<string[]> {
	const child = spawn(process.execPath, [PROCESS, dir, String(generation)], { stdio: ["ignore", "pipe", "pipe"] });
	t.after(() => child.kill("SIGKILL"));
	let said = "";
	let errors = "";
	let lines = 0;
	child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
	child.stdout.on("data", (chunk: Buffer) => {
		const text = chunk.toString();
		said += text;
		lines += text.split("\n").length - 1;
		if (lines >= acks) child.kill("SIGKILL");
	});
	const [code, signal] = (await once(child, "close")) as [number | null, string | null];
	assert.equal(signal, "SIGKILL", `ended with ${code}: ${errors}`);
	return said.split("\n").slice(0, -1);
}

test(`${KILLS} processes killed with SIGKILL at random points, one after the other on one log: nothing acknowledged is lost, nothing is there twice`, async (t) => {
	const dir = temporaryDir(t);
	const random = seededRng(41);
	const acknowledged: string[] = [];
	for (let generation = 0; generation < KILLS; generation++) {
		const acks = 1 + Math.floor(random() * 25);
		const told = await killedAfter(t, dir, generation, acks);
		assert.ok(told.length >= acks);
		acknowledged.push(...told);
	}
	const { log } = openLog(t, dir);
	const ids = (await readAll(log, { limit: 1000 })).map(idOf);
	const kept = new Set(ids);
	assert.equal(kept.size, ids.length, "twice");
	const expected = acknowledged.flatMap((name) => numbered(`${name}-`, EVENTS_PER_ACK)).map(({ id }) => id);
	assert.deepEqual(
		expected.filter((id) => !kept.has(id)),
		[],
		"lost",
	);
	// Each producer waited for its answers, so that its events stand in its order.
	const last = new Map<string, number>();
	for (const id of ids) {
		const [generation, producer, n = ""] = id.split("-");
		const key = `${generation}-${producer}`;
		assert.ok(Number(n) >= (last.get(key) ?? 0), `${id} stands behind a later one`);
		last.set(key, Number(n));
	}
	// What is known is known: sent again it is a duplicate.
	const repeated = await log.append(batchOf(expected.slice(-100).map((id) => ({ id }))));
	assert.deepEqual(repeated.ok && [repeated.accepted, repeated.duplicates], [0, 100]);
});

/** A power cut keeps what was synced and any part of what was not: a beginning of it, or some sectors while others are as they were before. */
function tear(file: string, synced: number, random: () => number): void {
	const written = writtenBytes(file);
	const from = synced + Math.floor(random() * (written - synced + 1));
	if (random() < 0.3) {
		truncateSync(file, from);
		return;
	}
	const isPrefix = random() < 0.5;
	const bytes = readFileSync(file);
	for (let at = isPrefix ? from : synced; at < written; ) {
		const end = Math.min(written, at - (at % SECTOR) + SECTOR);
		if (isPrefix || random() < 0.5) bytes.fill(0, at, end);
		at = end;
	}
	writeFileSync(file, bytes);
}

test(`${IMAGES} images of the disk, at random steps of a commit and torn at random places: what was acknowledged by then is there, in order, once`, async (t) => {
	const root = temporaryDir(t);
	const live = join(root, "live");
	const random = seededRng(42);
	const sizes = { segmentBytes: 9_000, extentBytes: 2_500 };
	const images: { dir: string; acknowledged: number; sent: number }[] = [];
	let acknowledged = 0;
	let sent = 0;
	let durableBytes = new Map<string, number>();
	const take = (isTorn: boolean): void => {
		const dir = join(root, String(images.length));
		cpSync(live, dir, { recursive: true });
		rmSync(join(dir, "lock.db"), { force: true });
		const last = readdirSync(dir)
			.filter((name) => name.endsWith(".log"))
			.sort()
			.at(-1);
		if (isTorn && last !== undefined) {
			tear(join(dir, last), durableBytes.get(last) ?? 0, random);
		}
		images.push({ dir, acknowledged, sent });
	};
	const { log } = openLog(t, live, {
		...sizes,
		// Written and not synced: nobody has been answered yet.
		beforeSync: () => {
			if (images.length < IMAGES && random() < 0.7) take(true);
		},
	});
	while (images.length < IMAGES) {
		const batches = Array.from({ length: 1 + Math.floor(random() * 3) }, () => {
			const events = numbered(`${sent}-`, 1 + Math.floor(random() * 5), { data: "x".repeat(Math.floor(random() * 200)) });
			sent += events.length;
			return { events, appended: log.append(batchOf(events)) };
		});
		for (const { events, appended } of batches) {
			assert.equal((await appended).ok, true);
			acknowledged += events.length;
		}
		durableBytes = new Map(
			readdirSync(live)
				.filter((name) => name.endsWith(".log"))
				.map((name) => [name, writtenBytes(join(live, name))]),
		);
		if (images.length < IMAGES && random() < 0.3) take(false);
	}
	await log.close();
	const all = (await readAll(openLog(t, live, sizes).log, { limit: 1000 })).map(idOf);
	for (const [index, image] of images.entries()) {
		const { log: opened } = openLog(t, image.dir, sizes);
		const ids = (await readAll(opened, { limit: 1000 })).map(idOf);
		assert.deepEqual(ids, all.slice(0, ids.length), `image ${index} is no beginning of the log`);
		assert.ok(
			ids.length >= image.acknowledged && ids.length <= image.sent,
			`image ${index}: ${ids.length} of ${image.acknowledged} to ${image.sent}`,
		);
		const next = await opened.append(batchOf([{ id: "next" }]));
		assert.equal(next.ok && next.sequence, ids.length + 1);
		await opened.close();
		rmSync(image.dir, { recursive: true });
	}
});

test("a clock that jumps back and forth by days changes neither order nor what a read from a time finds", async (t) => {
	const clock = new FakeClock();
	const dir = temporaryDir(t);
	const sizes = { segmentBytes: 3_000, extentBytes: 1_000, clock };
	const { log } = openLog(t, dir, sizes);
	const random = seededRng(43);
	const times: number[] = [];
	for (let n = 0; n < 200; n++) {
		clock.jumpWall(Math.floor((random() - 0.5) * 4 * 86_400_000));
		times.push(Math.trunc(clock.wallMs()));
		const outcome = await log.append(batchOf([{ id: String(n) }]));
		assert.equal(outcome.ok && outcome.sequence, n + 1);
	}
	const check = async (opened: typeof log): Promise<void> => {
		assert.deepEqual(
			(await readAll(opened)).map(({ receivedAtMs }) => receivedAtMs),
			times,
		);
		for (const sinceMs of [times[20] ?? 0, times[150] ?? 0]) {
			assert.deepEqual(
				(await readAll(opened, { sinceMs })).map(idOf),
				times.flatMap((time, n) => (time >= sinceMs ? [String(n)] : [])),
			);
		}
	};
	await check(log);
	await log.close();
	await check(openLog(t, dir, sizes).log);
});

test("a clock that stood years ahead for a moment makes retention by age forget nothing too early", async (t) => {
	const clock = new FakeClock();
	const { log } = openLog(t, temporaryDir(t), { clock, segmentBytes: 1_000, retention: { bytesMax: 1e9, ageMsMax: 7 * 86_400_000 } });
	for (let n = 0; n < 30; n++) await log.append(batchOf([{ id: String(n), data: "x".repeat(100) }]));
	clock.jumpWall(-30 * 86_400_000);
	for (let n = 30; n < 60; n++) await log.append(batchOf([{ id: String(n), data: "x".repeat(100) }]));
	clock.advance(60_000);
	assert.equal((await readAll(log)).length, 60);
});
