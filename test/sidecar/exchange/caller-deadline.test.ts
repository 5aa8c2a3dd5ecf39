/** Deadlines of strangers: they shorten what is done for the one who sets them, and do no harm to anybody else. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { FakeClock } from "../../support/fake-clock.ts";
import { rawClient } from "../../support/raw-peer.ts";
import { valuesOf } from "../../support/strict-reader.ts";
import { httpServer, runUntil, startSidecar } from "../support.ts";

/** Five requests to a service that never answers, each with so much time; then the reason of a sixth. */
async function reasonsOf(t: TestContext, policy: (address: string) => string, listener: string, fields: string): Promise<string[]> {
	const clock = new FakeClock();
	const service = await httpServer(t, () => undefined);
	const sidecar = await startSidecar(t, policy(service.address), { clock });
	const client = await rawClient(t, sidecar.port(listener));
	const reasons: string[] = [];
	for (let n = 0; n < 6; n++) {
		const answer = client.send(`GET / HTTP/1.1\r\nHost: slow\r\n${fields}\r\n`).answer(n);
		await runUntil(answer, clock);
		reasons.push(...valuesOf(await answer, "x-nexus-reason"));
	}
	return reasons;
}

const TIMED_OUT = "upstream_timeout";
const inbound = (address: string): string =>
	`inbound: { listen: 127.0.0.1:0, application: "${address}", timeout: { request: 1s }, circuitBreaker: {} }\n`;
const outbound = (address: string): string =>
	`outbound: { listen: 127.0.0.1:0 }\nupstreams: { slow: { endpoints: [ { address: "${address}" } ], timeout: { request: 1s }, circuitBreaker: {}, retry: { attempts: 0 } } }\n`;

describe("a timeout", () => {
	it("that a caller from outside has set does not count against the application", async (t) => {
		assert.deepEqual(await reasonsOf(t, inbound, "inbound", "x-nexus-deadline-ms: 1\r\n"), Array(6).fill(TIMED_OUT));
	});

	it("of the policy opens the breaker before the application", async (t) => {
		assert.deepEqual(await reasonsOf(t, inbound, "inbound", ""), [...Array(5).fill(TIMED_OUT), "breaker_open"]);
	});

	it("that our own application has set counts against whom it calls", async (t) => {
		assert.deepEqual(await reasonsOf(t, outbound, "outbound", "x-nexus-deadline-ms: 500\r\n"), [...Array(5).fill(TIMED_OUT), "breaker_open"]);
	});
});
