/**
 * The bytes of a segment: a header, then blocks. One block is one group commit. Pure functions: bytes in, values out, and back.
 *
 *   segment = header (64 bytes) block*
 *   block   = head body
 *   head    = fixed part (40 bytes) | row per event (24 bytes) | types and sources, each as u16 length + UTF-8
 *   body    = the senders' bytes, unchanged
 *
 * Both checksums start from the segment's id, so that a block that belongs elsewhere never counts. Everything is little-endian.
 */
import { endianness } from "node:os";
import { crc32 } from "node:zlib";
import { HASH_KEY_BYTES } from "./keyed-hash.ts";

export const SEGMENT_HEADER_BYTES = 64;
export const BLOCK_FIXED_BYTES = 40;
export const ROW_WORDS = 6;
export const ROW_BYTES = ROW_WORDS * 4;
const SEGMENT_ID_BYTES = 8;
const SEGMENT_MAGIC = Buffer.from("NXSEG001");
export const BLOCK_MAGIC = Buffer.from("NXB1");

// No block that we write comes near: what claims more is damage and must not make us allocate.
const HEAD_BYTES_MAX = 64 * 1024 * 1024;
const BODY_BYTES_MAX = 64 * 1024 * 1024;

// A row, as 32-bit words.
const ROW_HASH_HI = 0;
const ROW_HASH_LO = 1;
const ROW_OFFSET = 2;
/** Length in the upper 28 bits; priority + 1 in the lower 4, 0 for none. */
const ROW_LENGTH_PRIORITY = 3;
/** 0 for an event without subject. */
const ROW_SUBJECT_HASH = 4;
/** Index of the type in the upper 16 bits, of the source in the lower 16. */
const ROW_TYPE_SOURCE = 5;

if (endianness() !== "LE") throw new Error("rows are read as little-endian words in place: this machine is big-endian");

export interface SegmentHeader {
	/** Random; never the same for two segments. */
	readonly id: Buffer;
	readonly firstSequence: number;
	/** The same in all segments of a log, so that hashes stay comparable. */
	readonly hashKey: Buffer;
	readonly createdAtMs: number;
}

export interface BlockInfo {
	readonly headBytes: number;
	readonly bodyBytes: number;
	readonly events: number;
	readonly firstSequence: number;
	readonly receivedAtMs: number;
}

/** A decoded head. Rows are read through the functions below. */
export interface BlockHead extends BlockInfo {
	readonly bodyCrc: number;
	readonly rows: Uint32Array;
	readonly types: readonly string[];
	readonly sources: readonly string[];
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
	const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
	SEGMENT_MAGIC.copy(bytes, 0);
	header.id.copy(bytes, 8);
	header.hashKey.copy(bytes, 16);
	bytes.writeUIntLE(header.firstSequence, 24, 6);
	bytes.writeUIntLE(header.createdAtMs, 32, 6);
	bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60);
	return bytes;
}

/** Undefined where the bytes are no segment header, or a damaged one. */
export function decodeSegmentHeader(bytes: Buffer): SegmentHeader | undefined {
	if (bytes.length < SEGMENT_HEADER_BYTES || !bytes.subarray(0, 8).equals(SEGMENT_MAGIC)) return undefined;
	if (bytes.readUInt32LE(60) !== crc32(bytes.subarray(0, 60))) return undefined;
	return {
		id: Buffer.from(bytes.subarray(8, 8 + SEGMENT_ID_BYTES)),
		hashKey: Buffer.from(bytes.subarray(16, 16 + HASH_KEY_BYTES)),
		firstSequence: bytes.readUIntLE(24, 6),
		createdAtMs: bytes.readUIntLE(32, 6),
	};
}

export function setRow(
	rows: Uint32Array,
	index: number,
	hi: number,
	lo: number,
	offset: number,
	length: number,
	priority: number | undefined,
	subjectHash: number,
	type: number,
	source: number,
): void {
	const at = index * ROW_WORDS;
	rows[at + ROW_HASH_HI] = hi;
	rows[at + ROW_HASH_LO] = lo;
	rows[at + ROW_OFFSET] = offset;
	rows[at + ROW_LENGTH_PRIORITY] = (length << 4) | (priority === undefined ? 0 : priority + 1);
	rows[at + ROW_SUBJECT_HASH] = subjectHash;
	rows[at + ROW_TYPE_SOURCE] = (type << 16) | source;
}

export const rowHashHi = (rows: Uint32Array, index: number): number => rows[index * ROW_WORDS + ROW_HASH_HI] as number;
export const rowHashLo = (rows: Uint32Array, index: number): number => rows[index * ROW_WORDS + ROW_HASH_LO] as number;
export const rowOffset = (rows: Uint32Array, index: number): number => rows[index * ROW_WORDS + ROW_OFFSET] as number;
export const rowLength = (rows: Uint32Array, index: number): number => (rows[index * ROW_WORDS + ROW_LENGTH_PRIORITY] as number) >>> 4;
export const rowSubjectHash = (rows: Uint32Array, index: number): number => rows[index * ROW_WORDS + ROW_SUBJECT_HASH] as number;
export const rowType = (rows: Uint32Array, index: number): number => (rows[index * ROW_WORDS + ROW_TYPE_SOURCE] as number) >>> 16;
export const rowSource = (rows: Uint32Array, index: number): number => (rows[index * ROW_WORDS + ROW_TYPE_SOURCE] as number) & 0xffff;

/** A compacted event leaves its row, so that sequences stay where they are, and no bytes. */
export const isRowEmpty = (rows: Uint32Array, index: number): boolean => rowLength(rows, index) === 0;

