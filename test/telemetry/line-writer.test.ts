import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import { LineWriter } from "../../src/telemetry/line-writer.ts";
import { FakeClock } from "../support/fake-clock.ts";

function tempDir(t: { after: (fn: () => void) => void }): string {
	const dir = fs.mkdtempSync(path.join(os.tmpdir(), "nexus-line-writer-"));
	t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
	return dir;
}

/** A pipe with a reader that reads only when told, and a descriptor to write to it. */
function makePipe(t: { after: (fn: () => void) => void }): { readFd: number; writeFd: number } {
	const file = path.join(tempDir(t), "pipe");
	execFileSync("mkfifo", [file]);
	const readFd = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
	const writeFd = fs.openSync(file, "w");
	t.after(() => {
		for (const fd of [readFd, writeFd]) {
			try {
				fs.closeSync(fd);
			} catch {} // the test closed it itself
		}
	});
	return { readFd, writeFd };
}

function readAll(fd: number): string {
	const buffer = Buffer.alloc(256 * 1024);
	let text = "";
	for (;;) {
		try {
			const count = fs.readSync(fd, buffer);
			if (count === 0) return text;
			text += buffer.toString("utf8", 0, count);
		} catch {
			return text; // EAGAIN: the pipe is empty
		}
	}
}

test("lines reach the file whole and in order, in batches of the given size", async (t) => {
	const file = path.join(tempDir(t), "log");
	const writer = new LineWriter({ destination: file, clock: new FakeClock(), batchLinesMax: 7 });
	const lines = Array.from({ length: 1000 }, (_, i) => `line ${i} ü€😀\n`);
	for (const line of lines) writer.write(line);
	await writer.close(1000);
	assert.equal(fs.readFileSync(file, "utf8"), lines.join(""));
	assert.deepEqual([writer.written, writer.dropped, writer.heldBytes], [1000, 0, 0]);
});

test("a lonely line leaves after the batch delay, by the given clock", async (t) => {
	const file = path.join(tempDir(t), "log");
	const clock = new FakeClock();
	const writer = new LineWriter({ destination: file, clock });
	writer.write("one\n");
	clock.advance(99);
	assert.equal(fs.readFileSync(file, "utf8"), "");
	assert.equal(clock.pendingTimers, 1);
	clock.advance(1);
	await writer.flush(1000);
	assert.equal(fs.readFileSync(file, "utf8"), "one\n");
	await writer.close(0);
});

test("a pipe whose reader stopped costs bounded memory, and the lines that fit arrive when it reads again", async (t) => {
	const { readFd, writeFd } = makePipe(t);
	const clock = new FakeClock();
	const writer = new LineWriter({ destination: writeFd, clock, batchLinesMax: 10, heldBytesMax: 100_000 });
	const line = `${"x".repeat(99)}\n`;
	let highest = 0;
	for (let i = 0; i < 50_000; i++) {
		writer.write(line);
		highest = Math.max(highest, writer.heldBytes);
		if (i % 500 === 0) await new Promise(setImmediate);
	}
	assert.ok(highest <= 100_000, `held ${highest}`);
	assert.ok(writer.dropped > 40_000, `dropped ${writer.dropped}`);
	const held = 50_000 - writer.dropped;
	let text = "";
	while (writer.written < held) {
		text += readAll(readFd);
		clock.advance(10);
		await new Promise(setImmediate);
	}
	text += readAll(readFd);
	assert.equal(text, line.repeat(held));
	await writer.close(0);
	fs.fstatSync(writeFd); // what was handed in is still open
});

test("a reader that went away ends the writing for good, is told once and counted", async (t) => {
	const { readFd, writeFd } = makePipe(t);
	const faults: string[] = [];
	const writer = new LineWriter({ destination: writeFd, clock: new FakeClock(), onFault: (code) => faults.push(code) });
	fs.closeSync(readFd);
	for (let i = 0; i < 1000; i++) writer.write("gone\n");
	await writer.flush(1000);
	for (let i = 0; i < 1000; i++) writer.write("gone\n");
	await writer.flush(1000);
	assert.deepEqual(faults, ["EPIPE"]);
	assert.deepEqual([writer.written, writer.dropped, writer.heldBytes], [0, 2000, 0]);
	await writer.close(0);
});

test("a full disk is tried again each second and told once; closing gives up after its time", { skip: !fs.existsSync("/dev/full") }, async () => {
	const clock = new FakeClock();
	const faults: string[] = [];
	const writer = new LineWriter({ destination: "/dev/full", clock, batchLinesMax: 1, heldBytesMax: 50, onFault: (code) => faults.push(code) });
	for (let i = 0; i < 20; i++) writer.write("0123456789\n");
	for (let second = 0; second < 3; second++) {
		while (clock.pendingTimers === 0) await new Promise(setImmediate);
		clock.advance(1000);
	}
	assert.deepEqual(faults, ["ENOSPC"]);
	assert.equal(writer.dropped, 16);
	while (clock.pendingTimers === 0) await new Promise(setImmediate);
	const closed = writer.close(500);
	clock.advance(500);
	await closed;
	assert.deepEqual([writer.written, writer.dropped, writer.heldBytes], [0, 20, 0]);
	writer.write("after\n");
	assert.equal(writer.dropped, 21);
});

test("the last words are written at once, without the loop", async (t) => {
	const file = path.join(tempDir(t), "log");
	const writer = new LineWriter({ destination: file, clock: new FakeClock() });
	writer.write("why it ended\n");
	writer.flushSync();
	assert.equal(fs.readFileSync(file, "utf8"), "why it ended\n");
	await writer.close(0);
});

test("a path that cannot be opened is refused at creation", () => {
	assert.throws(() => new LineWriter({ destination: "/nonexistent/dir/log", clock: systemClock }), /ENOENT/);
});

test("a process whose log is never read still exits at once", async (t) => {
	const { writeFd } = makePipe(t);
	const program = `
		import { LineWriter } from ${JSON.stringify(new URL("../../src/telemetry/line-writer.ts", import.meta.url).href)};
		import { systemClock } from ${JSON.stringify(new URL("../../src/core/clock.ts", import.meta.url).href)};
		const writer = new LineWriter({ destination: 1, clock: systemClock });
		for (let i = 0; i < 5000; i++) writer.write("x".repeat(99) + "\\n");
		const alive = setInterval(() => {}, 1000);
		await writer.close(50);
		clearInterval(alive);
		// Nobody waits for a write that is with the system just now; what is behind it is given up when it comes back.
		while (writer.dropped === 0) await new Promise(setImmediate);
		process.send(writer.dropped);
		process.disconnect();
		process.exit(0);`;
	const child = spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: ["ignore", writeFd, "inherit", "ipc"] });
	t.after(() => child.kill("SIGKILL"));
	const [message] = await once(child, "message");
	assert.ok((message as number) > 0);
	const [code] = await once(child, "exit");
	assert.equal(code, 0);
});
