/** `nexus up`: the sample shop as real processes. Every test has a copy of it with ports of its own. */
import assert from "node:assert/strict";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { eventually, freePorts, isTaken, NexusProcess, temporaryFolder } from "../support/processes.ts";

const SHOP = fileURLToPath(new URL("../../config/samples/shop", import.meta.url));

test("the shop serves requests through its sidecars, its events arrive, and a stop leaves no process behind", async (t) => {
	const { folder, ports } = await copyOfShop(t);
	const up = new NexusProcess(t, ["up", "--config", join(folder, "mesh.json")]);
	await up.said(/Try in another terminal/);
	for (const name of ["frontend", "checkout", "payments-1", "payments-2", "payments-3", "nexus"])
		assert.match(up.stdout, new RegExp(`^  ${name} +127\\.0\\.0\\.1:`, "m"));

	const [, url = ""] = await up.said(/curl -i (\S+)/);
	const response = await fetch(url);
	assert.equal(response.status, 200);
	const { shop, order } = (await response.json()) as { shop: string; order: { payment: { paid: boolean; by: string } } };
	assert.deepEqual([shop, order.payment.paid], ["open", true]);
	assert.match(order.payment.by, /^payments-[123]$/);

	// What the steady traffic did has come back as events.
	await up.said(/frontend [1-9]\d*\/s .*checkout [1-9]\d*\/s .*payments [1-9]\d*\/s .* \d+ events/);
	up.process.kill("SIGTERM");
	assert.deepEqual(await up.ended, { code: 0, signal: null });
	assert.equal(up.stderr, "");
	assert.deepEqual(await takenOf(ports), []);
});

test("a policy that is broken while it runs changes nothing, and the fault shows with its place", async (t) => {
	const { folder } = await copyOfShop(t);
	const up = new NexusProcess(t, ["up", "--config", join(folder, "mesh.json")]);
	const [, url = ""] = await up.said(/curl -i (\S+)/);
	const file = join(folder, "checkout.yaml");
	writeFileSync(file, readFileSync(file, "utf8").replace("loadBalancing: least-connections", "loadBalancing: round-robbin"));
	await up.said(/checkout policy\.rejected\n +\S*checkout\.yaml:\d+:\d+: .*round-robbin/);
	assert.equal((await fetch(url)).status, 200);
	writeFileSync(file, readFileSync(file, "utf8").replace("round-robbin", "round-robin"));
	await up.said(/checkout policy\.applied/);
	up.process.kill("SIGINT");
	assert.deepEqual(await up.ended, { code: 0, signal: null });
});

test("when it is killed outright, all that it started ends by itself", async (t) => {
	const { folder, ports } = await copyOfShop(t);
	// Its logs and events stay behind, so they stand where the test cleans up.
	const up = new NexusProcess(t, ["up", "--config", join(folder, "mesh.json")], { env: { ...process.env, TMPDIR: folder } });
	await up.said(/Try in another terminal/);
	assert.notDeepEqual(await takenOf(ports), []);
	up.process.kill("SIGKILL");
	await up.ended;
	await eventually("all ports are free again", async () => (await takenOf(ports)).length === 0);
});

test("a port that is taken leads to another one, and it says so", async (t) => {
	const { folder, ports } = await copyOfShop(t);
	const [taken = 0] = ports;
	const blocker = createServer((_, response) => response.end());
	await new Promise<void>((resolve) => blocker.listen(taken, "127.0.0.1", resolve));
	t.after(() => blocker.close());
	const up = new NexusProcess(t, ["up", "--config", join(folder, "mesh.json")]);
	const [, given] = await up.said(new RegExp(`NEXUS_PORT: ${taken} is taken, using (\\d+)`));
	await up.said(new RegExp(`nexus +127\\.0\\.0\\.1:${given}`));
	await up.said(/events --follow --url http/);
	up.process.kill("SIGTERM");
	assert.deepEqual(await up.ended, { code: 0, signal: null });
});

test("a service that ends by itself ends the mesh, and the end of its log is shown", async (t) => {
	const { folder, ports } = await copyOfShop(t);
	writeFileSync(join(folder, "checkout.ts"), 'console.error("the shop is out of paper");\nprocess.exit(5);\n');
	const up = new NexusProcess(t, ["up", "--config", join(folder, "mesh.json")]);
	assert.deepEqual(await up.ended, { code: 70, signal: null });
	assert.match(up.stderr, /nexus: checkout ended with 5\. The end of its log:\n {2}the shop is out of paper/);
	assert.deepEqual(await takenOf(ports), []);
});

test("a policy with faults starts nothing", async (t) => {
	const { folder } = await copyOfShop(t);
	writeFileSync(join(folder, "payments.yaml"), "service: payments\nadmn: {}\n");
	const up = new NexusProcess(t, ["up", "--config", join(folder, "mesh.json")]);
	assert.deepEqual(await up.ended, { code: 1, signal: null });
	assert.match(up.stderr, /payments\.yaml:2:1: /);
	assert.equal(up.stderr.match(/payments\.yaml:2:1: /g)?.length, 1, "once, although three instances read it");
});

test("a mesh file that is wrong is refused with the reason", async (t) => {
	const folder = temporaryFolder(t, "up");
	const file = join(folder, "mesh.json");
	for (const [text, reason] of [
		["{", /JSON/],
		['{ "services": [] }', /nexus/],
		[mesh({ traffic: { to: "nobody", path: "/", requestsPerSecond: 1 } }), /traffic\.to names nobody, which is no service/],
		[mesh({ services: [{ name: "a", policy: "a.yaml", command: ["node"], ports: { APP_PORT: 1024 } }] }), /services\.a\.ports has no ADMIN_PORT/],
	] as const) {
		writeFileSync(file, text);
		const up = new NexusProcess(t, ["up", "--config", file]);
		assert.deepEqual(await up.ended, { code: 1, signal: null }, text);
		assert.match(up.stderr, reason);
	}
	const missing = new NexusProcess(t, ["up", "--config", join(folder, "nothing.json")]);
	assert.deepEqual(await missing.ended, { code: 1, signal: null });
	assert.match(missing.stderr, /ENOENT/);
});

function mesh(change: object): string {
	const service = { name: "a", policy: "a.yaml", command: ["node"], ports: { APP_PORT: 1024, ADMIN_PORT: 1025, INBOUND_PORT: 1026 } };
	return JSON.stringify({ nexus: { port: 1023 }, traffic: { to: "a", path: "/", requestsPerSecond: 1 }, services: [service], ...change });
}

/** `ports` are those that it asks for, that of Nexus first. */
async function copyOfShop(t: TestContext): Promise<{ folder: string; ports: number[] }> {
	const folder = temporaryFolder(t, "up");
	cpSync(SHOP, folder, { recursive: true });
	// The services are ES modules, as they are in the repository.
	writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
	const file = join(folder, "mesh.json");
	const config = JSON.parse(readFileSync(file, "utf8")) as { nexus: { port: number }; services: { ports: Record<string, number> }[] };
	const ports = await freePorts(1 + config.services.reduce((sum, service) => sum + Object.keys(service.ports).length, 0));
	let next = 0;
	const take = (): number => ports[next++] ?? 0;
	config.nexus.port = take();
	for (const service of config.services) service.ports = Object.fromEntries(Object.keys(service.ports).map((name) => [name, take()]));
	writeFileSync(file, JSON.stringify(config));
	return { folder, ports };
}

async function takenOf(ports: readonly number[]): Promise<number[]> {
	const taken = await Promise.all(ports.map(async (port) => ((await isTaken(port)) ? [port] : [])));
	return taken.flat();
}
