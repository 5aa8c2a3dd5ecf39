/** Two sidecars, mutual TLS between them: what passes, who is told of whom, and that certificates change without a request noticing. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import type { NexusEventData } from "../../../src/events/catalogue.ts";
import { pemOf } from "../../../src/identity/pem.ts";
import { DAY, HOUR, leaf } from "../../identity/support.ts";
import { until } from "../../net/support.ts";
import { rawClient, rawUpstream } from "../../support/raw-peer.ts";
import { type Echoed, echo, httpServer, startSidecar, type TestSidecar } from "../support.ts";
import { type CertificateFolder, call, certificateFolder } from "./support.ts";

interface Hop {
	readonly folder: CertificateFolder;
	readonly caller: TestSidecar;
	readonly service: TestSidecar;
}

interface HopOptions {
	readonly app?: Parameters<typeof httpServer>[1];
	readonly inbound?: string;
	readonly upstream?: string;
}

/** `checkout` calls `payments`. */
async function hop(t: TestContext, { app = echo("app"), inbound = "", upstream = "" }: HopOptions = {}): Promise<Hop> {
	const folder = await certificateFolder(t);
	const { address } = await httpServer(t, app);
	const service = await startSidecar(
		t,
		`${folder.identityOf("payments", await folder.issue("payments"))}inbound: { listen: 127.0.0.1:0, application: ${address}${inbound} }\n`,
		{ service: "payments" },
	);
	const caller = await startSidecar(
		t,
		`${folder.identityOf("checkout", await folder.issue("checkout"))}outbound: { listen: 127.0.0.1:0 }\nupstreams:\n  payments: { endpoints: [{ address: 127.0.0.1:${service.port("inbound")} }]${upstream} }\n`,
		{ service: "checkout" },
	);
	return { folder, caller, service };
}

/** Through the outbound port, as an application does it. */
function ask(sidecar: TestSidecar, path = "/", headers: Record<string, string> = {}, body?: string): Promise<{ status: number; text: string }> {
	return new Promise((resolve, reject) => {
		const req = request(
			{
				host: "127.0.0.1",
				port: sidecar.port("outbound"),
				path,
				method: body === undefined ? "GET" : "POST",
				headers: { host: "payments", ...headers },
			},
			(res) => {
				const parts: Buffer[] = [];
				res.on("data", (part: Buffer) => parts.push(part));
				res.on("end", () => resolve({ status: res.statusCode ?? 0, text: Buffer.concat(parts).toString("latin1") }));
				res.on("error", reject);
			},
		);
		req.on("error", reject);
		req.end(body);
	});
}

