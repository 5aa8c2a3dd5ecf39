import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { createLogger, type Log } from "../../src/telemetry/log.ts";
import { redact } from "../../src/telemetry/redact.ts";
import { FakeClock } from "../support/fake-clock.ts";

function logger(t: TestContext, options: { level: "debug" | "info" | "error" }): { log: Log; read: () => Promise<Record<string, unknown>[]> } {
	const dir = fs.mkdtempSync(path.join(os.tmpdir(), "nexus-log-"));
	t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
	const file = path.join(dir, "log");
	const log = createLogger({ ...options, destination: file, clock: new FakeClock(), fields: { service: "checkout" } });
	const read = async (): Promise<Record<string, unknown>[]> => {
		await log.flush(10_000);
		const lines = fs.readFileSync(file, "utf8").split("\n").slice(0, -1);
		return lines.map((line) => JSON.parse(line));
	};
	return { log, read };
}

test("a line has level, ISO time, the process' fields, its own fields and the message", async (t) => {
	const { log, read } = logger(t, { level: "info" });
	log.warn("the pool is full", { upstream: "payments", waiting: 3 });
	assert.deepEqual(await read(), [
		{ level: "warn", time: "2026-01-01T00:00:00.000Z", service: "checkout", upstream: "payments", waiting: 3, message: "the pool is full" },
	]);
});

test("the level acts, and a change acts on the next line", async (t) => {
	const { log, read } = logger(t, { level: "error" });
	log.info("unheard");
	log.setLevel("debug");
	log.debug("heard");
	log.setLevel("error");
	log.warn("unheard again");
	assert.equal(log.level, "error");
	assert.deepEqual(
		(await read()).map((line) => line.message),
		["heard"],
	);
});

test("a message is text, never a format", async (t) => {
	const { log, read } = logger(t, { level: "info" });
	log.info("GET /%s%d%o failed at 100%", { url: "%j" });
	assert.equal((await read())[0]?.message, "GET /%s%d%o failed at 100%");
});

test("secrets never reach the log, wherever they stand", async (t) => {
	const { log, read } = logger(t, { level: "info" });
	log.info("cannot reach https://joe:hunter2@nexus:7400/v1", {
		authorization: "Bearer hunter2",
		headers: new Map([["Cookie", "session=hunter2"]]),
		nested: [{ clientSecret: "hunter2", "x-api-key": "hunter2", key: Buffer.from("hunter2"), tokenFile: "./join.token" }],
		error: new Error("401 from http://:hunter2@nexus", { cause: new Error("at https://joe:hunter2@nexus/") }),
	});
	const text = JSON.stringify(await read());
	assert.ok(!text.includes("hunter2"), text);
	assert.ok(text.includes("./join.token") && text.includes("[redacted]") && text.includes("nexus:7400/v1"));
});

test("errors are shown with message, code and causes; a cycle ends", async (t) => {
	const { log, read } = logger(t, { level: "info" });
	const cycle: Record<string, unknown> = { name: "a" };
	cycle.self = cycle;
	log.error("failed", { error: new Error("outer", { cause: Object.assign(new Error("inner"), { code: "EPIPE" }) }), cycle, big: 1n });
	const [line] = await read();
	const error = line?.error as { message: string; cause: { message: string; code: string } };
	assert.equal(error.message, "outer");
	assert.deepEqual([error.cause.message, error.cause.code], ["inner", "EPIPE"]);
	assert.equal(line?.big, "1");
});

test("redacting leaves what is no secret as it is", () => {
	const value = {
		partitionkey: "a",
		mail: "joe@example.org",
		url: "http://host/a@b",
		tokens: 3,
		none: null,
		list: [1, "x", true],
		date: new Date(0),
	};
	assert.deepEqual(redact(value), { ...value, date: "1970-01-01T00:00:00.000Z" });
});

test("a destination that cannot be opened is refused at creation", () => {
	assert.throws(() => createLogger({ level: "info", destination: "/nonexistent/dir/log" }), /ENOENT/);
});
