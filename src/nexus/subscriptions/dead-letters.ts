/** Events that could not be delivered, kept until somebody has them delivered or throws them away. Reading them takes nothing out. */
import type { StoredEvent } from "../log/event-log.ts";
import { put, remove, type StateStore } from "../state/state-store.ts";
import type { Entry, Failure } from "./delivery.ts";

const TABLE = "_dead-letters";
const SEQUENCE_DIGITS = 16;
const DISCARD_PAGE = 200;

export interface DeadLetter {
	readonly sequence: number;
	/** Of a broadcast: who did not get it; "" otherwise. */
	readonly member: string;
	readonly receivedAtMs: number;
	/** The event's JSON as its sender wrote it: it outlives the log's own copy. */
	readonly event: string;
	readonly attempts: number;
	readonly reason: string;
	readonly status?: number;
	readonly answer?: string;
	readonly firstTriedAtMs: number;
	readonly lastTriedAtMs: number;
	readonly parkedAtMs: number;
}

export interface DeadLetterPage {
	readonly letters: readonly DeadLetter[];
	/** `after` of the next page; undefined at the end. */
	readonly next: string | undefined;
}

export interface DeadLetterCount {
	count: number;
	/** Of the first one that is still there at the start; of the first one parked since otherwise. */
	oldestParkedAtMs: number;
}

export class DeadLetters {
	readonly #state: StateStore;
	readonly #counts = new Map<string, DeadLetterCount>();

	constructor(state: StateStore) {
		this.#state = state;
	}

	/** Counts what is there, of these subscriptions. Rejects where the state cannot be read. */
	async load(has: (subscription: string) => boolean = () => true): Promise<void> {
		for (const subscription of this.#counts.keys()) if (has(subscription)) this.#counts.delete(subscription);
		for (let after: string | undefined; ; ) {
			const page = await this.#state.list(TABLE, after === undefined ? {} : { after });
			if (!page.ok) throw new Error(`the dead letters could not be read: ${page.detail}`);
			for (const { key, value } of page.value.entries) {
				const subscription = key.slice(0, key.indexOf("/"));
				if (has(subscription)) this.#counted(subscription, value as DeadLetter);
			}
			after = page.value.next;
			if (after === undefined) return;
		}
	}

	count(subscription: string): DeadLetterCount | undefined {
		return this.#counts.get(subscription);
	}

	/** True once it is on disk. A letter of the same event is replaced. */
	async park(subscription: string, member: string, entry: Entry, failure: Failure, nowMs: number): Promise<boolean> {
		const { sequence, receivedAtMs, json } = entry;
		const letter: DeadLetter = { sequence, member, receivedAtMs, event: json.toString(), ...failure, parkedAtMs: nowMs };
		const key = keyOf(subscription, sequence, member);
		const created = await this.#state.commit([put(TABLE, key, letter, 0)]);
		if (created.ok) {
			this.#counted(subscription, letter);
			return true;
		}
		return created.failure === "conflict" && (await this.#state.commit([put(TABLE, key, letter)])).ok;
	}

	/** True once it is gone; false where it was not there, or could not be removed. */
	async remove(subscription: string, { sequence, member }: Pick<DeadLetter, "sequence" | "member">): Promise<boolean> {
		const key = keyOf(subscription, sequence, member);
		const found = await this.#state.get(TABLE, key);
		if (!found.ok || found.value === undefined) return false;
		const removed = await this.#state.commit([remove(TABLE, key, found.value.revision)]);
		if (!removed.ok) return false;
		const count = this.#counts.get(subscription);
		if (count !== undefined && --count.count <= 0) this.#counts.delete(subscription);
		return true;
	}

	/** In the order of sequences. */
	async page(subscription: string, after: string | undefined, limit: number): Promise<DeadLetterPage | { readonly fault: string }> {
		const prefix = `${subscription}/`;
		const page = await this.#state.list(TABLE, { prefix, limit, ...(after === undefined ? {} : { after: prefix + after }) });
		if (!page.ok) return { fault: page.detail };
		return { letters: page.value.entries.map(({ value }) => value as DeadLetter), next: page.value.next?.slice(prefix.length) };
	}

	/** All of them; false where the state cannot be read. */
	async discard(subscription: string): Promise<boolean> {
		for (let after: string | undefined; ; ) {
			const page = await this.page(subscription, after, DISCARD_PAGE);
			if ("fault" in page) return false;
			for (const letter of page.letters) await this.remove(subscription, letter);
			after = page.next;
			if (after === undefined) return true;
		}
	}

	#counted(subscription: string, { parkedAtMs }: DeadLetter): void {
		const count = this.#counts.get(subscription);
		if (count === undefined) this.#counts.set(subscription, { count: 1, oldestParkedAtMs: parkedAtMs });
		else {
			count.count++;
			count.oldestParkedAtMs = Math.min(count.oldestParkedAtMs, parkedAtMs);
		}
	}
}

export function storedEventOf({ sequence, receivedAtMs, event }: DeadLetter): StoredEvent {
	return { sequence, receivedAtMs, json: Buffer.from(event) };
}

/** `after` of a page that begins with this sequence, or with further letters of the one before it. */
export function placeBefore(sequence: number): string {
	return String(sequence - 1).padStart(SEQUENCE_DIGITS, "0");
}

function keyOf(subscription: string, sequence: number, member: string): string {
	const key = `${subscription}/${String(sequence).padStart(SEQUENCE_DIGITS, "0")}`;
	return member === "" ? key : `${key}/${member}`;
}
