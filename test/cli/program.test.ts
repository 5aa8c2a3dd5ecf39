/** The command line: what each command is handed, its help, and the exit codes. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type Roles, runProgram } from "../../src/cli/program.ts";
import { NexusProcess, temporaryFolder } from "../support/processes.ts";
import { captureIo } from "./capture-io.ts";

const COMMANDS = [
	"sidecar",
	"serve",
	"up",
	"run",
	"check",
	"explain",
	"events",
	"tap",
	"ca",
	"token",
	"log",
	"policies",
	"services",
	"subscriptions",
	"dead-letters",
];
const PROGRAM = fileURLToPath(new URL("../../bin/nexus", import.meta.url));

async function call(...argv: string[]): Promise<{ code: number; out: string; err: string; handed: unknown[] }> {
	const handed: unknown[] = [];
	const roles: Roles = {
		sidecar: async (options) => handed.push(options) + 40,
		serve: async (options) => handed.push(options) + 50,
		logTools: () => Promise.reject(new Error("no logs here")),
	};
	const io = captureIo();
	const code = await runProgram(argv, roles, io, "1.2.3");
	return { code, out: io.out(), err: io.err(), handed };
}

test("the roles get their options and give the exit code", async () => {
	const sidecar = await call("sidecar", "--config", "a.yaml");
	assert.deepEqual([sidecar.code, sidecar.handed], [41, [{ configFile: "a.yaml" }]]);
	const serve = await call("serve", "--listen", "127.0.0.1:1", "--data", "d", "--config", "c.yaml");
	assert.deepEqual([serve.code, serve.handed], [51, [{ configFile: "c.yaml", listen: "127.0.0.1:1", dataDir: "d" }]]);
	assert.deepEqual((await call("serve")).handed, [{}]);
});

test("every command has help with examples on standard output, and that is fine", async () => {
	for (const command of COMMANDS) {
		const { code, out, err } = await call(command, "--help");
		assert.equal(code, 0);
		assert.match(out, new RegExp(`Usage: nexus ${command}`));
		assert.match(out, new RegExp(`Examples:\n {2}(nexus ${command}|kill)`));
		assert.equal(err, "");
	}
	const { code, out } = await call("--help");
	assert.equal(code, 0);
	for (const command of COMMANDS) assert.match(out, new RegExp(`^ {2}${command} `, "m"));
	assert.deepEqual(await call("--version"), { code: 0, out: "1.2.3\n", err: "", handed: [] });
});

test("a wrong command line ends with 2, says what is wrong on standard error, and runs nothing", async () => {
	for (const [argv, reason] of [
		[["chek"], /unknown command 'chek'\n\(Did you mean check\?\)/],
		[["sidecar"], /required option '--config <file>' not specified/],
		[["sidecar", "--config"], /argument missing/],
		[["check"], /missing required argument 'file'/],
		[["explain", "a.yaml"], /required option '--url <url>'/],
		[["explain", "a.yaml", "--url", "/", "--direction", "up"], /Allowed choices are inbound, outbound/],
		[["events", "--limit", "many"], /a whole number is needed/],
		[["tap"], /missing required argument 'url'/],
		[["tap", "http://127.0.0.1:1", "--rate", "fast"], /a whole number is needed/],
		[["run", "--config", "a.yaml"], /missing required argument 'command'/],
		[["serve", "--port", "1"], /unknown option '--port'/],
	] as const) {
		const { code, out, err, handed } = await call(...argv);
		assert.equal(code, 2, argv.join(" "));
		assert.match(err, reason);
		assert.deepEqual([out, handed], ["", []]);
	}
});

test("a file that is wrong ends with 1, by the real program", async (t) => {
	assert.deepEqual(await new NexusProcess(t, ["check", "/nonexistent.yaml"]).ended, { code: 1, signal: null });
	const sidecar = new NexusProcess(t, ["sidecar", "--config", "/nonexistent.yaml"]);
	assert.deepEqual(await sidecar.ended, { code: 1, signal: null });
	assert.match(sidecar.stderr, /\/nonexistent\.yaml:1:1: /);
});

test("a reader that goes away is no fault", async (t) => {
	const child = spawn(process.execPath, [PROGRAM, "--help"], { stdio: ["ignore", "pipe", "pipe"] });
	t.after(() => child.kill("SIGKILL"));
	child.stdout.destroy();
	let err = "";
	child.stderr.on("data", (chunk) => {
		err += chunk;
	});
	const code = await new Promise((resolve) => child.once("close", resolve));
	assert.deepEqual([code, err], [0, ""]);
});

test("started by someone who is gone already, a role stops at once", async (t) => {
	// The variable without a channel: the other end was closed before we looked.
	const orphan = new NexusProcess(t, ["serve", "--listen", "127.0.0.1:0", "--data", temporaryFolder(t, "orphan")], {
		env: { ...process.env, NEXUS_STOP_WITH_PARENT: "1" },
	});
	assert.deepEqual(await orphan.ended, { code: null, signal: "SIGTERM" });
});
