/** Hands finished decision traces to whoever taps. While nobody does, a request looks at one field and no more. */
import type { Clock } from "../../core/clock.ts";
import type { DecisionTrace } from "../../policy/decision-trace.ts";
import { fitsRequest, fitsTrace, type HeaderLookup, type TapFilter, type TapRequest } from "./tap-filter.ts";

/** `droppedBefore`: traces that fitted as well, and were left out for the rate since the last call. Must not throw or block. */
export type TapListener = (trace: DecisionTrace, droppedBefore: number) => void;

export type TapOptions = TapRequest;

// As many streams as the admin API serves; each costs every request a look at its filter.
const SUBSCRIBERS_MAX = 16;
// Twice as many marks as subscribers, given out in turn: the mark of one who has left is not soon that of another.
const MARKS = 30;

export class TapHub {
	/** Whether anybody taps: the only thing that is looked at per request. */
	active = false;
	readonly #clock: Clock;
	#subscribers: readonly Subscriber[] = [];
	#lastMark = -1;

	constructor(clock: Clock) {
		this.#clock = clock;
	}

	get subscribers(): number {
		return this.#subscribers.length;
	}

	/**
	 * Whose filters fit so far, to be kept and given to `publish`; 0: nobody's, so that no trace need be made.
	 * Only the head of the request is at hand here, and only here.
	 */
	wants(method: string, host: string, header: HeaderLookup): number {
		let wanted = 0;
		for (const subscriber of this.#subscribers) if (fitsRequest(subscriber.filter, method, host, header)) wanted |= subscriber.bit;
		return wanted;
	}

	/** `wanted`: what `wants` returned for this request. */
	publish(trace: DecisionTrace, wanted: number): void {
		for (const subscriber of this.#subscribers) if ((wanted & subscriber.bit) !== 0) subscriber.offer(trace, this.#clock.monotonicMs());
	}

	/** Returns how to stop, which is idempotent; undefined while there are as many as there may be. */
	subscribe({ filter, perSecond }: TapOptions, listener: TapListener): (() => void) | undefined {
		if (this.#subscribers.length >= SUBSCRIBERS_MAX) return undefined;
		const subscriber = new Subscriber(this.#freeBit(), filter, perSecond, this.#clock.monotonicMs(), listener);
		// A new list each time: a listener may end its own subscription, or another's, while one is walked.
		this.#subscribers = [...this.#subscribers, subscriber];
		this.active = true;
		return () => {
			subscriber.end();
			this.#subscribers = this.#subscribers.filter((other) => other !== subscriber);
			this.active = this.#subscribers.length > 0;
		};
	}

	#freeBit(): number {
		do this.#lastMark = (this.#lastMark + 1) % MARKS;
		while (this.#subscribers.some(({ bit }) => bit === 1 << this.#lastMark));
		return 1 << this.#lastMark;
	}
}

/** One tap with its token bucket, which holds one second's worth. */
class Subscriber {
	readonly bit: number;
	readonly filter: TapFilter;
	readonly #perSecond: number;
	readonly #listener: TapListener;
	#tokens: number;
	#filledMs: number;
	#dropped = 0;
	#ended = false;

	constructor(bit: number, filter: TapFilter, perSecond: number, nowMs: number, listener: TapListener) {
		this.bit = bit;
		this.filter = filter;
		this.#perSecond = perSecond;
		this.#listener = listener;
		this.#tokens = perSecond;
		this.#filledMs = nowMs;
	}

	offer(trace: DecisionTrace, nowMs: number): void {
		if (this.#ended || !fitsTrace(this.filter, trace)) return;
		this.#tokens = Math.min(this.#perSecond, this.#tokens + ((nowMs - this.#filledMs) / 1000) * this.#perSecond);
		this.#filledMs = nowMs;
		if (this.#tokens < 1) {
			this.#dropped++;
			return;
		}
		this.#tokens--;
		const dropped = this.#dropped;
		this.#dropped = 0;
		this.#listener(trace, dropped);
	}

	end(): void {
		this.#ended = true;
	}
}
