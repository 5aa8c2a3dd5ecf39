/** The hash XXH64 over strings, on 32-bit halves: a BigInt for each step would cost the request path a hundred allocations. */

/** An unsigned 64-bit number as its two halves, each 0..2^32-1. */
export interface Hash64 {
	readonly hi: number;
	readonly lo: number;
}

/** Halves as signed integers: V8 keeps those in the object itself, unsigned ones in a number beside it, at twice the time. */
class Accumulator {
	hi = 0;
	lo = 0;
}

/** Where a hash is written; its owner uses it again for the next one. */
export class Hash64Slot implements Hash64 {
	hi = 0;
	lo = 0;
	/** For the hashing alone. */
	readonly work = new Accumulator();
}

// The primes of the specification, halves as signed integers, which is what V8 multiplies.
const P1_HI = 0x9e3779b1 | 0;
const P1_LO = 0x85ebca87 | 0;
const P2_HI = 0xc2b2ae3d | 0;
const P2_LO = 0x27d4eb4f | 0;
const P3_HI = 0x165667b1 | 0;
const P3_LO = 0x9e3779f9 | 0;
const P4_HI = 0x85ebca77 | 0;
const P4_LO = 0xc2b2ae63 | 0;
const P5_HI = 0x27d4eb2f | 0;
const P5_LO = 0x165667c5 | 0;

/** With larger divisors `hashModulo` would leave the integers that a double holds exactly. */
export const HASH_DIVISOR_MAX = 2 ** 24;

/**
 * Hashes bytes kept as latin1 text, as header fields are; of a code unit above 255 only the low byte counts.
 * Gives back `into`. `seed` 0..2^53-1. Source: xxhash_spec.md, XXH64.
 */
export function xxh64(text: string, into: Hash64Slot = new Hash64Slot(), seed = 0): Hash64 {
	const length = text.length;
	const seedHi = Math.floor(seed / 4294967296) | 0;
	const seedLo = seed | 0;
	const acc = into.work;
	let at = 0;
	if (length >= 32) at = mixStripes(text, acc, seedHi, seedLo);
	else {
		set(acc, seedHi, seedLo);
		add(acc, P5_HI, P5_LO);
	}
	add(acc, 0, length);
	mixTail(text, acc, at);
	avalanche(acc);
	into.hi = acc.hi >>> 0;
	into.lo = acc.lo >>> 0;
	return into;
}

/** Hashes the UTF-8 bytes of any text; without an allocation where it is ASCII. */
export function xxh64Utf8(text: string, into: Hash64Slot = new Hash64Slot(), seed = 0): Hash64 {
	return xxh64(isAscii(text) ? text : Buffer.from(text, "utf8").toString("latin1"), into, seed);
}

/** `hash` modulo `divisor`, an integer 1..HASH_DIVISOR_MAX (RangeError otherwise); exact. */
export function hashModulo(hash: Hash64, divisor: number): number {
	if (!(divisor >= 1 && divisor <= HASH_DIVISOR_MAX)) throw new RangeError(`divisor ${divisor} is not 1..${HASH_DIVISOR_MAX}`);
	return remainder(remainder(hash.hi, divisor) * remainder(4294967296, divisor) + remainder(hash.lo, divisor), divisor);
}

// V8 calls fmod for `%` on what is no 32-bit integer. A quotient below 2^25 is rounded by less than 2^-28, and lies on
// an integer or at least 1/divisor, 2^-24, away from the next: its floor is right.
function remainder(value: number, divisor: number): number {
	return value - Math.floor(value / divisor) * divisor;
}

function isAscii(text: string): boolean {
	for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false;
	return true;
}

/** Four lanes over stripes of 32 bytes, merged into `acc`; returns where the tail begins. */
function mixStripes(text: string, acc: Accumulator, seedHi: number, seedLo: number): number {
	set(acc, seedHi, seedLo);
	add(acc, P1_HI, P1_LO);
	add(acc, P2_HI, P2_LO);
	let hi1 = acc.hi;
	let lo1 = acc.lo;
	set(acc, seedHi, seedLo);
	add(acc, P2_HI, P2_LO);
	let hi2 = acc.hi;
	let lo2 = acc.lo;
	let hi3 = seedHi;
	let lo3 = seedLo;
	set(acc, seedHi, seedLo);
	add(acc, ~P1_HI, -P1_LO); // minus P1, whose low half is not 0
	let hi4 = acc.hi;
	let lo4 = acc.lo;
	let at = 0;
	for (const last = text.length - 32; at <= last; at += 32) {
		round(acc, hi1, lo1, read32(text, at + 4), read32(text, at));
		hi1 = acc.hi;
		lo1 = acc.lo;
		round(acc, hi2, lo2, read32(text, at + 12), read32(text, at + 8));
		hi2 = acc.hi;
		lo2 = acc.lo;
		round(acc, hi3, lo3, read32(text, at + 20), read32(text, at + 16));
		hi3 = acc.hi;
		lo3 = acc.lo;
		round(acc, hi4, lo4, read32(text, at + 28), read32(text, at + 24));
		hi4 = acc.hi;
		lo4 = acc.lo;
	}
	set(acc, rotatedHi(hi1, lo1, 1), rotatedHi(lo1, hi1, 1));
	add(acc, rotatedHi(hi2, lo2, 7), rotatedHi(lo2, hi2, 7));
	add(acc, rotatedHi(hi3, lo3, 12), rotatedHi(lo3, hi3, 12));
	add(acc, rotatedHi(hi4, lo4, 18), rotatedHi(lo4, hi4, 18));
	merge(acc, hi1, lo1);
	merge(acc, hi2, lo2);
	merge(acc, hi3, lo3);
	merge(acc, hi4, lo4);
	return at;
}

