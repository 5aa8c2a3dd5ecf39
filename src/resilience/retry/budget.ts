/**
 * The retry budget of one upstream: tries beyond the first are a share of its requests plus a few per second, whatever happens.
 * Finagle's RetryBudget (com.twitter.finagle.service) with finer slices, which makes its promise strict: in no stretch of time as long as
 * the window are more tries granted than `ratio` x the requests in that stretch + `minPerSecond` x the window.
 */
import type { RetryBudgetPolicy } from "../../policy/resilience-policy.ts";

/** Parts that a window moves on by: a request counts for 99..100 % of the window, a try for 100..101 %. Finagle has 10. */
const SLICES = 100;

/** Tries are remembered for a slice longer than requests, so that neither end of the window can be used twice. */
const SLOTS = SLICES + 1;

/** Sums are whole numbers of millionths of a try: fractions of 2 would add up to 999.9999 where 1,000 are due. */
const MILLION = 1_000_000;

export class RetryBudget {
	#ratio = 0;
	#reserve = 0;
	#windowMs = 0;
	#originMs = 0;
	#slice = 0;
	#sliceEndMs = 0;
	/** Requests of the slice that is filling, and of those before it. */
	#depositsNow = 0;
	#depositsBefore = 0;
	#withdrawals = 0;
	#slot = 0;
	readonly #depositsOf = new Float64Array(SLOTS);
	readonly #withdrawalsOf = new Float64Array(SLOTS);

	/** `nowMs` here and below: monotonic. Throws a RangeError for a window beyond 1..60 s, or a rate or ratio below 0. */
	constructor(policy: RetryBudgetPolicy, nowMs: number) {
		this.#take(policy, nowMs);
	}

	/** Once for each request of a caller, never for a try after it. */
	deposit(nowMs: number): void {
		if (nowMs >= this.#sliceEndMs) this.#advance(nowMs);
		this.#depositsNow++;
	}

	/** Once for each try after the first, just before it is made; false: it must not be made. A try that was granted is never given back. */
	tryWithdraw(nowMs: number): boolean {
		if (nowMs >= this.#sliceEndMs) this.#advance(nowMs);
		if (this.#left() < MILLION) return false;
		this.#withdrawals++;
		(this.#withdrawalsOf[this.#slot] as number)++;
		return true;
	}

	/** Tries that would be granted now. */
	balance(nowMs: number): number {
		if (nowMs >= this.#sliceEndMs) this.#advance(nowMs);
		return Math.max(0, Math.floor(this.#left() / MILLION));
	}

	/** What the window holds stays and is weighed anew. A window of another length begins empty, but for the tries that are not paid for yet. */
	configure(policy: RetryBudgetPolicy, nowMs: number): void {
		if (nowMs >= this.#sliceEndMs) this.#advance(nowMs);
		const unpaid = Math.max(0, Math.ceil(this.#withdrawals - (this.#ratio * this.#deposits()) / MILLION));
		const sameWindow = policy.windowMs === this.#windowMs;
		this.#take(policy, nowMs);
		if (sameWindow) return;
		this.#depositsOf.fill(0);
		this.#withdrawalsOf.fill(0);
		this.#depositsNow = 0;
		this.#depositsBefore = 0;
		this.#withdrawals = unpaid;
		this.#withdrawalsOf[this.#slot] = unpaid;
	}

	#take(policy: RetryBudgetPolicy, nowMs: number): void {
		const { ratio, minPerSecond, windowMs } = policy;
		if (!(windowMs >= 1000 && windowMs <= 60_000)) throw new RangeError(`a retry budget's window is 1..60 s, not ${windowMs} ms`);
		if (!(ratio >= 0 && ratio < Infinity)) throw new RangeError(`a retry budget's ratio is 0 or more, not ${ratio}`);
		if (!(minPerSecond >= 0 && minPerSecond < Infinity)) throw new RangeError(`a retry budget's minPerSecond is 0 or more, not ${minPerSecond}`);
		this.#ratio = Math.round(ratio * MILLION);
		this.#reserve = Math.round((minPerSecond * windowMs * MILLION) / 1000);
		if (windowMs === this.#windowMs) return;
		this.#windowMs = windowMs;
		this.#originMs = nowMs;
		this.#enter(0);
	}

	#deposits(): number {
		return this.#depositsBefore + this.#depositsNow;
	}

	/** In millionths; below 0 when the requests that paid for tries have left the window before them. */
	#left(): number {
		return this.#reserve + this.#ratio * this.#deposits() - MILLION * this.#withdrawals;
	}

	/** Called once a slice at most. */
	#advance(nowMs: number): void {
		const slice = Math.floor(((nowMs - this.#originMs) * SLICES) / this.#windowMs);
		const steps = Math.min(slice - this.#slice, SLOTS);
		for (let i = 0; i < steps; i++) this.#step();
		this.#enter(slice);
	}

	#enter(slice: number): void {
		this.#slice = slice;
		this.#sliceEndMs = this.#originMs + ((slice + 1) * this.#windowMs) / SLICES;
	}

	#step(): void {
		this.#depositsOf[this.#slot] = this.#depositsNow;
		this.#depositsBefore += this.#depositsNow;
		this.#depositsNow = 0;
		// The oldest slot becomes the new one: its tries are forgotten now, its requests were a step ago.
		this.#slot = (this.#slot + 1) % SLOTS;
		this.#withdrawals -= this.#withdrawalsOf[this.#slot] as number;
		this.#withdrawalsOf[this.#slot] = 0;
		this.#depositsBefore -= this.#depositsOf[(this.#slot + 1) % SLOTS] as number;
	}
}
