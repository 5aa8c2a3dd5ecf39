/** What a broker must be able to do so that a log can stand on it: a handful of requests without memory. All else is broker-log.ts. */
import type { Clock } from "../../core/clock.ts";
import type { LogCapabilities } from "./capabilities.ts";
import type { AppendFailure, StoredEvent } from "./event-log.ts";

export interface BrokerEvent {
	/** Stands for (source, id); at most 44 printable ASCII characters, the same for the same pair on every node. */
	readonly identity: string;
	/** Events with the same key stay in order; undefined where the event names none. */
	readonly key: string | undefined;
	readonly json: Buffer;
}

export interface Receipt {
	readonly sequence: number;
	/** The event was there already, with this sequence. */
	readonly isDuplicate: boolean;
}

export type BrokerAppend =
	/** One receipt per event, in their order; all are as durable as the broker's capabilities say. */
	| { readonly ok: true; readonly receipts: readonly Receipt[] }
	/** Some of the events may be stored all the same. */
	| { readonly ok: false; readonly failure: AppendFailure; readonly detail: string };

export interface Bounds {
	/** One more than `last` where nothing is kept. */
	readonly first: number;
	/** 0 where nothing was ever stored. */
	readonly last: number;
	/** Undefined where the broker cannot tell. */
	readonly bytes: number | undefined;
}

export interface Next {
	readonly events: readonly StoredEvent[];
	/** Everything up to here has been seen: brokers give sequences to marks of their own as well. At least `after`. */
	readonly position: number;
	/** What stood from this sequence on was lost by the broker; what could be saved of it comes again, behind all that was there. */
	readonly cut?: number | undefined;
}

/** Every request rejects with a readable error while the broker is away, and works again by itself once it is back. */
export interface Broker {
	/** As this very server or topic is configured. */
	readonly capabilities: LogCapabilities;
	/** Never called while an earlier call is under way: order is the order of the calls. Settles within APPEND_TIMEOUT_MS. */
	append(events: readonly BrokerEvent[], receivedAtMs: number): Promise<BrokerAppend>;
	/** The events from sequence `first` on, rising, at most `count`; fewer only where there are no more or they are large. */
	fetch(first: number, count: number): Promise<readonly StoredEvent[]>;
	/** What is behind `after` once there is anything; nothing after about NEXT_WAIT_MS without. One call at a time. */
	next(after: number): Promise<Next>;
	bounds(): Promise<Bounds>;
	/** The first sequence received at or after that time, or an earlier one; undefined where there is none. */
	sequenceAt(timeMs: number): Promise<number | undefined>;
	/**
	 * Gives no sequence up to this one again: they were given before the broker lost its end, and who has read to there would miss what gets them.
	 * Absent where the broker numbers by itself.
	 */
	skipTo?(sequence: number): Promise<void>;
	/** Forgets everything before `sequence`. */
	removeBefore(sequence: number): Promise<void>;
	/** Ends a waiting `next`. Never rejects. */
	close(): Promise<void>;
}

/** A broker that has not answered by then is taken for gone; the sender repeats, and what was stored is recognised. */
export const APPEND_TIMEOUT_MS = 10_000;
/** Requests that read. */
export const READ_TIMEOUT_MS = 10_000;
/** How long `next` waits: short enough that a close and a broker that vanished without a word are noticed. */
export const NEXT_WAIT_MS = 2_000;

/** Resolves as `promise` does; rejects with a readable error where that takes longer. */
export function within<T>(clock: Clock, timeoutMs: number, what: string, promise: Promise<T>): Promise<T> {
	const { promise: late, reject } = Promise.withResolvers<never>();
	const timer = clock.setTimer(timeoutMs, () => reject(new Error(`${what} took more than ${timeoutMs} ms`)));
	return Promise.race([promise, late]).finally(() => timer.cancel());
}
