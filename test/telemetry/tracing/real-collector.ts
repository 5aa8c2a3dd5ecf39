/**
 * Sends spans to a real OpenTelemetry Collector and reads what it understood: `node test/telemetry/tracing/real-collector.ts OTELCOL`,
 * where OTELCOL is a program built from collector-manifest.yaml. Not part of the test suite, as building it takes Go and minutes.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../src/core/clock.ts";
import { IdSource } from "../../../src/core/ids.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { systemRng } from "../../../src/core/rng.ts";
import { openOtelSpans } from "../../../src/telemetry/tracing/otel.ts";
import { decision } from "./support.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const PARENT = "b7ad6b7169203331";

const program = process.argv[2];
assert.ok(program, "usage: node test/telemetry/tracing/real-collector.ts OTELCOL");
const folder = mkdtempSync(join(tmpdir(), "nexus-otelcol-"));
const port = await freePort();
const config = join(folder, "config.yaml");
writeFileSync(
	config,
	`receivers: { otlp: { protocols: { http: { endpoint: "127.0.0.1:${port}" } } } }
exporters: { debug: { verbosity: detailed } }
service:
  telemetry: { metrics: { level: none } }
  pipelines: { traces: { receivers: [otlp], exporters: [debug] } }
`,
);
const collector = spawn(program, ["--config", config], { stdio: ["ignore", "pipe", "pipe"] });
try {
	let said = "";
	const heard = (text: string): Promise<void> =>
		new Promise((resolve, reject) => {
			const look = (): void => {
				if (said.includes(text)) resolve();
			};
			collector.stderr.on("data", look);
			collector.once("exit", () => reject(new Error(`the collector has ended:\n${said}`)));
			look();
		});
	collector.stderr.setEncoding("utf8").on("data", (text: string) => {
		said += text;
	});
	collector.stdout.resume();
	await heard("Everything is ready");

	const source = await openOtelSpans({
		otlpUrl: `http://127.0.0.1:${port}`,
		sample: 1,
		service: "checkout",
		instance: "i1",
		version: "1.2.3",
		clock: systemClock,
		rng: systemRng,
		ids: new IdSource(),
		log: silentLogger,
	});
	const head = {
		traceparent: `00-${TRACE}-${PARENT}-01`,
		tracestate: "vendor=a",
		baggage: "",
		method: "GET",
		target: "/pay/1",
		host: "payments",
		direction: "outbound" as const,
		service: "checkout",
		startWallMs: Date.now(),
	};
	const exchange = source.begin(head);
	assert.ok(exchange);
	exchange.attempt(1, "10.0.0.1:80").end(0, "connect_refused", "ECONNREFUSED");
	exchange.attempt(2, "10.0.0.2:80").end(200, undefined, "");
	exchange.end(
		{
			...head,
			route: "pay",
			upstream: "payments",
			endpoint: "10.0.0.2:80",
			status: 200,
			reason: undefined,
			detail: "",
			requestId: "req-1",
			clientAddress: "127.0.0.1",
			caller: "",
			attempts: 2,
			bytesIn: 0,
			bytesOut: 100,
			durationMs: 41.5,
			upstreamMs: 20,
		},
		[decision({ place: { file: "p.yaml", line: 12, column: 7 } })],
	);
	await source.close(10_000);
	assert.deepEqual(source.stats, { ended: 3, dropped: 0 });
	await heard("Span #2");
	await heard("nexus.decisions");
	for (const expected of [
		`Trace ID       : ${TRACE}`,
		`Parent ID      : ${PARENT}`,
		"TraceState     : vendor=a",
		"Name           : GET pay",
		"Kind           : Server",
		"Kind           : Client",
		"Status code    : Error",
		"service.name: Str(checkout)",
		"error.type: Str(connect_refused)",
		"http.response.status_code: Int(200)",
		"http.request.resend_count: Int(1)",
		'nexus.decisions: Slice(["route yes @0ms: route canary matches (p.yaml:12:7)"])',
	]) {
		assert.ok(said.includes(expected), `${expected}\nis not in\n${said}`);
	}
	process.stdout.write(`${said.slice(said.indexOf("ResourceSpans #0"))}\nthe collector has understood all three spans\n`);
} finally {
	const exited = once(collector, "exit");
	if (collector.exitCode === null && collector.kill("SIGTERM")) await exited;
	rmSync(folder, { recursive: true });
}

async function freePort(): Promise<number> {
	const probe = createServer().listen(0, "127.0.0.1");
	await once(probe, "listening");
	const { port } = probe.address() as AddressInfo;
	probe.close();
	await once(probe, "close");
	return port;
}
