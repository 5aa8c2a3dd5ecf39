/** `nexus run`: a real sidecar and a real application, started and stopped as one. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createServer, get } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { eventually, freePorts, isTaken, NexusProcess, temporaryFolder } from "../support/processes.ts";

interface Unit {
	readonly run: NexusProcess;
	readonly inbound: number;
	readonly outbound: number;
}

test("the application finds the mesh in its environment and is reached through its sidecar", async (t) => {
	const unit = await start(t, "console.log('env', process.env.NEXUS_SERVICE, process.env.NEXUS_OUTBOUND); serve((_, res) => res.end('hello'));");
	const [, service, outbound] = await unit.run.said(/env (\S+) (\S+)/);
	assert.equal(service, "greeter");
	assert.equal(outbound, `http://127.0.0.1:${unit.outbound}`);
	await unit.run.said(/up/);
	assert.deepEqual(await fetchText(unit.inbound, "/"), { status: 200, text: "hello" });
});

test("the way out is open before the application starts", async (t) => {
	const { run } = await start(t, "out('/early').then((text) => { console.log('told ' + text); process.exit(0); });");
	await run.said(/told from outside \/early/);
	assert.deepEqual(await run.ended, { code: 0, signal: null });
});

test("the exit status of the application is that of the unit, and the sidecar ends with it", async (t) => {
	const { run, inbound, outbound } = await start(t, "process.exit(7);");
	assert.deepEqual(await run.ended, { code: 7, signal: null });
	assert.deepEqual([await isTaken(inbound), await isTaken(outbound)], [false, false]);
});

test("an application that dies by a signal ends the unit as a shell would say it", async (t) => {
	const { run } = await start(t, "process.kill(process.pid, 'SIGKILL');");
	assert.deepEqual(await run.ended, { code: 137, signal: null });
});

test("a stop lets the request that has begun finish and keeps the way out open until the application ends", async (t) => {
	const unit = await start(
		t,
		`let held;
		serve((req, res) => { if (req.url === '/held') { held = res; console.log('holding'); } else { held.end('late'); res.end('released'); } });
		process.on('SIGTERM', () => out('/last').then((text) => { console.log('on the way out: ' + text); process.exit(3); }));`,
	);
	await unit.run.said(/up/);
	const held = fetchText(unit.inbound, "/held");
	await unit.run.said(/holding/);
	unit.run.process.kill("SIGTERM");
	await eventually("the sidecar takes no new connection", async () => !(await isTaken(unit.inbound)));
	// Around the sidecar, as nothing else reaches the application any more.
	const [, port] = await unit.run.said(/up (\d+)/);
	await fetchText(Number(port), "/release");
	assert.deepEqual(await held, { status: 200, text: "late" });
	await unit.run.said(/on the way out: from outside \/last/);
	assert.deepEqual(await unit.run.ended, { code: 3, signal: null });
});

test("asking again kills an application that does not want to end", async (t) => {
	const { run } = await start(t, "process.on('SIGTERM', () => console.log('no')); serve(() => {});");
	await run.said(/up/);
	run.process.kill("SIGTERM");
	await run.said(/no/);
	const again = setInterval(() => run.process.kill("SIGTERM"), 50);
	t.after(() => clearInterval(again));
	assert.deepEqual(await run.ended, { code: 137, signal: null });
});

test("a sidecar that dies takes the application with it, as a fault", async (t) => {
	const { run } = await start(
		t,
		"serve((_, res) => res.end('hello')); process.on('SIGTERM', () => { console.log('told to end'); process.exit(0); });",
	);
	const [, port] = await run.said(/up (\d+)/);
	process.kill(sidecarOf(run), "SIGKILL");
	await run.said(/told to end/);
	assert.deepEqual(await run.ended, { code: 70, signal: null });
	assert.match(run.stderr, /the sidecar was ended by SIGKILL; the application does not run without it/);
	assert.equal(await isTaken(Number(port)), false);
});

test("a policy with faults starts nothing", async (t) => {
	const folder = temporaryFolder(t, "run");
	writeFileSync(join(folder, "policy.yaml"), "service: greeter\ninbund: {}\n");
	const run = new NexusProcess(t, ["run", "--config", join(folder, "policy.yaml"), "--", process.execPath, "-e", "console.log('started')"]);
	assert.deepEqual(await run.ended, { code: 1, signal: null });
	assert.match(run.stderr, /policy\.yaml:2:1: /);
	assert.equal(run.stdout, "");
});

test("a port that only the system knows is refused with the reason", async (t) => {
	const folder = temporaryFolder(t, "run");
	writeFileSync(join(folder, "policy.yaml"), "service: greeter\ninbound: { listen: 127.0.0.1:0, application: 127.0.0.1:1 }\n");
	const run = new NexusProcess(t, ["run", "--config", join(folder, "policy.yaml"), "--", "true"]);
	assert.deepEqual(await run.ended, { code: 1, signal: null });
	assert.match(run.stderr, /listens on a port that the system chooses/);
});

test("a command that does not exist is the caller's fault, and the sidecar ends again", async (t) => {
	const { run, inbound } = await start(t, undefined);
	assert.deepEqual(await run.ended, { code: 1, signal: null });
	assert.match(run.stderr, /the application does not start: .*ENOENT/);
	assert.equal(await isTaken(inbound), false);
});

test("an address that is taken ends the unit before the application starts", async (t) => {
	const outside = await startOutside(t);
	const { run } = await start(t, "console.log('started');", outside);
	const { code } = await run.ended;
	assert.equal(code, 1);
	assert.match(run.stderr, new RegExp(`127\\.0\\.0\\.1:${outside}, where .* is taken by another program`));
	assert.doesNotMatch(run.stdout, /started/);
});

/** The application is a program of a few lines with `serve` (says "up PORT") and `out` (a call through the sidecar); undefined: a command that does not exist. */
async function start(t: TestContext, application: string | undefined, takenAdmin?: number): Promise<Unit> {
	const outside = await startOutside(t);
	const [admin = 0, inbound = 0, outbound = 0, app = 0] = await freePorts(4);
	const folder = temporaryFolder(t, "run");
	writeFileSync(
		join(folder, "policy.yaml"),
		`service: greeter
admin: { listen: "127.0.0.1:${takenAdmin ?? admin}" }
inbound: { listen: "127.0.0.1:${inbound}", application: "127.0.0.1:${app}" }
outbound: { listen: "127.0.0.1:${outbound}" }
upstreams:
  outside: { endpoints: [ { address: "127.0.0.1:${outside}" } ] }
drainTimeout: 20s
`,
	);
	writeFileSync(
		join(folder, "application.mjs"),
		`import { createServer, get } from "node:http";
const serve = (handle) => createServer(handle).listen(${app}, "127.0.0.1", () => console.log("up ${app}"));
const out = (path) => new Promise((resolve, reject) => get({ host: "127.0.0.1", port: ${outbound}, path, headers: { host: "outside" } }, (res) => {
	let text = "";
	res.on("data", (chunk) => { text += chunk; });
	res.on("end", () => resolve(text));
}).on("error", reject));
${application}
`,
	);
	const command = application === undefined ? [join(folder, "nothing")] : [process.execPath, join(folder, "application.mjs")];
	return { run: new NexusProcess(t, ["run", "--config", join(folder, "policy.yaml"), "--", ...command]), inbound, outbound };
}

function sidecarOf(run: NexusProcess): number {
	const children = execFileSync("ps", ["-A", "-o", "pid=,ppid=,args="], { encoding: "utf8" });
	const [, pid] = new RegExp(`^ *(\\d+) +${run.process.pid} .* sidecar --config`, "m").exec(children) ?? [];
	return Number(pid);
}

async function startOutside(t: TestContext): Promise<number> {
	const server = createServer((request, response) => response.end(`from outside ${request.url}`));
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	t.after(() => {
		server.closeAllConnections();
		server.close();
	});
	return (server.address() as AddressInfo).port;
}

function fetchText(port: number, path: string): Promise<{ status: number | undefined; text: string }> {
	return new Promise((resolve, reject) => {
		const request = get({ host: "127.0.0.1", port, path, agent: false }, (response) => {
			let text = "";
			response.on("data", (chunk) => {
				text += chunk;
			});
			response.on("end", () => resolve({ status: response.statusCode, text }));
			response.on("error", reject);
		});
		request.on("error", reject);
	});
}
