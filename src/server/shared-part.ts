/** A part of a body that many answers send: framed once, and the same bytes in memory for all. */
import { chunkSizeLine } from "../http1/serializer.ts";

/** For the size of a chunk (RFC 9112 section 7.1), and for its end. */
export const CHUNK_ROOM_BEFORE = 10;
export const CHUNK_ROOM_AFTER = 2;

export class SharedPart {
	/** As it is. */
	readonly bytes: Buffer;
	/** As a chunk. */
	readonly chunk: Buffer;

	/** `buffer` holds the part from CHUNK_ROOM_BEFORE to `end`, and has CHUNK_ROOM_AFTER bytes behind it; it is not changed any more by its maker. */
	constructor(buffer: Buffer, end: number) {
		const line = chunkSizeLine(end - CHUNK_ROOM_BEFORE);
		const start = CHUNK_ROOM_BEFORE - line.length;
		buffer.write(line, start, "latin1");
		buffer.write("\r\n", end, "latin1");
		this.bytes = buffer.subarray(CHUNK_ROOM_BEFORE, end);
		this.chunk = buffer.subarray(start, end + CHUNK_ROOM_AFTER);
	}

	/** `text` is not empty: an empty chunk would be the last one. */
	static of(text: string): SharedPart {
		const bytes = Buffer.byteLength(text);
		const buffer = Buffer.allocUnsafeSlow(CHUNK_ROOM_BEFORE + bytes + CHUNK_ROOM_AFTER);
		buffer.write(text, CHUNK_ROOM_BEFORE);
		return new SharedPart(buffer, CHUNK_ROOM_BEFORE + bytes);
	}
}
