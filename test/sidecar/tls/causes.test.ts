/** Each way in which TLS between two services goes wrong, provoked with real certificates, and what people are told of it. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { describe, it, type TestContext } from "node:test";
import type { TlsOptions } from "node:tls";
import type { NexusEventData } from "../../../src/events/catalogue.ts";
import { CLIENT_AUTH, DAY, HOUR, type Made, root, SERVER_AUTH, type Spec } from "../../identity/support.ts";
import { until } from "../../net/support.ts";
import { rawClient } from "../../support/raw-peer.ts";
import { echo, httpServer, startSidecar, type TestSidecar } from "../support.ts";
import { type CertificateFolder, call, certificateFolder, plainServer, tlsServer } from "./support.ts";

type Failure = NexusEventData["nexus.mesh.mtls.failure"];

async function failureTold(sidecar: TestSidecar, reason: string): Promise<Failure> {
	const found = (): Failure | undefined =>
		sidecar.events
			.map(({ type, data }) => (type === "nexus.mesh.mtls.failure" ? (data as Failure) : undefined))
			.find((data) => data?.reason === reason);
	await until(() => found() !== undefined);
	return found() as Failure;
}

/** A caller's sidecar whose upstream `payments` listens on `port`. Every failure is told to the application, once. */
function callerOf(t: TestContext, identity: string, port: number): Promise<TestSidecar> {
	return startSidecar(
		t,
		`${identity}outbound: { listen: 127.0.0.1:0 }\nupstreams:\n  payments: { listen: 127.0.0.1:0, endpoints: [{ address: 127.0.0.1:${port} }], retry: { attempts: 0 }, timeout: { request: 5s } }\n`,
	);
}

async function answerOf(sidecar: TestSidecar): Promise<{ status: number; reason: string | null; text: string }> {
	const response = await fetch(`http://127.0.0.1:${sidecar.port("payments")}/`);
	return { status: response.status, reason: response.headers.get("x-nexus-reason"), text: await response.text() };
}

