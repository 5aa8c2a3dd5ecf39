/** What RabbitMQ's stream loses and the quorum queue beside it keeps, on a real server: one for the file, and queues of their own for each test. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { Connection } from "rabbitmq-client";
import { systemClock } from "../../../src/core/clock.ts";
import { type Logger, silentLogger } from "../../../src/core/log.ts";
import type { EventLog } from "../../../src/nexus/log/event-log.ts";
import { openRabbitmqLog } from "../../../src/nexus/log/rabbitmq-log.ts";
import { QuorumTail, type QuorumTailOptions, tailQueues } from "../../../src/nexus/log/rabbitmq-quorum.ts";
import { repairStream } from "../../../src/nexus/log/rabbitmq-repair.ts";
import { readStream } from "../../../src/nexus/log/rabbitmq-stream.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { eventually } from "../../support/processes.ts";
import { type RabbitmqServer, skipWithoutRabbitmq, startRabbitmq } from "./servers.ts";
import { batchOf, eventJson, idOf, numbered, readAll } from "./support.ts";

const skip = skipWithoutRabbitmq;
const cleanUps: (() => unknown)[] = [];
let rabbitmq: RabbitmqServer;
let queues = 0;
if (skip === false)
	before(async () => (rabbitmq = await startRabbitmq({ after: (cleanUp: () => unknown) => cleanUps.push(cleanUp) } as unknown as TestContext)));
after(async () => {
	for (const cleanUp of cleanUps.toReversed()) await cleanUp();
});

function nextQueue(): string {
	return `repaired-${queues++}`;
}

async function open(t: TestContext, queue: string, log: Logger = silentLogger): Promise<EventLog> {
	const opened = await openRabbitmqLog({ url: rabbitmq.url, queue, clock: systemClock, log });
	t.after(() => opened.close());
	return opened;
}

async function connect(t: TestContext): Promise<Connection> {
	const connection = new Connection({ url: rabbitmq.url });
	connection.on("error", () => {});
	t.after(() => connection.unsafeDestroy());
	await connection.onConnect();
	return connection;
}

/** As a producer does: again, until it is acknowledged. */
async function untilTaken(log: EventLog, ids: readonly string[]): Promise<number> {
	let sequence = 0;
	await eventually(`${ids[0]} is taken`, async () => {
		const outcome = await log.append(batchOf(ids.map((id) => ({ id }))));
		if (outcome.ok) sequence = outcome.sequence;
		return outcome.ok;
	});
	return sequence;
}

interface Said {
	readonly message: string;
	readonly fields: Parameters<Logger["error"]>[1];
}

function told(): { log: Logger; said: Said[] } {
	const said: Said[] = [];
	return { log: { ...silentLogger, error: (message, fields) => void said.push({ message, fields }) }, said };
}

/** As a loss of power leaves it: of the last segment of the stream, what is behind that share of its pieces was never written, and one is torn. */
function cutStream(queue: string, share: number): void {
	const dir = readdirSync(join(rabbitmq.data, "stream")).find((name) => name.startsWith(`__${queue}_`)) ?? assert.fail();
	const files = readdirSync(join(rabbitmq.data, "stream", dir)).sort();
	const path = (ending: string): string => join(rabbitmq.data, "stream", dir, files.findLast((file) => file.endsWith(ending)) ?? assert.fail());
	// https://github.com/rabbitmq/osiris: 8 bytes, then a record for each piece with its place in the segment.
	const index = readFileSync(path(".index"));
	const record = 29;
	const kept = Math.floor(((index.length - 8) / record) * share);
	assert.ok(kept > 0 && 8 + (kept + 1) * record <= index.length, "the stream has pieces");
	truncateSync(path(".segment"), index.readUInt32BE(8 + kept * record + 24) + 7);
	truncateSync(path(".index"), 8 + kept * record);
}

