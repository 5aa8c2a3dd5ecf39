/**
 * Takes a body out of its framing (RFC 9112 sections 6 and 7) as ranges of the input, without a copy and without an allocation per
 * chunk: pieces of several chunks in one read are moved together in place, always towards the front, over bytes already consumed.
 */
import { type CodecFault, fault } from "./fault.ts";
import type { Framing } from "./framing.ts";
import { BAD, DONE, HeadParser, MORE } from "./head-parser.ts";
import { CHUNK_EXTENSION_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX } from "./limits.ts";
import { CLASS, hexValue, TEXT } from "./syntax.ts";
import { trailerLines } from "./trailers.ts";

// Where the decoder stands. `size line -> data -> CRLF` repeats; size 0 leads to the trailers.
const ENDED = 0;
const FIXED = 1;
const TO_CLOSE = 2;
const SIZE_FIRST = 3;
const SIZE = 4;
const EXTENSION = 5;
const SIZE_LF = 6;
const DATA = 7;
const DATA_CR = 8;
const DATA_LF = 9;
const TRAILERS = 10;
const BEFORE_EXTENSION = 11;

const CR = 0x0d;
const LF = 0x0a;
const SP = 0x20;
const HTAB = 0x09;
const SEMICOLON = 0x3b;

export class BodyDecoder {
	/** Payload of the last `decode`: `[dataStart, dataEnd)` of its input. Empty where both are equal. */
	dataStart = 0;
	dataEnd = 0;
	/** Whether the body is complete. */
	done = true;
	fault: CodecFault | undefined;
	/** Relayable trailer lines, each with its CRLF, once `done`; "" where there are none. */
	trailers = "";
	/** Payload bytes so far; exact up to 2^53. */
	received = 0;

	#state = ENDED;
	#left = 0;
	#digits = 0;
	#extensionBytes = 0;
	#framingBytes = 0;
	#trailerParser: HeadParser | undefined;

	start(framing: Framing): void {
		this.dataStart = this.dataEnd = 0;
		this.fault = undefined;
		this.trailers = "";
		this.received = 0;
		this.#extensionBytes = 0;
		this.#framingBytes = 0;
		this.#digits = 0;
		this.#left = framing.kind === "length" ? framing.length : 0;
		this.#trailerParser?.reset();
		this.done = framing.kind === "none";
		switch (framing.kind) {
			case "none":
				this.#state = ENDED;
				break;
			case "length":
				this.#state = FIXED;
				break;
			case "close":
				this.#state = TO_CLOSE;
				break;
			case "chunked":
				this.#state = SIZE_FIRST;
				break;
		}
	}

