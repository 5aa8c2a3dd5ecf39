import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { systemClock } from "../../../../src/core/clock.ts";
import { seededRng } from "../../../../src/core/rng.ts";
import { type Disk, systemDisk } from "../../../../src/sidecar/telling/spool/disk.ts";
import { encodeRecords, scanRecords } from "../../../../src/sidecar/telling/spool/record-codec.ts";
import { SpoolDirectory } from "../../../../src/sidecar/telling/spool/spool-directory.ts";
import { temporaryFolder } from "../../../support/processes.ts";
import { event, until } from "../support.ts";
import { drain, idsOf, MIB, names, openSpool } from "./support.ts";

// A guard against a hang, never a measure.
const GUARD = { timeout: 60_000 };

function segments(dir: string): string[] {
	return readdirSync(dir)
		.filter((name) => name.endsWith(".spool1"))
		.sort();
}

function bytesOf(dir: string): number {
	return segments(dir).reduce((sum, name) => sum + statSync(join(dir, name)).size, 0);
}

test("what was written and not acknowledged is there for the next process, in order, and nothing else", GUARD, async (t) => {
	const dir = temporaryFolder(t, "spool");
	const first = await openSpool(t, dir);
	for (let n = 0; n < 300; n++) first.spool.push(event(n, n % 8));
	await first.directory.flush();
	const batch = first.spool.take(100, 1e9);
	first.spool.acknowledge(batch);
	first.spool.take(50, 1e9); // under way to Nexus when the process ends
	await first.directory.close(5000);
	const second = await openSpool(t, dir);
	assert.equal(second.spool.size, 200);
	second.spool.push(event(300, 3));
	assert.deepEqual(idsOf(await drain(second.spool)), names(100, 301));
	await second.directory.close(5000);
	assert.deepEqual(segments(dir), []);
	assert.deepEqual([...first.log.lines, ...second.log.lines], []);
});

test("the largest events that a Nexus takes are kept, each on its own, and are there for the next process", GUARD, async (t) => {
	const dir = temporaryFolder(t, "spool");
	const first = await openSpool(t, dir);
	for (let n = 0; n < 6; n++) first.spool.push(event(n, 5, n % 2 === 0 ? MIB - 1_000 : 100));
	await first.directory.flush();
	await first.directory.close(5000);
	const second = await openSpool(t, dir);
	const drained = await drain(second.spool);
	assert.deepEqual(idsOf(drained), names(0, 6));
	assert.ok(drained.some(({ bytes }) => bytes > 1_000_000));
	assert.deepEqual([second.spool.losses.total("tooLarge"), second.spool.losses.total("damaged")], [0, 0]);
});

test("an event is with the system within a turn of the loop and a write, without a flush", GUARD, async (t) => {
	const dir = temporaryFolder(t, "spool");
	const { spool, directory } = await openSpool(t, dir);
	spool.push(event(7, 9));
	await until(() => directory.unwrittenEvents === 0);
	const [name = ""] = segments(dir);
	const bytes = readFileSync(join(dir, name));
	assert.deepEqual(
		scanRecords(bytes).records.map(({ jsonStart, end }) => JSON.parse(bytes.toString("utf8", jsonStart, end)).id),
		["e7"],
	);
	assert.equal(statSync(join(dir, name)).mode & 0o777, 0o600);
});

test(
	"memory stays within its bound while the disk takes a long outage, and all comes back in order, failures of the mesh first",
	GUARD,
	async (t) => {
		const { spool, directory } = await openSpool(t, temporaryFolder(t, "spool"), { eventsMax: 500, memoryMax: 200_000 });
		const urgent: string[] = [];
		const others: string[] = [];
		for (let n = 0; n < 20_000; n++) {
			const priority = n % 100 === 0 ? 9 : (n % 3) + 1;
			(priority === 9 ? urgent : others).push(`e${n}`);
			spool.push(event(n, priority, 100));
			if (n % 400 === 0) await directory.flush();
			if (spool.bytes > 200_000) assert.fail(`${spool.bytes} bytes in memory`);
		}
		assert.equal(spool.losses.total("overflow"), 0);
		assert.equal(spool.size, 20_000);
		const left = await drain(spool);
		assert.deepEqual(idsOf(left.filter((e) => e.priority === 9)), urgent);
		assert.deepEqual(idsOf(left.filter((e) => e.priority !== 9)), others);
		// A batch goes in the order in which it came, so that the last of the urgent ones may stand behind a batch of others.
		assert.ok(left.findLastIndex((e) => e.priority === 9) < urgent.length + 64);
		assert.deepEqual([spool.size, spool.bytes], [0, 0]);
	},
);

