/** The pure parts of the log: blocks, extents, hashes, the dedupe window, patterns, retention. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { IdSource } from "../../../src/core/ids.ts";
import { seededRng } from "../../../src/core/rng.ts";
import {
	decodeBlockHead,
	decodeSegmentHeader,
	encodeBlockHead,
	encodeSegmentHeader,
	isBodyIntact,
	peekBlock,
	ROW_WORDS,
	rowHashHi,
	rowHashLo,
	rowLength,
	rowOffset,
	rowSource,
	rowType,
	setRow,
} from "../../../src/nexus/log/block-codec.ts";
import { ByteCache } from "../../../src/nexus/log/byte-cache.ts";
import { DedupeWindow } from "../../../src/nexus/log/dedupe-window.ts";
import { compilePattern } from "../../../src/nexus/log/event-matcher.ts";
import { decodeExtentHeader, EXTENT_HEADER_BYTES, Extent } from "../../../src/nexus/log/extent.ts";
import { KeyedHash } from "../../../src/nexus/log/keyed-hash.ts";
import { expiredSegments } from "../../../src/nexus/log/retention.ts";

const segment = Buffer.from("0011223344556677", "hex");
const other = Buffer.from("8811223344556677", "hex");

function block(firstSequence: number, types: string[], sources: string[]): { head: Buffer; body: Buffer } {
	const body = Buffer.from("body of the block");
	const events = types.length;
	const rows = new Uint32Array(events * ROW_WORDS);
	for (let i = 0; i < events; i++) setRow(rows, i, 0xffff_ffff - i, firstSequence + i, i, 2, i % 2 === 0 ? undefined : 9, 0, i, i % sources.length);
	return {
		body,
		head: encodeBlockHead(segment, { firstSequence, receivedAtMs: 1_790_000_000_000 + firstSequence, events, rows, types, sources }, body),
	};
}

test("a block comes back as it was written, and belongs to its segment alone", () => {
	const { head, body } = block(7_000_000_000, ["a", "b€"], ["/s"]);
	const decoded = decodeBlockHead(segment, head);
	assert.ok(decoded);
	assert.equal(decoded.firstSequence, 7_000_000_000);
	assert.equal(decoded.receivedAtMs, 1_797_000_000_000);
	assert.deepEqual([decoded.types, decoded.sources], [["a", "b€"], ["/s"]]);
	assert.deepEqual([rowHashHi(decoded.rows, 1), rowHashLo(decoded.rows, 1)], [0xffff_fffe, 7_000_000_001 % 2 ** 32]);
	assert.deepEqual([rowOffset(decoded.rows, 1), rowLength(decoded.rows, 1), rowType(decoded.rows, 1), rowSource(decoded.rows, 1)], [1, 2, 1, 0]);
	assert.equal(isBodyIntact(segment, decoded, body), true);
	assert.equal(isBodyIntact(other, decoded, body), false);
	assert.equal(decodeBlockHead(other, head), undefined);
});

test("any flipped bit of a block is found", () => {
	const { head, body } = block(1, ["a", "b"], ["/s", "/t"]);
	const decoded = decodeBlockHead(segment, head);
	assert.ok(decoded);
	for (let bit = 0; bit < head.length * 8; bit++) {
		const flipped = Buffer.from(head);
		(flipped[bit >> 3] as number) ^= 1 << (bit & 7);
		assert.equal(decodeBlockHead(segment, flipped), undefined, `head bit ${bit}`);
	}
	for (let bit = 0; bit < body.length * 8; bit++) {
		const flipped = Buffer.from(body);
		(flipped[bit >> 3] as number) ^= 1 << (bit & 7);
		assert.equal(isBodyIntact(segment, decoded, flipped), false, `body bit ${bit}`);
	}
	assert.equal(peekBlock(head.subarray(0, 39), 0), undefined);
});

test("a segment header comes back, and a damaged one does not", () => {
	const header = { id: segment, firstSequence: 12, hashKey: Buffer.from("0102030405060708", "hex"), createdAtMs: 1_790_000_000_000 };
	const bytes = encodeSegmentHeader(header);
	assert.deepEqual(decodeSegmentHeader(bytes), header);
	for (let i = 0; i < bytes.length; i++) {
		const flipped = Buffer.from(bytes);
		(flipped[i] as number) ^= 0x10;
		assert.equal(decodeSegmentHeader(flipped), undefined, `byte ${i}`);
	}
	assert.equal(decodeSegmentHeader(bytes.subarray(0, 63)), undefined);
});

function extentOf(blocks: { types: string[]; sources: string[] }[]): Extent {
	const extent = new Extent(64, 1);
	let sequence = 1;
	for (const { types, sources } of blocks) {
		const { head } = block(sequence, types, sources);
		const decoded = decodeBlockHead(segment, head);
		assert.ok(decoded);
		extent.add(extent.logEnd, decoded);
		sequence += types.length;
	}
	return extent;
}

test("an extent finds blocks by sequence, type and source, also after it was written and read back", () => {
	const written = extentOf([
		{ types: ["a", "b"], sources: ["/x"] },
		{ types: ["b"], sources: ["/y"] },
		{ types: ["c", "a"], sources: ["/y", "/x"] },
	]);
	const bytes = written.encode(segment);
	const header = decodeExtentHeader(segment, bytes);
	assert.ok(header);
	assert.deepEqual(header.summary, written.summary);
	const read = Extent.decode(segment, header, bytes.subarray(EXTENT_HEADER_BYTES));
	assert.ok(read);
	for (const extent of [written, read]) {
		assert.deepEqual(
			[0, 1, 2, 3, 4, 5, 6].map((sequence) => extent.blockOf(sequence)),
			[0, 0, 0, 1, 2, 2, 3],
		);
		const marks = (type: string | undefined, source: string | undefined, from = 0, to = 3) => [
			...(extent.candidates({ type: type === undefined ? undefined : (name) => name === type, source }, from, to) ?? "all"),
		];
		assert.deepEqual(marks("a", undefined), [1, 0, 1]);
		assert.deepEqual(marks("a", "/y"), [0, 0, 1]);
		assert.deepEqual(marks("b", undefined, 1, 3), [1, 0]);
		assert.deepEqual(marks(undefined, "/nowhere"), [0, 0, 0]);
		assert.equal(extent.candidates({ type: undefined, source: undefined }, 0, 3), undefined);
		const hashes: number[] = [];
		extent.forEachHash((hi, lo, sequence) => hashes.push(hi, lo, sequence));
		assert.deepEqual(hashes.slice(0, 6), [0xffff_ffff, 1, 1, 0xffff_fffe, 2, 2]);
	}
});

test("a damaged extent is told from a whole one", () => {
	const bytes = extentOf([{ types: ["a"], sources: ["/x"] }]).encode(segment);
	for (let i = 0; i < bytes.length; i++) {
		const flipped = Buffer.from(bytes);
		(flipped[i] as number) ^= 0x01;
		const header = decodeExtentHeader(segment, flipped);
		const decoded = header === undefined ? undefined : Extent.decode(segment, header, flipped.subarray(EXTENT_HEADER_BYTES));
		assert.equal(decoded, undefined, `byte ${i}`);
	}
	assert.equal(decodeExtentHeader(other, bytes), undefined);
});

test("an extent with more names than it indexes offers every block", () => {
	const extent = new Extent(64, 1);
	for (let b = 0; b < 5; b++) {
		const types = Array.from({ length: 1000 }, (_, i) => `type-${b}-${i}`);
		const decoded = decodeBlockHead(segment, block(1 + b * 1000, types, ["/x"]).head);
		assert.ok(decoded);
		extent.add(extent.logEnd, decoded);
	}
	assert.equal(extent.candidates({ type: (name) => name === "type-0-0", source: undefined }, 0, 5), undefined);
	assert.deepEqual([...(extent.candidates({ type: (name) => name === "type-0-0", source: "/x" }, 0, 5) ?? [])], [1, 1, 1, 1, 1]);
});

test("the keyed hash separates pairs and depends on its key", () => {
	const of = (key: string, first: string, second: string): string => {
		const hash = new KeyedHash(Buffer.from(key, "hex"));
		hash.hash(first, second);
		return `${hash.hi}:${hash.lo}`;
	};
	const key = "0001020304050607";
	assert.notEqual(of(key, "ab", "c"), of(key, "a", "bc"));
	assert.notEqual(of(key, "ab", ""), of(key, "", "ab"));
	assert.notEqual(of(key, "a", "\0"), of(key, "a", ""));
	assert.notEqual(of(key, "a", "b"), of("0001020304050608", "a", "b"));
	assert.equal(of(key, "a", "b"), of(key, "a", "b"));
	const hash = new KeyedHash(Buffer.from(key, "hex"));
	const [his, los] = [new Set<number>(), new Set<number>()];
	for (let i = 0; i < 20_000; i++) {
		hash.hash("/mesh/checkout/a1", String(i));
		his.add(hash.hi);
		los.add(hash.lo);
	}
	// 20,000 draws of 32 bits collide 0.05 times on average.
	assert.ok(his.size > 19_990 && los.size > 19_990);
});

test("the window knows at least its capacity of the latest, and forgets what is older than twice that", () => {
	const window = new DedupeWindow(1000);
	const ids = new IdSource();
	const keys = Array.from({ length: 5000 }, () => [Number.parseInt(ids.hex(8), 16), Number.parseInt(ids.hex(8), 16)] as const);
	keys.forEach(([hi, lo], i) => {
		window.add(hi, lo, i + 1);
		if (i >= 999) assert.equal(window.has(...(keys[i - 999] as readonly [number, number])), true);
	});
	const known = keys.filter(([hi, lo]) => window.has(hi, lo)).length;
	assert.ok(known >= 1000 && known <= 2000, String(known));
});

test("commits that fail over and over push out of the window nothing that the log holds", () => {
	const window = new DedupeWindow(100);
	for (let sequence = 1; sequence <= 50; sequence++) window.add(1, sequence, sequence);
	for (let failures = 0; failures < 1000; failures++) {
		for (let sequence = 51; sequence <= 90; sequence++) window.add(2 + failures, sequence, sequence);
		for (let sequence = 51; sequence <= 90; sequence++) window.forget(2 + failures, sequence, sequence);
	}
	for (let sequence = 1; sequence <= 50; sequence++) assert.ok(window.has(1, sequence), String(sequence));
	assert.equal(window.has(2, 51), false);
});

test("sequences that a failed commit gives back are found under what takes them next, also where a generation began among them", () => {
	const window = new DedupeWindow(100);
	const sequencesOf = (hi: number, lo: number): number[] => {
		const found: number[] = [];
		window.find(hi, lo, (sequence) => found.push(sequence) < 0);
		return found;
	};
	for (let sequence = 1; sequence <= 110; sequence++) window.add(1, sequence, sequence);
	for (let sequence = 96; sequence <= 110; sequence++) window.forget(1, sequence, sequence);
	for (let sequence = 96; sequence <= 120; sequence++) window.add(2, sequence, sequence);
	for (let sequence = 1; sequence <= 95; sequence++) assert.deepEqual(sequencesOf(1, sequence), [sequence]);
	for (let sequence = 96; sequence <= 120; sequence++) assert.deepEqual(sequencesOf(2, sequence), [sequence]);
});

test("events with the same hash are all found, and a forgotten one is not", () => {
	const window = new DedupeWindow(100);
	window.add(1, 2, 10);
	window.add(1, 2, 11);
	const found = (): number[] => {
		const sequences: number[] = [];
		window.find(1, 2, (sequence) => sequences.push(sequence) < 0);
		return sequences;
	};
	assert.deepEqual(found(), [10, 11]);
	window.forget(1, 2, 11);
	assert.deepEqual(found(), [10]);
	window.forget(1, 2, 10);
	assert.equal(window.has(1, 2), false);
});

test("`*` in a pattern stands for any run of characters, anywhere", () => {
	const cases: [string, string, boolean][] = [
		["a.b", "a.b", true],
		["a.b", "a.bc", false],
		["nexus.mesh.*", "nexus.mesh.x.y", true],
		["nexus.mesh.*", "nexus.meshy", false],
		["*.failed", "nexus.workflow.failed", true],
		["nexus.*.tripped", "nexus.circuit_breaker.tripped", true],
		["nexus.*.tripped", "nexus.tripped", false],
		["a*b*c", "abc", true],
		["a*b*c", "a1b2b3c", true],
		["a*b*c", "acb", false],
		["ab*ba", "aba", false],
		["**", "anything", true],
		["*", "", true],
	];
	for (const [pattern, text, expected] of cases) assert.equal(compilePattern(pattern)(text), expected, `${pattern} ${text}`);
	const random = seededRng(3);
	const word = (letters: string, length: number): string => Array.from({ length }, () => letters[Math.floor(random() * letters.length)]).join("");
	for (let i = 0; i < 5000; i++) {
		const pattern = word("ab*", 1 + Math.floor(random() * 6));
		const text = word("ab", Math.floor(random() * 8));
		assert.equal(compilePattern(pattern)(text), new RegExp(`^${pattern.replaceAll("*", ".*")}$`).test(text), `${pattern} ${text}`);
	}
});

test("retention removes the oldest segments by size, age or count, never the one being written", () => {
	const facts = (times: number[]) => times.map((maxTimeMs) => ({ bytes: 10, events: 4, maxTimeMs }));
	const limits = { bytesMax: 25, ageMsMax: 100 };
	assert.equal(expiredSegments(facts([990, 991, 992]), limits, 1000), 1);
	assert.equal(expiredSegments(facts([1, 2, 992]), { ...limits, bytesMax: 1000 }, 1000), 2);
	assert.equal(expiredSegments(facts([1]), { bytesMax: 1, ageMsMax: 1 }, 1000), 0);
	assert.equal(expiredSegments([], limits, 1000), 0);
	// By count: what is left is never fewer than promised.
	const generous = { bytesMax: 1e9, ageMsMax: 1e9 };
	assert.equal(expiredSegments(facts([1, 2, 3]), { ...generous, eventsMax: 8 }, 1000), 1);
	assert.equal(expiredSegments(facts([1, 2, 3]), { ...generous, eventsMax: 9 }, 1000), 0);
});

test("a cache loads once for all who ask, drops the least lately used, and keeps no failure", async () => {
	const cache = new ByteCache<string>(10, (value) => value.length);
	let loads = 0;
	const load = (value: string | undefined) => async () => {
		loads++;
		return value;
	};
	assert.deepEqual(await Promise.all([cache.get(1, load("12345")), cache.get(1, load("other"))]), ["12345", "12345"]);
	await cache.get(2, load("12345"));
	await cache.get(1, load("unused"));
	await cache.get(3, load("1"));
	assert.equal(loads, 3);
	await cache.get(2, load("again"));
	assert.equal(loads, 4);
	await cache.get(4, load(undefined));
	await assert.rejects(
		cache.get(5, () => Promise.reject(new Error("disk"))),
		/disk/,
	);
	assert.equal(await cache.get(4, load("now")), "now");
	assert.equal(await cache.get(5, load("now")), "now");
});
