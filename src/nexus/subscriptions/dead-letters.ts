/** Events that could not be delivered, kept until somebody has them delivered or throws them away. Reading them takes nothing out. */
import type { StoredEvent } from "../log/event-log.ts";
import { INLINE_BYTES_MAX, type LongText, LongTexts } from "../state/long-texts.ts";
import { put, type Read, remove, type StateStore } from "../state/state-store.ts";
import type { Entry, Failure } from "./delivery.ts";
import { FETCH_BYTES_MAX } from "./limits.ts";

const TABLE = "_dead-letters";
const EVENTS_TABLE = "_dead-letter-events";
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

/** As the state has it: a large event stands beside it. */
interface Row extends DeadLetter {
	readonly long?: LongText;
}

/** Of at most 4 MiB, and one letter more. */
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
	readonly #events: LongTexts;
	readonly #counts = new Map<string, DeadLetterCount>();
	/** Whether those are counted of which the state has not said whether they were written, or removed. */
	readonly #inDoubt = new Map<string, boolean>();

	constructor(state: StateStore) {
		this.#state = state;
		this.#events = new LongTexts(state, EVENTS_TABLE);
	}

	/** Counts what is there, of these subscriptions. Rejects where the state cannot be read. */
	async load(has: (subscription: string) => boolean = () => true): Promise<void> {
		for (const subscription of this.#counts.keys()) if (has(subscription)) this.#counts.delete(subscription);
		for (const key of this.#inDoubt.keys()) if (has(subscriptionOf(key))) this.#inDoubt.delete(key);
		const long = new Map<string, string>();
		for (let after: string | undefined; ; ) {
			const page = await this.#state.list(TABLE, after === undefined ? {} : { after });
			if (!page.ok) throw new Error(`the dead letters could not be read: ${page.detail}`);
			for (const { key, value } of page.value.entries) {
				const row = value as Row;
				if (has(subscriptionOf(key))) this.#counted(subscriptionOf(key), row);
				if (row.long !== undefined) long.set(key, row.long.name);
			}
			after = page.value.next;
			if (after === undefined) break;
		}
		await this.#events.sweep((key, name) => !has(subscriptionOf(key)) || long.get(key) === name);
	}

	count(subscription: string): DeadLetterCount | undefined {
		return this.#counts.get(subscription);
	}

	/** True once it is on disk. A letter of the same event is replaced. */
	async park(subscription: string, member: string, entry: Entry, failure: Failure, nowMs: number): Promise<boolean> {
		const { sequence, receivedAtMs, json } = entry;
		const key = keyOf(subscription, sequence, member);
		const isLong = json.length > INLINE_BYTES_MAX;
		const long = isLong ? await this.#events.keep(key, json) : undefined;
		if (long !== undefined && "failure" in long) return false;
		const event = isLong ? "" : json.toString();
		const letter: Row = { sequence, member, receivedAtMs, event, ...(long && { long }), ...failure, parkedAtMs: nowMs };
		const created = await this.#state.commit([put(TABLE, key, letter, 0)]);
		if (!created.ok && created.failure !== "conflict") {
			if (created.failure === "unknown") this.#inDoubt.set(key, this.#isCounted(key, false));
			return false;
		}
		if (!created.ok && !(await this.#state.commit([put(TABLE, key, letter)])).ok) return false;
		if (!this.#isCounted(key, !created.ok)) this.#counted(subscription, letter);
		return true;
	}

	/** `absent`: it was not there. `failed`: it may be there still. */
	async remove(subscription: string, { sequence, member }: Pick<DeadLetter, "sequence" | "member">): Promise<"removed" | "absent" | "failed"> {
		const key = keyOf(subscription, sequence, member);
		const found = await this.#state.get(TABLE, key);
		if (!found.ok) return "failed";
		if (found.value === undefined) {
			if (this.#isCounted(key, false)) this.#uncounted(subscription);
			return "absent";
		}
		const { long } = found.value.value as Row;
		const removed = await this.#state.commit([
			remove(TABLE, key, found.value.revision),
			...(long === undefined ? [] : this.#events.removals(key, long)),
		]);
		if (!removed.ok) {
			if (removed.failure === "unknown") this.#inDoubt.set(key, this.#isCounted(key, true));
			return "failed";
		}
		if (this.#isCounted(key, true)) this.#uncounted(subscription);
		return "removed";
	}

	/** Those of one event, of whichever members: how many there were. */
	async removeAll(subscription: string, sequence: number): Promise<number> {
		const page = await this.#state.list(TABLE, { prefix: keyOf(subscription, sequence, "") });
		let count = 0;
		for (const { value } of page.ok ? page.value.entries : []) {
			if ((await this.remove(subscription, value as Row)) === "removed") count++;
		}
		return count;
	}

	/** In the order of sequences. */
	async page(subscription: string, after: string | undefined, limit: number): Promise<DeadLetterPage | { readonly fault: string }> {
		const prefix = `${subscription}/`;
		const page = await this.#state.list(TABLE, { prefix, limit, ...(after === undefined ? {} : { after: prefix + after }) });
		if (!page.ok) return { fault: page.detail };
		const letters: DeadLetter[] = [];
		let bytes = 0;
		let last = "";
		for (const { key, value } of page.value.entries) {
			if (bytes >= FETCH_BYTES_MAX) return { letters, next: last };
			const letter = await this.#whole(key, value as Row);
			if (!letter.ok) return { fault: letter.detail };
			last = key.slice(prefix.length);
			if (letter.value === undefined) continue;
			letters.push(letter.value);
			bytes += letter.value.event.length;
		}
		return { letters, next: page.value.next?.slice(prefix.length) };
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

	/** Undefined: it has gone meanwhile. */
	async #whole(key: string, { long, ...letter }: Row): Promise<Read<DeadLetter | undefined>> {
		if (long === undefined) return { ok: true, value: letter };
		const read = await this.#events.read(key, long);
		return read.ok && read.value !== undefined ? { ok: true, value: { ...letter, event: read.value } } : (read as Read<undefined>);
	}

	/** `otherwise`: where there is no doubt. */
	#isCounted(key: string, otherwise: boolean): boolean {
		const isCounted = this.#inDoubt.get(key) ?? otherwise;
		this.#inDoubt.delete(key);
		return isCounted;
	}

	#uncounted(subscription: string): void {
		const count = this.#counts.get(subscription);
		if (count !== undefined && --count.count <= 0) this.#counts.delete(subscription);
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

function subscriptionOf(key: string): string {
	return key.slice(0, key.indexOf("/"));
}

function keyOf(subscription: string, sequence: number, member: string): string {
	const key = `${subscription}/${String(sequence).padStart(SEQUENCE_DIGITS, "0")}`;
	return member === "" ? key : `${key}/${member}`;
}