test("a full directory drops the oldest of the least important, by whole files, and counts each by its priority", GUARD, async (t) => {
	const dir = temporaryFolder(t, "spool");
	const { spool, directory } = await openSpool(t, dir, { bytesMax: MIB, eventsMax: 10 });
	const pushed = new Map<number, string[]>([1, 5, 9].map((priority) => [priority, []]));
	for (let n = 0; n < 3000; n++) {
		const priority = [1, 1, 1, 1, 1, 1, 5, 9][n % 8] ?? 0;
		pushed.get(priority)?.push(`e${n}`);
		spool.push(event(n, priority, 1000));
		if (n % 5 === 0) await directory.flush();
		if (bytesOf(dir) > MIB) assert.fail(`${bytesOf(dir)} bytes`);
	}
	await directory.flush();
	const { overflow } = spool.losses;
	assert.equal(spool.size + spool.losses.total("overflow"), 3000);
	assert.deepEqual([overflow[5], overflow[9]], [0, 0], "while something less important is there");
	const left = await drain(spool);
	for (const [priority, all] of pushed) {
		const dropped = overflow[priority] ?? 0;
		assert.deepEqual(idsOf(left.filter((e) => e.priority === priority)), all.slice(dropped), `priority ${priority}`);
	}
});

test("where all of the directory is more important, what comes in is what goes", GUARD, async (t) => {
	const { spool, directory } = await openSpool(t, temporaryFolder(t, "spool"), { bytesMax: MIB, eventsMax: 10 });
	for (let n = 0; n < 990; n++) {
		spool.push(event(n, 9, 1000));
		if (n % 5 === 0) await directory.flush();
	}
	const losses = spool.losses.overflow[9] ?? 0;
	for (let n = 990; n < 1200; n++) {
		spool.push(event(n, 2, 1000));
		if (n % 5 === 0) await directory.flush();
	}
	await directory.flush();
	assert.equal(spool.losses.overflow[9], losses);
	const left = await drain(spool);
	assert.equal(left.filter((e) => e.priority === 9).length, 990 - losses);
	assert.equal(left.filter((e) => e.priority === 2).length + (spool.losses.overflow[2] ?? 0), 210);
	assert.ok((spool.losses.overflow[2] ?? 0) > 100);
});

test("a smaller bound acts at once", GUARD, async (t) => {
	const dir = temporaryFolder(t, "spool");
	const { spool, directory } = await openSpool(t, dir, { eventsMax: 10 });
	for (let n = 0; n < 4000; n++) {
		spool.push(event(n, 1, 1000));
		if (n % 5 === 0) await directory.flush();
	}
	directory.setBytesMax(MIB);
	await directory.flush();
	assert.ok(bytesOf(dir) <= MIB);
	assert.equal(spool.size + spool.losses.total("overflow"), 4000);
});

test("a tail torn at any byte gives back exactly the records before it", GUARD, () => {
	const records = [1, 2, 3].map((sequence) => ({
		sequence,
		json: `{"n":${sequence},"text":"äöü"}`,
		bytes: Buffer.byteLength('{"n":1,"text":"äöü"}'),
	}));
	const bytes = encodeRecords(records);
	const one = bytes.length / 3;
	for (let end = 0; end <= bytes.length; end++) {
		const { records: found, damaged } = scanRecords(bytes.subarray(0, end));
		assert.equal(found.length, Math.floor(end / one));
		assert.equal(
			damaged.reduce((sum, range) => sum + range.bytes, 0),
			end % one,
		);
	}
});

