/** Instances that register at a real Nexus, and callers that find them: joining, leaving, killed, and Nexus away. */
import assert from "node:assert/strict";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { type Echoed, echo, httpServer } from "../../sidecar/support.ts";
import { eventually } from "../../support/processes.ts";
import { callers, startNexus, startSidecar, type TestNexus } from "../policy/mesh.ts";

interface Services {
	readonly services: { service: string; instances: { instance: string; address: string; zone: string | null; health: string; silentMs: number }[] }[];
}

async function listed(nexus: TestNexus, service: string): Promise<Services["services"][number]["instances"]> {
	const { body } = await nexus.call<Services>("GET", "/v1/services");
	return body.services.find((each) => each.service === service)?.instances ?? [];
}

const serves = (application: string, lease = "30s"): string =>
	`, register: { lease: ${lease} } }\ninbound: { listen: 127.0.0.1:0, application: "${application}" }\n`;
const CALLS = " }\noutbound: { listen: 127.0.0.1:0 }\nupstreams: { pay: { registry: nexus } }\n";

async function whoAnswers(port: number): Promise<string> {
	const { request } = await import("node:http");
	return new Promise((resolve) => {
		const sent = request({ host: "127.0.0.1", port, path: "/", headers: { host: "pay" }, agent: false }, (response) => {
			let text = "";
			response.on("data", (chunk: Buffer) => (text += chunk.toString()));
			response.on("end", () => resolve(response.statusCode === 200 ? (JSON.parse(text) as Echoed).by : String(response.statusCode)));
		});
		sent.once("error", (error) => resolve(error.message));
		sent.end();
	});
}

async function answering(port: number): Promise<string> {
	const seen = new Set<string>();
	for (let i = 0; i < 8; i++) seen.add(await whoAnswers(port));
	return [...seen].sort().join(" ");
}

describe("the registry of services", () => {
	test("lets callers find instances as they come and go, and loses no request when one leaves in good order", async (t) => {
		const nexus = await startNexus(t);
		const one = await httpServer(t, echo("one"));
		const two = await httpServer(t, echo("two"));
		const first = await startSidecar(t, "pay", nexus, serves(one.address));
		const caller = await startSidecar(t, "checkout", nexus, CALLS);
		const port = caller.port("outbound");
		await eventually("the first is found", async () => (await answering(port)) === "one");
		const second = await startSidecar(t, "pay", nexus, serves(two.address));
		await eventually("both are found", async () => (await answering(port)) === "one two");
		assert.deepEqual(
			(await listed(nexus, "pay")).map(({ address }) => address).sort(),
			[first, second].map((each) => `127.0.0.1:${each.port("inbound")}`).sort(),
		);

		const asked = callers(t, [port], "pay");
		await eventually("requests pass", async () => (asked.take().get("200") ?? 0) > 0);
		second.process.process.kill("SIGTERM");
		assert.equal((await second.process.ended).code, 0);
		assert.equal((await listed(nexus, "pay")).length, 1);
		await eventually("the first alone is found", async () => (await answering(port)) === "one");
		await asked.stop();
		assert.deepEqual([...asked.take().keys()], ["200"]);
	});

	test("forgets an instance that was killed when its lease is over, and no other", async (t) => {
		const nexus = await startNexus(t);
		const one = await httpServer(t, echo("one"));
		const policy = serves(one.address, "3s");
		const [victim, other] = await Promise.all([startSidecar(t, "pay", nexus, policy), startSidecar(t, "pay", nexus, policy)]);
		await eventually("both are listed", async () => (await listed(nexus, "pay")).length === 2);
		victim.process.process.kill("SIGKILL");
		await eventually("one is listed", async () => (await listed(nexus, "pay")).length === 1);
		assert.equal((await listed(nexus, "pay"))[0]?.address, `127.0.0.1:${other.port("inbound")}`);
	});

	test("empties nobody's list while Nexus is away, nor when it is back", async (t) => {
		const nexus = await startNexus(t);
		const one = await httpServer(t, echo("one"));
		await startSidecar(t, "pay", nexus, serves(one.address, "3s"));
		const caller = await startSidecar(t, "checkout", nexus, CALLS);
		const port = caller.port("outbound");
		await eventually("it is found", async () => (await answering(port)) === "one");
		const asked = callers(t, [port], "pay");
		await nexus.kill();
		// Longer than the lease: nobody renews meanwhile, and nobody may hold that against them.
		await new Promise((resolve) => setTimeout(resolve, 4_000));
		await nexus.restart();
		assert.equal((await listed(nexus, "pay")).length, 1, "it is listed at once");
		await eventually("it is heard again", async () => ((await listed(nexus, "pay"))[0]?.silentMs ?? 9_999) < 1_000);
		assert.equal((await listed(nexus, "pay")).length, 1);
		await asked.stop();
		assert.deepEqual([...asked.take().keys()], ["200"]);
	});

	test("serves a start without Nexus from the lists that were kept", async (t) => {
		const nexus = await startNexus(t);
		const one = await httpServer(t, echo("one"));
		await startSidecar(t, "pay", nexus, serves(one.address));
		const policy = ` }\npolicy: { source: nexus, cacheDir: kept }\noutbound: { listen: 127.0.0.1:0 }\nupstreams: { pay: { registry: nexus } }\n`;
		await nexus.call("PUT", "/v1/policies/checkout", {
			policy: "upstreams: { pay: { timeout: { request: 9s } } }\n".replace("timeout", "registry: nexus, timeout"),
		});
		const before = await startSidecar(t, "checkout", nexus, policy);
		await eventually("it is found", async () => (await answering(before.port("outbound"))) === "one");
		await eventually("it is kept", async () => existsSync(join(before.folder, "kept", "registry.json")));
		assert.equal(statSync(join(before.folder, "kept", "registry.json")).mode & 0o777, 0o600);
		before.process.process.kill("SIGKILL");
		await before.process.ended;
		await nexus.kill();
		const after = await startSidecar(t, "checkout", nexus, policy, before.folder);
		assert.equal(await answering(after.port("outbound")), "one");
	});

	test("refuses what is no name, no address and no lease", async (t) => {
		const nexus = await startNexus(t);
		const put = async (path: string, body: unknown): Promise<number> => (await nexus.call("PUT", path, body)).status;
		assert.equal(await put("/v1/services/pay/instances/a", { address: "10.0.0.1:80" }), 200);
		assert.equal(await put("/v1/services/PAY/instances/a", { address: "10.0.0.1:80" }), 400);
		assert.equal(await put("/v1/services/pay/instances/%20", { address: "10.0.0.1:80" }), 400);
		assert.equal(await put("/v1/services/pay/instances/a", { address: "10.0.0.1" }), 400);
		assert.equal(await put("/v1/services/pay/instances/a", { address: "10.0.0.1:0" }), 400);
		assert.equal(await put("/v1/services/pay/instances/a", { address: "10.0.0.1:80", lease: "1s" }), 400);
	});
});
