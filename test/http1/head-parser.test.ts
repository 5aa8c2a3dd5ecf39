import assert from "node:assert/strict";
import { suite, type TestContext, test } from "node:test";
import { BAD, DONE, HeadParser, MORE } from "../../src/http1/head-parser.ts";
import { FIELDS_MAX, HEAD_BYTES_MAX } from "../../src/http1/limits.ts";
import { bytes, requestVerdicts, responseVerdicts } from "./support.ts";

const HEAD = "GET /a HTTP/1.1\r\nHost: a\r\naCCept:\t text/html \r\nX-Empty:\r\naccept: */*\r\n\r\n";

function pairs(parser: HeadParser): [string, string][] {
	return Array.from({ length: parser.fields.count }, (_, i) => [parser.fields.name(i), parser.fields.value(i)]);
}

suite("the head parser", () => {
	test("keeps order, case and duplicates of fields and takes white space off values only", () => {
		const parser = new HeadParser("request");
		assert.equal(parser.parse(bytes(HEAD), 0, HEAD.length), DONE);
		assert.deepEqual(pairs(parser), [
			["Host", "a"],
			["aCCept", "text/html"],
			["X-Empty", ""],
			["accept", "*/*"],
		]);
	});

	test("finds the same fields and offsets wherever the head is cut in two", () => {
		const whole = new HeadParser("request");
		whole.parse(bytes(HEAD), 0, HEAD.length);
		for (let cut = 1; cut < HEAD.length; cut++) {
			const parser = new HeadParser("request");
			const first = bytes(`..${HEAD.slice(0, cut)}`);
			assert.equal(parser.parse(first, 2, first.length), MORE);
			const rest = bytes(`....${HEAD.slice(cut)}GET /next`);
			assert.equal(parser.parse(rest, 4, rest.length), DONE);
			assert.equal(parser.consumed, 4 + HEAD.length - cut, `cut at ${cut}`);
			assert.deepEqual(pairs(parser), pairs(whole));
			assert.deepEqual(
				[parser.start, parser.methodEnd, parser.targetStart, parser.targetEnd, parser.lineEnd, parser.end],
				[0, 3, 4, 6, 17, HEAD.length],
			);
		}
	});

	test("leaves what stands behind a head alone, and reads it as the next one", () => {
		const parser = new HeadParser("request");
		const input = bytes(`....${HEAD}PUT /b HTTP/1.0\r\n\r\n`);
		assert.equal(parser.parse(input, 4, input.length), DONE);
		const second = parser.consumed;
		assert.equal(second, 4 + HEAD.length);
		parser.reset();
		assert.equal(parser.parse(input, second, input.length), DONE);
		assert.equal(parser.consumed, input.length);
		assert.equal(parser.minorVersion, 0);
	});

	test("copies a partial head, as the read buffer is overwritten by the next read", () => {
		const parser = new HeadParser("request");
		const shared = bytes(HEAD.slice(0, 30));
		assert.equal(parser.parse(shared, 0, 30), MORE);
		shared.fill(0x21);
		const rest = bytes(HEAD.slice(30));
		assert.equal(parser.parse(rest, 0, rest.length), DONE);
		assert.equal(parser.fields.get("accept"), "text/html, */*");
	});

	test("tells the offset of the offence from the start of the message, wherever that stands in the read", () => {
		for (const before of ["", "....", "\r\n"]) {
			const parser = new HeadParser("request");
			const input = bytes(`${before}GET / HTTP/1.1\r\nHo st: a\r\n\r\n`);
			assert.equal(parser.parse(input, before === "...." ? 4 : 0, input.length), BAD);
			assert.equal(parser.fault?.offset, "GET / HTTP/1.1\r\nHo".length);
		}
	});

	test("has begun from the first byte of a head until its reset", () => {
		const parser = new HeadParser("request");
		assert.equal(parser.begun, false);
		parser.parse(bytes("G"), 0, 1);
		assert.equal(parser.begun, true);
		parser.reset();
		assert.equal(parser.begun, false);
	});

	test("takes no bytes from an empty range", () => {
		const parser = new HeadParser("request");
		assert.equal(parser.parse(bytes(HEAD), 5, 5), MORE);
		assert.equal(parser.begun, false);
	});

	const refusedRequests: readonly (readonly [string, string])[] = [
		["a second empty line before the request", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"],
		["a bare LF before the request", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"],
		["a space before the method", " GET / HTTP/1.1\r\nHost: a\r\n\r\n"],
		["two spaces behind the method", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"],
		["a tab as separator", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"],
		["a missing target", "GET HTTP/1.1\r\nHost: a\r\n\r\n"],
		["a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"],
		["a fragment in the target", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"],
		["a byte above ASCII in the target", "GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n"],
		["a NUL in the target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"],
		["HTTP/0.9 without a version", "GET /\r\n\r\n"],
		["a version in lower case", "GET / http/1.1\r\nHost: a\r\n\r\n"],
		["a version with two digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n"],
		["a space behind the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"],
		["a bare LF behind the start line", "GET / HTTP/1.1\nHost: a\r\n\r\n"],
		["a bare CR in the start line", "GET / HTTP/1.1\rHost: a\r\n\r\n"],
		["an obsolete fold", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n"],
		["white space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"],
		["white space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n"],
		["an empty field name", "GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n"],
		["a field without a colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"],
		["a NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n"],
		["DEL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n"],
		["a bare CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n"],
		["a bare LF in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\nY: 2\r\n\r\n"],
		["CRLF CR X at the end (CVE-2025-23167)", "GET / HTTP/1.1\r\nHost: a\r\n\rX\r\n\r\n"],
		["a letter above ASCII in a name", "GET / HTTP/1.1\r\nHost: a\r\nX\xe4: 1\r\n\r\n"],
	];
	for (const [what, head] of refusedRequests) {
		test(`refuses ${what}, however it arrives`, () => {
			const verdicts = requestVerdicts(head);
			assert.equal(verdicts[0]?.progress, "bad");
			assert.match(verdicts[0]?.fault ?? "", /^bad_request: .*RFC/);
			for (const verdict of verdicts) assert.deepEqual(verdict, verdicts[0]);
		});
	}

	test("says that a folded line is one, rather than that its name is wrong", () => {
		for (const white of [" ", "\t"]) assert.match(requestVerdicts(`GET / HTTP/1.1\r\nHost: a\r\n${white}b\r\n\r\n`)[0]?.fault ?? "", /folded line/);
	});

	for (const version of ["0.9", "1.2", "1.9", "2.0", "3.1"]) {
		test(`answers HTTP/${version} with version_not_supported`, () => {
			for (const verdict of requestVerdicts(`GET / HTTP/${version}\r\nHost: a\r\n\r\n`)) assert.match(verdict.fault, /^version_not_supported: /);
		});
	}

	const refusedResponses: readonly (readonly [string, string])[] = [
		["another protocol", "HTTQ/1.1 200 OK\r\n\r\n"],
		["HTTP/2", "HTTP/2.0 200 OK\r\n\r\n"],
		["a status of two digits", "HTTP/1.1 20 OK\r\n\r\n"],
		["a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n"],
		["a status below 100", "HTTP/1.1 099 OK\r\n\r\n"],
		["a status above 599", "HTTP/1.1 600 OK\r\n\r\n"],
		["two spaces before the status", "HTTP/1.1  200 OK\r\n\r\n"],
		["a control byte in the phrase", "HTTP/1.1 200 O\x01K\r\n\r\n"],
		["a bare LF behind the status", "HTTP/1.1 200\n\r\n"],
		["an empty line before the answer", "\r\nHTTP/1.1 200 OK\r\n\r\n"],
	];
	for (const [what, head] of refusedResponses) {
		test(`refuses an answer with ${what}`, () => {
			const verdicts = responseVerdicts(head);
			for (const verdict of verdicts) assert.deepEqual(verdict, verdicts[0]);
			assert.match(verdicts[0]?.fault ?? "", /^upstream_protocol_error: /);
		});
	}
});

suite("the cost of a head", () => {
	test("sent byte by byte is linear: no byte is read or copied more than a few times", (t) => {
		const counts = countWork(t);
		const head = `GET /${"p".repeat(200)} HTTP/1.1\r\nHost: a\r\n${`X-Field-Name: ${"v".repeat(120)}\r\n`.repeat(100)}\r\n`;
		const parser = new HeadParser("request");
		const one = Buffer.alloc(1);
		for (let i = 0; i < head.length; i++) {
			one[0] = head.charCodeAt(i);
			const progress = parser.parse(one, 0, 1);
			assert.equal(progress, i === head.length - 1 ? DONE : MORE);
		}
		assert.equal(parser.fields.count, 101);
		assert.ok(counts.read >= head.length, "the instrument counts");
		// Scan, the two ends of values, and the look-up of names.
		assert.ok(counts.read <= 4 * head.length, `${counts.read} reads for ${head.length} bytes`);
		// Each byte goes into the carry once, and again each time the carry doubles.
		assert.ok(counts.copied <= 3 * head.length, `${counts.copied} bytes copied for ${head.length}`);
	});

	test("that never ends stops at the limit: the carry is never larger than a head may be", (t) => {
		const counts = countWork(t);
		const parser = new HeadParser("request");
		const start = bytes("GET / HTTP/1.1\r\nX: ");
		assert.equal(parser.parse(start, 0, start.length), MORE);
		const drip = Buffer.alloc(999, 0x76);
		let sent = start.length;
		let progress: number = MORE;
		while (progress === MORE && sent < 4 * HEAD_BYTES_MAX) {
			progress = parser.parse(drip, 0, drip.length);
			sent += drip.length;
		}
		assert.equal(progress, BAD);
		assert.ok(sent < HEAD_BYTES_MAX + 2 * drip.length);
		assert.ok(counts.largest <= HEAD_BYTES_MAX + 1, `${counts.largest} bytes of carry`);
	});

	test("in one piece is copied not at all", (t) => {
		const counts = countWork(t);
		const parser = new HeadParser("request");
		for (let i = 0; i < 10; i++) {
			assert.equal(parser.parse(bytes(HEAD), 0, HEAD.length), DONE);
			parser.reset();
		}
		assert.equal(counts.copied, 0);
		assert.equal(counts.largest, 0);
	});

	test("gives back the memory of a large one with the reset", (t) => {
		const counts = countWork(t);
		const parser = new HeadParser("request");
		const large = bytes(`GET / HTTP/1.1\r\nX: ${"v".repeat(20_000)}\r\n`);
		parser.parse(large, 0, large.length);
		assert.ok(counts.largest >= 20_000);
		parser.reset();
		counts.largest = 0;
		const small = bytes("GET / HTTP/1.1\r\n");
		parser.parse(small, 0, small.length);
		assert.ok(counts.largest > 0 && counts.largest <= 4096, `${counts.largest} bytes for a small head`);
	});

	test("holds no more fields than the limit, whatever the table of the head before held", () => {
		const parser = new HeadParser("request");
		const most = bytes(`GET / HTTP/1.1\r\n${"A: 1\r\n".repeat(FIELDS_MAX)}\r\n`);
		for (let i = 0; i < 3; i++) {
			assert.equal(parser.parse(most, 0, most.length), DONE);
			assert.equal(parser.fields.count, FIELDS_MAX);
			parser.reset();
			assert.equal(parser.fields.count, 0);
		}
	});
});

/** Counts what the parser does with the buffer that it carries partial heads in: bytes read one by one, bytes copied, the largest one made. */
function countWork(t: TestContext): { read: number; copied: number; largest: number } {
	const counts = { read: 0, copied: 0, largest: 0 };
	const real = new WeakMap<object, Buffer>();
	const allocate = Buffer.allocUnsafeSlow;
	const copy = Buffer.prototype.copy;
	t.mock.method(Buffer, "allocUnsafeSlow", (size: number): Buffer => {
		counts.largest = Math.max(counts.largest, size);
		const buffer = allocate(size);
		const proxy = new Proxy(buffer, {
			get(target, key) {
				if (typeof key === "string" && /^[0-9]+$/.test(key)) {
					counts.read++;
					return target[Number(key)];
				}
				const value = Reflect.get(target, key, target) as unknown;
				return typeof value === "function" ? (value as () => unknown).bind(target) : value;
			},
		});
		real.set(proxy, buffer);
		return proxy;
	});
	t.mock.method(Buffer.prototype, "copy", function (this: Buffer, target: Buffer, ...rest: [number, number, number]): number {
		const copied = copy.call(this, real.get(target) ?? target, ...rest);
		counts.copied += copied;
		return copied;
	});
	return counts;
}
