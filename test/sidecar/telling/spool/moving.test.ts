/** A spool whose events are being read from the disk, or carried into another one, while something else is asked of it. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { seededRng } from "../../../../src/core/rng.ts";
import { EventDelivery } from "../../../../src/sidecar/telling/event-delivery.ts";
import { EventSpool } from "../../../../src/sidecar/telling/event-spool.ts";
import { type Disk, systemDisk } from "../../../../src/sidecar/telling/spool/disk.ts";
import { moveEvents } from "../../../../src/sidecar/telling/spool/move-events.ts";
import { FakeClock } from "../../../support/fake-clock.ts";
import { temporaryFolder } from "../../../support/processes.ts";
import { event, ids, MemoryLog, startNexus, type TestNexus, until } from "../support.ts";
import { drain, idsOf, MIB, names, openSpool } from "./support.ts";

// A guard against a hang, never a measure.
const GUARD = { timeout: 60_000 };

interface Reading {
	readonly nexus: TestNexus;
	readonly clock: FakeClock;
	readonly spool: EventSpool;
	readonly delivery: EventDelivery;
	/** Lets the disk answer. */
	answer(): void;
}

/** A delivery that waits for the disk: 90 events of 100 are there alone. */
async function readingFromDisk(t: TestContext): Promise<Reading> {
	const nexus = await startNexus(t);
	const clock = new FakeClock();
	const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
	t.after(() => answer());
	let isSlow = false;
	let reads = 0;
	const disk: Disk = {
		...systemDisk,
		async read(path, bytesMax) {
			reads++;
			if (isSlow) await answered;
			return systemDisk.read(path, bytesMax);
		},
	};
	const { spool, directory } = await openSpool(t, temporaryFolder(t, "spool"), { disk, eventsMax: 1000 });
	for (let n = 0; n < 100; n++) spool.push(event(n));
	await directory.flush();
	spool.setEventsMax(10);
	isSlow = true;
	reads = 0;
	const delivery = new EventDelivery({ url: nexus.url, spool, clock, rng: seededRng(1), log: new MemoryLog(), timeoutMs: 1e9 });
	t.after(async () => {
		const closed = delivery.close(0);
		clock.advance(0);
		await closed;
	});
	await until(
		() => reads === 1,
		() => clock.advance(10),
	);
	return { nexus, clock, spool, delivery, answer };
}

async function turns(clock: FakeClock): Promise<void> {
	let left = 20;
	await until(
		() => left-- === 0,
		() => clock.advance(10),
	);
}

test("a reload that moves the spool while its disk is read sends each event once", GUARD, async (t) => {
	const { nexus, clock, delivery, answer } = await readingFromDisk(t);
	const moved = delivery.moveTo(new EventSpool());
	await turns(clock);
	answer();
	await moved;
	await until(
		() => delivery.sent === 100,
		() => clock.advance(10),
	);
	assert.deepEqual(ids(nexus.kept), names(0, 100));
});

test("a new address while the disk is read gets each event once", GUARD, async (t) => {
	const { clock, spool, delivery, answer } = await readingFromDisk(t);
	const other = await startNexus(t);
	delivery.setUrl(other.url);
	await turns(clock);
	answer();
	await until(
		() => spool.size === 0 && delivery.pendingEvents === 0,
		() => clock.advance(10),
	);
	assert.deepEqual(ids(other.kept), names(0, 100));
});

test("an end while the disk is read delivers what it reads, and does not wait for a disk that hangs", GUARD, async (t) => {
	const fine = await readingFromDisk(t);
	const closed = fine.delivery.close(5000);
	await turns(fine.clock);
	fine.answer();
	await closed;
	assert.deepEqual(ids(fine.nexus.kept), names(0, 100));
	const hung = await readingFromDisk(t);
	let isOver = false;
	void hung.delivery.close(5000).then(() => {
		isOver = true;
	});
	await until(
		() => isOver,
		() => hung.clock.advance(1000),
	);
	assert.deepEqual(hung.nexus.kept, []);
});

test("an end while the spool moves to a disk that hangs ends after its time", GUARD, async (t) => {
	const nexus = await startNexus(t);
	await nexus.stop();
	const clock = new FakeClock();
	const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
	t.after(() => answer());
	let writes = 0;
	const disk: Disk = {
		...systemDisk,
		async write(fd, bytes, offset) {
			writes++;
			await answered;
			return systemDisk.write(fd, bytes, offset);
		},
	};
	const next = await openSpool(t, temporaryFolder(t, "spool"), { disk });
	const spool = new EventSpool();
	for (let n = 0; n < 100; n++) spool.push(event(n));
	const delivery = new EventDelivery({ url: nexus.url, spool, clock, rng: seededRng(1), log: new MemoryLog() });
	void delivery.moveTo(next.spool);
	await until(() => writes > 0);
	let isOver = false;
	void delivery.close(2000).then(() => {
		isOver = true;
	});
	await until(
		() => isOver,
		() => clock.advance(100),
	);
});

test("of a directory that is left goes over what finds a place, into memory or a smaller directory, and the rest stays", GUARD, async (t) => {
	const memory = new EventSpool({ eventsMax: 300 });
	const { spool: smaller } = await openSpool(t, temporaryFolder(t, "spool"), { bytesMax: MIB });
	for (const [to, total] of [
		[memory, 1000],
		[smaller, 10_000],
	] as const) {
		const dir = temporaryFolder(t, "spool");
		const from = await openSpool(t, dir);
		for (let n = 0; n < total; n++) from.spool.push(event(n));
		await from.directory.flush();
		await moveEvents([], from.spool, to);
		assert.deepEqual(
			[from.spool, to].map(({ losses }) => losses.total("overflow")),
			[0, 0],
		);
		assert.ok(to.size >= 300 && from.spool.size > 0);
		assert.deepEqual(idsOf(to.take(to.size, 1e9)).slice(0, 300), names(0, 300));
		const left = from.spool.size;
		await from.directory.close(5000);
		assert.deepEqual(idsOf(await drain((await openSpool(t, dir)).spool)), names(total - left, total));
	}
});
