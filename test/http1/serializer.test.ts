import assert from "node:assert/strict";
import { suite, test } from "node:test";
import * as fields from "../../src/http1/fields.ts";
import { HeadParser } from "../../src/http1/head-parser.ts";
import { chunkSizeLine, fieldLine, fieldWriter, lastChunk, relayedLines, requestLine, statusLine } from "../../src/http1/serializer.ts";
import { CLASS, isAll, isAuthority, isToken, VALUE } from "../../src/http1/syntax.ts";
import { trailerLines } from "../../src/http1/trailers.ts";
import { bytes, parseRequest } from "./support.ts";

const NOTHING: Uint8Array = new Uint8Array(32);

function dropping(...ids: readonly number[]): Uint8Array {
	const table = new Uint8Array(32);
	for (const id of ids) table[id] = 1;
	return table;
}

function relayed(lines: string, dropped = NOTHING): string {
	const parser = parseRequest(`GET / HTTP/1.1\r\n${lines}\r\n`);
	assert.equal(parser.fault, undefined);
	return relayedLines(parser.fields, parser.meaning, parser.lineEnd, parser.end - 2, dropped);
}

/** Every character that must never reach the wire in a line of ours. */
const ENDERS = ["\r", "\n", "\0", "\x01", "\x1f", "\x7f", "Ā", "Ċ", "č", "💥", "\u2028"];

suite("the choke point before the wire", () => {
	for (const ender of ENDERS) {
		test(`refuses ${JSON.stringify(ender)} in names, values, methods, targets and phrases`, () => {
			for (const text of [ender, `a${ender}`, `${ender}a`, `a${ender}b: c`]) {
				assert.throws(() => fieldLine(text, "v"), TypeError);
				assert.throws(() => fieldLine("n", text), TypeError);
				assert.throws(() => fieldWriter(text), TypeError);
				assert.throws(() => fieldWriter("n")(text), TypeError);
				assert.throws(() => requestLine(text, "/"), TypeError);
				assert.throws(() => requestLine("GET", `/${text}`), TypeError);
				assert.throws(() => statusLine(200, text), TypeError);
			}
		});
	}

	test("refuses names that are no tokens and targets that end the line early", () => {
		for (const name of ["", " ", "a b", "a:", "a\t", "(a)", "é"]) assert.throws(() => fieldLine(name, "v"), TypeError);
		for (const target of ["", " ", "/a b", "/\t", "/#", "/é", '/"', "/<>"]) assert.throws(() => requestLine("GET", target), TypeError);
		for (const method of ["", "G T", "G:"]) assert.throws(() => requestLine(method, "/"), TypeError);
		for (const status of [99, 600, 200.5, Number.NaN, -1]) assert.throws(() => statusLine(status, "OK"), TypeError);
	});

	test("writes everything else as it is, latin1 included", () => {
		assert.equal(fieldLine("X-A", "b\tc \xe9"), "X-A: b\tc \xe9\r\n");
		assert.equal(fieldWriter("x")("1"), "x: 1\r\n");
		assert.equal(requestLine("GET", "/a?{b}"), "GET /a?{b} HTTP/1.1\r\n");
		assert.equal(statusLine(404, "Not Found"), "HTTP/1.1 404 Not Found\r\n");
		assert.equal(statusLine(299, ""), "HTTP/1.1 299 \r\n");
	});

	test("writes chunk sizes in hexadecimal and the last chunk with its trailers", () => {
		assert.equal(chunkSizeLine(65536), "10000\r\n");
		assert.equal(lastChunk(""), "0\r\n\r\n");
		assert.equal(lastChunk("A: 1\r\n"), "0\r\nA: 1\r\n\r\n");
	});
});

