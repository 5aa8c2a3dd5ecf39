/** Everybody who follows the log over a stream. Those with the same filter are told together: one read and one encoding for all of them. */
import type { Logger } from "../../core/log.ts";
import type { SseStream } from "../../server/sse.ts";
import type { EventFilter, EventLog } from "../log/event-log.ts";
import { Cohort } from "./cohort.ts";
import { Follower } from "./follower.ts";

export interface FollowersOptions {
	readonly log: EventLog;
	readonly logger: Logger;
}

export class Followers {
	readonly #options: FollowersOptions;
	readonly #cohorts = new Map<string, Cohort>();

	constructor(options: FollowersOptions) {
		this.#options = options;
	}

	/** Events behind the sequence `after` are sent, in order, each once, until the stream closes. Those that can no longer be read are told as a `gap`. */
	follow(stream: SseStream, filter: EventFilter, after: number): void {
		const { type, source, subject, sinceMs, untilMs } = filter;
		const key = JSON.stringify([type, source, subject, sinceMs, untilMs]);
		let cohort = this.#cohorts.get(key);
		if (cohort === undefined) {
			cohort = new Cohort({ ...this.#options, filter, onDeserted: () => void this.#cohorts.delete(key) });
			this.#cohorts.set(key, cohort);
		}
		// An id without data: who loses the connection before the first event resumes from here, not from the end.
		stream.sendFrame(`id: ${after}\n\n`);
		new Follower(stream, cohort, after).start();
	}
}
