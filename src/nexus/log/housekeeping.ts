/** Holds an embedded log within its limits: every minute, and when asked. */
import type { Clock, Timer } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { RetentionLimits } from "./event-log.ts";
import { removeExpired } from "./retention.ts";
import type { Segment } from "./segment.ts";

export interface HousekeepingOptions {
	readonly dir: string;
	/** In order; shared with the writer, and changed here. */
	readonly segments: Segment[];
	readonly limits: RetentionLimits;
	readonly clock: Clock;
	readonly log: Logger;
}

const CHECK_MS = 60_000;

export class Housekeeping {
	readonly #options: HousekeepingOptions;
	#timer: Timer | undefined;

	constructor(options: HousekeepingOptions) {
		this.#options = options;
		this.#schedule();
	}

	/** Rejects with what the file system says, having removed what it could. */
	async apply(limits: RetentionLimits): Promise<void> {
		const { dir, segments, clock } = this.#options;
		removeExpired(dir, segments, limits, clock.wallMs());
	}

	async close(): Promise<void> {
		this.#timer?.cancel();
	}

	#schedule(): void {
		const { clock, limits, log } = this.#options;
		this.#timer = clock.setTimer(CHECK_MS, () => {
			this.apply(limits).catch((thrown: unknown) => {
				log.warn("the log could not be held within its limits; trying again later", { error: messageOf(thrown) });
			});
			this.#schedule();
		});
	}
}
