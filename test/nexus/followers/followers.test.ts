/** Followers over real sockets: whoever comes, stops or leaves meanwhile, each is told everything once and in order, and what can be shared is. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import type { Logger } from "../../../src/core/log.ts";
import { seededRng } from "../../../src/core/rng.ts";
import { batchOf, numbered, openLog, temporaryDir } from "../support.ts";
import { followerHouse, type Reader, until, WatchedLog } from "./support.ts";

function watchedLog(t: TestContext): WatchedLog {
	return new WatchedLog(openLog(t, temporaryDir(t)).log);
}

/** Commits one after the other, so that each is a block of its own. */
async function append(log: WatchedLog, prefix: string, commits: number, eventsPerCommit = 1, extra = {}): Promise<void> {
	for (let n = 0; n < commits; n++) {
		const outcome = await log.append(batchOf(numbered(`${prefix}${n}-`, eventsPerCommit, extra)));
		assert.ok(outcome.ok);
	}
}

function upTo(last: number, first = 1): number[] {
	return Array.from({ length: last - first + 1 }, (_, n) => first + n);
}

async function toldAll(reader: Reader, last: number): Promise<void> {
	await until(() => (reader.sequences.at(-1) ?? 0) >= last || reader.isClosed, `sequence ${last}, of which ${reader.sequences.length} came`);
}

test("followers of the same filter share one read of each commit, and get the same bytes", async (t) => {
	const log = watchedLog(t);
	const follow = await followerHouse(t, log);
	const followed = await Promise.all(Array.from({ length: 50 }, () => follow(0)));
	await append(log, "warm", 1);
	for (const { reader } of followed) await toldAll(reader, 1);
	const before = log.reads;
	for (let n = 2; n <= 11; n++) {
		await append(log, `a${n}`, 1);
		for (const { reader } of followed) await toldAll(reader, n);
	}
	// Fifty would be five hundred reads.
	assert.ok(log.reads - before <= 20, `${log.reads - before} reads`);
	for (const { reader } of followed) assert.deepEqual(reader.sequences, upTo(11));
	assert.deepEqual(followed[0]?.reader.events, followed[49]?.reader.events);
	assert.equal(log.listeners, 1);
});

test("followers of different filters get what passes theirs, and nothing else", async (t) => {
	const log = watchedLog(t);
	const follow = await followerHouse(t, log);
	const a = await follow(0, { type: "a" });
	const b = await follow(0, { type: "b" });
	const all = await follow(0);
	await append(log, "x", 3, 1, { type: "a" });
	await append(log, "y", 2, 1, { type: "b" });
	await toldAll(all.reader, 5);
	await toldAll(b.reader, 5);
	await toldAll(a.reader, 3);
	assert.deepEqual([a.reader.sequences, b.reader.sequences, all.reader.sequences], [[1, 2, 3], [4, 5], upTo(5)]);
});

test("an event with lines in it arrives as the event that it is", async (t) => {
	const log = watchedLog(t);
	const follow = await followerHouse(t, log);
	const { reader } = await follow(0);
	for (const end of ["\n", "\r\n", "\r"]) {
		const json = Buffer.from(`{${end}\t"id": "line${end.length}${end.charCodeAt(0)}",${end}${end}"data": "ü"${end}}`);
		const event = {
			source: "/s",
			id: `${end.length}${end.charCodeAt(0)}`,
			type: "t",
			subject: undefined,
			priority: undefined,
			start: 0,
			end: json.length,
		};
		assert.ok((await log.append({ bytes: json, events: [event] })).ok);
	}
	await toldAll(reader, 3);
	assert.deepEqual(
		reader.events,
		["110", "213", "113"].map((id) => ({ id: `line${id}`, data: "ü" })),
	);
});

