/** The files that hold the events of one priority, oldest first: grows at its end, is read and removed from its beginning. Knows no bound. */
import { join } from "node:path";
import type { Disk } from "./disk.ts";
import { encodeRecords, type RecordContent, scanRecords } from "./record-codec.ts";

/** A file is read at once: as much as one turn of the loop can take apart in about a millisecond, and the largest event over its size. */
export const SEGMENT_FILE_BYTES_MAX = 2 * 1024 * 1024;

// A file is the smallest unit that makes way when the directory is full, and what is read at a time.
const SEGMENTS_PER_DIRECTORY = 64;
const SEGMENT_BYTES_MIN = 64 * 1024;
const SEGMENT_BYTES_MAX = 512 * 1024;

/** From which size on a file takes no more, in a directory of `bytesMax`. */
export function segmentBytesFor(bytesMax: number): number {
	return Math.min(Math.max(bytesMax / SEGMENTS_PER_DIRECTORY, SEGMENT_BYTES_MIN), SEGMENT_BYTES_MAX);
}

export interface Segment {
	readonly path: string;
	/** Of its whole records; rising. 8 bytes an event, so that every loss is counted without looking at the disk. */
	readonly sequences: number[];
	bytes: number;
}

/** The segment that takes more, or waits for its sync. */
interface OpenSegment {
	readonly segment: Segment;
	readonly fd: number;
	unsynced: boolean;
}

export interface SegmentReading {
	/** Those that are whole, in order. */
	readonly records: readonly RecordContent[];
	/** Of all that were written to the segment. */
	readonly sequences: readonly number[];
}

export class SegmentChain {
	readonly #disk: Disk;
	readonly #dir: string;
	readonly #priority: number;
	readonly #segmentBytes: number;
	readonly #segments: Segment[];
	#active: OpenSegment | undefined;
	#full: OpenSegment[] = [];
	#hasNewName = false;
	/** Of its files. */
	bytes: number;

	/** `found`: what an earlier process left, in order; it is read and removed, never written. */
	constructor(disk: Disk, dir: string, priority: number, segmentBytes: number, found: readonly Segment[]) {
		this.#disk = disk;
		this.#dir = dir;
		this.#priority = priority;
		this.#segmentBytes = segmentBytes;
		this.#segments = [...found];
		this.bytes = found.reduce((sum, segment) => sum + segment.bytes, 0);
	}

	get isEmpty(): boolean {
		return this.#segments.length === 0;
	}

	get hasUnsynced(): boolean {
		return this.#active?.unsynced === true || this.#full.length > 0;
	}

	/** Whether the event stands in one of the files; asked for events of this priority that were appended once. */
	has(sequence: number): boolean {
		const first = this.#segments.find((segment) => segment.sequences.length > 0)?.sequences[0];
		return first !== undefined && sequence >= first && sequence <= this.lastSequence;
	}

	/** Of the oldest segment. */
	get oldest(): readonly number[] {
		return this.#segments[0]?.sequences ?? [];
	}

	/** -1 where nothing is in it. */
	get lastSequence(): number {
		return this.#segments.findLast((segment) => segment.sequences.length > 0)?.sequences.at(-1) ?? -1;
	}

	countAfter(sequence: number): number {
		return this.#segments.reduce((sum, segment) => sum + countAfter(segment, sequence), 0);
	}

	/** True where the oldest segment holds nothing after `sequence`, and nothing more will be written to it. */
	isSpent(sequence: number): boolean {
		const oldest = this.#segments[0];
		return oldest !== undefined && oldest !== this.#active?.segment && countAfter(oldest, sequence) === 0;
	}

	/** All of them, or none where it rejects. */
	async append(events: readonly RecordContent[]): Promise<void> {
		const first = events[0];
		if (first === undefined) return;
		const active = await this.#activeFor(first.sequence);
		const { segment, fd } = active;
		const bytes = encodeRecords(events);
		try {
			await this.#disk.write(fd, bytes, segment.bytes);
		} catch (thrown) {
			// A part may be there: it is overwritten by the next try, and no record where there is none.
			await this.#disk.truncate(fd, segment.bytes).catch(() => {});
			throw thrown;
		}
		for (const { sequence } of events) segment.sequences.push(sequence);
		segment.bytes += bytes.length;
		this.bytes += bytes.length;
		active.unsynced = true;
	}

