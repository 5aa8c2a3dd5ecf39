/** Deadlines: never early, two ticks late at most, cheap to move, right after a stall. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Deadline, DeadlineWheel } from "../../src/core/deadline-wheel.ts";
import { seededRng } from "../../src/core/rng.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { LateClock } from "./late-clock.ts";

const TICK_MS = 50;
const LATE_MAX_MS = 2 * TICK_MS;
/** What the wheel spans in one turn. */
const TURN_MS = 1024 * TICK_MS;

/** A deadline that notes when it fired. */
function noted(clock: FakeClock | LateClock, wheel: DeadlineWheel): { deadline: Deadline; firedMs: number[] } {
	const firedMs: number[] = [];
	return { deadline: wheel.deadline(() => firedMs.push(clock.monotonicMs())), firedMs };
}

function assertFired(firedMs: readonly number[], armedMs: number, delayMs: number): void {
	assert.equal(firedMs.length, 1, `fired ${firedMs.length} times`);
	const lateMs = (firedMs[0] as number) - armedMs - delayMs;
	assert.ok(lateMs >= 0, `${-lateMs} ms early for a delay of ${delayMs} ms`);
	assert.ok(lateMs <= LATE_MAX_MS, `${lateMs} ms late for a delay of ${delayMs} ms`);
}

describe("a deadline", () => {
	it("fires once, never early and at most two ticks late, wherever in a tick it is armed and however far away it is", () => {
		for (const delayMs of [1, 49, 50, 51, 100, 101, 999, 15_000, TURN_MS - 50, TURN_MS, TURN_MS + 50, 75_000, 3_600_000]) {
			for (const phaseMs of [0, 1, 25, 49, 49.999]) {
				const clock = new FakeClock();
				const wheel = new DeadlineWheel(clock);
				clock.advance(10 * TICK_MS + phaseMs);
				const armedMs = clock.monotonicMs();
				const { deadline, firedMs } = noted(clock, wheel);
				deadline.arm(delayMs);
				clock.advance(delayMs + LATE_MAX_MS);
				assertFired(firedMs, armedMs, delayMs);
				clock.advance(2 * TURN_MS);
				assert.equal(firedMs.length, 1);
			}
		}
	});

	it("counts from its last arming, later or earlier than the one before", () => {
		for (const [firstMs, secondMs] of [
			[1000, 5000],
			[5000, 1000],
			[75_000, 100],
			[100, 75_000],
		] as const) {
			const clock = new FakeClock();
			const { deadline, firedMs } = noted(clock, new DeadlineWheel(clock));
			deadline.arm(firstMs);
			clock.advance(60);
			deadline.arm(secondMs);
			clock.advance(secondMs + LATE_MAX_MS);
			assertFired(firedMs, 60, secondMs);
			clock.advance(2 * TURN_MS);
			assert.equal(firedMs.length, 1);
		}
	});

	it("that is moved later a million times is queued once, not a million times", () => {
		const clock = new FakeClock();
		const wheel = new DeadlineWheel(clock);
		const { deadline, firedMs } = noted(clock, wheel);
		deadline.arm(1000);
		const queuedTick = deadline.queuedTick;
		for (let i = 0; i < 1_000_000; i++) {
			deadline.arm(1000 + i / 1000);
			assert.equal(deadline.queuedTick, queuedTick);
		}
		clock.advance(2000 + LATE_MAX_MS);
		assertFired(firedMs, 0, 1999.999);
	});

	it("does not fire once it is disarmed, and can be armed again", () => {
		const clock = new FakeClock();
		const { deadline, firedMs } = noted(clock, new DeadlineWheel(clock));
		deadline.arm(100);
		deadline.disarm();
		deadline.disarm();
		clock.advance(10_000);
		assert.deepEqual(firedMs, []);
		deadline.arm(100);
		clock.advance(100 + LATE_MAX_MS);
		assertFired(firedMs, 10_000, 100);
	});

	it("may arm itself again from its own call, and disarm one that falls due in the same tick", () => {
		const clock = new FakeClock();
		const wheel = new DeadlineWheel(clock);
		const firedMs: number[] = [];
		const victim = noted(clock, wheel);
		const deadline = wheel.deadline(() => {
			firedMs.push(clock.monotonicMs());
			victim.deadline.disarm();
			if (firedMs.length < 3) deadline.arm(200);
		});
		deadline.arm(200);
		victim.deadline.arm(200);
		clock.advance(10_000);
		assert.equal(firedMs.length, 3);
		assert.deepEqual(victim.firedMs, []);
		for (const [i, atMs] of firedMs.entries()) assertFired([atMs], i === 0 ? 0 : (firedMs[i - 1] as number), 200);
	});
});

