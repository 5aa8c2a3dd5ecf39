/** Policies and registrations over mutual TLS: a sidecar speaks for its own service, and goes on over renewals of its certificate. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import { test } from "node:test";
import { eventually, freePorts, NexusProcess, temporaryFolder } from "../../support/processes.ts";

interface Answer {
	readonly status: number;
	readonly body: Record<string, unknown>;
}

/** With the certificate of the sidecar, as whoever has stolen it would. */
function callAs(identity: string, url: string, method: string, path: string, body: unknown): Promise<Answer> {
	const text = JSON.stringify(body);
	return new Promise((resolve, reject) => {
		const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
		const sent = request(
			new URL(path, url),
			{ method, headers, cert: identity, key: identity, rejectUnauthorized: false, agent: false },
			(response) => {
				let answer = "";
				response.on("data", (chunk: Buffer) => (answer += chunk.toString()));
				response.on("end", () => resolve({ status: response.statusCode ?? 0, body: JSON.parse(answer === "" ? "{}" : answer) as Answer["body"] }));
			},
		);
		sent.once("error", reject);
		sent.end(text);
	});
}

test("a sidecar takes its policy and is listed over mutual TLS, through renewals, and for its own service alone", async (t) => {
	const folder = temporaryFolder(t, "policies-tls");
	const [nexusPort = 0, adminPort = 0] = await freePorts(2);
	const url = `https://127.0.0.1:${nexusPort}`;
	writeFileSync(join(folder, "nexus.yaml"), `listen: 127.0.0.1:${nexusPort}\ndata: ./data\nauthority: { dir: ./certs, certificateTtl: 10s }\n`);
	writeFileSync(
		join(folder, "mesh.yaml"),
		`service: payments
admin: { listen: 127.0.0.1:${adminPort} }
drainTimeout: 100ms
nexus: { url: "${url}", register: {} }
policy: { source: nexus }
identity: { nexus: { tokenFile: ./join.token }, cacheDir: ./identity }
inbound: { listen: 127.0.0.1:0, application: "127.0.0.1:9" }
`,
	);
	const policy = join(folder, "policy.yaml");
	const run = async (...args: string[]): Promise<string> => {
		const process = new NexusProcess(t, args, { cwd: folder });
		assert.equal((await process.ended).code, 0, `nexus ${args.join(" ")}: ${process.stderr}`);
		return process.stdout;
	};
	const operate = (...args: string[]): Promise<string> => run(...args, "--url", url, "--ca", "certs/ca.pem", "--token-file", "data/operator.token");
	await run("ca", "init");
	const nexus = new NexusProcess(t, ["serve", "--config", "nexus.yaml"], { cwd: folder });
	await nexus.said(/127\.0\.0\.1:\d+/);
	await operate("token", "create", "--service", "payments", "--out", "join.token");
	writeFileSync(policy, "inbound: { authorization: { default: deny, rules: [{ name: a, action: allow, from: [frontend] }] } }\n");
	await operate("policies", "put", "payments", "policy.yaml", "--reason", "rules");
	const sidecar = new NexusProcess(t, ["sidecar", "--config", "mesh.yaml"], { cwd: folder });
	await sidecar.said(/"message":"ready"/, "stderr");
	const status = async (): Promise<{ instances: { version: number }[] }> => JSON.parse(await operate("policies", "status", "payments")) as never;
	assert.deepEqual(
		(await status()).instances.map(({ version }) => version),
		[1],
	);
	const services = async (): Promise<string> => operate("services", "payments");
	await eventually("it is listed", async () => (await services()).includes('"health":"ready"'));

	const identity = readFileSync(join(folder, "identity", "identity.pem"), "utf8");
	const said = { instance: "evil-1", have: "", running: 0, sinceMs: 0, rejected: null };
	const own = await callAs(identity, url, "POST", "/v1/policies/payments/sync", said);
	assert.equal(own.status, 200);
	const other = await callAs(identity, url, "POST", "/v1/policies/orders/sync", said);
	assert.equal(other.status, 403);
	assert.equal(other.body.detail, "spiffe://mesh.local/payments speaks for payments, and this is orders.");
	assert.equal((await callAs(identity, url, "PUT", "/v1/services/orders/instances/evil-1", { address: "127.0.0.1:1" })).status, 403);
	assert.equal((await callAs(identity, url, "PUT", "/v1/policies/payments", { policy: "outbound: {}\n" })).status, 403, "what it runs others say");

	// The certificate lasts 10 s: the poll goes on with the next one.
	await eventually("the certificate was renewed", async () => {
		const page = (await (await fetch(`http://127.0.0.1:${adminPort}/identity`)).json()) as { identity: { renewals: { renewed: number } } };
		return page.identity.renewals.renewed >= 1;
	});
	writeFileSync(policy, "inbound: { authorization: { default: deny, rules: [{ name: b, action: allow, from: [checkout] }] } }\n");
	await operate("policies", "put", "payments", "policy.yaml", "--at-once");
	await eventually("it runs the next one", async () => (await status()).instances.some(({ version }) => version === 2));
	const audit = await operate("events", "--type", "nexus.audit.mutation", "--limit", "50");
	assert.match(audit, /"actor":"token [0-9a-f]{16} \(first operator\)","method":"PUT","path":"\/v1\/policies\/payments","status":201/);
	assert.doesNotMatch(audit, /nxt_|nxj_/);
});
