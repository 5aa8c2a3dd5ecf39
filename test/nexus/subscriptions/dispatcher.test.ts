/** One event from the window to its end, on a clock that only moves when told. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Entry, Failure, ReplayOutcome, Verdict } from "../../../src/nexus/subscriptions/delivery.ts";
import type { DeliveryPolicy } from "../../../src/nexus/subscriptions/delivery-policy.ts";
import { Dispatcher } from "../../../src/nexus/subscriptions/dispatcher.ts";
import { REPLAY_WINDOW, WINDOW_MAX } from "../../../src/nexus/subscriptions/limits.ts";
import { decodeProgress, type OpenEvent, type ProgressText } from "../../../src/nexus/subscriptions/progress.ts";
import { KeyedQueue, PlainQueue } from "../../../src/nexus/subscriptions/ready-queue.ts";
import { WindowBudget } from "../../../src/nexus/subscriptions/window-budget.ts";
import { FakeClock } from "../../support/fake-clock.ts";

const POLICY: DeliveryPolicy = {
	attempts: 3,
	backoffMs: [1000, 5000],
	jitter: 0,
	ackWaitMs: 30_000,
	window: 8,
	concurrency: { min: 1, max: 1 },
	rate: undefined,
	stallAfterMs: 60_000,
};
const NAK: Verdict = { kind: "nak", reason: "no" };
const ACK: Verdict = { kind: "ack" };

interface House {
	readonly clock: FakeClock;
	readonly dispatcher: Dispatcher;
	readonly parked: { readonly sequence: number; readonly failure: Failure }[];
	readonly saved: ProgressText[];
	/** Takes the next one, which must be there. */
	take(): Entry;
	/** What the last write would bring back. */
	open(): readonly OpenEvent[] | undefined;
}

function house(
	policy: Partial<DeliveryPolicy> = {},
	kind: "plain" | "priority" | "keyed" = "plain",
	canPark: () => boolean | Promise<boolean> = () => true,
	unpark: () => Promise<boolean> = async () => true,
): House {
	const clock = new FakeClock();
	const parked: { sequence: number; failure: Failure }[] = [];
	const saved: ProgressText[] = [];
	const dispatcher = new Dispatcher({
		policy: { ...POLICY, ...policy },
		clock,
		rng: () => 0.5,
		ready: kind === "keyed" ? new KeyedQueue() : new PlainQueue(kind === "priority"),
		isKeyed: kind === "keyed",
		budget: new WindowBudget(1 << 20),
		life: 1,
		position: 0,
		async save(text) {
			saved.push(text);
			return true;
		},
		async park({ sequence }, failure) {
			if (!(await canPark())) return false;
			parked.push({ sequence, failure });
			return true;
		},
		unpark,
	});
	dispatcher.start();
	return {
		clock,
		dispatcher,
		parked,
		saved,
		take() {
			const entry = dispatcher.take();
			assert.ok(entry !== undefined, "nothing can be taken");
			return entry;
		},
		open() {
			const text = saved.at(-1);
			return decodeProgress(text)?.open;
		},
	};
}

function offer(dispatcher: Dispatcher, sequence: number, marks: { partitionkey?: string; priority?: number } = {}): boolean {
	return dispatcher.offer({ sequence, receivedAtMs: 0, json: Buffer.from("{}") }, marks);
}

function restore(dispatcher: Dispatcher, open: OpenEvent, atMs: number): void {
	dispatcher.restore({ sequence: open.sequence, receivedAtMs: 0, json: Buffer.from("{}") }, {}, open, atMs);
}

const settled = async (): Promise<void> => {
	for (let i = 0; i < 10; i++) await Promise.resolve();
};