/** The block without the bytes of some events; `isDropped` is asked by row. */
export function compactBlock(head: BlockHead, body: Buffer, isDropped: (row: number) => boolean): { rows: Uint32Array; body: Buffer } {
	const rows = head.rows.slice();
	const kept: Buffer[] = [];
	let end = 0;
	for (let row = 0; row < head.events; row++) {
		const at = row * ROW_WORDS;
		const length = isDropped(row) ? 0 : rowLength(rows, row);
		if (length > 0) kept.push(body.subarray(rowOffset(rows, row), rowOffset(rows, row) + length));
		rows[at + ROW_OFFSET] = end;
		rows[at + ROW_LENGTH_PRIORITY] = (length << 4) | ((rows[at + ROW_LENGTH_PRIORITY] as number) & 0xf);
		end += length;
	}
	return { rows, body: Buffer.concat(kept) };
}

/** CRC-32 (zlib's polynomial) of a body or head, seeded with the segment it belongs to. */
function checksum(segmentId: Buffer, bytes: Buffer): number {
	return crc32(bytes, crc32(segmentId));
}

/** The head of a block whose body is `body` and whose rows stand at the start of `rows`. */
export function encodeBlockHead(
	segmentId: Buffer,
	block: { firstSequence: number; receivedAtMs: number; events: number; rows: Uint32Array; types: readonly string[]; sources: readonly string[] },
	body: Buffer,
): Buffer {
	const rowBytes = block.events * ROW_BYTES;
	let stringBytes = 0;
	for (const text of block.types) stringBytes += 2 + Buffer.byteLength(text);
	for (const text of block.sources) stringBytes += 2 + Buffer.byteLength(text);
	const head = Buffer.allocUnsafe(BLOCK_FIXED_BYTES + rowBytes + stringBytes);
	BLOCK_MAGIC.copy(head, 0);
	head.writeUInt32LE(head.length, 4);
	head.writeUInt32LE(body.length, 8);
	head.writeUInt32LE(0, 12);
	head.writeUInt32LE(checksum(segmentId, body), 16);
	head.writeUInt32LE(block.events, 20);
	head.writeUIntLE(block.firstSequence, 24, 6);
	head.writeUIntLE(block.receivedAtMs, 30, 6);
	head.writeUInt16LE(block.types.length, 36);
	head.writeUInt16LE(block.sources.length, 38);
	Buffer.from(block.rows.buffer, block.rows.byteOffset, rowBytes).copy(head, BLOCK_FIXED_BYTES);
	let at = BLOCK_FIXED_BYTES + rowBytes;
	for (const texts of [block.types, block.sources]) {
		for (const text of texts) {
			const length = head.write(text, at + 2);
			head.writeUInt16LE(length, at);
			at += 2 + length;
		}
	}
	head.writeUInt32LE(checksum(segmentId, head), 12);
	return head;
}

/** Lengths from the first 40 bytes of a block, unverified; undefined where they cannot be true. */
export function peekBlock(bytes: Buffer, at: number): { headBytes: number; bodyBytes: number } | undefined {
	if (at + BLOCK_FIXED_BYTES > bytes.length || bytes.compare(BLOCK_MAGIC, 0, 4, at, at + 4) !== 0) return undefined;
	const headBytes = bytes.readUInt32LE(at + 4);
	const bodyBytes = bytes.readUInt32LE(at + 8);
	const events = bytes.readUInt32LE(at + 20);
	if (headBytes < BLOCK_FIXED_BYTES + events * ROW_BYTES || headBytes > HEAD_BYTES_MAX || bodyBytes > BODY_BYTES_MAX) return undefined;
	return { headBytes, bodyBytes };
}

/** Decodes a whole head (exactly its bytes). Undefined where its checksum, and so anything in it, is wrong. */
export function decodeBlockHead(segmentId: Buffer, head: Buffer): BlockHead | undefined {
	const peeked = peekBlock(head, 0);
	if (peeked === undefined || peeked.headBytes !== head.length) return undefined;
	const stored = head.readUInt32LE(12);
	// The field was zero when the checksum was made; the caller's bytes are put back as they were.
	head.writeUInt32LE(0, 12);
	const actual = checksum(segmentId, head);
	head.writeUInt32LE(stored, 12);
	if (stored !== actual) return undefined;
	const events = head.readUInt32LE(20);
	const rowBytes = events * ROW_BYTES;
	const rows = new Uint32Array(events * ROW_WORDS);
	head.copy(new Uint8Array(rows.buffer), 0, BLOCK_FIXED_BYTES, BLOCK_FIXED_BYTES + rowBytes);
	let at = BLOCK_FIXED_BYTES + rowBytes;
	const texts = (count: number): string[] =>
		Array.from({ length: count }, () => {
			const length = head.readUInt16LE(at);
			at += 2 + length;
			return head.toString("utf8", at - length, at);
		});
	return {
		...peeked,
		bodyCrc: head.readUInt32LE(16),
		events,
		firstSequence: head.readUIntLE(24, 6),
		receivedAtMs: head.readUIntLE(30, 6),
		rows,
		types: texts(head.readUInt16LE(36)),
		sources: texts(head.readUInt16LE(38)),
	};
}

export function isBodyIntact(segmentId: Buffer, head: BlockHead, body: Buffer): boolean {
	return body.length === head.bodyBytes && checksum(segmentId, body) === head.bodyCrc;
}

export function makeSegmentId(hex: (digits: number) => string): Buffer {
	return Buffer.from(hex(SEGMENT_ID_BYTES * 2), "hex");
}