test("one who stops reading holds up nobody, and is told the rest in order when it goes on", async (t) => {
	const log = watchedLog(t);
	const follow = await followerHouse(t, log);
	const slow = await follow(0);
	const others = await Promise.all(Array.from({ length: 5 }, () => follow(0)));
	await append(log, "a", 1);
	await toldAll(slow.reader, 1);
	slow.reader.socket.pause();
	// Far more than the buffers of the system take.
	await append(log, "b", 400, 1, { data: "x".repeat(60_000) });
	for (const { reader } of others) await toldAll(reader, 401);
	assert.ok(slow.reader.sequences.length < 401);
	assert.equal(slow.stream.isReady, false);
	slow.reader.socket.resume();
	await toldAll(slow.reader, 401);
	assert.deepEqual(slow.reader.sequences, upTo(401));
	// It is one of them again: one read for all.
	await append(log, "c", 1);
	for (const { reader } of [slow, ...others]) await toldAll(reader, 402);
	const before = log.reads;
	await append(log, "d", 1);
	for (const { reader } of [slow, ...others]) await toldAll(reader, 403);
	assert.ok(log.reads - before <= 2, `${log.reads - before} reads`);
});

test("one who begins in the past reads alone until it is where the others are, without a gap or a double", async (t) => {
	const log = watchedLog(t);
	await append(log, "past", 3, 500);
	const follow = await followerHouse(t, log);
	const live = await follow(1500);
	const behind = await follow(0);
	const middle = await follow(777);
	await append(log, "now", 5);
	for (const { reader } of [live, behind, middle]) await toldAll(reader, 1505);
	assert.deepEqual(live.reader.sequences, upTo(1505, 1501));
	assert.deepEqual(behind.reader.sequences, upTo(1505));
	assert.deepEqual(middle.reader.sequences, upTo(1505, 778));
});

test("one who comes while the others are being told is not kept waiting by commits that never stop", async (t) => {
	const log = watchedLog(t);
	const follow = await followerHouse(t, log);
	const first = await follow(0);
	await append(log, "a", 1);
	await toldAll(first.reader, 1);
	// From here on there is a further commit whenever something has been read: the others never come to an end, and are always behind the log.
	let isOn = true;
	let commits = 0;
	log.afterRead = async (result) => {
		if (isOn) await append(log, `flow${commits++}-`, 1);
		return result;
	};
	await append(log, "start", 1);
	await until(() => commits > 5, "a steady flow");
	const after = log.stats().lastSequence;
	const late = await follow(after);
	await until(() => late.reader.sequences.length > 20, "the late one is told as well");
	isOn = false;
	await append(log, "end", 1);
	const { lastSequence } = log.stats();
	for (const { reader } of [first, late]) await toldAll(reader, lastSequence);
	assert.deepEqual(late.reader.sequences, upTo(lastSequence, after + 1));
	assert.deepEqual(first.reader.sequences, upTo(lastSequence));
});

test("what retention has removed is told as a gap, before what is there", async (t) => {
	const { log: embedded } = openLog(t, temporaryDir(t), { segmentBytes: 4096 });
	const log = new WatchedLog(embedded);
	await append(log, "a", 40, 1, { data: "x".repeat(500) });
	await log.truncate({ bytesMax: 10_000, ageMsMax: Number.POSITIVE_INFINITY });
	const { firstSequence } = log.stats();
	assert.ok(firstSequence > 1);
	const follow = await followerHouse(t, log);
	const { reader } = await follow(0);
	await toldAll(reader, 40);
	assert.deepEqual(reader.order, [`1-${firstSequence - 1}`, ...upTo(40, firstSequence).map(String)]);
});

test("a gap in the middle of a page stands where it belongs", async (t) => {
	const log = watchedLog(t);
	await append(log, "a", 1, 10);
	log.afterRead = async (result) => ({
		...result,
		events: result.events.filter(({ sequence }) => sequence < 4 || sequence > 6),
		damaged: result.events.length === 0 ? [] : [{ first: 4, last: 6 }],
	});
	const follow = await followerHouse(t, log);
	const { reader } = await follow(0);
	await toldAll(reader, 10);
	assert.deepEqual(reader.order, ["1", "2", "3", "4-6", "7", "8", "9", "10"]);
});