test("naks and timeouts wait alike, the last backoff repeats, and the last attempt of either parks", async () => {
	for (const how of ["nak", "timeout"] as const) {
		const { clock, dispatcher, take, parked } = house({ attempts: 4, ackWaitMs: 2000 });
		offer(dispatcher, 1);
		const waits: number[] = [];
		for (let attempt = 1; attempt <= 4; attempt++) {
			const entry = take();
			assert.equal(entry.attempts, attempt);
			if (how === "nak") dispatcher.settle(entry, attempt, NAK);
			else clock.advance(2000);
			const fromMs = clock.monotonicMs();
			while (attempt < 4 && dispatcher.readySize === 0) clock.advance(100);
			waits.push(clock.monotonicMs() - fromMs);
		}
		await settled();
		assert.deepEqual(waits, [1000, 5000, 5000, 0], how);
		assert.equal(parked.length, 1);
		assert.equal(parked[0]?.failure.attempts, 4);
		assert.equal(parked[0]?.failure.reason, how === "nak" ? "no" : "there was no answer in time");
		assert.equal(dispatcher.openSize, 0);
		assert.equal(dispatcher.counts.timedOut, how === "nak" ? 0 : 4);
	}
});

test("a bare nak does not burn all attempts at once", () => {
	const { dispatcher, take } = house();
	offer(dispatcher, 1);
	dispatcher.settle(take(), 1, NAK);
	assert.equal(dispatcher.take(), undefined);
});

test("a delay that a nak asks for holds instead of the backoff, also across a restart", async () => {
	const { clock, dispatcher, take, open } = house();
	offer(dispatcher, 1);
	dispatcher.settle(take(), 1, { ...NAK, kind: "nak", delayMs: 60_000 });
	await dispatcher.saved();
	assert.deepEqual(open(), [{ sequence: 1, attempts: 1, waitMs: 60_000 }]);
	clock.advance(59_999);
	assert.equal(dispatcher.take(), undefined);
	clock.advance(1);
	assert.equal(take().attempts, 2);

	const later = house();
	restore(later.dispatcher, { sequence: 1, attempts: 1, waitMs: 8000 }, later.clock.wallMs() - 3000);
	later.clock.advance(4999);
	assert.equal(later.dispatcher.take(), undefined);
	later.clock.advance(1);
	assert.equal(later.take().attempts, 2);
});

test("a delay that was written down by a clock an hour ahead is no longer than it was", () => {
	const { clock, dispatcher, take } = house();
	restore(dispatcher, { sequence: 1, attempts: 1, waitMs: 5000 }, clock.wallMs() + 3_600_000);
	clock.advance(4999);
	assert.equal(dispatcher.take(), undefined);
	clock.advance(1);
	assert.equal(take().attempts, 2);
});

test("an event whose last try ended with the process has one more", () => {
	const { dispatcher, take } = house();
	restore(dispatcher, { sequence: 1, attempts: 3, waitMs: 0 }, 0);
	assert.equal(take().attempts, 3);
});

test("term parks at once", async () => {
	const { dispatcher, take, parked } = house();
	offer(dispatcher, 1);
	dispatcher.settle(take(), 1, { kind: "term", reason: "never", status: 422, answer: "bad" });
	await settled();
	assert.deepEqual([parked[0]?.failure.reason, parked[0]?.failure.status, parked[0]?.failure.answer], ["never", 422, "bad"]);
});

test("what cannot be parked stays, and is parked later: nothing is dropped", async () => {
	let canPark = false;
	const { clock, dispatcher, take, parked } = house({}, "plain", () => canPark);
	offer(dispatcher, 1);
	dispatcher.settle(take(), 1, { kind: "term", reason: "never" });
	await settled();
	assert.equal(dispatcher.openSize, 1);
	canPark = true;
	clock.advance(1000);
	await settled();
	assert.equal(dispatcher.openSize, 0);
	assert.equal(parked.length, 1);
});

