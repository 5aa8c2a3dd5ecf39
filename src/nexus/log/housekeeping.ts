/** Holds an embedded log within its limits: every minute, and when asked; one compaction at a time. */
import type { Clock, Timer } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { IdSource } from "../../core/ids.ts";
import type { Logger } from "../../core/log.ts";
import { compactSegments } from "./compaction.ts";
import type { RetentionLimits, TypeRetention } from "./event-log.ts";
import { removeExpired } from "./retention.ts";
import type { Segment } from "./segment.ts";

export interface HousekeepingOptions {
	readonly dir: string;
	/** In order; shared with the writer, and changed here. */
	readonly segments: Segment[];
	readonly limits: RetentionLimits;
	/** Log bytes between two checkpoints of the index. */
	readonly extentBytes: number;
	readonly ids: IdSource;
	readonly clock: Clock;
	readonly log: Logger;
}

const CHECK_MS = 60_000;
const COMPACTION_MS = 3_600_000;

export class Housekeeping {
	readonly #options: HousekeepingOptions;
	#timer: Timer | undefined;
	#working: Promise<void> = Promise.resolve();
	#isClosing = false;
	/** The segment that was being written at the last compaction, and when that was. */
	#compactedUpTo: Segment | undefined;
	#compactedAtMs = 0;

	constructor(options: HousekeepingOptions) {
		this.#options = options;
		this.#schedule();
	}

	/** Rejects with what the file system says, having removed what it could. */
	async apply(limits: RetentionLimits): Promise<void> {
		this.#remove(limits);
		await this.#compactWhenFree(limits);
	}

	async close(): Promise<void> {
		this.#isClosing = true;
		this.#timer?.cancel();
		await this.#working;
	}

	#remove(limits: RetentionLimits): void {
		const { dir, segments, clock } = this.#options;
		removeExpired(dir, segments, limits, clock.wallMs());
	}

	async #compactWhenFree({ types = [] }: RetentionLimits): Promise<void> {
		if (types.length === 0) return;
		const work = this.#working.then(() => this.#compact(types));
		this.#working = work.catch(() => {});
		await work;
	}

	async #compact(types: readonly TypeRetention[]): Promise<void> {
		if (this.#isClosing) return;
		const { dir, segments, clock, extentBytes, ids, log } = this.#options;
		this.#compactedAtMs = clock.monotonicMs();
		this.#compactedUpTo = segments.at(-1);
		const rewritten = await compactSegments({ dir, segments, types, nowMs: clock.wallMs(), extentBytes, ids, isCancelled: () => this.#isClosing });
		if (rewritten > 0) log.info("segments of the log were compacted", { segments: rewritten });
	}

	/** It reads what it is about, so not every minute: when a segment has become whole, and once an hour for what has become too old. */
	#isCompactionDue(): boolean {
		const { segments, clock } = this.#options;
		return segments.at(-1) !== this.#compactedUpTo || clock.monotonicMs() - this.#compactedAtMs >= COMPACTION_MS;
	}

	#schedule(): void {
		const { clock, limits, log } = this.#options;
		const failed = (thrown: unknown): void => {
			log.warn("the log could not be held within its limits; trying again later", { error: messageOf(thrown) });
		};
		this.#timer = clock.setTimer(CHECK_MS, () => {
			try {
				this.#remove(limits);
			} catch (thrown) {
				failed(thrown);
			}
			if (this.#isCompactionDue()) this.#compactWhenFree(limits).catch(failed);
			this.#schedule();
		});
	}
}
