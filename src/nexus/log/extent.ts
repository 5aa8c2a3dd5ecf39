/**
 * The index of an extent, about 16 MiB of one segment: where its blocks are, when they came, which types and sources they hold.
 * The newest extent of a log grows in memory; a finished one is written beside its segment (see segment.ts) and read back when a query needs it.
 */
import { crc32 } from "node:zlib";
import { type BlockHead, type BlockInfo, rowHashHi, rowHashLo } from "./block-codec.ts";

export interface BlockLocation extends BlockInfo {
	/** Of the head, in the segment; the body follows it. */
	readonly offset: number;
}

export interface ExtentSummary {
	/** Byte range in the segment. */
	readonly logStart: number;
	readonly logEnd: number;
	readonly firstSequence: number;
	readonly lastSequence: number;
	/** Of receipt; the wall clock may have jumped, so neither follows from the order. */
	readonly minTimeMs: number;
	readonly maxTimeMs: number;
	readonly blocks: number;
	readonly events: number;
}

/** Which blocks a query wants to look into. */
export interface NameTest {
	/** Undefined: any. */
	readonly type: ((name: string) => boolean) | undefined;
	readonly source: string | undefined;
}

const MAGIC = 0x3158_584e; // "NXX1"
export const EXTENT_HEADER_BYTES = 64;
// With more distinct names a list of blocks per name costs more than looking into the blocks.
const NAMES_MAX = 4096;
const NOT_KEPT = 0xffff_ffff;
// offset, first sequence (relative), events, head bytes, body bytes, time low, time high
const WORDS = 7;
const TWO_32 = 0x1_0000_0000;

type Postings = Map<string, number[]>;

export class Extent {
	readonly logStart: number;
	readonly firstSequence: number;
	logEnd: number;
	blocks = 0;
	events = 0;
	minTimeMs = Number.POSITIVE_INFINITY;
	maxTimeMs = Number.NEGATIVE_INFINITY;
	#words = new Uint32Array(64 * WORDS);
	/** Undefined once there were too many names. */
	#types: Postings | undefined = new Map();
	#sources: Postings | undefined = new Map();
	/** (hi, lo) per event, kept until the extent is written. */
	#hashes = new Uint32Array(1024);

	constructor(logStart: number, firstSequence: number) {
		this.logStart = logStart;
		this.logEnd = logStart;
		this.firstSequence = firstSequence;
	}

	get summary(): ExtentSummary {
		const { logStart, logEnd, firstSequence, minTimeMs, maxTimeMs, blocks, events } = this;
		return { logStart, logEnd, firstSequence, lastSequence: this.lastSequence, minTimeMs, maxTimeMs, blocks, events };
	}

	get lastSequence(): number {
		if (this.blocks === 0) return this.firstSequence - 1;
		const last = this.blockAt(this.blocks - 1);
		return last.firstSequence + last.events - 1;
	}

