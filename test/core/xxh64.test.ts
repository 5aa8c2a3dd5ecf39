import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "../../src/core/rng.ts";
import { HASH_DIVISOR_MAX, type Hash64, Hash64Slot, hashModulo, xxh64, xxh64Utf8 } from "../../src/core/xxh64.ts";

describe("xxh64", () => {
	it("gives the published values", () => {
		for (const [text, seed, hash] of [
			["", 0, 0xef46db3751d8e999n],
			["a", 0, 0xd24ec4f1a98c6e5bn],
			["a", 1, 16051599287423682246n],
			["abc", 0, 0x44bc2cf5ad770999n],
			["Nobody inspects the spammish repetition", 0, 0xfbcea83c8a378bf1n],
		] as const) {
			assert.equal(latin1(text, seed), hash, JSON.stringify(text));
		}
	});

	it("equals a reference on 64-bit integers for every length up to 100 and seeds of any size", () => {
		const rng = seededRng(1);
		for (let length = 0; length <= 100; length++) {
			const bytes = Uint8Array.from({ length }, () => Math.floor(rng() * 256));
			const text = Buffer.from(bytes).toString("latin1");
			for (const seed of [0, 1, 0x9e3779b1, 2 ** 32, 2 ** 53 - 1]) {
				assert.equal(latin1(text, seed), reference(bytes, BigInt(seed)), `length ${length}, seed ${seed}`);
			}
		}
	});

	it("hashes the UTF-8 bytes of text that is not ASCII, and the bytes of latin1 text as they are", () => {
		const utf8 = Buffer.from("grüße, 世界");
		assert.equal(ofUtf8("grüße, 世界"), reference(utf8, 0n));
		assert.equal(latin1(utf8.toString("latin1"), 0), reference(utf8, 0n));
		assert.notEqual(ofUtf8("ü"), latin1("ü", 0));
		assert.equal(ofUtf8("plain", 7), latin1("plain", 7));
	});

	it("counts the low byte alone of a code unit that is no byte", () => {
		assert.equal(latin1("\u0161bcd\u0265", 0), latin1("abcde", 0));
	});

	it("leaves unsigned halves in a slot that is used again", () => {
		const slot = new Hash64Slot();
		for (let i = 0; i < 1_000; i++) {
			xxh64(`key-${i}`, slot);
			assert.deepEqual({ hi: slot.hi, lo: slot.lo }, halves(latin1(`key-${i}`, 0)));
			assert.ok(slot.hi >= 0 && slot.hi < 2 ** 32 && slot.lo >= 0 && slot.lo < 2 ** 32);
		}
	});
});

describe("hashModulo", () => {
	it("is exact for any hash and divisor", () => {
		const rng = seededRng(2);
		const divisors = [1, 2, 7, 100, 1024, 65_537, 5_000_011, HASH_DIVISOR_MAX - 3, HASH_DIVISOR_MAX];
		const hashes = [
			0n,
			1n,
			2n ** 32n - 1n,
			2n ** 32n,
			2n ** 64n - 1n,
			...Array.from({ length: 2_000 }, () => BigInt(Math.floor(rng() * 2 ** 32)) * 2n ** 32n + BigInt(Math.floor(rng() * 2 ** 32))),
		];
		for (const divisor of divisors) {
			for (const hash of [...hashes, ...hashes.map((h) => h - (h % BigInt(divisor)))]) {
				assert.equal(hashModulo(halves(hash), divisor), Number(hash % BigInt(divisor)), `${hash} % ${divisor}`);
			}
		}
	});

	it("refuses a divisor with which it would not be exact", () => {
		for (const divisor of [0, -1, Number.NaN, HASH_DIVISOR_MAX + 1]) assert.throws(() => hashModulo({ hi: 1, lo: 1 }, divisor), RangeError);
	});
});

function halves(hash: bigint): Hash64 {
	return { hi: Number(hash >> 32n), lo: Number(hash & 0xffffffffn) };
}

function latin1(text: string, seed: number): bigint {
	return whole(xxh64(text, new Hash64Slot(), seed));
}

function ofUtf8(text: string, seed = 0): bigint {
	return whole(xxh64Utf8(text, new Hash64Slot(), seed));
}

function whole({ hi, lo }: Hash64): bigint {
	return (BigInt(hi) << 32n) | BigInt(lo);
}

/** The specification, step by step. */
function reference(bytes: Uint8Array, seed: bigint): bigint {
	const [p1, p2, p3, p4, p5] = [0x9e3779b185ebca87n, 0xc2b2ae3d27d4eb4fn, 0x165667b19e3779f9n, 0x85ebca77c2b2ae63n, 0x27d4eb2f165667c5n];
	const u64 = (value: bigint) => BigInt.asUintN(64, value);
	const rotate = (value: bigint, by: bigint) => u64((value << by) | (value >> (64n - by)));
	const round = (lane: bigint, input: bigint) => u64(rotate(u64(lane + input * p2), 31n) * p1);
	const data = Buffer.from(bytes);
	let at = 0;
	let acc: bigint;
	if (data.length >= 32) {
		const lanes = [u64(seed + p1 + p2), u64(seed + p2), seed, u64(seed - p1)];
		for (; at + 32 <= data.length; at += 32) {
			for (let i = 0; i < 4; i++) lanes[i] = round(lanes[i] as bigint, data.readBigUInt64LE(at + 8 * i));
		}
		acc = u64([1n, 7n, 12n, 18n].reduce((sum, by, i) => sum + rotate(lanes[i] as bigint, by), 0n));
		for (const lane of lanes) acc = u64((acc ^ round(0n, lane)) * p1 + p4);
	} else acc = u64(seed + p5);
	acc = u64(acc + BigInt(data.length));
	for (; at + 8 <= data.length; at += 8) acc = u64(rotate(acc ^ round(0n, data.readBigUInt64LE(at)), 27n) * p1 + p4);
	if (at + 4 <= data.length) {
		acc = u64(rotate(acc ^ u64(BigInt(data.readUInt32LE(at)) * p1), 23n) * p2 + p3);
		at += 4;
	}
	for (; at < data.length; at++) acc = u64(rotate(acc ^ u64(BigInt(data.readUInt8(at)) * p5), 11n) * p1);
	acc = u64((acc ^ (acc >> 33n)) * p2);
	acc = u64((acc ^ (acc >> 29n)) * p3);
	return acc ^ (acc >> 32n);
}
