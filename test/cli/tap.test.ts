/** `nexus tap` against a small server that answers as the admin API of a sidecar does. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { runTap, type TapCommandOptions } from "../../src/cli/tap.ts";
import { decisionsText, readTrace, traceText } from "../../src/cli/trace-text.ts";
import { silentLogger } from "../../src/core/log.ts";
import type { DecisionTrace } from "../../src/policy/decision-trace.ts";
import { type HttpServer, type HttpServerOptions, startHttpServer } from "../../src/server/http-server.ts";
import { sendProblem } from "../../src/server/problem.ts";
import { SseStream } from "../../src/server/sse.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { captureIo } from "./capture-io.ts";

const TRACE: DecisionTrace = {
	id: "r1",
	time: "2026-01-02T03:04:05.678Z",
	direction: "outbound",
	method: "GET",
	host: "payments",
	target: "/pay/1",
	route: "pay",
	upstream: "payments",
	endpoint: "10.0.0.2:80",
	status: 503,
	reason: "connect_refused",
	detail: "ECONNREFUSED",
	attempts: 2,
	durationMs: 41.5,
	policyVersion: 3,
	decisions: [
		{ stage: "route", verdict: "yes", atMs: 0.1, text: "route pay matches", place: { file: "p.yaml", line: 7, column: 7 }, data: undefined },
		{
			stage: "pick",
			verdict: "yes",
			atMs: 0.2,
			text: "10.0.0.1:80 by weighted",
			place: undefined,
			data: {
				panic: false,
				candidates: [
					{ endpoint: "10.0.0.1:80", weight: 2, health: "healthy", ejected: false },
					{ endpoint: "10.0.0.2:80", weight: 1, health: "unknown", ejected: true, latencyMs: 3.5 },
				],
			},
		},
		{ stage: "attempt", verdict: "no", atMs: 12.25, text: "try 1 at 10.0.0.1:80: connect_refused", place: undefined, data: undefined },
		{ stage: "caller", verdict: "note", atMs: 0, text: "told only", place: undefined, data: undefined },
	],
};

const trace = (id: string): string => JSON.stringify({ ...TRACE, id });

async function serve(t: TestContext, handler: HttpServerOptions["handler"]): Promise<{ url: string; server: HttpServer }> {
	const server = await startHttpServer({ listen: { host: "127.0.0.1", port: 0 }, log: silentLogger, handler, drainTimeoutMs: 0 });
	t.after(() => server.close());
	return { url: `http://127.0.0.1:${server.address.port}`, server };
}

const options = (url: string, more: Partial<TapCommandOptions> = {}): TapCommandOptions => ({ url, header: [], json: false, ...more });

/** Waits end at once, so that a test follows the order of things and not the time. */
function instant(abort = new AbortController()) {
	const waits: number[] = [];
	const clock = {
		monotonicMs: () => 0,
		wallMs: () => 0,
		setTimer: (ms: number, callback: () => void) => {
			waits.push(ms);
			setImmediate(callback);
			return { cancel() {} };
		},
	};
	return { waits, abort, context: { clock, signal: abort.signal } };
}

test("a trace is a line for the request and one for each decision, with what it compared and the line of the policy", () => {
	const lines = traceText(TRACE, { colour: false, times: true }).split("\n");
	assert.match(
		lines[0] ?? "",
		/^\d\d:\d\d:05\.678 {2}503 {2}GET payments\/pay\/1 {2}pay -> payments -> 10\.0\.0\.2:80 {2}41\.5 ms {2}2 tries {2}connect_refused: ECONNREFUSED {2}outbound r1$/,
	);
	assert.deepEqual(lines.slice(1), [
		"   0.1 ms  yes  route       route pay matches  p.yaml:7:7",
		"   0.2 ms  yes  pick        10.0.0.1:80 by weighted",
		"                              10.0.0.1:80  weight 2  health healthy",
		"                              10.0.0.2:80  weight 1  health unknown  ejected  latencyMs 3.5",
		"  12.3 ms  no   attempt     try 1 at 10.0.0.1:80: connect_refused",
		"   0.0 ms   -   caller      told only",
		"",
	]);
	assert.match(decisionsText(TRACE.decisions, { colour: false, times: false }), /^ {2}yes {2}route {7}route pay matches {2}p\.yaml:7:7\n/);
});

test("colours stand in a terminal only, and nothing from outside reaches it that it would obey", () => {
	const evil = "\u001b]0;x\u0007\u202e\u009b";
	const text = traceText(
		{
			...TRACE,
			host: evil,
			target: evil,
			detail: evil,
			decisions: [{ stage: "pick", verdict: "no", atMs: 0, text: evil, place: undefined, data: { list: [{ endpoint: evil, deep: [evil] }] } }],
		},
		{ colour: false, times: true },
	);
	assert.doesNotMatch(text, /[\u001b\u0007\u202e\u009b]/);
	const esc = String.fromCharCode(27);
	assert.ok(traceText(TRACE, { colour: true, times: true }).includes(`${esc}[31m503${esc}[0m`));
});

test("more than a screenful of what a decision compared is counted", () => {
	const candidates = Array.from({ length: 25 }, (_, i) => ({ endpoint: `h:${i}` }));
	const text = decisionsText([{ stage: "pick", verdict: "yes", atMs: 0, text: "x", place: undefined, data: { candidates } }], {
		colour: false,
		times: false,
	});
	assert.match(text, /h:19\n +5 further ones \(see --json\)\n$/);
});

