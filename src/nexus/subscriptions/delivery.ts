/** What passes between a dispatcher and whoever takes its events: the event in hand, and what became of it. */

/** An event that is not settled yet. One writer: the dispatcher. */
export interface Entry {
	readonly sequence: number;
	readonly receivedAtMs: number;
	/** As its sender wrote it. */
	readonly json: Buffer;
	/** The partition key; undefined where the event has none. */
	readonly key: string | undefined;
	/** 0 to 9. */
	readonly priority: number;
	/** A dead letter that is tried again; told once what became of it. */
	readonly replay: ((outcome: ReplayOutcome) => void) | undefined;
	/** Tries that have begun. */
	attempts: number;
	/** `over`: it has left, and whoever still comes upon it passes it by. */
	state: "ready" | "flying" | "waiting" | "parking" | "over";
	/** Of the try under way, monotonic; or when the next one begins. */
	dueMs: number;
	/** Wall clock; 0 before the first. */
	firstTriedAtMs: number;
	takenAtMs: number;
	/** For whoever makes the try under way: it is cut off. */
	cut: (() => void) | undefined;
	/** For the same: it is over, for whatever reason. */
	over: (() => void) | undefined;
}

/** `gone`: the subscription stopped before there was an answer; the letter is as it was. */
export type ReplayOutcome = "recovered" | "failed" | "gone";

export interface Nak {
	readonly kind: "nak";
	/** A sentence for people. */
	readonly reason: string;
	/** Instead of the backoff of the subscription. */
	readonly delayMs?: number;
	/** Nothing was sent: it counts as no try. */
	readonly isUnsent?: boolean;
	readonly status?: number;
	/** The beginning of what the consumer answered. */
	readonly answer?: string;
}

/** What became of one try. `term`: it will never succeed. */
export type Verdict = { readonly kind: "ack" } | Nak | (Omit<Nak, "kind" | "delayMs" | "isUnsent"> & { readonly kind: "term" });

/** The last try of an event that was given up. */
export interface Failure extends Omit<Nak, "kind" | "delayMs" | "isUnsent"> {
	readonly attempts: number;
	/** Wall clock. */
	readonly firstTriedAtMs: number;
	readonly lastTriedAtMs: number;
}

export const ACK: Verdict = Object.freeze({ kind: "ack" });

/** Where events are pushed to. */
export interface Sink {
	/** Never rejects. `signal`: the time for it is over, or the subscription stops. `progress`: it is still at it, and its time begins anew. */
	deliver(entry: Entry, signal: AbortSignal, progress: () => void): Promise<Verdict>;
	/** Whether something may be delivered: 0, or in how many milliseconds to ask again, or what to wait for. No try is spent meanwhile. */
	readiness(nowMs: number): number | Promise<void>;
	/** Why it is not ready; "" where nothing is wrong. */
	readonly trouble: string;
	close(): Promise<void>;
}
