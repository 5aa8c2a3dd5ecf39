/** The resilience bench: its story, its settings, its crowd of clients, and the whole of it on a real mesh. Never its timings. */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { findCores } from "../../bench/machine.ts";
import { nowMs } from "../../bench/metronome.ts";
import { barePolicy, fullPolicy } from "../../bench/peers/ours-policies.ts";
import { envoyConfig } from "../../bench/resilience/envoy-config.ts";
import type { Cell, Row } from "../../bench/resilience/measure.ts";
import { nexusPolicy } from "../../bench/resilience/nexus-policy.ts";
import { parseResilienceOptions } from "../../bench/resilience/options.ts";
import { sumOf } from "../../bench/resilience/proxies.ts";
import { judgeResilience, type ResilienceResults, resilienceTables } from "../../bench/resilience/report.ts";
import type { CrowdRequest, CrowdResult } from "../../bench/resilience/run-crowd.ts";
import { SCENARIO_NAMES, scenarioOf } from "../../bench/resilience/scenarios.ts";
import { parseManner } from "../../bench/resilience/service-options.ts";
import { FEATURES, SETUPS } from "../../bench/resilience/settings.ts";
import { formatFaults, loadPolicy } from "../../src/policy/load.ts";
import { eventually, freePorts } from "../support/processes.ts";

const CROWD = fileURLToPath(new URL("../../bench/resilience/crowd.ts", import.meta.url));
const BENCH = fileURLToPath(new URL("../../bench/main.ts", import.meta.url));
const PORTS = { port: 1, adminPort: 2 };
const ADDRESSES = ["127.0.0.1:21001", "127.0.0.1:21002"];

const cores = findCores();
const skip = "problem" in cores ? cores.problem : false;

describe("the command line", () => {
	const optionsOf = (...argv: string[]) => {
		const parsed = parseResilienceOptions(argv);
		assert.ok(parsed.kind === "run", JSON.stringify(parsed));
		return parsed.options;
	};

	it("runs every scenario against every setup without options", () => {
		const { scenarios, setups, seconds, connections } = optionsOf();
		assert.deepEqual([scenarios.length, setups.length, seconds, connections], [6, 11, 10, 200]);
	});

	it("runs two scenarios for 3 s when quick, and single options still win", () => {
		const quick = optionsOf("--quick", "--only", "nexus-all");
		assert.deepEqual(quick.scenarios, ["dies", "fails-fast"]);
		assert.equal(quick.seconds, 3);
		assert.deepEqual(
			quick.setups.map(({ name }) => name),
			["nexus-all"],
		);
	});

	it("refuses what makes no sense with what would", () => {
		const messageOf = (...argv: string[]) => {
			const parsed = parseResilienceOptions(argv);
			return parsed.kind === "wrong" ? parsed.message : parsed.kind;
		};
		assert.match(messageOf("--scenarios", "explodes"), /does not know "explodes"; it knows dies, hangs/);
		assert.match(messageOf("--only", "nginx-all"), /it knows nexus-off/);
		assert.match(messageOf("--rate", "-1"), /--rate/);
		assert.match(messageOf("--quick", "--docs"), /mean nothing/);
		assert.equal(messageOf("--help"), "help");
	});
});

describe("the scenarios", () => {
	for (const name of SCENARIO_NAMES) {
		for (const seconds of [3, 10]) {
			it(`${name}, ${seconds} s: happens between 30 % and 70 % of the run, in order, and ends with all endpoints as they were`, () => {
				const { steps } = scenarioOf(name, seconds * 1000, 5);
				const times = steps.map(({ atMs }) => atMs);
				assert.deepEqual(
					times,
					times.toSorted((a, b) => a - b),
				);
				assert.ok(times.every((atMs) => atMs >= seconds * 300 && atMs <= seconds * 700));
				const undone = { kill: "start", pause: "resume", slow: "heal", fail: "heal", restart: "restart" } as Record<string, string>;
				for (const endpoint of new Set(steps.map((step) => step.endpoint))) {
					const own = steps.filter((step) => step.endpoint === endpoint).map(({ action }) => action);
					assert.equal(own.at(-1), undone[own[0] ?? ""]);
				}
			});
		}
	}

	it("take an instance at its word only where it makes sense", () => {
		assert.deepEqual(parseManner({ latencyFactor: "20" }), { latencyFactor: 20, failureRate: 0 });
		assert.throws(() => parseManner({ failureRate: "2" }), /failureRate is 0\.\.1, not "2"/);
		assert.throws(() => parseManner({ latencyFactor: "much" }), /latencyFactor is above 0/);
	});
});

