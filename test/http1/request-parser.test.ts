import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { BAD, DONE, MORE } from "../../src/http1/request-parser.ts";
import { bytes, parseRequest, requestVerdicts } from "./support.ts";

function refuses(head: string, fault: RegExp): void {
	const verdicts = requestVerdicts(head);
	for (const verdict of verdicts) assert.deepEqual(verdict, verdicts[0]);
	assert.equal(verdicts[0]?.progress, "bad", head);
	assert.match(verdicts[0]?.fault ?? "", fault);
}

function accepts(head: string): ReturnType<typeof parseRequest> {
	for (const verdict of requestVerdicts(head)) assert.deepEqual(verdict, { progress: "done", fault: "" }, head);
	return parseRequest(head);
}

suite("Host", () => {
	test("is required once in HTTP/1.1", () => {
		refuses("GET / HTTP/1.1\r\n\r\n", /Host \(RFC 9112 3\.2\)/);
		refuses("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", /Host/);
		assert.equal(accepts("GET / HTTP/1.1\r\nhost: a:80\r\n\r\n").authority, "a:80");
	});

	test("may be missing in HTTP/1.0, and may not be doubled there either", () => {
		assert.equal(accepts("GET / HTTP/1.0\r\n\r\n").authority, "");
		refuses("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", /Host/);
	});

	for (const host of ["", "a b", "user@a", "a/b", "a:b", "a:65536", "a:1:2", "[::1", "::1", "[]", "[zz::1]", "a%", "a%zz", "a,b", "a\x80", ":80"]) {
		const allowed = host === "a,b";
		test(`${JSON.stringify(host)} is ${allowed ? "taken" : "refused"}`, () => {
			const head = `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
			if (allowed) assert.equal(accepts(head).authority, host);
			else refuses(head, /Host is not uri-host/);
		});
	}

	for (const host of ["a", "a.b-c_d~e", "a:", "a:0", "a:65535", "[::1]", "[::1]:80", "[::ffff:1.2.3.4]", "%61", "127.0.0.1:8080"])
		test(`${host} is taken`, () => assert.equal(accepts(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`).authority, host));
});

suite("the request target", () => {
	const forms: readonly (readonly [line: string, form: string, target: string, authority: string, replaced: boolean])[] = [
		["GET /a?b HTTP/1.1", "origin", "/a?b", "h", false],
		["GET //a HTTP/1.1", "origin", "//a", "h", false],
		["OPTIONS * HTTP/1.1", "asterisk", "*", "h", false],
		["GET http://x/a?b HTTP/1.1", "absolute", "/a?b", "x", true],
		["GET HTTP://x:81/ HTTP/1.1", "absolute", "/", "x:81", true],
		["GET http://x HTTP/1.1", "absolute", "/", "x", true],
		["OPTIONS http://x HTTP/1.1", "absolute", "*", "x", true],
		["GET http://x?q HTTP/1.1", "absolute", "/?q", "x", true],
		["GET http://[::1]:8/a HTTP/1.1", "absolute", "/a", "[::1]:8", true],
		["GET /[a]|^?{b}\\` HTTP/1.1", "origin", "/[a]|^?{b}\\`", "h", false],
	];
	for (const [line, form, target, authority, replaced] of forms) {
		test(`of "${line}" is in ${form}-form: ${target} at ${authority}`, () => {
			const parser = accepts(`${line}\r\nHost: h\r\n\r\n`);
			assert.deepEqual([parser.form, parser.target, parser.authority, parser.hostReplaced], [form, target, authority, replaced]);
		});
	}

	for (const target of [
		"a",
		"*",
		"https://x/",
		"ftp://x/",
		"http:/x",
		"http://",
		"http:///a",
		"http://u@x/",
		"http://x:99999/",
		"http://x\\y/",
		"/a\\b",
		"/{a}",
		"/a`",
		"?a",
		"x:80",
	])
		test(`${target} of a GET is refused`, () => refuses(`GET ${target} HTTP/1.1\r\nHost: h\r\n\r\n`, /^bad_request/));

	test("of an absolute form replaces Host even when both agree, and Host must still be one", () => {
		assert.equal(accepts("GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n").hostReplaced, true);
		refuses("GET http://h/ HTTP/1.1\r\n\r\n", /without Host/);
	});

	test("of CONNECT is answered 405 when it is host:port, 400 otherwise", () => {
		refuses("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", /^method_not_allowed/);
		for (const target of ["a", "/", "a:", "http://a/"]) refuses(`CONNECT ${target} HTTP/1.1\r\nHost: a\r\n\r\n`, /^bad_request: CONNECT/);
	});
});