suite("relayed lines", () => {
	test("keep order, case, duplicates and spacing", () => {
		const lines = "Host: h\r\nX-b:1\r\nx-A:  2 \r\nX-b: 3\r\n";
		assert.equal(relayed(lines), lines);
	});

	test("leave out two hop-by-hop fields of one head, wherever they stand", () => {
		const hop = ["Keep-Alive: timeout=5", "Proxy-Connection: close", "TE: trailers", "Connection: keep-alive", "HTTP2-Settings: x", "Upgrade: h2c"];
		for (const first of hop) {
			for (const second of hop) {
				if (first === second) continue;
				assert.equal(relayed(`${first}\r\nHost: h\r\nA: 1\r\n${second}\r\nB: 2\r\n`), "Host: h\r\nA: 1\r\nB: 2\r\n");
				assert.equal(relayed(`Host: h\r\n${first}\r\n${second}\r\nB: 2\r\n`), "Host: h\r\nB: 2\r\n");
				assert.equal(relayed(`Host: h\r\nA: 1\r\n${first}\r\n${second}\r\n`), "Host: h\r\nA: 1\r\n");
			}
		}
	});

	test("leave out what Connection names, in any case, on any of its lines", () => {
		assert.equal(
			relayed("Host: h\r\nConnection: X-One, close\r\nx-one: 1\r\nX-ONE: 2\r\nX-Two: 3\r\nconnection: x-two\r\nX-On: 4\r\n"),
			"Host: h\r\nX-On: 4\r\n",
		);
	});

	test("keep what a client cannot nominate away", () => {
		const kept =
			"Host: h\r\nContent-Length: 0\r\nAuthorization: a\r\nCache-Control: no-store\r\nX-Forwarded-For: 1\r\nX-Forwarded-Proto: p\r\nX-Forwarded-Host: h\r\n" +
			"Forwarded: f\r\nX-Real-IP: 1\r\nX-Request-Id: r\r\ntraceparent: t\r\nVia: v\r\nExpect: 100-continue\r\nMax-Forwards: 1\r\nX-Nexus-Internal: i\r\n";
		const names = [...kept.matchAll(/([A-Za-z-]+): /g)].map(([, name]) => name);
		assert.equal(relayed(`${kept}Connection: close, ${names.join(", ")}\r\n`), kept);
	});

	test("leave out what the caller drops, and begin where the caller says", () => {
		assert.equal(relayed("Host: h\r\nVia: v\r\nA: 1\r\n", dropping(fields.HOST, fields.VIA)), "A: 1\r\n");
		assert.equal(relayed("Host: h\r\n", dropping(fields.HOST)), "");
		const parser = parseRequest("GET / HTTP/1.1\r\nHost: h\r\nTE: x\r\nA: 1\r\n\r\n");
		assert.equal(relayedLines(parser.fields, parser.meaning, parser.start, parser.end - 2, NOTHING), "GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\n");
	});
});

suite("field names", () => {
	test("are known in any case and by nothing but their letters", () => {
		for (const name of ["transfer-encoding", "Transfer-Encoding", "TRANSFER-ENCODING"])
			assert.equal(fields.fieldIdOf(name), fields.TRANSFER_ENCODING);
		assert.equal(fields.fieldIdOf("x-nexus-anything-at-all-however-long-it-may-be"), fields.X_NEXUS);
		assert.equal(fields.fieldIdOf("Transfer_Encoding"), fields.FRAMING_ALIAS);
		for (const name of ["", "x", "hos", "hostt", "x-nexus-", "transfer-encodin\x07", "TRANSFER\x0dENCODING", "\x48ost\0"])
			assert.equal(fields.fieldIdOf(name), fields.OTHER);
	});

	test("with _ for - are aliases where a server behind us could take them for framing or for who the client is", () => {
		for (const name of ["content_length", "Transfer_Encoding"]) assert.equal(fields.fieldIdOf(name), fields.FRAMING_ALIAS, name);
		for (const name of ["x_forwarded_for", "X-Forwarded_For", "x_forwarded-proto", "X_FORWARDED_HOST", "x_real_ip"])
			assert.equal(fields.fieldIdOf(name), fields.FORWARDED_ALIAS, name);
		for (const name of ["x_nexus_a", "X-Nexus_A", "x_nexus-a"]) assert.equal(fields.fieldIdOf(name), fields.X_NEXUS, name);
		for (const name of ["keep_alive", "x_request_id", "x_nexus", "x_custom", "max_forwards"])
			assert.equal(fields.fieldIdOf(name), fields.OTHER, name);
		assert.equal(relayed("Host: h\r\nX_Forwarded_For: 1\r\nX_Custom: 1\r\n"), "Host: h\r\nX_Custom: 1\r\n");
	});

	test("fold letters alone: a byte that differs in the same bit is another name", () => {
		for (const [name, id] of [
			["via", fields.VIA],
			["x-forwarded-for", fields.X_FORWARDED_FOR],
			["x-real-ip", fields.X_REAL_IP],
		] as const) {
			assert.equal(fields.fieldIdOf(name), id);
			for (let i = 0; i < name.length; i++) {
				const flipped = name.slice(0, i) + String.fromCharCode(name.charCodeAt(i) ^ 0x20) + name.slice(i + 1);
				const letter = /[a-z]/.test(name[i] ?? "");
				assert.equal(fields.fieldIdOf(flipped) === id, letter, JSON.stringify(flipped));
			}
		}
	});
});