test("any single flipped bit costs the record in which it is and no other", GUARD, () => {
	const records = Array.from({ length: 5 }, (_, i) => ({ sequence: i + 1, json: `{"n":${i}}`, bytes: 7 }));
	const bytes = encodeRecords(records);
	const one = bytes.length / 5;
	for (let bit = 0; bit < bytes.length * 8; bit++) {
		const flipped = Buffer.from(bytes);
		flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
		const hit = Math.floor((bit >> 3) / one);
		const { records: found, damaged } = scanRecords(flipped);
		assert.deepEqual(
			found.map(({ sequence }) => sequence),
			[1, 2, 3, 4, 5].filter((sequence) => sequence !== hit + 1),
		);
		assert.deepEqual(damaged, [{ offset: hit * one, bytes: one }]);
	}
});

test("a torn tail, flipped bits and rows of zeros are told with their file and cost only what they hit", GUARD, async (t) => {
	const dir = temporaryFolder(t, "spool");
	const first = await openSpool(t, dir);
	for (let n = 0; n < 100; n++) first.spool.push(event(n, 5));
	for (let n = 100; n < 200; n++) first.spool.push(event(n, 9));
	await first.directory.close(5000);
	const [five = "", nine = ""] = segments(dir).map((name) => join(dir, name));
	const bytes = readFileSync(five);
	bytes[Math.floor(bytes.length / 2)] = (bytes[Math.floor(bytes.length / 2)] ?? 0) ^ 4;
	writeFileSync(five, Buffer.concat([bytes, Buffer.alloc(4096)]));
	const torn = readFileSync(nine);
	writeFileSync(nine, torn.subarray(0, torn.length - 10));
	const { spool, log } = await openSpool(t, dir);
	assert.equal(spool.size, 198);
	const left = await drain(spool);
	assert.deepEqual(idsOf(left.filter((e) => e.priority === 9)), names(100, 199));
	assert.equal(left.length, 198);
	assert.deepEqual(
		log.lines.map(({ message, fields }) => [message, fields.file]),
		[five, five, nine].map((file) => ["a part of the event spool is damaged; what is whole around it is kept", file]),
	);
	assert.equal(log.lines[1]?.fields.bytes, 4096);
});

test("damage that is found while the events are read is counted, and what is whole goes on", GUARD, async (t) => {
	const dir = temporaryFolder(t, "spool");
	const { spool, directory } = await openSpool(t, dir, { eventsMax: 10 });
	for (let n = 0; n < 1000; n++) {
		spool.push(event(n, 1, 1000));
		if (n % 5 === 0) await directory.flush();
	}
	await directory.flush();
	const [oldest = "", next = ""] = segments(dir).map((name) => join(dir, name));
	const bytes = readFileSync(oldest);
	bytes[5000] = 0;
	writeFileSync(oldest, bytes);
	rmSync(next);
	const left = await drain(spool);
	const lost = spool.losses.damaged[1] ?? 0;
	assert.ok(lost > 100, `${lost}`);
	assert.equal(left.length + lost, 1000);
	assert.equal(spool.size, 0);
	const numbers = idsOf(left).map((id) => Number(id.slice(1)));
	assert.deepEqual(
		numbers,
		numbers.toSorted((a, b) => a - b),
	);
});

test("a position that was torn while it was written costs one batch that is sent again, never an event", GUARD, async (t) => {
	const dir = temporaryFolder(t, "spool");
	const first = await openSpool(t, dir);
	for (let n = 0; n < 100; n++) first.spool.push(event(n));
	await first.directory.flush();
	for (let batch = 0; batch < 3; batch++) {
		first.spool.acknowledge(first.spool.take(10, 1e9));
		await first.directory.flush();
	}
	await first.directory.close(5000);
	const path = join(dir, "position");
	const bytes = readFileSync(path);
	for (const at of [0, 4096]) {
		const torn = Buffer.from(bytes);
		torn.fill(0xff, at + 20, at + 40);
		writeFileSync(path, torn);
		const opened = await openSpool(t, dir);
		assert.ok(opened.spool.size === 70 || opened.spool.size === 80, `${opened.spool.size}`);
		await opened.directory.close(5000);
		writeFileSync(path, bytes);
	}
	writeFileSync(path, "no position at all");
	assert.equal((await openSpool(t, dir)).spool.size, 100);
});

