/** What subscriptions could not deliver, as a client looks at it, tries it again, or throws it away. */
import { type CallOptions, durationText, type JsonCalls, path, withQuery } from "./json-calls.ts";
import type { DeadLetter, DeadLetterPage, DeadLetterReplay, EventFilterFields } from "./subscription-shapes.ts";

export interface DeadLetterReplayOptions extends EventFilterFields, CallOptions {
	/** At most so many, the oldest first. Default 10,000. */
	readonly count?: number;
	/** These alone. */
	readonly sequences?: readonly number[];
	/** For the outcome, up to 2 min. Default 30 s. */
	readonly waitMs?: number;
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
	async of(subscription: string, sequence: number, options: CallOptions = {}): Promise<readonly DeadLetter[]> {
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

	/** For good. */
	discard(subscription: string, sequences: readonly number[], options: CallOptions = {}): Promise<{ readonly discarded: number }> {
		return this.#calls.json(path`/v1/subscriptions/${subscription}/dead-letters/discard`, { ...options, method: "POST", body: { sequences } });
	}
}

/** Of the cursors that pages give. */
const SEQUENCE_DIGITS = 16;
/** Of one subscription. */
const MEMBERS_MAX = 64;
