/** Writes progress down: one write at a time, a short pause between two, at once for those who wait for it. */
import type { Clock, Timer } from "../../core/clock.ts";
import { SAVE_PAUSE_MS, SAVE_RETRY_MS } from "./limits.ts";

export class ProgressSaver {
	readonly #clock: Clock;
	/** Takes the progress as it is when called; true once it is kept. */
	readonly #save: () => Promise<boolean>;
	/** Changes so far, and how many of them the last write held. */
	#changes = 0;
	#saved = 0;
	#writing: Promise<boolean> | undefined;
	#timer: Timer | undefined;
	/** Nothing is written by itself any more. */
	#isClosing = false;
	/** Nothing is written any more. */
	#isClosed = false;

	constructor(clock: Clock, save: () => Promise<boolean>) {
		this.#clock = clock;
		this.#save = save;
	}

	/** Something has changed. */
	touch(): void {
		this.#changes++;
		if (this.#timer === undefined && this.#writing === undefined) this.#writeIn(SAVE_PAUSE_MS);
	}

	/** Resolves once all changes by now are kept; false where they could not be. */
	async flush(): Promise<boolean> {
		const wanted = this.#changes;
		// A write under way may have begun before the last change.
		if (this.#saved < wanted && this.#writing !== undefined) await this.#writing;
		while (this.#saved < wanted) {
			if (this.#isClosed || !(await (this.#writing ?? this.#write()))) return false;
		}
		return true;
	}

	/** Keeps what there is. Once it has resolved nothing is written: of what was closed there is no progress, and what came after has its own. */
	async close(): Promise<void> {
		this.#isClosing = true;
		await this.flush();
		// Somebody else who waits for his change may have begun another write.
		while (this.#writing !== undefined) await this.#writing;
		this.#isClosed = true;
		this.#timer?.cancel();
		this.#timer = undefined;
	}

	#writeIn(delayMs: number): void {
		if (this.#isClosing) return;
		this.#timer = this.#clock.setTimer(delayMs, () => {
			this.#timer = undefined;
			if (this.#writing === undefined) void this.#write();
		});
	}

	#write(): Promise<boolean> {
		this.#timer?.cancel();
		this.#timer = undefined;
		const holds = this.#changes;
		const writing = this.#save().then((isKept) => {
			if (isKept) this.#saved = holds;
			this.#writing = undefined;
			if (this.#saved < this.#changes) this.#writeIn(isKept ? SAVE_PAUSE_MS : SAVE_RETRY_MS);
			return isKept;
		});
		this.#writing = writing;
		return writing;
	}
}