function mixTail(text: string, acc: Accumulator, from: number): void {
	const length = text.length;
	let at = from;
	for (; at + 8 <= length; at += 8) {
		const { hi, lo } = acc;
		round(acc, 0, 0, read32(text, at + 4), read32(text, at));
		xor(acc, hi, lo);
		rotate(acc, 27);
		multiply(acc, P1_HI, P1_LO);
		add(acc, P4_HI, P4_LO);
	}
	if (at + 4 <= length) {
		const { hi, lo } = acc;
		set(acc, 0, read32(text, at));
		multiply(acc, P1_HI, P1_LO);
		xor(acc, hi, lo);
		rotate(acc, 23);
		multiply(acc, P2_HI, P2_LO);
		add(acc, P3_HI, P3_LO);
		at += 4;
	}
	for (; at < length; at++) {
		const { hi, lo } = acc;
		set(acc, 0, text.charCodeAt(at) & 0xff);
		multiply(acc, P5_HI, P5_LO);
		xor(acc, hi, lo);
		rotate(acc, 11);
		multiply(acc, P1_HI, P1_LO);
	}
}

function avalanche(acc: Accumulator): void {
	xor(acc, 0, acc.hi >>> 1); // itself, moved right by 33
	multiply(acc, P2_HI, P2_LO);
	xor(acc, acc.hi >>> 29, (acc.lo >>> 29) | (acc.hi << 3)); // by 29
	multiply(acc, P3_HI, P3_LO);
	xor(acc, 0, acc.hi); // by 32
}

/** acc = rotate(lane + input * P2, 31) * P1 */
function round(acc: Accumulator, laneHi: number, laneLo: number, inputHi: number, inputLo: number): void {
	set(acc, inputHi, inputLo);
	multiply(acc, P2_HI, P2_LO);
	add(acc, laneHi, laneLo);
	rotate(acc, 31);
	multiply(acc, P1_HI, P1_LO);
}

function merge(acc: Accumulator, laneHi: number, laneLo: number): void {
	const { hi, lo } = acc;
	round(acc, 0, 0, laneHi, laneLo);
	xor(acc, hi, lo);
	multiply(acc, P1_HI, P1_LO);
	add(acc, P4_HI, P4_LO);
}

function read32(text: string, at: number): number {
	return (
		(text.charCodeAt(at) & 0xff) |
		((text.charCodeAt(at + 1) & 0xff) << 8) |
		((text.charCodeAt(at + 2) & 0xff) << 16) |
		((text.charCodeAt(at + 3) & 0xff) << 24)
	);
}

function set(acc: Accumulator, hi: number, lo: number): void {
	acc.hi = hi;
	acc.lo = lo;
}

function xor(acc: Accumulator, hi: number, lo: number): void {
	acc.hi ^= hi;
	acc.lo ^= lo;
}

function add(acc: Accumulator, hi: number, lo: number): void {
	const sum = (acc.lo >>> 0) + (lo >>> 0);
	acc.hi = (acc.hi + hi + (sum > 0xffffffff ? 1 : 0)) | 0;
	acc.lo = sum | 0;
}

/** By 1..31 bits to the left. */
function rotate(acc: Accumulator, bits: number): void {
	const { hi, lo } = acc;
	acc.hi = rotatedHi(hi, lo, bits);
	acc.lo = rotatedHi(lo, hi, bits);
}

function rotatedHi(hi: number, lo: number, bits: number): number {
	return (hi << bits) | (lo >>> (32 - bits));
}

/** acc *= factor, modulo 2^64; the upper half of the product of the low halves is made of 16-bit digits. */
function multiply(acc: Accumulator, factorHi: number, factorLo: number): void {
	const { hi, lo } = acc;
	const a0 = lo & 0xffff;
	const a1 = lo >>> 16;
	const b0 = factorLo & 0xffff;
	const b1 = factorLo >>> 16;
	const middle = (Math.imul(a1, b0) >>> 0) + (Math.imul(a0, b0) >>> 16);
	const lower = (Math.imul(a0, b1) >>> 0) + (middle & 0xffff);
	const carried = Math.imul(a1, b1) + (middle >>> 16) + (lower >>> 16);
	acc.hi = (carried + Math.imul(hi, factorLo) + Math.imul(lo, factorHi)) | 0;
	acc.lo = Math.imul(lo, factorLo);
}
