import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { seededRng } from "../../src/core/rng.ts";
import { ACCESS_LOG_FIELDS, AccessLog, accessLine } from "../../src/telemetry/access-log.ts";
import type { ExchangeRecord } from "../../src/telemetry/access-record.ts";
import { LineWriter } from "../../src/telemetry/line-writer.ts";
import { FakeClock } from "../support/fake-clock.ts";

const EXCHANGE: ExchangeRecord = {
	direction: "outbound",
	method: "GET",
	target: "/orders/1?page=2",
	host: "payments",
	route: "pay",
	upstream: "payments",
	endpoint: "10.0.0.11:15006",
	status: 503,
	reason: "connect_refused",
	detail: "ECONNREFUSED",
	requestId: "0194-7",
	traceparent: "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
	clientAddress: "127.0.0.1",
	caller: "",
	attempts: 2,
	bytesIn: 12,
	bytesOut: 5_000_000_000,
	durationMs: 1.23456,
	upstreamMs: 0,
};

function accessLog(t: TestContext, options: { sample: number; seed?: number }): { log: AccessLog; clock: FakeClock; lines: () => Promise<string[]> } {
	const dir = fs.mkdtempSync(path.join(os.tmpdir(), "nexus-access-log-"));
	t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
	const file = path.join(dir, "access.log");
	const clock = new FakeClock(Date.UTC(2026, 0, 2, 3, 4, 5, 678));
	const writer = new LineWriter({ destination: file, clock });
	t.after(() => writer.close(0));
	const log = new AccessLog({ writer, clock, rng: seededRng(options.seed ?? 1), sample: options.sample });
	return {
		log,
		clock,
		lines: async () => {
			await writer.flush(10_000);
			return fs.readFileSync(file, "utf8").split("\n").slice(0, -1);
		},
	};
}

test("an exchange is one line of JSON with the documented fields in their order", async (t) => {
	const { log, lines } = accessLog(t, { sample: 1 });
	log.record(EXCHANGE);
	const [line = "", ...more] = await lines();
	assert.equal(more.length, 0);
	const parsed = JSON.parse(line);
	assert.deepEqual(Object.keys(parsed), Object.keys(ACCESS_LOG_FIELDS));
	assert.deepEqual(parsed, {
		time: "2026-01-02T03:04:05.678Z",
		direction: "outbound",
		method: "GET",
		target: "/orders/1?page=2",
		host: "payments",
		route: "pay",
		upstream: "payments",
		endpoint: "10.0.0.11:15006",
		status: 503,
		reason: "connect_refused",
		detail: "ECONNREFUSED",
		request_id: "0194-7",
		traceparent: "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
		client: "127.0.0.1",
		caller: "",
		attempts: 2,
		bytes_in: 12,
		bytes_out: 5_000_000_000,
		duration_ms: 1.235,
		upstream_ms: 0,
	});
});

test("each line has the time of its own millisecond", async (t) => {
	const { log, clock, lines } = accessLog(t, { sample: 1 });
	log.record(EXCHANGE);
	clock.advance(1);
	log.record(EXCHANGE);
	clock.jumpWall(-3_600_000);
	log.record(EXCHANGE);
	const times = (await lines()).map((line) => JSON.parse(line).time);
	assert.deepEqual(times, ["2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.679Z", "2026-01-02T02:04:05.679Z"]);
});

test("the sample decides how many exchanges get a line, and may change at any time", async (t) => {
	const { log, lines } = accessLog(t, { sample: 0.1, seed: 7 });
	for (let i = 0; i < 10_000; i++) log.record(EXCHANGE);
	const sampled = (await lines()).length;
	assert.ok(Math.abs(sampled - 1000) < 100, `${sampled} of 10,000`);
	log.setSample(0);
	for (let i = 0; i < 1000; i++) log.record(EXCHANGE);
	assert.equal((await lines()).length, sampled);
	log.setSample(1);
	log.record(EXCHANGE);
	assert.equal((await lines()).length, sampled + 1);
});

test("no byte of a request can break a line or forge a field: 20,000 hostile strings come back as they went in", () => {
	const rng = seededRng(42);
	const hostile = [
		'"',
		"\\",
		"\n",
		"\r",
		"\0",
		"\x7f",
		"\x1b[2J",
		"\u2028",
		"\ud800",
		"\udc00",
		"😀",
		"é",
		"ÿ",
		"\x80",
		'","status":200,"x":"',
		"a",
		" ",
	];
	const text = (): string => {
		let out = "";
		for (let left = Math.floor(rng() * 30); left > 0; left--) {
			out += rng() < 0.5 ? hostile[Math.floor(rng() * hostile.length)] : String.fromCharCode(Math.floor(rng() * (rng() < 0.5 ? 256 : 65_536)));
		}
		return out;
	};
	for (let i = 0; i < 20_000; i++) {
		const exchange = { ...EXCHANGE, method: text(), target: text(), host: text(), detail: text(), requestId: text(), traceparent: text() };
		const line = accessLine("2026-01-01T00:00:00.000Z", exchange);
		assert.ok(!/[\x00-\x1f]/.test(line) && line.isWellFormed());
		const parsed = JSON.parse(line);
		assert.deepEqual(
			[parsed.method, parsed.target, parsed.host, parsed.detail, parsed.request_id, parsed.traceparent, parsed.status],
			[exchange.method, exchange.target, exchange.host, exchange.detail, exchange.requestId, exchange.traceparent, 503],
		);
	}
});

test("a target of the longest allowed length is written whole", async (t) => {
	const { log, lines } = accessLog(t, { sample: 1 });
	const target = `/${"\x01é".repeat(8191)}`;
	for (let i = 0; i < 50; i++) log.record({ ...EXCHANGE, target });
	const written = await lines();
	assert.equal(written.length, 50);
	for (const line of written) assert.equal(JSON.parse(line).target, target);
});
