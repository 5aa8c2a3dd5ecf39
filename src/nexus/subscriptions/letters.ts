/** The dead letters of one dispatcher that are being written or removed: each write is tried again until it is kept, since nothing is dropped. */
import type { Entry, Failure } from "./delivery.ts";

export interface LettersOptions {
	/** Keeps the event for good; true once it is. */
	readonly park: (entry: Entry, failure: Failure) => Promise<boolean>;
	/** A dead letter that was tried again and has arrived; true once it is forgotten. */
	readonly unpark: (entry: Entry) => Promise<boolean>;
	readonly kept: (entry: Entry) => void;
	/** To be tried again after a while. */
	readonly notKept: (entry: Entry) => void;
	/** Where it is not gone it is there still, and may come again. */
	readonly removed: (entry: Entry, isGone: boolean) => void;
}

export class Letters {
	readonly #options: LettersOptions;
	readonly #failures = new WeakMap<Entry, Failure>();
	readonly #underWay = new Set<Promise<boolean>>();

	constructor(options: LettersOptions) {
		this.#options = options;
	}

	write(entry: Entry, failure: Failure): void {
		this.#failures.set(entry, failure);
		this.#await(this.#write(entry, failure));
	}

	/** One that was not kept. */
	writeAgain(entry: Entry): void {
		const failure = this.#failures.get(entry);
		if (failure !== undefined) void this.#write(entry, failure);
	}

	remove(entry: Entry): void {
		this.#await(this.#remove(entry));
	}

	/** Resolves once what is under way now is over; false where some of it was not kept, or not removed. */
	async settled(): Promise<boolean> {
		return !(await Promise.all(this.#underWay)).includes(false);
	}

	async #write(entry: Entry, failure: Failure): Promise<boolean> {
		const isKept = await this.#options.park(entry, failure);
		if (isKept) this.#options.kept(entry);
		else this.#options.notKept(entry);
		return isKept;
	}

	async #remove(entry: Entry): Promise<boolean> {
		const isGone = await this.#options.unpark(entry);
		this.#options.removed(entry, isGone);
		return isGone;
	}

	#await(letter: Promise<boolean>): void {
		this.#underWay.add(letter);
		void letter.finally(() => this.#underWay.delete(letter));
	}
}
