/**
 * Start line, fields and trailers of HTTP/1.1 as one resumable byte machine: every byte is looked at once and validated where it is
 * looked at (RFC 9112 sections 2 to 5). It knows what is well-formed; what the fields mean stands in request-head and response-head.
 */
import { type CodecFault, fault } from "./fault.ts";
import { FieldTable } from "./field-table.ts";
import { fieldId } from "./fields.ts";
import { HEAD_BYTES_MAX, METHOD_BYTES_MAX, TARGET_BYTES_MAX, TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX } from "./limits.ts";
import { CLASS, QUERY, TOKEN, VALUE } from "./syntax.ts";

export type HeadKind = "request" | "response" | "trailers";

export const MORE = 0;
export const DONE = 1;
export const BAD = 2;
export type Progress = typeof MORE | typeof DONE | typeof BAD;

// States. A number each, as the machine stands in the hot path; the order is that of the bytes.
const START = 0;
const START_LF = 1;
const METHOD = 2;
const TARGET = 3;
const VERSION = 4;
const STATUS_LINE = 5;
const REASON = 6;
const START_LINE_LF = 7;
const FIELD_START = 8;
const NAME = 9;
const VALUE_START = 10;
const VALUE_BYTES = 11;
const VALUE_LF = 12;
const END_LF = 13;

const CR = 0x0d;
const LF = 0x0a;
const SP = 0x20;
const HTAB = 0x09;
const COLON = 0x3a;

const VERSION_TEXT = Buffer.from("HTTP/1.", "latin1");
const CARRY_BYTES = 2048;
const NO_BUFFER = Buffer.alloc(0);

export class HeadParser {
	readonly fields = new FieldTable(NO_BUFFER);
	/** Start of the message in `fields.buffer`. */
	start = 0;
	/** Behind the method (request). */
	methodEnd = 0;
	targetStart = 0;
	targetEnd = 0;
	/** End of the start line, its CRLF included. */
	lineEnd = 0;
	/** Behind the empty line that ends the head. */
	end = 0;
	minorVersion = 1;
	status = 0;
	/** The status line ended behind the status, without the space that RFC 9112 section 4 asks for even where no phrase follows. */
	bareStatusLine = false;
	fault: CodecFault | undefined;

	readonly #kind: HeadKind;
	readonly #bytesMax: number;
	#state: number;
	#cursor = 0;
	#nameStart = 0;
	#nameEnd = 0;
	#valueStart = 0;
	#valueEnd = 0;
	#emptyLine = false;
	/** Bytes of this head that came in earlier reads: copied here, as a read buffer does not outlive its read. */
	#carry = NO_BUFFER;
	#carried = 0;

	constructor(kind: HeadKind) {
		this.#kind = kind;
		this.#bytesMax = kind === "trailers" ? TRAILER_BYTES_MAX : HEAD_BYTES_MAX;
		this.#state = this.#firstState();
	}

