/** What a spool directory does where the disk takes what is written and then does not keep it. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";
import { type Disk, systemDisk } from "../../../../src/sidecar/telling/spool/disk.ts";
import { FakeClock } from "../../../support/fake-clock.ts";
import { temporaryFolder } from "../../../support/processes.ts";
import { event, until } from "../support.ts";
import { drain, MIB, openSpool } from "./support.ts";

// A guard against a hang, never a measure.
const GUARD = { timeout: 60_000 };

interface WatchedDisk extends Disk {
	/** By name of the file; one that is there twice was synced twice. */
	readonly synced: string[];
	readonly closed: string[];
	/** Whether this call fails. */
	fails: (call: "write" | "sync", file: string) => boolean;
}

function watchedDisk(): WatchedDisk {
	const files = new Map<number, string>();
	const nameOf = (fd: number): string => files.get(fd) ?? "";
	const check = (call: "write" | "sync", fd: number): void => {
		if (disk.fails(call, nameOf(fd))) throw Object.assign(new Error("EIO"), { code: "EIO" });
	};
	const disk: WatchedDisk = {
		...systemDisk,
		synced: [],
		closed: [],
		fails: () => false,
		async create(path) {
			const fd = await systemDisk.create(path);
			files.set(fd, basename(path));
			return fd;
		},
		async write(fd, bytes, offset) {
			check("write", fd);
			await systemDisk.write(fd, bytes, offset);
		},
		async sync(fd) {
			check("sync", fd);
			disk.synced.push(nameOf(fd));
			await systemDisk.sync(fd);
		},
		async close(fd) {
			disk.closed.push(nameOf(fd));
			await systemDisk.close(fd);
		},
	};
	return disk;
}

test("a sync that fails among several files closes each of them once", GUARD, async (t) => {
	const disk = watchedDisk();
	const clock = new FakeClock();
	const { spool, directory } = await openSpool(t, temporaryFolder(t, "spool"), { disk, clock, bytesMax: 4 * MIB });
	for (let n = 0; n < 400; n++) spool.push(event(n, 5, 400));
	await directory.flush();
	let syncs = 0;
	disk.fails = (call) => call === "sync" && ++syncs === 3;
	await until(
		() => directory.faulty,
		() => clock.advance(50),
	);
	assert.equal(disk.synced.length, 2);
	await directory.close(5000);
	const files = disk.closed.filter((name) => name.startsWith("5-"));
	assert.ok(files.length > 3);
	assert.equal(new Set(files).size, files.length);
});

test("a sync that fails for one priority is made for the others", GUARD, async (t) => {
	const disk = watchedDisk();
	const clock = new FakeClock();
	const { spool, directory } = await openSpool(t, temporaryFolder(t, "spool"), { disk, clock });
	spool.push(event(0, 1));
	spool.push(event(1, 8));
	await directory.flush();
	disk.fails = (call, file) => call === "sync" && file.startsWith("1-");
	await until(
		() => disk.synced.some((file) => file.startsWith("8-")),
		() => clock.advance(50),
	);
});

test("what is acknowledged while the position before it is written is not sent again by the next process", GUARD, async (t) => {
	const { promise: written, resolve: write } = Promise.withResolvers<void>();
	t.after(() => write());
	let positionFd = -1;
	let positions = 0;
	const disk: Disk = {
		...systemDisk,
		async open(path) {
			positionFd = await systemDisk.open(path);
			return positionFd;
		},
		async write(fd, bytes, offset) {
			if (fd === positionFd && ++positions === 1) await written;
			await systemDisk.write(fd, bytes, offset);
		},
	};
	const dir = temporaryFolder(t, "spool");
	const { spool, directory } = await openSpool(t, dir, { disk });
	for (let n = 0; n < 100; n++) spool.push(event(n));
	await directory.flush();
	spool.acknowledge(spool.take(10, 1e9));
	await until(() => positions === 1);
	spool.acknowledge(spool.take(10, 1e9));
	write();
	await directory.close(5000);
	assert.equal((await openSpool(t, dir)).spool.size, 80);
});

test("what is written for one priority is synced though the disk refuses another", GUARD, async (t) => {
	const disk = watchedDisk();
	const clock = new FakeClock();
	const { spool, directory } = await openSpool(t, temporaryFolder(t, "spool"), { disk, clock });
	disk.fails = (call, file) => call === "write" && file.startsWith("8-");
	spool.push(event(0, 1));
	spool.push(event(1, 8));
	assert.equal(await directory.flush(), false);
	await until(
		() => disk.synced.some((file) => file.startsWith("1-")),
		() => clock.advance(50),
	);
});

test("what is written is synced though the disk takes no more", GUARD, async (t) => {
	const disk = watchedDisk();
	const clock = new FakeClock();
	const { spool, directory } = await openSpool(t, temporaryFolder(t, "spool"), { disk, clock });
	spool.push(event(0));
	await directory.flush();
	disk.fails = (call) => call === "write";
	spool.push(event(1));
	assert.equal(await directory.flush(), false);
	await until(
		() => disk.synced.length > 0,
		() => clock.advance(50),
	);
});

test("events of a damaged file that then makes way are lost once", GUARD, async (t) => {
	const dir = temporaryFolder(t, "spool");
	const { spool, directory } = await openSpool(t, dir, { bytesMax: 4 * MIB });
	for (let n = 0; n < 400; n++) spool.push(event(n, 5, 400));
	await directory.flush();
	spool.setEventsMax(1);
	const [oldest = ""] = readdirSync(dir)
		.filter((name) => name.endsWith(".spool1"))
		.sort();
	const bytes = readFileSync(join(dir, oldest));
	bytes.writeUInt8(0, 100);
	writeFileSync(join(dir, oldest), bytes);
	await spool.load();
	assert.equal(spool.losses.total("damaged"), 1);
	directory.setBytesMax(directory.bytes - 1);
	await directory.flush();
	const lost = spool.losses.total("overflow") + 1;
	assert.ok(lost > 100);
	assert.equal(spool.size, 400 - lost);
	assert.equal((await drain(spool)).length, 400 - lost);
});
