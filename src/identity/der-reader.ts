/**
 * DER (X.690 section 10), read strictly: definite and shortest lengths, tags of one byte, nothing left over. Faults are sticky: after the
 * first one every read comes back empty and `more` is false, so that a reader of a structure asks once, at its end.
 */

export const TAG = Object.freeze({
	boolean: 0x01,
	integer: 0x02,
	bitString: 0x03,
	octetString: 0x04,
	null: 0x05,
	oid: 0x06,
	utf8String: 0x0c,
	utcTime: 0x17,
	generalizedTime: 0x18,
	sequence: 0x30,
	set: 0x31,
});

/** Tags of context class: `[n]` around other elements, or in the place of a primitive one. */
export const around = (n: number): number => 0xa0 | n;
export const instead = (n: number): number => 0x80 | n;

// Three bytes of length speak of 16 MiB; whoever makes a reader has bounded its bytes far below.
const LENGTH_BYTES_MAX = 3;
const NO_BYTES = Buffer.alloc(0);
// Real object identifiers have up to 20 bytes; those made of a UUID 21.
const OID_BYTES_MAX = 64;

/** The bytes that all readers of one structure share, and the first thing that was wrong in them. */
export interface DerInput {
	readonly bytes: Buffer;
	/** Empty while all is well. */
	fault: string;
}

export class DerReader {
	readonly #input: DerInput;
	readonly #end: number;
	#at: number;

	constructor(input: DerInput, start = 0, end = input.bytes.length) {
		this.#input = input;
		this.#at = start;
		this.#end = end;
	}

