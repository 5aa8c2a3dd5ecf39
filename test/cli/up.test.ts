/** `nexus up`: the sample shop as real processes. Every test has a copy of it with ports of its own. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { delimiter, dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { eventually, freePorts, isTaken, NexusProcess, temporaryFolder } from "../support/processes.ts";

const SHOP = fileURLToPath(new URL("../../config/samples/shop", import.meta.url));

const hasCurl = spawnSync("curl", ["--version"]).status === 0;
const skip = !hasCurl && process.env.NEXUS_TEST_STRICT !== "1" ? "curl is not installed" : false;

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

test("without any set-up the shop's services know one another by certificate, and each command on the screen shows what it says", {
	skip,
}, async (t) => {
	const { folder } = await copyOfShop(t);
	const up = new NexusProcess(t, ["up", "--config", join(folder, "mesh.json")], { env: { ...process.env, TMPDIR: folder } });
	await up.said(/frontend [1-9]\d*\/s .*payments [1-9]\d*\/s/);
	assert.match(up.stdout, /^ {2}strict +checkout, payments +only who has a certificate of the mesh$/m);
	assert.match(up.stdout, /^ {2}permissive +frontend +visitors in plain text as well: the edge$/m);

	const status = JSON.parse(typed(up, /mtls status \S+/)) as MtlsStatus;
	assert.equal(status.identity.identity, "spiffe://mesh.local/frontend");
	assert.equal(status.strict.verdict, "not_yet", "visitors come in plain text");
	const { tls, expected, connections } = status.upstreams.find(({ name }) => name === "checkout") ?? assert.fail("it does not call checkout");
	assert.deepEqual([tls, expected, connections.plaintext, connections.failed], ["mesh", "spiffe://mesh.local/checkout", 0, 0]);
	assert.ok(connections.full + connections.resumed > 0);

	const { cells } = JSON.parse(typed(up, /authz matrix \S+/)) as { cells: { caller: string; service: string; access: string }[] };
	const pairs = cells.filter(({ access }) => access !== "none").map(({ caller, service }) => `${caller.split("/").at(-1)} -> ${service}`);
	assert.deepEqual(pairs.toSorted(), ["checkout -> payments", "frontend -> checkout", "unauthenticated -> frontend"]);

	const refused = typed(up, /curl -i -H 'Host: payments' \S+/);
	assert.match(refused, /^HTTP\/1\.1 403 .*^x-nexus-reason: unauthorized\r$.*"the caller is spiffe:\/\/mesh\.local\/frontend"/ms);
	assert.match(typed(up, /curl \S+\/failures/), /no rule allows this to spiffe:\/\/mesh\.local\/frontend \(\S+payments\.yaml:\d+:\d+\)/);
	await up.said(/payments authorization\.denied spiffe:\/\/mesh\.local\/frontend GET \/ x1: no rule allows it/);
	assert.match(typed(up, /curl \S+\/authorization\/dry-run/), /"rule":"only-once",.*"caller":"spiffe:\/\/mesh\.local\/checkout"/);

	// Its own port takes nothing from whoever has no certificate.
	const [, port] = await up.said(/payments-1 +\S+ +127\.0\.0\.1:(\d+)/);
	const plain = await fetch(`http://127.0.0.1:${port}/pay/7`);
	assert.deepEqual([plain.status, plain.headers.get("x-nexus-reason")], [400, "tls_plaintext_on_tls_port"]);
});

test("a service that is revoked by the command on the screen is cut off, and comes back with --undo", { skip }, async (t) => {
	const { folder } = await copyOfShop(t);
	const up = new NexusProcess(t, ["up", "--config", join(folder, "mesh.json")]);
	const [, url = ""] = await up.said(/curl -i (\S+)/);
	const [revoke] = await up.said(/\S+ ca revoke --identity payments \S+ \S+/);
	assert.equal((await fetch(url)).status, 200);
	shell(revoke);
	await eventually("checkout refuses payments", async () => /tls_cert_revoked/.test(await (await fetch(url)).text()));
	await up.said(/checkout mtls\.failure \S+: tls_cert_revoked x\d+ spiffe:\/\/mesh\.local\/payments/);
	shell(`${revoke} --undo`);
	await eventually("checkout lets payments in again", async () => (await fetch(url)).status === 200);
});

test("keys and tokens can be read by their owner alone, and nothing of them is left at the end, also where nobody reads the output any more", async (t) => {
	const { folder } = await copyOfShop(t);
	const scratch = (): string[] => readdirSync(folder).filter((name) => name.startsWith("nexus-up-"));
	for (const end of ["SIGTERM", "the reader goes"]) {
		const up = new NexusProcess(t, ["up", "--config", join(folder, "mesh.json")], { env: { ...process.env, TMPDIR: folder } });
		await up.said(/Try in another terminal/);
		const [name = ""] = scratch();
		const modes = Object.entries(modesBelow(join(folder, name)));
		assert.equal(modes.find(([path]) => path === "")?.[1], 0o700);
		const secrets = modes.filter(([path]) => /\.(key|token)$|identity\.json$/.test(path));
		// Root, intermediate; five sidecars, the first operator; the state of Nexus.
		assert.equal(secrets.length, 9);
		for (const [path, mode] of secrets) assert.equal(mode, 0o600, path);
		if (end === "SIGTERM") up.process.kill("SIGTERM");
		else up.process.stdout?.destroy();
		assert.deepEqual(await up.ended, { code: 0, signal: null }, end);
		assert.deepEqual(scratch(), [], end);
	}
});

test("a mesh whose policies want no identity runs without an authority, and says that nothing is encrypted", async (t) => {
	const { folder, ports } = await copyOfShop(t);
	const [nexus, app, admin, inbound] = ports;
	writeFileSync(
		join(folder, "plain.yaml"),
		`service: plain
admin: { listen: "127.0.0.1:\${ADMIN_PORT}" }
inbound: { listen: "127.0.0.1:\${INBOUND_PORT}", application: "127.0.0.1:\${APP_PORT}" }
nexus: { url: "http://127.0.0.1:\${NEXUS_PORT}" }
`,
	);
	const services = [
		{ name: "plain", policy: "plain.yaml", command: ["node", "payments.ts"], ports: { APP_PORT: app, ADMIN_PORT: admin, INBOUND_PORT: inbound } },
	];
	writeFileSync(join(folder, "mesh.json"), mesh({ nexus: { port: nexus }, traffic: { to: "plain", path: "/", requestsPerSecond: 5 }, services }));
	const up = new NexusProcess(t, ["up", "--config", join(folder, "mesh.json")]);
	await up.said(/^Nothing is encrypted: no policy has an `identity`\.$/m);
	await up.said(/plain [1-9]\d*\/s/);
	assert.doesNotMatch(up.stdout, /mtls status|ca revoke/);
	const answer = await fetch(`http://127.0.0.1:${nexus}/v1/authority`);
	assert.deepEqual([answer.status, ((await answer.json()) as { reason: string }).reason], [503, "no_authority"]);
});

test("policies of two trust domains are refused, as one Nexus issues for one", async (t) => {
	const { folder } = await copyOfShop(t);
	const file = join(folder, "payments.yaml");
	writeFileSync(file, readFileSync(file, "utf8").replace("service: payments", "service: payments\ntrustDomain: bank.local"));
	const up = new NexusProcess(t, ["up", "--config", join(folder, "mesh.json")]);
	assert.deepEqual(await up.ended, { code: 1, signal: null });
	assert.match(up.stderr, /several trust domains, and one Nexus issues for one: mesh\.local, bank\.local/);
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

interface MtlsStatus {
	readonly identity: { readonly identity: string };
	readonly strict: { readonly verdict: string };
	readonly upstreams: readonly {
		readonly name: string;
		readonly tls: string;
		readonly expected: string;
		readonly connections: Readonly<Record<"full" | "resumed" | "plaintext" | "failed", number>>;
	}[];
}

/** What a command of the screen says, typed where the screen was printed. */
function typed(up: NexusProcess, command: RegExp): string {
	const line = new RegExp(`^ {2}((?:\\S+nexus )?${command.source})`, "m").exec(up.stdout)?.[1];
	return shell(line ?? assert.fail(`${command} is not on the screen:\n${up.stdout}`));
}

function shell(command: string): string {
	const path = `${dirname(process.execPath)}${delimiter}${process.env.PATH ?? ""}`;
	const { status, stdout, stderr } = spawnSync("sh", ["-c", command], { encoding: "utf8", env: { ...process.env, PATH: path, NO_PROXY: "*" } });
	assert.equal(status, 0, `${command}\n${stdout}\n${stderr}`);
	return stdout;
}

/** Permissions of a folder (as "") and of all below it. */
function modesBelow(folder: string): Record<string, number> {
	const names = ["", ...readdirSync(folder, { recursive: true, encoding: "utf8" })];
	return Object.fromEntries(names.map((name) => [name, statSync(join(folder, name)).mode & 0o777]));
}

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
