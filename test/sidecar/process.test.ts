/** `nexus sidecar` as a process: files that change under it, signals, readiness, exit codes. */
import assert from "node:assert/strict";
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { eventually, freePorts, isTaken, NexusProcess, temporaryFolder } from "../support/processes.ts";
import { type RawUpstreamConnection, rawClient, rawUpstream } from "../support/raw-peer.ts";
import { valuesOf } from "../support/strict-reader.ts";
import { echo, httpServer, sampleOf } from "./support.ts";

interface Process {
	readonly nexus: NexusProcess;
	/** Port of a listener, as the log tells it. */
	port(name: string): number;
	readyz(): Promise<{ status: number; reasons: string[] }>;
	metric(name: string, labels: Record<string, string>): Promise<number>;
	/** Until the log has `count` lines with this message. */
	logged(message: string, count?: number): Promise<void>;
}

async function start(t: TestContext, file: string, wait: RegExp = /"message":"ready"/): Promise<Process> {
	const nexus = new NexusProcess(t, ["sidecar", "--config", file]);
	await nexus.said(wait, "stderr");
	const port = (name: string): number => {
		const address = new RegExp(`"${name}":"127\\.0\\.0\\.1:(\\d+)"`).exec(nexus.stderr);
		assert.ok(address !== null, nexus.stderr);
		return Number(address[1]);
	};
	return {
		nexus,
		port,
		async readyz() {
			const response = await fetch(`http://127.0.0.1:${port("admin")}/readyz`);
			return { status: response.status, reasons: ((await response.json()) as { reasons: string[] }).reasons };
		},
		async metric(name, labels) {
			return sampleOf(await (await fetch(`http://127.0.0.1:${port("admin")}/metrics`)).text(), name, labels);
		},
		async logged(message, count = 1) {
			await nexus.said(new RegExp(`(?:"message":"${message}[^]*){${count}}`), "stderr");
		},
	};
}

function policyOf(application: string, more = ""): string {
	return `service: tested\nadmin: { listen: "127.0.0.1:0" }\ninbound: { listen: "127.0.0.1:0", application: "${application}" }\n${more}`;
}

async function servedBy(t: TestContext, port: number): Promise<string> {
	const client = await rawClient(t, port);
	const answer = await client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").answer();
	assert.equal(answer.status, 200);
	return (JSON.parse(answer.body.toString()) as { by: string }).by;
}

describe("the policy file of a running sidecar", { timeout: 120_000 }, () => {
	it("acts when it is written in place, when another is renamed over it, and on SIGHUP", async (t) => {
		const [one, two] = [await httpServer(t, echo("one")), await httpServer(t, echo("two"))];
		const file = join(temporaryFolder(t, "watch"), "policy.yaml");
		writeFileSync(file, policyOf(one.address));
		const running = await start(t, file);
		assert.equal(await servedBy(t, running.port("inbound")), "one");
		writeFileSync(file, policyOf(two.address));
		await running.logged("policy applied", 1);
		assert.equal(await servedBy(t, running.port("inbound")), "two");
		for (const [count, server] of [
			[2, one],
			[3, two],
		] as const) {
			writeFileSync(`${file}.new`, policyOf(server.address));
			renameSync(`${file}.new`, file);
			await running.logged("policy applied", count);
			assert.equal(await servedBy(t, running.port("inbound")), server === one ? "one" : "two");
		}
		// Nothing has changed, and yet it is read again.
		const before = await running.metric("nexus_policy_reloads_total", { result: "unchanged" });
		running.nexus.process.kill("SIGHUP");
		await eventually("SIGHUP reloads", async () => (await running.metric("nexus_policy_reloads_total", { result: "unchanged" })) > before);
		assert.equal(await running.metric("nexus_policy_version", {}), 4);
	});

	it("acts when Kubernetes swaps the link behind it", async (t) => {
		const [one, two] = [await httpServer(t, echo("one")), await httpServer(t, echo("two"))];
		const folder = temporaryFolder(t, "kubernetes");
		const generation = (name: string, application: string): void => {
			mkdirSync(join(folder, name));
			writeFileSync(join(folder, name, "policy.yaml"), policyOf(application));
			symlinkSync(name, join(folder, "..data_tmp"));
			renameSync(join(folder, "..data_tmp"), join(folder, "..data"));
		};
		generation("..2026_01_01", one.address);
		symlinkSync(join("..data", "policy.yaml"), join(folder, "policy.yaml"));
		const running = await start(t, join(folder, "policy.yaml"));
		assert.equal(await servedBy(t, running.port("inbound")), "one");
		generation("..2026_01_02", two.address);
		await running.logged("policy applied");
		assert.equal(await servedBy(t, running.port("inbound")), "two");
	});

	it("that is bad changes nothing, is told once with its place, and is settled by the next good one", async (t) => {
		const [one, two] = [await httpServer(t, echo("one")), await httpServer(t, echo("two"))];
		const file = join(temporaryFolder(t, "watch"), "policy.yaml");
		writeFileSync(file, policyOf(one.address));
		const running = await start(t, file);
		writeFileSync(file, policyOf(one.address, "outbnd: {}\n"));
		await running.logged("policy rejected");
		running.nexus.process.kill("SIGHUP");
		await eventually("a second look", async () => (await running.metric("nexus_policy_reloads_total", { result: "rejected" })) === 2);
		assert.equal(running.nexus.stderr.split("policy rejected").length - 1, 1);
		assert.match(running.nexus.stderr, /policy\.yaml:4:1.*did you mean `outbound`\?/);
		assert.equal(await servedBy(t, running.port("inbound")), "one");
		assert.deepEqual(await running.readyz(), { status: 200, reasons: [] });
		writeFileSync(file, policyOf(two.address));
		await running.logged("policy applied");
		assert.equal(await servedBy(t, running.port("inbound")), "two");
	});
});

