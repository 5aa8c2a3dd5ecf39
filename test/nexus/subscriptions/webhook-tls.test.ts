/** Webhooks over TLS: which certificate the receiver is shown, by what it must prove who it is, and what is said where one of them is wrong. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type ServerOptions } from "node:https";
import { type AddressInfo, createServer as createPlainServer } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { TLSSocket } from "node:tls";
import { fileURLToPath } from "node:url";
import { inspect } from "node:util";
import type { Logger } from "../../../src/core/log.ts";
import { STRUCTURED_TYPE } from "../../../src/events/http-binding.ts";
import { privateKeyPem } from "../../../src/identity/certificate-request.ts";
import { pemOf } from "../../../src/identity/pem.ts";
import { HOUR, leaf, type Made, root } from "../../identity/support.ts";
import { serveAuthority } from "../authority/support.ts";
import { eventJson, serveNexus, temporaryDir } from "../support.ts";
import { call, publish, type Shown, until } from "./support.ts";

/** Certificates are for hours around now. */
const LIFE = { fromMs: Date.now() - HOUR, untilMs: Date.now() + HOUR };
const PARTNER = "spiffe://partner.example/billing";
/** Nexus renews its certificate after seven tenths of it; that of the receiver must last as long. */
const RENEWED_MS = 9_000;
/** What a receiver says of our certificate may be lost with the connection; then it is said what may be the cause. */
const NOT_ACCEPTED = /TLS failed \(tls_(no_client_cert|refused_by_peer)\)|the receiver may not accept the certificate that it was shown, or want one/;

const certificateOf = (made: Made): string => pemOf(made.der, "CERTIFICATE");
const keyOf = (made: Made): string => privateKeyPem(made.key);

interface Hook {
	readonly url: string;
	readonly port: number;
	/** Who has sent each event, by what its certificate says of it. */
	readonly senders: string[];
	/** For new connections; those that are there end. */
	change(options: ServerOptions): void;
}

/** A receiver that wants a certificate of `clientRoots`, and looks at none where they are not given. */
async function secureHook(t: TestContext, shown: Pick<ServerOptions, "cert" | "key">, clientRoots?: string): Promise<Hook> {
	const senders: string[] = [];
	const asked = clientRoots === undefined ? {} : { ca: clientRoots, requestCert: true, rejectUnauthorized: true };
	const server = createServer({ ...shown, ...asked }, async (req, res) => {
		for await (const _ of req);
		const { subject = "", subjectAltName = "" } = (req.socket as TLSSocket).getPeerX509Certificate() ?? {};
		senders.push(`${subject} ${subjectAltName}`.trim());
		res.writeHead(204).end();
	});
	server.on("tlsClientError", () => {});
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	t.after(() => {
		server.closeAllConnections();
		server.close();
	});
	const { port } = server.address() as AddressInfo;
	return {
		url: `https://localhost:${port}/hook`,
		port,
		senders,
		change(options) {
			server.setSecureContext({ ...shown, ...asked, ...options });
			server.closeAllConnections();
		},
	};
}

const by = (made: Made): Pick<ServerOptions, "cert" | "key"> => ({ cert: certificateOf(made), key: keyOf(made) });

interface Parties {
	readonly dir: string;
	readonly receivers: Made;
	readonly senders: Made;
	readonly others: Made;
	readonly receiver: Made;
	readonly sender: Made;
	readonly stranger: Made;
	readonly expired: Made;
	readonly billing: Made;
	write(name: string, ...text: string[]): string;
}