	/** Forgets the message; keeps its memory for the next one, unless a large head made it large. */
	reset(): void {
		this.fields.count = 0;
		this.fields.buffer = NO_BUFFER;
		this.fault = undefined;
		this.#state = this.#firstState();
		this.#emptyLine = false;
		this.#carried = 0;
		if (this.#carry.length > CARRY_BYTES) this.#carry = NO_BUFFER;
	}

	/** Whether some byte of the message has arrived. */
	get begun(): boolean {
		return this.#carried > 0;
	}

	/**
	 * Takes bytes `[from, to)`. DONE: the head is complete and `consumed` tells where the rest begins. MORE: all were taken. BAD: see `fault`.
	 * Offsets point into `fields.buffer`, which is `input` itself when the head came in one piece.
	 */
	parse(input: Buffer, from: number, to: number): Progress {
		if (this.#carried > 0) return this.#resume(input, from, to);
		this.fields.buffer = input;
		this.start = from;
		// One byte past the limit is enough to know that it is passed, whatever the rest of a large read holds.
		const progress = this.#scan(input, from, from, Math.min(to, from + this.#bytesMax + 1));
		this.consumed = this.#cursor;
		if (progress === MORE && to > from) this.#save(input, from, to);
		return progress;
	}

	/** Position in the input behind the last byte that belongs to the head. */
	consumed = 0;

	#resume(input: Buffer, from: number, to: number): Progress {
		const before = this.#carried;
		const taken = Math.min(to - from, this.#bytesMax + 1 - before);
		this.#reserve(before + taken);
		input.copy(this.#carry, before, from, from + taken);
		this.#carried = before + taken;
		const progress = this.#scan(this.#carry, 0, this.#cursor, this.#carried);
		this.consumed = from + this.#cursor - before;
		return progress;
	}

	#save(input: Buffer, from: number, to: number): void {
		const length = to - from;
		this.#reserve(length);
		input.copy(this.#carry, 0, from, to);
		const distance = from;
		this.fields.rebase(this.#carry, distance);
		this.start -= distance;
		this.methodEnd -= distance;
		this.targetStart -= distance;
		this.targetEnd -= distance;
		this.lineEnd -= distance;
		this.#cursor -= distance;
		this.#nameStart -= distance;
		this.#nameEnd -= distance;
		this.#valueStart -= distance;
		this.#valueEnd -= distance;
		this.#carried = length;
	}

	/** Doubles, so that a head of single bytes is copied a constant number of times. */
	#reserve(bytes: number): void {
		if (bytes <= this.#carry.length) return;
		const grown = Buffer.allocUnsafeSlow(Math.max(CARRY_BYTES, bytes, Math.min(this.#carry.length * 2, this.#bytesMax + 1)));
		this.#carry.copy(grown, 0, 0, this.#carried);
		this.#carry = grown;
		this.fields.buffer = grown;
	}

	#firstState(): number {
		return this.#kind === "request" ? START : this.#kind === "response" ? STATUS_LINE : FIELD_START;
	}

	/** `first`: where the bytes of this message begin in `buffer`, an ignored empty line included; what the limit counts from. */
	#scan(buffer: Buffer, first: number, from: number, to: number): Progress {
		let p = from;
		let state = this.#state;
		while (p < to) {
			switch (state) {
				case VALUE_BYTES: {
					while (p < to && ((CLASS[buffer[p] as number] as number) & VALUE) !== 0) p++;
					if (p === to) break;
					if (buffer[p] !== CR) return this.#bad(p, "a control byte in a field value (RFC 9110 5.5)");
					this.#valueEnd = p++;
					state = VALUE_LF;
					break;
				}
				case NAME: {
					while (p < to && ((CLASS[buffer[p] as number] as number) & TOKEN) !== 0) p++;
					if (p === to) break;
					if (buffer[p] !== COLON) return this.#bad(p, "a field name is not a token followed by a colon (RFC 9112 5.1)");
					this.#nameEnd = p++;
					state = VALUE_START;
					break;
				}
				case VALUE_START: {
					while (p < to && (buffer[p] === SP || buffer[p] === HTAB)) p++;
					if (p === to) break;
					this.#valueStart = p;
					state = VALUE_BYTES;
					break;
				}
				case VALUE_LF: {
					if (buffer[p] !== LF) return this.#bad(p, "CR is not followed by LF (RFC 9112 2.2)");
					p++;
					if (!this.#endField(buffer)) return this.#tooLarge(p, "more header fields than the limit");
					state = FIELD_START;
					break;
				}
				case FIELD_START: {
					const byte = buffer[p] as number;
					if (byte === CR) {
						p++;
						state = END_LF;
						break;
					}
					if (byte === SP || byte === HTAB) return this.#bad(p, "a folded line or white space before a field name (RFC 9112 5.2)");
					if (((CLASS[byte] as number) & TOKEN) === 0) return this.#bad(p, "a field name is not a token (RFC 9110 5.1)");
					this.#nameStart = p++;
					state = NAME;
					break;
				}
				case END_LF: {
					if (buffer[p] !== LF) return this.#bad(p, "CR is not followed by LF (RFC 9112 2.2)");
					p++;
					this.#cursor = p;
					this.#state = this.#firstState();
					this.end = p;
					if (p - first > this.#bytesMax) return this.#tooLarge(p, "the header section is longer than the limit");
					return DONE;
				}
				case START: {
					const byte = buffer[p] as number;
					if (byte === CR && !this.#emptyLine) {
						p++;
						state = START_LF;
						break;
					}
					if (((CLASS[byte] as number) & TOKEN) === 0) return this.#bad(p, "the method is not a token (RFC 9112 3.1)");
					this.start = p++;
					state = METHOD;
					break;
				}
				case START_LF: {
					if (buffer[p] !== LF) return this.#bad(p, "CR is not followed by LF (RFC 9112 2.2)");
					p++;
					// One empty line before a request is ignored (RFC 9112 2.2); more are somebody's game.
					this.#emptyLine = true;
					state = START;
					break;
				}
				case METHOD: {
					const limit = Math.min(to, this.start + METHOD_BYTES_MAX + 1);
					while (p < limit && ((CLASS[buffer[p] as number] as number) & TOKEN) !== 0) p++;
					if (p - this.start > METHOD_BYTES_MAX) return this.#bad(p, "the method is longer than the limit");
					if (p === to) break;
					if (buffer[p] !== SP) return this.#bad(p, "the method is not a token followed by one space (RFC 9112 3)");
					this.methodEnd = p++;
					this.targetStart = p;
					state = TARGET;
					break;
				}
				case TARGET: {
					const limit = Math.min(to, this.targetStart + TARGET_BYTES_MAX + 1);
					// QUERY is the widest class; the path's own, narrower one is checked with the form of the target.
					while (p < limit && ((CLASS[buffer[p] as number] as number) & QUERY) !== 0) p++;
					if (p - this.targetStart > TARGET_BYTES_MAX) {
						this.fault = fault("target_too_long", "the request target is longer than the limit (RFC 9112 3)", p - this.start);
						return BAD;
					}
					if (p === to) break;
					if (buffer[p] !== SP || p === this.targetStart) return this.#bad(p, "a byte that no request target may hold (RFC 9112 3.2)");
					this.targetEnd = p++;
					this.lineEnd = p;
					state = VERSION;
					break;
				}
				case VERSION: {
					// lineEnd holds the start of the version until the line is complete.
					const i = p - this.lineEnd;
					const byte = buffer[p] as number;
					if (i < 5) {
						if (byte !== VERSION_TEXT[i]) return this.#bad(p, "the version is not HTTP/DIGIT.DIGIT (RFC 9112 2.3)");
					} else if (i === 6) {
						if (byte !== 0x2e) return this.#bad(p, "the version is not HTTP/DIGIT.DIGIT (RFC 9112 2.3)");
					} else if (i < 8) {
						if (byte < 0x30 || byte > 0x39) return this.#bad(p, "the version is not HTTP/DIGIT.DIGIT (RFC 9112 2.3)");
						if (i === 7) this.minorVersion = ((buffer[p - 2] as number) - 0x30) * 10 + byte - 0x30 - 10;
					} else {
						if (byte !== CR) return this.#bad(p, "the version is not followed by CRLF (RFC 9112 3)");
						if (this.minorVersion !== 0 && this.minorVersion !== 1) {
							this.fault = fault("version_not_supported", "only HTTP/1.1 and HTTP/1.0 are spoken here (RFC 9110 15.6.6)", p - this.start);
							return BAD;
						}
						state = START_LINE_LF;
					}
					p++;
					break;
				}
				case STATUS_LINE: {
					const i = p - this.start;
					const byte = buffer[p++] as number;
					this.bareStatusLine = i === 12 && byte === CR;
					if (this.bareStatusLine) state = START_LINE_LF;
					else if (!this.#statusLineByte(byte, i)) return this.#bad(p - 1, "the status line is malformed (RFC 9112 4)");
					else if (i === 12) state = REASON;
					break;
				}
				case REASON: {
					while (p < to && ((CLASS[buffer[p] as number] as number) & VALUE) !== 0) p++;
					if (p === to) break;
					if (buffer[p] !== CR) return this.#bad(p, "a control byte in the reason phrase (RFC 9112 4)");
					p++;
					state = START_LINE_LF;
					break;
				}
				default: {
					// START_LINE_LF
					if (buffer[p] !== LF) return this.#bad(p, "CR is not followed by LF (RFC 9112 2.2)");
					p++;
					this.lineEnd = p;
					state = FIELD_START;
				}
			}
		}
		this.#state = state;
		this.#cursor = p;
		if (p - first > this.#bytesMax) return this.#tooLarge(p, "the header section is longer than the limit");
		return MORE;
	}

	/** `HTTP/1.d ddd ` byte by byte. */
	#statusLineByte(byte: number, i: number): boolean {
		if (i < 7) return byte === VERSION_TEXT[i];
		if (i === 8 || i === 12) return byte === SP;
		const digit = byte - 0x30;
		if (digit < 0 || digit > 9) return false;
		if (i === 7) this.minorVersion = digit;
		else this.status = i === 9 ? digit : this.status * 10 + digit;
		return i !== 9 || (digit >= 1 && digit <= 5);
	}

	#endField(buffer: Buffer): boolean {
		let end = this.#valueEnd;
		while (end > this.#valueStart && (buffer[end - 1] === SP || buffer[end - 1] === HTAB)) end--;
		if (this.#kind === "trailers" && this.fields.count === TRAILER_FIELDS_MAX) return false;
		return this.fields.add(fieldId(buffer, this.#nameStart, this.#nameEnd), this.#nameStart, this.#nameEnd, this.#valueStart, end);
	}

	#bad(at: number, detail: string): Progress {
		this.fault = fault(this.#kind === "response" ? "upstream_protocol_error" : "bad_request", detail, at - this.start);
		return BAD;
	}

	#tooLarge(at: number, detail: string): Progress {
		this.fault = fault(this.#kind === "response" ? "upstream_protocol_error" : "head_too_large", detail, at - this.start);
		return BAD;
	}
}
