/** Answers queries by looking at events one by one: for logs whose broker knows nothing of types and sources. */

import type { EventFilter, ReadQuery, ReadResult, StoredEvent } from "./event-log.ts";
import { compilePattern } from "./event-matcher.ts";
import { SCAN_BYTES_MAX } from "./limits.ts";

/** Events that are asked of the broker at a time. */
const PAGE_EVENTS = 512;
/** No date is beyond it (ECMA-262 section 21.4.1.1): what others have stamped so cannot be shown. */
const TIME_MS_MAX = 8.64e15;

export interface RecordSource {
	/** Sequences of the oldest and newest event that can be read. */
	readonly first: number;
	readonly last: number;
	/** From `first` on, rising, at most `count`; fewer only where there are no more or they are large. */
	fetch(first: number, count: number): Promise<readonly StoredEvent[]>;
	/** The first sequence received at or after that time, or an earlier one; undefined where there is none. */
	sequenceAt(timeMs: number): Promise<number | undefined>;
	readonly attributes: RecordAttributes;
}

/** What filters ask of an event. */
export interface Attributes {
	readonly id: string;
	readonly source: string;
	readonly type: string;
	readonly subject?: string;
}

/** Parses an event once for all who look at it: thousands of followers look at the newest ones. */
export class RecordAttributes {
	readonly #known = new WeakMap<StoredEvent, Attributes | typeof FOREIGN>();

	/** Undefined where it is no event: others can write into what a broker keeps. */
	of(event: StoredEvent): Attributes | undefined {
		let attributes = this.#known.get(event);
		if (attributes === undefined) {
			attributes = (Math.abs(event.receivedAtMs) <= TIME_MS_MAX ? parseAttributes(event.json) : undefined) ?? FOREIGN;
			this.#known.set(event, attributes);
		}
		return attributes === FOREIGN ? undefined : attributes;
	}
}

const FOREIGN = Symbol("no event");

/** Rejects with what the source rejects with. */
export function scanRecords(source: RecordSource, query: ReadQuery): Promise<ReadResult> {
	return query.order === "asc" ? scanUp(source, query) : scanDown(source, query);
}

async function scanUp(source: RecordSource, query: ReadQuery): Promise<ReadResult> {
	const { first, last } = source;
	const matches = compileRecordFilter(query);
	const found: Found = { events: [], damaged: [] };
	let position = Math.max(query.after ?? 0, first - 1);
	if (query.sinceMs !== undefined && position < last) {
		const at = await source.sequenceAt(query.sinceMs);
		position = Math.max(position, (at ?? last + 1) - 1);
	}
	for (let bytes = 0; position < last; ) {
		if (bytes > SCAN_BYTES_MAX) return result(found, position, false);
		const page = await source.fetch(position + 1, Math.min(PAGE_EVENTS, last - position));
		if (page.length === 0) break;
		for (const event of page) {
			if (event.sequence > last) return result(found, last, true);
			if (found.events.length >= query.limit) return result(found, position, false);
			position = event.sequence;
			bytes += event.json.length;
			sort(event, source.attributes.of(event), matches, found);
		}
	}
	return result(found, Math.max(position, last), true);
}

async function scanDown(source: RecordSource, query: ReadQuery): Promise<ReadResult> {
	const { first, last } = source;
	const matches = compileRecordFilter(query);
	const found: Found = { events: [], damaged: [] };
	let position = Math.min(query.after ?? Number.POSITIVE_INFINITY, last + 1);
	for (let bytes = 0; position > first; ) {
		if (bytes > SCAN_BYTES_MAX) return result(found, position, false);
		const low = Math.max(first, position - PAGE_EVENTS);
		for (const event of (await fetchRange(source, low, position - 1)).reverse()) {
			if (found.events.length >= query.limit) return result(found, position, false);
			position = event.sequence;
			bytes += event.json.length;
			sort(event, source.attributes.of(event), matches, found);
		}
		position = low;
	}
	return result(found, Math.min(position, first), true);
}

/** All events with sequences from `low` to `high`. */
async function fetchRange(source: RecordSource, low: number, high: number): Promise<StoredEvent[]> {
	const events: StoredEvent[] = [];
	for (let from = low; from <= high; ) {
		const page = await source.fetch(from, high - from + 1);
		const last = page.at(-1);
		if (last === undefined) break;
		for (const event of page) if (event.sequence <= high) events.push(event);
		from = last.sequence + 1;
	}
	return events;
}

interface Found {
	readonly events: StoredEvent[];
	readonly damaged: { first: number; last: number }[];
}

type Matches = (event: StoredEvent, attributes: Attributes) => boolean;

function sort(event: StoredEvent, attributes: Attributes | undefined, matches: Matches, { events, damaged }: Found): void {
	if (attributes === undefined) noteDamage(event.sequence, damaged);
	else if (matches(event, attributes)) events.push(event);
}

/** Neighbours are one entry: a stream full of something else is still a short list. */
function noteDamage(sequence: number, damaged: Found["damaged"]): void {
	const last = damaged.at(-1);
	if (last?.last === sequence - 1) last.last = sequence;
	else if (last?.first === sequence + 1) last.first = sequence;
	else damaged.push({ first: sequence, last: sequence });
}

function compileRecordFilter({ type, source, subject, sinceMs, untilMs }: EventFilter): Matches {
	const from = sinceMs ?? Number.NEGATIVE_INFINITY;
	const until = untilMs ?? Number.POSITIVE_INFINITY;
	const matchesType = type === undefined || type === "*" ? undefined : compilePattern(type);
	return ({ receivedAtMs }, event) =>
		receivedAtMs >= from &&
		receivedAtMs <= until &&
		(matchesType === undefined || matchesType(event.type)) &&
		(source === undefined || event.source === source) &&
		(subject === undefined || event.subject === subject);
}

function parseAttributes(json: Buffer): Attributes | undefined {
	let parsed: unknown;
	try {
		parsed = JSON.parse(json.toString());
	} catch {
		return undefined;
	}
	const { id, source, type, subject } = (parsed ?? {}) as Record<string, unknown>;
	if (typeof id !== "string" || typeof source !== "string" || typeof type !== "string") return undefined;
	return typeof subject === "string" ? { id, source, type, subject } : { id, source, type };
}

function result({ events, damaged }: Found, scannedTo: number, atEnd: boolean): ReadResult {
	return { events, scannedTo, atEnd, damaged };
}
