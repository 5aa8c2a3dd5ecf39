import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCheck } from "../../src/cli/check.ts";
import { captureIo } from "./capture-io.ts";

const FOLDER = mkdtempSync(join(tmpdir(), "nexus-check-"));
after(() => rmSync(FOLDER, { recursive: true }));

const SAMPLE = fileURLToPath(new URL("../../config/samples/full.yaml", import.meta.url));

function file(name: string, text: string | Uint8Array): string {
	const path = join(FOLDER, name);
	writeFileSync(path, text);
	return path;
}

async function check(files: string[], colour = false) {
	const io = captureIo({ colour });
	const code = await runCheck(files, io);
	return { code, out: io.out() };
}

test("a policy without fault is ok with what it holds, and the exit code is 0", async () => {
	const { code, out } = await check([SAMPLE]);
	assert.equal(code, 0);
	assert.equal(out, `${SAMPLE}: ok, service checkout, inbound and outbound, 5 routes, 6 upstreams\n`);
});

test("every fault of every file is shown, with a count, and the exit code is 1", async () => {
	const one = file("one.yaml", "service: a\noutbound: {}\ndrainTimeout: 5\nx: 1\n");
	const two = file("two.yaml", "service: A\n");
	const { code, out } = await check([one, SAMPLE, two]);
	assert.equal(code, 1);
	assert.ok(out.includes(`${one}:3:15: \`5\` has no unit\n3 | drainTimeout: 5\n  |               ^\n  hint: did you mean 5s or 5ms?\n`), out);
	assert.ok(out.includes(`${one}:4:1: unknown key`), out);
	assert.ok(out.includes(`${SAMPLE}: ok`), out);
	assert.ok(out.endsWith("4 faults in 2 of 3 files\n"), out);
	assert.doesNotMatch(out, /\x1b/);
});

test("several files without fault end with their number", async () => {
	const { code, out } = await check([SAMPLE, SAMPLE]);
	assert.equal(code, 0);
	assert.ok(out.endsWith("2 files, no fault\n"), out);
});

test("a file that is missing, a directory or no text is a fault, not a crash", async () => {
	const binary = file("binary.yaml", new Uint8Array([0xff, 0xfe, 0x00]));
	const missing = join(FOLDER, "missing.yaml");
	const { code, out } = await check([missing, FOLDER, binary]);
	assert.equal(code, 1);
	assert.ok(out.includes(`${missing}:1:1: there is no such file`), out);
	assert.ok(out.includes(`${FOLDER}:1:1: this is a directory`), out);
	assert.ok(out.includes(`${binary}:1:1: the file is not UTF-8 text`), out);
	assert.ok(out.endsWith("3 faults in 3 of 3 files\n"), out);
});

test("a file without end is refused after its first mebibytes", async () => {
	const { code, out } = await check(["/dev/zero"]);
	assert.equal(code, 1);
	assert.match(out, /characters\n.*at most 1048576/s);
});

test("colour is written only where it is wanted", async () => {
	const bad = file("bad.yaml", "service: A\n");
	assert.match((await check([bad], true)).out, /\x1b\[31m/);
});
