/** What has become of one batch of an embedded log so far, and what is answered for it in the end. */
import { codeOf, messageOf } from "../../core/errors.ts";
import type { AppendOutcome } from "./event-log.ts";
import type { Group } from "./group.ts";

export class BatchProgress {
	/** Undefined: now. A block has one time, so a group takes batches of the same time only. */
	readonly receivedAtMs: number | undefined;
	#duplicates = 0;
	#accepted = 0;
	#sequence = 0;
	/** The last group that the batch must wait for. */
	#group: Group | undefined;
	readonly #earlier: Group[] = [];

	constructor(receivedAtMs: number | undefined) {
		this.receivedAtMs = receivedAtMs;
	}

	/** A new event of the batch. */
	staged(sequence: number, group: Group): void {
		this.#accepted++;
		this.#sequence = sequence;
		this.#group = group;
	}

	/** One that was sent before; `group`: where it waits for its commit. */
	repeated(sequence: number, group?: Group): void {
		this.#duplicates++;
		if (sequence <= this.#sequence) return;
		this.#sequence = sequence;
		if (group !== undefined) this.#group = group;
	}

	/** Others may commit and fail now: what is staged afterwards does not speak for what was staged before. */
	pause(): void {
		if (this.#group !== undefined && this.#group !== this.#earlier.at(-1)) this.#earlier.push(this.#group);
	}

	/** Resolves once all of the batch is durable, or some of it has failed. */
	async outcome(): Promise<AppendOutcome> {
		// Groups that stood staged together become durable in order, or fail together: the last one speaks for the others.
		this.pause();
		for (const { done } of this.#earlier) {
			const result = await done;
			if (!result.ok) return { ok: false, failure: codeOf(result.cause) === "ENOSPC" ? "full" : "io", detail: messageOf(result.cause) };
		}
		return { ok: true, accepted: this.#accepted, duplicates: this.#duplicates, sequence: this.#sequence, durability: "disk" };
	}
}
