/** `nexus explain` with the state of a running sidecar, fetched from its admin API or read from a file. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { type ExplainOptions, runExplain } from "../../src/cli/explain.ts";
import { silentLogger } from "../../src/core/log.ts";
import { startHttpServer } from "../../src/server/http-server.ts";
import { sendJson, sendProblem } from "../../src/server/problem.ts";
import { captureIo } from "./capture-io.ts";

const FOLDER = mkdtempSync(join(tmpdir(), "nexus-explain-live-"));
after(() => rmSync(FOLDER, { recursive: true }));

function file(name: string, content: unknown): string {
	const path = join(FOLDER, name);
	writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
	return path;
}

const FILE = file(
	"p.yaml",
	`service: a
outbound:
  routes:
    - { name: canary, match: { host: search }, split: [{ to: v1, weight: 3 }, { to: v2, weight: 1 }] }
    - { name: pay, match: { host: pay }, to: pay, rateLimits: [{ name: gentle, requestsPerSecond: 10, key: caller }] }
upstreams:
  pay:
    loadBalancing: maglev
    hashOn: header:x-user
    endpoints: [{ address: h:1 }, { address: h:2 }, { address: h:3 }]
    circuitBreaker: { maxConcurrent: 10 }
  v1: { endpoints: [{ address: h:4 }], circuitBreaker: { failover: [v2] } }
  v2: { endpoints: [{ address: h:5 }], circuitBreaker: { respond: { status: 200, body: "{}", contentType: application/json } } }
`,
);

const COUNTS = { consecutiveFailures: 0, requests: 0, failures: 0, slowCalls: 0 };
const CLOSED = { scope: "upstream", key: "", state: "closed", counts: COUNTS, lastErrors: [], openLeftMs: 0, trips: 0, probes: 0, underWay: 0 };
const OPEN = {
	...CLOSED,
	state: "open",
	counts: { ...COUNTS, consecutiveFailures: 5, requests: 9, failures: 7 },
	lastErrors: ["connect_refused", "503", "503"],
	openLeftMs: 12_000,
};

function endpoint(address: string, more: Record<string, unknown> = {}) {
	return {
		address,
		weight: 1,
		health: "healthy",
		activeRequests: 0,
		requests: 9,
		pool: {},
		ejected: false,
		ejections: {},
		ejectedFor: "",
		ejectionEndsInMs: 0,
		...more,
	};
}

function upstream(name: string, endpoints: unknown[], more: Record<string, unknown> = {}) {
	return {
		name,
		loadBalancing: "maglev",
		resolved: true,
		endpoints,
		breakers: [],
		panic: false,
		panicPicks: 0,
		retryBudget: { balance: 12.7 },
		retries: {},
		...more,
	};
}

async function explain(options: Partial<ExplainOptions>) {
	const io = captureIo({ isTTY: true });
	const code = await runExplain(FILE, { method: "GET", url: "http://pay/x", header: [], direction: "outbound", ...options }, io);
	const lines = io
		.out()
		.split("\n")
		.map((line) =>
			line
				.replace(/^[│├└─ ]+/, "")
				.replace(/\s+/g, " ")
				.trim(),
		);
	return { code, out: io.out(), lines, err: io.err().replaceAll(FOLDER, "") };
}

function has(lines: readonly string[], ...expected: string[]): void {
	for (const line of expected) assert.ok(lines.includes(line), `${line}\nis not in\n${lines.join("\n")}`);
}

const PAY = upstream(
	"pay",
	[
		endpoint("h:1", { activeRequests: 4, latencyMs: 12.34 }),
		endpoint("h:2", { zone: "b", ejected: true, ejectedFor: "consecutive_failures", ejectionEndsInMs: 29_500.2 }),
		endpoint("h:3", { health: "unhealthy" }),
	],
	{ breakers: [CLOSED], concurrency: { limit: 10, active: 10, pending: 2 } },
);

test("endpoints stand with health, ejection, load and score; breaker, concurrency, limit and budget with their state", async () => {
	const state = file("s.json", {
		upstreams: [PAY],
		limits: [
			{
				direction: "outbound",
				place: "route pay",
				limit: "gentle",
				admitted: 90,
				rejected: 4,
				queued: 0,
				timedOut: 0,
				waiting: 3,
				keys: 2,
				overflows: 0,
			},
			{
				direction: "inbound",
				place: "inbound",
				limit: "gentle",
				admitted: 1,
				rejected: 1,
				queued: 0,
				timedOut: 0,
				waiting: 0,
				keys: 1,
				overflows: 0,
			},
		],
		faults: [
			{
				name: "game-day",
				upstream: "pay",
				source: "lease",
				action: { kind: "abort", status: 503 },
				percent: 30,
				endpoints: ["h:1"],
				endsInMs: 540_000,
			},
			{ name: "other", upstream: "v1", source: "lease", action: { kind: "reset" }, percent: 1, endpoints: [], endsInMs: null },
		],
	});
	const { code, lines } = await explain({ state, header: ["x-user: 1"] });
	assert.equal(code, 0);
	has(
		lines,
		"- now: 90 admitted and 4 refused so far, 2 buckets, 3 waiting",
		"no now: 10 of 10 requests under way, 2 waiting",
		"yes now: circuit breaker is closed: 0 failures in a row",
		"yes now: 1 of 3 endpoints usable",
		"h:1 weight 1 health healthy active 4 score 12.3 ms",
		"h:2 weight 1 zone b health healthy active 0 ejected for 29.5s, consecutive_failures",
		"h:3 weight 1 health unhealthy active 0",
		"- now: lease game-day: abort for 30 % of the attempts at h:1, for another 9m",
		"yes now: the budget would grant 12 tries",
	);
	assert.ok(!lines.some((line) => line.includes("lease other")));
	assert.ok(!lines.some((line) => line.includes("1 admitted and 1 refused")));
	const stages = lines.filter((line) => /^[a-z]+$/.test(line));
	assert.deepEqual(stages, ["route", "limit", "deadline", "concurrency", "breaker", "pick", "fault", "retry"]);
});

test("hashing goes on over the endpoints that are left", async () => {
	const left = upstream("pay", [endpoint("h:1", { ejected: true }), endpoint("h:2"), endpoint("h:3")]);
	const picked = new Set<string>();
	for (let user = 0; user < 20; user++) {
		const { lines } = await explain({ state: file("left.json", { upstreams: [left] }), header: [`x-user: ${user}`] });
		const [, address = ""] = /^- now: this request goes to (.*)$/.exec(lines.find((line) => line.startsWith("- now: this request")) ?? "") ?? [];
		picked.add(address);
	}
	assert.deepEqual([...picked].sort(), ["h:2", "h:3"]);
});

test("an open breaker, and no endpoint left, are told as the answer that the request would get", async () => {
	const open = upstream("pay", [endpoint("h:1")], { breakers: [{ ...OPEN, forced: "open" }] });
	const broken = await explain({ state: file("open.json", { upstreams: [open] }) });
	has(
		broken.lines,
		"no now: circuit breaker is open (held so by hand), probes in 12s: 5 failures in a row, 7 of 9 in its window failed; last errors connect_refused, 503 x2",
	);
	assert.match(broken.out, /└─ answer\n {3}└─ no {2}now: 503 breaker_open\. /);
	const none = await explain({ state: file("none.json", { upstreams: [upstream("pay", [endpoint("h:1", { health: "unhealthy" })])] }) });
	assert.match(none.out, /now: 503 no_healthy_endpoint\. /);
	const panic = await explain({
		state: file("panic.json", { upstreams: [upstream("pay", [endpoint("h:1", { health: "unhealthy" })], { panic: true })] }),
	});
	has(panic.lines, "yes now: 0 of 1 endpoints usable; so few that all are used (panic)");
	assert.doesNotMatch(panic.out, /─ answer\n/);
});

test("a breaker of another route or of one endpoint does not answer for the upstream", async () => {
	const breakers = [
		{ ...OPEN, scope: "route", key: "other" },
		{ ...OPEN, scope: "endpoint", key: "h:1", state: "half-open" },
	];
	const { lines, out } = await explain({ state: file("scopes.json", { upstreams: [upstream("pay", [endpoint("h:1")], { breakers })] }) });
	assert.ok(!lines.some((line) => line.includes("route other")));
	assert.ok(lines.some((line) => line.startsWith("yes now: circuit breaker of endpoint h:1 is half-open:")));
	assert.doesNotMatch(out, /─ answer\n/);
	const own = await explain({
		state: file("own.json", { upstreams: [upstream("pay", [endpoint("h:1")], { breakers: [{ ...OPEN, scope: "route", key: "pay" }] })] }),
	});
	assert.match(own.out, /no {2}now: 503 breaker_open/);
});

test("each destination of a split has its own state, together, and fallbacks are told", async () => {
	const state = file("split.json", {
		upstreams: [upstream("v1", [endpoint("h:4")], { breakers: [OPEN] }), upstream("v2", [endpoint("h:5")], { breakers: [OPEN] })],
	});
	const { lines } = await explain({ state, url: "http://search/" });
	const v1 = lines.findIndex((line) => line.startsWith("no v1: now: circuit breaker is open"));
	const v2 = lines.findIndex((line) => line.startsWith("no v2: now: circuit breaker is open"));
	const secondBegins = lines.findIndex((line) => line.includes(" v2: ") && !line.includes("split over"));
	assert.ok(v1 > 0 && v1 < secondBegins && v2 > secondBegins, lines.join("\n"));
	assert.ok(lines.some((line) => line.startsWith("- v1: breaker_open: v2 is asked instead of v1")));
	assert.ok(lines.some((line) => line.startsWith("- v2: breaker_open: answered with 200 of the fallback")));
});

test("an upstream that the sidecar does not know yet, or that has no endpoints yet, is told", async () => {
	has((await explain({ state: file("empty.json", { upstreams: [] }) })).lines, "- now: the running sidecar does not know this upstream");
	const waiting = upstream("pay", [], { resolved: false });
	has((await explain({ state: file("dns.json", { upstreams: [waiting] }) })).lines, "no now: its source has given no endpoints yet");
});

async function sidecar(t: TestContext, broken = ""): Promise<string> {
	const server = await startHttpServer({
		listen: { host: "127.0.0.1", port: 0 },
		log: silentLogger,
		drainTimeoutMs: 0,
		handler: (req, res) => {
			if (req.url === broken) sendProblem(res, { status: 404, title: "There is no such path here." });
			else if (req.url === "/upstreams") sendJson(res, 200, { upstreams: [PAY], listeners: [] });
			else if (req.url === "/limits") sendJson(res, 200, { limits: [] });
			else sendJson(res, 200, { faults: [] });
		},
	});
	t.after(() => server.close());
	return `http://127.0.0.1:${server.address.port}`;
}

test("the state of a running sidecar is fetched, and kept so that it can be asked again", async (t) => {
	const live = await sidecar(t);
	const saved = join(FOLDER, "saved.json");
	const first = await explain({ live, saveState: saved });
	assert.equal(first.code, 0);
	has(first.lines, "yes now: 1 of 3 endpoints usable");
	assert.match((JSON.parse(readFileSync(saved, "utf8")) as { takenAt: string }).takenAt, /^\d{4}-/);
	assert.equal((await explain({ state: saved })).out, first.out);
});

test("the live decisions are in the JSON as well", async (t) => {
	const live = await sidecar(t);
	const io = captureIo();
	assert.equal(await runExplain(FILE, { method: "GET", url: "http://pay/x", header: [], direction: "outbound", live }, io), 0);
	const { decisions } = JSON.parse(io.out()) as {
		decisions: { stage: string; verdict: string; data?: { candidates?: { endpoint: string; health?: string }[] } }[];
	};
	const now = decisions.find(({ data }) => data?.candidates?.[0]?.health !== undefined);
	assert.deepEqual([now?.stage, now?.verdict, now?.data?.candidates?.[2]?.health], ["pick", "yes", "unhealthy"]);
});

test("a state that cannot be had is a clear error with exit code 1", async (t) => {
	const strange = await sidecar(t, "/limits");
	const cases: [Partial<ExplainOptions>, RegExp][] = [
		[{ live: "15000" }, /^--live 15000 is not an http URL/],
		[{ live: "http://127.0.0.1:1" }, /^--live no sidecar answers at http:\/\/127\.0\.0\.1:1: .*(ECONNREFUSED|bad port)/],
		[{ live: strange }, /no sidecar answers at .*GET \/limits gives status 404/],
		[{ state: join(FOLDER, "missing.json") }, /^--state \/missing\.json cannot be read: .*ENOENT/],
		[{ state: file("text.json", "hello") }, /is not JSON; save the state with --save-state/],
		[
			{ state: file("wrong.json", { upstreams: [{ name: "pay", endpoints: [{ address: 7 }] }] }) },
			/is not the state of a sidecar at upstreams\.0\.endpoints\.0\.address/,
		],
		[{ state: file("list.json", []) }, /is not the state of a sidecar/],
		[{ live: strange, state: FILE }, /give one of them/],
		[{ saveState: join(FOLDER, "x") }, /--save-state keeps what a sidecar says: add --live/],
	];
	for (const [options, expected] of cases) {
		const { code, out, err } = await explain(options);
		assert.equal(code, 1, String(expected));
		assert.match(err, expected);
		assert.equal(out, "");
	}
	const { code, err } = await explain({ live: await sidecar(t), saveState: join(FOLDER, "no", "such", "folder") });
	assert.equal(code, 1);
	assert.match(err, /--save-state .* cannot be written: .*ENOENT/);
});
