/** The embedded event log: group commit over segments, each (source, id) once within the window, reads of what is durable. */
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import { IdSource } from "../../core/ids.ts";
import type { Logger } from "../../core/log.ts";
import { type BackupOptions, type BackupReport, backupSegments } from "./backup.ts";
import { BatchProgress } from "./batch-progress.ts";
import { BACKENDS } from "./capabilities.ts";
import { DEDUPE_WINDOW_EVENTS, type DedupeWindow } from "./dedupe-window.ts";
import { lockDirectory } from "./directory-lock.ts";
import type { AppendBatch, AppendOutcome, EventLog, LogStats, NewEvent, ReadQuery, ReadResult, RetentionLimits } from "./event-log.ts";
import { Group, type GroupBuffers, type GroupResult, newGroupBuffers } from "./group.ts";
import { Housekeeping } from "./housekeeping.ts";
import { HASH_KEY_BYTES, KeyedHash } from "./keyed-hash.ts";
import { EXTENT_BYTES, RETENTION_AGE_MS, RETENTION_BYTES, SEGMENT_BYTES } from "./limits.ts";
import { LogReader } from "./log-reader.ts";
import { recoverWindow } from "./recovered-window.ts";
import { type RecoveryNote, recoverSegments } from "./recovery.ts";
import { makeDirectory, type Segment } from "./segment.ts";
import { SegmentWriter } from "./segment-writer.ts";

export interface EmbeddedLogOptions {
	readonly dir: string;
	readonly clock: Clock;
	readonly log: Logger;
	readonly segmentBytes?: number;
	readonly extentBytes?: number;
	readonly retention?: RetentionLimits;
	readonly dedupeWindowEvents?: number;
	/** See SegmentWriterOptions. */
	readonly beforeSync?: () => void;
}

const RETENTION: RetentionLimits = Object.freeze({ bytesMax: RETENTION_BYTES, ageMsMax: RETENTION_AGE_MS });
// Only whole segments go, so a quiet log begins a new one often enough that age is kept to a seventh.
const SEGMENTS_PER_AGE = 7;
// Memory of groups that is kept for the next ones: one being written, one being filled.
const SPARE_BUFFERS_MAX = 2;
// More damage than this is a dead disk, not a list.
const DAMAGE_NOTES_MAX = 10_000;
const SPARE_BUFFER_BYTES_MAX = 4 * 1024 * 1024;

/** Locks the directory, recovers what is in it and opens the log. Throws a readable error when the directory cannot be used. */
export function openEmbeddedLog(options: EmbeddedLogOptions): { log: EventLog; recovery: readonly RecoveryNote[] } {
	makeDirectory(options.dir);
	const lock = lockDirectory(options.dir);
	try {
		const { segments, notes } = recoverSegments(options.dir, options.extentBytes ?? EXTENT_BYTES);
		return { log: new EmbeddedLog(options, segments, lock.release), recovery: notes };
	} catch (thrown) {
		lock.release();
		throw thrown;
	}
}

class EmbeddedLog implements EventLog {
	readonly capabilities = BACKENDS.embedded;
	readonly #options: EmbeddedLogOptions;
	readonly #segments: Segment[];
	readonly #unlock: () => void;
	readonly #housekeeping: Housekeeping;
	readonly #writer: SegmentWriter;
	readonly #reader: LogReader;
	readonly #window: DedupeWindow;
	readonly #hash: KeyedHash;
	/** Places found damaged, each told once. */
	readonly #damage = new Set<string>();
	readonly #listeners = new Set<() => void>();
	readonly #spare: GroupBuffers[] = [];
	/** Being committed; then those that wait, the last of which takes new events. */
	#inFlight: readonly Group[] = [];
	#waiting: Group[] = [];
	#durableSequence: number;
	#nextSequence: number;
	#committing: Promise<void> | undefined;
	#closing: Promise<void> | undefined;
	#isFailing = false;
	readonly #counts = { commits: 0, appended: 0, duplicates: 0, failures: 0 };

