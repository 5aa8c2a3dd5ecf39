/** `overflow: queue`: requests over the rate wait for it, through bottleneck, on a clock that only the test moves. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import Bottleneck from "bottleneck";
import { seededRng } from "../../src/core/rng.ts";
import { type LimitSet, WAITING } from "../../src/limits/limit-set.ts";
import { LimiterRegistry } from "../../src/limits/limiter-registry.ts";
import type { Turn } from "../../src/limits/turn.ts";
import { WaitQueues } from "../../src/limits/wait-queues.ts";
import type { RateLimitPolicy } from "../../src/policy/resilience-policy.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { eventually } from "../support/processes.ts";
import { policyOf, subjectOf, Waiter } from "./support.ts";

function queueing(overrides: Partial<RateLimitPolicy> = {}, queuedMax = 10, waitMaxMs = 60_000): RateLimitPolicy {
	return policyOf({ name: "shaped", burst: 1, overflow: { kind: "queue", queuedMax, waitMaxMs, priorityHeader: "x-priority" }, ...overrides });
}

/** Time goes by, but timers do not run, as in a process that gets no CPU. */
class StandingClock extends FakeClock {
	#stoodMs = 0;

	override monotonicMs(): number {
		return super.monotonicMs() + this.#stoodMs;
	}

	standStill(ms: number): void {
		this.#stoodMs += ms;
	}
}

class Room {
	readonly clock = new StandingClock();
	readonly registry = new LimiterRegistry({ clock: this.clock, rng: seededRng(1), service: "checkout", stores: undefined, onExceeded: () => {} });
	readonly set: LimitSet;
	readonly #others: number;

	/** `others`: timers that have nothing to do with the queue. */
	constructor(policies: RateLimitPolicy[], others = 0) {
		this.set = this.registry.limitSet("inbound", [{ place: "inbound", policies }]);
		this.#others = others;
	}

	enter(caller: string, priority?: string): Waiter {
		const waiter = new Waiter();
		const verdict = this.set.enter(subjectOf(caller, priority === undefined ? {} : { "x-priority": priority }), waiter, this.clock.monotonicMs());
		if (verdict === undefined) waiter.onAdmitted();
		else if (verdict !== WAITING) waiter.onLimited(verdict);
		return waiter;
	}

