/** Writes what a body decoder has just taken out of one framing in the framing of the other side. */
import { latin1 } from "../../core/latin1.ts";
import type { BodyDecoder } from "../../http1/body-decoder.ts";
import type { Framing } from "../../http1/framing.ts";
import { chunkSizeLine, lastChunk } from "../../http1/serializer.ts";
import type { Room } from "../../net/loop-memory.ts";

/** A body up to this goes out behind its head as one latin1 string; for more, copying bytes is cheaper than making strings of them. */
export const GLUED_BYTES_MAX = 4 * 1024;

/** As latin1 text. `trailers` are written behind the last chunk. */
export function framedText(body: BodyDecoder, buffer: Buffer, framing: Framing, trailers: string): string {
	const data = latin1(buffer, body.dataStart, body.dataEnd);
	if (framing.kind !== "chunked") return data;
	const chunk = data.length === 0 ? "" : `${chunkSizeLine(data.length)}${data}\r\n`;
	return body.done ? chunk + lastChunk(trailers) : chunk;
}

/** As bytes in the room of whoever they are for, behind `head`: one copy, one write. */
export function framedBytes(body: BodyDecoder, buffer: Buffer, framing: Framing, trailers: string, head: string, to: Room): Buffer {
	const length = body.dataEnd - body.dataStart;
	const chunked = framing.kind === "chunked";
	const before = chunked && length > 0 ? head + chunkSizeLine(length) : head;
	let after = chunked && length > 0 ? "\r\n" : "";
	if (chunked && body.done) after += lastChunk(trailers);
	const framed = to.room(before.length + length + after.length);
	framed.write(before, 0, "latin1");
	buffer.copy(framed, before.length, body.dataStart, body.dataEnd);
	framed.write(after, before.length + length, "latin1");
	return framed;
}