test("a consumer that is still at it keeps its event", () => {
	const { clock, dispatcher, take } = house();
	offer(dispatcher, 1);
	offer(dispatcher, 2);
	const [first, second] = [take(), take()];
	clock.advance(20_000);
	assert.equal(dispatcher.extend(first, 1), true);
	clock.advance(20_000);
	assert.equal(dispatcher.counts.timedOut, 1, "the second one");
	assert.equal(dispatcher.extend(second, 1), false, "its time is over");
	assert.equal(dispatcher.settle(first, 1, ACK), true);
});

test("an answer to a try that is over is ignored, but for an acknowledgement: the work is done", () => {
	const { clock, dispatcher, take } = house();
	offer(dispatcher, 1);
	const entry = take();
	clock.advance(30_000);
	assert.equal(dispatcher.settle(entry, 1, NAK), false);
	assert.equal(dispatcher.acknowledge(1, 1), true);
	assert.equal(dispatcher.acknowledge(1, 1), false, "settled already");
	clock.advance(60_000);
	assert.equal(dispatcher.take(), undefined);

	offer(dispatcher, 2);
	take();
	clock.advance(31_000);
	assert.equal(dispatcher.readySize, 1);
	assert.equal(dispatcher.acknowledge(2, 1), true, "while it waits to be taken again");
	assert.equal(dispatcher.take(), undefined);
});

test("a full window takes no more, and calls when half of it is free", () => {
	const { dispatcher, take } = house({ window: 4 });
	let calls = 0;
	dispatcher.onRoom = () => {
		calls++;
	};
	for (let sequence = 1; sequence <= 4; sequence++) assert.equal(offer(dispatcher, sequence), true);
	assert.equal(offer(dispatcher, 5), false);
	assert.equal(dispatcher.position, 4);
	const entries = [take(), take(), take()];
	dispatcher.settle(entries[0] as Entry, 1, ACK);
	assert.equal(calls, 0);
	dispatcher.settle(entries[1] as Entry, 1, ACK);
	assert.equal(calls, 1);
	assert.equal(offer(dispatcher, 4), true, "it is behind that one");
	assert.equal(dispatcher.openSize, 2);
});

test("events of a key are taken one at a time and in order, also while one is tried again; others pass", async () => {
	const { clock, dispatcher, take, parked } = house({}, "keyed");
	offer(dispatcher, 1, { partitionkey: "a" });
	offer(dispatcher, 2, { partitionkey: "a" });
	offer(dispatcher, 3, { partitionkey: "b" });
	offer(dispatcher, 4);
	const first = take();
	assert.deepEqual([first.sequence, take().sequence, take().sequence, dispatcher.take()], [1, 3, 4, undefined]);
	dispatcher.settle(first, 1, NAK);
	assert.equal(dispatcher.take(), undefined);
	clock.advance(1000);
	assert.equal(take().sequence, 1);
	assert.equal(dispatcher.acknowledge(1, 1), false, "the try under way decides");
	dispatcher.settle(first, 2, NAK);
	clock.advance(5000);
	dispatcher.settle(take(), 3, NAK);
	await settled();
	assert.deepEqual(
		parked.map(({ sequence }) => sequence),
		[1],
		"the head of the line is parked",
	);
	assert.equal(take().sequence, 2);
});

test("failures of the mesh go first where the strategy says so", () => {
	for (const [kind, expected] of [
		["priority", [2, 4, 1, 3]],
		["plain", [1, 2, 3, 4]],
	] as const) {
		const { dispatcher, take } = house({}, kind);
		offer(dispatcher, 1, { priority: 7 });
		offer(dispatcher, 2, { priority: 8 });
		offer(dispatcher, 3);
		offer(dispatcher, 4, { priority: 9 });
		assert.deepEqual(
			Array.from({ length: 4 }, () => take().sequence),
			expected,
		);
	}
});

