/** What consumers that take events are given and answer for, on a clock that only moves when told. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import { ConsumerStream } from "../../../src/nexus/subscriptions/consumer-stream.ts";
import { Consumers, fetchOnce } from "../../../src/nexus/subscriptions/consumers.ts";
import type { Entry } from "../../../src/nexus/subscriptions/delivery.ts";
import { Dispatcher } from "../../../src/nexus/subscriptions/dispatcher.ts";
import { FETCH_BYTES_MAX, STREAM_TURN_BYTES } from "../../../src/nexus/subscriptions/limits.ts";
import { PlainQueue } from "../../../src/nexus/subscriptions/ready-queue.ts";
import type { Transform } from "../../../src/nexus/subscriptions/sinks/transformed.ts";
import { WindowBudget } from "../../../src/nexus/subscriptions/window-budget.ts";
import { FakeClock } from "../../support/fake-clock.ts";

const ACK_WAIT_MS = 1000;
const BACKOFF_MS = 500;

function house(transform?: Transform): {
	clock: FakeClock;
	dispatcher: Dispatcher;
	consumers: Consumers;
	take(max: number): Promise<readonly Entry[]>;
} {
	const clock = new FakeClock();
	const dispatcher = new Dispatcher({
		policy: {
			attempts: 5,
			backoffMs: [BACKOFF_MS],
			jitter: 0,
			ackWaitMs: ACK_WAIT_MS,
			window: 256,
			concurrency: { min: 1, max: 1 },
			rate: undefined,
			stallAfterMs: 60_000,
		},
		clock,
		rng: seededRng(1),
		ready: new PlainQueue(false),
		isKeyed: false,
		budget: new WindowBudget(1 << 28),
		life: 1,
		position: 0,
		save: async () => true,
		park: async () => true,
		unpark: async () => true,
	});
	dispatcher.start();
	const consumers = new Consumers(dispatcher, 1, { transform, isStopping: () => false });
	return {
		clock,
		dispatcher,
		consumers,
		async take(max) {
			const entries = await fetchOnce(consumers, max, 0, clock).entries;
			assert.ok(entries !== "too_many");
			return entries;
		},
	};
}

function offer(dispatcher: Dispatcher, sequence: number, bytes = 2): void {
	assert.ok(dispatcher.offer({ sequence, receivedAtMs: 0, json: Buffer.alloc(bytes, 0x20) }, {}));
}

test("a token names the try that its event was taken with, however long its transform takes", async () => {
	const gate = Promise.withResolvers<void>();
	const { clock, dispatcher, consumers, take } = house(async (json) => {
		await gate.promise;
		return { ok: true, json };
	});
	offer(dispatcher, 1);
	offer(dispatcher, 2);
	const slow = consumers.shown(await take(2));
	clock.advance(ACK_WAIT_MS + BACKOFF_MS);
	const again = await take(2);
	assert.deepEqual(
		again.map(({ attempts }) => attempts),
		[2, 2],
	);
	gate.resolve();
	const late = await slow;
	assert.deepEqual(
		late.map(({ attempt }) => attempt),
		[1, 1],
	);
	const nak = late.map(({ token }) => ({ token }));
	const { unknown } = await consumers.answer({ ack: [], nak, term: [], progress: [] });
	assert.equal(unknown.length, 2, "the tries under way are somebody else's");
	assert.equal(dispatcher.flyingSize, 2);
});

test("one answer holds 4 MiB of events and one more at most, and the next ones the rest", async () => {
	const { dispatcher, take } = house();
	const bytes = 300 * 1024;
	for (let sequence = 1; sequence <= 100; sequence++) offer(dispatcher, sequence, bytes);
	const most = Math.ceil(FETCH_BYTES_MAX / bytes);
	for (let left = 100; left > 0; left -= most) assert.equal((await take(1000)).length, Math.min(left, most));
});

test("a stream is given no more before what it has was sent, and then as its reader keeps up", async () => {
	const { dispatcher, consumers } = house();
	const bytes = 100 * 1024;
	for (let sequence = 1; sequence <= 200; sequence++) offer(dispatcher, sequence, bytes);
	let unsent = 0;
	let most = 0;
	const stream = new ConsumerStream({
		consumers,
		credit: 1000,
		isReady: () => unsent < STREAM_TURN_BYTES,
		send(taken) {
			unsent += taken.length * bytes;
			most = Math.max(most, unsent);
		},
	});
	assert.ok(stream.start());
	let turns = 0;
	do {
		await new Promise((resolve) => setImmediate(resolve));
		assert.ok(unsent > 0, "it goes on");
		unsent = 0;
		stream.look();
	} while (dispatcher.readySize > 0 && ++turns < 200);
	assert.equal(dispatcher.readySize, 0);
	assert.ok(most <= 2 * STREAM_TURN_BYTES + bytes, `${most} bytes at a time`);
});
