/** Subscriptions that are behind read the log on their own, a few at a time and only as far as their windows have room, until they have caught up. */
import { setImmediate } from "node:timers/promises";
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { EventLog } from "../log/event-log.ts";
import { type Feed, type FeedTarget, gapBefore, parseStored } from "./feed.ts";
import { CATCH_UP_PAGE_EVENTS, CATCH_UPS_MAX, READ_RETRY_MS } from "./limits.ts";

export interface CatchUpTarget extends FeedTarget {
	/** Up to a sequence only some of what the filter passes is wanted, so that it cannot be fed with the others before. */
	readonly alone: { readonly until: number; readonly wants: (sequence: number) => boolean } | undefined;
}

export class CatchUp {
	readonly #log: EventLog;
	readonly #feed: Feed;
	readonly #clock: Clock;
	readonly #logger: Logger;
	/** In the order in which they asked. */
	readonly #queue = new Set<CatchUpTarget>();
	readonly #reading = new Set<CatchUpTarget>();
	/** All that are behind, whether they have room or not. */
	readonly #behind = new Set<CatchUpTarget>();
	readonly #runs = new Set<Promise<void>>();
	#isClosed = false;

	constructor(log: EventLog, feed: Feed, clock: Clock, logger: Logger) {
		this.#log = log;
		this.#feed = feed;
		this.#clock = clock;
		this.#logger = logger;
	}

	/** Feeds the target, by the shared reader if it may join that at once. */
	add(target: CatchUpTarget): void {
		if (this.#join(target)) return;
		this.#behind.add(target);
		target.dispatcher.onRoom = () => this.#ask(target);
		this.#ask(target);
	}

	async remove(target: CatchUpTarget): Promise<void> {
		this.#behind.delete(target);
		this.#queue.delete(target);
		this.#feed.leave(target);
		// Its page may be on the way; what comes is not offered any more.
		while (this.#reading.has(target)) await Promise.race(this.#runs);
	}

	async close(): Promise<void> {
		this.#isClosed = true;
		await Promise.all(this.#runs);
	}

	#ask(target: CatchUpTarget): void {
		if (this.#isClosed || !this.#behind.has(target) || this.#reading.has(target) || target.dispatcher.room === 0) return;
		this.#queue.add(target);
		this.#serve();
	}

	#serve(): void {
		for (const target of this.#queue) {
			if (this.#reading.size >= CATCH_UPS_MAX) return;
			this.#queue.delete(target);
			this.#reading.add(target);
			const run = this.#readPage(target).then((next) => {
				this.#reading.delete(target);
				this.#runs.delete(run);
				if (next === "again") this.#ask(target);
				else if (next === "later") this.#clock.setTimer(READ_RETRY_MS, () => this.#ask(target));
				this.#serve();
			});
			this.#runs.add(run);
		}
	}

	#join(target: CatchUpTarget): boolean {
		return (target.alone === undefined || target.dispatcher.position >= target.alone.until) && this.#feed.join(target);
	}

	/** One page, so that many laggards take turns. `wait`: for room, or for nothing, as it has joined the shared reader. */
	async #readPage(target: CatchUpTarget): Promise<"again" | "later" | "wait"> {
		const { dispatcher, filter, logFilter, alone } = target;
		try {
			const { position } = dispatcher;
			const gap = gapBefore(position, this.#log);
			const page = await this.#log.read({ ...logFilter, after: position, order: "asc", limit: CATCH_UP_PAGE_EVENTS });
			if (!this.#behind.has(target)) return "wait";
			const missed = gap + page.damaged.reduce((sum, { first, last }) => sum + last - first + 1, 0);
			if (missed > 0) {
				dispatcher.counts.missed += missed;
				this.#logger.error("events are gone from the log before a subscription had them", {
					subscription: target.name,
					events: missed,
					after: position,
				});
			}
			for (const stored of page.events) {
				const event = parseStored(stored);
				if (event === undefined || (alone !== undefined && stored.sequence <= alone.until && !alone.wants(stored.sequence)) || !filter.matches(event))
					continue;
				// The rest of the page is read again once there is room: the log's cache has it.
				if (!dispatcher.offer(stored, event)) return dispatcher.room > 0 ? "later" : "wait";
			}
			dispatcher.advance(page.scannedTo);
			if (!this.#join(target)) {
				await setImmediate();
				return "again";
			}
			this.#behind.delete(target);
			dispatcher.onRoom = () => {};
			return "wait";
		} catch (thrown) {
			this.#logger.error("the log could not be read for a subscription", { subscription: target.name, error: messageOf(thrown) });
			return "later";
		}
	}
}
