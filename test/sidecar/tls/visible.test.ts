/** What people see of TLS: GET /identity, the metrics and `nexus mtls status`, of real sidecars with real callers. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { runMtlsStatus } from "../../../src/cli/mtls-status.ts";
import { captureIo } from "../../cli/capture-io.ts";
import { DAY } from "../../identity/support.ts";
import { until } from "../../net/support.ts";
import { rawClient } from "../../support/raw-peer.ts";
import { echo, httpServer, startSidecar, type TestSidecar } from "../support.ts";
import { type CertificateFolder, call, certificateFolder } from "./support.ts";

const GUARD = { timeout: 60_000 };
const GET = "GET / HTTP/1.1\r\nhost: tested\r\nconnection: close\r\n\r\n";

interface Rig {
	readonly sidecar: TestSidecar;
	readonly mesh: CertificateFolder;
	readonly serial: string;
	readonly admin: string;
	identity(): Promise<Record<string, unknown>>;
}

async function calledSidecar(t: TestContext, tls: "strict" | "permissive"): Promise<Rig> {
	const mesh = await certificateFolder(t);
	const app = await httpServer(t, echo("app"));
	const identity = mesh.identityOf("tested", await mesh.issue("tested", { serial: "0badcafe" }));
	const sidecar = await startSidecar(
		t,
		`${identity}inbound: { listen: 127.0.0.1:0, application: ${app.address}, tls: ${tls} }
outbound: { listen: 127.0.0.1:0 }
upstreams:
  payments: { endpoints: [{ address: 127.0.0.1:1 }] }
  mail: { endpoints: [{ address: 127.0.0.1:1 }], tls: { external: true, serverName: mail.example.com } }
  old: { endpoints: [{ address: 127.0.0.1:1 }], tls: off }
`,
	);
	return {
		sidecar,
		mesh,
		serial: "0badcafe",
		admin: `http://127.0.0.1:${sidecar.port("admin")}`,
		identity: async () => (await sidecar.admin("GET", "/identity")).body as Record<string, unknown>,
	};
}

/** One over TLS, one that resumes, two in plain text, one without a certificate. */
async function callAll(t: TestContext, { sidecar, mesh }: Rig): Promise<void> {
	const port = sidecar.port("inbound");
	const { cert, key } = mesh.pemOf(await mesh.issue("shop"));
	const first = await call(t, port, { cert, key }, GET);
	assert.match(first.text, /^HTTP\/1\.1 200/);
	assert.ok(first.session);
	assert.match((await call(t, port, { cert, key, session: first.session }, GET)).text, /^HTTP\/1\.1 200/);
	for (let i = 0; i < 2; i++) await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: "close" } }).then((response) => response.text());
	await call(t, port, {}, GET);
	await until(() => sidecar.sidecar.tls().report.failures.length === 1);
}

test("a sidecar tells who it is, how each side is encrypted, and who comes in plain text", GUARD, async (t) => {
	const rig = await calledSidecar(t, "permissive");
	await callAll(t, rig);
	const { service, identity, inbound, upstreams, cut, failures } = (await rig.identity()) as {
		service: string;
		identity: { identity: string; state: string; certificate: { serial: string }; bundle: { version: number } };
		inbound: {
			tls: string;
			minVersion: string;
			connections: unknown;
			handshakes: { begun: number };
			plaintext: { open: number; callers: unknown[] };
		};
		upstreams: unknown[];
		cut: unknown;
		failures: Record<string, unknown>[];
	};
	assert.deepEqual(
		[service, identity.identity, identity.state, identity.certificate.serial],
		["tested", "spiffe://mesh.local/tested", "valid", rig.serial],
	);
	assert.deepEqual([inbound.tls, inbound.minVersion], ["permissive", "TLSv1.3"]);
	assert.deepEqual(inbound.connections, { full: 1, resumed: 1, plaintext: 2, failed: 1, reasons: { tls_no_client_cert: 1 } });
	assert.equal(inbound.handshakes.begun, 3);
	assert.deepEqual(
		inbound.plaintext.callers.map((caller) => (caller as { address: string; count: number }).address),
		["127.0.0.1"],
	);
	const none = { full: 0, resumed: 0, plaintext: 0, failed: 0, reasons: {} };
	assert.deepEqual(upstreams, [
		{ name: "payments", tls: "mesh", expected: "spiffe://mesh.local/payments", connections: none },
		{ name: "mail", tls: "external", serverName: "mail.example.com", minVersion: "TLSv1.2", connections: none },
		{ name: "old", tls: "off", connections: none },
	]);
	assert.deepEqual(cut, {});
	assert.deepEqual(
		[failures.length, failures[0]?.reason, failures[0]?.self, failures[0]?.count],
		[1, "tls_no_client_cert", "spiffe://mesh.local/tested", 1],
	);
	assert.match(String(failures[0]?.hint), /sidecar/);
});

