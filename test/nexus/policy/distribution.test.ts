/** Policies on their way from a real Nexus to real sidecars: taken, refused, rolled out, rolled back, and through kill -9. */
import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { echo, httpServer } from "../../sidecar/support.ts";
import { eventually, freePorts } from "../../support/processes.ts";
import { callers, startNexus, startSidecar, statusOf, type TestNexus, type TestSidecar } from "./mesh.ts";

const OUTBOUND = " }\npolicy: { source: nexus, cacheDir: cache }\noutbound: { listen: 127.0.0.1:0 }\n";
/** A roll-out that is quick, for a test. */
const QUICK = { stages: ["1", "all"], hold: "2s", patience: "60s", requests: 50 };

function upstream(address: string, more = ""): string {
	return `upstreams:\n  pay:\n    endpoints: [{ address: "${address}" }]\n${more}`;
}

async function allRun(nexus: TestNexus, version: number): Promise<void> {
	await eventually(`all instances run version ${version}`, async () => {
		const { instances } = await statusOf(nexus, "checkout");
		return instances.length > 0 && instances.every((each) => each.version === version && each.state === "current");
	});
}

async function threeSidecars(t: TestContext, nexus: TestNexus): Promise<TestSidecar[]> {
	return Promise.all([1, 2, 3].map(() => startSidecar(t, "checkout", nexus, OUTBOUND)));
}

