/**
 * Rewrites finished segments without the events that the limits of their types, or a newer event of the same key, have made superfluous. Each
 * rewrite is whole or not at all: the new file takes the old one's place when it is durable.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { IdSource } from "../../core/ids.ts";
import {
	type BlockHead,
	compactBlock,
	decodeBlockHead,
	encodeBlockHead,
	isBodyIntact,
	isRowEmpty,
	makeSegmentId,
	rowLength,
	rowOffset,
	rowType,
} from "./block-codec.ts";
import type { TypeRetention } from "./event-log.ts";
import { compilePattern } from "./event-matcher.ts";
import type { Extent } from "./extent.ts";
import { makeDirectory, Segment, syncDirectory } from "./segment.ts";

export interface CompactionOptions {
	readonly dir: string;
	/** In order; a rewritten one is put in the place of the old. */
	readonly segments: Segment[];
	readonly types: readonly TypeRetention[];
	readonly nowMs: number;
	readonly extentBytes: number;
	readonly ids: IdSource;
	/** Asked between blocks; true ends the work without a trace. */
	readonly isCancelled: () => boolean;
	/** Share of a segment's bytes that must be superfluous before it is written again. */
	readonly worthShare?: number;
}

/** Copies of segments that are being written; removed at each start. */
export const COMPACTING_DIR = "compacting";
const WORTH_SHARE = 0.2;
/** With more keys than this the oldest events of those that come last are kept, which costs room and loses nothing. */
const KEYS_MAX = 1_000_000;

interface Block {
	readonly head: BlockHead;
	readonly body: Buffer;
}

/** How many segments were written again. Rejects with what the file system says; everything is as it was then, or a segment further. */
export async function compactSegments(options: CompactionOptions): Promise<number> {
	const rules = new Rules(options.types, options.nowMs);
	let rewritten = 0;
	// From the newest event to the oldest, so that the first of a key that is met is the one that stays.
	for (const segment of options.segments.toReversed()) {
		if (options.isCancelled()) break;
		segment.hold();
		try {
			const superfluous = await findSuperfluous(segment, rules, options.isCancelled);
			const isLast = segment === options.segments.at(-1);
			if (superfluous === undefined || isLast || superfluous.bytes < segment.end * (options.worthShare ?? WORTH_SHARE)) continue;
			if (superfluous.bytes > 0 && (await rewrite(segment, superfluous.sequences, options))) rewritten++;
		} finally {
			segment.release();
		}
	}
	return rewritten;
}

/** What the limits say of each event, asked from the newest to the oldest. */
class Rules {
	readonly #rules: readonly { readonly matches: (type: string) => boolean; readonly retention: TypeRetention; count: number }[];
	readonly #nowMs: number;
	readonly #keys = new Set<string>();

	constructor(types: readonly TypeRetention[], nowMs: number) {
		this.#rules = types.map((retention) => ({ matches: compilePattern(retention.type), retention, count: 0 }));
		this.#nowMs = nowMs;
	}

	concerns(type: string): boolean {
		return this.#rules.some(({ matches }) => matches(type));
	}

