/** `nexus policies` and `nexus services` against a real Nexus: what stands in a terminal, what goes into a pipe, what is refused. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { runPoliciesList, runPoliciesPut, runPoliciesRollback, runPoliciesShow, runPoliciesStatus } from "../../src/cli/policies.ts";
import { runServices } from "../../src/cli/services.ts";
import { serveNexus, temporaryDir } from "../nexus/support.ts";
import { type CaptureIo, captureIo } from "./capture-io.ts";

function capture(isTTY: boolean): { io: CaptureIo; take(): string } {
	const io = captureIo({ isTTY });
	let out = 0;
	let err = 0;
	return {
		io,
		take() {
			const text = io.out().slice(out) + io.err().slice(err);
			out = io.out().length;
			err = io.err().length;
			return text;
		},
	};
}

describe("nexus policies", () => {
	test("puts, shows, lists and takes back, as tables for people and JSON for pipes", async (t) => {
		const dir = temporaryDir(t);
		const { url } = await serveNexus(t, join(dir, "data"));
		const file = join(dir, "checkout.yaml");
		writeFileSync(file, "upstreams: { pay: { endpoints: [{ address: 10.0.0.1:80 }] } }\n");
		const terminal = capture(true);
		assert.equal(await runPoliciesPut("checkout", file, { url, reason: "first" }, terminal.io), 0);
		assert.equal(terminal.take(), "checkout: version 1, for all instances at once\n");
		assert.equal(await runPoliciesPut("checkout", file, { url }, terminal.io), 0);
		assert.equal(terminal.take(), "checkout: this text is in force already, as version 1\n");
		writeFileSync(file, "upstreams: { pay: { endpoints: [{ address: 10.0.0.2:80 }] } }\n");
		assert.equal(await runPoliciesPut("checkout", file, { url, ifVersion: 7 }, terminal.io), 1);
		assert.match(terminal.take(), /version 7 was expected, and the latest is 1/);
		assert.equal(await runPoliciesPut("checkout", file, { url, ifVersion: 1, reason: "second" }, terminal.io), 0);
		assert.equal(terminal.take(), "checkout: version 2, for all instances at once\n");
		assert.equal(await runPoliciesShow("checkout", { url }, terminal.io), 0);
		assert.equal(terminal.take(), "upstreams: { pay: { endpoints: [{ address: 10.0.0.2:80 }] } }\n");
		assert.equal(await runPoliciesShow("checkout", { url, history: true }, terminal.io), 0);
		assert.match(terminal.take(), /^VERSION +PUT \(UTC\) +BY +WHY\n2 \* .* a local caller +second\n1 .* a local caller +first\n$/);
		assert.equal(await runPoliciesRollback("checkout", { url }, terminal.io), 0);
		assert.equal(terminal.take(), "checkout: version 3 has the earlier text, for all instances\n");
		assert.equal(await runPoliciesList({ url }, terminal.io), 0);
		assert.equal(terminal.take(), "SERVICE   VERSION  INSTANCES  ROLL-OUT\ncheckout  3        0 of 0     -\n");
		assert.equal(await runPoliciesStatus("checkout", { url }, terminal.io), 0);
		assert.match(terminal.take(), /^checkout: version 3 is in force\nno instance takes it from here/);

		const pipe = capture(false);
		assert.equal(await runPoliciesStatus("checkout", { url }, pipe.io), 0);
		assert.equal((JSON.parse(pipe.take()) as { current: number }).current, 3);
	});

	test("shows each fault of a wrong policy at its place in the file, and nothing has changed", async (t) => {
		const dir = temporaryDir(t);
		const { url } = await serveNexus(t, join(dir, "data"));
		const file = join(dir, "checkout.yaml");
		writeFileSync(file, "upstreams:\n  pay:\n    endpoints: [{ address: 10.0.0.1 }]\n    retrry: {}\n");
		const { io, take } = capture(true);
		assert.equal(await runPoliciesPut("checkout", file, { url }, io), 1);
		const told = take();
		assert.match(told, /checkout\.yaml:3:28: `10\.0\.0\.1` /);
		assert.match(told, /checkout\.yaml:4:5: unknown key `retrry`\n4 \| {5}retrry: \{\}\n {2}\| {5}\^{6}\n {2}hint: did you mean `retry`\?/);
		assert.equal(await runPoliciesShow("checkout", { url }, io), 1);
		assert.match(take(), /There is no such policy/);
		writeFileSync(file, "upstreams:\n  pay:\n    endpoints: [{ address: 10.0.0.1:80 }]\n");
		assert.equal(await runPoliciesPut("checkout", file, { url, stages: "1,most", hold: "5", requests: 1 }, io), 1);
		assert.match(take(), /rollout stages\.1 is no stage: 1, 10%, all; hold has no unit: .*requests Too small/);
	});
});

describe("nexus services", () => {
	test("lists who has registered", async (t) => {
		const { url } = await serveNexus(t, temporaryDir(t));
		const terminal = capture(true);
		assert.equal(await runServices(undefined, { url }, terminal.io), 0);
		assert.match(terminal.take(), /^no instance is registered/);
		const body = JSON.stringify({ address: "10.0.0.1:15006", zone: "a" });
		const put = await fetch(`${url}/v1/services/pay/instances/host-1`, { method: "PUT", headers: { "content-type": "application/json" }, body });
		assert.equal(put.status, 200);
		assert.equal(await runServices("pay", { url }, terminal.io), 0);
		assert.match(
			terminal.take(),
			/^SERVICE +ADDRESS +HEALTH +ZONE +POLICY +SINCE \(UTC\) +HEARD +INSTANCE\npay +10\.0\.0\.1:15006 +ready +a +- .* 0 s ago +host-1\n$/,
		);
		const pipe = capture(false);
		assert.equal(await runServices(undefined, { url }, pipe.io), 0);
		assert.equal((JSON.parse(pipe.take()) as { services: { service: string }[] }).services[0]?.service, "pay");
	});
});
