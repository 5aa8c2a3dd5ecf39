/** The bench's own eye for replies: it must not let a bad one pass. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Progress, ResponseReader } from "../../bench/response-reader.ts";

function read(...chunks: string[]): Progress {
	const reader = new ResponseReader({ keepBody: true });
	let progress: Progress = { kind: "more" };
	for (const chunk of chunks) progress = reader.push(Buffer.from(chunk));
	return progress;
}

function faultOf(...chunks: string[]): string {
	const progress = read(...chunks);
	assert.equal(progress.kind, "fault");
	return progress.kind === "fault" ? progress.fault : "";
}

test("a reply is read whole and byte by byte alike", () => {
	const wire = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
	for (const progress of [read(wire), read(...wire)]) {
		assert.ok(progress.kind === "reply");
		assert.equal(progress.reply.status, 200);
		assert.equal(progress.reply.body?.toString(), "hello");
	}
});

test("the next reply on the connection starts afresh", () => {
	const empty = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
	const progress = read("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", empty);
	assert.ok(progress.kind === "reply");
	assert.equal(progress.reply.status, 404);
	assert.equal(progress.reply.body?.length, 0);
});

test("an unfinished reply is not one", () => {
	assert.equal(read("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell").kind, "more");
});

test("a reply without a length, with bytes too many or without a status line is a fault", () => {
	assert.match(faultOf("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"), /without content-length/);
	assert.match(faultOf("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokay"), /2 bytes after the end/);
	assert.match(faultOf("SSH-2.0-x\r\n\r\n"), /not a status line/);
	assert.match(faultOf("a".repeat(70_000)), /no end/);
});

test("text instead of bytes is a programmer's error", () => {
	assert.throws(() => new ResponseReader({ keepBody: false }).push("HTTP/1.1 200 OK"), TypeError);
});
