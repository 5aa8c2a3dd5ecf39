/** Sidecar and Nexus as two processes, from an empty folder: joining, renewing while Nexus is killed, starting again without a token. */
import assert from "node:assert/strict";
import { readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { request as httpsRequest } from "node:https";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { eventually, freePorts, NexusProcess, temporaryFolder } from "../../support/processes.ts";

interface Mesh {
	readonly folder: string;
	readonly admin: string;
	readonly nexusUrl: string;
	startNexus(): Promise<NexusProcess>;
	startSidecar(): NexusProcess;
	nexus(...args: string[]): Promise<string>;
}

async function setUp(t: TestContext, certificateTtl: string): Promise<Mesh> {
	const folder = temporaryFolder(t, "joined");
	const [nexusPort = 0, adminPort = 0, inboundPort = 0] = await freePorts(3);
	const nexusUrl = `https://127.0.0.1:${nexusPort}`;
	writeFileSync(
		join(folder, "nexus.yaml"),
		`listen: 127.0.0.1:${nexusPort}\ndata: ./data\nauthority: { dir: ./certs, certificateTtl: ${certificateTtl} }\n`,
	);
	writeFileSync(
		join(folder, "mesh.yaml"),
		`service: payments
trustDomain: mesh.local
admin: { listen: 127.0.0.1:${adminPort} }
nexus: { url: "${nexusUrl}" }
identity: { nexus: { tokenFile: ./join.token }, cacheDir: ./identity }
inbound: { listen: 127.0.0.1:${inboundPort}, application: "127.0.0.1:9" }
`,
	);
	const run = async (...args: string[]): Promise<string> => {
		const process = new NexusProcess(t, args, { cwd: folder });
		const { code } = await process.ended;
		assert.equal(code, 0, `nexus ${args.join(" ")}: ${process.stderr}`);
		return process.stdout;
	};
	await run("ca", "init");
	return {
		folder,
		admin: `http://127.0.0.1:${adminPort}`,
		nexusUrl,
		async startNexus() {
			const process = new NexusProcess(t, ["serve", "--config", "nexus.yaml"], { cwd: folder });
			await process.said(/127\.0\.0\.1:\d+/);
			return process;
		},
		startSidecar: () => new NexusProcess(t, ["sidecar", "--config", "mesh.yaml"], { cwd: folder }),
		nexus: run,
	};
}

function createToken(mesh: Mesh, uses = 1): Promise<string> {
	return operate(mesh, "token", "create", "--service", "payments", "--uses", String(uses), "--out", "join.token");
}

/** As the operator of Nexus. */
function operate({ nexus, nexusUrl }: Mesh, ...command: string[]): Promise<string> {
	return nexus(...command, "--url", nexusUrl, "--ca", "certs/ca.pem", "--token-file", "data/operator.token");
}

interface IdentityPage {
	readonly identity: {
		readonly state: string;
		readonly certificate: { readonly serial: string; readonly issuer: string };
		readonly bundle: { readonly version: number; readonly roots: readonly { readonly fingerprint: string }[] };
		readonly renewals: { readonly renewed: number; readonly failed: number };
	};
}

async function identityOf({ admin }: Mesh): Promise<IdentityPage["identity"] | undefined> {
	const text = await textOf(`${admin}/identity`).catch(() => undefined);
	return text === undefined ? undefined : (JSON.parse(text) as IdentityPage).identity;
}

function textOf(url: string): Promise<string> {
	return new Promise((resolve, reject) => {
		const get = request(url, (res) => {
			let text = "";
			res.on("data", (chunk) => (text += String(chunk)));
			res.on("end", () => resolve(text));
			res.on("error", reject);
		});
		get.on("error", reject);
		get.end();
	});
}

/** Types of the events that Nexus has. */
function eventsOf({ nexusUrl, folder }: Mesh): Promise<string> {
	const headers = { authorization: `Bearer ${readFileSync(join(folder, "data/operator.token"), "utf8").trim()}` };
	const ca = readFileSync(join(folder, "certs/ca.pem"));
	return new Promise((resolve, reject) => {
		const get = httpsRequest(`${nexusUrl}/v1/events`, { ca, headers, checkServerIdentity: () => undefined, agent: false }, (res) => {
			let text = "";
			res.on("data", (chunk) => (text += String(chunk)));
			res.on("end", () => resolve(text));
			res.on("error", reject);
		});
		get.on("error", reject);
		get.end();
	});
}

test("a sidecar joins with a token, renews by itself, keeps on while Nexus is killed and comes back, and sends its events as itself", async (t) => {
	const mesh = await setUp(t, "6s");
	const first = await mesh.startNexus();
	// A machine that is busy for seconds lets a certificate of seconds end: then the token helps on.
	await createToken(mesh, 9);
	const sidecar = mesh.startSidecar();
	await sidecar.said(/"ready"/, "stderr");
	const joined = await identityOf(mesh);
	assert.equal(joined?.state, "valid");
	assert.equal(statSync(join(mesh.folder, "identity/identity.pem")).mode & 0o777, 0o600);
	await eventually("it is renewed", async () => ((await identityOf(mesh))?.renewals.renewed ?? 0) >= 1);
	await eventually("its events are there", async () => {
		const events = await eventsOf(mesh);
		return events.includes("nexus.mesh.sidecar.started") && events.includes("nexus.mesh.certificate.rotated");
	});
	first.process.kill("SIGKILL");
	await first.ended;
	await eventually("a renewal fails", async () => ((await identityOf(mesh))?.renewals.failed ?? 0) >= 1);
	await mesh.startNexus();
	const before = (await identityOf(mesh))?.renewals.renewed ?? 0;
	await eventually("it is renewed by the Nexus that is back", async () => ((await identityOf(mesh))?.renewals.renewed ?? 0) > before);
	const token = readFileSync(join(mesh.folder, "join.token"), "utf8").trim();
	assert.ok(!`${sidecar.stdout}${sidecar.stderr}`.includes(token));
});

test("a sidecar that is killed starts again without a token, from what it has kept; without both it waits and says why", async (t) => {
	const mesh = await setUp(t, "1h");
	await mesh.startNexus();
	await createToken(mesh);
	const first = mesh.startSidecar();
	await first.said(/"ready"/, "stderr");
	const serial = (await identityOf(mesh))?.certificate.serial;
	first.process.kill("SIGKILL");
	await first.ended;
	const second = mesh.startSidecar();
	await second.said(/"ready"/, "stderr");
	assert.equal((await identityOf(mesh))?.certificate.serial, serial);
	second.process.kill("SIGKILL");
	await second.ended;
	rmSync(join(mesh.folder, "identity"), { recursive: true });
	const third = mesh.startSidecar();
	await eventually("it says why", async () => /does not take the join token/.test(await textOf(`${mesh.admin}/readyz`).catch(() => "")));
	await createToken(mesh);
	await third.said(/"ready"/, "stderr");
	assert.notEqual((await identityOf(mesh))?.certificate.serial, serial);
});

test("the root of the mesh is replaced under a sidecar that runs, and one that is revoked says so", async (t) => {
	// A rotation waits for one life of a certificate before it believes that it knows them all.
	const mesh = await setUp(t, "10s");
	await mesh.startNexus();
	await createToken(mesh, 9);
	const sidecar = mesh.startSidecar();
	await sidecar.said(/"ready"/, "stderr");
	const before = await identityOf(mesh);
	assert.ok(before);
	await operate(mesh, "ca", "rotate", "--root");
	await eventually("the old root is gone", async () => {
		const roots = (await identityOf(mesh))?.bundle.roots ?? [];
		return roots.length === 1 && roots[0]?.fingerprint !== before.bundle.roots[0]?.fingerprint;
	});
	assert.notEqual((await identityOf(mesh))?.certificate.issuer, before.certificate.issuer);
	await operate(mesh, "ca", "revoke", "--identity", "payments");
	await sidecar.said(/our own certificate is of no use any more: .* is on the deny list/, "stderr");
});