async function parties(t: TestContext): Promise<Parties> {
	const dir = temporaryDir(t);
	const [receivers, senders, others] = await Promise.all(["receivers", "senders", "others"].map((name) => root({ name: `CN=${name}`, ...LIFE })));
	assert.ok(receivers !== undefined && senders !== undefined && others !== undefined);
	const dns = ["localhost"];
	const [receiver, sender, stranger, expired, billing] = await Promise.all([
		leaf(receivers, { name: "CN=receiver", dns, uris: [], ...LIFE }),
		leaf(senders, { name: "CN=nexus-one", uris: [], dns: [], ...LIFE }),
		leaf(others, { name: "CN=stranger", dns, uris: [], ...LIFE }),
		leaf(receivers, { name: "CN=receiver", dns, uris: [], fromMs: Date.now() - HOUR, untilMs: Date.now() - 60_000 }),
		leaf(receivers, { name: "CN=billing", uris: [PARTNER], dns: [], ...LIFE }),
	]);
	const write = (name: string, ...text: string[]): string => {
		const path = join(dir, name);
		writeFileSync(path, text.join(""), { mode: 0o600 });
		return path;
	};
	write("sender.pem", certificateOf(sender), keyOf(sender));
	write("stranger.pem", certificateOf(stranger), keyOf(stranger));
	write("receivers.pem", certificateOf(receivers));
	write("others.pem", certificateOf(others));
	return { dir, receivers, senders, others, receiver, sender, stranger, expired, billing, write };
}

/** As `webhooks.certificates` names them. */
function certificates({ dir }: Parties) {
	const at = (name: string): string => join(dir, name);
	return {
		partner: { cert: at("sender.pem"), key: at("sender.pem"), ca: at("receivers.pem") },
		stranger: { cert: at("stranger.pem"), key: at("stranger.pem"), ca: at("receivers.pem") },
		others: { ca: at("others.pem") },
	};
}

async function subscribe(url: string, name: string, sink: object, delivery: object = {}): Promise<void> {
	const document = { filter: { type: "t" }, sink: { kind: "webhook", ...sink }, delivery: { backoff: ["20ms"], ...delivery } };
	const made = await call(`${url}/v1/subscriptions/${name}`, "PUT", document);
	assert.equal(made.status, 201, JSON.stringify(made.json));
}

