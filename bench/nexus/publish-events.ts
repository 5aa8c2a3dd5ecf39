/** The events that every contestant is sent: 500 bytes of JSON, each with a UUID of its own; and how a consumer recognises them. */
import { IdSource } from "../../src/core/ids.ts";

export const EVENT_BYTES = 500;
export const EVENT_TYPE = "shop.order.placed";

const ID_CHARS = 36;
const NUMBER_CHARS = 12;
const UNWRITTEN = "0".repeat(ID_CHARS);
const PADDING = "The quick brown fox jumps over the lazy dog. ";
const ID_MARK = '"id":"';
const NUMBER_AT = ID_MARK.length + ID_CHARS - NUMBER_CHARS;
const DIGIT_0 = 0x30;

/** A message with one or more events in it, of which only the ids differ from one sending to the next. */
export class Message {
	readonly bytes: Buffer;
	readonly events: number;
	/** Where each id stands. */
	readonly idsAt: readonly number[];
	readonly #ids = new IdSource();
	#number = 0;

	/** `frame`: what stands around the JSON on the wire. `isArray`: as a JSON array, however few they are. */
	constructor(events: number, isArray: boolean, frame: (json: Buffer) => Buffer) {
		const json = Array.from({ length: events }, eventJson).join(",");
		this.bytes = frame(Buffer.from(isArray ? `[${json}]` : json));
		this.events = events;
		const found: number[] = [];
		for (let at = this.bytes.indexOf(UNWRITTEN); at >= 0; at = this.bytes.indexOf(UNWRITTEN, at + ID_CHARS)) found.push(at);
		this.idsAt = found;
	}

	/** The bytes with ids that were never used; a copy, as a socket may keep them. */
	next(): Buffer {
		const copy = Buffer.from(this.bytes);
		for (const at of this.idsAt) copy.write(this.#uuid(), at, "latin1");
		return copy;
	}

	/** Like a UUIDv4 (RFC 9562 section 5.4), but for its last 12 digits, which count the events of this message from 0 on. */
	#uuid(): string {
		const digits = this.#ids.hex(18);
		const number = String(this.#number++).padStart(NUMBER_CHARS, "0");
		return `${digits.slice(0, 8)}-${digits.slice(8, 12)}-4${digits.slice(12, 15)}-a${digits.slice(15, 18)}-${number}`;
	}
}

/** Finds the numbers of events in a stream of bytes, whatever protocol is around them. */
export class NumberScanner {
	readonly #onNumber: (number: number) => void;
	#rest: Buffer = Buffer.alloc(0);

	constructor(onNumber: (number: number) => void) {
		this.#onNumber = onNumber;
	}

	/** The bytes are the caller's again afterwards. */
	push(chunk: Buffer): void {
		const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
		let at = bytes.indexOf(ID_MARK);
		while (at >= 0 && at + NUMBER_AT + NUMBER_CHARS <= bytes.length) {
			let number = 0;
			for (let digit = at + NUMBER_AT; digit < at + NUMBER_AT + NUMBER_CHARS; digit++) number = number * 10 + (bytes[digit] as number) - DIGIT_0;
			this.#onNumber(number);
			at = bytes.indexOf(ID_MARK, at + NUMBER_AT + NUMBER_CHARS);
		}
		// What may be the beginning of a mark, or of an id behind it.
		const keep = at >= 0 ? at : Math.max(0, bytes.length - ID_MARK.length + 1);
		this.#rest = Buffer.from(bytes.subarray(keep));
	}
}

function eventJson(): string {
	const head = `{"specversion":"1.0","id":"${UNWRITTEN}","source":"/mesh/checkout/a1","type":"${EVENT_TYPE}","time":"2026-01-02T03:04:05.678Z","partitionkey":"customer-1","data":{"order":12345,"total":99.5,"note":"`;
	const tail = '"}}';
	return head + PADDING.repeat(20).slice(0, EVENT_BYTES - head.length - tail.length) + tail;
}
