/** `nexus ca`, `nexus token` and `nexus events` against a real Nexus over TLS. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { runCaRevoke, runCaRotate, runCaStatus } from "../../src/cli/ca.ts";
import { runCaInit } from "../../src/cli/ca-init.ts";
import { safeJson } from "../../src/cli/event-line.ts";
import { runEvents } from "../../src/cli/events.ts";
import { type NexusFlags, openNexus } from "../../src/cli/nexus-api.ts";
import { shown, tableText } from "../../src/cli/table.ts";
import { runTokenCreate, runTokenDelete, runTokenList, runTokenRetire, runTokenRotate, type TokenCreateFlags } from "../../src/cli/token.ts";
import { systemClock } from "../../src/core/clock.ts";
import { readAuthorityDir } from "../../src/identity/authority-dir.ts";
import { readJoinToken } from "../../src/identity/join-token.ts";
import { serveAuthority, type TestAuthority } from "../nexus/authority/support.ts";
import { serveNexus, temporaryDir } from "../nexus/support.ts";
import { type CaptureIo, captureIo } from "./capture-io.ts";

const CONTEXT = { clock: systemClock, signal: new AbortController().signal };

function folderOf(t: TestContext): string {
	const folder = mkdtempSync(join(tmpdir(), "nexus-ca-"));
	t.after(() => rmSync(folder, { recursive: true, force: true }));
	return folder;
}

function flagsOf({ url, dir, dataDir }: TestAuthority): Required<NexusFlags> {
	return { url, ca: join(dir, "ca.pem"), tokenFile: join(dataDir, "operator.token") };
}

async function ran(run: (io: CaptureIo) => Promise<number>, code = 0, isTTY = true): Promise<CaptureIo> {
	const io = captureIo({ isTTY, columns: 200 });
	assert.equal(await run(io), code, io.err());
	return io;
}

test("init makes an authority in an empty folder, says what it wrote and what comes next, and overwrites nothing", async (t) => {
	const dir = join(folderOf(t), "ca");
	const io = await ran((each) => runCaInit({ dir, trustDomain: "shop.example" }, each, systemClock));
	for (const file of ["ca.pem", "intermediate.key", "intermediate.pem", "root.key"]) assert.ok(io.out().includes(join(dir, file)), file);
	assert.match(io.out(), /Next:[\s\S]*authority: \{ dir: .*\}[\s\S]*nexus serve[\s\S]*nexus token create --service payments/);
	assert.doesNotMatch(io.out() + io.err(), /PRIVATE/);
	const reading = await readAuthorityDir(dir);
	assert.ok(reading.ok);
	assert.equal(reading.dir.trustDomain, "shop.example");
	for (const file of ["root.key", "intermediate.key"]) assert.equal(statSync(join(dir, file)).mode & 0o777, 0o600);
	const before = readdirSync(dir).map((file) => readFileSync(join(dir, file), "utf8"));
	const again = await ran((each) => runCaInit({ dir, trustDomain: "shop.example" }, each, systemClock), 1);
	assert.match(again.err(), /^nexus ca init: .*ca\.pem.* are there already, and an authority is never overwritten/);
	for (const file of ["ca.pem", "intermediate.pem", "intermediate.key"]) rmSync(join(dir, file));
	assert.match((await ran((each) => runCaInit({ dir, trustDomain: "shop.example" }, each, systemClock), 1)).err(), /root\.key is there already/);
	assert.equal(readFileSync(join(dir, "root.key"), "utf8"), before[3]);
});

test("init refuses what is no trust domain and a folder that cannot be", async (t) => {
	const folder = folderOf(t);
	assert.match(
		(await ran((io) => runCaInit({ dir: folder, trustDomain: "Mesh" }, io, systemClock), 1)).err(),
		/Mesh is no trust domain: its trust domain has characters/,
	);
	writeFileSync(join(folder, "file"), "");
	assert.match(
		(await ran((io) => runCaInit({ dir: join(folder, "file"), trustDomain: "a" }, io, systemClock), 1)).err(),
		/^nexus ca init: .*(ENOTDIR|EEXIST)/,
	);
	const piped = await ran((io) => runCaInit({ dir: join(folder, "ca"), trustDomain: "a" }, io, systemClock), 0, false);
	assert.equal((JSON.parse(piped.out()) as { files: string[] }).files.length, 4);
});

test("status shows a table in a terminal and JSON in a pipe", async (t) => {
	const authority = await serveAuthority(t);
	await (await authority.joined("payments")).pollOnce();
	const flags = flagsOf(authority);
	const table = (await ran((io) => runCaStatus(flags, io))).out();
	assert.match(table, /^trust domain mesh\.local, bundle \d+, certificates last 24 h\n/);
	assert.match(table, /^root {10}issuing {2}CN=mesh\.local root/m);
	assert.match(table, /^spiffe:\/\/mesh\.local\/payments {2}127\.0\.0\.1 /m);
	const json = JSON.parse((await ran((io) => runCaStatus(flags, io), 0, false)).out()) as { workloadCount: number };
	assert.equal(json.workloadCount, 1);
	assert.deepEqual(JSON.parse((await ran((io) => runCaStatus({ ...flags, json: true }, io))).out()), json);
});

test("rotate of the root shows its steps until it is done, though Nexus shows another root in the middle", async (t) => {
	const authority = await serveAuthority(t, { ttlMs: 2_000 });
	const flags = flagsOf(authority);
	const before = (await authority.status()).roots[0]?.serial;
	const io = await ran((each) => runCaRotate({ ...flags, what: "root" }, each, CONTEXT));
	assert.match(io.out(), /^step 1 of 3, add: the new root is being made known\nwaits \d s for workloads to be heard, as Nexus has just started\n/);
	assert.match(io.out(), /\ndone: CN=mesh\.local intermediate .* issues under CN=mesh\.local root .*; replace the copies of ca\.pem/);
	assert.notEqual((await authority.status()).roots[0]?.serial, before);
	const lines = (await ran((each) => runCaRotate({ ...flags, what: "intermediate" }, each, CONTEXT), 0, false)).out().trim().split("\n");
	assert.equal((JSON.parse(lines[0] ?? "") as { what: string }).what, "intermediate");
	assert.equal(lines.at(-1), '{"rotation":null}');
});

test("rotate names the workloads that it waits for; one that is under way is joined, another kind is refused", async (t) => {
	const authority = await serveAuthority(t);
	await authority.joined("payments");
	const flags = flagsOf(authority);
	const begun = await ran((io) => runCaRotate({ ...flags, what: "intermediate", detach: true }, io, CONTEXT));
	assert.match(
		begun.out(),
		/^step 1 of 2, issue:.*\nwaits for 1 workload:\n {2}spiffe:\/\/mesh\.local\/payments at .*: shows a certificate of the old issuer \(last seen /,
	);
	const joined = await ran((io) => runCaRotate({ ...flags, what: "intermediate", detach: true }, io, CONTEXT));
	assert.match(joined.err(), /under way already; this is how it goes on/);
	const other = await ran((io) => runCaRotate({ ...flags, what: "root" }, io, CONTEXT), 1);
	assert.match(other.err(), /^nexus ca rotate: The authority stays as it is\. a rotation is under way already/);
	assert.match((await ran((io) => runCaStatus(flags, io))).out(), /rotation of the intermediate, step 1 of 2/);
});

test("revoke puts on the list and takes off", async (t) => {
	const authority = await serveAuthority(t);
	const flags = flagsOf(authority);
	assert.match(
		(await ran((io) => runCaRevoke({ ...flags, identity: "payments" }, io))).out(),
		/^the identity payments is on the deny list, from bundle \d+ on/,
	);
	await ran((io) => runCaRevoke({ ...flags, serial: "0a:bc" }, io));
	assert.match((await ran((io) => runCaStatus(flags, io))).out(), /identity {2}spiffe:\/\/mesh\.local\/payments\nserial {4}abc\n/);
	await ran((io) => runCaRevoke({ ...flags, identity: "payments", undo: true }, io));
	assert.match((await ran((io) => runCaRevoke({ ...flags, identity: "payments", undo: true }, io), 1)).err(), /that is not on the deny list/);
	for (const wrong of [{}, { serial: "a", identity: "b" }]) {
		assert.match((await ran((io) => runCaRevoke({ ...flags, ...wrong }, io), 1)).err(), /name one of --serial and --identity/);
	}
});

test("tokens are made, shown once, written to files of their owner's alone, listed and deleted", async (t) => {
	const authority = await serveAuthority(t);
	const flags = flagsOf(authority);
	const made = await ran((io) => runTokenCreate({ ...flags, service: "payments", ttl: "5m" }, io));
	assert.ok(readJoinToken(made.out()).ok);
	assert.match(made.err(), /^join token for payments, one use, until 20.* UTC; it is shown this once\n$/);
	const folder = folderOf(t);
	const out = join(folder, "read.token");
	const written = await ran((io) => runTokenCreate({ ...flags, role: "read", name: "grafana", out }, io));
	assert.deepEqual([written.out(), statSync(out).mode & 0o777], ["", 0o600]);
	assert.match(written.err(), /API token of role read for grafana, until it is deleted; written to/);
	const list = (await ran((io) => runTokenList(flags, io))).out();
	assert.match(list, /^ID +KIND +FOR +USED +STATE/);
	assert.match(list, /join {2}payments +0 of 1 {2}valid/);
	assert.ok(!list.includes(readFileSync(out, "utf8").trim().slice(20)));
	const events = await ran((io) => runEvents({ ...flags, tokenFile: out, follow: false }, io));
	// Who did what, and nothing of the tokens themselves.
	assert.match(events.out(), /audit\.mutation .*first operator.*POST \/v1\/tokens \(201\)/);
	assert.ok(!events.out().includes("nxt_") && !events.out().includes("nxj_"));
	const id = /^([0-9a-f]{16}) +api +read/m.exec(list)?.[1] ?? "";
	assert.match((await ran((io) => runTokenDelete(id, flags, io))).out(), /holds no longer/);
	assert.match(
		(await ran((io) => runEvents({ ...flags, tokenFile: out, follow: false }, io), 1)).err(),
		/^nexus events: Who calls is not known\. The token is unknown\. .*--token-file FILE, or the variable NEXUS_TOKEN\.$/m,
	);
	const scoped = await ran((io) =>
		runTokenCreate({ ...flags, role: "ingest", name: "shop", types: ["shop.*"], out: join(folder, "shop.token") }, io),
	);
	assert.match(scoped.err(), /API token of role ingest for shop, until it is deleted/);
	const shop = /^([0-9a-f]{16}) +api +ingest \(shop\) for shop\.\*/m.exec((await ran((io) => runTokenList(flags, io))).out())?.[1] ?? "";
	assert.match((await ran((io) => runTokenRetire(shop, flags, io), 1)).err(), /^nexus token retire: /);
	const rotated = await ran((io) => runTokenRotate(shop, { ...flags, grace: "1h", out: join(folder, "next.token") }, io));
	assert.match(rotated.err(), /for shop, until it is deleted; the former secret holds until .* UTC; written to /);
	assert.notEqual(readFileSync(join(folder, "next.token"), "utf8"), readFileSync(join(folder, "shop.token"), "utf8"));
	assert.match((await ran((io) => runTokenList(flags, io))).out(), /valid +- \(former: -\)/);
	assert.match((await ran((io) => runTokenRetire(shop, flags, io))).out(), /^the former secret of token [0-9a-f]{16} holds no longer\n$/);
	const wrongs: Partial<TokenCreateFlags>[] = [{}, { service: "a", role: "read" }, { role: "read" }, { role: "read", name: "x", uses: 2 }];
	for (const wrong of wrongs) {
		await ran((io) => runTokenCreate({ ...flags, ...wrong }, io), 1);
	}
	const nowhere = (await ran((io) => runTokenCreate({ ...flags, role: "read", name: "lost", out: join(folder, "no", "x") }, io), 1)).err();
	const [, lost = ""] = /cannot be written: .*delete it with `nexus token delete ([0-9a-f]{16})`/.exec(nowhere) ?? [];
	await ran((io) => runTokenDelete(lost, flags, io));
	const piped = JSON.parse((await ran((io) => runTokenCreate({ ...flags, service: "orders", uses: 3 }, io), 0, false)).out()) as Record<
		string,
		unknown
	>;
	assert.deepEqual([piped.service, piped.uses, readJoinToken(String(piped.token)).ok], ["orders", 3, true]);
});