describe("a policy that Nexus has for a service", () => {
	test("is checked, pushed, applied and acknowledged; one that the sidecar cannot take is refused with its place, and the last good one stays", async (t) => {
		const origin = await httpServer(t, echo("origin"));
		const nexus = await startNexus(t);
		const first = await nexus.call("PUT", "/v1/policies/checkout", { policy: upstream(origin.address), reason: "first" });
		assert.equal(first.status, 201);
		const sidecar = await startSidecar(t, "checkout", nexus, OUTBOUND);
		await allRun(nexus, 1);
		const asked = callers(t, [sidecar.port("outbound")], "pay");
		await eventually("requests pass", async () => (asked.take().get("200") ?? 0) > 0);

		const wrong = await nexus.call<{ faults: { place: string; hint: string }[] }>("PUT", "/v1/policies/checkout", {
			policy: upstream(origin.address, "    timeout: { requst: 1s }\n"),
		});
		assert.equal(wrong.status, 422);
		assert.deepEqual(
			wrong.body.faults.map(({ place, hint }) => [place, hint]),
			[["nexus:checkout@2:4:16", "did you mean `request`?"]],
		);
		assert.equal((await statusOf(nexus, "checkout")).latest, 1);

		// Fine for Nexus; here the port is taken.
		const policy = upstream(origin.address, `    listen: 127.0.0.1:${origin.port}\n`);
		assert.equal((await nexus.call("PUT", "/v1/policies/checkout", { policy, rollout: "at-once" })).status, 201);
		await eventually("it is refused", async () => (await statusOf(nexus, "checkout")).instances[0]?.state === "rejected");
		const [instance] = (await statusOf(nexus, "checkout")).instances;
		assert.equal(instance?.version, 1);
		assert.equal(instance.rejected?.version, 2);
		assert.match(instance.rejected?.faults[0]?.place ?? "", /^nexus:checkout@2:2:3$/);
		assert.match(instance.rejected?.faults[0]?.message ?? "", /EADDRINUSE/);
		const config = await sidecar.config();
		assert.equal(config.nexus?.version, 1);
		assert.match(config.rejected?.faults[0]?.place ?? "", /^nexus:checkout@2/);

		assert.equal((await nexus.call("POST", "/v1/policies/checkout/rollback", { reason: "refused" })).status, 201);
		await allRun(nexus, 3);
		await asked.stop();
		assert.deepEqual([...asked.take().keys()], ["200"]);
	});

	test("starts a sidecar without Nexus from the copy on disk, which nobody else can read", async (t) => {
		const origin = await httpServer(t, echo("origin"));
		const nexus = await startNexus(t);
		await nexus.call("PUT", "/v1/policies/checkout", { policy: upstream(origin.address) });
		const before = await startSidecar(t, "checkout", nexus, OUTBOUND);
		await allRun(nexus, 1);
		const copy = join(before.folder, "cache", "policy.json");
		await eventually("the copy is there", async () => statSync(copy, { throwIfNoEntry: false }) !== undefined);
		assert.equal(statSync(copy).mode & 0o777, 0o600);
		assert.equal((JSON.parse(readFileSync(copy, "utf8")) as { version: number }).version, 1);
		before.process.process.kill("SIGKILL");
		await before.process.ended;
		await nexus.kill();

		const after = await startSidecar(t, "checkout", nexus, OUTBOUND, before.folder);
		assert.equal((await after.config()).nexus?.version, 1);
		const asked = callers(t, [after.port("outbound")], "pay");
		await eventually("requests pass", async () => (asked.take().get("200") ?? 0) > 0);
		await nexus.restart();
		await nexus.call("PUT", "/v1/policies/checkout", { policy: upstream(origin.address, "    timeout: { request: 9s }\n"), rollout: "at-once" });
		// The one that was killed is listed for as long as its lease lasts.
		await eventually("it runs version 2", async () => (await statusOf(nexus, "checkout")).instances.some(({ version }) => version === 2));
	});

	test("goes to one instance, then to all, where it does no harm, and no request is lost", async (t) => {
		const origin = await httpServer(t, echo("origin"));
		const nexus = await startNexus(t);
		await nexus.call("PUT", "/v1/policies/checkout", { policy: upstream(origin.address) });
		const sidecars = await threeSidecars(t, nexus);
		await allRun(nexus, 1);
		const asked = callers(
			t,
			sidecars.map((each) => each.port("outbound")),
			"pay",
		);
		const policy = upstream(origin.address, "    timeout: { request: 9s }\n");
		await nexus.call("PUT", "/v1/policies/checkout", { policy, rollout: QUICK });
		const { rollout } = await statusOf(nexus, "checkout");
		assert.equal(rollout?.stage, "1 instance");
		assert.equal(rollout.instances.length, 1);
		await eventually("it is complete", async () => (await statusOf(nexus, "checkout")).lastRollout?.state === "completed");
		await allRun(nexus, 2);
		await asked.stop();
		assert.deepEqual([...asked.take().keys()], ["200"]);
		const { body } = await nexus.call<{ events: { event: { type: string } }[] }>("GET", "/v1/events?type=nexus.policy.rollout.*");
		assert.deepEqual(
			body.events.map(({ event }) => event.type.split(".").at(-1)),
			["started", "advanced", "completed"],
		);
	});

	test("is taken back by itself where the first instance fails more than the others", async (t) => {
		const origin = await httpServer(t, echo("origin"));
		const nexus = await startNexus(t);
		await nexus.call("PUT", "/v1/policies/checkout", { policy: upstream(origin.address) });
		const sidecars = await threeSidecars(t, nexus);
		await allRun(nexus, 1);
		const asked = callers(
			t,
			sidecars.map((each) => each.port("outbound")),
			"pay",
		);
		const policy = upstream(origin.address, "    fault: { abort: { percent: 100, status: 503 } }\n    retry: { attempts: 0 }\n");
		await nexus.call("PUT", "/v1/policies/checkout", { policy, rollout: QUICK });
		await eventually("it is taken back", async () => (await statusOf(nexus, "checkout")).lastRollout?.state === "rolled_back");
		await allRun(nexus, 1);
		const { lastRollout, instances } = await statusOf(nexus, "checkout");
		assert.match(lastRollout?.reason ?? "", /^outbound: 100 % of \d+ requests with it fail, and 0\.0 % of \d+ without$/);
		assert.equal(instances.length, 3);
		const during = asked.take();
		assert.ok((during.get("200") ?? 0) > (during.get("503") ?? 0), "two of three never had it");
		await eventually("all is well again", async () => {
			const results = asked.take();
			return results.size === 1 && (results.get("200") ?? 0) > 0;
		});
		const { body } = await nexus.call<{ events: { event: { data: { automatic: boolean } } }[] }>(
			"GET",
			"/v1/events?type=nexus.policy.rollout.rolled_back",
		);
		assert.equal(body.events[0]?.event.data.automatic, true);
	});

	test("is rolled out further after kill -9 of Nexus in the middle, and no request is lost", async (t) => {
		const origin = await httpServer(t, echo("origin"));
		const nexus = await startNexus(t);
		await nexus.call("PUT", "/v1/policies/checkout", { policy: upstream(origin.address) });
		const sidecars = await threeSidecars(t, nexus);
		await allRun(nexus, 1);
		const asked = callers(
			t,
			sidecars.map((each) => each.port("outbound")),
			"pay",
		);
		const policy = upstream(origin.address, "    timeout: { request: 9s }\n");
		await nexus.call("PUT", "/v1/policies/checkout", { policy, rollout: QUICK });
		const before = await statusOf(nexus, "checkout");
		await eventually("the first one runs it", async () => (await statusOf(nexus, "checkout")).instances.some(({ version }) => version === 2));
		await nexus.killAndRestart();
		const after = await statusOf(nexus, "checkout");
		assert.deepEqual(after.rollout?.instances ?? before.rollout?.instances, before.rollout?.instances);
		assert.equal(after.instances.length, 3, "nobody is forgotten");
		await eventually("it is complete", async () => (await statusOf(nexus, "checkout")).lastRollout?.state === "completed");
		await allRun(nexus, 2);
		await asked.stop();
		assert.deepEqual([...asked.take().keys()], ["200"]);
	});

	test("is taken back where the first instance refuses it", async (t) => {
		const origin = await httpServer(t, echo("origin"));
		const nexus = await startNexus(t);
		await nexus.call("PUT", "/v1/policies/checkout", { policy: upstream(origin.address) });
		await threeSidecars(t, nexus);
		await allRun(nexus, 1);
		const [free = 0] = await freePorts(1);
		const taken = await httpServer(t, echo("in the way"), free);
		await nexus.call("PUT", "/v1/policies/checkout", { policy: upstream(origin.address, `    listen: 127.0.0.1:${taken.port}\n`), rollout: QUICK });
		await eventually("it is taken back", async () => (await statusOf(nexus, "checkout")).lastRollout?.state === "rolled_back");
		assert.match((await statusOf(nexus, "checkout")).lastRollout?.reason ?? "", /refuses it: nexus:checkout@2:2:3 .*EADDRINUSE/);
		await allRun(nexus, 1);
	});
});
