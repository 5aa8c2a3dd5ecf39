/** Bytes that all windows hold together. One event in an empty window is always let in, so that nobody starves beside a glutton. */

export class WindowBudget {
	readonly #bytesMax: number;
	#bytes = 0;

	constructor(bytesMax: number) {
		this.#bytesMax = bytesMax;
	}

	get bytes(): number {
		return this.#bytes;
	}

	/** False: wait. `mayWait`: the window holds something already, whose end will call. */
	take(bytes: number, mayWait: boolean): boolean {
		if (mayWait && this.#bytes + bytes > this.#bytesMax) return false;
		this.#bytes += bytes;
		return true;
	}

	release(bytes: number): void {
		this.#bytes -= bytes;
	}
}
