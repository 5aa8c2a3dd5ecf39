/** When the next event may be taken: not above the rate of the subscription. */
import type { Clock, Timer } from "../../core/clock.ts";
import { Gcra } from "../../limits/gcra.ts";

const NS_PER_MS = 1e6;

export class Pace {
	readonly #clock: Clock;
	readonly #rate: Gcra | undefined;
	/** To be called when it may be asked again. */
	readonly #onLater: () => void;
	#fullAtNs = 0;
	#later: { readonly timer: Timer; readonly atMs: number } | undefined;

	constructor(clock: Clock, rate: { readonly perSecond: number; readonly burst: number } | undefined, onLater: () => void) {
		this.#clock = clock;
		this.#rate = rate === undefined ? undefined : new Gcra(rate.perSecond, rate.burst);
		this.#onLater = onLater;
	}

	/** False: not now; `onLater` will call. */
	mayTake(nowMs: number): boolean {
		const waitMs = this.#rateWaitMs(nowMs);
		if (waitMs <= 0) return true;
		this.#wakeAt(nowMs + Math.ceil(waitMs), nowMs);
		return false;
	}

	taken(nowMs: number): void {
		if (this.#rate !== undefined) this.#fullAtNs = this.#rate.take(this.#fullAtNs, Math.round(nowMs * NS_PER_MS));
	}

	stop(): void {
		this.#later?.timer.cancel();
	}

	#rateWaitMs(nowMs: number): number {
		return this.#rate === undefined ? 0 : this.#rate.waitNs(this.#fullAtNs, Math.round(nowMs * NS_PER_MS)) / NS_PER_MS;
	}

	#wakeAt(atMs: number, nowMs: number): void {
		if (this.#later !== undefined && this.#later.atMs <= atMs) return;
		this.#later?.timer.cancel();
		const timer = this.#clock.setTimer(atMs - nowMs, () => {
			this.#later = undefined;
			this.#onLater();
		});
		this.#later = { timer, atMs };
	}
}
