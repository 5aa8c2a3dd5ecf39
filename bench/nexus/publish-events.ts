/** The events that every contestant is sent: 500 bytes of JSON, each with a random UUID of its own. */
import { IdSource } from "../../src/core/ids.ts";

export const EVENT_BYTES = 500;

const ID_CHARS = 36;
const UNWRITTEN = "0".repeat(ID_CHARS);
const PADDING = "The quick brown fox jumps over the lazy dog. ";

/** A message with one or more events in it, of which only the ids differ from one sending to the next. */
export class Message {
	readonly bytes: Buffer;
	readonly events: number;
	readonly #idsAt: readonly number[];
	readonly #ids = new IdSource();

	/** `frame`: what stands around the JSON on the wire. `isArray`: as a JSON array, however few they are. */
	constructor(events: number, isArray: boolean, frame: (json: Buffer) => Buffer) {
		const json = Array.from({ length: events }, eventJson).join(",");
		this.bytes = frame(Buffer.from(isArray ? `[${json}]` : json));
		this.events = events;
		const found: number[] = [];
		for (let at = this.bytes.indexOf(UNWRITTEN); at >= 0; at = this.bytes.indexOf(UNWRITTEN, at + ID_CHARS)) found.push(at);
		this.#idsAt = found;
	}

	/** The bytes with ids that were never used; a copy, as a socket may keep them. */
	next(): Buffer {
		const copy = Buffer.from(this.bytes);
		for (const at of this.#idsAt) copy.write(this.#uuid(), at, "latin1");
		return copy;
	}

	/** UUIDv4 (RFC 9562 section 5.4): nothing about it is in any order. */
	#uuid(): string {
		const digits = this.#ids.hex(31);
		return `${digits.slice(0, 8)}-${digits.slice(8, 12)}-4${digits.slice(12, 15)}-a${digits.slice(15, 18)}-${digits.slice(18, 30)}`;
	}
}

function eventJson(): string {
	const head = `{"specversion":"1.0","id":"${UNWRITTEN}","source":"/mesh/checkout/a1","type":"shop.order.placed","time":"2026-01-02T03:04:05.678Z","partitionkey":"customer-1","data":{"order":12345,"total":99.5,"note":"`;
	const tail = '"}}';
	return head + PADDING.repeat(20).slice(0, EVENT_BYTES - head.length - tail.length) + tail;
}