test("rabbitmq: what the stream has lost with the power is put back from the queue: all of it, once, in order, behind what had been read", {
	skip,
	timeout: 120_000,
}, async (t) => {
	const queue = nextQueue();
	const { log, said } = told();
	const nodes = [await open(t, queue, log), await open(t, queue, log)] as const;
	const ids: string[] = [];
	for (let i = 0; i < 60; i++) {
		ids.push(`${i}-a`, `${i}-b`);
		assert.ok((await (nodes[i % 2] as EventLog).append(batchOf([{ id: `${i}-a` }, { id: `${i}-b` }]))).ok);
	}
	const read = await readAll(nodes[0]);
	assert.deepEqual(read.map(idOf), ids);
	const last = read.at(-1)?.sequence ?? 0;
	await rabbitmq.server.kill();
	cutStream(queue, 0.5);
	await rabbitmq.server.start();
	await eventually("both nodes are back", async () => nodes.every((node) => !node.stats().isFailing));
	const repair = said.find(({ message }) => message.includes("had lost its end"));
	const lost = Number(repair?.fields?.events);
	assert.ok(lost > 20 && lost < ids.length, `${lost} were lost`);
	for (const node of [...nodes, await open(t, queue)]) {
		assert.deepEqual((await readAll(node)).map(idOf), ids);
		// Who had read everything gets again what may have stood elsewhere, and nothing else.
		assert.deepEqual((await readAll(node, { after: last })).map(idOf), ids.slice(-lost));
		const again = await node.append(batchOf([{ id: "59-b" }]));
		assert.deepEqual(again.ok && [again.accepted, again.duplicates], [0, 1]);
	}
	assert.ok((await untilTaken(nodes[1], ["new"])) > last);
});

test("rabbitmq: two nodes under load and a server that is killed and has lost its stream's end: nothing acknowledged is lost, nothing comes twice", {
	skip,
	timeout: 180_000,
}, async (t) => {
	const queue = nextQueue();
	const nodes = [await open(t, queue), await open(t, queue)];
	const acknowledged: string[] = [];
	for (let round = 0; round < 2; round++) {
		let isOver = false;
		const load = nodes.flatMap((node, n) =>
			["x", "y", "z"].map(async (sender) => {
				for (let i = 0; !isOver; i++) {
					const ids = [`${round}-${n}-${sender}-${i}-0`, `${round}-${n}-${sender}-${i}-1`];
					await untilTaken(node, ids);
					acknowledged.push(...ids);
				}
			}),
		);
		const before = acknowledged.length;
		await eventually("events are taken", async () => acknowledged.length > before + 200);
		await rabbitmq.server.kill();
		if (round === 1) cutStream(queue, 0.8);
		await rabbitmq.server.start();
		const then = acknowledged.length;
		await eventually("events are taken again", async () => acknowledged.length > then + 100);
		isOver = true;
		await Promise.all(load);
	}
	const ids = (await readAll(await open(t, queue), { limit: 1000 })).map(idOf);
	assert.equal(new Set(ids).size, ids.length, "something came twice");
	assert.deepEqual(ids.toSorted(), acknowledged.toSorted());
});

test("rabbitmq: a stream that somebody removes is made anew from the queue, with sequences that go on", { skip, timeout: 60_000 }, async (t) => {
	const queue = nextQueue();
	const log = await open(t, queue);
	const ids = numbered("", 50).map(({ id }) => id);
	const last = await untilTaken(log, ids);
	const connection = await connect(t);
	await connection.queueDelete({ queue });
	assert.ok((await untilTaken(log, ["new"])) > last);
	assert.deepEqual((await readAll(log)).map(idOf), [...ids, "new"]);
});

test("rabbitmq: quorum queues that somebody removes are made anew, and nothing is acknowledged without one", { skip, timeout: 60_000 }, async (t) => {
	const queue = nextQueue();
	const { log: logger, said } = told();
	const log = await open(t, queue, logger);
	await untilTaken(log, ["1"]);
	const connection = await connect(t);
	for (const each of tailQueues(queue)) await connection.queueDelete({ queue: each });
	const refused = await log.append(batchOf([{ id: "2" }]));
	assert.equal(refused.ok || refused.failure, "unavailable");
	await untilTaken(log, ["2"]);
	assert.ok(said.some(({ fields }) => /no quorum queue is behind/.test(String(fields?.error))));
	const { messageCount } = await connection.queueDeclare({ queue: tailQueues(queue)[0], passive: true });
	assert.ok(messageCount > 0);
	assert.deepEqual((await readAll(log)).map(idOf), ["1", "2"]);
});

async function openTail(t: TestContext, options: Partial<QuorumTailOptions> & { readonly queue: string; readonly clock: FakeClock }) {
	const connection = await connect(t);
	const lost: Error[] = [];
	const opening = QuorumTail.open({
		connection,
		isStreamNew: false,
		repair: async () => {},
		lost: (cause) => void lost.push(cause),
		...options,
	});
	let isOpen = false;
	void opening.then(() => (isOpen = true));
	// Pauses are those of a clock that stands still.
	await eventually("the tail is open", async () => {
		options.clock.advance(100);
		return isOpen;
	});
	const tail = await opening;
	t.after(() => tail.end());
	return { tail, connection, lost };
}

function countsOf(connection: Connection, queue: string): Promise<number[]> {
	return Promise.all(tailQueues(queue).map(async (each) => (await connection.queueDeclare({ queue: each, passive: true })).messageCount));
}