test("whoever connects and leaves without a byte is no failure: health checks and port scans", GUARD, async (t) => {
	for (const mode of ["strict", "permissive"] as const) {
		const rig = await calledSidecar(t, mode);
		const port = rig.sidecar.port("inbound");
		(await rawClient(t, port)).end();
		(await rawClient(t, port)).reset();
		await until(() => rig.sidecar.sidecar.listeners().every(({ name, open, accepted }) => name !== "inbound" || (accepted === 2 && open === 0)));
		const { places, failures } = rig.sidecar.sidecar.tls().report;
		assert.deepEqual([places, failures], [[], []], mode);
	}
});

test("the metrics say the same, and promtool finds nothing wrong with them", GUARD, async (t) => {
	const rig = await calledSidecar(t, "permissive");
	await callAll(t, rig);
	const { sidecar } = rig;
	const connections = (result: string): Promise<number> =>
		sidecar.metric("nexus_tls_connections_total", { direction: "inbound", name: "inbound", result });
	assert.deepEqual(await Promise.all(["full", "resumed", "plaintext", "failed"].map(connections)), [1, 1, 2, 1]);
	assert.equal(await sidecar.metric("nexus_tls_failures_total", { direction: "inbound", name: "inbound", reason: "tls_no_client_cert" }), 1);
	const notAfter = await sidecar.metric("nexus_certificate_not_after_seconds");
	assert.ok(notAfter > Date.now() / 1000 && notAfter < Date.now() / 1000 + 90_000);
	assert.equal(await sidecar.metric("nexus_certificate_renewals_total", { result: "renewed" }), 0);
	assert.equal(await sidecar.metric("nexus_trust_bundle_version"), 1);
	const text = await sidecar.sidecar.metricsText();
	assert.match(text, /^nexus_tls_handshakes_active 0$/m);
	if (spawnSync("promtool", ["--version"]).status !== 0) return t.skip("promtool is not installed");
	const { stdout, stderr } = spawnSync("promtool", ["check", "metrics"], { input: text, encoding: "utf8" });
	assert.equal(stdout + stderr, "");
});

test("a certificate that was renewed is counted, and its new end shown", GUARD, async (t) => {
	const { sidecar, mesh } = await calledSidecar(t, "strict");
	const before = await sidecar.metric("nexus_certificate_not_after_seconds");
	mesh.identityOf("tested", await mesh.issue("tested", { serial: "0c0ffee0", untilMs: Date.now() + 2 * DAY }));
	await until(() => sidecar.sidecar.identity()?.certificate?.serial === "0c0ffee0");
	assert.equal(await sidecar.metric("nexus_certificate_renewals_total", { result: "renewed" }), 1);
	assert.equal(await sidecar.metric("nexus_certificate_renewals_total", { result: "failed" }), 0);
	assert.ok((await sidecar.metric("nexus_certificate_not_after_seconds")) > before + 80_000);
});

test("nexus mtls status asks several sidecars, shows those that answer, and fails for the one that does not", GUARD, async (t) => {
	const [permissive, strict] = [await calledSidecar(t, "permissive"), await calledSidecar(t, "strict")];
	await callAll(t, permissive);
	const gone = "http://127.0.0.1:9";
	const urls = [permissive.admin, strict.admin, gone];
	const terminal = captureIo({ isTTY: true });
	assert.equal(await runMtlsStatus({ urls }, terminal), 1);
	const shown = terminal.out();
	assert.match(shown, /^identity +serial +valid +source +inbound +plain +failed\n/);
	assert.match(shown, /^mesh\.local\/tested +0badcafe +24 h +files +permissive +50 % +1$/m);
	assert.match(shown, /^mesh\.local\/tested +0badcafe +24 h +files +strict +0 % +0$/m);
	assert.match(shown, /strict is not safe yet: the last caller in plain text came \d+ s ago/);
	assert.match(shown, /inbound: tls_no_client_cert x1, from 127\.0\.0\.1/);
	assert.match(shown, /does not answer/);
	for (const line of shown.split("\n")) assert.ok(line.length <= 80, line);

	const pipe = captureIo();
	assert.equal(await runMtlsStatus({ urls: urls.slice(0, 2) }, pipe), 0);
	const lines = pipe.out().trimEnd().split("\n");
	const verdicts = lines.map((line) => (JSON.parse(line) as { strict: { verdict: string } }).strict.verdict);
	assert.deepEqual(verdicts, ["not_yet", "on"]);
});

test("no key is shown by /identity, /config, /metrics, the log or an event", GUARD, async (t) => {
	const rig = await calledSidecar(t, "strict");
	await call(t, rig.sidecar.port("inbound"), {}, GET);
	await until(() => rig.sidecar.events.some(({ type }) => type === "nexus.mesh.mtls.failure"));
	const pages = await Promise.all(["/identity", "/config"].map(async (path) => JSON.stringify((await rig.sidecar.admin("GET", path)).body)));
	const told = [...pages, await rig.sidecar.sidecar.metricsText(), JSON.stringify(await rig.sidecar.log()), JSON.stringify(rig.sidecar.events)].join(
		"\n",
	);
	const [, ...lines] = readFileSync(join(rig.mesh.folder, "tested.key"), "utf8").trim().split("\n");
	assert.ok(lines.length >= 3);
	for (const secret of ["PRIVATE KEY", ...lines.slice(0, -1)]) assert.equal(told.includes(secret), false);
});
