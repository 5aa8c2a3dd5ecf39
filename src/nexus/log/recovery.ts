/**
 * Opens the segments of a directory as the last process left them: reads the finished extents, walks the blocks behind them, cuts a torn tail,
 * steps over damaged blocks that have good ones behind them. Tells all of it; changes nothing but tails.
 */
import { readdirSync, renameSync, rmSync, statSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { BLOCK_FIXED_BYTES, BLOCK_MAGIC, type BlockHead, decodeBlockHead, isBodyIntact, peekBlock, SEGMENT_HEADER_BYTES } from "./block-codec.ts";
import { COMPACTING_DIR } from "./compaction.ts";
import { isSegmentName, Segment, syncDirectory } from "./segment.ts";

export type RecoveryNote =
	/** Bytes behind the last whole block: a commit that was never acknowledged. */
	| { readonly kind: "tail-cut"; readonly file: string; readonly offset: number; readonly bytes: number }
	/** Bytes between whole blocks that are no block any more. */
	| { readonly kind: "damaged"; readonly file: string; readonly offset: number; readonly bytes: number }
	/** A file whose header is damaged was renamed to `<name>.damaged`. */
	| { readonly kind: "set-aside"; readonly file: string }
	/** A segment that was being created; it never held anything. */
	| { readonly kind: "unborn-removed"; readonly file: string };

export interface Recovered {
	/** In order; all but the last are finished. */
	readonly segments: Segment[];
	readonly notes: readonly RecoveryNote[];
}

// Looking for the next whole block reads the rest of the segment piece by piece.
const SEARCH_BYTES = 1024 * 1024;

/** `extentBytes`: log bytes between two checkpoints. Throws what the file system says. */
export function recoverSegments(dir: string, extentBytes: number): Recovered {
	rmSync(join(dir, COMPACTING_DIR), { recursive: true, force: true });
	const names = readdirSync(dir).filter(isSegmentName).sort();
	const notes: RecoveryNote[] = [];
	const segments: Segment[] = [];
	names.forEach((name, index) => {
		const path = join(dir, name);
		const segment = Segment.openExisting(path);
		if (segment !== undefined) segments.push(segment);
		else if (index === names.length - 1 && statSync(path).size <= SEGMENT_HEADER_BYTES) {
			unlinkSync(path);
			notes.push({ kind: "unborn-removed", file: path });
		} else {
			renameSync(path, `${path}.damaged`);
			notes.push({ kind: "set-aside", file: path });
		}
	});
	segments.forEach((segment, index) => {
		// What stands at or behind the next segment's first sequence belongs to a commit that failed and was never acknowledged.
		const limit = segments[index + 1]?.header.firstSequence ?? Number.POSITIVE_INFINITY;
		recoverSegment(segment, limit, extentBytes, notes);
		if (index < segments.length - 1) segment.finishExtent();
	});
	removeStrayIndexes(dir);
	// A process killed between write and sync leaves blocks that only the page cache has. From here on they count as durable.
	segments.at(-1)?.sync();
	syncDirectory(dir);
	return { segments, notes };
}

function recoverSegment(segment: Segment, sequenceLimit: number, extentBytes: number, notes: RecoveryNote[]): void {
	const fileBytes = segment.fileBytes;
	segment.loadIndex(fileBytes);
	while (segment.end < fileBytes) {
		const block = readBlock(segment, segment.end, fileBytes);
		if (block !== undefined && block.firstSequence >= sequenceLimit) break;
		if (block !== undefined && block.firstSequence > segment.lastSequence) {
			take(segment, segment.end, block, extentBytes);
			continue;
		}
		const next = findBlock(segment, segment.end + 1, fileBytes);
		if (next === undefined || next.head.firstSequence >= sequenceLimit) break;
		notes.push({ kind: "damaged", file: segment.path, offset: segment.end, bytes: next.offset - segment.end });
		take(segment, next.offset, next.head, extentBytes);
	}
	if (segment.end === fileBytes) return;
	const tornBytes = writtenEnd(segment, fileBytes) - segment.end;
	if (tornBytes > 0) notes.push({ kind: "tail-cut", file: segment.path, offset: segment.end, bytes: tornBytes });
	segment.cutBack();
}

/** Where the zeros begin that the file ends with: room that was made for blocks. At least the end of the last whole block. */
function writtenEnd(segment: Segment, fileBytes: number): number {
	for (let end = fileBytes; end > segment.end; ) {
		const start = Math.max(segment.end, end - SEARCH_BYTES);
		const last = segment.readAtSync(start, end - start).findLastIndex((byte) => byte !== 0);
		if (last >= 0) return start + last + 1;
		end = start;
	}
	return segment.end;
}

function take(segment: Segment, offset: number, head: BlockHead, extentBytes: number): void {
	segment.open.add(offset, head);
	segment.end = segment.open.logEnd;
	if (segment.end - segment.open.logStart >= extentBytes) segment.finishExtent();
}

/** The head of the block at `offset` if all of the block is whole. */
function readBlock(segment: Segment, offset: number, fileBytes: number): BlockHead | undefined {
	const peeked = peekBlock(segment.readAtSync(offset, BLOCK_FIXED_BYTES), 0);
	if (peeked === undefined || offset + peeked.headBytes + peeked.bodyBytes > fileBytes) return undefined;
	const bytes = segment.readAtSync(offset, peeked.headBytes + peeked.bodyBytes);
	const head = decodeBlockHead(segment.header.id, bytes.subarray(0, peeked.headBytes));
	return head !== undefined && isBodyIntact(segment.header.id, head, bytes.subarray(peeked.headBytes)) ? head : undefined;
}

/** The next whole block from `offset` on whose sequence goes forward. */
function findBlock(segment: Segment, offset: number, fileBytes: number): { offset: number; head: BlockHead } | undefined {
	for (let start = offset; start < fileBytes; start += SEARCH_BYTES) {
		// Pieces overlap by the length of the mark less one, so that none is missed at a border.
		const piece = segment.readAtSync(start, SEARCH_BYTES + BLOCK_MAGIC.length - 1);
		for (let at = piece.indexOf(BLOCK_MAGIC); at >= 0; at = piece.indexOf(BLOCK_MAGIC, at + 1)) {
			const head = readBlock(segment, start + at, fileBytes);
			if (head !== undefined && head.firstSequence > segment.lastSequence) return { offset: start + at, head };
		}
	}
	return undefined;
}

/** An index whose segment is gone (killed between two removals) would never be removed otherwise. */
function removeStrayIndexes(dir: string): void {
	const names = new Set(readdirSync(dir));
	for (const name of names) {
		const segment = name.replace(/\.idx$/, ".log");
		if (segment !== name && isSegmentName(segment) && !names.has(segment)) unlinkSync(join(dir, name));
	}
}