	constructor(options: EmbeddedLogOptions, segments: Segment[], unlock: () => void) {
		const { dir, clock, log, segmentBytes = SEGMENT_BYTES, extentBytes = EXTENT_BYTES, retention = RETENTION, beforeSync } = options;
		const ids = new IdSource();
		const hashKey = segments[0]?.header.hashKey ?? Buffer.from(ids.hex(HASH_KEY_BYTES * 2), "hex");
		this.#options = options;
		this.#segments = segments;
		this.#unlock = unlock;
		this.#hash = new KeyedHash(hashKey);
		const segmentAgeMs = retention.ageMsMax / SEGMENTS_PER_AGE;
		this.#writer = new SegmentWriter({ dir, segments, hashKey, segmentBytes, segmentAgeMs, extentBytes, clock, ids, log, beforeSync });
		this.#reader = new LogReader({ segments, subjectHash: (subject) => this.#subjectHash(subject), onDamage: (place) => this.#noteDamage(place) });
		this.#durableSequence = segments.at(-1)?.lastSequence ?? 0;
		this.#nextSequence = this.#durableSequence + 1;
		this.#window = recoverWindow(segments, options.dedupeWindowEvents ?? DEDUPE_WINDOW_EVENTS);
		this.#housekeeping = new Housekeeping({ dir, segments, limits: retention, extentBytes, ids, clock, log });
	}

