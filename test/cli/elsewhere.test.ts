/** Commands whose URL leads to something that is not Nexus, and commands that are told to end while they wait. */
import assert from "node:assert/strict";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { type Roles, runProgram } from "../../src/cli/program.ts";
import { eventually, NexusProcess } from "../support/processes.ts";
import { captureIo } from "./capture-io.ts";

// A guard against a hang, never a measure.
const GUARD = { timeout: 60_000 };

async function serve(t: TestContext, handler: RequestListener): Promise<string> {
	const server = createServer(handler);
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	t.after(() => {
		server.closeAllConnections();
		server.close();
	});
	return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const roles: Roles = {
	sidecar: () => Promise.reject(new Error("no sidecar here")),
	serve: () => Promise.reject(new Error("no Nexus here")),
	logTools: () => Promise.reject(new Error("no logs here")),
};

test("an application that answers everything with JSON is not taken for Nexus, nor for a fault of ours", GUARD, async (t) => {
	const url = await serve(t, (_req, res) => void res.writeHead(200, { "content-type": "application/json" }).end('{"ok":true}'));
	for (const command of [
		"subscriptions list",
		"services",
		"services payments",
		"policies list",
		"token list",
		"schemas list",
		"schemas parked",
		"events",
		"events --follow",
	]) {
		const io = captureIo({ isTTY: true });
		assert.equal(await runProgram([...command.split(" "), "--url", url], roles, io, "1.2.3"), 1, command);
		assert.match(io.err(), new RegExp(`^nexus ${command.replace(/ payments| --follow/, "")}: .*not Nexus`), command);
	}
});

test("options that contradict each other are refused before anything is sent", GUARD, async () => {
	const url = "http://127.0.0.1:1";
	for (const [argv, code, words] of [
		[["policies", "put", "a", "a.yaml", "--at-once", "--stages", "1,all"], 2, /'--at-once' cannot be used with option '--stages <list>'/],
		[["token", "create", "--service", "a", "--types", "order.*"], 1, /--name, --types and --sources are for --role/],
	] as const) {
		const io = captureIo();
		assert.equal(await runProgram([...argv, "--url", url], roles, io, "1.2.3"), code);
		assert.match(io.err(), words);
	}
});

test("a replay of dead letters that waits says on Ctrl-C what for, and ends on the second one", GUARD, async (t) => {
	let asked = 0;
	const url = await serve(t, () => asked++);
	const replay = new NexusProcess(t, ["dead-letters", "replay", "billing", "--sequence", "1", "--url", url]);
	await eventually("it waits", async () => asked === 1);
	replay.process.kill("SIGINT");
	await replay.said(/ending as soon as those under way are decided; once more ends at once/, "stderr");
	const again = setInterval(() => replay.process.kill("SIGINT"), 100);
	t.after(() => clearInterval(again));
	assert.deepEqual(await replay.ended, { code: null, signal: "SIGINT" });
});

test("events that are followed end with 0 on Ctrl-C", GUARD, async (t) => {
	let asked = 0;
	const url = await serve(t, (_req, res) => {
		asked++;
		res.writeHead(200, { "content-type": "text/event-stream" }).write(": here\n\n");
	});
	const follow = new NexusProcess(t, ["events", "--follow", "--url", url]);
	await eventually("it follows", async () => asked === 1);
	follow.process.kill("SIGINT");
	assert.deepEqual([await follow.ended, follow.stderr], [{ code: 0, signal: null }, ""]);
});

test("a verification of the running log that is told to end says so", GUARD, async (t) => {
	let asked = 0;
	const log = { firstSequence: 1, lastSequence: 9, bytes: 1 };
	const url = await serve(t, (req, res) => {
		asked++;
		if (req.url === "/v1/status") res.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ log }));
	});
	const verify = new NexusProcess(t, ["log", "verify", "--url", url]);
	await eventually("it reads", async () => asked === 2);
	verify.process.kill("SIGINT");
	assert.deepEqual(await verify.ended, { code: 1, signal: null });
	assert.equal(verify.stderr, "nexus log verify: ended\n");
});
