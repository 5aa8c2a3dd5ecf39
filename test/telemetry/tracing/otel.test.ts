import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { type TestContext, test } from "node:test";
import { IdSource } from "../../../src/core/ids.ts";
import { type Logger, silentLogger } from "../../../src/core/log.ts";
import type { ExchangeRecord } from "../../../src/telemetry/access-record.ts";
import { type OtelOptions, openOtelSpans } from "../../../src/telemetry/tracing/otel.ts";
import type { SpanSource, SpanStart } from "../../../src/telemetry/tracing/span-source.ts";
import { parseTraceparent } from "../../../src/telemetry/tracing/trace-context.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { recordOtlp } from "./otlp-recorder.ts";
import { decision } from "./support.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const PARENT = "b7ad6b7169203331";
const SAMPLED = `00-${TRACE}-${PARENT}-01`;
const NOT_SAMPLED = `00-${TRACE}-${PARENT}-00`;
const START_MS = Date.UTC(2026, 0, 1);

function start(more: Partial<SpanStart> = {}): SpanStart {
	return {
		traceparent: SAMPLED,
		tracestate: "",
		baggage: "user=secret",
		method: "GET",
		target: "/pay/1?full=1",
		host: "payments:8080",
		direction: "outbound",
		startWallMs: START_MS,
		service: "checkout",
		...more,
	};
}

function record(more: Partial<ExchangeRecord> = {}): ExchangeRecord {
	return {
		direction: "outbound",
		method: "GET",
		target: "/pay/1?full=1",
		host: "payments:8080",
		route: "pay",
		upstream: "payments",
		endpoint: "10.0.0.2:80",
		status: 200,
		reason: undefined,
		detail: "",
		requestId: "req-1",
		traceparent: "",
		clientAddress: "127.0.0.1",
		caller: "",
		attempts: 2,
		bytesIn: 3,
		bytesOut: 100,
		durationMs: 41.5,
		upstreamMs: 20,
		...more,
	};
}

async function open(t: TestContext, otlpUrl: string, more: Partial<OtelOptions> = {}): Promise<{ source: SpanSource; clock: FakeClock }> {
	const clock = new FakeClock(START_MS);
	const options = {
		otlpUrl,
		sample: 0,
		service: "checkout",
		instance: "i1",
		version: "1.2.3",
		clock,
		rng: () => 0.5,
		ids: new IdSource(),
		log: silentLogger,
	};
	const source = await openOtelSpans({ ...options, ...more });
	t.after(() => {
		const closed = source.close(0);
		clock.advance(0);
		return closed;
	});
	return { source, clock };
}