async function listenPlain(t: TestContext): Promise<number> {
	const server = createPlainServer(
		(socket) => void socket.on("error", () => {}).once("data", () => void socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")),
	);
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	t.after(() => server.close());
	return (server.address() as AddressInfo).port;
}

test("an event arrives where both sides are who they should be; else it is parked with what is wrong, and no secret is shown", async (t) => {
	const all = await parties(t);
	const said: string[] = [];
	const tell = (message: string, fields?: object): void => void said.push(message, inspect(fields, { depth: 9 }));
	const logger: Logger = { debug: tell, info: tell, warn: tell, error: tell };
	const { url } = await serveNexus(t, temporaryDir(t), { webhooks: { certificates: certificates(all) }, logger });
	const strict = await secureHook(t, by(all.receiver), certificateOf(all.senders));
	const anonymous = await secureHook(t, by(all.receiver));
	const expired = await secureHook(t, by(all.expired));
	const billing = await secureHook(t, by(all.billing));
	const plainPort = await listenPlain(t);
	const right = { client: "partner", ca: "partner" };

	await subscribe(url, "right", { url: strict.url, tls: right });
	await subscribe(url, "roots-alone", { url: anonymous.url, tls: { ca: "partner" } });
	await subscribe(url, "by-identity", { url: billing.url, tls: { ca: "partner", identity: PARTNER } });
	await subscribe(url, "named", { url: `https://127.0.0.1:${anonymous.port}/`, tls: { ca: "partner", serverName: "localhost" } });
	const wrong: Readonly<Record<string, readonly [sink: object, reason: RegExp]>> = {
		"no-certificate": [{ url: strict.url, tls: { ca: "partner" } }, NOT_ACCEPTED],
		"certificate-of-others": [{ url: strict.url, tls: { client: "stranger", ca: "partner" } }, NOT_ACCEPTED],
		"roots-of-others": [{ url: strict.url, tls: { client: "partner", ca: "others" } }, /TLS failed \(tls_unknown_ca\): /],
		"roots-of-the-system": [{ url: strict.url, tls: { client: "partner" } }, /TLS failed \(tls_unknown_ca\): /],
		"no-tls-said": [{ url: anonymous.url }, /TLS failed \(tls_unknown_ca\): /],
		"another-name": [{ url: `https://127.0.0.1:${anonymous.port}/`, tls: { ca: "partner" } }, /TLS failed \(tls_san_mismatch\): /],
		"another-identity": [
			{ url: billing.url, tls: { ca: "partner", identity: "spiffe://partner.example/payments" } },
			/TLS failed \(tls_san_mismatch\): .*payments/,
		],
		"another-domain": [
			{ url: billing.url, tls: { ca: "partner", identity: "spiffe://other.example/billing" } },
			/TLS failed \(tls_wrong_trust_domain\): /,
		],
		"name-for-identity": [{ url: anonymous.url, tls: { ca: "partner", identity: PARTNER } }, /TLS failed \(tls_san_mismatch\): .*names no service/],
		expired: [{ url: expired.url, tls: { ca: "partner" } }, /TLS failed \(tls_cert_expired\): /],
		"plain-text": [{ url: `https://localhost:${plainPort}/`, tls: { ca: "partner" } }, /TLS failed \(tls_on_plaintext_port\): /],
	};
	for (const [name, [sink]] of Object.entries(wrong)) await subscribe(url, name, sink, { attempts: 2 });
	await subscribe(url, "asked-first", { url: anonymous.url, tls: { ca: "others" }, handshake: { origin: "nexus.example" } });
	await publish(url, { id: "a", type: "t" });

	const asked = async (): Promise<Shown> => (await call(`${url}/v1/subscriptions/asked-first`, "GET")).json;
	await until("the question is not even asked", async () => /handshake failed: TLS failed \(tls_unknown_ca\)/.test((await asked()).trouble ?? ""));
	await until("it arrives at the right one", () => strict.senders.length === 1);
	assert.deepEqual(strict.senders, ["CN=nexus-one"]);
	await until("it arrives where no certificate is asked for", () => anonymous.senders.length === 2 && billing.senders.length === 1);
	assert.deepEqual([...anonymous.senders, ...billing.senders], ["", "", ""]);
	for (const [name, [, reason]] of Object.entries(wrong)) {
		await until(`${name} is parked`, async () => (await call(`${url}/v1/subscriptions/${name}`, "GET")).json.deadLetters === 1);
		const letters = await call<{ deadLetters: { attempts: number; reason: string }[] }>(`${url}/v1/subscriptions/${name}/dead-letters`, "GET");
		const [letter] = letters.json.deadLetters;
		assert.match(letter?.reason ?? "", reason, name);
		assert.equal(letter?.attempts, 2, name);
		said.push(JSON.stringify(letters.json));
	}
	assert.equal(strict.senders.length, 1, "nothing else got in");
	for (const path of ["/v1/subscriptions", "/v1/status", "/metrics", "/openapi.json"]) said.push(await (await fetch(url + path)).text());
	const [secret = ""] = keyOf(all.sender).split("\n").slice(1);
	assert.ok(secret.length > 32);
	assert.ok(!said.join("\n").includes(secret) && !said.join("\n").includes("PRIVATE KEY"));
});

test("files that are renewed act from the next connection on, without a restart; what cannot be used changes nothing", async (t) => {
	const all = await parties(t);
	const said: string[] = [];
	const tell = (message: string): void => void said.push(message);
	const { url } = await serveNexus(t, temporaryDir(t), {
		webhooks: { certificates: certificates(all) },
		logger: { debug: tell, info: tell, warn: tell, error: tell },
	});
	const hook = await secureHook(t, by(all.receiver), certificateOf(all.senders));
	await subscribe(url, "s", { url: hook.url, tls: { client: "partner", ca: "partner" } }, { attempts: 100 });
	const shown = async (): Promise<Shown> => (await call(`${url}/v1/subscriptions/s`, "GET")).json;
	const sentBy = async (id: string): Promise<string | undefined> => {
		const before = hook.senders.length;
		await publish(url, { id, type: "t" });
		await until(`${id} arrives`, () => hook.senders.length > before);
		return hook.senders.at(-1);
	};
	assert.equal(await sentBy("a"), "CN=nexus-one");

	const next = await leaf(all.senders, { name: "CN=nexus-two", uris: [], dns: [], ...LIFE });
	all.write("sender.pem", certificateOf(next), keyOf(all.sender));
	await until("it is told", () => said.some((line) => /cannot be renewed; the one before stays in use/.test(line)));
	assert.equal(await sentBy("b"), "CN=nexus-one");
	all.write("sender.pem", certificateOf(next), keyOf(next));
	await until("it is read", () => said.some((line) => /was renewed/.test(line)));
	assert.equal(await sentBy("c"), "CN=nexus-two");

	hook.change(by(all.stranger));
	await publish(url, { id: "d", type: "t" });
	await until("the receiver is not believed", async () => /tls_unknown_ca/.test((await shown()).trouble ?? ""));
	const before = hook.senders.length;
	all.write("receivers.pem", certificateOf(all.receivers), certificateOf(all.others));
	await until("it arrives", () => hook.senders.length > before);
	assert.equal((await shown()).deadLetters, 0);
});

test("what a document asks of TLS and cannot have is refused where it stands", async (t) => {
	const all = await parties(t);
	const { url } = await serveNexus(t, temporaryDir(t), { webhooks: { certificates: certificates(all) } });
	const cases: readonly [sink: object, path: string, message: RegExp][] = [
		[{ url: "http://localhost/", tls: {} }, "sink.url", /is http:, and tls is given/],
		[{ members: [{ name: "a", url: "http://localhost/" }], tls: {} }, "sink.members[0].url", /is http:, and tls is given/],
		[{ members: [{ name: "a", url: "https://localhost/", identity: PARTNER }] }, "sink.members[0].identity", /acts with tls alone/],
		[
			{ url: "https://localhost/", tls: { client: "nobody" } },
			"sink.tls.client",
			/names nobody, which .* has not; configured are: partner, stranger, others/,
		],
		[{ url: "https://localhost/", tls: { client: "others" } }, "sink.tls.client", /has roots alone/],
		[{ url: "https://localhost/", tls: { client: "../etc" } }, "sink.tls.client", /is no name of a certificate/],
		[{ url: "https://localhost/", tls: { client: "mesh" } }, "sink.tls.client", /this Nexus has no authority/],
		[{ url: "https://localhost/", tls: { ca: "mesh" } }, "sink.tls.ca", /this Nexus has no authority/],
		[{ url: "https://localhost/", tls: { identity: "billing" } }, "sink.tls.identity", /this Nexus has no authority/],
		[{ url: "https://localhost/", tls: { ca: "system", identity: PARTNER } }, "sink.tls.ca", /proves no identity/],
		[{ url: "https://localhost/", tls: { ca: "partner", identity: "billing" } }, "sink.tls.identity", /needs its trust domain/],
		[{ url: "https://localhost/", tls: { key: "x" } }, "sink.tls", /key/],
	];
	for (const [sink, path, message] of cases) {
		const refused = await call(`${url}/v1/subscriptions/s`, "PUT", { sink: { kind: "webhook", ...sink } });
		assert.equal(refused.status, 400, JSON.stringify(sink));
		const fault = refused.json.faults.find((one) => one.path === path) ?? assert.fail(`${path}: ${JSON.stringify(refused.json.faults)}`);
		assert.match(fault.message, message);
	}
});

test("the documents of docs/subscriptions.md that speak of TLS are taken", async (t) => {
	const all = await parties(t);
	const page = readFileSync(fileURLToPath(new URL("../../../docs/subscriptions.md", import.meta.url)), "utf8");
	const documents = [...page.matchAll(/^```json\n(.*"tls".*)\n```$/gm)].map(([, text = ""]) => text);
	assert.equal(documents.length, 2);
	const authority = await serveAuthority(t, { webhooks: { certificates: certificates(all) } });
	for (const [i, body] of documents.entries()) await authority.operate(`/v1/subscriptions/s${i}`, { method: "PUT", body }, 201);
});

test("after a restart without a certificate its subscriptions say so, and lose nothing", async (t) => {
	const all = await parties(t);
	const dir = temporaryDir(t);
	const hook = await secureHook(t, by(all.receiver), certificateOf(all.senders));
	const first = await serveNexus(t, dir, { webhooks: { certificates: certificates(all) } });
	await subscribe(first.url, "s", { url: hook.url, tls: { client: "partner", ca: "partner" } });
	assert.deepEqual(await first.nexus.close(), []);
	const second = await serveNexus(t, dir);
	await publish(second.url, { id: "a", type: "t" });
	const shown = (await call(`${second.url}/v1/subscriptions/s`, "GET")).json;
	assert.equal(shown.state, "broken");
	assert.match(shown.trouble ?? "", /^sink\.tls\.client: names partner, which webhooks\.certificates has not; configured are: none$/);
	assert.deepEqual(await second.nexus.close(), []);
	await serveNexus(t, dir, { webhooks: { certificates: certificates(all) } });
	await until("it arrives", () => hook.senders.length === 1);
});

test("a service of the mesh is shown the certificate of Nexus, renewed as it is, and must be the one that is meant", async (t) => {
	const authority = await serveAuthority(t, { ttlMs: RENEWED_MS });
	const { anybody, operator } = authority;
	const billing = await authority.joined("billing");
	const { bundle } = (await billing.pollOnce()) ?? assert.fail();
	const roots = Object.values(bundle.trustDomains).join("");
	const serials = new Set<string>();
	const names = new Set<string>();
	const hook = createServer(
		{ cert: billing.certificate, key: billing.key, ca: roots, requestCert: true, rejectUnauthorized: true },
		async (req, res) => {
			for await (const _ of req);
			const shown = (req.socket as TLSSocket).getPeerX509Certificate();
			serials.add(shown?.serialNumber ?? "");
			names.add(shown?.subjectAltName ?? "");
			res.writeHead(204).end();
		},
	);
	await new Promise<void>((resolve) => hook.listen(0, "127.0.0.1", resolve));
	t.after(() => {
		hook.closeAllConnections();
		hook.close();
	});
	const url = `https://127.0.0.1:${(hook.address() as AddressInfo).port}/`;
	const put = (name: string, tls: object) =>
		authority.operate(
			`/v1/subscriptions/${name}`,
			{ method: "PUT", body: { filter: { type: "t" }, sink: { kind: "webhook", url, tls }, delivery: { attempts: 1 } } },
			201,
		);
	const send = async (id: string): Promise<void> => {
		const headers = { "content-type": STRUCTURED_TYPE };
		assert.equal((await anybody.call("/v1/events", { token: operator, headers, body: eventJson({ id, type: "t" }) })).status, 200);
	};
	await put("right", { client: "mesh", identity: "billing" });
	await put("wrong", { client: "mesh", identity: "payments" });
	await put("by-name", { client: "mesh", ca: "mesh" });
	await send("a");
	await until("it arrives", () => serials.size === 1);
	assert.match([...names].join(), /^URI:spiffe:\/\/mesh\.local\/nexus, /);
	for (const [name, reason] of [
		["wrong", /TLS failed \(tls_san_mismatch\): .*billing.*payments|TLS failed \(tls_san_mismatch\): .*payments/],
		["by-name", /TLS failed \(tls_san_mismatch\): the certificate does not name 127\.0\.0\.1/],
	] as const) {
		const letters = async () =>
			(await authority.operate(`/v1/subscriptions/${name}/dead-letters`, {}, 200)).json.deadLetters as readonly { reason: string }[];
		await until(`${name} is parked`, async () => (await letters()).length === 1);
		assert.match((await letters())[0]?.reason ?? "", reason);
	}
	let sent = 0;
	await until("another certificate is shown", async () => {
		await send(`b${sent++}`);
		return serials.size > 1;
	});
	const refused = await authority.operate(
		"/v1/subscriptions/elsewhere",
		{ method: "PUT", body: { sink: { kind: "webhook", url, tls: { ca: "mesh", identity: "spiffe://elsewhere/billing" } } } },
		400,
	);
	assert.match(refused.text, /is of the trust domain elsewhere, and the mesh is mesh\.local/);
});
