/**
 * What a log knows of its broker: the newest events, where they begin and end, whether it can be reached. Follows it all the time, also what
 * other nodes append, and goes on by itself after an outage.
 */
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { Bounds, Broker, Next } from "./broker.ts";
import type { StoredEvent } from "./event-log.ts";
import { IDENTITY_WINDOW_EVENTS, IdentityWindow, identityOf } from "./identity-window.ts";
import { RecordAttributes, type RecordSource } from "./record-scan.ts";
import { TailCache } from "./tail-cache.ts";

export interface BrokerTailOptions {
	readonly broker: Broker;
	readonly clock: Clock;
	readonly log: Logger;
	/** Undefined where the broker recognises by itself what it has already. */
	readonly window: IdentityWindow | undefined;
}

/** An event that is stored is acknowledged once it can be read, or after this long in any case. */
const READABLE_WAIT_MS = 5_000;
const BACKOFF_MS = 50;
const BACKOFF_MAX_MS = 2_000;
const RECOVERY_PAGE_EVENTS = 1024;

export class BrokerTail {
	readonly #options: BrokerTailOptions;
	readonly #attributes = new RecordAttributes();
	readonly #listeners = new Set<() => void>();
	readonly #waiting = new Set<{ readonly sequence: number; readonly resolve: () => void }>();
	#cache: TailCache;
	#first: number;
	#last: number;
	#bytes: number;
	#down: string | undefined;
	#isUnsure = false;
	#onLost: ((cause: Error) => void) | undefined;
	#isClosing = false;
	#endPause: (() => void) | undefined;
	readonly #following: Promise<void>;

	/** Follows from the end of `bounds` on. */
	constructor(options: BrokerTailOptions, { first, last, bytes }: Bounds) {
		this.#options = options;
		this.#first = first;
		this.#last = last;
		this.#bytes = bytes ?? 0;
		this.#cache = new TailCache(last + 1);
		this.#following = this.#follow();
	}

	get first(): number {
		return this.#first;
	}

	/** The newest event that can be read. */
	get last(): number {
		return this.#last;
	}

	/** 0 where the broker cannot tell. */
	get bytes(): number {
		return this.#bytes;
	}

	/** Why the broker cannot be reached; undefined while it can. */
	get down(): string | undefined {
		return this.#down;
	}

	/** The log as it is at this moment. */
	source(): RecordSource {
		const cache = this.#cache;
		const { broker } = this.#options;
		return {
			first: this.#first,
			last: this.#last,
			fetch: async (first, count) => (first >= cache.from ? cache.slice(first, count) : broker.fetch(first, count)),
			sequenceAt: (timeMs) => broker.sequenceAt(timeMs),
			attributes: this.#attributes,
		};
	}

	onEvents(listener: () => void): () => void {
		this.#listeners.add(listener);
		return () => void this.#listeners.delete(listener);
	}

