/** Spans of a whole sidecar: what the policy says about them, what goes upstream, and a collector that dies. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ok, rawClient } from "../../support/raw-peer.ts";
import type { StrictMessage } from "../../support/strict-reader.ts";
import { recordOtlp } from "../../telemetry/tracing/otlp-recorder.ts";
import { startSidecar } from "../support.ts";
import { fieldOf, GUARD, get, group, reply, until } from "./support.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const PARENT = "b7ad6b7169203331";

describe("with tracing.otlp", GUARD, () => {
	it("each try goes upstream with a span of its own, below the one of the exchange, below the caller's", async (t) => {
		const collector = await recordOtlp(t);
		const { upstreams, seen } = await group(t, 2, (nth) => (nth === 0 ? reply(503) : ok()));
		const endpoints = upstreams.map(({ port }) => `{ address: "127.0.0.1:${port}" }`).join(", ");
		const policy = (tracing: string): string => `${tracing}outbound: { listen: "127.0.0.1:0" }\nupstreams:\n  api: { endpoints: [ ${endpoints} ] }\n`;
		const tested = await startSidecar(t, policy(`tracing: { otlp: "${collector.url}", sample: 0 }\n`));
		const client = await rawClient(t, tested.port("outbound"));
		client.send(get(`traceparent: 00-${TRACE}-${PARENT}-01\r\ntracestate: a=b\r\nbaggage: c=d\r\n`));
		assert.equal((await client.answer(0)).status, 200);
		const sent = seen.map(({ request }) => fieldOf(request as StrictMessage, "traceparent") ?? "");
		assert.deepEqual(
			[fieldOf(seen[1]?.request as StrictMessage, "tracestate"), fieldOf(seen[1]?.request as StrictMessage, "baggage")],
			["a=b", "c=d"],
		);
		assert.equal(sent.length, 2);
		assert.notEqual(sent[0], sent[1]);
		// Taking the key out of the policy sends what is left.
		tested.write(policy(""));
		assert.equal((await tested.admin("POST", "/reload")).status, 200);
		await until(() => collector.spans.length === 3);
		const exchange = collector.spans.find(({ parentSpanId }) => parentSpanId === PARENT);
		const tries = collector.spans.filter((span) => span !== exchange);
		assert.deepEqual(
			sent,
			tries.map(({ spanId }) => `00-${TRACE}-${spanId}-01`),
		);
		for (const span of tries) assert.equal(span.parentSpanId, exchange?.spanId);
		client.send(get(`traceparent: 00-${TRACE}-${PARENT}-01\r\n`));
		assert.equal((await client.answer(1)).status, 200);
		assert.equal(fieldOf(seen.at(-1)?.request as StrictMessage, "traceparent"), `00-${TRACE}-${PARENT}-01`, "nobody makes spans any more");
	});

	it("a collector that is not there costs no request anything", async (t) => {
		const { upstreams } = await group(t, 1, () => ok());
		const tested = await startSidecar(
			t,
			`tracing: { otlp: "http://127.0.0.1:9", sample: 1 }\noutbound: { listen: "127.0.0.1:0" }\nupstreams:\n  api: { endpoints: [ { address: "127.0.0.1:${upstreams[0]?.port}" } ] }\n`,
		);
		const client = await rawClient(t, tested.port("outbound"));
		for (let n = 0; n < 20; n++) {
			client.send(get());
			assert.equal((await client.answer(n)).status, 200);
		}
		assert.equal(await tested.metric("nexus_requests_total", { upstream: "api", status_class: "2xx" }), 20);
	});
});
