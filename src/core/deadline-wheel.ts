/**
 * Coarse shared timers: thousands of deadlines on one timer of the runtime.
 * Moving a deadline later is one assignment; only moving it earlier, or the first arming, touches the wheel.
 */
import type { Clock, Timer } from "./clock.ts";

// 50 ms: the shortest timeout that policy offers is 100 ms, and a tick costs a few microseconds.
const TICK_MS = 50;
// 1,024 slots span 51 s; a deadline further away is looked at once per turn.
const SLOTS = 1024;
const NEVER = Number.POSITIVE_INFINITY;

//            tick % SLOTS
//                 v
// slots: [ ][d d][ ][d]...   a deadline lies in the slot of `queuedTick`; when the slot comes up and
//                            `dueTick` has moved on, it is put down again further ahead.

export class DeadlineWheel {
	readonly #clock: Clock;
	readonly #slots: Deadline[][] = Array.from({ length: SLOTS }, () => []);
	readonly #originMs: number;
	#tick = 0;
	#timer: Timer | undefined;

	constructor(clock: Clock) {
		this.#clock = clock;
		this.#originMs = clock.monotonicMs();
		this.#schedule();
	}

	/**
	 * `fire` runs at most once per arming, never earlier than asked (but for what the runtime's own timer is late, about a millisecond),
	 * at most two ticks (100 ms) late, and later by as long as the event loop stands still.
	 */
	deadline(fire: () => void): Deadline {
		return new Deadline(this, fire);
	}

	stop(): void {
		this.#timer?.cancel();
		this.#timer = undefined;
	}

	/** For `Deadline` alone. */
	arm(deadline: Deadline, delayMs: number): void {
		// +1: the present tick has begun already, so rounding up alone could fire early.
		const dueTick = this.#tick + Math.ceil(delayMs / TICK_MS) + 1;
		deadline.armedTick = this.#tick;
		deadline.dueTick = dueTick;
		if (deadline.queuedTick === NEVER || dueTick < deadline.queuedTick) this.#put(deadline);
	}

	#put(deadline: Deadline): void {
		const queuedTick = Math.min(deadline.dueTick, this.#tick + SLOTS - 1);
		deadline.queuedTick = queuedTick;
		this.#slots[queuedTick % SLOTS]?.push(deadline);
	}

	#schedule(): void {
		// To the next tick, not one tick from now: what the runtime is late must not add up.
		const delayMs = Math.max(0, Math.ceil(this.#originMs + (this.#tick + 1) * TICK_MS - this.#clock.monotonicMs()));
		this.#timer = this.#clock.setTimer(delayMs, () => {
			const target = Math.floor((this.#clock.monotonicMs() - this.#originMs) / TICK_MS);
			if (target - this.#tick > 1) this.#excuse(target - this.#tick - 1);
			// After a long stall (suspended laptop, SIGSTOP) every slot is visited once, not once per missed tick.
			if (target - this.#tick > SLOTS) this.#skipTo(target - SLOTS);
			while (this.#tick < target) this.#turn();
			if (this.#timer !== undefined) this.#schedule();
		});
	}

	/**
	 * Ticks were missed: a long reload, a container out of its share of CPU. What was armed meanwhile counted from a tick that was over,
	 * and would fire long before its time. Counting from a clock instead would cost every arming a look at it.
	 */
	#excuse(missedTicks: number): void {
		for (const slot of this.#slots) {
			for (const deadline of slot) {
				if (deadline.armedTick !== this.#tick) continue;
				deadline.armedTick = NEVER; // it may lie in two slots
				deadline.dueTick += missedTicks;
			}
		}
	}

	#skipTo(tick: number): void {
		const waiting = this.#slots.flat();
		for (const slot of this.#slots) slot.length = 0;
		this.#tick = tick;
		for (const deadline of new Set(waiting)) {
			if (deadline.dueTick === NEVER) deadline.queuedTick = NEVER;
			else {
				deadline.dueTick = Math.max(deadline.dueTick, tick + 1);
				this.#put(deadline);
			}
		}
	}

	#turn(): void {
		this.#tick++;
		const slot = this.#slots[this.#tick % SLOTS];
		if (slot === undefined || slot.length === 0) return;
		this.#slots[this.#tick % SLOTS] = [];
		for (const deadline of slot) {
			if (deadline.queuedTick !== this.#tick) continue; // it was put down again elsewhere
			deadline.queuedTick = NEVER;
			if (deadline.dueTick === NEVER) continue;
			if (deadline.dueTick <= this.#tick) {
				deadline.dueTick = NEVER;
				deadline.fire();
			} else this.#put(deadline);
		}
	}
}

/** One thing that may take too long. Owned by what it guards and reused for its whole life. */
export class Deadline {
	readonly #wheel: DeadlineWheel;
	readonly fire: () => void;
	dueTick = NEVER;
	queuedTick = NEVER;
	armedTick = NEVER;

	constructor(wheel: DeadlineWheel, fire: () => void) {
		this.#wheel = wheel;
		this.fire = fire;
	}

	/** (Re)starts it. */
	arm(delayMs: number): void {
		this.#wheel.arm(this, delayMs);
	}

	disarm(): void {
		this.dueTick = NEVER;
	}
}
