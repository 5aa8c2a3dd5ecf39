/** How many requests may be under way to a whole upstream: a number of slots, and a bounded queue for who must wait for one. */
import type { Clock } from "../../core/clock.ts";
import type { Deadline } from "../../core/deadline-wheel.ts";
import type { Rng } from "../../core/rng.ts";
import type { ConcurrencyPolicy } from "../../policy/resilience-policy.ts";
import { GradientLimit } from "./gradient.ts";

/** Somebody who wants a slot. It may stand in the queue once at a time. */
export interface SlotWaiter {
	/** Owned by the waiter; when it fires, the waiter calls `Bulkhead.expire`. */
	readonly slotDeadline: Deadline;
	/** A slot is its own now, and owed: `leave` gives it back. */
	onSlot(): void;
	/** It has waited for `pendingTimeoutMs` in vain. */
	onNoSlot(): void;
}

export interface BulkheadView {
	readonly limit: number;
	readonly active: number;
	readonly pending: number;
	/** Latency without load, where the limit is adaptive and it was measured. */
	readonly minRttMs?: number;
}

export interface BulkheadDeps {
	readonly clock: Clock;
	readonly rng: Rng;
}

export class Bulkhead {
	readonly #deps: BulkheadDeps;
	#policy: ConcurrencyPolicy;
	#gradient: GradientLimit | undefined;
	#limit = 0;
	#active = 0;
	/** In order of arrival; a Set, because a waiter may leave from the middle. */
	readonly #waiters = new Set<SlotWaiter>();
	/**
	 * Stands before the first waiter. The iterator of a Set goes on to what was added meanwhile, so one is kept: a new one for each
	 * waiter would step over all that have left (4.4 us with 10,000 waiters, against 0.05). It is let go when somebody leaves from the
	 * middle: an iterator that is never moved on, while waiters come and time out, would hold every old table of the Set.
	 */
	#inOrder: SetIterator<SlotWaiter> | undefined;
	#serving = false;

	constructor(policy: ConcurrencyPolicy, deps: BulkheadDeps) {
		this.#policy = policy;
		this.#deps = deps;
		this.#applyPolicy(policy);
	}

	/**
	 * `entered`: a slot is taken, and owed (`leave`). `waiting`: `onSlot` or `onNoSlot` follows, never before this returns. `full`: neither.
	 * Throws where the waiter waits already.
	 */
	enter(waiter: SlotWaiter): "entered" | "waiting" | "full" {
		if (this.#active < this.#limit && this.#waiters.size === 0) {
			this.#active++;
			return "entered";
		}
		if (this.#waiters.size >= this.#policy.pendingMax) return "full";
		if (this.#waiters.has(waiter)) throw new Error("a waiter stands in the queue already");
		this.#waiters.add(waiter);
		waiter.slotDeadline.arm(this.#policy.pendingTimeoutMs);
		return "waiting";
	}

	/** Leaves the queue; nothing is called back. Idempotent, and nothing for who does not wait. */
	cancel(waiter: SlotWaiter): void {
		this.#abandon(waiter);
	}

	/** The waiter's deadline has fired. */
	expire(waiter: SlotWaiter): void {
		if (this.#abandon(waiter)) waiter.onNoSlot();
	}

	/**
	 * Gives one slot back; the first who waits gets it. `latencyMs`: until the answer's head, NaN where nobody knows, which teaches nothing.
	 * `dropped`: failed or timed out. Throws where no slot is out.
	 */
	leave(latencyMs: number, dropped: boolean): void {
		if (this.#active === 0) throw new Error("a slot was given back that nobody had");
		const active = this.#active--;
		if (this.#gradient !== undefined) this.#learn(this.#gradient, dropped ? Number.POSITIVE_INFINITY : latencyMs, active);
		if (this.#waiters.size > 0) this.#serve();
	}

	view(): BulkheadView {
		const minRttMs = this.#gradient?.unloadedMs;
		return { limit: this.#limit, active: this.#active, pending: this.#waiters.size, ...(minRttMs === undefined ? {} : { minRttMs }) };
	}

	/** New limits from now on. Who is under way or waits already stays; what an adaptive limit has learned stays too. */
	configure(policy: ConcurrencyPolicy): void {
		this.#policy = policy;
		this.#applyPolicy(policy);
		this.#serve();
	}

	#applyPolicy(policy: ConcurrencyPolicy): void {
		if (policy.kind === "fixed") this.#gradient = undefined;
		else if (this.#gradient === undefined) this.#gradient = new GradientLimit(policy, this.#deps.rng);
		else this.#gradient.configure(policy);
		this.#limit = this.#gradient?.limit ?? policy.limitMax;
	}

	#learn(gradient: GradientLimit, latencyMs: number, active: number): void {
		if (Number.isNaN(latencyMs)) return;
		gradient.sample(latencyMs, active, this.#deps.clock.monotonicMs());
		this.#limit = gradient.limit;
	}

	/**
	 * Hands out what is free. Whoever gets a slot may give it back at once: that comes here again while it is already at work, and the
	 * loop takes it up, so that a queue that fails from end to end does not grow the stack.
	 */
	#serve(): void {
		if (this.#serving) return;
		this.#serving = true;
		try {
			while (this.#active < this.#limit) {
				const first = this.#shift();
				if (first === undefined) return;
				this.#active++;
				first.onSlot();
			}
		} finally {
			this.#serving = false;
		}
	}

	#shift(): SlotWaiter | undefined {
		this.#inOrder ??= this.#waiters.values();
		const next = this.#inOrder.next();
		if (next.done === true) {
			this.#inOrder = undefined; // one that has come to its end stays there
			return undefined;
		}
		this.#waiters.delete(next.value);
		next.value.slotDeadline.disarm();
		return next.value;
	}

	#abandon(waiter: SlotWaiter): boolean {
		if (!this.#waiters.delete(waiter)) return false;
		waiter.slotDeadline.disarm();
		this.#inOrder = undefined;
		return true;
	}
}