describe("the wheel", () => {
	it("holds 10,000 deadlines on one timer and fires each in its time", () => {
		const clock = new FakeClock();
		const wheel = new DeadlineWheel(clock);
		const rng = seededRng(1);
		const all = Array.from({ length: 10_000 }, () => {
			const delayMs = 1 + Math.floor(rng() * 120_000);
			const one = noted(clock, wheel);
			one.deadline.arm(delayMs);
			return { ...one, delayMs };
		});
		assert.equal(clock.pendingTimers, 1);
		clock.advance(120_000 + LATE_MAX_MS);
		for (const { firedMs, delayMs } of all) assertFired(firedMs, 0, delayMs);
	});

	it("agrees with a naive model over random arming, disarming and waiting", () => {
		for (let seed = 1; seed <= 40; seed++) {
			const rng = seededRng(seed);
			const clock = new FakeClock();
			const wheel = new DeadlineWheel(clock);
			// The model: when each one is due, or undefined.
			const dueMs: (number | undefined)[] = new Array(20).fill(undefined);
			const deadlines = dueMs.map((_, i) =>
				wheel.deadline(() => {
					const due = dueMs[i];
					const lateMs = due === undefined ? Number.NaN : clock.monotonicMs() - due;
					assert.ok(lateMs >= 0 && lateMs <= LATE_MAX_MS, `seed ${seed}: deadline ${i} fired ${lateMs} ms late`);
					dueMs[i] = undefined;
				}),
			);
			for (let step = 0; step < 2_000; step++) {
				const i = Math.floor(rng() * deadlines.length);
				const choice = rng();
				if (choice < 0.5) {
					const delayMs = Math.ceil(rng() ** 4 * 130_000) + 1;
					deadlines[i]?.arm(delayMs);
					dueMs[i] = clock.monotonicMs() + delayMs;
				} else if (choice < 0.6) {
					deadlines[i]?.disarm();
					dueMs[i] = undefined;
				} else clock.advance(rng() ** 3 * 3_000);
				for (const due of dueMs) assert.ok(due === undefined || due + LATE_MAX_MS >= clock.monotonicMs(), `seed ${seed}: one is overdue`);
			}
		}
	});

	it("fires everything that fell due during a stall, once, and goes on as before", () => {
		for (const stallMs of [130, 4_000, TURN_MS - 50, TURN_MS + 50, 20 * TURN_MS]) {
			const clock = new LateClock();
			const wheel = new DeadlineWheel(clock);
			const short = noted(clock, wheel);
			const long = noted(clock, wheel);
			const disarmed = noted(clock, wheel);
			const moved = noted(clock, wheel);
			short.deadline.arm(100);
			long.deadline.arm(stallMs + 30_000);
			disarmed.deadline.arm(100);
			moved.deadline.arm(60_000);
			moved.deadline.arm(100); // lies in two slots
			clock.advance(60);
			disarmed.deadline.disarm();
			clock.stall(stallMs);
			clock.runDue();
			assert.deepEqual([short.firedMs.length, moved.firedMs.length, disarmed.firedMs.length, long.firedMs.length], [1, 1, 0, 0], `${stallMs} ms`);
			clock.advance(31_000);
			assertFired(long.firedMs, 0, stallMs + 30_000);
			assert.deepEqual([short.firedMs.length, moved.firedMs.length], [1, 1]);
		}
	});

	it("does not fire early what was armed at the end of a stall, before the wheel noticed it", () => {
		for (const stallMs of [120, 1_000, 10_000, 3 * TURN_MS]) {
			for (const delayMs of [100, 1_000, 60_000]) {
				const clock = new LateClock();
				const wheel = new DeadlineWheel(clock);
				const { deadline, firedMs } = noted(clock, wheel);
				clock.advance(TICK_MS + 10);
				clock.stall(stallMs);
				const armedMs = clock.monotonicMs();
				deadline.arm(75_000);
				deadline.arm(delayMs);
				clock.runDue();
				clock.advance(delayMs + 2 * LATE_MAX_MS);
				assert.equal(firedMs.length, 1, `stall ${stallMs}, delay ${delayMs}`);
				const afterMs = (firedMs[0] as number) - armedMs;
				// Within the tick that the stall ended in, nobody knows when it was armed.
				assert.ok(afterMs >= delayMs - TICK_MS, `after ${afterMs} ms instead of ${delayMs}, stall ${stallMs}`);
			}
		}
	});

	it("does not drift when its timer is late again and again", () => {
		const clock = new LateClock();
		const { deadline, firedMs } = noted(clock, new DeadlineWheel(clock));
		deadline.arm(60_000);
		for (let at = 0; at < 60_000 + LATE_MAX_MS + 20; at += 20) {
			clock.stall(20);
			clock.runDue();
		}
		assert.equal(firedMs.length, 1);
		const lateMs = (firedMs[0] as number) - 60_000;
		assert.ok(lateMs >= 0 && lateMs <= LATE_MAX_MS + 20, `${lateMs} ms late`);
	});

	it("fires nothing after it was stopped, and holds no timer", () => {
		const clock = new FakeClock();
		const wheel = new DeadlineWheel(clock);
		const { deadline, firedMs } = noted(clock, wheel);
		deadline.arm(100);
		clock.advance(60);
		wheel.stop();
		wheel.stop();
		assert.equal(clock.pendingTimers, 0);
		clock.advance(10_000);
		assert.deepEqual(firedMs, []);
	});

	it("may be stopped by one of its deadlines", () => {
		const clock = new FakeClock();
		const wheel = new DeadlineWheel(clock);
		wheel.deadline(() => wheel.stop()).arm(100);
		clock.advance(1_000);
		assert.equal(clock.pendingTimers, 0);
	});
});
