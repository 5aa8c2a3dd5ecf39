/** Bytes per second as arithmetic: how long to pause after a piece has passed, so that the average holds. */

export class Throttle {
	readonly #msPerByte: number;
	/** When all that has passed would have passed at the rate. */
	#dueMs: number;

	/** `bytesPerSecond` above 0. The first piece passes at once. */
	constructor(bytesPerSecond: number, nowMs: number) {
		if (!(bytesPerSecond > 0)) throw new RangeError(`a rate of ${bytesPerSecond} bytes per second lets nothing pass`);
		this.#msPerByte = 1000 / bytesPerSecond;
		this.#dueMs = nowMs;
	}

	/** Milliseconds to wait before the next piece, now that `bytes` have passed. Time without bytes is not saved up for a burst. */
	pauseMs(bytes: number, nowMs: number): number {
		this.#dueMs = Math.max(this.#dueMs, nowMs) + bytes * this.#msPerByte;
		return this.#dueMs - nowMs;
	}
}