	/** The hash of every event, in order. */
	forEachHash(visit: (hi: number, lo: number, sequence: number) => void): void {
		let event = 0;
		for (let b = 0; b < this.blocks; b++) {
			const { firstSequence, events } = this.blockAt(b);
			for (let i = 0; i < events; i++, event++) visit(this.#hashes[event * 2] as number, this.#hashes[event * 2 + 1] as number, firstSequence + i);
		}
	}

	/** Blocks are added in the order of the segment. */
	add(offset: number, head: BlockHead): void {
		const block = this.blocks++;
		if (this.#words.length < this.blocks * WORDS) this.#words = grown(this.#words, this.blocks * WORDS);
		const at = block * WORDS;
		this.#words[at] = offset;
		this.#words[at + 1] = head.firstSequence - this.firstSequence;
		this.#words[at + 2] = head.events;
		this.#words[at + 3] = head.headBytes;
		this.#words[at + 4] = head.bodyBytes;
		this.#words[at + 5] = head.receivedAtMs % TWO_32;
		this.#words[at + 6] = Math.floor(head.receivedAtMs / TWO_32);
		this.logEnd = offset + head.headBytes + head.bodyBytes;
		this.minTimeMs = Math.min(this.minTimeMs, head.receivedAtMs);
		this.maxTimeMs = Math.max(this.maxTimeMs, head.receivedAtMs);
		this.#types = post(this.#types, head.types, block);
		this.#sources = post(this.#sources, head.sources, block);
		const events = this.events + head.events;
		if (this.#hashes.length < events * 2) this.#hashes = grown(this.#hashes, events * 2);
		for (let i = 0; i < head.events; i++) {
			this.#hashes[(this.events + i) * 2] = rowHashHi(head.rows, i);
			this.#hashes[(this.events + i) * 2 + 1] = rowHashLo(head.rows, i);
		}
		this.events = events;
	}

	/** `block` is below `blocks`. */
	blockAt(block: number): BlockLocation {
		const at = block * WORDS;
		const words = this.#words;
		return {
			offset: words[at] as number,
			firstSequence: this.firstSequence + (words[at + 1] as number),
			events: words[at + 2] as number,
			headBytes: words[at + 3] as number,
			bodyBytes: words[at + 4] as number,
			receivedAtMs: (words[at + 5] as number) + (words[at + 6] as number) * TWO_32,
		};
	}

	/** The first block that holds `sequence` or a later one; `blocks` where there is none. */
	blockOf(sequence: number): number {
		let low = 0;
		let high = this.blocks;
		while (low < high) {
			const middle = (low + high) >> 1;
			const at = middle * WORDS;
			const last = this.firstSequence + (this.#words[at + 1] as number) + (this.#words[at + 2] as number) - 1;
			if (last < sequence) low = middle + 1;
			else high = middle;
		}
		return low;
	}

	/** A mark per block of [from, to): 1 where it may hold what is asked for. Undefined: every block may. */
	candidates(test: NameTest, from: number, to: number): Uint8Array | undefined {
		const types = test.type === undefined ? undefined : this.#types;
		const sources = test.source === undefined ? undefined : this.#sources;
		if (types === undefined && sources === undefined) return undefined;
		const marks = new Uint8Array(to - from);
		const wanted = (types === undefined ? 0 : 1) + (sources === undefined ? 0 : 2);
		if (types !== undefined) {
			for (const [name, blocks] of types) if (test.type?.(name)) mark(marks, blocks, from, to, 1);
		}
		if (sources !== undefined) mark(marks, sources.get(test.source ?? "") ?? [], from, to, 2);
		for (let i = 0; i < marks.length; i++) marks[i] = marks[i] === wanted ? 1 : 0;
		return marks;
	}

	/** Header (64 bytes) and payload, checksummed from the segment's id on. */
	encode(segmentId: Buffer): Buffer {
		const words = Buffer.from(this.#words.buffer, 0, this.blocks * WORDS * 4);
		const hashes = Buffer.from(this.#hashes.buffer, 0, this.events * 8);
		const names = Buffer.concat([encodePostings(this.#types), encodePostings(this.#sources)]);
		const payload = Buffer.concat([words, hashes, names]);
		const header = Buffer.alloc(EXTENT_HEADER_BYTES);
		header.writeUInt32LE(MAGIC, 0);
		header.writeUInt32LE(payload.length, 4);
		header.writeUInt32LE(crc32(payload, crc32(segmentId)), 8);
		header.writeUInt32LE(this.blocks, 12);
		header.writeUInt32LE(this.events, 16);
		header.writeUInt32LE(this.logStart, 20);
		header.writeUInt32LE(this.logEnd, 24);
		header.writeUIntLE(this.firstSequence, 28, 6);
		header.writeUIntLE(this.lastSequence, 34, 6);
		header.writeUIntLE(this.minTimeMs, 40, 6);
		header.writeUIntLE(this.maxTimeMs, 46, 6);
		header.writeUInt32LE(crc32(header.subarray(0, 60), crc32(segmentId)), 60);
		return Buffer.concat([header, payload]);
	}

	/** The payload of `header`'s extent, read whole; undefined where it is damaged. */
	static decode(segmentId: Buffer, header: ExtentHeader, payload: Buffer): Extent | undefined {
		if (payload.length !== header.payloadBytes || crc32(payload, crc32(segmentId)) !== header.payloadCrc) return undefined;
		const { blocks, events } = header.summary;
		const extent = new Extent(header.summary.logStart, header.summary.firstSequence);
		extent.blocks = blocks;
		extent.events = events;
		extent.logEnd = header.summary.logEnd;
		extent.minTimeMs = header.summary.minTimeMs;
		extent.maxTimeMs = header.summary.maxTimeMs;
		const hashesAt = blocks * WORDS * 4;
		const namesAt = hashesAt + events * 8;
		extent.#words = new Uint32Array(blocks * WORDS);
		payload.copy(new Uint8Array(extent.#words.buffer), 0, 0, hashesAt);
		extent.#hashes = new Uint32Array(events * 2);
		payload.copy(new Uint8Array(extent.#hashes.buffer), 0, hashesAt, namesAt);
		const cursor = { bytes: payload, at: namesAt };
		extent.#types = decodePostings(cursor);
		extent.#sources = decodePostings(cursor);
		return extent;
	}

	/** Lets go of what queries do not need; it cannot be encoded after that. */
	dropHashes(): void {
		this.#hashes = new Uint32Array(0);
	}

	/** About what it holds in memory. */
	get bytes(): number {
		return this.#words.byteLength + this.#hashes.byteLength + this.blocks * 32 + 1024;
	}
}

export interface ExtentHeader {
	readonly summary: ExtentSummary;
	readonly payloadBytes: number;
	readonly payloadCrc: number;
}

/** Undefined where the bytes are no header of an extent of this segment. */
export function decodeExtentHeader(segmentId: Buffer, bytes: Buffer): ExtentHeader | undefined {
	if (bytes.length < EXTENT_HEADER_BYTES || bytes.readUInt32LE(0) !== MAGIC) return undefined;
	if (bytes.readUInt32LE(60) !== crc32(bytes.subarray(0, 60), crc32(segmentId))) return undefined;
	return {
		payloadBytes: bytes.readUInt32LE(4),
		payloadCrc: bytes.readUInt32LE(8),
		summary: {
			blocks: bytes.readUInt32LE(12),
			events: bytes.readUInt32LE(16),
			logStart: bytes.readUInt32LE(20),
			logEnd: bytes.readUInt32LE(24),
			firstSequence: bytes.readUIntLE(28, 6),
			lastSequence: bytes.readUIntLE(34, 6),
			minTimeMs: bytes.readUIntLE(40, 6),
			maxTimeMs: bytes.readUIntLE(46, 6),
		},
	};
}

function post(postings: Postings | undefined, names: readonly string[], block: number): Postings | undefined {
	if (postings === undefined) return undefined;
	for (const name of names) {
		const list = postings.get(name);
		if (list === undefined) postings.set(name, [block]);
		else list.push(block);
	}
	return postings.size > NAMES_MAX ? undefined : postings;
}

function mark(marks: Uint8Array, blocks: readonly number[], from: number, to: number, bit: number): void {
	let low = 0;
	let high = blocks.length;
	while (low < high) {
		const middle = (low + high) >> 1;
		if ((blocks[middle] as number) < from) low = middle + 1;
		else high = middle;
	}
	for (let i = low; i < blocks.length && (blocks[i] as number) < to; i++) (marks[(blocks[i] as number) - from] as number) |= bit;
}

function encodePostings(postings: Postings | undefined): Buffer {
	const count = Buffer.alloc(4);
	count.writeUInt32LE(postings === undefined ? NOT_KEPT : postings.size);
	const parts = [count];
	for (const [name, blocks] of postings ?? []) {
		const text = Buffer.from(name);
		const lengths = Buffer.alloc(6);
		lengths.writeUInt16LE(text.length, 0);
		lengths.writeUInt32LE(blocks.length, 2);
		parts.push(lengths, text, Buffer.from(Uint32Array.from(blocks).buffer));
	}
	return Buffer.concat(parts);
}

function decodePostings(cursor: { bytes: Buffer; at: number }): Postings | undefined {
	const { bytes } = cursor;
	const names = bytes.readUInt32LE(cursor.at);
	cursor.at += 4;
	if (names === NOT_KEPT) return undefined;
	const postings: Postings = new Map();
	for (let i = 0; i < names; i++) {
		const nameBytes = bytes.readUInt16LE(cursor.at);
		const blocks = new Array<number>(bytes.readUInt32LE(cursor.at + 2));
		const blocksAt = cursor.at + 6 + nameBytes;
		for (let b = 0; b < blocks.length; b++) blocks[b] = bytes.readUInt32LE(blocksAt + b * 4);
		postings.set(bytes.toString("utf8", cursor.at + 6, blocksAt), blocks);
		cursor.at = blocksAt + blocks.length * 4;
	}
	return postings;
}

function grown(words: Uint32Array<ArrayBuffer>, needed: number): Uint32Array<ArrayBuffer> {
	const larger = new Uint32Array(Math.max(needed, words.length * 2));
	larger.set(words);
	return larger;
}