test("dead letters that are tried again go before live events, once each", async () => {
	const { dispatcher, take, parked } = house();
	offer(dispatcher, 10);
	const json = Buffer.from("{}");
	const outcomes = [1, 2].map((sequence) => dispatcher.replay({ sequence, receivedAtMs: 0, json }, {}, 3));
	const [one, two, live] = [take(), take(), take()];
	assert.deepEqual([one.sequence, two.sequence, live.sequence], [1, 2, 10]);
	dispatcher.settle(one, 4, ACK);
	dispatcher.settle(two, 4, NAK);
	assert.deepEqual(await Promise.all(outcomes), ["recovered", "failed"]);
	assert.equal(parked[0]?.failure.attempts, 4);
});

test("what is settled counts as kept once its dead letter is gone, or is there", async () => {
	const removals: ((isGone: boolean) => void)[] = [];
	const { dispatcher, parked, take } = house(
		{},
		"plain",
		() => true,
		() => new Promise((resolve) => removals.push(resolve)),
	);
	for (const isGone of [true, false]) {
		const outcome = dispatcher.replay({ sequence: 1, receivedAtMs: 0, json: Buffer.from("{}") }, {}, 3);
		const entry = take();
		dispatcher.settle(entry, entry.attempts, ACK);
		let kept: boolean | undefined;
		const saved = dispatcher.saved().then((isKept) => {
			kept = isKept;
		});
		await new Promise((resolve) => setImmediate(resolve));
		assert.equal(kept, undefined);
		removals.pop()?.(isGone);
		await saved;
		assert.equal(kept, isGone);
		assert.equal(await outcome, isGone ? "recovered" : "failed");
	}
	offer(dispatcher, 2);
	const entry = take();
	dispatcher.settle(entry, entry.attempts, { kind: "term", reason: "never" });
	assert.equal(await dispatcher.saved(), true);
	assert.equal(parked.length, 1);
});

test("a rate delays what is taken, and calls when it may go on", async () => {
	const { clock, dispatcher, take } = house({ rate: { perSecond: 10, burst: 2 } });
	let calls = 0;
	dispatcher.onReady = () => {
		calls++;
	};
	for (let sequence = 1; sequence <= 5; sequence++) offer(dispatcher, sequence);
	await settled();
	take();
	take();
	assert.equal(dispatcher.take(), undefined);
	const before = calls;
	clock.advance(100);
	await settled();
	assert.equal(calls, before + 1);
	take();
	assert.equal(dispatcher.take(), undefined);
});

test("progress is a position and what is open, whatever the order of acknowledgements", async () => {
	const { dispatcher, take, open, saved } = house();
	for (let sequence = 3; sequence <= 8; sequence++) offer(dispatcher, sequence);
	const entries = Array.from({ length: 5 }, take);
	for (const at of [4, 1, 3]) dispatcher.settle(entries[at] as Entry, 1, ACK);
	dispatcher.advance(20);
	await dispatcher.saved();
	assert.equal(saved.at(-1)?.position, 20);
	assert.deepEqual(open(), [
		{ sequence: 3, attempts: 1, waitMs: 0 },
		{ sequence: 5, attempts: 1, waitMs: 0 },
		{ sequence: 8, attempts: 0, waitMs: 0 },
	]);
});

test("any number of late acknowledgements leaves room for what waits", () => {
	const { clock, dispatcher, take } = house({ attempts: 100, window: 4 });
	const later: Verdict = { kind: "nak", reason: "later", delayMs: 3_600_000 };
	offer(dispatcher, 1);
	dispatcher.settle(take(), 1, later);
	for (let sequence = 2; sequence <= 70_000; sequence++) {
		offer(dispatcher, sequence);
		dispatcher.settle(take(), 1, later);
		assert.ok(dispatcher.acknowledge(sequence, 1));
	}
	offer(dispatcher, 80_000);
	dispatcher.settle(take(), 1, later);
	clock.advance(3_600_000);
	assert.deepEqual([take().sequence, take().sequence, dispatcher.take()], [1, 80_000, undefined]);
});