describe("SIGTERM", { timeout: 120_000 }, () => {
	/** A sidecar with one request on its way. */
	async function busy(t: TestContext, drainTimeout: string) {
		const upstream = await rawUpstream(t);
		const file = join(temporaryFolder(t, "drain"), "policy.yaml");
		writeFileSync(file, policyOf(upstream.address, `drainTimeout: ${drainTimeout}\naccessLog: {}\n`));
		const running = await start(t, file);
		const port = running.port("inbound");
		const client = await rawClient(t, port);
		client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
		const connection: RawUpstreamConnection = await upstream.connection(0);
		await connection.request();
		return { running, port, client, connection };
	}

	it("lets what is in flight finish with connection: close, refuses what is new, closes what is idle, and exits 0", async (t) => {
		const { running, port, client, connection } = await busy(t, "30s");
		const idle = await rawClient(t, port);
		const halfway = await rawClient(t, port);
		halfway.send("GET /late HTTP/1.1\r\nHost: a\r\n");
		const admin = running.port("admin");
		await eventually("all are accepted", async () => (await running.metric("nexus_connections_open", { listener: "inbound" })) === 3);
		running.nexus.process.kill("SIGTERM");
		await idle.untilClosed();
		assert.equal(await isTaken(port), false);
		assert.deepEqual(await running.readyz(), { status: 503, reasons: ["draining"] });
		connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
		const answer = await client.answer();
		assert.deepEqual([answer.status, answer.body.toString(), valuesOf(answer, "connection")], [200, "done", ["close"]]);
		await client.until("its end", () => client.ended);
		client.end();
		// A head that had begun is a request like any other. Completed only now: it takes the connection that has become free.
		halfway.send("\r\n");
		await connection.until("the second request", () => connection.requests.length === 2);
		connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
		assert.equal((await halfway.answer()).body.toString(), "late");
		for (const peer of [halfway, idle]) peer.end();
		assert.deepEqual(await running.nexus.ended, { code: 0, signal: null });
		assert.equal(await isTaken(admin), false);
		// Nothing is lost of what was to be told.
		const lines = running.nexus.stdout
			.trim()
			.split("\n")
			.map((line) => JSON.parse(line) as { target: string; status: number });
		assert.deepEqual(lines.map(({ target, status }) => [target, status]).sort(), [
			["/late", 200],
			["/slow", 200],
		]);
		assert.match(running.nexus.stderr, /"message":"stopped"/);
	});

	it("cuts what is left when the drain timeout is over, says how many, and exits 0", async (t) => {
		const { running, client } = await busy(t, "200ms");
		running.nexus.process.kill("SIGTERM");
		await client.until("the end", () => client.closed || client.ended);
		assert.equal(client.answers.length, 0);
		assert.deepEqual(await running.nexus.ended, { code: 0, signal: null });
		assert.match(running.nexus.stderr, /"cut":1,"message":"stopped"|"message":"stopped".*"cut":1/);
	});

	it("twice exits at once, with the code of the second signal", async (t) => {
		for (const [second, code] of [
			["SIGTERM", 143],
			["SIGINT", 130],
		] as const) {
			const { running, port } = await busy(t, "1h");
			running.nexus.process.kill("SIGTERM");
			await eventually("the first is acted on", async () => !(await isTaken(port)));
			running.nexus.process.kill(second);
			assert.deepEqual(await running.nexus.ended, { code, signal: null });
		}
	});

	it("by SIGINT means the same", async (t) => {
		const file = join(temporaryFolder(t, "drain"), "policy.yaml");
		writeFileSync(file, policyOf("127.0.0.1:1"));
		const running = await start(t, file);
		running.nexus.process.kill("SIGINT");
		assert.deepEqual(await running.nexus.ended, { code: 0, signal: null });
	});
});

