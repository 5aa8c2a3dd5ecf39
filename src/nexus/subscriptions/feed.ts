/**
 * The one reader of the log that feeds every subscription which keeps up: each event is parsed once and looked up in the index. Who has no
 * room for an event is let go of, and reads on its own from there (catch-up.ts).
 */
import { setImmediate } from "node:timers/promises";
import type { Clock, Timer } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { CloudEvent } from "../../events/cloud-event.ts";
import type { EventFilter, EventLog, ReadResult, StoredEvent } from "../log/event-log.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { Filter } from "./filter/filter.ts";
import { SubscriptionIndex } from "./filter/subscription-index.ts";
import { FEED_PAGE_EVENTS, IDLE_SAVE_EVENTS, IDLE_SAVE_LOOK_MS, READ_RETRY_MS, SHARED_START_EVENTS } from "./limits.ts";

export interface FeedTarget {
	/** Unique among targets. */
	readonly name: string;
	readonly filter: Filter;
	/** What the log itself can sort out for who reads alone; passes all that `filter` passes. */
	readonly logFilter: EventFilter;
	readonly dispatcher: Dispatcher;
	/** Has to read on its own from the dispatcher's position on. */
	onLagging(): void;
}

const NOBODY: readonly FeedTarget[] = Object.freeze([]);

export class Feed {
	readonly #log: EventLog;
	readonly #clock: Clock;
	readonly #logger: Logger;
	readonly #index = new SubscriptionIndex<FeedTarget>();
	readonly #targets = new Map<string, FeedTarget>();
	readonly #stop: () => void;
	/** All targets have been offered everything up to here, or have it behind them. */
	position = 0;
	#pump: Promise<void> | undefined;
	#sweep: Timer | undefined;
	#isAsked = false;
	#isClosed = false;

	constructor(log: EventLog, clock: Clock, logger: Logger) {
		this.#log = log;
		this.#clock = clock;
		this.#logger = logger;
		this.#stop = log.onCommit(() => this.#wake());
		this.#sweepLater();
	}

	/** False where the target is too far behind: it has to catch up first. An idle feed begins anywhere near the end. */
	join(target: FeedTarget): boolean {
		if (this.#isClosed) return false;
		const { dispatcher } = target;
		const isIdle = this.#targets.size === 0 && this.#pump === undefined;
		// Whoever joins later stands in line behind what is read for the first.
		if (isIdle ? this.#log.stats().lastSequence - dispatcher.position > SHARED_START_EVENTS : dispatcher.position < this.position) return false;
		if (isIdle) this.position = dispatcher.position;
		this.#targets.set(target.name, target);
		this.#index.set(target.name, target.filter, target);
		dispatcher.live = this;
		this.#wake();
		return true;
	}

	/** The target is fed no more; its dispatcher knows its place. */
	leave(target: FeedTarget): void {
		if (this.#targets.get(target.name) !== target) return;
		target.dispatcher.live = undefined;
		this.#targets.delete(target.name);
		this.#index.delete(target.name);
	}

	async close(): Promise<void> {
		this.#isClosed = true;
		this.#stop();
		this.#sweep?.cancel();
		await this.#pump;
	}

	/** To whom nothing comes, nothing writes down how far they are. */
	#sweepLater(): void {
		this.#sweep = this.#clock.setTimer(IDLE_SAVE_LOOK_MS, () => {
			for (const { dispatcher } of this.#targets.values()) if (dispatcher.unsavedEvents > IDLE_SAVE_EVENTS) dispatcher.saveSoon();
			this.#sweepLater();
		});
	}

	#wake(): void {
		this.#isAsked = true;
		if (this.#targets.size > 0) this.#pump ??= this.#run();
	}

	async #run(): Promise<void> {
		// So that it has been written down as running when it ends.
		await setImmediate();
		try {
			while (this.#isAsked && !this.#isClosed && this.#targets.size > 0) {
				this.#isAsked = false;
				await this.#readOn();
			}
		} catch (thrown) {
			this.#logger.error("the log could not be read for subscriptions", { error: messageOf(thrown) });
			this.#clock.setTimer(READ_RETRY_MS, () => this.#wake());
		} finally {
			this.#pump = undefined;
		}
	}

	async #readOn(): Promise<void> {
		while (!this.#isClosed && this.#targets.size > 0) {
			const page = await this.#log.read({ after: this.position, order: "asc", limit: FEED_PAGE_EVENTS });
			this.#missed(page);
			for (const event of page.events) this.#offer(event);
			this.position = Math.max(this.position, page.scannedTo);
			if (page.atEnd) return;
			// A log that has it all in memory would never let go of the loop.
			await setImmediate();
		}
	}

	#offer(stored: StoredEvent): void {
		const event = parseStored(stored);
		const lagging = event === undefined ? NOBODY : this.#index.match(event).filter(({ dispatcher }) => !dispatcher.offer(stored, event));
		for (const target of lagging) this.leave(target);
		// Before they are told: they are behind this event, and must not join again.
		this.position = stored.sequence;
		for (const target of lagging) target.onLagging();
	}

	/** Whoever might have wanted them is told: nobody knows what they were. */
	#missed(page: ReadResult): void {
		const gap = gapBefore(this.position, this.#log) + page.damaged.reduce((sum, { first, last }) => sum + last - first + 1, 0);
		if (gap === 0) return;
		this.#logger.error("events are gone from the log before subscriptions had them", { events: gap, after: this.position });
		for (const { dispatcher } of this.#targets.values()) dispatcher.counts.missed += gap;
	}
}

/** Events behind `position` that retention has removed. */
export function gapBefore(position: number, log: EventLog): number {
	const { firstSequence, lastSequence } = log.stats();
	return lastSequence === 0 ? 0 : Math.max(0, firstSequence - 1 - position);
}

/** What is in the log was checked when it came; undefined where another kind of log holds something else. */
export function parseStored({ json }: StoredEvent): CloudEvent | undefined {
	try {
		return JSON.parse(json.toString()) as CloudEvent;
	} catch {
		return undefined;
	}
}