const GROUP = { publisher: "p", after: 0, receivedAtMs: 1 };

test("rabbitmq: a full queue refuses with a reason, and takes again after its turn; what was taken stands for another turn", { skip }, async (t) => {
	const queue = nextQueue();
	const clock = new FakeClock();
	const { tail, connection, lost } = await openTail(t, { queue, clock, groupsMax: 5 });
	const put = (number: number) => tail.put({ ...GROUP, number, events: [{ json: Buffer.from("{}") }] });
	let taken = 0;
	while (taken < 100 && (await put(taken)) === "kept") taken++;
	assert.ok(taken >= 5 && taken < 100, `${taken} were taken`);
	const counts = (): Promise<number[]> => countsOf(connection, queue);
	assert.deepEqual(await counts(), [taken, 0]);
	clock.advance(60_000);
	await eventually("it is taken", async () => (await put(100)) === "kept");
	await eventually("the other queue has it", async () => (await counts())[1] === 1);
	assert.equal((await counts())[0], taken);
	clock.advance(60_000);
	await eventually("what stood for two turns is gone", async () => (await counts())[0] === 0);
	assert.equal((await counts())[1], 1);
	assert.deepEqual(lost, []);
});

test("rabbitmq: nodes wait until one has made the stream whole, and another keeps the queues once that one is gone", { skip }, async (t) => {
	const queue = nextQueue();
	const clock = new FakeClock();
	const clockOfOther = new FakeClock();
	let repairs = 0;
	// The other asks ten times whether it is whole.
	const repair = async (): Promise<void> => {
		repairs++;
		await eventually("the other waits", async () => clockOfOther.monotonicMs() >= 1_000);
		order.push("whole");
	};
	const order: string[] = [];
	const opened = (name: string) => (tail: Awaited<ReturnType<typeof openTail>>) => {
		order.push(name);
		return tail;
	};
	const first = openTail(t, { queue, clock, repair }).then(opened("first"));
	await eventually("the first repairs", async () => repairs === 1);
	const [one, other] = await Promise.all([first, openTail(t, { queue, clock: clockOfOther, repair }).then(opened("other"))]);
	assert.deepEqual([order[0], order.length, repairs], ["whole", 3, 1]);
	one.tail.end();
	one.connection.unsafeDestroy();
	const put = (number: number) => other.tail.put({ ...GROUP, number, events: [{ json: Buffer.from("{}") }] });
	await put(0);
	await eventually("the other has turned the queues", async () => {
		clockOfOther.advance(5_000);
		await put(1);
		return ((await countsOf(other.connection, queue))[1] ?? 0) > 0;
	});
	assert.ok(((await countsOf(other.connection, queue))[0] ?? 0) > 0);
});

test("rabbitmq: what the queue has and the stream has too is not put back, also under another number; what only the queue has comes once", {
	skip,
}, async (t) => {
	const queue = nextQueue();
	const log = await open(t, queue);
	await untilTaken(log, ["1", "2"]);
	const connection = await connect(t);
	const publisher = await connection.acquire();
	await publisher.confirmSelect();
	const group = (number: number, ids: readonly string[]) => {
		const jsons = ids.map((id) => Buffer.from(eventJson({ id })));
		const body = Buffer.concat(jsons.flatMap((json) => [lengthOf(json), json]));
		const headers = { "nexus-publisher": "another", "nexus-number": number, "nexus-after": 0, "nexus-received-at": 5 };
		return publisher.basicPublish({ routingKey: tailQueues(queue)[1], durable: true, headers }, body);
	};
	// Refused and sent again; never arrived in the stream; in both queues, as between two turns.
	await group(0, ["1"]);
	await group(1, ["3", "2", "4"]);
	await group(1, ["3", "2", "4"]);
	for (let i = 0; i < 2; i++) await repairStream({ connection, publisher, queue, clock: systemClock, log: silentLogger });
	await eventually("they are read", async () => (await readAll(log)).length >= 4);
	assert.deepEqual((await readAll(log)).map(idOf), ["1", "2", "3", "4"]);
	assert.equal((await readAll(log)).at(-1)?.receivedAtMs, 5);
	const again = await log.append(batchOf([{ id: "4" }]));
	assert.deepEqual(again.ok && [again.accepted, again.duplicates], [0, 1]);
});

test("rabbitmq: a stream that cannot be read is one error, and not a second one that nobody waits for", { skip }, async (t) => {
	const connection = await connect(t);
	await assert.rejects(
		readStream(connection, "nowhere", "first", 1, () => true),
		/NOT_FOUND/,
	);
});

function lengthOf(json: Buffer): Buffer {
	const length = Buffer.alloc(4);
	length.writeUInt32BE(json.length);
	return length;
}
