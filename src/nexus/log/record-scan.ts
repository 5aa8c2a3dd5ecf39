/** Answers queries by looking at events one by one: for logs whose broker knows nothing of types and sources. */

import type { EventFilter, ReadQuery, ReadResult, StoredEvent } from "./event-log.ts";
import { compilePattern } from "./event-matcher.ts";
import { SCAN_BYTES_MAX } from "./limits.ts";

/** Events that are asked of the broker at a time. */
const PAGE_EVENTS = 512;

export interface RecordSource {
	/** Sequences of the oldest and newest event that can be read. */
	readonly first: number;
	readonly last: number;
	/** From `first` on, rising, at most `count`; fewer only where there are no more or they are large. */
	fetch(first: number, count: number): Promise<readonly StoredEvent[]>;
	/** The first sequence received at or after that time, or an earlier one; undefined where there is none. */
	sequenceAt(timeMs: number): Promise<number | undefined>;
}

/** Rejects with what the source rejects with. */
export function scanRecords(source: RecordSource, query: ReadQuery): Promise<ReadResult> {
	return query.order === "asc" ? scanUp(source, query) : scanDown(source, query);
}

async function scanUp(source: RecordSource, query: ReadQuery): Promise<ReadResult> {
	const { first, last } = source;
	const matches = compileRecordFilter(query);
	const events: StoredEvent[] = [];
	let position = Math.max(query.after ?? 0, first - 1);
	if (query.sinceMs !== undefined && position < last) {
		const at = await source.sequenceAt(query.sinceMs);
		position = Math.max(position, (at ?? last + 1) - 1);
	}
	for (let bytes = 0; position < last; ) {
		if (bytes > SCAN_BYTES_MAX) return result(events, position, false);
		const page = await source.fetch(position + 1, Math.min(PAGE_EVENTS, last - position));
		if (page.length === 0) break;
		for (const event of page) {
			if (event.sequence > last) return result(events, last, true);
			if (events.length >= query.limit) return result(events, position, false);
			position = event.sequence;
			bytes += event.json.length;
			if (matches(event)) events.push(event);
		}
	}
	return result(events, Math.max(position, last), true);
}

async function scanDown(source: RecordSource, query: ReadQuery): Promise<ReadResult> {
	const { first, last } = source;
	const matches = compileRecordFilter(query);
	const events: StoredEvent[] = [];
	let position = Math.min(query.after ?? Number.POSITIVE_INFINITY, last + 1);
	for (let bytes = 0; position > first; ) {
		if (bytes > SCAN_BYTES_MAX) return result(events, position, false);
		const low = Math.max(first, position - PAGE_EVENTS);
		for (const event of (await fetchRange(source, low, position - 1)).reverse()) {
			if (events.length >= query.limit) return result(events, position, false);
			position = event.sequence;
			bytes += event.json.length;
			if (matches(event)) events.push(event);
		}
		position = low;
	}
	return result(events, Math.min(position, first), true);
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

function compileRecordFilter({ type, source, subject, sinceMs, untilMs }: EventFilter): (event: StoredEvent) => boolean {
	const from = sinceMs ?? Number.NEGATIVE_INFINITY;
	const until = untilMs ?? Number.POSITIVE_INFINITY;
	const matchesType = type === undefined || type === "*" ? undefined : compilePattern(type);
	if (matchesType === undefined && source === undefined && subject === undefined) {
		return ({ receivedAtMs }) => receivedAtMs >= from && receivedAtMs <= until;
	}
	return ({ receivedAtMs, json }) => {
		if (receivedAtMs < from || receivedAtMs > until) return false;
		const event = JSON.parse(json.toString()) as { type: string; source: string; subject?: string };
		return (
			(matchesType === undefined || matchesType(event.type)) &&
			(source === undefined || event.source === source) &&
			(subject === undefined || event.subject === subject)
		);
	};
}

function result(events: readonly StoredEvent[], scannedTo: number, atEnd: boolean): ReadResult {
	return { events, scannedTo, atEnd, damaged: [] };
}