	append(batch: AppendBatch): Promise<AppendOutcome> {
		if (this.#closing !== undefined) return Promise.resolve(CLOSED);
		const progress = new BatchProgress(batch.receivedAtMs);
		const suspects: NewEvent[] = [];
		for (const event of batch.events) {
			this.#hash.hash(event.source, event.id);
			if (!this.#window.has(this.#hash.hi, this.#hash.lo)) this.#stage(event, batch.bytes, progress);
			else if (!this.#isPending(event, progress)) suspects.push(event);
		}
		return suspects.length === 0 ? this.#outcome(progress) : this.#settleSuspects(suspects, batch.bytes, progress);
	}

	read(query: ReadQuery): Promise<ReadResult> {
		return this.#reader.read(query, this.#durableSequence);
	}

	onCommit(listener: () => void): () => void {
		this.#listeners.add(listener);
		return () => void this.#listeners.delete(listener);
	}

	truncate(limits: RetentionLimits): Promise<void> {
		return this.#housekeeping.apply(limits);
	}

	backup(dir: string, options?: BackupOptions): Promise<BackupReport> {
		return backupSegments(() => this.#segments, dir, options);
	}

	stats(): LogStats {
		return {
			...this.#counts,
			isFailing: this.#isFailing,
			damagedBlocks: this.#damage.size,
			firstSequence: this.#segments[0]?.header.firstSequence ?? 1,
			lastSequence: this.#durableSequence,
			bytes: this.#segments.reduce((sum, segment) => sum + segment.end, 0),
			segments: this.#segments.length,
			pendingBytes: [...this.#inFlight, ...this.#waiting].reduce((sum, group) => sum + group.bodyBytes, 0),
		};
	}

	close(): Promise<void> {
		this.#closing ??= (async () => {
			await this.#housekeeping.close();
			while (this.#committing !== undefined) await this.#committing;
			const last = this.#segments.at(-1);
			if (last !== undefined) this.#writer.finish(last);
			for (const segment of this.#segments) segment.release();
			this.#unlock();
		})();
		return this.#closing;
	}

	/** The hash of the event's identity stands in `#hash`. */
	#stage(event: NewEvent, bytes: Buffer, progress: BatchProgress): void {
		const { hi, lo } = this.#hash;
		const subjectHash = event.subject === undefined ? 0 : this.#subjectHash(event.subject);
		let group = this.#waiting.at(-1);
		if (group === undefined || group.isFull || group.receivedAtMs !== progress.receivedAtMs) {
			group = new Group(this.#nextSequence, this.#spare.pop() ?? newGroupBuffers(), progress.receivedAtMs);
			this.#waiting.push(group);
			this.#committing ??= this.#commitAll();
		}
		const sequence = group.stage(event, bytes, hi, lo, subjectHash);
		this.#nextSequence = sequence + 1;
		this.#window.add(hi, lo, sequence);
		progress.staged(sequence, group);
	}

	/** Whether the event waits for a commit already; then this batch waits for the same one. The hash stands in `#hash`. */
	#isPending(event: NewEvent, progress: BatchProgress): boolean {
		return this.#window.find(this.#hash.hi, this.#hash.lo, (sequence) => {
			if (sequence <= this.#durableSequence) return false;
			const group =
				this.#waiting.findLast((each) => each.firstSequence <= sequence) ?? this.#inFlight.findLast((each) => each.firstSequence <= sequence);
			if (group === undefined || !group.holds(sequence, event.source, event.id)) return false;
			progress.repeated(sequence, group);
			return true;
		});
	}

	/** Events whose hash the log holds: duplicates where the log has the very same identity, new ones otherwise. */
	async #settleSuspects(suspects: readonly NewEvent[], bytes: Buffer, progress: BatchProgress): Promise<AppendOutcome> {
		for (const event of suspects) {
			const looked = new Set<number>();
			for (;;) {
				this.#hash.hash(event.source, event.id);
				if (this.#isPending(event, progress)) break;
				let next = 0;
				this.#window.find(this.#hash.hi, this.#hash.lo, (sequence) => {
					if (!looked.has(sequence) && sequence <= this.#durableSequence) next = sequence;
					return next !== 0;
				});
				if (next === 0) {
					this.#stage(event, bytes, progress);
					break;
				}
				looked.add(next);
				progress.pause();
				const isSame = await this.#reader.holds(next, event.source, event.id);
				if (this.#closing !== undefined) return CLOSED;
				if (isSame) {
					progress.repeated(next);
					break;
				}
			}
		}
		return this.#outcome(progress);
	}

	async #outcome(progress: BatchProgress): Promise<AppendOutcome> {
		const outcome = await progress.outcome();
		if (outcome.ok) this.#counts.duplicates += outcome.duplicates;
		return outcome;
	}

	async #commitAll(): Promise<void> {
		// What else has arrived in this turn of the loop belongs to the same group.
		await new Promise((resolve) => setImmediate(resolve));
		while (this.#waiting.length > 0) {
			this.#inFlight = this.#waiting;
			this.#waiting = [];
			const result = await this.#writer.commit(this.#inFlight);
			if (result.ok) this.#committed();
			else this.#failed(result.cause);
		}
		this.#committing = undefined;
	}

	#committed(): void {
		const groups = this.#inFlight;
		this.#inFlight = [];
		this.#counts.commits++;
		if (this.#isFailing) this.#options.log.info("the log commits again");
		this.#isFailing = false;
		for (const group of groups) {
			this.#durableSequence = group.firstSequence + group.events - 1;
			this.#counts.appended += group.events;
			this.#recycle(group);
		}
		for (const group of groups) group.settle(SETTLED);
		for (const listener of this.#listeners) listener();
	}

	/** Whatever was staged behind the failed groups counts on their sequences: all of it is refused, and the senders ask again. */
	#failed(cause: unknown): void {
		const groups = [...this.#inFlight, ...this.#waiting];
		this.#inFlight = [];
		this.#waiting = [];
		this.#counts.failures++;
		this.#nextSequence = this.#durableSequence + 1;
		for (const group of groups) {
			group.forEachHash((hi, lo, sequence) => this.#window.forget(hi, lo, sequence));
			this.#recycle(group);
			group.settle({ ok: false, cause });
		}
		// Once per outage, not once per commit.
		if (!this.#isFailing) this.#options.log.error("the log cannot commit; events are refused until it can", { error: messageOf(cause) });
		this.#isFailing = true;
	}

	#recycle({ buffers }: Group): void {
		if (this.#spare.length < SPARE_BUFFERS_MAX && buffers.bytes.length <= SPARE_BUFFER_BYTES_MAX) this.#spare.push(buffers);
	}

	#subjectHash(subject: string): number {
		this.#hash.hash(subject, "");
		return this.#hash.lo || 1; // 0 means "none"
	}

	#noteDamage(place: { file: string; offset: number; first: number; last: number }): void {
		const key = `${place.file}:${place.offset}`;
		if (this.#damage.has(key) || this.#damage.size >= DAMAGE_NOTES_MAX) return;
		this.#damage.add(key);
		this.#options.log.error("a block of the log is damaged on disk; its events cannot be read", place);
	}
}

const CLOSED: AppendOutcome = Object.freeze({ ok: false, failure: "closed", detail: "the log is closing" });
const SETTLED: GroupResult = Object.freeze({ ok: true });
