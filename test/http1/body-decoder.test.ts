import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { BodyDecoder } from "../../src/http1/body-decoder.ts";
import { CHUNKED, type Framing, NO_BODY, UNTIL_CLOSE } from "../../src/http1/framing.ts";
import { ARRIVALS } from "./sans-io-relay.ts";
import { bytes } from "./support.ts";

/** Payload of a whole body that arrives in `pieces`, and what is left of the last one. */
function decode(framing: Framing, pieces: readonly Buffer[]): { payload: string; decoder: BodyDecoder; rest: string } {
	const decoder = new BodyDecoder();
	decoder.start(framing);
	let payload = "";
	let rest = "";
	for (const piece of pieces) {
		const end = decoder.decode(piece, 0, piece.length);
		payload += piece.toString("latin1", decoder.dataStart, decoder.dataEnd);
		rest = piece.toString("latin1", end);
		if (decoder.fault !== undefined) break;
	}
	return { payload, decoder, rest };
}

suite("a body of known length", () => {
	test("ends with its last byte and leaves the pipelined request behind it", () => {
		const { payload, decoder, rest } = decode({ kind: "length", length: 5 }, [bytes("hel"), bytes("loGET / HTTP/1.1")]);
		assert.equal(payload, "hello");
		assert.equal(rest, "GET / HTTP/1.1");
		assert.equal(decoder.done, true);
		assert.equal(decoder.received, 5);
	});

	test("is not complete when the sender closes early", () => {
		const { decoder } = decode({ kind: "length", length: 5 }, [bytes("hell")]);
		assert.equal(decoder.closed(), false);
		assert.equal(decoder.done, false);
	});

	test("counts past 2^32 exactly", () => {
		const decoder = new BodyDecoder();
		const length = 2 ** 33 + 7;
		decoder.start({ kind: "length", length });
		const piece = Buffer.alloc(2 ** 20);
		for (let left = length; left > 0; left -= piece.length) {
			assert.equal(decoder.done, false);
			assert.equal(decoder.decode(piece, 0, piece.length), Math.min(left, piece.length));
		}
		assert.equal(decoder.done, true);
		assert.equal(decoder.received, length);
	});
});

suite("a body until close", () => {
	test("takes everything and is complete only when the sender closes", () => {
		const { payload, decoder } = decode(UNTIL_CLOSE, [bytes("a"), bytes("bc")]);
		assert.equal(payload, "abc");
		assert.equal(decoder.done, false);
		assert.equal(decoder.closed(), true);
		assert.equal(decoder.done, true);
	});
});

test("no body is complete at once and takes no bytes", () => {
	const decoder = new BodyDecoder();
	decoder.start(NO_BODY);
	assert.equal(decoder.done, true);
	const next = bytes("GET");
	assert.equal(decoder.decode(next, 0, 3), 0);
	assert.equal(decoder.dataStart, decoder.dataEnd);
});

