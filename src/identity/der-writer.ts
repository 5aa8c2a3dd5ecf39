/** DER (X.690 section 10), written: what a request for a certificate is made of. */
import { TAG } from "./der-reader.ts";

/** One element around its parts. */
export function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
	const content = Buffer.concat(parts);
	return Buffer.concat([Buffer.of(tag, ...lengthBytes(content.length)), content]);
}

export function derText(tag: number, text: string): Buffer {
	return der(tag, Buffer.from(text, "utf8"));
}

/** `dotted`: arcs below 2^31, at least two of them. */
export function derOid(dotted: string): Buffer {
	const [first = 0, second = 0, ...others] = dotted.split(".").map(Number);
	return der(TAG.oid, Buffer.from([first * 40 + second, ...others].flatMap(arcBytes)));
}

/** Whole bytes. */
export function derBits(bytes: Uint8Array): Buffer {
	return der(TAG.bitString, Buffer.of(0), bytes);
}

function lengthBytes(length: number): number[] {
	if (length < 0x80) return [length];
	const bytes = bytesOf(length, 256);
	return [0x80 | bytes.length, ...bytes];
}

function arcBytes(arc: number): number[] {
	return bytesOf(arc, 128).map((digit, i, digits) => (i === digits.length - 1 ? digit : digit | 0x80));
}

/** Digits of a number, most significant first. */
function bytesOf(value: number, base: number): number[] {
	return value < base ? [value] : [...bytesOf(Math.floor(value / base), base), value % base];
}