suite("the field table", () => {
	test("joins all values of a name, and tells the first by id", () => {
		const { fields: table } = parseRequest("GET / HTTP/1.1\r\nHost: h\r\nAccept: a\r\nVia: 1\r\nACCEPT: b\r\nVia: 2\r\n\r\n");
		assert.equal(table.get("accept"), "a, b");
		assert.equal(table.first(fields.VIA), "1");
		assert.equal(table.get("absent"), undefined);
		assert.equal(table.get("accep"), undefined);
		assert.equal(table.first(fields.EXPECT), undefined);
	});
});

suite("trailers", () => {
	const lines = (section: string): string => {
		const parser = new HeadParser("trailers");
		const input = bytes(`${section}\r\n`);
		parser.parse(input, 0, input.length);
		return trailerLines(parser.fields);
	};

	test("pass with name and value as they are", () =>
		assert.equal(lines("Grpc-Status: 0\r\nchecksum:abc \r\n"), "Grpc-Status: 0\r\nchecksum: abc\r\n"));

	for (const name of [
		"Content-Length",
		"transfer-encoding",
		"Transfer_Encoding",
		"HOST",
		"Connection",
		"Trailer",
		"TE",
		"Upgrade",
		"Authorization",
		"Cookie",
		"Set-Cookie",
		"Content-Type",
		"Content-Encoding",
		"Content-Range",
		"Cache-Control",
		"X-Forwarded-For",
		"X-Forwarded-Client-Cert",
		"Forwarded",
		"Via",
		"traceparent",
		"X-Nexus-Reason",
	])
		test(`never hold ${name}`, () => assert.equal(lines(`A: 1\r\n${name}: x\r\nB: 2\r\n`), "A: 1\r\nB: 2\r\n"));
});

suite("character classes", () => {
	test("of values hold all but control bytes", () => {
		for (let code = 0; code < 256; code++)
			assert.equal(((CLASS[code] ?? 0) & VALUE) !== 0, code === 9 || (code >= 0x20 && code !== 0x7f), String(code));
	});

	test("hold nothing above U+00FF, whatever its low byte is", () => {
		for (const char of ["š", "ō", "\u0141", "Ġ", "\uff21"]) assert.equal(isAll(char, VALUE), false);
		assert.equal(isToken("Å"), false);
		assert.equal(isToken(""), false);
	});

	test("make an authority of host and port only", () => {
		for (const good of ["a", "a:1", "[::1]", "1.2.3.4"]) assert.equal(isAuthority(good), true, good);
		for (const bad of ["", ":", "a:x", "a@b", "[", "[::]x", "[::1]:x", "a]", "a%2", "a/b", "a?b"]) assert.equal(isAuthority(bad), false, bad);
	});
});