	/** Resolves once the event can be read, or after some seconds. */
	untilReadable(sequence: number): Promise<void> {
		if (sequence <= this.#last || this.#isClosing) return Promise.resolve();
		return new Promise((resolve) => {
			const done = (): void => {
				timer.cancel();
				this.#waiting.delete(waiting);
				resolve();
			};
			const waiting = { sequence, resolve: done };
			const timer = this.#options.clock.setTimer(READABLE_WAIT_MS, done);
			this.#waiting.add(waiting);
		});
	}

	/** Settles as `asked` does, or rejects when the broker is found to be away: some clients never tell. One at a time. */
	whileUp<T>(asked: Promise<T>): Promise<T> {
		return new Promise((resolve, reject) => {
			this.#onLost = reject;
			asked.then(resolve, reject).finally(() => (this.#onLost = undefined));
		});
	}

	/** The fate of an append is unknown: the window does not speak for everything that the broker has. */
	doubt(): void {
		this.#isUnsure = this.#options.window !== undefined;
	}

	/** Resolves at once, or when the window knows everything that the broker has; rejects where that cannot be had. */
	async settleDoubt(): Promise<void> {
		if (!this.#isUnsure) return;
		const { last } = await this.#options.broker.bounds();
		await this.untilReadable(last);
		if (this.#last < last) throw new Error("the broker's last events cannot be read yet");
		this.#isUnsure = false;
	}

	async refreshBounds(): Promise<void> {
		const { first, bytes } = await this.#options.broker.bounds();
		this.#first = first;
		this.#bytes = bytes ?? 0;
	}

	/** Closes the broker as well. */
	async close(): Promise<void> {
		this.#isClosing = true;
		await this.#options.broker.close();
		this.#endPause?.();
		await this.#following;
		for (const { resolve } of this.#waiting) resolve();
	}

	async #follow(): Promise<void> {
		const { broker, log } = this.#options;
		for (let failures = 0; !this.#isClosing; ) {
			try {
				if (this.#down !== undefined) await this.#comeBack();
				const next = await broker.next(this.#last);
				failures = 0;
				if (next.position > this.#last) this.#take(next);
			} catch (thrown) {
				if (this.#isClosing) return;
				if (this.#down === undefined) log.error("the broker of the event log cannot be reached", { error: messageOf(thrown) });
				this.#down = messageOf(thrown);
				this.#onLost?.(new Error(this.#down));
				await this.#pause(Math.min(BACKOFF_MS * 2 ** failures++, BACKOFF_MAX_MS));
			}
		}
	}

	async #comeBack(): Promise<void> {
		const { broker, log, window } = this.#options;
		const { first, last, bytes } = await broker.bounds();
		if (last < this.#last) {
			// It ended before it had written what it had acknowledged.
			log.error("the broker has lost events that it had acknowledged", { from: last + 1, to: this.#last });
			window?.clear();
			await broker.skipTo?.(this.#last);
			this.#goOnFrom(broker.skipTo === undefined ? last : this.#last);
			for (const listener of this.#listeners) listener();
		} else if (first - 1 > this.#last) {
			// Removed before it was seen here. Not every broker goes on from what is gone.
			this.#goOnFrom(first - 1);
		}
		this.#first = first;
		this.#bytes = bytes ?? 0;
		this.doubt();
		this.#down = undefined;
		log.info("the broker of the event log is back");
	}

	#goOnFrom(last: number): void {
		this.#last = last;
		this.#cache = new TailCache(last + 1);
	}

	#take({ events, position, cut }: Next): void {
		const { window } = this.#options;
		if (cut !== undefined && cut <= this.#last) {
			window?.forgetFrom(cut);
			this.#cache = new TailCache(this.#last + 1);
		}
		for (const event of events) {
			if (event.sequence <= this.#last) continue;
			this.#cache.add(event);
			if (window !== undefined) remember(window, event, this.#attributes);
		}
		this.#last = position;
		for (const { sequence, resolve } of this.#waiting) if (sequence <= this.#last) resolve();
		for (const listener of this.#listeners) listener();
	}

	#pause(delayMs: number): Promise<void> {
		return new Promise((resolve) => {
			const timer = this.#options.clock.setTimer(delayMs, resolve);
			this.#endPause = () => {
				timer.cancel();
				resolve();
			};
		});
	}
}

/** The window as it would stand had this node followed from the beginning. */
export async function recoverIdentities(broker: Broker, { first, last }: Bounds): Promise<IdentityWindow> {
	const window = new IdentityWindow();
	const attributes = new RecordAttributes();
	for (let from = Math.max(first, last - IDENTITY_WINDOW_EVENTS + 1); from <= last; ) {
		const page = await broker.fetch(from, RECOVERY_PAGE_EVENTS);
		const end = page.at(-1);
		if (end === undefined) break;
		for (const event of page) remember(window, event, attributes);
		from = end.sequence + 1;
	}
	return window;
}

function remember(window: IdentityWindow, event: StoredEvent, attributes: RecordAttributes): void {
	const known = attributes.of(event);
	if (known !== undefined) window.add(identityOf(known.source, known.id), event.sequence);
}