test("an exchange with two tries arrives as a server span with two client spans, in the words of the conventions", async (t) => {
	const collector = await recordOtlp(t);
	const { source, clock } = await open(t, `${collector.url}/`);
	const exchange = source.begin(start({ tracestate: "vendor=a,other=b" }));
	assert.ok(exchange);
	clock.advance(1);
	const first = exchange.attempt(1, "10.0.0.1:80");
	clock.advance(12);
	first.end(503, undefined, "");
	clock.advance(25);
	const second = exchange.attempt(2, "[::1]:8080");
	clock.advance(3.5);
	second.end(200, undefined, "");
	second.end(500, "upstream_reset", "late");
	const place = { file: "/etc/p.yaml", line: 12, column: 7 };
	exchange.end(record(), [decision({ place }), decision({ stage: "retry", verdict: "yes", atMs: 13, text: "tried again after 25 ms" })]);
	await source.close(60_000);

	assert.deepEqual(source.stats, { ended: 3, dropped: 0 });
	const [one, two, server] = await collector.received(3);
	assert.ok(one && two && server);
	assert.equal(server.name, "GET pay");
	assert.equal(server.kind, 2);
	assert.deepEqual([server.traceId, server.parentSpanId, server.traceState, server.status], [TRACE, PARENT, "vendor=a,other=b", 0]);
	assert.deepEqual([server.startMs, server.endMs], [START_MS, START_MS + 41.5]);
	assert.deepEqual(server.attributes, {
		"http.request.method": "GET",
		"url.scheme": "http",
		"url.path": "/pay/1",
		"url.query": "full=1",
		"server.address": "payments",
		"server.port": 8080,
		"client.address": "127.0.0.1",
		"http.response.status_code": 200,
		"http.request.body.size": 3,
		"http.response.body.size": 100,
		"nexus.direction": "outbound",
		"nexus.service": "checkout",
		"nexus.route": "pay",
		"nexus.upstream": "payments",
		"nexus.endpoint": "10.0.0.2:80",
		"nexus.attempts": 2,
		"nexus.request_id": "req-1",
		"nexus.decisions": ["route yes @0ms: route canary matches (/etc/p.yaml:12:7)", "retry yes @13ms: tried again after 25 ms"],
	});
	assert.equal(server.resource["service.name"], "checkout");
	assert.equal(server.resource["service.instance.id"], "i1");
	assert.equal(server.resource["service.version"], "1.2.3");

	for (const client of [one, two]) {
		assert.deepEqual([client.name, client.kind, client.traceId, client.parentSpanId], ["GET", 3, TRACE, server.spanId]);
	}
	assert.deepEqual([one.startMs, one.endMs, one.status], [START_MS + 1, START_MS + 13, 2]);
	assert.deepEqual(one.attributes, {
		"http.request.method": "GET",
		"url.full": "http://10.0.0.1:80/pay/1?full=1",
		"server.address": "10.0.0.1",
		"server.port": 80,
		"nexus.endpoint": "10.0.0.1:80",
		"http.response.status_code": 503,
		"error.type": "503",
	});
	assert.deepEqual([two.startMs, two.endMs, two.status], [START_MS + 38, START_MS + 41.5, 0]);
	assert.equal(two.attributes["http.request.resend_count"], 1);
	assert.equal(two.attributes["server.address"], "::1");
	assert.equal(two.attributes["server.port"], 8080);

	assert.equal(exchange.traceparent, `00-${TRACE}-${server.spanId}-01`);
	assert.equal(first.traceparent, `00-${TRACE}-${one.spanId}-01`);
	assert.equal(second.traceparent, `00-${TRACE}-${two.spanId}-01`);
	assert.ok(!JSON.stringify(collector.spans).includes("user=secret"), "baggage is not recorded");
});

test("failures are told as error.type with the reason; a try without an outcome ends as cancelled", async (t) => {
	const collector = await recordOtlp(t);
	const { source } = await open(t, collector.url);
	const exchange = source.begin(start({ method: "BREW", host: "", target: "http://payments/x?api_key=s3cret&a=1&sig=q" }));
	exchange?.attempt(1, "10.0.0.1:80").end(0, "connect_refused", "ECONNREFUSED");
	exchange?.attempt(2, "unix:/run/app.sock");
	exchange?.end(
		record({ method: "BREW", route: "", status: 503, reason: "connect_refused", detail: "ECONNREFUSED", endpoint: "", clientAddress: "" }),
		[],
	);
	source.begin(start())?.end(record({ status: 404, reason: "no_route" }), []);
	source.begin(start())?.end(record({ status: 500 }), []);
	source.begin(start())?.end(record({ status: 0, reason: "client_closed" }), []);
	await source.close(60_000);
	const [refused, cancelled, brew, noRoute, failed, gone] = await collector.received(6);
	assert.ok(refused && cancelled && brew && noRoute && failed && gone);
	assert.deepEqual([refused.status, refused.attributes["error.type"], refused.attributes["nexus.detail"]], [2, "connect_refused", "ECONNREFUSED"]);
	assert.equal("http.response.status_code" in refused.attributes, false);
	assert.deepEqual([cancelled.status, cancelled.attributes["nexus.cancelled"], cancelled.attributes["server.address"]], [0, true, "/run/app.sock"]);
	assert.equal("url.full" in cancelled.attributes, false);
	assert.deepEqual([brew.name, brew.status], ["HTTP", 2]);
	assert.equal(brew.attributes["http.request.method"], "_OTHER");
	assert.equal(brew.attributes["http.request.method_original"], "BREW");
	assert.equal(brew.attributes["url.path"], "/x");
	assert.equal(brew.attributes["url.query"], "api_key=[redacted]&a=1&sig=[redacted]");
	assert.equal("server.address" in brew.attributes, false);
	assert.deepEqual([noRoute.status, noRoute.attributes["error.type"]], [0, "no_route"]);
	assert.deepEqual([failed.status, failed.attributes["error.type"]], [2, "500"]);
	assert.deepEqual([gone.status, gone.attributes["error.type"]], [2, "client_closed"]);
});

