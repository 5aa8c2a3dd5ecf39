/** Events that violate the schema of their type, kept beside the log with the reason until somebody has them published or throws them away. */
import type { Clock } from "../../core/clock.ts";
import { validateEvent } from "../../events/cloud-event.ts";
import { identityOf } from "../log/identity-window.ts";
import { put, remove, type StateFailed, type StateStore } from "../state/state-store.ts";
import type { RejectedEvent } from "./answer.ts";
import { PARKED_EVENT_BYTES_MAX, PARKED_MAX } from "./limits.ts";
import type { CheckEvent, Message, ParkingEvent, ParkOutcome, PublishOutcome } from "./publisher.ts";

export interface ParkedEvent {
	/** Of (source, id): the same event is parked once. */
	readonly key: string;
	readonly type: string;
	readonly source: string;
	readonly id: string;
	readonly reason: string;
	readonly parkedAtMs: number;
	/** As its sender wrote it. */
	readonly event: string;
}

export interface ParkedPage {
	readonly events: readonly ParkedEvent[];
	/** `after` of the next page; undefined at the end. */
	readonly next: string | undefined;
}

export interface ReplayReport {
	/** In the log now, and not parked any more. */
	readonly recovered: number;
	readonly stillFailed: number;
	/** Why, of the first few that are still parked. */
	readonly failures: readonly { readonly key: string; readonly reason: string }[];
}

type Failed = { readonly ok: false; readonly failed: StateFailed };

const TABLE = "_parked";
// With these the state's bounds for one commit are kept: an event has up to 192 KiB.
const COMMIT_BYTES = 256 * 1024;
const COMMIT_EVENTS = 64;
const PAGE = 200;
const FAILURES_SHOWN_MAX = 20;

export class ParkedEvents {
	readonly #state: StateStore;
	readonly #clock: Clock;
	#count = 0;

	private constructor(state: StateStore, clock: Clock) {
		this.#state = state;
		this.#clock = clock;
	}

	/** Counts what is there. Rejects where the state cannot be read. */
	static async open(state: StateStore, clock: Clock): Promise<ParkedEvents> {
		const parked = new ParkedEvents(state, clock);
		for await (const page of parked.#pages()) {
			if ("failed" in page) throw new Error(`the parked events could not be read: ${page.failed.detail}`);
			parked.#count += page.events.length;
		}
		return parked;
	}

	/** As far as this node knows; others may park as well. */
	get count(): number {
		return this.#count;
	}

