/** Each limit of the codec at the limit and one past it, in each arrival: the verdict is the same, and nothing grows beyond. */
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { BodyDecoder } from "../../src/http1/body-decoder.ts";
import { CHUNKED } from "../../src/http1/framing.ts";
import {
	CHUNK_EXTENSION_BYTES_MAX,
	CHUNK_SIZE_DIGITS_MAX,
	CONTENT_LENGTH_DIGITS_MAX,
	FIELDS_MAX,
	HEAD_BYTES_MAX,
	METHOD_BYTES_MAX,
	TARGET_BYTES_MAX,
	TRAILER_BYTES_MAX,
	TRAILER_FIELDS_MAX,
} from "../../src/http1/limits.ts";
import { BAD, DONE, MORE, RequestParser } from "../../src/http1/request-parser.ts";
import { ARRIVALS } from "./sans-io-relay.ts";
import { bytes, requestVerdicts, responseVerdicts, type Verdict } from "./support.ts";

const REQUEST = "GET / HTTP/1.1\r\nHost: a\r\n";

/** A head of exactly `length` bytes, by one long field. */
function padded(start: string, length: number): string {
	const rest = "X: \r\n\r\n".length;
	return `${start}X: ${"v".repeat(length - start.length - rest)}\r\n\r\n`;
}

function fields(count: number): string {
	return "A: 1\r\n".repeat(count);
}

function assertAll(verdicts: readonly Verdict[], progress: Verdict["progress"], reason = ""): void {
	for (const verdict of verdicts) {
		assert.deepEqual(verdict, verdicts[0]);
		assert.equal(verdict.progress, progress);
		assert.ok(verdict.fault.startsWith(reason), verdict.fault);
	}
}

suite("limits of a head", () => {
	test("a request head of the limit passes, one byte more is head_too_large", () => {
		assertAll(requestVerdicts(padded(REQUEST, HEAD_BYTES_MAX)), "done");
		assertAll(requestVerdicts(padded(REQUEST, HEAD_BYTES_MAX + 1)), "bad", "head_too_large");
	});

	test("an empty line before the request counts towards the limit, and never stalls the parser", () => {
		assertAll(requestVerdicts(padded(`\r\n${REQUEST}`, HEAD_BYTES_MAX)), "done");
		for (const more of [1, 2, 3]) assertAll(requestVerdicts(padded(`\r\n${REQUEST}`, HEAD_BYTES_MAX + more)), "bad", "head_too_large");
	});

	test("an answer head past the limit is a protocol error of the upstream", () => {
		const start = "HTTP/1.1 200 OK\r\n";
		assertAll(responseVerdicts(padded(start, HEAD_BYTES_MAX)), "done");
		assertAll(responseVerdicts(padded(start, HEAD_BYTES_MAX + 1)), "bad", "upstream_protocol_error");
	});

	test("what stands behind the limit cannot change the verdict", () => {
		const long = padded(REQUEST, HEAD_BYTES_MAX + 100).slice(0, -4);
		assertAll(requestVerdicts(`${long}\0\0\r\n\r\n`), "bad", "head_too_large");
	});

	test("the most fields pass, one more is head_too_large", () => {
		assertAll(requestVerdicts(`${REQUEST}${fields(FIELDS_MAX - 1)}\r\n`), "done");
		assertAll(requestVerdicts(`${REQUEST}${fields(FIELDS_MAX)}\r\n`), "bad", "head_too_large");
	});

	test("a target of the limit passes, one byte more is target_too_long", () => {
		const request = (length: number): string => `GET /${"t".repeat(length - 1)} HTTP/1.1\r\nHost: a\r\n\r\n`;
		assertAll(requestVerdicts(request(TARGET_BYTES_MAX)), "done");
		assertAll(requestVerdicts(request(TARGET_BYTES_MAX + 1)), "bad", "target_too_long");
	});

	test("a method of the limit passes, one byte more does not", () => {
		const request = (length: number): string => `${"M".repeat(length)} / HTTP/1.1\r\nHost: a\r\n\r\n`;
		assertAll(requestVerdicts(request(METHOD_BYTES_MAX)), "done");
		assertAll(requestVerdicts(request(METHOD_BYTES_MAX + 1)), "bad", "bad_request");
	});

	test("a Content-Length of the most digits passes, one digit more does not", () => {
		const request = (digits: number): string => `${REQUEST}Content-Length: ${"1".repeat(digits)}\r\n\r\n`;
		assertAll(requestVerdicts(request(CONTENT_LENGTH_DIGITS_MAX)), "done");
		assertAll(requestVerdicts(request(CONTENT_LENGTH_DIGITS_MAX + 1)), "bad", "bad_request");
	});

	test("the refusal comes with the first byte past the limit, not at the end of the head", () => {
		const parser = new RequestParser();
		const endless = bytes(`${REQUEST}X: ${"v".repeat(HEAD_BYTES_MAX)}`);
		assert.equal(parser.parse(endless, 0, HEAD_BYTES_MAX), MORE);
		assert.equal(parser.parse(endless, HEAD_BYTES_MAX, HEAD_BYTES_MAX + 1), BAD);
		assert.equal(parser.fault?.offset, HEAD_BYTES_MAX + 1);
	});
});

