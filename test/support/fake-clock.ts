/** A clock that moves only when a test says so. */
import type { Clock, Timer } from "../../src/core/clock.ts";

interface Pending {
	atMs: number;
	order: number;
	callback: () => void;
}

export class FakeClock implements Clock {
	#nowMs = 0;
	#wallMs: number;
	#order = 0;
	#pending = new Set<Pending>();

	constructor(wallMs = Date.UTC(2026, 0, 1)) {
		this.#wallMs = wallMs;
	}

	monotonicMs(): number {
		return this.#nowMs;
	}

	wallMs(): number {
		return this.#wallMs;
	}

	setTimer(delayMs: number, callback: () => void): Timer {
		const pending = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, callback };
		this.#pending.add(pending);
		return { cancel: () => void this.#pending.delete(pending) };
	}

	/** Moves on by `ms`, running what falls due on the way, in order. */
	advance(ms: number): void {
		const untilMs = this.#nowMs + ms;
		for (;;) {
			const next = this.#next(untilMs);
			if (next === undefined) break;
			this.#pending.delete(next);
			this.#move(next.atMs);
			next.callback();
		}
		this.#move(untilMs);
	}

	/** The wall clock alone jumps, as by NTP or by hand. */
	jumpWall(ms: number): void {
		this.#wallMs += ms;
	}

	get pendingTimers(): number {
		return this.#pending.size;
	}

	#move(atMs: number): void {
		this.#wallMs += atMs - this.#nowMs;
		this.#nowMs = atMs;
	}

	#next(untilMs: number): Pending | undefined {
		let best: Pending | undefined;
		for (const pending of this.#pending) {
			if (pending.atMs > untilMs) continue;
			if (best === undefined || pending.atMs < best.atMs || (pending.atMs === best.atMs && pending.order < best.order)) best = pending;
		}
		return best;
	}
}
