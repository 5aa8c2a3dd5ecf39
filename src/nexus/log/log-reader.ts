/** Answers queries from segments: finds the extents, the blocks, the events; checks every byte that it hands out. Sees durable events only. */
import { type BlockHead, decodeBlockHead, isBodyIntact, isRowEmpty, rowLength, rowOffset } from "./block-codec.ts";
import { ByteCache } from "./byte-cache.ts";
import type { ReadQuery, ReadResult, StoredEvent } from "./event-log.ts";
import { compileMatcher, type EventMatcher } from "./event-matcher.ts";
import type { BlockLocation, Extent, ExtentSummary } from "./extent.ts";
import { BLOCK_CACHE_BYTES, EXTENT_CACHE_BYTES, SCAN_BYTES_MAX } from "./limits.ts";
import type { ExtentRef, Segment } from "./segment.ts";

/**
 * What was written a moment ago is in the memory of the system: so much of it is copied in some 20 us, less than asking a thread for it
 * costs, and it does not stand in line behind that thread's fdatasync.
 */
const FRESH_BYTES_MAX = 64 * 1024;

export interface LogReaderOptions {
	/** In order; shared with the writer. */
	readonly segments: readonly Segment[];
	readonly subjectHash: (subject: string) => number;
	/** Told of each block whose bytes are not what was written. */
	readonly onDamage: (place: { file: string; offset: number; first: number; last: number }) => void;
	/** Bytes of log that one read may look into. */
	readonly scanBytesMax?: number;
}

interface Block {
	readonly head: BlockHead;
	readonly body: Buffer;
}

/** The state of one read. `position` is the last sequence that has been looked at, in the asked order. */
interface Scan {
	readonly query: ReadQuery;
	readonly matcher: EventMatcher;
	readonly events: StoredEvent[];
	readonly damaged: { first: number; last: number }[];
	position: number;
	bytesLeft: number;
}

export class LogReader {
	readonly #options: LogReaderOptions;
	readonly #blocks = new ByteCache<Block>(BLOCK_CACHE_BYTES, ({ head, body }) => head.headBytes * 2 + body.length);
	readonly #serials = new WeakMap<Segment, number>();
	#nextSerial = 0;
	readonly #extents = new ByteCache<Extent>(EXTENT_CACHE_BYTES, (extent) => extent.bytes);

	constructor(options: LogReaderOptions) {
		this.#options = options;
	}

	/** Reads up to `lastSequence`, the last durable one. */
	async read(query: ReadQuery, lastSequence: number): Promise<ReadResult> {
		const ascending = query.order === "asc";
		const segments = this.#options.segments.slice();
		const firstSequence = segments[0]?.header.firstSequence ?? 1;
		const scan: Scan = {
			query,
			matcher: compileMatcher(query, this.#options.subjectHash),
			events: [],
			damaged: [],
			position: ascending ? Math.max(query.after ?? 0, firstSequence - 1) : Math.min(query.after ?? Number.POSITIVE_INFINITY, lastSequence + 1),
			bytesLeft: this.#options.scanBytesMax ?? SCAN_BYTES_MAX,
		};
		for (const segment of segments) segment.hold();
		try {
			const done = ascending ? await this.#scanUp(segments, scan, lastSequence) : await this.#scanDown(segments, scan);
			const end = ascending ? Math.max(scan.position, lastSequence) : Math.min(scan.position, firstSequence);
			return { events: scan.events, damaged: scan.damaged, scannedTo: done ? end : scan.position, atEnd: done };
		} finally {
			for (const segment of segments) segment.release();
		}
	}

	/** Whether the event with this sequence is still there and has that identity. */
	async holds(sequence: number, source: string, id: string): Promise<boolean> {
		const { events } = await this.read({ order: "asc", after: sequence - 1, limit: 1 }, sequence);
		const [found] = events;
		if (found?.sequence !== sequence) return false;
		const stored = JSON.parse(found.json.toString()) as { source?: unknown; id?: unknown };
		return stored.source === source && stored.id === id;
	}

	/** True when everything up to `lastSequence` has been looked at. */
	async #scanUp(segments: readonly Segment[], scan: Scan, lastSequence: number): Promise<boolean> {
		// Segments follow each other without overlap: the one to begin with is the last that starts at or before the wanted sequence.
		let from = segments.length - 1;
		while (from > 0 && (segments[from] as Segment).header.firstSequence > scan.position + 1) from--;
		for (const segment of segments.slice(Math.max(0, from))) {
			for (const piece of piecesOf(segment)) {
				if (piece.summary.lastSequence <= scan.position || isOutside(piece.summary, scan.matcher)) continue;
				if (piece.summary.firstSequence > lastSequence) return true;
				if (!(await this.#scanExtent(segment, piece, scan))) return false;
			}
		}
		return true;
	}

	async #scanDown(segments: readonly Segment[], scan: Scan): Promise<boolean> {
		for (const segment of segments.toReversed()) {
			if (segment.header.firstSequence >= scan.position) continue;
			for (const piece of piecesOf(segment).reverse()) {
				if (piece.summary.firstSequence >= scan.position || isOutside(piece.summary, scan.matcher)) continue;
				if (!(await this.#scanExtent(segment, piece, scan))) return false;
			}
		}
		return true;
	}

	/** False when the read has to stop before the end of the extent. */
	async #scanExtent(segment: Segment, piece: Piece, scan: Scan): Promise<boolean> {
		const { summary } = piece;
		const extent = piece.open ?? (await this.#loadExtent(segment, piece));
		if (extent === undefined) {
			addDamage(scan, summary.firstSequence, summary.lastSequence);
			return true;
		}
		const ascending = scan.query.order === "asc";
		// The growing extent may have more blocks by now; they are for the next read.
		const from = ascending ? extent.blockOf(scan.position + 1) : 0;
		const to = ascending ? summary.blocks : Math.min(summary.blocks, extent.blockOf(scan.position - 1) + 1);
		if (from >= to) return true;
		const marks = extent.candidates(scan.matcher.names, from, to);
		for (let n = 0; n < to - from; n++) {
			const index = ascending ? from + n : to - 1 - n;
			if (marks !== undefined && marks[index - from] === 0) continue;
			const location = extent.blockAt(index);
			if (location.receivedAtMs < scan.matcher.sinceMs || location.receivedAtMs > scan.matcher.untilMs) continue;
			if (scan.bytesLeft <= 0) {
				scan.position = ascending ? location.firstSequence - 1 : location.firstSequence + location.events;
				return false;
			}
			scan.bytesLeft -= location.headBytes + location.bodyBytes;
			const block = await this.#loadBlock(segment, location);
			if (block === undefined) addDamage(scan, location.firstSequence, location.firstSequence + location.events - 1);
			else if (!scanBlock(block, scan)) return false;
		}
		return true;
	}

	#loadBlock(segment: Segment, location: BlockLocation): Promise<Block | undefined> {
		return this.#blocks.get(this.#keyOf(segment, location.firstSequence), async () => {
			const length = location.headBytes + location.bodyBytes;
			const isFresh = location.offset >= segment.open.logStart && length <= FRESH_BYTES_MAX;
			const bytes = isFresh ? segment.readAtSync(location.offset, length) : await segment.readAt(location.offset, length);
			const head = bytes === undefined ? undefined : decodeBlockHead(segment.header.id, bytes.subarray(0, location.headBytes));
			const body = bytes?.subarray(location.headBytes);
			if (head !== undefined && body !== undefined && isBodyIntact(segment.header.id, head, body)) return { head, body };
			const { offset, firstSequence, events } = location;
			this.#options.onDamage({ file: segment.path, offset, first: firstSequence, last: firstSequence + events - 1 });
			return undefined;
		});
	}