describe("readiness", { timeout: 120_000 }, () => {
	it("is not there before the first health check is in, says why, comes with it, and goes with a drain", async (t) => {
		const held: ServerResponse[] = [];
		const upstream = await httpServer(t, (_req, res) => held.push(res));
		const [admin = 0, outbound = 0] = await freePorts(2);
		const file = join(temporaryFolder(t, "ready"), "policy.yaml");
		writeFileSync(
			file,
			`service: tested
admin: { listen: "127.0.0.1:${admin}" }
outbound: { listen: "127.0.0.1:${outbound}" }
upstreams:
  payments: { endpoints: [ { address: "${upstream.address}" } ], healthCheck: { interval: 60s, timeout: 60s } }
`,
		);
		const nexus = new NexusProcess(t, ["sidecar", "--config", file]);
		await eventually("the listener is there", () => isTaken(outbound));
		const readyz = async (): Promise<[number, string[]]> => {
			const response = await fetch(`http://127.0.0.1:${admin}/readyz`);
			return [response.status, ((await response.json()) as { reasons: string[] }).reasons];
		};
		await eventually("the check has begun", async () => held.length === 1);
		assert.deepEqual(await readyz(), [503, ["upstream payments: first health check is not in for 1 of its endpoints"]]);
		assert.doesNotMatch(nexus.stderr, /"message":"ready"/);
		held[0]?.writeHead(200).end();
		await nexus.said(/"message":"ready"/, "stderr");
		assert.deepEqual(await readyz(), [200, []]);
		const drain = await fetch(`http://127.0.0.1:${admin}/drain`, { method: "POST" });
		assert.equal(drain.status, 202);
		assert.deepEqual(await readyz(), [503, ["draining"]]);
		// Only the way in is closed: the application still ends what it does.
		assert.equal(await isTaken(outbound), true);
	});
});

describe("a start that cannot be", { timeout: 120_000 }, () => {
	it("for a bad policy exits 1 with every fault, its place and a hint, and binds nothing", async (t) => {
		const [port = 0] = await freePorts(1);
		const file = join(temporaryFolder(t, "bad"), "policy.yaml");
		writeFileSync(file, `service: tested\ninbound: { listen: "127.0.0.1:${port}", aplication: "127.0.0.1:1" }\ndrainTimeout: 5\n`);
		const nexus = new NexusProcess(t, ["sidecar", "--config", file]);
		assert.deepEqual(await nexus.ended, { code: 1, signal: null });
		for (const words of [/policy\.yaml:2:\d+: unknown key `aplication`/, /did you mean `application`\?/, /policy\.yaml:3:15: .*\n/])
			assert.match(nexus.stderr, words);
		assert.equal(nexus.stdout, "");
		assert.equal(await isTaken(port), false);
	});

	it("for a port that is taken exits 1 and names listener, address and place in the policy", async (t) => {
		const taken = await httpServer(t, echo("other process"));
		const folder = temporaryFolder(t, "bad");
		const file = join(folder, "policy.yaml");
		for (const [policy, words] of [
			[
				`service: tested\nadmin: { listen: "127.0.0.1:0" }\ninbound: { listen: "${taken.address}", application: "127.0.0.1:1" }\n`,
				new RegExp(`policy\\.yaml:3:\\d+: inbound cannot listen on ${taken.address}: the port is taken by another process`),
			],
			[
				`service: tested\nadmin: { listen: "${taken.address}" }\noutbound: { listen: "127.0.0.1:0" }\n`,
				/^the admin API cannot listen: .*another process/,
			],
		] as const) {
			writeFileSync(file, policy);
			const nexus = new NexusProcess(t, ["sidecar", "--config", file]);
			assert.deepEqual(await nexus.ended, { code: 1, signal: null });
			assert.match(nexus.stderr, words);
			assert.match(nexus.stderr, new RegExp(`${taken.port}`));
			assert.doesNotMatch(nexus.stderr, /at .*\.ts:\d+/, "words, no stack");
		}
	});

	it("for a file that is not there exits 1 and says so", async (t) => {
		const nexus = new NexusProcess(t, ["sidecar", "--config", join(temporaryFolder(t, "bad"), "none.yaml")]);
		assert.deepEqual(await nexus.ended, { code: 1, signal: null });
		assert.match(nexus.stderr, /none\.yaml:1:1: there is no such file/);
	});
});