describe("the setups", () => {
	for (const { name, features } of SETUPS.filter(({ proxy }) => proxy === "nexus")) {
		it(`${name} is a policy that our sidecar takes`, () => {
			const text = nexusPolicy(PORTS, ADDRESSES, features);
			const loaded = loadPolicy(text, "policy.yaml", {}, 1);
			assert.ok(loaded.ok, loaded.ok ? "" : formatFaults(loaded.faults, text));
			const upstream = loaded.snapshot.upstreams.get("orders");
			assert.equal(upstream?.outlierDetection.enabled, features.includes("outlier-ejection"));
			assert.equal(upstream?.circuitBreaker !== undefined, features.includes("breaker"));
			assert.equal(upstream?.retry.hedge !== undefined, features.includes("hedging"));
			assert.equal(upstream?.retry.attempts, features.includes("retries") || features.includes("per-try-timeout") ? 2 : 0);
		});
	}

	it("give Envoy the like of each feature, and none of it without", () => {
		const words = [
			"num_retries",
			"previous_hosts",
			"outlier_detection",
			"retry_budget",
			"health_checks",
			"per_try_timeout",
			"hedge_on_per_try_timeout",
		];
		const [all, off] = [envoyConfig(PORTS, ADDRESSES, FEATURES), envoyConfig(PORTS, ADDRESSES, [])];
		for (const word of [...words, "LEAST_REQUEST"]) {
			assert.ok(all.includes(word), word);
			assert.ok(!off.includes(word), word);
		}
	});

	it("of the throughput bench are policies that our sidecar takes", () => {
		const ports = { ...PORTS, originPort: 3, accessLog: false };
		for (const text of [barePolicy(ports), fullPolicy(ports)]) {
			const loaded = loadPolicy(text, "policy.yaml", {}, 1);
			assert.ok(loaded.ok, loaded.ok ? "" : formatFaults(loaded.faults, text));
		}
		assert.equal(fullPolicy(ports).match(/- \{ name: /g)?.length, 100);
	});
});

describe("the figures", () => {
	const cell = (succeeded: number, p99Ms: number): Cell => ({
		requests: 100,
		succeeded,
		failures: succeeded === 100 ? {} : { "503": 100 - succeeded },
		p50Ms: 1,
		p99Ms,
		p999Ms: p99Ms,
		sentLateMaxMs: 1,
		faultyShare: 0.2,
		retries: 3,
		proxyBusy: 0.1,
	});
	const row = (setup: string, cells: Cell[], faults: string[] = []): Row => ({ scenario: "dies", title: "It dies", setup, cells, faults });
	const outcomeOf = (ours: Row, theirs: Row) => judgeResilience([ours, theirs])[0]?.outcome;

	it("are medians over the rounds, and met where none is worse than Envoy's and p99 is lower", () => {
		const envoy = row("envoy-all", [cell(98, 30), cell(99, 40), cell(97, 35)]);
		assert.equal(outcomeOf(row("nexus-all", [cell(98, 30), cell(90, 33), cell(99, 90)]), envoy), "met");
		assert.equal(outcomeOf(row("nexus-all", [cell(97, 30)]), envoy), "missed");
		assert.equal(outcomeOf(row("nexus-all", [cell(99, 37)]), envoy), "missed");
		// A millisecond either way is noise.
		assert.equal(outcomeOf(row("nexus-all", [cell(99, 36)]), envoy), "tie");
		assert.equal(outcomeOf(row("nexus-all", [cell(99, 34)]), envoy), "tie");
	});

	it("count for nothing where a round could not be measured, and say so below the table", () => {
		const rows = [row("nexus-all", [cell(100, 1)], ["round 2: the proxy ended"]), row("envoy-all", [cell(90, 9)])];
		assert.equal(judgeResilience(rows)[0]?.outcome, "invalid");
		const tables = resilienceTables({ rows } as unknown as ResilienceResults);
		assert.deepEqual(tables.at(-1)?.notes, ["INVALID: nexus-all: round 2: the proxy ended"]);
		assert.deepEqual(judgeResilience(rows.slice(0, 1)), []);
	});

	it("of a proxy are added up over all lines that count", () => {
		assert.equal(sumOf("a::rq_total::5\nb::rq_total::7\na::cx_fail::2\n", /^a::\w+::(\d+)$/gm), 7);
		assert.equal(sumOf("nothing", /^(\d+)$/gm), 0);
	});
});

describe("the crowd", () => {
	it("counts every request once, by what became of it", async (t) => {
		const good = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
		const answers = new Map([
			[30, "HTTP/1.1 503 Service Unavailable\r\nx-nexus-reason: breaker_open\r\ncontent-length: 0\r\n\r\n"],
			[31, "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"],
			[32, "close"],
			[33, "silence"],
		]);
		const port = await serve(t, (count) => answers.get(count) ?? good);
		const result = await crowd({ port, rate: 200, warmSeconds: 0.1, seconds: 0.4, connections: 4, patienceMs: 1000 });
		assert.equal(result.requests, 80);
		assert.equal(result.succeeded, 76);
		assert.deepEqual(result.failures, { "503 breaker_open": 1, "503": 1, closed: 1, "gave up": 1 });
		assert.ok(result.p50Ms > 0 && result.p50Ms <= result.p99Ms && result.p99Ms <= result.p999Ms);
	});

	it("tells those who never got a connection apart from those who were kept waiting", async (t) => {
		const kept = await serve(t, () => "silence");
		const load = { rate: 100, warmSeconds: 0, seconds: 0.2, patienceMs: 1000 };
		assert.deepEqual((await crowd({ ...load, port: kept, connections: 20 })).failures, { "gave up": 20 });
		const [closed = 0] = await freePorts(1);
		assert.deepEqual((await crowd({ ...load, port: closed, connections: 20 })).failures, { "no free connection": 20 });
	});
});

describe("the whole of it", () => {
	it("measures our sidecar with everything off and on while an endpoint dies and while it fails", { skip }, async () => {
		const { stdout } = await promisify(execFile)(process.execPath, [BENCH, "resilience", "--quick", "--only", "nexus-off,nexus-all", "--json"]);
		const results = JSON.parse(stdout) as ResilienceResults;
		assert.equal(results.quick, true);
		assert.deepEqual(
			results.rows.map(({ scenario, setup }) => `${scenario} ${setup}`),
			["dies nexus-off", "dies nexus-all", "fails-fast nexus-off", "fails-fast nexus-all"],
		);
		for (const { setup, scenario, cells, faults } of results.rows) {
			assert.deepEqual(faults, [], `${scenario} ${setup}`);
			assert.equal(cells[0]?.requests, 600);
			const failed = Object.values(cells[0]?.failures ?? {}).reduce((sum, count) => sum + count, 0);
			assert.equal(failed + (cells[0]?.succeeded ?? 0), 600);
		}
		// Round robin without any defence: whatever the machine does, the endpoint that fails gets its share, and nothing is tried again.
		const undefended = results.rows[2]?.cells[0];
		assert.ok((undefended?.failures["503"] ?? 0) > 0, JSON.stringify(undefended));
		assert.equal(undefended?.retries, 0);
	});

	it("ends what it has started and removes its files when it is interrupted", { skip }, async (t) => {
		const folder = mkdtempSync(join(tmpdir(), "nexus-bench-test-"));
		t.after(() => rmSync(folder, { recursive: true, force: true }));
		const bench = spawn(process.execPath, [BENCH, "resilience", "--quick", "--only", "nexus-off"], {
			stdio: "ignore",
			env: { ...process.env, TMPDIR: folder },
		});
		t.after(() => bench.kill("SIGKILL"));
		const exited = new Promise<number | null>((resolve) => bench.once("exit", resolve));
		// Five instances, the sidecar and the crowd.
		await eventually("the mesh runs", async () => childrenOf(bench).length >= 7);
		const started = childrenOf(bench);
		bench.kill("SIGINT");
		assert.equal(await exited, 130);
		assert.deepEqual(started.filter(isAlive), []);
		assert.deepEqual(readdirSync(folder), []);
	});
});

/** Answers each request with what `answer` returns, counted over all connections; "close" ends the connection, "silence" says nothing. */
async function serve(t: TestContext, answer: (count: number) => string): Promise<number> {
	const sockets = new Set<Socket>();
	let count = 0;
	const server = createServer((socket) => {
		sockets.add(socket);
		socket.on("error", () => undefined);
		socket.on("data", () => {
			const reply = answer(++count);
			if (reply === "close") socket.destroy();
			else if (reply !== "silence") socket.write(reply);
		});
	});
	t.after(() => {
		for (const socket of sockets) socket.destroy();
		server.close();
	});
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	return (server.address() as AddressInfo).port;
}

async function crowd(request: Omit<CrowdRequest, "host" | "path" | "startMs">): Promise<CrowdResult> {
	// Long enough for a process to start on a busy machine; what is due earlier is sent late, and counts.
	const whole: CrowdRequest = { ...request, host: "orders", path: "/", startMs: nowMs() + 2000 };
	const { stdout } = await promisify(execFile)(process.execPath, [CROWD, JSON.stringify(whole)]);
	return JSON.parse(stdout) as CrowdResult;
}

function childrenOf({ pid }: ChildProcess): number[] {
	const file = `/proc/${pid}/task/${pid}/children`;
	if (!existsSync(file)) return [];
	return readFileSync(file, "latin1").split(" ").filter(Boolean).map(Number);
}

function isAlive(pid: number): boolean {
	// A zombie is dead: its parent has not looked yet.
	return existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
}
