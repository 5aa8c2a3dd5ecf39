/** The limits of one place, in the order of the file: a request passes all of them, or meets the first that refuses. */
import type { LimitSubject } from "./limit-key.ts";
import type { Direction, ExplainedLimit, Limited, LimiterView, Taken } from "./limited.ts";
import { FULL, type Limiter, ROOM, WAIT } from "./limiter.ts";
import type { Refusal, Turn } from "./turn.ts";

export type { LimitSubject } from "./limit-key.ts";
export type { Direction, Limited, LimiterView } from "./limited.ts";

/** Who waits: exactly one of both is called, once, never before `enter` has returned; neither after `leave`. */
export interface LimitWaiter {
	onAdmitted(): void;
	onLimited(limited: Limited): void;
}

/** The request waits: in a queue, or for the answer of a shared store. */
export const WAITING: unique symbol = Symbol("waiting");

export class LimitSet {
	readonly direction: Direction;
	readonly limiters: readonly Limiter[];
	readonly #waiting = new Map<LimitWaiter, Waiting>();

	constructor(direction: Direction, limiters: readonly Limiter[]) {
		this.direction = direction;
		this.limiters = limiters;
	}

	/**
	 * Admitted (undefined), refused, or waiting. All limits are looked at before a token is taken, so a refusal costs none. Where a limit
	 * makes the request wait, the tokens of those before it are taken, and given back if the wait ends badly; those behind it are looked at
	 * afterwards. `nowMs`: monotonic.
	 */
	enter(subject: LimitSubject, waiter: LimitWaiter, nowMs: number): undefined | Limited | typeof WAITING {
		const { limiters } = this;
		for (let i = 0; i < limiters.length; i++) {
			const limiter = limiters[i];
			const verdict = limiter?.judge(subject, nowMs);
			if (verdict === FULL) return limiter?.refuse(nowMs);
			if (verdict === WAIT) return this.#wait(i, subject, waiter, nowMs);
		}
		for (let i = 0; i < limiters.length; i++) limiters[i]?.take(nowMs);
		return undefined;
	}

	/** The client has gone while its request waited. Idempotent. */
	leave(waiter: LimitWaiter): void {
		const waiting = this.#waiting.get(waiter);
		if (waiting === undefined) return;
		this.#waiting.delete(waiter);
		waiting.leave();
	}

	/** What each limit would say of this request; takes nothing. */
	explain(subject: LimitSubject, nowMs: number): ExplainedLimit[] {
		return this.limiters.map((limiter) => limiter.explain(subject, nowMs));
	}

	views(): LimiterView[] {
		return this.limiters.map((limiter) => limiter.view());
	}

	/** Requests that wait at one of its limits. */
	get waiting(): number {
		return this.#waiting.size;
	}

	#wait(at: number, subject: LimitSubject, waiter: LimitWaiter, nowMs: number): typeof WAITING {
		const waiting = new Waiting(this.limiters, at, subject, waiter, this.#waiting);
		this.#waiting.set(waiter, waiting);
		waiting.begin(nowMs);
		return WAITING;
	}
}

/** One request on its way through limits that make it wait, one after the other. */
class Waiting implements Turn {
	key = "";
	priority = 0;
	readonly #limiters: readonly Limiter[];
	readonly #keys: readonly string[];
	readonly #priorities: readonly number[];
	readonly #taken: Taken[] = [];
	readonly #waiter: LimitWaiter;
	readonly #registry: Map<LimitWaiter, Waiting>;
	#at: number;

	constructor(limiters: readonly Limiter[], at: number, subject: LimitSubject, waiter: LimitWaiter, registry: Map<LimitWaiter, Waiting>) {
		this.#limiters = limiters;
		this.#at = at;
		this.#keys = limiters.map((limiter) => limiter.keyOf(subject));
		this.#priorities = limiters.map((limiter) => limiter.priorityOf(subject));
		this.#waiter = waiter;
		this.#registry = registry;
	}

	/** The limits before `at` have just been judged and have room; that at `at` has said `WAIT`. */
	begin(nowMs: number): void {
		for (let i = 0; i < this.#at; i++) {
			const taken = this.#limiters[i]?.takeForNow(nowMs);
			if (taken !== undefined) this.#taken.push(taken);
		}
		this.#waitHere();
	}

	leave(): void {
		this.#limiters[this.#at]?.leave(this);
		this.#giveBack();
	}

	granted(nowMs: number): void {
		const taken = this.#limiters[this.#at]?.granted(this);
		if (taken !== undefined) this.#taken.push(taken);
		for (this.#at++; this.#at < this.#limiters.length; this.#at++) {
			const limiter = this.#limiters[this.#at];
			const verdict = limiter?.judgeKey(this.#keys[this.#at] ?? "", nowMs);
			if (verdict === WAIT) {
				this.#waitHere();
				return;
			}
			if (verdict === FULL) {
				this.#end(limiter?.refuse(nowMs));
				return;
			}
			if (verdict === ROOM && limiter !== undefined) this.#taken.push(limiter.takeForNow(nowMs));
		}
		this.#end(undefined);
	}

	refused(refusal: Refusal): void {
		const limiter = this.#limiters[this.#at];
		if (limiter?.waitsOn(this, refusal) !== true) this.#end(limiter?.limited(this.key, refusal));
	}

	#waitHere(): void {
		this.key = this.#keys[this.#at] ?? "";
		this.priority = this.#priorities[this.#at] ?? 0;
		this.#limiters[this.#at]?.wait(this);
	}

	#end(limited: Limited | undefined): void {
		this.#registry.delete(this.#waiter);
		if (limited === undefined) this.#waiter.onAdmitted();
		else {
			this.#giveBack();
			this.#waiter.onLimited(limited);
		}
	}

	#giveBack(): void {
		for (const [i, taken] of this.#taken.entries()) this.#limiters[i]?.giveBack(taken);
		this.#taken.length = 0;
	}
}
