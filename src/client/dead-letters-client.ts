/** What subscriptions could not deliver, as a client looks at it, tries it again, or throws it away. */
import { type CallOptions, durationText, type JsonCalls, path, withQuery } from "./json-calls.ts";
import type { DeadLetter, DeadLetterPage, DeadLetterReplay, EventFilterFields } from "./subscription-shapes.ts";

export interface DeadLetterReplayOptions extends EventFilterFields, CallOptions {
	/** At most so many, the oldest first. Default: 10,000 in one call, and no limit where all are replayed. */
	readonly count?: number;
	/** These alone, 2,000 at most. */
	readonly sequences?: readonly number[];
	/** For the outcome of a call, up to 2 min. Default 30 s. */
	readonly waitMs?: number;
}

/** So far. */
export interface DeadLetterReplayProgress extends DeadLetterReplay {
	/** Dead letters that were looked at. */
	readonly done: number;
	/** That there were; more where some came meanwhile. */
	readonly total: number;
}

export interface DeadLetterPageOptions extends CallOptions {
	/** `next` of the page before. */
	readonly after?: string;
	/** Up to 1,000. Default 100. */
	readonly limit?: number;
}

const PAGE = 100;
const WAIT_MS = 30_000;

/** Each call rejects with a NexusError where it is refused. Nothing is taken by looking. */
export class DeadLettersClient {
	readonly #calls: JsonCalls;

	constructor(calls: JsonCalls) {
		this.#calls = calls;
	}

	page(subscription: string, { after, limit, ...options }: DeadLetterPageOptions = {}): Promise<DeadLetterPage> {
		return this.#calls.json(withQuery(path`/v1/subscriptions/${subscription}/dead-letters`, { after, limit }), options);
	}

	/** By sequence, page by page as they are asked for. */
	async *list(subscription: string, options: CallOptions = {}): AsyncGenerator<DeadLetter, void, void> {
		for (let after: string | undefined; ; ) {
			const page: DeadLetterPage = await this.page(subscription, { ...options, limit: PAGE, ...(after !== undefined && { after }) });
			yield* page.deadLetters;
			if (page.next === null) return;
			after = page.next;
		}
	}

	/** Those of one event: several where a broadcast has failed for several members, none where it is no dead letter. */
	async peek(subscription: string, sequence: number, options: CallOptions = {}): Promise<readonly DeadLetter[]> {
		// The cursor before all letters of this sequence; of a broadcast there is one for each member.
		const after = String(Math.max(0, sequence - 1)).padStart(SEQUENCE_DIGITS, "0");
		const { deadLetters } = await this.page(subscription, { ...options, after, limit: 2 * MEMBERS_MAX });
		return deadLetters.filter((letter) => letter.sequence === sequence);
	}

	/** Once each, before live events. */
	replay(
		subscription: string,
		{ filter, filters, count, sequences, waitMs = WAIT_MS, signal, timeoutMs = WAIT_MS }: DeadLetterReplayOptions = {},
	): Promise<DeadLetterReplay> {
		return this.#calls.json(path`/v1/subscriptions/${subscription}/dead-letters/replay`, {
			method: "POST",
			body: { filter, filters, count, sequences, wait: durationText(waitMs) },
			signal,
			timeoutMs: waitMs + timeoutMs,
		});
	}

	/** The same in portions, however many there are; tells after each portion how far it is. Who stops asking stops it. */
	async *replayAll(
		subscription: string,
		{ count = Number.POSITIVE_INFINITY, ...options }: Omit<DeadLetterReplayOptions, "sequences"> = {},
	): AsyncGenerator<DeadLetterReplayProgress, void, void> {
		const { filter, filters, signal, timeoutMs } = options;
		const isChosen = filter !== undefined || filters !== undefined;
		let [done, recovered, stillFailed, pending] = [0, 0, 0, 0];
		let left = count;
		let last = 0;
		for (let after: string | null | undefined; after !== null && left > 0; ) {
			const limit = isChosen ? PAGE : Math.min(PAGE, left);
			const page: DeadLetterPage = await this.page(subscription, { signal, timeoutMs, limit, ...(after !== undefined && { after }) });
			const total = page.total + recovered;
			// Those of an event go together, though a page may end between two of them.
			const sequences = [...new Set(page.deadLetters.map(({ sequence }) => sequence))].filter((sequence) => sequence > last);
			last = sequences.at(-1) ?? last;
			if (sequences.length > 0) {
				const told = await this.replay(subscription, { ...options, sequences, ...(left < COUNT_MAX && { count: left }) });
				recovered += told.recovered;
				stillFailed += told.stillFailed;
				pending += told.pending;
				left = count - recovered - stillFailed - pending;
			}
			done += page.deadLetters.length;
			// What could not be delivered stands where it stood.
			after = page.next;
			yield { done, total: Math.max(done, isChosen ? total : Math.min(total, count)), recovered, stillFailed, pending };
		}
	}

	/** For good. */
	discard(subscription: string, sequences: readonly number[], options: CallOptions = {}): Promise<{ readonly discarded: number }> {
		return this.#calls.json(path`/v1/subscriptions/${subscription}/dead-letters/discard`, { ...options, method: "POST", body: { sequences } });
	}
}

/** That one call takes. */
const COUNT_MAX = 10_000;
/** Of the cursors that pages give. */
const SEQUENCE_DIGITS = 16;
/** Of one subscription. */
const MEMBERS_MAX = 64;
