/** What every log must do, whatever keeps it: one suite, run by each backend on the real thing. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import type { LogCapabilities } from "../../../src/nexus/log/capabilities.ts";
import type { AppendOutcome, EventLog, ReadQuery, StoredEvent } from "../../../src/nexus/log/event-log.ts";
import { eventually } from "../../support/processes.ts";
import { batchOf, idOf, numbered, readAll, type TestEvent } from "./support.ts";

/** The place of one log, empty at first; it lives as long as its test. */
export interface LogPlace {
	/** Opens the log that is there; another node of it where the log may be shared. Closed at the end of the test at the latest. */
	open(): Promise<EventLog>;
	/** Ended as by a crash, and started again on the same data. */
	readonly server?: { kill(): Promise<void>; start(): Promise<void> };
}

export interface ConformanceOptions {
	/** As the place is configured. */
	readonly capabilities: LogCapabilities;
	readonly skip?: string | false;
	/** Where the log stands on a server of its own: places have one that can be killed. */
	readonly hasServer?: boolean;
	make(t: TestContext): Promise<LogPlace>;
}

export function logConformance(name: string, { capabilities, skip = false, hasServer = false, make }: ConformanceOptions): void {
	const { features, durability } = capabilities;
	const check = (title: string, run: (place: LogPlace) => Promise<void>): void => {
		test(`${name}: ${title}`, { skip }, async (t) => run(await make(t)));
	};
	/** Where the log promises it. */
	const checkIf = (has: boolean, title: string, run: (place: LogPlace) => Promise<void>): void => {
		if (has) check(title, run);
	};

	check("appended events get rising sequences and the log's durability, and are read back byte for byte in both orders", async (place) => {
		const log = await place.open();
		assert.deepEqual(await readAll(log), []);
		// The largest event is as the server has it.
		const { eventBytesMax: _, ...told } = log.capabilities;
		assert.deepEqual(told, capabilities);
		const batch = batchOf(numbered("a", 5, { data: { text: 'é€😀\u0001"\\' } }));
		assert.deepEqual(await log.append(batch), { ok: true, accepted: 5, duplicates: 0, sequence: log.stats().lastSequence, durability });
		const up = await readAll(log);
		assertRising(up);
		assert.equal(Buffer.concat(up.map(({ json }) => json)).equals(batch.bytes), true);
		assert.deepEqual((await readAll(log, { order: "desc", limit: 2 })).map(idOf), ["a4", "a3", "a2", "a1", "a0"]);
		assert.deepEqual(await log.read({ order: "asc", after: up.at(-1)?.sequence ?? 0, limit: 2 }), {
			events: [],
			damaged: [],
			scannedTo: up.at(-1)?.sequence,
			atEnd: true,
		});
	});

	check("an empty log reads as empty in both orders", async (place) => {
		const log = await place.open();
		for (const order of ["asc", "desc"] as const) {
			const page = await log.read({ order, limit: 10 });
			assert.deepEqual([page.events, page.atEnd, page.damaged], [[], true, []]);
		}
	});

	check("reads stop at the limit and go on where they stopped, in both orders, from memory and from the store", async (place) => {
		const log = await place.open();
		await Promise.all(Array.from({ length: 40 }, (_, i) => log.append(batchOf(numbered(`${i}-`, 17, { data: "x".repeat(i * 20) })))));
		await expectPages(log);
		// What another opening reads was never in its memory.
		const again = features.sharedByNodes.has ? await place.open() : await reopened(log, place, capabilities);
		if (again !== undefined) await expectPages(again);
	});

	async function expectPages(log: EventLog): Promise<void> {
		const all = await readAll(log, { limit: 1000 });
		assert.equal(all.length, 680);
		assertRising(all);
		const sequences = all.map(({ sequence }) => sequence);
		for (const limit of [7, 100]) {
			assert.deepEqual(
				(await readAll(log, { limit })).map(({ sequence }) => sequence),
				sequences,
			);
			assert.deepEqual(
				(await readAll(log, { order: "desc", limit })).map(({ sequence }) => sequence),
				sequences.toReversed(),
			);
		}
		const middle = sequences[300] ?? assert.fail();
		const around = async (order: "asc" | "desc"): Promise<number[]> =>
			(await log.read({ order, after: middle, limit: 2 })).events.map(({ sequence }) => sequence);
		assert.deepEqual(await around("asc"), sequences.slice(301, 303));
		assert.deepEqual(await around("desc"), [sequences[299], sequences[298]]);
	}

	check("filters give what a scan by hand gives", async (place) => {
		const log = await place.open();
		const types = ["order.placed", "order.paid", "stock.low"];
		const all = Array.from({ length: 120 }, (_, i): TestEvent & { type: string; source: string } => ({
			id: String(i),
			type: types[(i * 7) % 3] as string,
			source: `/s/${i % 4}`,
			...(i % 5 === 0 ? { subject: `item-${i % 2}` } : {}),
		}));
		for (let i = 0; i < all.length; i += 10) await log.append(batchOf(all.slice(i, i + 10)));
		const queries: readonly (readonly [Partial<ReadQuery>, (event: (typeof all)[0]) => boolean])[] = [
			[{ type: "order.*" }, ({ type }) => type.startsWith("order.")],
			[{ type: "*" }, () => true],
			[{ type: "*.p*d" }, ({ type }) => /\.p.*d$/.test(type)],
			[{ source: "/s/1" }, ({ source }) => source === "/s/1"],
			[{ source: "/nowhere" }, () => false],
			[{ type: "stock.low", source: "/s/2" }, ({ type, source }) => type === "stock.low" && source === "/s/2"],
			[{ subject: "item-1" }, ({ subject }) => subject === "item-1"],
		];
		for (const [query, expected] of queries) {
			const ids = all.filter(expected).map(({ id }) => id);
			assert.deepEqual((await readAll(log, { ...query, limit: 4 })).map(idOf), ids, JSON.stringify(query));
			assert.deepEqual((await readAll(log, { ...query, limit: 4, order: "desc" })).map(idOf), ids.reverse(), JSON.stringify(query));
		}
	});

	check("a read from a time begins with the first event received at or after it, and ends at the other bound", async (place) => {
		const log = await place.open();
		for (let i = 0; i < 6; i++) {
			await log.append(batchOf([{ id: String(i) }]));
			// The next one is of another millisecond.
			for (const since = Date.now(); Date.now() <= since + 2; ) await new Promise((resolve) => setImmediate(resolve));
		}
		const all = await readAll(log);
		const { receivedAtMs } = all[3] ?? assert.fail();
		assert.ok(Math.abs(receivedAtMs - Date.now()) < 60_000);
		const ids = async (query: Partial<ReadQuery>): Promise<string[]> => (await readAll(log, query)).map(idOf);
		assert.deepEqual(await ids({ sinceMs: receivedAtMs }), ["3", "4", "5"]);
		assert.deepEqual(await ids({ sinceMs: receivedAtMs, order: "desc" }), ["5", "4", "3"]);
		assert.deepEqual(await ids({ untilMs: receivedAtMs }), ["0", "1", "2", "3"]);
		assert.deepEqual(await ids({ sinceMs: receivedAtMs, untilMs: receivedAtMs }), ["3"]);
		assert.deepEqual(await ids({ sinceMs: Date.now() + 3_600_000 }), []);
	});

	check("the same (source, id) is taken once: in one batch, in flight, and when it is stored", async (place) => {
		const log = await place.open();
		const twice = batchOf([{ id: "1" }, { id: "1" }, { id: "1", source: "/other" }]);
		const [first, inFlight] = await Promise.all([log.append(twice), log.append(batchOf([{ id: "1" }]))]);
		const [one, other] = await readAll(log);
		assert.ok(one && other);
		assert.deepEqual(first, { ok: true, accepted: 2, duplicates: 1, sequence: other.sequence, durability });
		assert.deepEqual(inFlight, { ok: true, accepted: 0, duplicates: 1, sequence: one.sequence, durability });
		assert.deepEqual(await log.append(twice), { ok: true, accepted: 0, duplicates: 3, sequence: other.sequence, durability });
		// Pairs whose texts are the same when put together.
		const pairs = await log.append(
			batchOf([
				{ source: "/ab", id: "c" },
				{ source: "/a", id: "bc" },
			]),
		);
		assert.equal(pairs.ok && pairs.accepted, 2);
		assert.equal((await readAll(log)).length, 4);
		assert.equal(log.stats().duplicates, 5);
	});

	checkIf(features.dedupeAcrossRestart.has, "what was acknowledged is there after a restart, and is still known as a duplicate", async (place) => {
		const log = await place.open();
		await Promise.all([0, 1, 2].map((i) => log.append(batchOf(numbered(`${i}-`, 50)))));
		const before = await readAll(log);
		await log.close();
		const again = await place.open();
		assert.deepEqual(await readAll(again), before);
		const repeated = await again.append(batchOf([...numbered("1-", 50), { id: "new" }]));
		assert.ok(repeated.ok);
		assert.deepEqual([repeated.accepted, repeated.duplicates], [1, 50]);
		assert.equal((await readAll(again)).at(-1)?.sequence, repeated.sequence);
		assert.ok(repeated.sequence > (before.at(-1)?.sequence ?? 0));
	});

	check("events of one key keep the order in which they were sent, whatever else is under way", async (place) => {
		const log = await place.open();
		const sent = new Map<string, string[]>();
		const random = seededRng(7);
		const outcomes: Promise<AppendOutcome>[] = [];
		for (let n = 0; n < 60; n++) {
			const events = Array.from({ length: 1 + Math.floor(random() * 12) }, (_, i) => {
				const partitionkey = `key-${Math.floor(random() * 5)}`;
				const id = `${n}-${i}`;
				sent.set(partitionkey, [...(sent.get(partitionkey) ?? []), id]);
				return { id, partitionkey };
			});
			// Nobody waits for an answer before the next is sent.
			outcomes.push(log.append(batchOf(events)));
		}
		for (const outcome of await Promise.all(outcomes)) assert.equal(outcome.ok, true);
		const read = new Map<string, string[]>();
		for (const { json } of await readAll(log)) {
			const { id, partitionkey } = JSON.parse(json.toString()) as { id: string; partitionkey: string };
			read.set(partitionkey, [...(read.get(partitionkey) ?? []), id]);
		}
		assert.deepEqual(read, new Map([...sent].sort(([a], [b]) => [...read.keys()].indexOf(a) - [...read.keys()].indexOf(b))));
	});

	check("the largest events and full batches are kept whole", async (place) => {
		const log = await place.open();
		const large = numbered("large", 40, { data: "€".repeat(21_000) });
		const many = numbered("many", 4096);
		const outcomes = await Promise.all([log.append(batchOf(large)), log.append(batchOf(many))]);
		assert.deepEqual(
			outcomes.map((outcome) => outcome.ok && outcome.accepted),
			[40, 4096],
		);
		const all = await readAll(log, { limit: 1000 });
		assert.deepEqual(
			all.map(idOf),
			[...large, ...many].map(({ id }) => id),
		);
		assert.equal(log.stats().pendingBytes, 0);
	});

	check("who follows hears of every commit and reads each event once, in order, also of another node", async (place) => {
		const log = await place.open();
		const writer = features.sharedByNodes.has ? await place.open() : log;
		const seen: StoredEvent[] = [];
		let position = 0;
		let reading = Promise.resolve();
		const stop = log.onCommit(() => {
			reading = reading.then(async () => {
				const events = await readAll(log, { after: position });
				seen.push(...events);
				position = events.at(-1)?.sequence ?? position;
			});
		});
		for (let i = 0; i < 20; i++) await writer.append(batchOf(numbered(`${i}-`, 5)));
		await eventually("all events are followed", async () => seen.length >= 100);
		stop();
		await reading;
		assert.deepEqual(
			seen.map(idOf),
			Array.from({ length: 100 }, (_, i) => `${Math.floor(i / 5)}-${i % 5}`),
		);
		assertRising(seen);
	});

	check("truncation by count keeps at least what was promised; sequences go on", async (place) => {
		const log = await place.open();
		for (let i = 0; i < 10; i++) await log.append(batchOf(numbered(`${i}-`, 20)));
		const before = await readAll(log);
		const limits = { bytesMax: Number.POSITIVE_INFINITY, ageMsMax: Number.POSITIVE_INFINITY, eventsMax: 50 };
		if (!features.truncateNow.has) {
			await assert.rejects(log.truncate(limits), /cannot be truncated/);
			return;
		}
		await log.truncate(limits);
		const after = await readAll(log);
		assert.ok(after.length >= 50 && after.length < 200, `${after.length} are left`);
		assert.deepEqual(after, before.slice(-after.length));
		assert.equal(log.stats().firstSequence, after[0]?.sequence);
		assert.deepEqual((await log.read({ order: "desc", limit: 1000 })).events, after.toReversed());
		const next = await log.append(batchOf([{ id: "next" }]));
		assert.ok(next.ok && next.sequence > (before.at(-1)?.sequence ?? 0));
	});

	checkIf(features.truncateNow.has, "truncation by age forgets what is older and keeps what is not", async (place) => {
		const log = await place.open();
		for (let i = 0; i < 10; i++) await log.append(batchOf(numbered(`${i}-`, 20)));
		const limits = { bytesMax: Number.POSITIVE_INFINITY, ageMsMax: 3_600_000 };
		await log.truncate(limits);
		assert.equal((await readAll(log)).length, 200);
		for (const since = Date.now(); Date.now() <= since + 2; ) await new Promise((resolve) => setImmediate(resolve));
		await log.truncate({ ...limits, ageMsMax: 0 });
		assert.ok((await readAll(log)).length < 200);
	});

	checkIf(features.keepsTimes.has, "times of another log are kept where the log says so", async (place) => {
		const log = await place.open();
		const past = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
		await Promise.all([0, 1, 1, 2].map((ms, i) => log.append({ ...batchOf(numbered(`${i}-`, 2)), receivedAtMs: past + ms })));
		assert.deepEqual(
			(await readAll(log)).map((event) => [idOf(event), event.receivedAtMs - past]),
			[0, 1, 1, 2].flatMap((ms, i) => [
				[`${i}-0`, ms],
				[`${i}-1`, ms],
			]),
		);
		assert.deepEqual((await readAll(log, { sinceMs: past + 2 })).map(idOf), ["3-0", "3-1"]);
	});

	check("a closed log refuses, having kept what it had taken", async (place) => {
		const log = await place.open();
		const taken = log.append(batchOf([{ id: "1" }]));
		const closing = log.close();
		const refused = await log.append(batchOf([{ id: "2" }]));
		assert.equal(refused.ok || refused.failure, "closed");
		assert.equal((await taken).ok, true);
		await closing;
		await log.close();
		const again = await reopened(undefined, place, capabilities);
		if (again !== undefined) assert.deepEqual((await readAll(again)).map(idOf), ["1"]);
	});

	checkIf(
		hasServer,
		"a server that is killed and comes back: what it has on disk is there, the log refuses meanwhile and goes on by itself",
		async (place) => {
			const server = place.server ?? assert.fail();
			const log = await place.open();
			const attempted: string[] = [];
			const acknowledged = new Set<string>();
			const send = async (id: string): Promise<AppendOutcome> => {
				const outcome = await log.append(batchOf([{ id }]));
				if (outcome.ok) acknowledged.add(id);
				else assert.equal(outcome.failure, "unavailable");
				return outcome;
			};
			for (let round = 0; round < 2; round++) {
				for (let i = 0; i < 30; i++) {
					attempted.push(`${round}-${i}`);
					assert.equal((await send(`${round}-${i}`)).ok, true);
				}
				// Some are under way when it dies: nobody knows what becomes of them.
				const unknown = Array.from({ length: 20 }, (_, i) => `${round}-unknown-${i}`);
				attempted.push(...unknown);
				const underWay = Promise.all(unknown.map(send));
				await server.kill();
				await underWay;
				await eventually("the log notices", async () => log.stats().isFailing);
				const refused = await log.append(batchOf([{ id: "refused" }]));
				assert.equal(refused.ok || refused.failure, "unavailable");
				await server.start();
				// As a producer does: again, until it is acknowledged.
				for (const id of unknown) await eventually(`${id} is taken`, async () => (await send(id)).ok);
			}
			const ids = (await readAll(log)).map(idOf);
			assert.deepEqual(ids.toSorted(), attempted.toSorted(), "lost, twice, or never sent");
			assert.deepEqual(
				[...acknowledged].filter((id) => !ids.includes(id)),
				[],
			);
			assert.equal(log.stats().isFailing, false);
		},
	);
}

async function reopened(log: EventLog | undefined, place: LogPlace, capabilities: LogCapabilities): Promise<EventLog | undefined> {
	if (!capabilities.features.dedupeAcrossRestart.has) return undefined;
	await log?.close();
	return place.open();
}

function assertRising(events: readonly StoredEvent[]): void {
	for (let i = 1; i < events.length; i++) assert.ok((events[i]?.sequence ?? 0) > (events[i - 1]?.sequence ?? 0));
}
