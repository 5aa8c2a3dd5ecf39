/** A clock whose timers can be late, as those of a busy or stopped process are. */
import type { Clock, Timer } from "../../src/core/clock.ts";

export class LateClock implements Clock {
	#nowMs = 0;
	#timers: { atMs: number; callback: () => void }[] = [];

	monotonicMs(): number {
		return this.#nowMs;
	}

	wallMs(): number {
		return this.#nowMs;
	}

	setTimer(delayMs: number, callback: () => void): Timer {
		const timer = { atMs: this.#nowMs + delayMs, callback };
		this.#timers.push(timer);
		return {
			cancel: () => {
				this.#timers = this.#timers.filter((other) => other !== timer);
			},
		};
	}

	/** Time passes and no timer runs. */
	stall(ms: number): void {
		this.#nowMs += ms;
	}

	/** The loop comes to its timers: those that are due run, once each. */
	runDue(): void {
		const due = this.#timers.filter((timer) => timer.atMs <= this.#nowMs).sort((a, b) => a.atMs - b.atMs);
		this.#timers = this.#timers.filter((timer) => !due.includes(timer));
		for (const { callback } of due) callback();
	}

	/** Moves on by `ms` in steps of one, on time. */
	advance(ms: number): void {
		for (let i = 0; i < ms; i++) {
			this.#nowMs++;
			this.runDue();
		}
	}
}