describe("a caller finds something wrong with the service", { timeout: 60_000 }, () => {
	const now = Date.now();
	interface Case {
		readonly title: string;
		readonly reason: string;
		readonly words: RegExp;
		readonly spec?: Spec;
		readonly made?: (folder: CertificateFolder) => Promise<Made>;
		readonly server?: Partial<TlsOptions>;
		/** Whether the event names the certificate. */
		readonly certificate?: boolean;
	}
	const cases: Case[] = [
		{
			title: "its certificate has ended",
			reason: "tls_cert_expired",
			words: /ended|over|expired/,
			spec: { fromMs: now - DAY, untilMs: now - HOUR },
			certificate: true,
		},
		{
			title: "its certificate begins in three days",
			reason: "tls_cert_not_yet_valid",
			words: /begins|valid from|not valid/,
			spec: { fromMs: now + 3 * DAY, untilMs: now + 4 * DAY },
			certificate: true,
		},
		{
			title: "its certificate begins in five minutes: a clock is wrong",
			reason: "tls_clock_skew",
			words: /clock/,
			spec: { fromMs: now + 5 * 60_000, untilMs: now + DAY },
			certificate: true,
		},
		{
			title: "its certificate is not for that service",
			reason: "tls_san_mismatch",
			words: /spiffe:\/\/mesh\.local\/orders, not spiffe:\/\/mesh\.local\/payments/,
			spec: { uris: ["spiffe://mesh.local/orders"] },
			certificate: true,
		},
		{
			title: "it belongs to another trust domain",
			reason: "tls_wrong_trust_domain",
			words: /other\.domain/,
			spec: { uris: ["spiffe://other.domain/payments"] },
			certificate: true,
		},
		{
			title: "its certificate may not serve",
			reason: "tls_wrong_key_usage",
			words: /server/i,
			spec: { purposes: [CLIENT_AUTH] },
			certificate: true,
		},
		{
			title: "its authority is unknown",
			reason: "tls_unknown_ca",
			words: /authority/,
			made: async ({ issue }) => issue("payments", { issuer: await root({ name: "CN=stranger", fromMs: now - DAY, untilMs: now + DAY }) }),
			certificate: true,
		},
		{
			title: "it speaks TLS 1.2 at most",
			reason: "tls_protocol_too_old",
			words: /version/,
			server: { minVersion: "TLSv1.2", maxVersion: "TLSv1.2" },
		},
		{ title: "it agrees to no protocol of ours", reason: "tls_alpn_mismatch", words: /application protocol/, server: { ALPNProtocols: ["h3"] } },
	];
	for (const { title, reason, words, spec, made, server, certificate } of cases) {
		it(`${title}: ${reason}`, async (t) => {
			const folder = await certificateFolder(t);
			const service = await (made?.(folder) ?? folder.issue("payments", spec));
			const { cert, key } = folder.pemOf(service);
			const port = await tlsServer(t, { cert, key, ...server });
			const caller = await callerOf(t, folder.identityOf("tested", await folder.issue("tested")), port);
			const answer = await answerOf(caller);
			assert.equal(answer.reason, reason, answer.text);
			assert.equal(answer.status, 502);
			assert.match(answer.text, words);
			const told = await failureTold(caller, reason);
			assert.deepEqual([told.direction, told.name, told.self, told.kind], ["outbound", "payments", "spiffe://mesh.local/tested", "connection"]);
			assert.equal(told.expected, "spiffe://mesh.local/payments");
			assert.equal(told.address, `127.0.0.1:${port}`);
			assert.ok(told.hint.length > 10 && told.words.length > 10);
			if (certificate === true) {
				assert.equal(BigInt(`0x${told.serial}`), BigInt(`0x${new X509Certificate(service.der).serialNumber}`));
				assert.match(told.notAfter, /^20\d\d-/);
				assert.match(told.peer, /^spiffe:/);
			}
			assert.ok((await caller.metric("nexus_tls_failures_total", { direction: "outbound", name: "payments", reason })) >= 1);
			const lines = await caller.log();
			assert.ok(
				lines.some((line) => line.reason === reason),
				JSON.stringify(lines),
			);
		});
	}

	it("it answers in plain text: tls_on_plaintext_port", async (t) => {
		const folder = await certificateFolder(t);
		const port = await plainServer(t, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
		const caller = await callerOf(t, folder.identityOf("tested", await folder.issue("tested")), port);
		assert.equal((await answerOf(caller)).reason, "tls_on_plaintext_port");
	});

	it("it closes in the middle: tls_handshake_reset", async (t) => {
		const folder = await certificateFolder(t);
		const port = await plainServer(t, "");
		const caller = await callerOf(t, folder.identityOf("tested", await folder.issue("tested")), port);
		assert.equal((await answerOf(caller)).reason, "tls_handshake_reset");
	});
});

describe("a service finds something wrong with its caller", { timeout: 60_000 }, () => {
	const now = Date.now();
	async function service(t: TestContext, folder: CertificateFolder, tls = "strict"): Promise<TestSidecar> {
		const app = await httpServer(t, echo("app"));
		return startSidecar(
			t,
			`${folder.identityOf("tested", await folder.issue("tested"))}inbound: { listen: 127.0.0.1:0, application: ${app.address}, tls: ${tls} }\n`,
		);
	}
	const REQUEST = "GET / HTTP/1.1\r\nHost: tested\r\n\r\n";

	const cases: { title: string; reason: string; spec: Spec }[] = [
		{ title: "its certificate has ended", reason: "tls_cert_expired", spec: { fromMs: now - DAY, untilMs: now - HOUR } },
		{ title: "its certificate may not call", reason: "tls_wrong_key_usage", spec: { purposes: [SERVER_AUTH] } },
		{ title: "it is of another trust domain", reason: "tls_wrong_trust_domain", spec: { uris: ["spiffe://other.domain/x"] } },
		{ title: "its certificate names no service", reason: "tls_san_mismatch", spec: { uris: [] } },
	];
	for (const { title, reason, spec } of cases) {
		it(`${title}: ${reason}, and it is told so over TLS`, async (t) => {
			const folder = await certificateFolder(t);
			const sidecar = await service(t, folder);
			const made = await folder.issue("caller", spec);
			const { cert, key } = folder.pemOf(made);
			const { text } = await call(t, sidecar.port("inbound"), { cert, key }, REQUEST);
			assert.match(text, /^HTTP\/1\.1 403 /);
			assert.ok(text.includes(`x-nexus-reason: ${reason}\r\n`), text);
			const told = await failureTold(sidecar, reason);
			assert.deepEqual([told.direction, told.name, told.address], ["inbound", "inbound", "127.0.0.1"]);
		});
	}

	it("it shows no certificate: tls_no_client_cert, by alert", async (t) => {
		const folder = await certificateFolder(t);
		const sidecar = await service(t, folder);
		const { text, error } = await call(t, sidecar.port("inbound"), {}, REQUEST);
		assert.equal(text, "");
		assert.match(error, /certificate required/i);
		const told = await failureTold(sidecar, "tls_no_client_cert");
		assert.equal(told.peer, "");
	});

	it("it speaks plain text: tls_plaintext_on_tls_port, in plain text", async (t) => {
		const folder = await certificateFolder(t);
		const sidecar = await service(t, folder);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send(REQUEST);
		await client.untilText("x-nexus-reason: tls_plaintext_on_tls_port");
		client.end();
		await client.untilClosed();
		assert.match(client.text, /^HTTP\/1\.1 400 /);
		await failureTold(sidecar, "tls_plaintext_on_tls_port");
	});

	it("it speaks TLS 1.2, unless that is configured: tls_protocol_too_old", async (t) => {
		const folder = await certificateFolder(t);
		const sidecar = await service(t, folder);
		const { cert, key } = folder.pemOf(await folder.issue("caller"));
		const { error } = await call(t, sidecar.port("inbound"), { cert, key, maxVersion: "TLSv1.2" }, REQUEST);
		assert.match(error, /protocol version/i);
		await failureTold(sidecar, "tls_protocol_too_old");
		const older = await service(t, folder, '{ minVersion: "1.2" }');
		const { text } = await call(t, older.port("inbound"), { cert, key, maxVersion: "TLSv1.2" }, REQUEST, /\r\n\r\n.*\}$/s);
		assert.match(text, /^HTTP\/1\.1 200 /);
	});

	it("it agrees to no protocol of ours: tls_alpn_mismatch", async (t) => {
		const folder = await certificateFolder(t);
		const sidecar = await service(t, folder);
		const { cert, key } = folder.pemOf(await folder.issue("caller"));
		const { error } = await call(t, sidecar.port("inbound"), { cert, key, ALPNProtocols: ["h3"] }, REQUEST);
		assert.match(error, /application protocol/i);
		await failureTold(sidecar, "tls_alpn_mismatch");
	});

	it("it speaks TLS to a port without: tls_on_plaintext_port", async (t) => {
		const folder = await certificateFolder(t);
		const sidecar = await service(t, folder, "off");
		const { error } = await call(t, sidecar.port("inbound"), {}, REQUEST);
		assert.match(error, /wrong version number|packet length/i);
		await failureTold(sidecar, "tls_on_plaintext_port");
	});
});
