/** Time as a dependency: nothing else in the product reads a clock or sets a timer of its own (law 8). */

export interface Timer {
	/** Idempotent. After it the callback never runs. */
	cancel(): void;
}

export interface Clock {
	/** Milliseconds that never go backwards; for durations and deadlines. */
	monotonicMs(): number;
	/** Milliseconds since 1970 (may jump); only for what people and other machines read. */
	wallMs(): number;
	/** Runs `callback` once, after `delayMs`. Does not keep the process alive. */
	setTimer(delayMs: number, callback: () => void): Timer;
}

export const systemClock: Clock = {
	monotonicMs: () => performance.now(),
	wallMs: () => Date.now(),
	setTimer(delayMs, callback) {
		const handle = setTimeout(callback, delayMs);
		handle.unref();
		return { cancel: () => clearTimeout(handle) };
	},
};