	/** The oldest segment that has something after `sequence`; undefined where none has. */
	async readAfter(sequence: number): Promise<SegmentReading | undefined> {
		const segment = this.#segments.find((candidate) => countAfter(candidate, sequence) > 0);
		if (segment === undefined) return undefined;
		// A file that cannot be read is damaged as a whole.
		const bytes = await this.#disk.read(segment.path, SEGMENT_FILE_BYTES_MAX).catch(() => Buffer.alloc(0));
		const records = scanRecords(bytes).records.map(
			(found): RecordContent => ({
				sequence: found.sequence,
				json: bytes.toString("utf8", found.jsonStart, found.end),
				bytes: found.end - found.jsonStart,
			}),
		);
		return { records, sequences: segment.sequences };
	}

	/** Removes the oldest segment. A file that cannot be removed is forgotten all the same. */
	async dropOldest(): Promise<void> {
		const oldest = this.#segments.shift();
		if (oldest === undefined) return;
		this.bytes -= oldest.bytes;
		await this.#close(oldest);
		await this.#disk.remove(oldest.path);
	}

	/** Waits for the device; after a failure nobody knows what it has, so that what follows begins a file of its own. */
	async sync(): Promise<void> {
		const active = this.#active;
		try {
			if (active?.unsynced === true) {
				active.unsynced = false;
				await this.#disk.sync(active.fd);
			}
			for (let full = this.#full[0]; full !== undefined; full = this.#full[0]) {
				await this.#disk.sync(full.fd);
				// Before it is closed: by a second time its number may be that of a connection.
				this.#full.shift();
				await this.#disk.close(full.fd);
			}
		} catch (thrown) {
			await this.close();
			throw thrown;
		}
		if (!this.#hasNewName) return;
		this.#hasNewName = false;
		await this.#disk.syncDirectory(this.#dir);
	}

	/** Takes no more into the files that are open. */
	async close(): Promise<void> {
		const open = [...this.#full, ...(this.#active === undefined ? [] : [this.#active])];
		this.#full = [];
		this.#active = undefined;
		for (const { fd } of open) await this.#disk.close(fd).catch(() => {});
	}

	async #activeFor(firstSequence: number): Promise<OpenSegment> {
		const active = this.#active;
		if (active !== undefined && active.segment.bytes < this.#segmentBytes) return active;
		if (active !== undefined) this.#full.push(active);
		this.#active = undefined;
		const segment: Segment = { path: join(this.#dir, segmentName(this.#priority, firstSequence)), sequences: [], bytes: 0 };
		const fd = await this.#disk.create(segment.path);
		const opened = { segment, fd, unsynced: false };
		this.#active = opened;
		this.#hasNewName = true;
		this.#segments.push(segment);
		return opened;
	}

	async #close(segment: Segment): Promise<void> {
		if (this.#active?.segment === segment) {
			const { fd } = this.#active;
			this.#active = undefined;
			await this.#disk.close(fd);
		}
		const full = this.#full.find((open) => open.segment === segment);
		if (full === undefined) return;
		this.#full = this.#full.filter((open) => open !== full);
		await this.#disk.close(full.fd);
	}
}

/** By binary search: sequences rise. */
function countAfter({ sequences }: Segment, sequence: number): number {
	let low = 0;
	let high = sequences.length;
	while (low < high) {
		const middle = (low + high) >> 1;
		if ((sequences[middle] ?? 0) <= sequence) low = middle + 1;
		else high = middle;
	}
	return sequences.length - low;
}

/** The version of the format stands in the name: `5-0000000000000042.spool1`. */
export function segmentName(priority: number, firstSequence: number): string {
	return `${priority}-${String(firstSequence).padStart(16, "0")}.spool1`;
}

/** The priority that a file holds; undefined where it is none of ours. */
export function priorityOfName(name: string): number | undefined {
	const [, digit] = /^(\d)-\d{16}\.spool1$/.exec(name) ?? [];
	return digit === undefined ? undefined : Number(digit);
}