test("a directory is for one sidecar: the second is told who has it, and gets it when the first has ended", GUARD, async (t) => {
	const dir = temporaryFolder(t, "spool");
	const first = await openSpool(t, dir);
	await assert.rejects(openSpool(t, dir), new RegExp(`it is in use by process ${process.pid}`));
	await first.directory.close(5000);
	await openSpool(t, dir);
});

/** Fails writes with `code` while it is set. */
function failingDisk(): Disk & { code: string | undefined; hang: boolean } {
	const fail = (disk: { code: string | undefined }): void => {
		if (disk.code !== undefined) throw Object.assign(new Error("no"), { code: disk.code });
	};
	return {
		...systemDisk,
		code: undefined as string | undefined,
		hang: false,
		async create(path) {
			fail(this);
			return systemDisk.create(path);
		},
		async write(fd, bytes, offset) {
			if (this.hang) await new Promise(() => {});
			if (this.code !== undefined) await systemDisk.write(fd, bytes.subarray(0, bytes.length >> 1), offset);
			fail(this);
			return systemDisk.write(fd, bytes, offset);
		},
	};
}

test(
	"a disk that fails is told once; memory goes on within its bound, in order; what is still there is written when it works again",
	GUARD,
	async (t) => {
		for (const code of ["ENOSPC", "EIO", "EDQUOT"]) {
			const dir = temporaryFolder(t, "spool");
			const disk = failingDisk();
			const { spool, directory, log } = await openSpool(t, dir, { disk, eventsMax: 300 });
			for (let n = 0; n < 100; n++) spool.push(event(n, 5));
			await directory.flush();
			disk.code = code;
			for (let n = 100; n < 1000; n++) {
				spool.push(event(n, n % 2 === 0 ? 5 : 1));
				if (n % 100 === 0) assert.equal(await directory.flush(), false);
			}
			assert.equal(directory.faulty, true);
			assert.equal(spool.size + spool.losses.total("overflow"), 1000);
			if (spool.needsLoad) await spool.load();
			const before = idsOf(spool.take(20, 1e9));
			assert.deepEqual(before, names(0, 20), "delivery goes on");
			disk.code = undefined;
			assert.equal(await directory.flush(), true);
			assert.equal(directory.faulty, false);
			assert.deepEqual(
				log.lines.map(({ message, fields }) => [message, String(fields.error ?? "").includes(code)]),
				[
					["the event spool cannot be written; events stay in memory while there is room", true],
					["the event spool is written again", false],
				],
			);
			const { size } = spool;
			await directory.close(5000);
			const next = await openSpool(t, dir);
			assert.equal(next.spool.size, size + 20, "what was taken is not acknowledged");
			const left = await drain(next.spool);
			for (const priority of [1, 5]) {
				const numbers = idsOf(left.filter((e) => e.priority === priority)).map((id) => Number(id.slice(1)));
				assert.deepEqual(
					numbers,
					numbers.toSorted((a, b) => a - b),
				);
			}
		}
	},
);

test("a file system that is really full is told once, and the spool goes on by itself when there is room", GUARD, async (t) => {
	const dir = temporaryFolder(t, "spool");
	const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=2m", "none", dir]);
	if (mounted.status !== 0) {
		// No package to install would help: an ordinary user, or a container without the right. What the disk says is injected in the tests above.
		t.skip("a tmpfs cannot be mounted here");
		return;
	}
	const { spool, directory, log } = await openSpool(t, dir, { eventsMax: 5000 });
	try {
		const ballast = join(dir, "ballast");
		writeFileSync(ballast, Buffer.alloc(1.5 * MIB));
		for (let n = 0; n < 2000; n++) spool.push(event(n, 5, 1000));
		assert.equal(await directory.flush(), false);
		assert.equal(spool.losses.total("overflow"), 0);
		assert.match(String(log.lines[0]?.fields.error), /ENOSPC/);
		const events = await drain(spool, false);
		assert.deepEqual(idsOf(events), names(0, 2000));
		spool.acknowledge(events.slice(0, 1500));
		rmSync(ballast);
		await until(() => !directory.faulty && directory.unwrittenEvents === 0);
		assert.equal(directory.waiting(5).events, 500);
		assert.equal(log.lines.length, 2);
	} finally {
		await directory.close(5000);
		spawnSync("umount", [dir]);
	}
});