test("a log that cannot be read closes the streams and says why; who comes back is served", async (t) => {
	const said: string[] = [];
	const logger = { error: (message: string, fields: object) => said.push(`${message} ${JSON.stringify(fields)}`) } as unknown as Logger;
	const log = watchedLog(t);
	const follow = await followerHouse(t, log, logger);
	const followed = await Promise.all(Array.from({ length: 3 }, () => follow(0)));
	await append(log, "a", 1);
	for (const { reader } of followed) await toldAll(reader, 1);
	log.beforeRead = () => Promise.reject(new Error("the disk is gone"));
	await append(log, "b", 1);
	for (const { stream } of followed) await until(() => !stream.isOpen, "its stream ends");
	assert.match(said.join("\n"), /the disk is gone/);
	log.beforeRead = async () => {};
	const back = await follow(1);
	await toldAll(back.reader, 2);
	assert.deepEqual(back.reader.sequences, [2]);
});

test("when the last follower has gone nothing listens to the log any more", async (t) => {
	const log = watchedLog(t);
	const follow = await followerHouse(t, log);
	const followed = await Promise.all([follow(0), follow(0), follow(0, { type: "a" })]);
	assert.equal(log.listeners, 2);
	for (const { reader } of followed) reader.socket.destroy();
	await until(() => log.listeners === 0, "nobody listens");
	const again = await follow(0);
	await append(log, "a", 1);
	await toldAll(again.reader, 1);
});

test("while followers come, stop, go on and leave at random, each is told everything from its beginning, once and in order", async (t) => {
	const random = seededRng(20_26);
	const below = (n: number): number => Math.floor(random() * n);
	const log = watchedLog(t);
	const follow = await followerHouse(t, log);
	const there: { reader: Reader; after: number }[] = [];
	const gone: { reader: Reader; after: number }[] = [];
	for (let step = 0; step < 300; step++) {
		const { lastSequence } = log.stats();
		const one = there[below(there.length)];
		switch (below(6)) {
			case 0: {
				const after = random() < 0.5 ? lastSequence : below(lastSequence + 1);
				there.push({ ...(await follow(after)), after });
				break;
			}
			case 1:
				one?.reader.socket.pause();
				break;
			case 2:
				one?.reader.socket.resume();
				break;
			case 3:
				if (one === undefined || there.length < 10) break;
				there.splice(there.indexOf(one), 1);
				gone.push(one);
				one.reader.socket.destroy();
				break;
			default:
				await append(log, `s${step}-`, 1 + below(3), 1 + below(40), { data: "x".repeat(below(4000)) });
		}
	}
	const { lastSequence } = log.stats();
	for (const { reader } of there) reader.socket.resume();
	for (const { reader, after } of there) {
		if (after < lastSequence) await toldAll(reader, lastSequence);
		assert.deepEqual(reader.sequences, upTo(lastSequence, after + 1));
		assert.equal(reader.isClosed, false);
	}
	// Who has left was told a beginning of it.
	for (const { reader, after } of gone) assert.deepEqual(reader.sequences, upTo(after + reader.sequences.length, after + 1));
	assert.ok(there.length >= 9 && gone.length > 0);
});

test("when a broker has lost its end, who had been told of it is told what comes under those sequences", async (t) => {
	const log = watchedLog(t);
	const follow = await followerHouse(t, log);
	const before = await follow(0);
	await append(log, "lost", 5);
	await toldAll(before.reader, 5);
	log.become(openLog(t, temporaryDir(t)).log);
	await append(log, "again", 2);
	await until(() => before.reader.sequences.length === 7, "it is told again");
	assert.deepEqual(before.reader.sequences, [...upTo(5), ...upTo(2)]);
	// Nobody asks over and over for what is not there.
	const late = await follow(2);
	const { reads } = log;
	for (let turn = 0; turn < 100; turn++) await setImmediate();
	assert.ok(log.reads - reads <= 10, `${log.reads - reads} reads`);
	await append(log, "on", 1);
	await until(() => before.reader.sequences.at(-1) === 3 && late.reader.sequences.at(-1) === 3, "both are told");
});