test("an event that is open and a dead letter as well, after a seek or a crash, is delivered beside the replay, and each answer is to its own", async () => {
	for (const kind of ["plain", "keyed"] as const) {
		const { clock, dispatcher, take } = house({}, kind);
		offer(dispatcher, 1);
		const outcome = dispatcher.replay({ sequence: 1, receivedAtMs: 0, json: Buffer.from("{}") }, {}, 3);
		const [letter, live] = [take(), take()];
		assert.deepEqual([letter.attempts, live.attempts], [4, 1], kind);
		assert.equal(dispatcher.find(1, 4), letter);
		assert.equal(dispatcher.find(1, 1), live);
		dispatcher.settle(live, 1, NAK);
		clock.advance(1000);
		assert.equal(take(), live, "it is due while the replay is under way");
		assert.ok(dispatcher.acknowledge(1, 2));
		assert.equal(dispatcher.openSize, 0);
		assert.ok(dispatcher.acknowledge(1, 4));
		assert.equal(await outcome, "recovered");
	}
});

test("events that are acknowledged late, while they are ready again, take no place from those behind them", () => {
	for (const kind of ["plain", "keyed", "priority"] as const) {
		const { clock, dispatcher, take } = house({ window: WINDOW_MAX, ackWaitMs: 2000 }, kind);
		for (let sequence = 1; sequence <= WINDOW_MAX; sequence++) assert.ok(offer(dispatcher, sequence));
		for (let n = 0; n < WINDOW_MAX; n++) take();
		clock.advance(3000);
		assert.equal(dispatcher.readySize, WINDOW_MAX);
		for (let sequence = 1; sequence <= WINDOW_MAX; sequence++) assert.ok(dispatcher.acknowledge(sequence, 1));
		for (let sequence = WINDOW_MAX + 1; sequence <= 2 * WINDOW_MAX; sequence++) assert.ok(offer(dispatcher, sequence));
		for (let sequence = WINDOW_MAX + 1; sequence <= 2 * WINDOW_MAX; sequence++) assert.equal(take().sequence, sequence, kind);
	}
});

test("no more dead letters are under way than there is room for, however often a replay is asked for", async () => {
	const { dispatcher, take } = house();
	const replay = (sequence: number): Promise<ReplayOutcome> => dispatcher.replay({ sequence, receivedAtMs: 0, json: Buffer.from("{}") }, {}, 3);
	const outcomes = Array.from({ length: REPLAY_WINDOW }, (_, i) => replay(i + 1));
	let outcome: ReplayOutcome | undefined;
	void replay(1000).then((told) => {
		outcome = told;
	});
	await settled();
	assert.equal(outcome, "gone");
	const first = take();
	dispatcher.settle(first, first.attempts, ACK);
	assert.equal(await outcomes[0], "recovered");
	void replay(1000);
	assert.equal(dispatcher.readySize, REPLAY_WINDOW);
});

test("what could not be parked before the process ended waits for nothing after it", async () => {
	const { dispatcher, take, open } = house({ ackWaitMs: 3_600_000 }, "plain", () => false);
	offer(dispatcher, 1);
	dispatcher.settle(take(), 1, { kind: "term", reason: "never" });
	await dispatcher.saved();
	assert.deepEqual(open(), [{ sequence: 1, attempts: 1, waitMs: 0 }]);
});

test("a dead letter that is being written when it is closed is waited for, and its event does not come again", async () => {
	const parking = Promise.withResolvers<void>();
	const { dispatcher, take, open } = house({}, "plain", () => parking.promise.then(() => true));
	offer(dispatcher, 1);
	offer(dispatcher, 2);
	dispatcher.settle(take(), 1, { kind: "term", reason: "never" });
	const closing = dispatcher.close();
	await settled();
	parking.resolve();
	await closing;
	assert.deepEqual(open(), [{ sequence: 2, attempts: 0, waitMs: 0 }]);
});