test("a caller that samples is followed, and one that does not; without one the ratio decides", async (t) => {
	const collector = await recordOtlp(t);
	let drawn = 0;
	const { source } = await open(t, collector.url, {
		sample: 0.25,
		rng: () => {
			drawn++;
			return drawn % 2 === 0 ? 0.25 : 0.2499;
		},
	});
	assert.equal(source.begin(start({ traceparent: NOT_SAMPLED })), undefined);
	assert.ok(source.begin(start({ traceparent: SAMPLED })));
	assert.equal(drawn, 0);
	for (const traceparent of ["", "garbage", `00-${"0".repeat(32)}-${PARENT}-01`]) {
		const root = source.begin(start({ traceparent }));
		assert.ok(root, traceparent);
		assert.equal(source.begin(start({ traceparent })), undefined);
		root.end(record(), []);
	}
	await source.close(60_000);
	const spans = await collector.received(3);
	assert.equal(new Set(spans.map(({ traceId }) => traceId)).size, 3);
	for (const { parentSpanId, traceId } of spans) {
		assert.equal(parentSpanId, undefined);
		assert.match(traceId, /^[0-9a-f]{32}$/);
	}
});

test("the traceparent that goes on keeps trace and random flag, and is well-formed", async (t) => {
	const { source } = await open(t, "http://127.0.0.1:9", { sample: 1 });
	const root = source.begin(start({ traceparent: "" }));
	assert.match(root?.traceparent ?? "", /^00-[0-9a-f]{32}-[0-9a-f]{16}-03$/);
	const followed = source.begin(start({ traceparent: `00-${TRACE}-${PARENT}-03` }));
	assert.match(followed?.traceparent ?? "", new RegExp(`^00-${TRACE}-(?!${PARENT})[0-9a-f]{16}-03$`));
	assert.match(followed?.attempt(1, "h:1").traceparent ?? "", new RegExp(`^00-${TRACE}-[0-9a-f]{16}-03$`));
	const future = source.begin(start({ traceparent: `cc-${TRACE}-${PARENT}-05-extra` }));
	assert.match(future?.traceparent ?? "", new RegExp(`^00-${TRACE}-[0-9a-f]{16}-01$`));
});

test("traceparent is read as the standard says, to the last digit", () => {
	assert.deepEqual(parseTraceparent(SAMPLED), { traceId: TRACE, spanId: PARENT, sampled: true, random: false });
	assert.deepEqual(parseTraceparent(`00-${TRACE}-${PARENT}-02`), { traceId: TRACE, spanId: PARENT, sampled: false, random: true });
	assert.equal(parseTraceparent(`01-${TRACE}-${PARENT}-01-what-comes-later`)?.sampled, true);
	const bad = [
		"",
		SAMPLED.slice(0, -1),
		`${SAMPLED}0`,
		`${SAMPLED}-more`,
		`01-${TRACE}-${PARENT}-01.more`,
		`ff-${TRACE}-${PARENT}-01`,
		`0g-${TRACE}-${PARENT}-01`,
		`00-${TRACE.toUpperCase()}-${PARENT}-01`,
		`00-${"0".repeat(32)}-${PARENT}-01`,
		`00-${TRACE}-${"0".repeat(16)}-01`,
		`00-${TRACE}-${PARENT}-0x`,
		`00_${TRACE}-${PARENT}-01`,
		`00-${TRACE}_${PARENT}-01`,
		`00-${TRACE}-${PARENT}_01`,
	];
	for (const text of bad) assert.equal(parseTraceparent(text), undefined, text);
});

test("a full batch is sent at once, without waiting for the end", async (t) => {
	const collector = await recordOtlp(t);
	const { source } = await open(t, collector.url, { limits: { batchMax: 2 } });
	for (let i = 0; i < 4; i++) source.begin(start())?.end(record(), []);
	assert.equal((await collector.received(4)).length, 4);
});

function talking(): { log: Logger; said: string[]; once: (count: number) => Promise<void> } {
	const said: string[] = [];
	const waiting: { count: number; resolve: () => void }[] = [];
	const say = (message: string): void => {
		said.push(message);
		for (const { count, resolve } of waiting) if (said.length >= count) resolve();
	};
	const once = (count: number): Promise<void> =>
		new Promise((resolve) => {
			if (said.length >= count) resolve();
			else waiting.push({ count, resolve });
		});
	return { log: { ...silentLogger, warn: say, info: say }, said, once };
}

