/** Events as records of a file: each with a checksum of its own, so that what is torn or damaged is told from what is whole. */
import { crc32 } from "node:zlib";
import { EVENT_BYTES_LIMIT } from "../../../events/cloud-event.ts";

//   0      4        8            16
// [ crc32 | length | sequence   | event as JSON, `length` bytes ]    numbers little-endian; the checksum covers all that follows it

export const RECORD_HEAD_BYTES = 16;
// `{}`: rows of zeros, which a power cut leaves behind, are no records.
const JSON_BYTES_MIN = 2;

export interface RecordContent {
	readonly sequence: number;
	readonly json: string;
	/** Of the JSON in UTF-8. */
	readonly bytes: number;
}

export interface FoundRecord {
	readonly sequence: number;
	readonly jsonStart: number;
	/** Where its JSON ends and the next record begins. */
	readonly end: number;
}

export interface DamagedRange {
	readonly offset: number;
	readonly bytes: number;
}

export function encodeRecords(records: readonly RecordContent[]): Buffer {
	const total = records.reduce((sum, record) => sum + RECORD_HEAD_BYTES + record.bytes, 0);
	const bytes = Buffer.allocUnsafe(total);
	let at = 0;
	for (const record of records) {
		const end = at + RECORD_HEAD_BYTES + record.bytes;
		bytes.writeUInt32LE(record.bytes, at + 4);
		bytes.writeDoubleLE(record.sequence, at + 8);
		bytes.write(record.json, at + RECORD_HEAD_BYTES, record.bytes, "utf8");
		bytes.writeUInt32LE(crc32(bytes.subarray(at + 4, end)), at);
		at = end;
	}
	return bytes;
}

/** Every whole record of a file in order, each with a higher sequence than the one before; and what lies between them. */
export function scanRecords(bytes: Buffer): { readonly records: FoundRecord[]; readonly damaged: DamagedRange[] } {
	const records: FoundRecord[] = [];
	const damaged: DamagedRange[] = [];
	let after = -1;
	let at = 0;
	while (at < bytes.length) {
		let start = at;
		let record = readRecord(bytes, start, after);
		while (record === undefined && start < bytes.length) record = readRecord(bytes, ++start, after);
		if (start > at) damaged.push({ offset: at, bytes: start - at });
		if (record === undefined) break;
		records.push(record);
		after = record.sequence;
		at = record.end;
	}
	return { records, damaged };
}

function readRecord(bytes: Buffer, at: number, after: number): FoundRecord | undefined {
	// The high byte of a length: never 0 in text, so that a search through damage is almost free.
	if (bytes[at + 7] !== 0) return undefined;
	const jsonStart = at + RECORD_HEAD_BYTES;
	if (jsonStart + JSON_BYTES_MIN > bytes.length) return undefined;
	const length = bytes.readUInt32LE(at + 4);
	const end = jsonStart + length;
	if (length < JSON_BYTES_MIN || length > EVENT_BYTES_LIMIT || end > bytes.length) return undefined;
	if (bytes.readUInt32LE(at) !== crc32(bytes.subarray(at + 4, end))) return undefined;
	const sequence = bytes.readDoubleLE(at + 8);
	return Number.isSafeInteger(sequence) && sequence > after ? { sequence, jsonStart, end } : undefined;
}
