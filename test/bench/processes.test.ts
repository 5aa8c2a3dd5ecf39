/** Whatever the bench starts it ends, and whatever it checks it checks for real. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { cpuTime, residentBytes } from "../../bench/cpu.ts";
import { findCores } from "../../bench/machine.ts";
import { bodyOf, bodyPath } from "../../bench/origin.ts";
import { freePorts, Workspace } from "../../bench/processes.ts";
import { verifyReplies } from "../../bench/verify.ts";
import { waitUntil } from "../../bench/wait.ts";

const cores = findCores();
const core = "problem" in cores ? 0 : cores.rest;
const skip = "problem" in cores ? cores.problem : false;

function workspaceFor(context: TestContext): Workspace {
	const workspace = new Workspace();
	context.after(() => workspace.close());
	return workspace;
}

function isAlive(pid: number): boolean {
	// A zombie is dead: its parent has not looked yet.
	return existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
}

test("a process is ended with what it has started, and the files go with the workspace", { skip }, async (context) => {
	const workspace = workspaceFor(context);
	const stdout = workspace.file("pids");
	const child = await workspace.start("family", core, { command: "sh", args: ["-c", "sleep 1000 & echo $!; wait"], stdout });
	await waitUntil(async () => /^\d+\n/.test(readFileSync(stdout, "utf8")), child);
	const grandchild = Number(readFileSync(stdout, "utf8"));
	assert.ok(isAlive(child.pid) && isAlive(grandchild));
	assert.ok(residentBytes(child.pid) > 0);
	await workspace.close();
	assert.ok(!isAlive(child.pid) && !isAlive(grandchild));
	assert.ok(!existsSync(workspace.dir));
	assert.deepEqual(cpuTime(child.pid), { userUs: 0, systemUs: 0 });
	assert.equal(residentBytes(child.pid), 0);
});

test("the CPU time of a process includes that of its children", { skip }, async (context) => {
	const workspace = workspaceFor(context);
	const busy = `const end = process.cpuUsage().user + 200_000; while (process.cpuUsage().user < end); console.log("done"); setInterval(() => {}, 1e6)`;
	const stdout = workspace.file("busy");
	const script = `"$0" -e '${busy}' & wait`;
	const child = await workspace.start("busy", core, { command: "sh", args: ["-c", script, process.execPath], stdout });
	await waitUntil(async () => readFileSync(stdout, "utf8").includes("done"), child);
	assert.ok(cpuTime(child.pid).userUs >= 150_000);
});

test("a program that is not there, or says nothing, is told with its last words", { skip }, async (context) => {
	const workspace = workspaceFor(context);
	await assert.rejects(
		workspace.run("ghost", core, { command: "no-such-program-anywhere", args: [] }),
		/ghost printed nothing: .*no-such-program-anywhere/,
	);
	const child = await workspace.start("brief", core, { command: "sh", args: ["-c", "echo no configuration >&2; exit 3"] });
	await assert.rejects(
		waitUntil(async () => false, child),
		/brief ended while starting: no configuration/,
	);
});

test("a closed workspace starts nothing more", { skip }, async () => {
	const workspace = new Workspace();
	await workspace.close();
	await assert.rejects(workspace.start("late", core, { command: "true", args: [] }), /closed/);
});

test("free ports differ", async () => {
	const ports = await freePorts(20);
	assert.equal(new Set(ports).size, 20);
});

test("replies are verified to the byte, twice on one connection", async (context) => {
	let asked = 0;
	let wrongAt = Number.POSITIVE_INFINITY;
	let status = 200;
	const server = createServer((request, response) => {
		const body = bodyOf(Number(request.url?.slice(bodyPath(0).length - 1)));
		if (++asked === wrongAt) body[body.length - 1] = 0;
		response.writeHead(status, { "content-length": body.length }).end(body);
	});
	context.after(() => server.close());
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	const { port } = server.address() as AddressInfo;
	await verifyReplies(port, [100, 10_240]);
	assert.equal(asked, 4);
	wrongAt = 8;
	await assert.rejects(verifyReplies(port, [100, 10_240]), /a body of 10240 bytes arrived as 10240 other ones/);
	status = 502;
	await assert.rejects(verifyReplies(port, [100]), /status 502/);
});
