/** Stored events as server-sent events: encoded into one buffer for all who get them, the event itself copied as its sender wrote it. */
import { CHUNK_ROOM_AFTER, CHUNK_ROOM_BEFORE, SharedPart } from "../../server/shared-part.ts";
import { sseFrame } from "../../server/sse.ts";
import type { StoredEvent } from "../log/event-log.ts";

/** Sequences that can no longer be read, both inclusive. */
export interface Gap {
	readonly first: number;
	readonly last: number;
}

/** What is read of the log in one go. */
export interface Page {
	/** In the order of the log, as the events are. */
	readonly gaps: readonly Gap[];
	readonly events: readonly StoredEvent[];
	/** All up to here is in it. */
	readonly end: number;
	/** There was nothing behind it. */
	readonly atEnd: boolean;
}

export interface Told {
	readonly part: SharedPart;
	/** Who has it, and all before it, has been told all up to here. */
	readonly last: number;
}

interface Frames extends Told {
	/** Index of the first event behind it. */
	readonly next: number;
}

/** What a reader that stops may leave behind in memory, beside what its socket holds. */
const PART_BYTES = 64 * 1024;
/** Of what stands around an event: two sequences of at most 16 digits, a time of at most 27 characters, 70 characters of names. */
const AROUND_BYTES_MAX = 160;
const TAIL = "}\n\n";
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** A page in the order of the log. A part is made when it is asked for: who stops has spent nothing on the rest. */
export function* partsOf({ gaps, events }: Page): Generator<Told> {
	let next = 0;
	for (const gap of gaps) {
		const behind = events.findIndex(({ sequence }) => sequence > gap.first);
		for (const end = behind < 0 ? events.length : behind; next < end; ) {
			const frames = framesOf(events, next, end);
			yield frames;
			next = frames.next;
		}
		yield { part: gapFrame(gap), last: gap.last };
	}
	while (next < events.length) {
		const frames = framesOf(events, next, events.length);
		yield frames;
		next = frames.next;
	}
}

/** The events from index `from` on, but none from `to` on, as many as make a part: at least one. */
function framesOf(events: readonly StoredEvent[], from: number, to: number): Frames {
	let bytes = CHUNK_ROOM_BEFORE + CHUNK_ROOM_AFTER;
	let next = from;
	const jsons: Buffer[] = [];
	do {
		const json = inLines((events[next] as StoredEvent).json);
		jsons.push(json);
		bytes += json.length + AROUND_BYTES_MAX;
	} while (++next < to && bytes < PART_BYTES);
	const buffer = Buffer.allocUnsafeSlow(bytes);
	let at = CHUNK_ROOM_BEFORE;
	// Events of one commit have one time.
	let timeMs = Number.NaN;
	let time = "";
	for (let n = from; n < next; n++) {
		const { sequence, receivedAtMs } = events[n] as StoredEvent;
		if (receivedAtMs !== timeMs) {
			timeMs = receivedAtMs;
			time = new Date(receivedAtMs).toISOString();
		}
		const json = jsons[n - from] as Buffer;
		at += buffer.write(`id: ${sequence}\ndata: {"sequence":${sequence},"receivedAt":"${time}","event":`, at, "latin1");
		buffer.set(json, at);
		at += json.length;
		at += buffer.write(TAIL, at, "latin1");
	}
	return { part: new SharedPart(buffer, at), last: (events[next - 1] as StoredEvent).sequence, next };
}

function gapFrame({ first, last }: Gap): SharedPart {
	return SharedPart.of(sseFrame({ event: "gap", data: JSON.stringify({ first, last }) }));
}

/** White space of a sender who likes lines would end the event: each line of data has its name before it, and the reader joins them again. */
function inLines(json: Buffer): Buffer {
	if (json.indexOf(LINE_FEED) < 0 && json.indexOf(CARRIAGE_RETURN) < 0) return json;
	return Buffer.from(json.toString().replace(/\r\n|\r|\n/g, "\ndata: "));
}