test("while the collector's port is closed, spans are dropped and counted, and the log says so once", async (t) => {
	const probe = createServer().listen(0, "127.0.0.1");
	await new Promise((resolve) => probe.once("listening", resolve));
	const { port } = probe.address() as AddressInfo;
	await new Promise((resolve) => probe.close(resolve));
	const { log, said } = talking();
	// Less than the exporter's first pause, so that it does not try again.
	const { source } = await open(t, `http://127.0.0.1:${port}`, { log, limits: { batchMax: 2, exportTimeoutMs: 500 } });
	for (let i = 0; i < 6; i++) source.begin(start())?.end(record(), []);
	await source.close(60_000);
	assert.deepEqual(source.stats, { ended: 6, dropped: 6 });
	assert.deepEqual(said, ["spans cannot be delivered; they are dropped until they can"]);
});

test("a collector that takes the connection and never answers holds so many spans, and then costs nothing", async (t) => {
	const collector = await recordOtlp(t);
	collector.answer = 0;
	const { log, said, once } = talking();
	const { source, clock } = await open(t, collector.url, { log, limits: { batchMax: 2, waitingMax: 4, exportTimeoutMs: 60_000 } });
	const unfinished = source.begin(start());
	for (let i = 0; i < 4; i++) source.begin(start())?.end(record(), []);
	for (let i = 0; i < 10; i++) assert.equal(source.begin(start()), undefined);
	assert.equal(source.stats.dropped, 10);
	unfinished?.end(record(), []);
	assert.deepEqual(source.stats, { ended: 5, dropped: 11 });

	await collector.hanging;
	clock.advance(120_000);
	await once(1);
	assert.equal(source.stats.dropped, 13, "the batch is given up");
	collector.answer = 200;
	for (let i = 0; i < 2; i++) source.begin(start())?.end(record(), []);
	await once(2);
	await collector.received(4);
	assert.deepEqual(said, ["spans cannot be delivered; they are dropped until they can", "spans are delivered again"]);
});

test("closing gives up a collector that does not answer when its time is over, and takes nothing more", async (t) => {
	const collector = await recordOtlp(t);
	collector.answer = 0;
	const { source, clock } = await open(t, collector.url, { limits: { exportTimeoutMs: 500 } });
	const unfinished = source.begin(start());
	for (let i = 0; i < 3; i++) source.begin(start())?.end(record(), []);
	const closed = source.close(1000);
	assert.equal(source.close(1), closed);
	assert.equal(source.begin(start()), undefined);
	unfinished?.end(record(), []);
	await collector.hanging;
	clock.advance(1000);
	await closed;
	assert.deepEqual(source.stats, { ended: 4, dropped: 5 });
});

test("a collector that refuses is told from one that is away, and its spans are dropped as well", async (t) => {
	const collector = await recordOtlp(t);
	collector.answer = 400;
	const said: (Record<string, unknown> | undefined)[] = [];
	const { source } = await open(t, collector.url, { log: { ...silentLogger, warn: (_message, fields) => said.push(fields) } });
	source.begin(start())?.end(record(), []);
	await source.close(60_000);
	assert.deepEqual(source.stats, { ended: 1, dropped: 1 });
	assert.deepEqual(said, [{ url: `${collector.url}/v1/traces`, cause: "Bad Request" }]);
});

const LISTING = `
import { registerHooks } from "node:module";
const seen = [];
registerHooks({ resolve(specifier, context, next) { const found = next(specifier, context); seen.push(found.url); return found; } });
const otel = await import(process.argv[1]);
const before = seen.filter((url) => url.includes("@opentelemetry")).length;
await otel.openOtelSpans({ otlpUrl: "http://127.0.0.1:9", service: "a", instance: "b", version: "1", clock: {}, rng: Math.random, ids: {}, log: {}, sample: 0 });
process.stdout.write(JSON.stringify({ before, after: seen.filter((url) => url.includes("@opentelemetry")).length }));
process.exit();
`;

test("nothing of the SDK is loaded until spans are wanted", () => {
	const url = new URL("../../../src/telemetry/tracing/otel.ts", import.meta.url).href;
	const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", LISTING, url], { encoding: "utf8", timeout: 60_000 });
	assert.equal(stderr, "");
	const { before, after } = JSON.parse(stdout) as { before: number; after: number };
	assert.equal(before, 0);
	assert.ok(after > 4);
});
