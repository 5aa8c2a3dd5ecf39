import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { DONE } from "../../src/http1/request-parser.ts";
import { bytes, parseResponse, responseVerdicts } from "./support.ts";

suite("an answer head", () => {
	test("tells status, version and whether the start line may be relayed as it is", () => {
		const parser = parseResponse("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
		assert.deepEqual([parser.status, parser.minorVersion, parser.startLineRelayable], [404, 1, true]);
		assert.equal(parser.startLine, "HTTP/1.1 404 Not Found\r\n");
	});

	const lines: readonly (readonly [sent: string, said: string])[] = [
		["HTTP/1.0 200 OK", "HTTP/1.1 200 OK\r\n"],
		["HTTP/1.3 200 OK", "HTTP/1.1 200 OK\r\n"],
		["HTTP/1.1 301", "HTTP/1.1 301 \r\n"],
		["HTTP/1.0 301", "HTTP/1.1 301 \r\n"],
	];
	for (const [sent, said] of lines) {
		test(`that begins with ${JSON.stringify(sent)} is said again as ${JSON.stringify(said)}, wherever it is cut`, () => {
			for (let cut = 0; cut < sent.length + 2; cut++) {
				const parser = parseResponse("HTTP/1.1 200 OK\r\n\r\n");
				parser.reset();
				const head = bytes(`${sent}\r\n\r\n`);
				parser.parse(head, 0, cut, false);
				assert.equal(parser.parse(head, cut, head.length, false), DONE);
				assert.equal(parser.startLineRelayable, false);
				assert.equal(parser.startLine, said);
			}
		});
	}

	test("with a phrase of none but the space may be relayed as it is", () => {
		const parser = parseResponse("HTTP/1.1 200 \r\n\r\n");
		assert.equal(parser.startLineRelayable, true);
		assert.equal(parser.startLine, "HTTP/1.1 200 \r\n");
	});

	const persistence: readonly (readonly [head: string, keepAlive: boolean])[] = [
		["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true],
		["HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false],
		["HTTP/1.1 200 OK\r\n\r\n", false],
		["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true],
		["HTTP/1.1 204 No Content\r\n\r\n", true],
		["HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false],
		["HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", true],
		["HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", false],
	];
	for (const [head, keepAlive] of persistence)
		test(`${JSON.stringify(head)} ${keepAlive ? "keeps" : "ends"} the connection`, () => assert.equal(parseResponse(head).keepAlive, keepAlive));

	const refused: readonly (readonly [what: string, head: string])[] = [
		["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"],
		["a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n"],
		["length and coding", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"],
		["a coding in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
		["another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"],
		["two codings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"],
		["an alias of a framing field", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer_Encoding: chunked\r\n\r\n"],
		["two lengths on a 304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"],
		["a length that is none on a 204", "HTTP/1.1 204 No Content\r\nContent-Length: x\r\n\r\n"],
		["a Connection that is no list", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: a b\r\n\r\n"],
	];
	for (const [what, head] of refused) {
		test(`with ${what} is a protocol error of the upstream, however it arrives`, () => {
			const verdicts = responseVerdicts(head);
			for (const verdict of verdicts) assert.deepEqual(verdict, verdicts[0]);
			assert.match(verdicts[0]?.fault ?? "", /^upstream_protocol_error: /);
		});
	}

	test("to a HEAD frames no body, whatever it says", () => {
		const parser = parseResponse("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", true);
		assert.equal(parser.framing.kind, "none");
		assert.equal(parser.keepAlive, true);
		assert.equal(parseResponse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true).framing.kind, "none");
	});

	test("has begun while it is incomplete", () => {
		const parser = parseResponse("HTTP/1.1 200 ");
		assert.equal(parser.begun, true);
		parser.reset();
		assert.equal(parser.begun, false);
	});
});
