/** `nexus events` against a small server that answers as Nexus does; a Nexus itself is tested in test/nexus/. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { eventLine } from "../../src/cli/event-line.ts";
import { type EventsOptions, runEvents } from "../../src/cli/events.ts";
import { SseReader } from "../../src/client/sse-reader.ts";
import { silentLogger } from "../../src/core/log.ts";
import { type HttpServer, type HttpServerOptions, startHttpServer } from "../../src/server/http-server.ts";
import { sendJson, sendProblem } from "../../src/server/problem.ts";
import { SseStream } from "../../src/server/sse.ts";
import { FakeClock } from "../support/fake-clock.ts";

function item(sequence: number, type = "nexus.mesh.sidecar.stopped", data: unknown = { uptimeMs: 5000, cut: 0 }) {
	return {
		sequence,
		receivedAt: "2026-01-02T03:04:05.678Z",
		event: { specversion: "1.0", id: String(sequence), source: "/mesh/shop/a1", type, priority: 5, data },
	};
}

function memoryIo(isTTY = false) {
	const out: string[] = [];
	const err: string[] = [];
	return {
		stdout: { write: (text: string) => void out.push(text), isTTY, columns: 100 },
		stderr: { write: (text: string) => void err.push(text), isTTY, columns: 100 },
		colour: false,
		out: () => out.join(""),
		err: () => err.join(""),
	};
}

async function serve(t: TestContext, handler: HttpServerOptions["handler"]): Promise<{ url: string; server: HttpServer }> {
	const server = await startHttpServer({ listen: { host: "127.0.0.1", port: 0 }, log: silentLogger, handler, drainTimeoutMs: 0 });
	t.after(() => server.close());
	return { url: `http://127.0.0.1:${server.address.port}`, server };
}

const options = (url: string, more: Partial<EventsOptions> = {}): EventsOptions => ({ url, follow: false, ...more });

test("without a start the latest events are asked for, and printed oldest first, as JSON lines in a pipe", async (t) => {
	const asked: string[] = [];
	const { url } = await serve(t, (req, res) => {
		asked.push(req.url);
		sendJson(res, 200, asked.length === 1 ? { events: [item(9), item(8)], next: 8 } : { events: [item(7)], next: null });
	});
	const io = memoryIo();
	assert.equal(await runEvents(options(url, { limit: 5, type: "nexus.*" }), io), 0);
	assert.deepEqual(asked, ["/v1/events?type=nexus.*&order=desc&limit=5", "/v1/events?type=nexus.*&order=desc&limit=3&after=8"]);
	assert.deepEqual(
		io
			.out()
			.trimEnd()
			.split("\n")
			.map((line) => (JSON.parse(line) as { sequence: number }).sequence),
		[7, 8, 9],
	);
});

test("since counts back from now; after and order go to Nexus as they are", async (t) => {
	const asked: string[] = [];
	const { url } = await serve(t, (req, res) => {
		asked.push(req.url);
		sendJson(res, 200, { events: [item(1)], next: null });
	});
	const context = { clock: new FakeClock(Date.UTC(2026, 0, 1, 12)), signal: new AbortController().signal };
	assert.equal(
		await runEvents(options(url, { since: "10m", until: "2026-01-01T12:00:00+01:00", source: "/s", subject: "x y" }), memoryIo(), context),
		0,
	);
	assert.equal(await runEvents(options(url, { after: 5, order: "desc", limit: 2000 }), memoryIo(), context), 0);
	assert.deepEqual(asked, [
		"/v1/events?source=%2Fs&subject=x+y&since=2026-01-01T11%3A50%3A00.000Z&until=2026-01-01T11%3A00%3A00.000Z&limit=100",
		"/v1/events?after=5&order=desc&limit=256",
	]);
});

test("in a terminal an event is one line, cut to the width, and cannot move the cursor", async (t) => {
	const strange = item(3, "order\u001b[2J\u009b", "\u202e");
	const evil = item(2, "order.\u202eplaced", { text: "\u001b]0;x\u0007\u202e".repeat(50) });
	const { url } = await serve(t, (_req, res) => sendJson(res, 200, { events: [strange, evil, item(1)], next: null }));
	const io = memoryIo(true);
	assert.equal(await runEvents(options(url), io), 0);
	const lines = io.out().trimEnd().split("\n");
	assert.match(lines[0] ?? "", /^\d\d:\d\d:05\.678 info sidecar\.stopped\s+shop\/a1\s+after 5 s, 0 cut$/);
	for (const line of lines) assert.doesNotMatch(line, /[\u001b\u0007\u009b\u202e]/);
	assert.ok((lines[1] ?? "").length <= 100);
	// What is no CloudEvent is shown rather than hidden, with nothing in it that a terminal obeys.
	assert.deepEqual(JSON.parse(lines[2] ?? ""), strange);
	assert.equal(lines.length, 3);
});

test("every kind of event of the mesh has a gist, and data of another shape is shown as it is", () => {
	const line = (type: string, data: unknown): string =>
		eventLine({ ...item(1), event: { ...item(1).event, specversion: "1.0", type, data } }, { colour: false, columns: 200 });
	const latency = { boundsMs: [], counts: [], sumMs: 30 };
	assert.match(
		line("nexus.mesh.traffic.routed", { direction: "outbound", route: "pay", upstream: "payments", outcome: "2xx", count: 3, latency }),
		/outbound pay -> payments 2xx x3, mean 10\.0 ms$/,
	);
	assert.match(
		line("nexus.mesh.endpoint.unhealthy", { upstream: "u", endpoint: "10.0.0.1:80", kind: "http", lastError: "503", consecutive: 3 }),
		/u 10\.0\.0\.1:80 \(http\): 503, 3 in a row$/,
	);
	assert.match(
		line("nexus.mesh.policy.applied", { version: 2, hash: "abc", changed: { upstreams: ["a", "b"], routes: [] } }),
		/version 2 \(abc\) upstreams: a, b$/,
	);
	assert.match(
		line("nexus.mesh.policy.rejected", { faults: [{ place: "p.yaml:1:2", message: "unknown key", hint: "" }] }),
		/p\.yaml:1:2 unknown key$/,
	);
	assert.match(
		line("nexus.mesh.endpoint.ejected", { upstream: "u", endpoint: "h:1", forMs: 30_000, cause: "success_rate", ejections: 2, policy: "p.yaml:4:5" }),
		/u h:1 for 30 s \(success_rate, time 2\), p\.yaml:4:5$/,
	);
	assert.match(
		line("nexus.mesh.endpoint.returned", { upstream: "u", endpoint: "h:1", cause: "success_rate", ejections: 2, policy: "", by: "time" }),
		/u h:1 by time, was out for success_rate$/,
	);
	assert.match(
		line("nexus.mesh.retry.budget_exhausted", { windowMs: 1000, upstream: "u", refused: 7, policy: "p.yaml:4:5" }),
		/u: 7 tries not made in 1 s, p\.yaml:4:5$/,
	);
	assert.match(
		line("nexus.mesh.rate_limit.exceeded", {
			windowMs: 1000,
			direction: "inbound",
			limit: "per-caller",
			policy: "",
			refused: 9,
			top: [
				{ key: "a", refused: 6 },
				{ key: "b", refused: 3 },
			],
		}),
		/inbound per-caller: 9 refused in 1 s, most for a x6, b x3$/,
	);
	assert.match(
		line("nexus.mesh.fault.injected", { windowMs: 1000, fault: "f1", upstream: "u", kind: "abort", count: 3, endpoints: ["h:1", "h:2"] }),
		/f1 \(abort\) x3 to u at h:1, h:2$/,
	);
	assert.match(
		line("nexus.chaos.inject.failure", {
			fault: "f1",
			upstream: "u",
			kind: "delay",
			percent: 5,
			change: "added",
			expiresAt: "2026-01-02T03:04:05.000Z",
		}),
		/f1 added: delay of 5 % to u, until 2026-01-02T03:04:05\.000Z$/,
	);
	const breaker = { dependency: "u", scope: "endpoint", scopeKey: "h:1", cause: "5 failures in a row", policy: "p.yaml:9:3" };
	assert.match(
		line("nexus.circuit_breaker.tripped", { ...breaker, openForMs: 60_000 }),
		/u \(h:1\) open for 60 s: 5 failures in a row, p\.yaml:9:3$/,
	);
	assert.match(line("nexus.circuit_breaker.half_open", { ...breaker, cause: "its time is over" }), /u \(h:1\) half-open: its time is over$/);
	assert.match(line("nexus.circuit_breaker.reset", { ...breaker, scopeKey: "", cause: "2 successes" }), /u closed: 2 successes$/);
	assert.match(line("nexus.mesh.policy.rejected", { faults: 7 }), /\{"faults":7\}$/);
	assert.match(line("toString", 5), / 5$/);
});

test("a follower prints what comes, resumes behind the last event after a break, and says so", async (t) => {
	const resumed: (string | undefined)[] = [];
	const clock = new FakeClock();
	const { url } = await serve(t, (req, res) => {
		resumed.push(req.header("last-event-id"));
		const stream = SseStream.open(res, { clock });
		if (resumed.length === 1) {
			stream.sendFrame("id: 4\n\n");
			stream.close();
		} else if (resumed.length === 2) {
			stream.send({ id: 5, data: JSON.stringify(item(5)) });
			stream.send({ event: "gap", data: '{"first":6,"last":7}' });
			stream.close();
		} else stream.send({ id: 8, data: JSON.stringify(item(8)) });
	});
	const io = memoryIo();
	const waits: number[] = [];
	// Waits end at once, so that the test follows the order of things and not the time.
	const instant = {
		...clock,
		monotonicMs: () => 0,
		wallMs: () => 0,
		setTimer: (ms: number, callback: () => void) => {
			waits.push(ms);
			setImmediate(callback);
			return { cancel() {} };
		},
	};
	assert.equal(await runEvents(options(url, { follow: true, limit: 2 }), io, { clock: instant, signal: new AbortController().signal }), 0);
	assert.deepEqual(resumed, [undefined, "4", "5"]);
	assert.deepEqual(waits, [1000, 1000]);
	assert.deepEqual(
		io
			.out()
			.trimEnd()
			.split("\n")
			.map((line) => (JSON.parse(line) as { sequence: number }).sequence),
		[5, 8],
	);
	assert.match(
		io.err(),
		/the stream broke \(it ended\); connecting again in 1 s, to go on after sequence 4\nconnected again\nthese events cannot be read any more: \{"first":6,"last":7\}\n/,
	);
});

test("following ends with 0 when it is told to stop, also while it waits to connect again", async (t) => {
	const clock = new FakeClock();
	const { url } = await serve(t, (_req, res) => SseStream.open(res, { clock }).close());
	const abort = new AbortController();
	const stopping = {
		monotonicMs: () => 0,
		wallMs: () => 0,
		setTimer: () => {
			setImmediate(() => abort.abort());
			return { cancel() {} };
		},
	};
	assert.equal(await runEvents(options(url, { follow: true }), memoryIo(), { clock: stopping, signal: abort.signal }), 0);
});

test("a Nexus that is not there, refuses, or is something else is a clear error with exit code 1", async (t) => {
	const { url: problem } = await serve(t, (_req, res) => sendProblem(res, { status: 400, title: "The query is not valid.", detail: "type is odd" }));
	const { url: stranger } = await serve(t, (_req, res) => void res.writeHead(404).end("<html>"));
	const { url: gone, server } = await serve(t, () => {});
	await server.close();
	const errorOf = async (url: string, more: Partial<EventsOptions> = {}): Promise<string> => {
		const io = memoryIo();
		assert.equal(await runEvents(options(url, more), io), 1);
		assert.equal(io.out(), "");
		return io.err();
	};
	for (const follow of [false, true]) {
		assert.match(await errorOf(problem, { follow }), /^nexus events: The query is not valid\. type is odd\n$/);
		assert.match(await errorOf(stranger, { follow }), /status 404 from something that is not Nexus/);
		assert.match(await errorOf(gone, { follow }), /Nexus does not answer at http:\/\/127\.0\.0\.1:\d+: .*ECONNREFUSED.*nexus serve/);
	}
	assert.match(await errorOf("nowhere"), /--url nowhere is not an http URL/);
	assert.match(await errorOf("http://127.0.0.1:1", { since: "last week" }), /--since last week is neither a time/);
	assert.match(await errorOf("http://127.0.0.1:1", { follow: true, order: "asc" }), /leave out --until and --order/);
});

test("a stream that is cut at any byte gives the same events", () => {
	const text = 'id: 3\n\n: comment\nid: 4\r\ndata: {"a":\r\ndata:1}\n\nevent: gap\ndata: x\n\nretry: 5\ndata\n\ndata: unfinished';
	const expected = [
		{ id: "4", event: "message", data: '{"a":\n1}' },
		{ id: "4", event: "gap", data: "x" },
		{ id: "4", event: "message", data: "" },
	];
	for (let cut = 0; cut <= text.length; cut++) {
		const reader = new SseReader("");
		assert.deepEqual([...reader.push(text.slice(0, cut)), ...reader.push(text.slice(cut))], expected, String(cut));
		assert.equal(reader.lastId, "4");
	}
	assert.throws(() => new SseReader("").push("x".repeat(2 * 1024 * 1024 + 1)), /a line that does not end/);
	const lines = new SseReader("");
	assert.throws(() => {
		for (;;) lines.push(`data: ${"x".repeat(1000)}\n`);
	}, /an event that does not end/);
});
