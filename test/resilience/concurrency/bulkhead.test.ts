import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Deadline, DeadlineWheel } from "../../../src/core/deadline-wheel.ts";
import { seededRng } from "../../../src/core/rng.ts";
import type { ConcurrencyPolicy } from "../../../src/policy/resilience-policy.ts";
import { Bulkhead, type SlotWaiter } from "../../../src/resilience/concurrency/bulkhead.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { concurrencyPolicy } from "./policies.ts";

describe("a bulkhead", () => {
	it("lets as many in as its limit says, has others wait, and refuses who is beyond the queue", () => {
		const { bulkhead, waiter } = new Bench({ limitMax: 2, pendingMax: 1 });
		assert.deepEqual(
			[waiter(), waiter(), waiter(), waiter()].map((w) => bulkhead.enter(w)),
			["entered", "entered", "waiting", "full"],
		);
		assert.deepEqual(bulkhead.view(), { limit: 2, active: 2, pending: 1 });
	});

	it("refuses at once where nobody may wait", () => {
		const { bulkhead, waiter } = new Bench({ limitMax: 1, pendingMax: 0 });
		bulkhead.enter(waiter());
		assert.equal(bulkhead.enter(waiter()), "full");
	});

	it("serves in order of arrival, past those who left from the middle", () => {
		const { bulkhead, waiter, told } = new Bench({ limitMax: 1 });
		bulkhead.enter(waiter("first"));
		const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => waiter(name)) as [TestWaiter, TestWaiter, TestWaiter, TestWaiter];
		for (const w of [a, b, c, d]) bulkhead.enter(w);
		bulkhead.leave(1, false);
		bulkhead.cancel(c);
		bulkhead.cancel(c);
		bulkhead.enter(c);
		for (let i = 0; i < 3; i++) bulkhead.leave(1, false);
		assert.deepEqual(told, ["a got in", "b got in", "d got in", "c got in"]);
		bulkhead.leave(1, false);
		assert.deepEqual(bulkhead.view(), { limit: 1, active: 0, pending: 0 });
	});

	it("tells who has waited too long, once, and keeps its deadline quiet otherwise", () => {
		const { bulkhead, waiter, told, clock } = new Bench({ limitMax: 1, pendingTimeoutMs: 500 });
		bulkhead.enter(waiter("first"));
		bulkhead.enter(waiter("patient"));
		clock.advance(450);
		assert.deepEqual(told, []);
		clock.advance(200);
		assert.deepEqual(told, ["patient waited in vain"]);
		const served = waiter("served");
		const gone = waiter("gone");
		bulkhead.enter(served);
		bulkhead.enter(gone);
		bulkhead.cancel(gone);
		bulkhead.leave(1, false);
		assert.deepEqual(
			[served, gone].map((w) => w.slotDeadline.dueTick),
			[Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
		);
		clock.advance(10_000);
		bulkhead.expire(served);
		bulkhead.expire(gone);
		assert.deepEqual(told, ["patient waited in vain", "served got in"]);
	});

	it("lets nobody overtake who waits", () => {
		const { bulkhead, waiter, told } = new Bench({ limitMax: 1 });
		bulkhead.enter(waiter("first"));
		const late = waiter("late");
		// Gives its slot back at once: while the next in the queue has not been served yet, somebody new arrives.
		const brief = waiter("brief", () => {
			bulkhead.leave(1, false);
			assert.equal(bulkhead.enter(late), "waiting");
		});
		bulkhead.enter(brief);
		bulkhead.enter(waiter("second"));
		bulkhead.leave(1, false);
		bulkhead.leave(1, false);
		assert.deepEqual(told, ["brief got in", "second got in", "late got in"]);
	});

	it("serves a chain of 100,000 who give their slots back at once without growing the stack", () => {
		const { bulkhead, waiter, told } = new Bench({ limitMax: 1, pendingMax: 100_000 });
		bulkhead.enter(waiter("first"));
		let depth = 0;
		let deepest = 0;
		for (let i = 0; i < 100_000; i++) {
			const brief = waiter(`w${i}`, () => {
				deepest = Math.max(deepest, ++depth);
				bulkhead.leave(Number.NaN, true);
				depth--;
			});
			bulkhead.enter(brief);
		}
		bulkhead.leave(1, false);
		assert.equal(told.length, 100_000);
		assert.equal(deepest, 1);
		assert.deepEqual(bulkhead.view(), { limit: 1, active: 0, pending: 0 });
		for (const name of ["one more", "and another"]) bulkhead.enter(waiter(name));
		bulkhead.leave(1, false);
		assert.equal(told.at(-1), "and another got in");
	});

	it("goes on serving after one of those who got in has thrown", () => {
		const { bulkhead, waiter, told } = new Bench({ limitMax: 1 });
		bulkhead.enter(waiter("first"));
		bulkhead.enter(
			waiter("broken", () => {
				throw new Error("a fault of the exchange");
			}),
		);
		bulkhead.enter(waiter("next"));
		assert.throws(() => bulkhead.leave(1, false), /a fault of the exchange/);
		bulkhead.leave(1, false);
		assert.deepEqual(told, ["broken got in", "next got in"]);
	});

	it("gives slots that a new limit brings to those who wait, and takes none away", () => {
		const { bulkhead, waiter, told, policy } = new Bench({ limitMax: 1 });
		bulkhead.enter(waiter("first"));
		for (const name of ["a", "b", "c"]) bulkhead.enter(waiter(name));
		bulkhead.configure({ ...policy, limitMax: 3 });
		assert.deepEqual(told, ["a got in", "b got in"]);
		bulkhead.configure({ ...policy, limitMax: 1 });
		assert.deepEqual(bulkhead.view(), { limit: 1, active: 3, pending: 1 });
		bulkhead.leave(1, false);
		bulkhead.leave(1, false);
		assert.equal(told.length, 2);
		bulkhead.leave(1, false);
		assert.deepEqual(told, ["a got in", "b got in", "c got in"]);
	});

	it("changes between a fixed and an adaptive limit without losing count", () => {
		const { bulkhead, waiter, policy } = new Bench({ limitMax: 50 });
		for (let i = 0; i < 10; i++) bulkhead.enter(waiter());
		bulkhead.configure({ ...policy, kind: "adaptive" });
		assert.deepEqual(bulkhead.view(), { limit: 3, active: 10, pending: 0 });
		bulkhead.configure(policy);
		for (let i = 0; i < 10; i++) bulkhead.leave(1, false);
		assert.deepEqual(bulkhead.view(), { limit: 50, active: 0, pending: 0 });
	});

	it("refuses a slot that nobody had, and a waiter that waits already", () => {
		const { bulkhead, waiter } = new Bench({ limitMax: 1 });
		assert.throws(() => bulkhead.leave(1, false), /a slot was given back that nobody had/);
		bulkhead.enter(waiter());
		const twice = waiter();
		bulkhead.enter(twice);
		assert.throws(() => bulkhead.enter(twice), /stands in the queue already/);
	});

	it("keeps its promises over 100,000 random operations", () => {
		const rng = seededRng(3);
		const { bulkhead, waiter, clock } = new Bench({ limitMax: 4, pendingMax: 8, pendingTimeoutMs: 100 });
		const inside: TestWaiter[] = [];
		const queue: TestWaiter[] = [];
		for (let i = 0; i < 100_000; i++) {
			const draw = rng();
			if (draw < 0.45) {
				const w = waiter(`w${i}`, () => {
					assert.equal(queue.shift(), w, "not the first");
					inside.push(w);
				});
				w.onExpired = () => void queue.splice(queue.indexOf(w), 1);
				const entry = bulkhead.enter(w);
				assert.equal(entry, inside.length < 4 ? "entered" : queue.length < 8 ? "waiting" : "full");
				if (entry === "entered") inside.push(w);
				else if (entry === "waiting") queue.push(w);
			} else if (draw < 0.8 && inside.length > 0) {
				inside.pop();
				bulkhead.leave(1, rng() < 0.5);
			} else if (draw < 0.9 && queue.length > 0) {
				const [gone] = queue.splice(Math.floor(rng() * queue.length), 1) as [TestWaiter];
				bulkhead.cancel(gone);
			} else if (draw > 0.97) clock.advance(60);
			assert.deepEqual(bulkhead.view(), { limit: 4, active: inside.length, pending: queue.length });
			assert.ok(queue.length === 0 || inside.length === 4, "somebody waits while there is room");
		}
	});
});

class TestWaiter implements SlotWaiter {
	readonly slotDeadline: Deadline;
	onExpired = (): void => {};
	readonly #name: string;
	readonly #told: string[];
	readonly #then: () => void;

	constructor(name: string, bench: Bench, then: () => void) {
		this.#name = name;
		this.#told = bench.told;
		this.#then = then;
		this.slotDeadline = bench.wheel.deadline(() => bench.bulkhead.expire(this));
	}

	onSlot(): void {
		this.#told.push(`${this.#name} got in`);
		this.#then();
	}

	onNoSlot(): void {
		this.#told.push(`${this.#name} waited in vain`);
		this.onExpired();
	}
}

class Bench {
	readonly clock = new FakeClock();
	readonly wheel = new DeadlineWheel(this.clock);
	readonly told: string[] = [];
	readonly policy: ConcurrencyPolicy;
	readonly bulkhead: Bulkhead;

	constructor(changes: Partial<ConcurrencyPolicy> = {}) {
		this.policy = concurrencyPolicy(changes);
		this.bulkhead = new Bulkhead(this.policy, { clock: this.clock, rng: seededRng(1) });
	}

	readonly waiter = (name = "somebody", then: () => void = () => {}): TestWaiter => new TestWaiter(name, this, then);
}