	static of(bytes: Uint8Array): DerReader {
		return new DerReader({ bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), fault: "" });
	}

	get fault(): string {
		return this.#input.fault;
	}

	/** Whether there is another element, and no fault so far. */
	get more(): boolean {
		return this.#at < this.#end && this.#input.fault === "";
	}

	/** Tag of the next element, -1 where there is none. */
	get tag(): number {
		return this.more ? (this.#input.bytes[this.#at] ?? -1) : -1;
	}

	/** For what only the caller can judge; keeps the first fault. */
	fail(what: string): void {
		if (this.#input.fault === "") this.#input.fault = `${what} (offset ${this.#at})`;
	}

	/** What the next element holds. */
	enter(tag: number, what: string): DerReader {
		if (this.tag !== tag) this.fail(`${what} is missing`);
		const start = this.#next();
		return new DerReader(this.#input, start, this.#at);
	}

	/** The same where it may be absent. */
	enterIf(tag: number): DerReader | undefined {
		return this.tag === tag ? this.enter(tag, "") : undefined;
	}

	/** Content of the next element, a view of the input. */
	bytes(tag: number, what: string): Buffer {
		return this.enter(tag, what).rest();
	}

	/** The next element whatever it is, with its head: a view of the input. */
	element(what: string): Buffer {
		if (!this.more) this.fail(`${what} is missing`);
		const begin = this.#at;
		this.#next();
		return this.fault === "" ? this.#input.bytes.subarray(begin, this.#at) : NO_BYTES;
	}

	/** All that has not been read yet. */
	rest(): Buffer {
		const rest = this.fault === "" ? this.#input.bytes.subarray(this.#at, this.#end) : NO_BYTES;
		this.#at = this.#end;
		return rest;
	}

	/** Nothing may be left. */
	finish(what: string): void {
		if (this.more) this.fail(`something stands behind ${what}`);
	}

	boolean(what: string): boolean {
		const value = this.bytes(TAG.boolean, what);
		// 0x00 should have been left out as the default; some authorities write it all the same, and it says nothing else.
		if (value.length !== 1 || (value[0] !== 0xff && value[0] !== 0)) this.fail(`${what} is no boolean`);
		return value[0] === 0xff;
	}

	/** Content of an integer in its shortest form, with the byte of its sign. */
	integer(what: string): Buffer {
		const value = this.bytes(TAG.integer, what);
		const [first = 0, second = 0] = value;
		const padded = value.length > 1 && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80));
		if (value.length === 0 || padded) this.fail(`${what} is not written in its shortest form`);
		return value;
	}

	/** A number that is not negative and has at most 31 bits. */
	smallInteger(what: string): number {
		const value = this.integer(what);
		if (value.length > 4 || (value[0] ?? 0) >= 0x80) this.fail(`${what} is out of range`);
		return this.fault === "" ? value.readUIntBE(0, value.length) : 0;
	}

	/** A bit string of whole bytes. */
	wholeBytes(what: string): Buffer {
		const value = this.bytes(TAG.bitString, what);
		if (value[0] !== 0) this.fail(`${what} has bits left over`);
		return value.subarray(1);
	}

	/** The first `count` named bits of a bit string, bit n of the result for bit n of the string. */
	namedBits(count: number, what: string): number {
		const value = this.bytes(TAG.bitString, what);
		if (value.length === 0 || (value[0] ?? 0) > 7 || (value.length === 1 && value[0] !== 0)) this.fail(`${what} is no string of bits`);
		let bits = 0;
		for (let n = 0; n < count; n++) if (((value[1 + (n >> 3)] ?? 0) & (0x80 >> (n & 7))) !== 0) bits |= 1 << n;
		return bits;
	}

	/** In dotted form. */
	oid(what: string): string {
		const value = this.bytes(TAG.oid, what);
		if (value.length === 0 || value.length > OID_BYTES_MAX || (value[value.length - 1] ?? 0) >= 0x80) this.fail(`${what} is no object identifier`);
		return this.fault === "" ? dotted(value) : "";
	}

	/** Milliseconds since 1970, of either form that RFC 5280 section 4.1.2.5 allows. */
	time(what: string): number {
		const isShort = this.tag === TAG.utcTime;
		const text = this.bytes(isShort ? TAG.utcTime : TAG.generalizedTime, what).toString("latin1");
		if (!(isShort ? /^\d{12}Z$/ : /^\d{14}Z$/).test(text)) {
			this.fail(`${what} is no time of the form YYYYMMDDHHMMSSZ`);
			return 0;
		}
		// RFC 5280 4.1.2.5.1: two digits from 50 on are of the last century.
		const full = isShort ? `${text < "50" ? "20" : "19"}${text}` : text;
		const at = (from: number, to: number) => Number(full.slice(from, to));
		const ms = Date.UTC(at(0, 4), at(4, 6) - 1, at(6, 8), at(8, 10), at(10, 12), at(12, 14));
		// Date.UTC carries a 30th of February over into March, and takes years below 100 for those of the last century.
		if (new Date(ms).toISOString().replace(/[-:T]|\.000/g, "") !== full) this.fail(`${what} is not in the calendar`);
		return ms;
	}

	/** Moves behind the next element; where its content begins. It ends where the reader then stands. */
	#next(): number {
		if (this.#input.fault !== "") return this.#end;
		const { bytes } = this.#input;
		let start = this.#at + 2;
		if (start > this.#end) return this.#broken("an element is cut short");
		if (((bytes[this.#at] ?? 0) & 0x1f) === 0x1f) return this.#broken("a tag has more than one byte");
		let length = bytes[this.#at + 1] ?? 0;
		if (length >= 0x80) {
			const count = length & 0x7f;
			if (count === 0) return this.#broken("a length is indefinite");
			if (count > LENGTH_BYTES_MAX || start + count > this.#end) return this.#broken("an element is cut short");
			length = bytes.readUIntBE(start, count);
			if (length < 0x80 || length < 2 ** (8 * (count - 1))) return this.#broken("a length is not written in its shortest form");
			start += count;
		}
		if (start + length > this.#end) return this.#broken("an element is cut short");
		this.#at = start + length;
		return start;
	}

	#broken(what: string): number {
		this.fail(what);
		this.#at = this.#end;
		return this.#end;
	}
}

function dotted(value: Buffer): string {
	const arcs: string[] = [];
	let from = 0;
	for (let i = 0; i < value.length; i++) {
		if ((value[i] ?? 0) >= 0x80) continue;
		const arc = arcOf(value.subarray(from, i + 1));
		if (arcs.length > 0) arcs.push(String(arc));
		else if (arc < 80) arcs.push(String(Math.floor(Number(arc) / 40)), String(Number(arc) % 40));
		else arcs.push("2", String(BigInt(arc) - 80n));
		from = i + 1;
	}
	return arcs.join(".");
}

function arcOf(digits: Buffer): number | bigint {
	// Seven digits of seven bits are exact in a number; arcs made of a UUID are longer.
	if (digits.length <= 7) return digits.reduce((arc, digit) => arc * 128 + (digit & 0x7f), 0);
	return digits.reduce((arc, digit) => arc * 128n + BigInt(digit & 0x7f), 0n);
}