suite("a chunked body", () => {
	const good: readonly (readonly [what: string, wire: string, payload: string, trailers: string])[] = [
		["is the data of its chunks", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde", ""],
		["may be empty", "0\r\n\r\n", "", ""],
		["may be empty and have trailers", "0\r\nX: 1\r\n\r\n", "", "X: 1\r\n"],
		["may hold what looks like framing", "7\r\n0\r\n\r\nGE\r\n0\r\n\r\n", "0\r\n\r\nGE", ""],
		["may have sizes in both cases and with leading zeros", "00A\r\n0123456789\r\n0a\r\n0123456789\r\n000\r\n\r\n", "01234567890123456789", ""],
		["may have extensions, which are dropped", '3;a=b;c="d;e"\r\nabc\r\n0;last\r\n\r\n', "abc", ""],
		["may have white space before an extension", "3 \t;a\r\nabc\r\n0 ;x\r\n\r\n", "abc", ""],
		["keeps order, case and duplicates of trailers", "0\r\nX-B: 1\r\nx-a:2\r\nX-B: \r\n\r\n", "", "X-B: 1\r\nx-a: 2\r\nX-B: \r\n"],
	];
	for (const [what, wire, payload, trailers] of good) {
		test(`${what}, however it arrives, and ends exactly where it ends`, () => {
			for (const [arrival, split] of ARRIVALS) {
				const decoded = decode(CHUNKED, [...split(bytes(wire)), bytes("GET /next")]);
				assert.equal(decoded.decoder.fault, undefined, arrival);
				assert.equal(decoded.payload, payload, arrival);
				assert.equal(decoded.decoder.done, true, arrival);
				assert.equal(decoded.decoder.trailers, trailers, arrival);
				assert.equal(decoded.rest, "GET /next", arrival);
				assert.equal(decode(CHUNKED, [bytes(`${wire}GET /next`)]).rest, "GET /next");
			}
		});
	}

	const bad: readonly (readonly [what: string, wire: string, offset: number])[] = [
		["an empty size", "\r\n", 0],
		["a sign", "+3\r\nabc\r\n", 0],
		["a hexadecimal prefix", "0x3\r\nabc\r\n", 1],
		["an underscore", "1_0\r\n", 1],
		["a space before the size", " 3\r\nabc\r\n", 0],
		["white space behind the size alone", "3 \r\nabc\r\n", 2],
		["a letter that is no digit", "g\r\n", 0],
		["a bare LF behind the size (CVE-2025-22871)", "3\nabc\r\n", 1],
		["a bare CR behind the size", "3\rabc\r\n", 2],
		["LF inside an extension (CVE-2025-55315)", "3;a\nb\r\nabc\r\n", 3],
		["a bare CR inside an extension", "3;a\rb\r\nabc\r\n", 4],
		["a control byte inside an extension", "3;\x00\r\nabc\r\n", 2],
		["data longer than its size (CVE-2025-43859)", "3\r\nabcd\r\n", 6],
		["data ended by any two bytes (CVE-2023-40175)", "3\r\nabcXX0\r\n\r\n", 6],
		["data ended by LF alone (CVE-2025-58056)", "3\r\nabc\n0\r\n\r\n", 6],
		["data ended by CR and something", "3\r\nabc\rX", 7],
	];
	for (const [what, wire, offset] of bad) {
		test(`with ${what} is refused at its offset, however it arrives`, () => {
			for (const [arrival, split] of ARRIVALS) {
				const { decoder } = decode(CHUNKED, split(bytes(wire)));
				assert.equal(decoder.fault?.reason, "bad_request", arrival);
				assert.equal(decoder.fault?.offset, offset, arrival);
				assert.equal(decoder.done, false, arrival);
			}
		});
	}

	test("with broken trailers is refused, and the next body starts anew", () => {
		for (const wire of ["0\r\nX 1\r\n\r\n", "0\r\nX: 1\r\n folded\r\n\r\n", "0\r\nX: \0\r\n\r\n", "0\r\nX: 1\n\r\n"]) {
			const { decoder } = decode(CHUNKED, [bytes(wire)]);
			assert.equal(decoder.fault?.reason, "bad_request", JSON.stringify(wire));
			decoder.start(CHUNKED);
			const next = bytes("1\r\nx\r\n0\r\n\r\n");
			assert.equal(decoder.decode(next, 0, next.length), next.length);
			assert.equal(decoder.fault, undefined);
			assert.equal(decoder.done, true);
		}
	});

	for (const cut of ["000000000", "3;ext", "3\r\nab", "0\r\nX: 1\r\nY", "0\r\nX: 1\r\n\r"]) {
		test(`that broke off after ${JSON.stringify(cut)} leaves nothing to the next one`, () => {
			const { decoder } = decode(CHUNKED, [bytes(cut)]);
			assert.equal(decoder.closed(), false);
			decoder.start(CHUNKED);
			const next = bytes("0000000000001\r\nx\r\n0\r\nZ: 1\r\n\r\n");
			decoder.decode(next, 0, next.length);
			assert.equal(decoder.fault, undefined);
			assert.equal(decoder.done, true);
			assert.equal(decoder.received, 1);
			assert.equal(decoder.trailers, "Z: 1\r\n");
		});
	}

	test("moves the data of one read together in place and touches nothing behind the body", () => {
		const read = bytes("....3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\nGET /next HTTP/1.1\r\n");
		const before = Buffer.from(read);
		const decoder = new BodyDecoder();
		decoder.start(CHUNKED);
		const end = decoder.decode(read, 4, read.length);
		assert.equal(read.toString("latin1", decoder.dataStart, decoder.dataEnd), "abcdefg");
		assert.deepEqual(read.subarray(end), before.subarray(end));
		assert.deepEqual(read.subarray(0, decoder.dataStart), before.subarray(0, decoder.dataStart));
	});

	test("of a thousand chunks in one read is one range without a byte lost", () => {
		const payload = Array.from({ length: 1000 }, (_, i) => String.fromCharCode(0x41 + (i % 26)).repeat(1 + (i % 40)));
		const wire = `${payload.map((data) => `${data.length.toString(16)}\r\n${data}\r\n`).join("")}0\r\n\r\n`;
		const decoded = decode(CHUNKED, [bytes(wire)]);
		assert.equal(decoded.payload, payload.join(""));
		assert.equal(decoded.decoder.received, payload.join("").length);
	});

	test("of a terabyte in one chunk is counted exactly and never gathered", () => {
		const decoder = new BodyDecoder();
		decoder.start(CHUNKED);
		const size = bytes("10000000000\r\n");
		decoder.decode(size, 0, size.length);
		// 2^40 bytes as one range each: the same megabyte a million times.
		const piece = Buffer.alloc(2 ** 20);
		for (let i = 0; i < 2 ** 20; i++) decoder.decode(piece, 0, piece.length);
		assert.equal(decoder.received, 2 ** 40);
		const end = bytes("\r\n0\r\n\r\n");
		decoder.decode(end, 0, end.length);
		assert.equal(decoder.fault, undefined);
		assert.equal(decoder.done, true);
	});

	test("in a million chunks of one byte allocates nothing for a chunk", () => {
		const probe = fileURLToPath(new URL("../fixtures/chunk-allocation.ts", import.meta.url));
		// A young generation that holds all that is allocated: the heap grows by it and no collection hides it.
		const child = spawnSync(process.execPath, ["--min-semi-space-size=128", "--max-semi-space-size=128", "--expose-gc", probe], { encoding: "utf8" });
		assert.equal(child.status, 0, child.stderr);
		const grown = JSON.parse(child.stdout) as { decoderBytes: number; controlBytes: number };
		assert.ok(grown.controlBytes > 16_000_000, `the instrument sees an allocation per chunk: ${grown.controlBytes}`);
		assert.ok(grown.decoderBytes < 2_000_000, `${grown.decoderBytes} bytes for a million chunks`);
	});
});