test("events are followed over TLS with a token", async (t) => {
	const authority = await serveAuthority(t);
	const io = captureIo();
	const following = runEvents({ ...flagsOf(authority), follow: true, limit: 1, after: 0 }, io, CONTEXT);
	const event = { specversion: "1.0", id: "1", source: "/s", type: "t" };
	await authority.operate("/v1/events", { body: event, headers: { "content-type": "application/cloudevents+json" } }, 200);
	assert.equal(await following, 0);
	assert.match(io.out(), /"sequence":1,/);
});

test("what answers in the place of Nexus is not believed, and the words say what to do", async (t) => {
	const [authority, other] = [await serveAuthority(t), await serveAuthority(t)];
	const flags = flagsOf(authority);
	const refusal = async (changed: Partial<NexusFlags>) => (await ran((io) => runCaStatus({ ...flags, ...changed }, io), 1)).err();
	assert.match(await refusal({ ca: join(other.dir, "ca.pem") }), /an authority that is not trusted: is --ca its ca\.pem\?/);
	const plain = await serveNexus(t, temporaryDir(t));
	assert.match(await refusal({ url: plain.url.replace("http:", "https:") }), /does not speak TLS: use http:\/\//);
	await other.nexus.close();
	assert.match(await refusal({ url: other.url }), /Nexus does not answer at https:\/\/127\.0\.0\.1:\d+: .*ECONNREFUSED/);
	const web = createServer((_req, res) => res.writeHead(404).end("<html>"));
	await new Promise<void>((resolve) => web.listen(0, "127.0.0.1", resolve));
	t.after(() => web.close());
	const url = `http://127.0.0.1:${(web.address() as AddressInfo).port}`;
	const io = await ran((each) => runCaStatus({ url, tokenFile: flags.tokenFile }, each), 1);
	assert.match(io.err(), /status 404 from something that is not Nexus/);
});

test("a service of the mesh that answers in the place of Nexus is told from it", async (t) => {
	const authority = await serveAuthority(t);
	const payments = await authority.joined("payments");
	const { createServer: createTlsServer } = await import("node:https");
	const impostor = createTlsServer({ cert: payments.certificate, key: payments.key }, (_req, res) => res.end("{}"));
	await new Promise<void>((resolve) => impostor.listen(0, "127.0.0.1", resolve));
	t.after(() => impostor.close());
	const url = `https://127.0.0.1:${(impostor.address() as AddressInfo).port}`;
	const io = await ran((each) => runCaStatus({ ...flagsOf(authority), url }, each), 1);
	assert.match(io.err(), /spiffe:\/\/mesh\.local\/payments answers there, which is not Nexus/);
});

test("flags that cannot be right are refused before anything is sent, and no token is quoted", async (t) => {
	const folder = folderOf(t);
	const [bad, good] = [join(folder, "bad"), join(folder, "good")];
	writeFileSync(bad, "not a token, but secret");
	writeFileSync(good, "nxt_secret\n");
	const cases: [NexusFlags, NodeJS.ProcessEnv, RegExp][] = [
		[{ url: "nexus" }, {}, /is not an http URL/],
		[{ url: "http://10.0.0.1:7400", tokenFile: good }, {}, /plain text to 10\.0\.0\.1:7400 could be read on its way/],
		[{ url: "http://10.0.0.1:7400" }, { NEXUS_TOKEN: "nxt_secret" }, /plain text/],
		[{ url: "https://10.0.0.1", tokenFile: bad }, {}, /holds no token/],
		[{ url: "https://10.0.0.1" }, { NEXUS_TOKEN: "a secret" }, /NEXUS_TOKEN holds no token/],
		[{ url: "https://10.0.0.1", tokenFile: join(folder, "none") }, {}, /--token-file cannot be read: ENOENT/],
		[{ url: "https://10.0.0.1", ca: good }, {}, /--ca .* cannot be used: there is no block of CERTIFICATE/],
		[{ url: "http://127.0.0.1", ca: good }, {}, /--ca is for https/],
	];
	for (const [flags, env, words] of cases) {
		const opened = await openNexus(flags, env);
		assert.ok(typeof opened === "string");
		assert.match(opened, words);
		assert.doesNotMatch(opened, /secret/);
	}
	const api = await openNexus({ url: "http://127.0.0.1:7400", tokenFile: good }, {});
	assert.ok(typeof api !== "string");
	const { inspect } = await import("node:util");
	assert.doesNotMatch(inspect(api, { showHidden: true, depth: 9 }) + JSON.stringify(api), /nxt_secret/);
});

test("tables keep their columns, and nothing in them moves the cursor", () => {
	assert.equal(
		tableText(
			["A", "B"],
			[
				["long", "x"],
				["s", ""],
			],
		),
		"A     B\nlong  x\ns\n",
	);
	assert.equal(shown("a\u001b[2J\nb"), "a?[2J?b");
	assert.equal(shown("a\u202eb\u009bc"), "a?b?c");
	assert.equal(safeJson({ a: ["\u009b2J\u202e", 1] }, 1), '{\n "a": [\n  "\\u009b2J\\u202e",\n  1\n ]\n}');
	assert.equal(
		tableText(
			["A", "B"],
			Array.from({ length: 200_000 }, () => ["x", "y"]),
		).length,
		200_001 * 5,
	);
});