	/** Compaction puts another segment in the place of one: what was cached of the old one must not be taken for the new. */
	#keyOf(segment: Segment, firstSequence: number): number {
		let serial = this.#serials.get(segment);
		if (serial === undefined) {
			serial = this.#nextSerial++;
			this.#serials.set(segment, serial);
		}
		// Offsets in a segment have 32 bits, and an event takes more than one of them.
		return serial * 2 ** 32 + (firstSequence - segment.header.firstSequence);
	}

	#loadExtent(segment: Segment, piece: Piece): Promise<Extent | undefined> {
		const { ref, summary } = piece;
		if (ref === undefined || ref.pinned !== undefined) return Promise.resolve(ref?.pinned);
		return this.#extents.get(this.#keyOf(segment, summary.firstSequence), async () => {
			const extent = await segment.loadExtent(ref);
			extent?.dropHashes();
			if (extent === undefined) {
				this.#options.onDamage({ file: segment.path, offset: summary.logStart, first: summary.firstSequence, last: summary.lastSequence });
			}
			return extent;
		});
	}
}

/** Adds what matches; false when the limit is reached before the block's end. */
function scanBlock({ head, body }: Block, scan: Scan): boolean {
	const { query, matcher, events } = scan;
	const ascending = query.order === "asc";
	const test = matcher.forBlock(head);
	for (let n = 0; test !== undefined && n < head.events; n++) {
		const row = ascending ? n : head.events - 1 - n;
		const sequence = head.firstSequence + row;
		if (ascending ? sequence <= scan.position : sequence >= scan.position) continue;
		if (events.length >= query.limit) return false;
		scan.position = sequence;
		if (isRowEmpty(head.rows, row) || !test(row)) continue;
		const offset = rowOffset(head.rows, row);
		const json = body.subarray(offset, offset + rowLength(head.rows, row));
		if (matcher.confirms(json)) events.push({ sequence, receivedAtMs: head.receivedAtMs, json });
	}
	scan.position = ascending ? Math.max(scan.position, head.firstSequence + head.events - 1) : Math.min(scan.position, head.firstSequence);
	return true;
}

/** Looked at as well: a read that ends behind it does not have it told again by the next one. */
function addDamage(scan: Scan, first: number, last: number): void {
	scan.damaged.push({ first, last });
	scan.position = scan.query.order === "asc" ? Math.max(scan.position, last) : Math.min(scan.position, first);
}

interface Piece {
	readonly summary: ExtentSummary;
	readonly ref: ExtentRef | undefined;
	/** The growing extent itself. */
	readonly open: Extent | undefined;
}

/** The extents of a segment at this moment, the growing one last. */
function piecesOf(segment: Segment): Piece[] {
	const pieces: Piece[] = segment.extents.map((ref) => ({ summary: ref.summary, ref, open: undefined }));
	if (segment.open.blocks > 0) pieces.push({ summary: segment.open.summary, ref: undefined, open: segment.open });
	return pieces;
}

function isOutside({ minTimeMs, maxTimeMs }: ExtentSummary, { sinceMs, untilMs }: EventMatcher): boolean {
	return maxTimeMs < sinceMs || minTimeMs > untilMs;
}