describe("a hop with mutual TLS", { timeout: 60_000 }, () => {
	it("tells the application who has called, whatever the caller says about that", async (t) => {
		const { caller } = await hop(t);
		const { text } = await ask(caller, "/", {
			"x-forwarded-client-cert": "By=evil",
			"x-nexus-caller": "spiffe://mesh.local/root",
			x_forwarded_client_cert: "evil",
		});
		const { headers } = JSON.parse(text) as Echoed;
		assert.equal(headers["x-nexus-caller"], "spiffe://mesh.local/checkout");
		assert.match(
			headers["x-forwarded-client-cert"] ?? "",
			/^By=spiffe:\/\/mesh\.local\/payments;Hash=[0-9a-f]{64};Subject="CN=checkout";URI=spiffe:\/\/mesh\.local\/checkout;DNS=checkout$/,
		);
		assert.equal(headers["x-forwarded-proto"], "https");
		assert.ok(!text.includes("evil"));
	});

	it("resumes a session on its second connection, and looks at the peer again", async (t) => {
		const { caller, service } = await hop(t, { inbound: ", limits: { keepAliveIdleTimeout: 100ms }" });
		await ask(caller);
		await until(() => service.sidecar.listeners().every(({ name, open }) => name !== "inbound" || open === 0));
		await ask(caller);
		assert.equal(await caller.metric("nexus_tls_connections_total", { direction: "outbound", name: "payments", result: "resumed" }), 1);
		assert.equal(await service.metric("nexus_tls_connections_total", { direction: "inbound", name: "inbound", result: "resumed" }), 1);
	});

	it("passes large bodies both ways, and an upgraded connection", async (t) => {
		const server = createServer(echo("app"));
		server.on("upgrade", (_req, socket) => {
			socket.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
			socket.pipe(socket);
		});
		await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
		t.after(() => {
			server.close();
			server.closeAllConnections();
		});
		const folder = await certificateFolder(t);
		const identity = folder.identityOf("payments", await folder.issue("payments"));
		const service = await startSidecar(
			t,
			`${identity}inbound: { listen: 127.0.0.1:0, application: 127.0.0.1:${(server.address() as AddressInfo).port} }\n`,
			{ service: "payments" },
		);
		const caller = await startSidecar(
			t,
			`${folder.identityOf("checkout", await folder.issue("checkout"))}outbound: { listen: 127.0.0.1:0 }\nupstreams: { payments: { endpoints: [{ address: 127.0.0.1:${service.port("inbound")} }] } }\n`,
			{ service: "checkout" },
		);
		const body = "0123456789abcdef".repeat(200_000);
		const { text } = await ask(caller, "/", {}, body);
		assert.equal((JSON.parse(text) as Echoed).body, body);
		const client = await rawClient(t, caller.port("outbound"));
		client.send("GET /ws HTTP/1.1\r\nHost: payments\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
		await client.untilText("\r\n\r\n");
		const sent = Array.from({ length: 20_000 }, (_, i) => `${i},`).join("");
		client.send(`${sent}end`);
		await client.untilText(/end$/);
		assert.ok(client.text.endsWith(`${sent}end`));
	});

	it("checks the health of its endpoints over TLS", async (t) => {
		const { caller } = await hop(t, {
			upstream: ", healthCheck: { interval: 100ms, timeout: 100ms, path: /healthz }",
			app: (req, res) => res.writeHead(req.headers["x-nexus-caller"] === "spiffe://mesh.local/checkout" ? 200 : 500).end(),
		});
		await until(() => caller.upstream("payments").endpoints[0]?.health === "healthy");
	});

	it("takes plain text and TLS on one port where it is permissive, and counts who has no identity", async (t) => {
		const { caller, service } = await hop(t, { inbound: ", tls: permissive" });
		assert.equal((await ask(caller)).status, 200);
		const plain = await fetch(`http://127.0.0.1:${service.port("inbound")}/`);
		const { headers } = (await plain.json()) as Echoed;
		assert.equal(headers["x-nexus-caller"], undefined);
		assert.equal(await service.metric("nexus_tls_connections_total", { direction: "inbound", name: "inbound", result: "plaintext" }), 1);
		const { body } = (await service.admin("GET", "/identity")) as { body: { inbound: { plaintext: { callers: { address: string }[] } } } };
		assert.equal(body.inbound.plaintext.callers[0]?.address, "127.0.0.1");
		const client = await rawClient(t, service.port("inbound"));
		client.send("GET / HTTP/1.1\r\nHost: payments\r\n\r\n");
		await client.untilText(/\}$/);
		service.write(readPolicy(service).replace("tls: permissive", "tls: strict"));
		assert.equal((await service.sidecar.reload()).kind, "applied");
		await client.untilClosed();
		const refused = await fetch(`http://127.0.0.1:${service.port("inbound")}/`);
		assert.deepEqual([refused.status, refused.headers.get("x-nexus-reason")], [400, "tls_plaintext_on_tls_port"]);
		assert.equal((await ask(caller)).status, 200);
	});

	it("takes plain text from nobody once it is strict, neither from who has said nothing yet nor in a tunnel that is granted late", async (t) => {
		const folder = await certificateFolder(t);
		const app = await rawUpstream(t);
		const identity = folder.identityOf("payments", await folder.issue("payments"));
		const policy = (tls: string): string => `${identity}inbound: { listen: 127.0.0.1:0, application: ${app.address}, tls: ${tls} }\n`;
		const service = await startSidecar(t, policy('{ mode: permissive, minVersion: "1.2" }'), { service: "payments" });
		const silent = await rawClient(t, service.port("inbound"));
		const late = await rawClient(t, service.port("inbound"));
		late.send("GET /ws HTTP/1.1\r\nHost: payments\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
		const connection = await app.connection(0);
		await connection.request();
		await until(() => service.sidecar.listeners().some(({ name, open }) => name === "inbound" && open === 2));
		service.write(policy("strict"));
		assert.equal((await service.sidecar.reload()).kind, "applied");
		silent.send("GET / HTTP/1.1\r\nHost: payments\r\n\r\n");
		await silent.untilClosed();
		assert.match(silent.text, /^HTTP\/1\.1 400 .*\r\nx-nexus-reason: tls_plaintext_on_tls_port\r\n/s);
		connection.tunnel = true;
		connection.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nsecret");
		await late.untilClosed();
		assert.equal(late.text, "");
	});

	it("answers a caller whose certificate has ended by our clock alone", async (t) => {
		const { folder, service } = await hop(t, { app: (_req, res) => void setTimeout(() => res.end("yes"), 50) });
		const { cert, key } = folder.pemOf(await folder.issue("checkout", { untilMs: Date.now() - 1_000 }));
		const { text } = await call(t, service.port("inbound"), { cert, key }, "GET / HTTP/1.1\r\nHost: payments\r\n\r\n");
		assert.match(text, /^HTTP\/1\.1 200 .*\r\nconnection: close\r\n.*yes$/s);
	});

	it("offers no session again to who has refused it", async (t) => {
		const folder = await certificateFolder(t);
		const { cert, key } = folder.pemOf(await folder.issue("payments"));
		const resumed: boolean[] = [];
		const server = createTlsServer({ cert, key, minVersion: "TLSv1.3" }, (_req, res) => {
			res.writeHead(resumed.length === 1 ? 200 : 403, { connection: "close" }).end();
		});
		server.on("secureConnection", (socket) => resumed.push(socket.isSessionReused()));
		await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
		t.after(() => {
			server.close();
			server.closeAllConnections();
		});
		const caller = await startSidecar(
			t,
			`${folder.identityOf("checkout", await folder.issue("checkout"))}outbound: { listen: 127.0.0.1:0 }\nupstreams: { payments: { endpoints: [{ address: 127.0.0.1:${(server.address() as AddressInfo).port} }] } }\n`,
			{ service: "checkout" },
		);
		for (const expected of [200, 403, 403]) assert.equal((await ask(caller)).status, expected);
		assert.deepEqual(resumed, [false, true, false]);
	});

	it("changes how an upstream is encrypted with a reload", async (t) => {
		const { caller } = await hop(t);
		assert.equal((await ask(caller)).status, 200);
		const before = readPolicy(caller);
		caller.write(before.replace("}] }", "}], tls: off }"));
		assert.equal((await caller.sidecar.reload()).kind, "applied");
		assert.equal((await ask(caller)).status, 400);
		caller.write(before);
		assert.equal((await caller.sidecar.reload()).kind, "applied");
		assert.equal((await ask(caller)).status, 200);
	});
});

/** Without what every policy of a test begins with. */
function readPolicy({ policyFile }: TestSidecar): string {
	return readFileSync(policyFile, "utf8").split("\n").slice(3).join("\n");
}

describe("certificates that change", { timeout: 120_000 }, () => {
	it("lose no request of 200 clients while both sides get a new one again and again", async (t) => {
		const { folder, caller, service } = await hop(t);
		const lifeMs = 6_000;
		let stopped = false;
		let answered = 0;
		const failed: string[] = [];
		const clients = Array.from({ length: 200 }, async (_, i) => {
			while (!stopped) {
				// Some that may not be sent twice.
				const { status, text } = await ask(caller, `/${i}`, {}, i % 4 === 0 ? "body" : undefined);
				if (status === 200) answered++;
				else failed.push(`${status} ${text}`);
				await new Promise((resolve) => setTimeout(resolve, 20));
			}
		});
		const serials = new Set<string>();
		const rounds = 5;
		for (let round = 0; round < rounds; round++) {
			for (const name of ["payments", "checkout"]) {
				const now = Date.now();
				folder.identityOf(name, await folder.issue(name, { fromMs: now - 1_000, untilMs: now + lifeMs }));
			}
			await until(() => [caller, service].every(({ events }) => rotations(events).length > round));
			for (const { newSerial } of rotations(caller.events)) serials.add(newSerial);
			await new Promise((resolve) => setTimeout(resolve, 1_000));
		}
		stopped = true;
		await Promise.all(clients);
		assert.deepEqual(failed.slice(0, 3), []);
		assert.ok(answered > 1_000, `${answered}`);
		assert.equal(serials.size, rounds);
	});

	it("end what rests on the old one in good order before that is over", async (t) => {
		const { folder, caller, service } = await hop(t);
		const now = Date.now();
		folder.identityOf("checkout", await folder.issue("checkout", { fromMs: now - 1_000, untilMs: now + 3_000 }));
		await until(() => rotations(caller.events).length === 1);
		assert.equal((await ask(caller)).status, 200);
		const open = (): number => service.sidecar.listeners().find(({ name }) => name === "inbound")?.open ?? 0;
		assert.equal(open(), 1);
		// The caller's certificate is over: the connection was given up before.
		await until(() => open() === 0);
		assert.ok(Date.now() < now + 3_500);
		assert.equal(service.events.filter(({ type }) => type === "nexus.mesh.mtls.failure").length, 0);
	});
});

function rotations(events: TestSidecar["events"]): NexusEventData["nexus.mesh.certificate.rotated"][] {
	return events
		.filter(({ type }) => type === "nexus.mesh.certificate.rotated")
		.map(({ data }) => data as NexusEventData["nexus.mesh.certificate.rotated"]);
}

describe("a service outside of the mesh", { timeout: 60_000 }, () => {
	async function outside(
		t: TestContext,
		dns: string,
		tls: string,
		minVersion: "TLSv1.2" | "TLSv1.3" = "TLSv1.2",
	): Promise<{ caller: TestSidecar; folder: CertificateFolder }> {
		const folder = await certificateFolder(t);
		const now = Date.now();
		const made = await leaf(folder.intermediate, { name: "CN=web", uris: [], dns: [dns], fromMs: now - HOUR, untilMs: now + DAY });
		const { cert, key, ca } = folder.pemOf(made);
		writeFileSync(join(folder.folder, "web-ca.pem"), ca);
		const server = createTlsServer({ cert, key, minVersion, maxVersion: minVersion }, (req, res) => res.end(`hello ${req.headers.host}`));
		server.on("tlsClientError", () => {});
		await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
		t.after(() => {
			server.close();
			server.closeAllConnections();
		});
		const { port } = server.address() as AddressInfo;
		const caller = await startSidecar(
			t,
			`outbound: { listen: 127.0.0.1:0 }\nupstreams:\n  web: { listen: 127.0.0.1:0, endpoints: [{ address: 127.0.0.1:${port} }], retry: { attempts: 0 }, tls: { external: true, serverName: api.example.com, ${tls.replace("FOLDER", folder.folder)} } }\n`,
		);
		return { caller, folder };
	}

	async function answerOf(caller: TestSidecar): Promise<{ text: string; reason: string | null }> {
		const response = await fetch(`http://127.0.0.1:${caller.port("web")}/`);
		return { text: await response.text(), reason: response.headers.get("x-nexus-reason") };
	}

	it("is reached over ordinary TLS, of version 1.2 as well, without an identity of ours", async (t) => {
		const { caller } = await outside(t, "api.example.com", "ca: FOLDER/web-ca.pem");
		assert.match((await answerOf(caller)).text, /^hello /);
	});

	it("must show its host name: tls_san_mismatch", async (t) => {
		const { caller } = await outside(t, "other.example.com", "ca: FOLDER/web-ca.pem");
		assert.equal((await answerOf(caller)).reason, "tls_san_mismatch");
	});

	it("must be known to the roots that were asked for: tls_unknown_ca", async (t) => {
		const { caller } = await outside(t, "api.example.com", "ca: system");
		assert.equal((await answerOf(caller)).reason, "tls_unknown_ca");
	});

	it("must speak the version that is asked for: tls_protocol_too_old", async (t) => {
		const { caller } = await outside(t, "api.example.com", 'ca: FOLDER/web-ca.pem, minVersion: "1.3"');
		assert.equal((await answerOf(caller)).reason, "tls_protocol_too_old");
	});

	it("keeps a policy from acting whose roots cannot be read", async (t) => {
		const { caller } = await outside(t, "api.example.com", "ca: FOLDER/web-ca.pem");
		caller.write(readPolicy(caller).replace("web-ca.pem", "missing.pem"));
		const result = await caller.sidecar.reload();
		assert.equal(result.kind, "rejected");
		assert.match(result.kind === "rejected" ? (result.faults[0]?.message ?? "") : "", /the roots of upstream web cannot be used: .*ENOENT/);
		assert.match((await answerOf(caller)).text, /^hello /);
	});
});

/** Until a counter stands at one. */
async function counted(sidecar: TestSidecar, name: string, labels: Record<string, string>): Promise<void> {
	while ((await sidecar.metric(name, labels)) !== 1) await new Promise((resolve) => setImmediate(resolve));
}

describe("a caller that a new bundle does not trust", { timeout: 60_000 }, () => {
	it("that was refused at first is let in once it is trusted, whatever it was given to resume", async (t) => {
		const { folder, caller, service } = await hop(t);
		const [path, trusted, other] = [join(folder.folder, "payments.ca.pem"), pemOf(folder.root.der, "CERTIFICATE"), await certificateFolder(t)];
		const versionOf = (): number | undefined => service.sidecar.identity()?.bundle?.version;
		// Nobody has come yet: the service has seen no chain of this caller.
		writeFileSync(path, pemOf(other.root.der, "CERTIFICATE"));
		await until(() => versionOf() === 2);
		const refused = await ask(caller);
		assert.deepEqual([refused.status, /tls_unknown_ca/.test(refused.text)], [403, true]);
		writeFileSync(path, trusted);
		await until(() => versionOf() === 3);
		assert.equal((await ask(caller)).status, 200);
	});

	it("cannot resume what it began before, nor can anybody else", async (t) => {
		const { folder, service } = await hop(t);
		const { cert, key } = folder.pemOf(await folder.issue("checkout"));
		const asked = (session?: Buffer) =>
			call(t, service.port("inbound"), { cert, key, ...(session && { session }) }, "GET / HTTP/1.1\r\nHost: payments\r\nConnection: close\r\n\r\n");
		const resumed = (): Promise<number> =>
			service.metric("nexus_tls_connections_total", { direction: "inbound", name: "inbound", result: "resumed" });
		const { session } = await asked();
		await asked(session);
		assert.equal(await resumed(), 1);
		const other = await certificateFolder(t);
		writeFileSync(join(folder.folder, "payments.ca.pem"), [folder, other].map(({ root: { der } }) => pemOf(der, "CERTIFICATE")).join(""));
		await until(() => service.sidecar.identity()?.bundle?.version === 2);
		assert.match((await asked(session)).text, /^HTTP\/1\.1 200 /);
		assert.equal(await resumed(), 1);
	});

	it("is cut, and refused from then on", async (t) => {
		const { folder, service } = await hop(t);
		const made = await folder.issue("checkout");
		const { cert, key } = folder.pemOf(made);
		const stands = call(t, service.port("inbound"), { cert, key }, "GET / HTTP/1.1\r\nHost: payments\r\n\r\n");
		await counted(service, "nexus_tls_connections_total", { direction: "inbound", name: "inbound", result: "full" });
		// Another root alone: whoever comes from the old one is a stranger now.
		const other = await certificateFolder(t);
		writeFileSync(join(folder.folder, "payments.ca.pem"), pemOf(other.root.der, "CERTIFICATE"));
		await stands;
		await counted(service, "nexus_tls_connections_cut_total", { reason: "tls_unknown_ca" });
		const { text } = await call(t, service.port("inbound"), { cert, key }, "GET / HTTP/1.1\r\nHost: payments\r\n\r\n");
		assert.match(text, /x-nexus-reason: tls_unknown_ca/);
	});
});