suite("limits of chunk framing", () => {
	const decodeAll = (input: string): string[] =>
		ARRIVALS.map(([, split]) => {
			const decoder = new BodyDecoder();
			decoder.start(CHUNKED);
			for (const piece of split(bytes(input))) {
				const at = decoder.decode(piece, 0, piece.length);
				if (decoder.fault !== undefined) return `${decoder.fault.reason}: ${decoder.fault.detail} at ${decoder.fault.offset}`;
				assert.equal(at, piece.length);
			}
			return decoder.done ? `done ${decoder.received}` : `more ${decoder.received}`;
		});
	const assertDecoded = (input: string, expected: RegExp): void => {
		const outcomes = decodeAll(input);
		for (const outcome of outcomes) {
			assert.equal(outcome, outcomes[0]);
			assert.match(outcome, expected);
		}
	};

	test("extensions of the limit pass, one byte more does not", () => {
		assertDecoded(`1;${"e".repeat(CHUNK_EXTENSION_BYTES_MAX)}\r\nx\r\n0\r\n\r\n`, /^done 1$/);
		assertDecoded(`1;${"e".repeat(CHUNK_EXTENSION_BYTES_MAX + 1)}\r\nx\r\n0\r\n\r\n`, /^bad_request: more chunk extensions/);
	});

	test("extensions of all chunks of a message count together", () => {
		const half = CHUNK_EXTENSION_BYTES_MAX / 2;
		assertDecoded(`${`1;${"e".repeat(half)}\r\nx\r\n`.repeat(2)}0\r\n\r\n`, /^done 2$/);
		assertDecoded(`${`1;${"e".repeat(half)}\r\nx\r\n`.repeat(2)}0;e\r\n\r\n`, /^bad_request: more chunk extensions/);
	});

	test("white space before an extension counts as extension", () => {
		assertDecoded(`1${" ".repeat(CHUNK_EXTENSION_BYTES_MAX + 2)};e\r\nx\r\n0\r\n\r\n`, /^bad_request: more chunk extensions/);
	});

	test("a size of the most digits passes, one digit more does not, were they all zeros", () => {
		assertDecoded(`${"1".padStart(CHUNK_SIZE_DIGITS_MAX, "0")}\r\nx\r\n0\r\n\r\n`, /^done 1$/);
		assertDecoded(`${"1".padStart(CHUNK_SIZE_DIGITS_MAX + 1, "0")}\r\nx\r\n0\r\n\r\n`, /^bad_request: a chunk size beyond/);
	});

	test("the most trailer fields pass, one more is head_too_large", () => {
		assertDecoded(`0\r\n${fields(TRAILER_FIELDS_MAX)}\r\n`, /^done 0$/);
		assertDecoded(`0\r\n${fields(TRAILER_FIELDS_MAX + 1)}\r\n`, /^head_too_large: more header fields/);
	});

	test("a trailer section of the limit passes, one byte more is head_too_large", () => {
		const section = (length: number): string => `A: ${"v".repeat(length - "A: \r\n\r\n".length)}\r\n\r\n`;
		assertDecoded(`0\r\n${section(TRAILER_BYTES_MAX)}`, /^done 0$/);
		assertDecoded(`0\r\n${section(TRAILER_BYTES_MAX + 1)}`, /^head_too_large: the header section/);
	});

	test("ten thousand trailer fields are refused without reading them all", () => {
		const decoder = new BodyDecoder();
		decoder.start(CHUNKED);
		const input = bytes(`0\r\n${fields(10_000)}\r\n`);
		const stopped = decoder.decode(input, 0, input.length);
		assert.equal(decoder.fault?.reason, "head_too_large");
		assert.ok(stopped < TRAILER_BYTES_MAX);
	});
});

test("a parser that refused a message reads the next one from its own beginning", () => {
	const parser = new RequestParser();
	const bad = bytes(padded(REQUEST, HEAD_BYTES_MAX + 1));
	assert.equal(parser.parse(bad, 0, 100), MORE);
	assert.equal(parser.parse(bad, 100, bad.length), BAD);
	parser.reset();
	const good = bytes(`${REQUEST}\r\n`);
	assert.equal(parser.parse(good, 0, good.length), DONE);
	assert.equal(parser.fault, undefined);
});