	/** Takes from `[from, to)` and returns the position behind what belongs to this body. On a broken framing sets `fault`. */
	decode(input: Buffer, from: number, to: number): number {
		this.dataStart = this.dataEnd = from;
		if (this.#state === FIXED) {
			const taken = Math.min(to - from, this.#left);
			this.#left -= taken;
			this.received += taken;
			this.dataEnd = from + taken;
			if (this.#left === 0) this.#end();
			return this.dataEnd;
		}
		if (this.#state === TO_CLOSE) {
			this.received += to - from;
			this.dataEnd = to;
			return to;
		}
		return this.#decodeChunks(input, from, to);
	}

	/** The sender closed. True where that ends the body well (read-until-close, or it was complete). */
	closed(): boolean {
		if (this.#state === TO_CLOSE) this.#end();
		return this.done;
	}

	#end(): void {
		this.#state = ENDED;
		this.done = true;
	}

	#decodeChunks(input: Buffer, from: number, to: number): number {
		let p = from;
		while (p < to && this.#state !== ENDED) {
			switch (this.#state) {
				case DATA: {
					const taken = Math.min(to - p, this.#left);
					this.#take(input, p, p + taken);
					p += taken;
					this.#left -= taken;
					if (this.#left === 0) this.#state = DATA_CR;
					break;
				}
				case TRAILERS: {
					const end = this.#readTrailers(input, p, to);
					if (end === -1) return p;
					p = end;
					break;
				}
				default: {
					this.#framingBytes++;
					const problem = this.#framingByte(input[p] as number);
					if (problem !== undefined) {
						this.fault = fault("bad_request", problem, this.received + this.#framingBytes - 1);
						return p;
					}
					p++;
				}
			}
		}
		return p;
	}

	#take(input: Buffer, from: number, to: number): void {
		this.received += to - from;
		if (this.dataEnd === this.dataStart) {
			this.dataStart = from;
			this.dataEnd = to;
			return;
		}
		input.copyWithin(this.dataEnd, from, to);
		this.dataEnd += to - from;
	}

	/** The rule that the byte breaks, or undefined. */
	#framingByte(byte: number): string | undefined {
		switch (this.#state) {
			case SIZE_FIRST:
			case SIZE: {
				const digit = hexValue(byte);
				if (digit >= 0) {
					if (++this.#digits > CHUNK_SIZE_DIGITS_MAX) return "a chunk size beyond 2^52 (RFC 9112 7.1)";
					this.#left = this.#left * 16 + digit;
					this.#state = SIZE;
					return undefined;
				}
				if (this.#state === SIZE_FIRST) return "a chunk size does not begin with a digit (RFC 9112 7.1)";
				if (byte === CR) this.#state = SIZE_LF;
				else if (byte === SEMICOLON) this.#state = EXTENSION;
				else if (byte === SP || byte === HTAB) this.#state = BEFORE_EXTENSION;
				else return "a chunk size is followed by something else than ; or CRLF (RFC 9112 7.1)";
				return undefined;
			}
			case BEFORE_EXTENSION:
			case EXTENSION:
				return this.#extensionByte(byte);
			case SIZE_LF: {
				if (byte !== LF) return "CR is not followed by LF (RFC 9112 7.1)";
				this.#digits = 0;
				this.#state = this.#left === 0 ? TRAILERS : DATA;
				return undefined;
			}
			case DATA_CR: {
				if (byte !== CR) return "chunk data is not followed by CRLF (RFC 9112 7.1)";
				this.#state = DATA_LF;
				return undefined;
			}
			default: {
				if (byte !== LF) return "chunk data is not followed by CRLF (RFC 9112 7.1)";
				this.#state = SIZE_FIRST;
				return undefined;
			}
		}
	}

	/** Apart from the rest, as nobody sends any: the loop over plain chunks stays small enough to be compiled as one. */
	#extensionByte(byte: number): string | undefined {
		if (this.#state === BEFORE_EXTENSION) {
			// Bad white space, which a recipient MUST parse and remove (RFC 9110 5.6.3): but only where an extension follows.
			if (byte === SEMICOLON) this.#state = EXTENSION;
			else if (byte !== SP && byte !== HTAB) return "a chunk size is followed by white space alone (RFC 9112 7.1.1)";
		} else if (byte === CR) {
			this.#state = SIZE_LF;
			return undefined;
		} else if (((CLASS[byte] as number) & TEXT) === 0) return "a chunk extension holds more than visible characters (RFC 9112 7.1.1)";
		return ++this.#extensionBytes > CHUNK_EXTENSION_BYTES_MAX ? "more chunk extensions than the limit (RFC 9112 7.1.1)" : undefined;
	}

	/** Position behind the trailers, or -1 where they are broken. */
	#readTrailers(input: Buffer, from: number, to: number): number {
		this.#trailerParser ??= new HeadParser("trailers");
		const parser = this.#trailerParser;
		const progress = parser.parse(input, from, to);
		if (progress === MORE) return to;
		if (progress === BAD) {
			this.fault = parser.fault;
			parser.reset();
			return -1;
		}
		if (progress === DONE) this.trailers = trailerLines(parser.fields);
		const end = parser.consumed;
		parser.reset();
		this.#end();
		return end;
	}
}