suite("keeping the connection", () => {
	const cases: readonly (readonly [version: string, connection: string, keepAlive: boolean])[] = [
		["1.1", "", true],
		["1.1", "Connection: close\r\n", false],
		["1.1", "Connection: keep-alive\r\n", true],
		["1.1", "Connection: Keep-Alive, CLOSE\r\n", false],
		["1.1", "Connection: keep-alive\r\nConnection: close\r\n", false],
		["1.1", "Connection: , ,x,\r\n", true],
		["1.0", "", false],
		["1.0", "Connection: keep-alive\r\n", true],
		["1.0", "Connection: KEEP-ALIVE\r\n", true],
		["1.0", "Connection: keep-alive, close\r\n", false],
	];
	for (const [version, connection, keepAlive] of cases)
		test(`in HTTP/${version} with ${JSON.stringify(connection)} is ${keepAlive}`, () =>
			assert.equal(accepts(`GET / HTTP/${version}\r\nHost: h\r\n${connection}\r\n`).keepAlive, keepAlive));

	test("is not decided over a Connection field that is no list of tokens", () =>
		refuses("GET / HTTP/1.1\r\nHost: h\r\nConnection: close; x\r\n\r\n", /Connection is not a list of tokens/));
});

suite("Content-Length and Transfer-Encoding", () => {
	for (const value of ["", "+5", "-5", " 5 5", "5,5", "5, 5", "0x5", "5_0", "5.0", "1e1", "٥", "5\t5", "5;"])
		test(`Content-Length ${JSON.stringify(value)} is refused`, () =>
			refuses(`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ${Buffer.from(value).toString("latin1")}\r\n\r\n`, /^bad_request: Content-Length/));

	test("Content-Length with white space around it is a number", () => {
		assert.deepEqual(accepts("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \t005 \r\n\r\n").framing, { kind: "length", length: 5 });
	});

	const codings: readonly (readonly [value: string, fault: RegExp])[] = [
		["gzip, chunked", /^transfer_coding_not_supported/],
		["gzip", /final transfer coding/],
		["chunked, gzip", /final transfer coding/],
		["chunked, chunked", /final transfer coding/],
		["identity", /final transfer coding/],
		["", /final transfer coding/],
		["chunked,", /final transfer coding/],
		[",chunked", /final transfer coding/],
		["chunked;q=1", /final transfer coding/],
		['"chunked"', /final transfer coding/],
		["\x0bchunked", /control byte/],
		["xchunked", /final transfer coding/],
		["chunked\xa0", /final transfer coding/],
	];
	for (const [value, fault] of codings)
		test(`Transfer-Encoding ${JSON.stringify(value)} is refused`, () =>
			refuses(`POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: ${value}\r\n\r\n`, fault));

	test("Transfer-Encoding chunked is taken in any case", () =>
		assert.equal(accepts("POST / HTTP/1.1\r\nHost: h\r\ntransfer-encoding: \tChunKED \r\n\r\n").framing.kind, "chunked"));

	test("the names with _ for - are refused, as some servers read them as the real ones", () => {
		refuses("POST / HTTP/1.1\r\nHost: h\r\nTransfer_Encoding: chunked\r\n\r\n", /alias/);
		refuses("POST / HTTP/1.1\r\nHost: h\r\nContent_Length: 5\r\n\r\n", /alias/);
	});

	test("a body on GET, DELETE and OPTIONS is framed as on any other method", () => {
		for (const method of ["GET", "DELETE", "OPTIONS"])
			assert.deepEqual(accepts(`${method} / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n`).framing, { kind: "length", length: 3 });
	});
});

suite("Expect", () => {
	test("100-continue is understood in any case", () =>
		assert.equal(accepts("PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\n\r\n").meaning.expectContinue, true));
	test("anything else is answered 417 in HTTP/1.1", () => refuses("PUT / HTTP/1.1\r\nHost: h\r\nExpect: tea\r\n\r\n", /^expectation_failed/));
	test("anything is ignored in HTTP/1.0", () => assert.equal(accepts("PUT / HTTP/1.0\r\nHost: h\r\nExpect: tea\r\n\r\n").minorVersion, 0));
});

test("methods are case-sensitive and unknown ones pass as they are", () => {
	for (const method of ["GET", "get", "PROPFIND", "M-SEARCH", "X"]) assert.equal(accepts(`${method} / HTTP/1.1\r\nHost: h\r\n\r\n`).method, method);
});

test("a parser that is used again forgets what the message before said", () => {
	const parser = parseRequest("POST http://x/ HTTP/1.0\r\nHost: h\r\nConnection: keep-alive, x-a\r\nContent-Length: 5\r\nTE: trailers\r\n\r\n");
	parser.reset();
	const next = bytes("GET /n HTTP/1.1\r\nHost: n\r\n\r\n");
	assert.equal(parser.parse(next, 0, 4), MORE);
	assert.equal(parser.begun, true);
	assert.equal(parser.parse(next, 4, next.length), DONE);
	const { form, authority, hostReplaced, framing, meaning, minorVersion } = parser;
	assert.deepEqual([form, authority, hostReplaced, framing.kind, minorVersion], ["origin", "n", false, "none", 1]);
	assert.deepEqual([meaning.nominated, meaning.teTrailers, meaning.connectionLines, meaning.contentLengthLines], [undefined, false, 0, 0]);
	parser.reset();
	const bad = bytes("\0");
	assert.equal(parser.parse(bad, 0, 1), BAD);
});
