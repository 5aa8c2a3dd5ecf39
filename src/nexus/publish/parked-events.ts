/** Events that violate the schema of their type, kept beside the log with the reason until somebody has them published or throws them away. */
import type { Clock } from "../../core/clock.ts";
import { validateEvent } from "../../events/cloud-event.ts";
import { identityOf } from "../log/identity-window.ts";
import { INLINE_BYTES_MAX, type LongText, LongTexts } from "../state/long-texts.ts";
import { put, type Read, remove, type StateFailed, type StateStore, type Write } from "../state/state-store.ts";
import type { RejectedEvent } from "./answer.ts";
import { PARKED_MAX } from "./limits.ts";
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

/** As the state has it: a large event stands beside it. */
interface Row extends ParkedEvent {
	readonly long?: LongText;
}

/** Of at most 4 MiB, and one event more. */
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
const EVENTS_TABLE = "_parked-events";
// With these the state's bounds for one commit are kept: a row is smaller than a value may be, which is as much.
const COMMIT_BYTES = 256 * 1024;
const COMMIT_EVENTS = 64;
const PAGE = 200;
const PAGE_BYTES = 4 * 1024 * 1024;
const FAILURES_SHOWN_MAX = 20;

export class ParkedEvents {
	readonly #state: StateStore;
	readonly #events: LongTexts;
	readonly #clock: Clock;
	#count = 0;

	private constructor(state: StateStore, clock: Clock) {
		this.#state = state;
		this.#events = new LongTexts(state, EVENTS_TABLE);
		this.#clock = clock;
	}

	/** Counts what is there. Rejects where the state cannot be read. */
	static async open(state: StateStore, clock: Clock): Promise<ParkedEvents> {
		const parked = new ParkedEvents(state, clock);
		const long = new Map<string, string>();
		for await (const page of parked.#pages()) {
			if ("failed" in page) throw new Error(`the parked events could not be read: ${page.failed.detail}`);
			parked.#count += page.rows.length;
			for (const row of page.rows) if (row.long !== undefined) long.set(row.key, row.long.name);
		}
		// Other nodes may be parking.
		if (!state.capabilities.isShared) await parked.#events.sweep((key, name) => long.get(key) === name);
		return parked;
	}

	/** As far as this node knows; others may park as well. */
	get count(): number {
		return this.#count;
	}

	/** Resolves once they are kept. Refused are those for which there is no room. */
	async park(events: readonly ParkingEvent[]): Promise<ParkOutcome> {
		const refused: RejectedEvent[] = [];
		let chunk: Row[] = [];
		let bytes = 0;
		for (const { index, event, json, reason } of events) {
			if (this.#count + chunk.length >= PARKED_MAX) {
				refused.push({ index, reason: `${reason}; ${PARKED_MAX} events are parked already` });
				continue;
			}
			const { type, source, id } = event;
			const told = { key: identityOf(source, id), type, source, id, reason, parkedAtMs: this.#clock.wallMs() };
			const text = Buffer.from(json);
			const long = text.length > INLINE_BYTES_MAX ? await this.#events.keep(told.key, text) : undefined;
			if (long !== undefined && "failure" in long) return { ok: false, detail: long.detail };
			const row: Row = long === undefined ? { ...told, event: json } : { ...told, event: "", long };
			const size = Buffer.byteLength(JSON.stringify(row));
			if (chunk.length > 0 && (bytes + size > COMMIT_BYTES || chunk.length === COMMIT_EVENTS)) {
				const failed = await this.#keep(chunk);
				if (failed !== undefined) return failed;
				chunk = [];
				bytes = 0;
			}
			chunk.push(row);
			bytes += size;
		}
		const failed = chunk.length === 0 ? undefined : await this.#keep(chunk);
		return failed ?? { ok: true, refused };
	}

	/** Taking nothing out, in no order that means anything. */
	async page(after: string | undefined, limit: number, type?: string): Promise<ParkedPage | Failed> {
		const found: ParkedEvent[] = [];
		let bytes = 0;
		let last: string | undefined;
		for await (const page of this.#pages(after)) {
			if ("failed" in page) return page;
			for (const row of page.rows) {
				if (type !== undefined && row.type !== type) continue;
				if (found.length === limit || bytes >= PAGE_BYTES) return { events: found, next: last };
				const whole = await this.#whole(row);
				if (!whole.ok) return { ok: false, failed: whole };
				last = row.key;
				if (whole.value === undefined) continue;
				found.push(whole.value);
				bytes += whole.value.event.length;
			}
		}
		return { events: found, next: undefined };
	}

	async get(key: string): Promise<ParkedEvent | undefined | Failed> {
		const read = await this.#state.get(TABLE, key);
		if (!read.ok) return { ok: false, failed: read };
		const whole = read.value === undefined ? undefined : await this.#whole(read.value.value as Row);
		return whole?.ok === false ? { ok: false, failed: whole } : whole?.value;
	}

	/** True where it was there. */
	async remove(key: string): Promise<boolean | Failed> {
		const found = await this.#state.get(TABLE, key);
		if (!found.ok) return { ok: false, failed: found };
		if (found.value === undefined) return false;
		const removed = await this.#state.commit([remove(TABLE, key), ...this.#removals(found.value.value as Row)]);
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
			for (const row of page.rows) {
				if (type !== undefined && row.type !== type) continue;
				if (left-- === 0) return;
				const whole = await this.#whole(row);
				if (!whole.ok) yield { ok: false, failed: whole } satisfies Failed;
				else if (whole.value !== undefined) yield whole.value;
			}
		}
	}

	async *#pages(from?: string): AsyncGenerator<{ readonly rows: readonly Row[] } | Failed, void, void> {
		for (let after = from; ; ) {
			const page = await this.#state.list(TABLE, { limit: PAGE, ...(after === undefined ? {} : { after }) });
			if (!page.ok) {
				yield { ok: false, failed: page };
				return;
			}
			yield { rows: page.value.entries.map(({ value }) => value as Row) };
			after = page.value.next;
			if (after === undefined) return;
		}
	}

	/** Undefined: it has gone meanwhile. */
	async #whole({ long, ...row }: Row): Promise<Read<ParkedEvent | undefined>> {
		if (long === undefined) return { ok: true, value: row };
		const read = await this.#events.read(row.key, long);
		return read.ok && read.value !== undefined ? { ok: true, value: { ...row, event: read.value } } : (read as Read<undefined>);
	}

	#removals({ key, long }: Row): Write[] {
		return long === undefined ? [] : this.#events.removals(key, long);
	}

	async #keep(rows: readonly Row[]): Promise<{ readonly ok: false; readonly detail: string } | undefined> {
		// Twice in one message it is still one event.
		const byKey = new Map(rows.map((row) => [row.key, row]));
		const known = await Promise.all([...byKey.keys()].map((key) => this.#state.get(TABLE, key)));
		const committed = await this.#state.commit([...byKey].map(([key, row]) => put(TABLE, key, row)));
		if (!committed.ok) return { ok: false, detail: committed.failure === "conflict" ? "somebody else wrote them" : committed.detail };
		for (const read of known) {
			if (!read.ok) continue;
			if (read.value === undefined) this.#count++;
			else await this.#removeReplaced(read.value.value as Row, byKey);
		}
		return undefined;
	}

	/** Another event of the same source and id stood there before. */
	async #removeReplaced(before: Row, now: ReadonlyMap<string, Row>): Promise<void> {
		if (before.long === undefined || now.get(before.key)?.long?.name === before.long.name) return;
		await this.#state.commit(this.#removals(before));
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