	/** The first ticket has come through bottleneck, and waits for its token: one timer more than there are requests. */
	async atGate(queues = 1): Promise<void> {
		await eventually("a ticket waits for a token", async () => this.clock.pendingTimers === this.set.waiting + queues + this.#others);
	}

	/** Nothing is left in any queue, not even in bottleneck's. */
	async empty(): Promise<void> {
		assert.equal(this.set.waiting, 0);
		await eventually("nothing waits", async () => this.clock.pendingTimers === this.#others);
	}
}

function outcomes(waiters: readonly Waiter[]): string[] {
	return waiters.map(({ outcome }) => (typeof outcome === "object" ? outcome.reason : outcome));
}

describe("a limit that queues", () => {
	test("admits what is within its rate at once, and the rest at its rate, in order", async () => {
		const room = new Room([queueing({ requestsPerSecond: 10, burst: 2 })]);
		const waiters = [1, 2, 3, 4, 5].map(() => room.enter("a"));
		assert.deepEqual(outcomes(waiters), ["admitted", "admitted", "waiting", "waiting", "waiting"]);
		for (let i = 2; i < 5; i++) {
			await room.atGate();
			room.clock.advance(99);
			assert.equal(waiters[i]?.outcome, "waiting");
			room.clock.advance(1);
			assert.equal(waiters[i]?.outcome, "admitted");
		}
		await room.empty();
		assert.deepEqual(
			waiters.map(({ calls }) => calls),
			[1, 1, 1, 1, 1],
		);
		const [view] = room.set.views();
		assert.deepEqual([view?.admitted, view?.queued, view?.waiting, view?.rejected], [5, 3, 0, 0]);
	});

	test("does not keep one key waiting for another", async () => {
		const room = new Room([queueing()]);
		room.enter("a");
		const behind = room.enter("a");
		assert.equal(room.enter("b").outcome, "admitted");
		await room.atGate();
		room.clock.advance(100);
		assert.equal(behind.outcome, "admitted");
	});

	test("lets nobody pass those who wait already", async () => {
		const room = new Room([queueing({ requestsPerSecond: 1000, burst: 1 })]);
		const waiters = [room.enter("a"), room.enter("a")];
		// A token is there, bottleneck has not let the ticket through yet: the newcomer must not take it.
		room.clock.advance(1);
		const late = room.enter("a");
		assert.equal(late.outcome, "waiting");
		await waiters[1]?.settled;
		assert.deepEqual(outcomes([...waiters, late]), ["admitted", "admitted", "waiting"]);
	});

	test("puts those with a lower number first, the middle where the header says nothing", async () => {
		const room = new Room([queueing()]);
		room.enter("a");
		const order: string[] = [];
		void room.enter("a", "9").settled.then(() => order.push("9 first"));
		await room.atGate();
		for (const priority of ["9", "5", "0", "nonsense", "10", "4", "6"]) {
			const waiter = room.enter("a", priority);
			void waiter.settled.then(() => order.push(priority));
		}
		for (let i = 0; i < 8; i++) {
			await room.atGate();
			room.clock.advance(100);
		}
		await room.empty();
		assert.deepEqual(order.splice(-2), ["9 first", "9"]);
		assert.deepEqual(order, ["0", "4", "5", "nonsense", "10", "6"]);
	});

	test("refuses at once where the queue is full, and says when it will have been served", async () => {
		const room = new Room([queueing({}, 2)], 1);
		room.enter("a");
		const waiting = [room.enter("a"), room.enter("a")];
		const refused = room.enter("a");
		assert.ok(typeof refused.outcome === "object");
		assert.equal(refused.outcome.reason, "rate_limited");
		assert.equal(refused.outcome.retryAfterMs, 300);
		assert.deepEqual(outcomes(waiting), ["waiting", "waiting"]);
	});

	test("gives up after the longest wait, and the token goes to who comes next", async () => {
		const room = new Room([queueing({ requestsPerSecond: 0.5 }, 10, 1000)], 1);
		room.enter("a");
		const waiter = room.enter("a");
		room.clock.advance(999);
		assert.equal(waiter.outcome, "waiting");
		room.clock.advance(1);
		assert.deepEqual(outcomes([waiter]), ["queue_timeout"]);
		room.clock.advance(1000);
		assert.equal(room.enter("a").outcome, "admitted");
		assert.equal(room.set.views()[0]?.timedOut, 1);
		assert.equal(waiter.calls, 1);
	});

	test("gives back what the limits before it have taken, when the wait ends badly", async () => {
		const before = policyOf({ name: "before", requestsPerSecond: 0.001, burst: 4, key: [{ kind: "global" }] });
		const room = new Room([before, queueing({ requestsPerSecond: 0.5 }, 10, 1000)], 1);
		room.enter("a");
		const left = (): unknown => room.set.explain(subjectOf("a"), room.clock.monotonicMs())[0]?.data.remaining;
		assert.equal(left(), 3);
		const [gone, late] = [room.enter("a"), room.enter("a")];
		assert.equal(left(), 1);
		room.set.leave(gone);
		assert.equal(left(), 2);
		room.clock.advance(1000);
		assert.equal(left(), 3);
		assert.deepEqual(outcomes([gone, late]), ["waiting", "queue_timeout"]);
	});

	test("asks the limits behind it once the wait is over", async () => {
		const behind = policyOf({ name: "behind", requestsPerSecond: 0.001, burst: 2, key: [{ kind: "global" }] });
		const room = new Room([queueing(), behind], 0);
		const waiters = [room.enter("a"), room.enter("a"), room.enter("a")];
		await room.atGate();
		room.clock.advance(100);
		assert.deepEqual(outcomes(waiters), ["admitted", "admitted", "waiting"]);
		await room.atGate();
		room.clock.advance(100);
		const last = waiters[2]?.outcome;
		assert.ok(typeof last === "object");
		assert.equal(last.limit, "behind");
		// The queue's own token came back: there is room for the next one.
		assert.equal(room.enter("a").outcome === "waiting", false);
	});

	test("forgets a client that has gone, and leaves nothing behind", async () => {
		const room = new Room([queueing()]);
		room.enter("a");
		const waiters = [room.enter("a"), room.enter("a"), room.enter("a")];
		await room.atGate();
		room.set.leave(waiters[0] ?? assert.fail());
		room.set.leave(waiters[0] ?? assert.fail());
		room.set.leave(new Waiter());
		await room.atGate();
		room.clock.advance(100);
		assert.deepEqual(outcomes(waiters), ["waiting", "admitted", "waiting"]);
		for (const waiter of waiters) room.set.leave(waiter);
		await room.empty();
		room.clock.advance(60_000);
		assert.deepEqual(outcomes(waiters), ["waiting", "admitted", "waiting"], "neither is told afterwards");
		assert.equal(room.enter("a").outcome, "admitted");
	});

	test("holds no more tickets than requests have waited at once, however many come and go", async () => {
		let tickets = 0;
		class Counted extends Bottleneck {
			override schedule = ((...given: Parameters<Bottleneck["schedule"]>) => {
				tickets++;
				return super.schedule(...given);
			}) as Bottleneck["schedule"];
		}
		const clock = new FakeClock();
		const queues = new WaitQueues({
			bottleneck: Promise.resolve(Counted),
			clock,
			tryTake: () => 1000,
			queuedMax: 5,
			waitMaxMs: 10_000,
			requestsPerSecond: 1,
		});
		const turnOf = (): Turn => ({ key: "a", priority: 3, granted: () => assert.fail(), refused: () => assert.fail() });
		const head = turnOf();
		queues.join(head);
		for (let i = 0; i < 1000; i++) {
			const turns = [turnOf(), turnOf(), turnOf(), turnOf()];
			for (const turn of turns) queues.join(turn);
			assert.equal(queues.accepts("a"), false);
			for (const turn of turns) assert.ok(queues.leave(turn));
			if (i === 500) await eventually("a ticket is at the gate", async () => clock.pendingTimers === 2);
		}
		assert.ok(queues.leave(head));
		assert.equal(queues.leave(head), false);
		await eventually("the queue is gone", async () => clock.pendingTimers === 0);
		assert.equal(tickets, 5);
		assert.equal(queues.waitingTotal, 0);
	});

	test("loses no token to a late timer, though the bucket holds but one, and makes up for no more than 50 ms", async () => {
		const room = new Room([queueing({ requestsPerSecond: 1000 }, 500)]);
		const waiters = Array.from({ length: 300 }, () => room.enter("a"));
		const admitted = (): number => waiters.filter(({ outcome }) => outcome === "admitted").length;
		await room.atGate();
		room.clock.standStill(20);
		room.clock.advance(1);
		await eventually("what has fallen due in 21 ms", async () => admitted() === 1 + 21);
		await room.atGate();
		room.clock.standStill(10_000);
		room.clock.advance(1);
		await eventually("what has fallen due in 50 ms", async () => admitted() >= 1 + 21 + 50);
		await room.atGate();
		assert.ok(admitted() <= 1 + 21 + 51, `${admitted()}`);
		for (const waiter of waiters) room.set.leave(waiter);
		await room.empty();
	});

	test("opens a bounded number of queues", () => {
		const queues = new WaitQueues({
			bottleneck: Promise.resolve(Bottleneck),
			clock: new FakeClock(),
			tryTake: () => 1000,
			queuedMax: 5,
			waitMaxMs: 10_000,
			requestsPerSecond: 1,
		});
		let opened = 0;
		for (; queues.accepts(`key ${opened}`) && opened < 5000; opened++) {
			queues.join({ key: `key ${opened}`, priority: 5, granted: () => {}, refused: () => {} });
		}
		assert.equal(opened, 1000);
		assert.equal(queues.accepts("key 7"), true);
	});

	test("says that it is ready once bottleneck is loaded, and at once where nothing needs it", async () => {
		await new Room([policyOf()]).registry.ready();
		await new Room([queueing()]).registry.ready();
	});
});
