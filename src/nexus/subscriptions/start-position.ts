/** Where in the log a subscription begins, as a sequence that stays true after a restart. */
import { setImmediate } from "node:timers/promises";
import { messageOf } from "../../core/errors.ts";
import type { Rng } from "../../core/rng.ts";
import type { EventFilter, EventLog } from "../log/event-log.ts";
import type { StartPoint } from "./document.ts";
import { parseStored } from "./feed.ts";
import { readAttribute } from "./filter/attributes.ts";
import type { Filter } from "./filter/filter.ts";
import { CATCH_UP_PAGE_EVENTS, LAST_KEYS_MAX } from "./limits.ts";
import type { Refusal } from "./refusal.ts";

/** Of a random number that names a life: a token has room for it. */
const LIVES = 2 ** 40;

export interface Start {
	/** Events behind this one are delivered. */
	readonly position: number;
	/** Of those up to `until`, only the last of each value of the attribute, and those without one. */
	readonly lastPer?: { readonly attribute: "partitionkey" | "subject"; readonly until: number };
}

export async function startOf(from: StartPoint, log: EventLog): Promise<Start> {
	const { lastSequence } = log.stats();
	if (from === "new") return { position: lastSequence };
	if (from === "all") return { position: 0 };
	if ("sequence" in from) return { position: Math.min(Math.max(0, from.sequence - 1), lastSequence) };
	if ("lastPer" in from) return { position: 0, lastPer: { attribute: from.lastPer, until: lastSequence } };
	const sinceMs = Date.parse(from.time);
	for (let after = 0; ; ) {
		const page = await log.read({ sinceMs, after, order: "asc", limit: 1 });
		const [first] = page.events;
		if (first !== undefined) return { position: first.sequence - 1 };
		if (page.atEnd) return { position: Math.max(after, page.scannedTo) };
		after = page.scannedTo;
	}
}

/** A new life of a subscription. */
export async function beginning(
	log: EventLog,
	rng: Rng,
	from: StartPoint,
	wanted: { readonly filter: Filter; readonly logFilter: EventFilter },
): Promise<{ readonly life: number; readonly start: Start } | Refusal> {
	try {
		const start = await startOf(from, log);
		const isTooMuch = start.lastPer !== undefined && (await lastPerKey(log, wanted, 0, start.lastPer)) === undefined;
		if (!isTooMuch) return { life: 1 + Math.floor(rng() * LIVES), start };
		return { ok: false, failure: "invalid", faults: [{ path: "from", message: `has more than ${LAST_KEYS_MAX} different keys to begin with` }] };
	} catch (thrown) {
		return { ok: false, failure: "unavailable", detail: `the log could not be read: ${messageOf(thrown)}` };
	}
}

/** The sequences behind `position` and up to `until` that are the last of their key. Undefined: there are too many keys. */
export async function lastPerKey(
	log: EventLog,
	{ filter, logFilter }: { readonly filter: Filter; readonly logFilter: EventFilter },
	position: number,
	{ attribute, until }: NonNullable<Start["lastPer"]>,
): Promise<ReadonlySet<number> | undefined> {
	const last = new Map<string, number>();
	const keyless = new Set<number>();
	for (let after = position; after < until; ) {
		const page = await log.read({ ...logFilter, after, order: "asc", limit: CATCH_UP_PAGE_EVENTS });
		for (const stored of page.events) {
			if (stored.sequence > until) break;
			const event = parseStored(stored);
			if (event === undefined || !filter.matches(event)) continue;
			const key = readAttribute(event, attribute);
			if (key === undefined) keyless.add(stored.sequence);
			else last.set(String(key), stored.sequence);
		}
		if (last.size + keyless.size > LAST_KEYS_MAX) return undefined;
		after = page.scannedTo;
		if (page.atEnd) break;
		await setImmediate();
	}
	for (const sequence of last.values()) keyless.add(sequence);
	return keyless;
}