test("a disk that hangs neither stops delivery from memory nor the end", GUARD, async (t) => {
	const disk = failingDisk();
	disk.hang = true;
	const { spool, directory } = await openSpool(t, temporaryFolder(t, "spool"), { disk });
	for (let n = 0; n < 100; n++) spool.push(event(n));
	const events = await drain(spool);
	assert.deepEqual(idsOf(events), names(0, 100));
	await directory.close(50);
});

test("random pushes, takes, acknowledgements, ends and disks that fail lose nothing that was written and keep the order", {
	timeout: 120_000,
}, async (t) => {
	for (let seed = 1; seed <= 6; seed++) {
		const rng = seededRng(seed);
		const dir = temporaryFolder(t, "spool");
		const acknowledged = new Set<string>();
		let opened = await openSpool(t, dir, { eventsMax: 50, memoryMax: 30_000 });
		let flying: ReturnType<typeof opened.spool.take> = [];
		let n = 0;
		for (let step = 0; step < 400; step++) {
			const dice = rng();
			const { spool, directory } = opened;
			if (dice < 0.5) {
				for (let i = 0; i < 30; i++) spool.push(event(n++, Math.floor(rng() * 10), Math.floor(rng() * 1000)));
				await directory.flush();
			} else if (dice < 0.75) {
				if (flying.length > 0) continue;
				if (spool.needsLoad) await spool.load();
				flying = spool.take(1 + Math.floor(rng() * 64), 40_000);
			} else if (dice < 0.95) {
				spool.acknowledge(flying);
				for (const id of idsOf(flying)) acknowledged.add(id);
				flying = [];
			} else {
				await directory.close(5000);
				flying = [];
				opened = await openSpool(t, dir, { eventsMax: 50, memoryMax: 30_000 });
			}
			assert.equal(opened.spool.size + flying.length + acknowledged.size, n, `seed ${seed}, step ${step}`);
		}
		const rest = await drain(opened.spool);
		for (const id of idsOf([...flying, ...rest])) assert.equal(acknowledged.has(id), false, `${id} twice`);
		assert.equal(rest.length + flying.length + acknowledged.size, n);
		const last = new Map<number, number>();
		for (const { priority, sequence } of rest) {
			assert.ok(sequence > (last.get(priority) ?? -1));
			last.set(priority, sequence);
		}
		assert.equal(opened.spool.losses.total("overflow") + opened.spool.losses.total("damaged"), 0);
	}
});

test("what counts as lost is not on disk: memory and directory that overflow at once agree with what the next process finds", GUARD, async (t) => {
	const dir = temporaryFolder(t, "spool");
	const { spool, directory } = await openSpool(t, dir, { bytesMax: MIB, eventsMax: 150 });
	const total = 30_000;
	for (let n = 0; n < total; n++) {
		spool.push(event(n, n % 50 === 0 ? 8 : 1, 300));
		if (n % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
	}
	await directory.flush();
	assert.equal(spool.size + spool.losses.total("overflow"), total);
	await directory.close(5000);
	const next = await openSpool(t, dir);
	assert.equal(next.spool.size, spool.size);
	assert.equal((await drain(next.spool)).length, spool.size);
});

test("a file that is none of ours is left alone", GUARD, async (t) => {
	const dir = temporaryFolder(t, "spool");
	writeFileSync(join(dir, "README"), "mine");
	writeFileSync(join(dir, "x-0000000000000001.spool1"), "mine");
	const { directory, log } = await openSpool(t, dir);
	await directory.close(5000);
	assert.equal(readFileSync(join(dir, "README"), "utf8"), "mine");
	assert.equal(readFileSync(join(dir, "x-0000000000000001.spool1"), "utf8"), "mine");
	await assert.rejects(SpoolDirectory.open({ dir: join(dir, "README"), bytesMax: MIB, clock: systemClock, log }), /EEXIST|ENOTDIR/);
});