test("what is no trace is told from one", () => {
	assert.deepEqual(readTrace(JSON.parse(JSON.stringify(TRACE)))?.id, "r1");
	const broken: unknown[] = [
		null,
		[],
		7,
		{},
		{ ...TRACE, id: 1 },
		{ ...TRACE, status: "200" },
		{ ...TRACE, reason: 1 },
		{ ...TRACE, decisions: {} },
		{ ...TRACE, decisions: [{ ...TRACE.decisions[0], verdict: "toString" }] },
		{ ...TRACE, decisions: [{ ...TRACE.decisions[0], place: { file: "x" } }] },
		{ ...TRACE, decisions: [{ ...TRACE.decisions[0], data: [] }] },
	];
	for (const value of broken) assert.equal(readTrace(value), undefined, JSON.stringify(value));
});

test("filters go to the sidecar as they are; traces are printed, readable or as JSON lines, until there are enough", async (t) => {
	const asked: string[] = [];
	const { url } = await serve(t, (req, res) => {
		asked.push(req.url);
		const stream = SseStream.open(res, { clock: new FakeClock() });
		stream.send({ event: "trace", data: trace("1") });
		stream.send({ event: "dropped", data: '{"dropped":7}' });
		stream.send({ event: "trace", data: trace("2") });
		stream.send({ event: "trace", data: trace("3") });
	});
	const io = captureIo();
	const filters = {
		route: "a&b",
		upstream: "payments",
		status: "5xx",
		reason: "breaker_open",
		method: "GET",
		host: "*.mesh",
		header: ["x-a:1", "x-b:2"],
		minDuration: "250ms",
		rate: 5,
	};
	assert.equal(await runTap(options(url, { ...filters, limit: 2 }), io), 0);
	assert.deepEqual(asked, [
		"/tap?route=a%26b&upstream=payments&status=5xx&reason=breaker_open&method=GET&host=*.mesh&min-duration=250ms&rate=5&header=x-a%3A1&header=x-b%3A2",
	]);
	assert.match(io.out(), /outbound 1\n(.*\n)*.*outbound 2\n/);
	assert.doesNotMatch(io.out(), /outbound 3\n/);
	assert.match(io.err(), /^tapping http:\/\/127\.0\.0\.1:\d+; Ctrl-C ends it\n7 more were left out; see --rate\n$/);

	const json = captureIo();
	assert.equal(await runTap(options(url, { json: true, limit: 3 }), json), 0);
	const lines = json.out().trimEnd().split("\n");
	assert.deepEqual(
		lines.map((line) => (JSON.parse(line) as DecisionTrace).id),
		["1", "2", "3"],
	);
});

test("a stream that breaks is connected again, with a message and growing waits", async (t) => {
	let calls = 0;
	const { url } = await serve(t, (_req, res) => {
		calls++;
		if (calls === 2) {
			sendProblem(res, { status: 503, title: "There are 16 event streams already." });
			return;
		}
		const stream = SseStream.open(res, { clock: new FakeClock() });
		stream.send({ event: "trace", data: trace(String(calls)) });
		stream.close();
	});
	const io = captureIo();
	const { waits, context } = instant();
	assert.equal(await runTap(options(url, { limit: 2, json: true }), io, context), 0);
	assert.deepEqual(waits, [1000, 2000]);
	assert.match(
		io.err(),
		/^tapping .*\nthe stream broke \(it ended\); connecting again in 1 s\nthe stream broke \(There are 16 event streams already\.\); connecting again in 2 s\nconnected again\n$/,
	);
});

test("Ctrl-C ends it with 0, while it listens and while it waits to connect again", async (t) => {
	const listening = new AbortController();
	const { url } = await serve(t, (_req, res) => {
		SseStream.open(res, { clock: new FakeClock() });
		setImmediate(() => listening.abort());
	});
	assert.equal(await runTap(options(url), captureIo(), instant(listening).context), 0);

	const { url: ending } = await serve(t, (_req, res) => SseStream.open(res, { clock: new FakeClock() }).close());
	const waiting = new AbortController();
	const clock = {
		monotonicMs: () => 0,
		wallMs: () => 0,
		setTimer: () => {
			setImmediate(() => waiting.abort());
			return { cancel() {} };
		},
	};
	assert.equal(await runTap(options(ending), captureIo(), { clock, signal: waiting.signal }), 0);
});

test("a sidecar that is not there, refuses the filter, or is something else is a clear error with exit code 1", async (t) => {
	const { url: refusing } = await serve(t, (_req, res) =>
		sendProblem(res, { status: 400, title: "The query is wrong.", detail: 'status "6xx" is odd' }),
	);
	const { url: stranger } = await serve(t, (_req, res) => void res.writeHead(200, { "content-type": "text/html" }).end("<html>"));
	const { url: nexus } = await serve(t, (_req, res) => sendProblem(res, { status: 404, title: "There is no such path." }));
	const { url: busy } = await serve(t, (_req, res) => sendProblem(res, { status: 503, title: "There are 16 event streams already." }));
	const { url: gone, server } = await serve(t, () => {});
	await server.close();
	const cases: [string, RegExp][] = [
		[refusing, /^nexus tap: The query is wrong\. status "6xx" is odd\n$/],
		[stranger, /status 200 from something that is not the admin API of a sidecar/],
		[nexus, /status 404 from something that is not the admin API of a sidecar/],
		[busy, /There are 16 event streams already\.\n$/],
		[gone, /no sidecar answers at http:\/\/127\.0\.0\.1:\d+: .*ECONNREFUSED.* Is it running, and is this its admin address\?\n$/],
		["15000", /15000 is not an http URL, as in http:\/\/127\.0\.0\.1:15000/],
		["ftp://x", /not an http URL/],
	];
	for (const [url, expected] of cases) {
		const io = captureIo();
		assert.equal(await runTap(options(url), io), 1);
		assert.equal(io.out(), "");
		assert.match(io.err(), expected);
	}
});