	/** Resolves once they are kept. Refused are those that are too large, and those for which there is no room. */
	async park(events: readonly ParkingEvent[]): Promise<ParkOutcome> {
		const refused: RejectedEvent[] = [];
		let chunk: ParkedEvent[] = [];
		let bytes = 0;
		for (const { index, event, json, reason } of events) {
			const size = Buffer.byteLength(json);
			if (size > PARKED_EVENT_BYTES_MAX) {
				refused.push({ index, reason: `${reason}; it is larger than the ${PARKED_EVENT_BYTES_MAX} bytes that can be parked` });
				continue;
			}
			if (this.#count + chunk.length >= PARKED_MAX) {
				refused.push({ index, reason: `${reason}; ${PARKED_MAX} events are parked already` });
				continue;
			}
			if (chunk.length > 0 && (bytes + size > COMMIT_BYTES || chunk.length === COMMIT_EVENTS)) {
				const failed = await this.#keep(chunk);
				if (failed !== undefined) return failed;
				chunk = [];
				bytes = 0;
			}
			const { type, source, id } = event;
			chunk.push({ key: identityOf(source, id), type, source, id, reason, parkedAtMs: this.#clock.wallMs(), event: json });
			bytes += size;
		}
		const failed = chunk.length === 0 ? undefined : await this.#keep(chunk);
		return failed ?? { ok: true, refused };
	}

	/** Taking nothing out, in no order that means anything. */
	async page(after: string | undefined, limit: number, type?: string): Promise<ParkedPage | Failed> {
		const found: ParkedEvent[] = [];
		for await (const page of this.#pages(after)) {
			if ("failed" in page) return page;
			for (const event of page.events) {
				if (type !== undefined && event.type !== type) continue;
				if (found.length === limit) return { events: found, next: found.at(-1)?.key };
				found.push(event);
			}
		}
		return { events: found, next: undefined };
	}

	async get(key: string): Promise<ParkedEvent | undefined | Failed> {
		const read = await this.#state.get(TABLE, key);
		return read.ok ? (read.value?.value as ParkedEvent | undefined) : { ok: false, failed: read };
	}

	/** True where it was there. */
	async remove(key: string): Promise<boolean | Failed> {
		const found = await this.get(key);
		if (found === undefined) return false;
		if ("failed" in found) return found;
		const removed = await this.#state.commit([remove(TABLE, key)]);
		if (removed.ok) this.#count = Math.max(0, this.#count - 1);
		else if (removed.failure !== "conflict") return { ok: false, failed: removed };
		return true;
	}

	/** Publishes those that are fine by now. What is in the log and could not be forgotten here is a duplicate the next time. */
	async replay(
		asked: { readonly keys?: readonly string[]; readonly type?: string; readonly limit: number },
		check: CheckEvent,
		publish: (message: Message) => Promise<PublishOutcome>,
	): Promise<ReplayReport | Failed> {
		const failures: { key: string; reason: string }[] = [];
		let recovered = 0;
		let stillFailed = 0;
		for await (const found of this.#asked(asked)) {
			if ("failed" in found) return found;
			const reason = await replayOne(found, check, publish);
			if (reason === undefined) {
				const removed = await this.remove(found.key);
				if (typeof removed !== "boolean") return removed;
				recovered++;
			} else {
				stillFailed++;
				if (failures.length < FAILURES_SHOWN_MAX) failures.push({ key: found.key, reason });
			}
		}
		return { recovered, stillFailed, failures };
	}

	async *#asked({ keys, type, limit }: { readonly keys?: readonly string[]; readonly type?: string; readonly limit: number }) {
		if (keys !== undefined) {
			for (const key of keys) {
				const found = await this.get(key);
				if (found !== undefined) yield found;
			}
			return;
		}
		let left = limit;
		for await (const page of this.#pages()) {
			if ("failed" in page) {
				yield page;
				return;
			}
			for (const event of page.events) {
				if (type !== undefined && event.type !== type) continue;
				if (left-- === 0) return;
				yield event;
			}
		}
	}

	async *#pages(from?: string): AsyncGenerator<{ readonly events: readonly ParkedEvent[] } | Failed, void, void> {
		for (let after = from; ; ) {
			const page = await this.#state.list(TABLE, { limit: PAGE, ...(after === undefined ? {} : { after }) });
			if (!page.ok) {
				yield { ok: false, failed: page };
				return;
			}
			yield { events: page.value.entries.map(({ value }) => value as ParkedEvent) };
			after = page.value.next;
			if (after === undefined) return;
		}
	}

	async #keep(events: readonly ParkedEvent[]): Promise<{ readonly ok: false; readonly detail: string } | undefined> {
		// Twice in one message it is still one event.
		const byKey = new Map(events.map((event) => [event.key, event]));
		const known = await Promise.all([...byKey.keys()].map((key) => this.#state.get(TABLE, key)));
		const committed = await this.#state.commit([...byKey].map(([key, event]) => put(TABLE, key, event)));
		if (committed.ok) {
			this.#count += known.filter((read) => read.ok && read.value === undefined).length;
			return undefined;
		}
		return { ok: false, detail: committed.failure === "conflict" ? "somebody else wrote them" : committed.detail };
	}
}

/** Undefined where it is in the log now; else why not. */
async function replayOne(
	{ event: json }: ParkedEvent,
	check: CheckEvent,
	publish: (message: Message) => Promise<PublishOutcome>,
): Promise<string | undefined> {
	const bytes = Buffer.from(json);
	const verdict = validateEvent(JSON.parse(json));
	if (!verdict.ok) return verdict.reason;
	const violation = check(verdict.event);
	if (violation !== undefined) return violation.reason;
	const outcome = await publish({ bytes, members: [{ ok: true, event: verdict.event, start: 0, end: bytes.length }] });
	if (!outcome.ok) return "detail" in outcome ? outcome.detail : outcome.failure;
	return outcome.accepted + outcome.duplicates === 1 ? undefined : "it was not taken";
}
