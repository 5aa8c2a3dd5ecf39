/** Moves a log into another, whatever keeps either: in order, resumable, and compared event by event at the end. */
import type { CloudEvent } from "../../events/cloud-event.ts";
import type { AppendFailure, EventLog, NewEvent, StoredEvent } from "./event-log.ts";

/** Where a copy stands; what is stored of it lets a later one go on from there. */
export interface CopyState {
	/** Everything in the source up to this sequence is durable in the target. */
	readonly after: number;
	/** The target's last sequence before the first event was copied. */
	readonly base: number;
	readonly copied: number;
	/** Events of the source that are one and the same (source, id): the target has them once. */
	readonly duplicates: number;
	/** Sequences of the source whose bytes are damaged; they are not in the target. */
	readonly damaged: number;
}

export interface CopyOptions {
	readonly from: EventLog;
	/** Empty, unless `resume` is given. Nobody else writes to either of them, or what comes meanwhile is not part of the copy. */
	readonly to: EventLog;
	readonly resume?: CopyState;
	/** Called when a page is durable in the target; the copy goes on once it resolves. `last` is the source's last sequence. */
	readonly onProgress?: (state: CopyState, last: number) => void | Promise<void>;
	/** Ends the work between two pages; the state that was told last resumes it. */
	readonly signal?: AbortSignal;
}

export type CopyOutcome =
	| { readonly ok: true; readonly state: CopyState }
	/** `differs`: the target does not hold what the source does. The others are the target's own; resume when they are over. */
	| { readonly ok: false; readonly failure: AppendFailure | "not-empty" | "differs" | "aborted"; readonly detail: string; readonly state: CopyState };

const PAGE_EVENTS = 500;

/** Rejects only with what a read of either log rejects with. */
export async function copyLog({ from, to, resume, onProgress, signal }: CopyOptions): Promise<CopyOutcome> {
	const { lastSequence } = to.stats();
	let state: CopyState = resume ?? { after: 0, base: lastSequence, copied: 0, duplicates: 0, damaged: 0 };
	if (resume === undefined && (await to.read({ order: "desc", limit: 1 })).events.length > 0) {
		return { ok: false, failure: "not-empty", detail: `the target holds events up to sequence ${lastSequence}`, state };
	}
	for (let atEnd = false; !atEnd; ) {
		if (signal?.aborted === true) return { ok: false, failure: "aborted", detail: "the copy was ended", state };
		const page = await from.read({ order: "asc", after: state.after, limit: PAGE_EVENTS });
		const outcomes = await Promise.all(batchesOf(page.events, to.capabilities.features.keepsTimes.has).map((batch) => to.append(batch)));
		let { copied, duplicates } = state;
		for (const outcome of outcomes) {
			if (!outcome.ok) return { ...outcome, state };
			copied += outcome.accepted;
			duplicates += outcome.duplicates;
		}
		const damaged = page.damaged.reduce((sum, { first, last }) => sum + last - first + 1, state.damaged);
		state = { ...state, after: page.scannedTo, copied, duplicates, damaged };
		atEnd = page.atEnd;
		await onProgress?.(state, from.stats().lastSequence);
	}
	const difference = await compare(from, to, state);
	return difference === undefined ? { ok: true, state } : { ok: false, failure: "differs", detail: difference, state };
}

/** The first difference, in words. Duplicates of the source are in the target once, at their first place. */
async function compare(from: EventLog, to: EventLog, { after, base }: CopyState): Promise<string | undefined> {
	const targets = walk(to, base);
	let target = await targets.next();
	for await (const event of walk(from, 0)) {
		if (event.sequence > after) break;
		const copy = target.value;
		if (copy?.json.equals(event.json) === true) target = await targets.next();
		else if (!(await hasEarlier(from, event))) {
			const place = copy === undefined ? "the target ends before it" : `the target has another event at sequence ${copy.sequence}`;
			return `sequence ${event.sequence} of the source is not where it should be: ${place}`;
		}
	}
	const rest = target.value;
	return rest === undefined ? undefined : `the target has an event at sequence ${rest.sequence} that the source has not`;
}

/** Whether the source holds the same (source, id) before: slow, and asked only of events that are not in the target. */
async function hasEarlier(from: EventLog, event: StoredEvent): Promise<boolean> {
	const { source, id } = identityOf(event);
	for await (const other of walk(from, 0)) {
		if (other.sequence >= event.sequence) return false;
		const known = identityOf(other);
		if (known.source === source && known.id === id) return true;
	}
	return false;
}

async function* walk(log: EventLog, after: number): AsyncGenerator<StoredEvent, undefined> {
	for (let position = after, atEnd = false; !atEnd; ) {
		const page = await log.read({ order: "asc", after: position, limit: PAGE_EVENTS });
		yield* page.events;
		position = page.scannedTo;
		atEnd = page.atEnd;
	}
	return undefined;
}

interface Batch {
	readonly bytes: Buffer;
	readonly events: readonly NewEvent[];
	readonly receivedAtMs?: number;
}

/** One batch, or one for each run of events of the same time where the target can keep times. */
function batchesOf(events: readonly StoredEvent[], keepsTimes: boolean): Batch[] {
	const runs: StoredEvent[][] = [];
	for (const event of events) {
		const run = runs.at(-1);
		if (run === undefined || (keepsTimes && run[0]?.receivedAtMs !== event.receivedAtMs)) runs.push([event]);
		else run.push(event);
	}
	return runs.map((run) => {
		let end = 0;
		const members = run.map(({ json }): NewEvent => {
			const start = end;
			end += json.length;
			const { source, id, type, subject, priority, partitionkey } = JSON.parse(json.toString()) as CloudEvent;
			return { source, id, type, subject, priority, partitionKey: partitionkey, start, end };
		});
		const batch = { bytes: Buffer.concat(run.map(({ json }) => json)), events: members };
		const receivedAtMs = run[0]?.receivedAtMs;
		return keepsTimes && receivedAtMs !== undefined ? { ...batch, receivedAtMs } : batch;
	});
}

function identityOf({ json }: StoredEvent): { source: string; id: string } {
	return JSON.parse(json.toString()) as { source: string; id: string };
}
