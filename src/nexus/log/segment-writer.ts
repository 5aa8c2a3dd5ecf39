/** Makes groups durable at the end of the log: one write each, one fdatasync for all, a new segment when the last is full or cannot be trusted. */
import { closeSync, fdatasync, fsync, openSync } from "node:fs";
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { IdSource } from "../../core/ids.ts";
import type { Logger } from "../../core/log.ts";
import { type BlockHead, encodeBlockHead, makeSegmentId, ROW_WORDS } from "./block-codec.ts";
import type { Group, GroupResult } from "./group.ts";
import { ROOM_COMMIT_BYTES_MAX } from "./limits.ts";
import { Segment } from "./segment.ts";

export interface SegmentWriterOptions {
	readonly dir: string;
	/** In order; the writer adds to it. */
	readonly segments: Segment[];
	readonly hashKey: Buffer;
	readonly segmentBytes: number;
	/** A segment older than this takes no more, so that retention by age has whole segments to remove. */
	readonly segmentAgeMs: number;
	/** Log bytes between two checkpoints of the index. */
	readonly extentBytes: number;
	readonly clock: Clock;
	readonly ids: IdSource;
	readonly log: Logger;
	/** For tests of failing disks: called before each fdatasync; what it throws counts as the disk's answer. */
	readonly beforeSync?: (() => void) | undefined;
}

export class SegmentWriter {
	readonly #options: SegmentWriterOptions;
	/** After a failed write or sync nobody knows what the disk has behind `end`: the next commit begins a segment of its own. */
	#distrusted = false;

	constructor(options: SegmentWriterOptions) {
		this.#options = options;
	}

	/** Never rejects. After a failure nothing of the groups is in the log, and the same sequences are given again. */
	async commit(groups: readonly Group[]): Promise<GroupResult> {
		const first = groups[0];
		if (first === undefined) return { ok: true };
		let segment: Segment | undefined;
		try {
			segment = await this.#segmentFor(first.firstSequence);
			const receivedAtMs = Math.trunc(this.#options.clock.wallMs());
			const written: { offset: number; head: BlockHead }[] = [];
			let offset = segment.end;
			for (const group of groups) {
				const head = writeBlock(segment, offset, group, group.receivedAtMs ?? receivedAtMs);
				written.push({ offset, head });
				offset += head.headBytes + head.bodyBytes;
			}
			if (offset - segment.end <= ROOM_COMMIT_BYTES_MAX) segment.makeRoom(offset);
			this.#options.beforeSync?.();
			await syncData(segment.fd);
			for (const { offset: at, head } of written) segment.open.add(at, head);
			segment.end = offset;
			if (segment.end - segment.open.logStart >= this.#options.extentBytes) this.#finishExtent(segment);
			return { ok: true };
		} catch (cause) {
			if (segment !== undefined) this.#cutBack(segment);
			return { ok: false, cause };
		}
	}

	async #segmentFor(sequence: number): Promise<Segment> {
		const { segments, segmentBytes, segmentAgeMs, clock } = this.#options;
		const last = segments.at(-1);
		const isYoung = last !== undefined && clock.wallMs() - last.header.createdAtMs <= segmentAgeMs;
		if (last !== undefined && !this.#distrusted && last.end < segmentBytes && isYoung) return last;
		if (last !== undefined && last.header.firstSequence === sequence) {
			// It never held a whole block; its name is needed again.
			last.unlink();
			segments.pop();
			last.release();
		} else if (last !== undefined) this.finish(last);
		const segment = await this.#createSegment(sequence);
		segments.push(segment);
		this.#distrusted = false;
		return segment;
	}

	async #createSegment(firstSequence: number): Promise<Segment> {
		const { dir, hashKey, clock, ids } = this.#options;
		const id = makeSegmentId((digits) => ids.hex(digits));
		const segment = Segment.create(dir, { id, firstSequence, hashKey, createdAtMs: Math.trunc(clock.wallMs()) });
		try {
			// The name must be as durable as what will stand in the file.
			await syncDirectory(dir);
			return segment;
		} catch (thrown) {
			segment.unlink();
			segment.release();
			throw thrown;
		}
	}

	/** Nothing more comes into it: the next start walks no blocks of it, and its room goes back to the disk. */
	finish(segment: Segment): void {
		this.#finishExtent(segment);
		try {
			segment.cutBack();
		} catch (thrown) {
			this.#options.log.warn("the room behind a finished segment could not be given back", { file: segment.path, error: messageOf(thrown) });
		}
	}

	#finishExtent(segment: Segment): void {
		const failure = segment.finishExtent();
		if (failure !== undefined)
			this.#options.log.warn("the index beside a segment could not be written; it will be made again", { error: messageOf(failure) });
	}

	#cutBack(segment: Segment): void {
		this.#distrusted = true;
		try {
			segment.cutBack();
		} catch (thrown) {
			// Recovery cuts it by the next segment's first sequence.
			this.#options.log.warn("a segment could not be cut back after a failed commit", { file: segment.path, error: messageOf(thrown) });
		}
	}
}

function writeBlock(segment: Segment, offset: number, group: Group, receivedAtMs: number): BlockHead {
	const { firstSequence, events, types, sources, body } = group;
	const rows = group.buffers.rows.subarray(0, events * ROW_WORDS);
	const head = encodeBlockHead(segment.header.id, { firstSequence, receivedAtMs, events, rows, types, sources }, body);
	segment.writeAt([head, body], offset);
	return { headBytes: head.length, bodyBytes: body.length, events, firstSequence, receivedAtMs, bodyCrc: 0, rows, types, sources };
}

function syncData(fd: number): Promise<void> {
	return new Promise((resolve, reject) => fdatasync(fd, (error) => (error === null ? resolve() : reject(error))));
}

async function syncDirectory(dir: string): Promise<void> {
	const fd = openSync(dir, "r");
	try {
		await new Promise<void>((resolve, reject) => fsync(fd, (error) => (error === null ? resolve() : reject(error))));
	} finally {
		closeSync(fd);
	}
}