	isSuperfluous(type: string, receivedAtMs: number, json: Buffer): boolean {
		const rule = this.#rules.find(({ matches }) => matches(type));
		if (rule === undefined) return false;
		const { ageMsMax, eventsMax, lastPerKey } = rule.retention;
		if (ageMsMax !== undefined && this.#nowMs - receivedAtMs > ageMsMax) return true;
		if (lastPerKey === true && this.#isOlderOfItsKey(type, json)) return true;
		// Counted last: what goes for another reason takes nobody's place.
		rule.count++;
		return eventsMax !== undefined && rule.count > eventsMax;
	}

	#isOlderOfItsKey(type: string, json: Buffer): boolean {
		const { partitionkey, subject } = JSON.parse(json.toString()) as { partitionkey?: string; subject?: string };
		const key = partitionkey ?? subject;
		if (key === undefined) return false;
		const whole = `${type}\n${key}`;
		if (this.#keys.has(whole)) return true;
		if (this.#keys.size < KEYS_MAX) this.#keys.add(whole);
		return false;
	}
}

/** Undefined where a part of the segment cannot be read: it is left as it is, evidence of what happened. */
async function findSuperfluous(
	segment: Segment,
	rules: Rules,
	isCancelled: () => boolean,
): Promise<{ sequences: ReadonlySet<number>; bytes: number } | undefined> {
	const sequences = new Set<number>();
	let bytes = 0;
	for (const extent of (await extentsOf(segment)).reverse()) {
		if (extent === undefined) return undefined;
		const marks = extent.candidates({ type: (type) => rules.concerns(type), source: undefined }, 0, extent.blocks);
		for (let index = extent.blocks - 1; index >= 0; index--) {
			if (marks?.[index] === 0) continue;
			const block = await readBlock(segment, extent, index);
			if (block === undefined || isCancelled()) return undefined;
			const { head, body } = block;
			for (let row = head.events - 1; row >= 0; row--) {
				if (isRowEmpty(head.rows, row)) continue;
				const offset = rowOffset(head.rows, row);
				const json = body.subarray(offset, offset + rowLength(head.rows, row));
				if (!rules.isSuperfluous(head.types[rowType(head.rows, row)] ?? "", head.receivedAtMs, json)) continue;
				sequences.add(head.firstSequence + row);
				bytes += json.length;
			}
		}
	}
	return { sequences, bytes };
}

/** False where it was given up: the segment is damaged or gone, or the log closes. */
async function rewrite(old: Segment, superfluous: ReadonlySet<number>, options: CompactionOptions): Promise<boolean> {
	const { dir, segments, ids, extentBytes, isCancelled } = options;
	const workshop = join(dir, COMPACTING_DIR);
	rmSync(workshop, { recursive: true, force: true });
	makeDirectory(workshop);
	// An identity of its own: nothing of the old segment, its index for one, is taken for a part of the new.
	const segment = Segment.create(workshop, { ...old.header, id: makeSegmentId((digits) => ids.hex(digits)) });
	let isDone = false;
	try {
		for (const extent of await extentsOf(old)) {
			for (let index = 0; index < (extent?.blocks ?? 0); index++) {
				const block = extent && (await readBlock(old, extent, index));
				if (block === undefined || isCancelled()) return false;
				appendBlock(segment, block, superfluous, extentBytes);
			}
		}
		segment.finishExtent();
		segment.sync();
		const place = segments.indexOf(old);
		if (place < 0 || isCancelled()) return false;
		segment.moveTo(dir);
		segments[place] = segment;
		isDone = true;
		old.release();
		syncDirectory(dir);
		return true;
	} finally {
		if (!isDone) segment.release();
		rmSync(workshop, { recursive: true, force: true });
	}
}

function appendBlock(segment: Segment, { head, body }: Block, superfluous: ReadonlySet<number>, extentBytes: number): void {
	const compacted = compactBlock(head, body, (row) => superfluous.has(head.firstSequence + row));
	const encoded = encodeBlockHead(segment.header.id, { ...head, rows: compacted.rows }, compacted.body);
	segment.writeAt([encoded, compacted.body], segment.end);
	segment.open.add(segment.end, { ...head, rows: compacted.rows, headBytes: encoded.length, bodyBytes: compacted.body.length });
	segment.end = segment.open.logEnd;
	if (segment.end - segment.open.logStart >= extentBytes) segment.finishExtent();
}

/** Rising; undefined stands for one that is damaged. */
async function extentsOf(segment: Segment): Promise<(Extent | undefined)[]> {
	const extents = await Promise.all(segment.extents.map((ref) => segment.loadExtent(ref)));
	return segment.open.blocks > 0 ? [...extents, segment.open] : extents;
}

async function readBlock(segment: Segment, extent: Extent, index: number): Promise<Block | undefined> {
	const { offset, headBytes, bodyBytes } = extent.blockAt(index);
	const bytes = await segment.readAt(offset, headBytes + bodyBytes);
	const head = bytes && decodeBlockHead(segment.header.id, bytes.subarray(0, headBytes));
	const body = bytes?.subarray(headBytes);
	return head !== undefined && body !== undefined && isBodyIntact(segment.header.id, head, body) ? { head, body } : undefined;
}
