/** What those do to the authority who mean it no good, and chance: floods, clocks that jump, secrets that would show. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { inspect } from "node:util";
import type { Logger } from "../../../src/core/log.ts";
import { createRequest } from "../../../src/identity/certificate-request.ts";
import { eventJson } from "../support.ts";
import { Caller, HOUR_MS, identityOf, JumpingClock, makeAuthority, serveAuthority, until } from "./support.ts";

const EVENT = { "content-type": "application/cloudevents+json" };

test("while more certificates are asked for than can be issued, events are taken, and who is refused is told to come again", async (t) => {
	const { joinToken, anybody, url, operate } = await serveAuthority(t);
	const token = await joinToken("payments", 100_000);
	const callers = Array.from({ length: 16 }, () => new Caller(t, url));
	const request = createRequest(identityOf("payments")).request.toString("base64");
	const flood = callers.flatMap((caller) => Array.from({ length: 35 }, () => caller.call("/v1/certificates", { token, body: { request } })));
	const firstAnswer = Promise.race(flood);
	const ingest = String((await operate("/v1/tokens", { body: { role: "ingest", name: "producer" } }, 201)).json.token);
	await firstAnswer;
	for (let i = 0; i < 20; i++) {
		assert.equal((await anybody.call("/v1/events", { token: ingest, headers: EVENT, body: eventJson({ id: `e${i}` }) })).status, 200);
	}
	const answers = await Promise.all(flood);
	const refused = answers.filter(({ status }) => status === 429);
	assert.equal(answers.filter(({ status }) => status === 201).length + refused.length, answers.length);
	assert.ok(refused.length > 0);
	for (const { json, headers } of refused) assert.deepEqual([json.reason, headers["retry-after"]], ["overloaded", "5"]);
});

test("a clock that jumps two days ahead ends tokens and certificates; Nexus renews its own and serves on; a jump back hurts nobody", async (t) => {
	const clock = new JumpingClock();
	const { joinToken, joined, anybody, operate, url, nexus } = await serveAuthority(t, { clock, ttlMs: 2_000 });
	const payments = await joined("payments");
	const stale = await joinToken("payments");
	clock.jump(48 * HOUR_MS);
	const { connect } = await import("node:tls");
	const ends = () =>
		new Promise<number>((resolve, reject) => {
			const socket = connect({ host: "127.0.0.1", port: nexus.address.port, rejectUnauthorized: false }, () => {
				resolve(Date.parse(socket.getPeerX509Certificate()?.validTo ?? ""));
				socket.destroy();
			});
			socket.on("error", reject);
		});
	await until(async () => (await ends()) > clock.wallMs(), "a certificate of Nexus for the new day");
	const over = await payments.caller.call("/v1/trust-bundle");
	assert.deepEqual([over.status, over.json.reason], [403, "tls_cert_expired"]);
	const answer = await anybody.call("/v1/certificates", { token: stale, body: { request: createRequest(payments.id).request.toString("base64") } });
	assert.deepEqual([answer.status, answer.json.reason], [401, "unauthenticated"]);
	assert.equal((await (await joined("payments")).caller.call("/v1/trust-bundle")).status, 200);
	clock.jump(-48 * HOUR_MS);
	await operate("/v1/authority", {}, 200);
	assert.equal((await (await joined("orders")).caller.call("/v1/trust-bundle")).status, 200);
	assert.equal((await new Caller(t, url).call("/livez")).status, 200);
});

test("no key and no token shows in the log, in any answer, in the files of others or in what prints the parts", async (t) => {
	const lines: string[] = [];
	const keep = (message: string, fields?: Record<string, unknown>): void =>
		void lines.push(`${message} ${inspect(fields, { depth: 9, showHidden: true })}`);
	const logger: Logger = { debug: keep, info: keep, warn: keep, error: keep };
	const folders = await makeAuthority(t);
	const { operate, joinToken, joined, operator, anybody, nexus } = await serveAuthority(t, { folders, logger, ttlMs: 1_000 });
	const join1 = await joinToken("payments");
	const api = String((await operate("/v1/tokens", { body: { role: "read", name: "x" } }, 201)).json.token);
	const payments = await joined("payments");
	await payments.renew();
	const answers = [
		await operate("/v1/tokens", {}, 200),
		await operate("/v1/authority", {}, 200),
		await operate("/metrics", {}, 200),
		await operate("/v1/authority/rotate", { body: { what: "root" } }, 202),
		await anybody.call("/v1/certificates", { token: join1, body: `{"request": "${api}` }),
		await anybody.call("/v1/certificates", { token: join1.slice(0, -2), body: {} }),
		await anybody.call(`/v1/tokens/${api}`, { method: "DELETE", token: operator }),
		await anybody.call("/v1/tokens", { token: api.slice(0, -1) }),
		await anybody.call("/v1/tokens", { token: operator, body: { service: "a", ttl: api } }),
		await anybody.call("/v1/authority/revocations", { token: operator, body: { serial: "x", more: join1 } }),
	];
	await until(async () => (await operate("/v1/authority", {}, 200)).json.rotation === null, "the rotation is done");
	await nexus.close();
	const shown = [...lines, ...answers.map(({ text, headers }) => text + inspect(headers)), inspect(nexus, { depth: 12, showHidden: true })].join(
		"\n",
	);
	const content = JSON.parse(Buffer.from(join1.slice(4), "base64url").toString()) as { secret: string };
	const keys = ["root.key", "intermediate.key"].map((name) => readFileSync(join(folders.dir, name), "utf8").split("\n")[1] ?? "");
	for (const secret of [content.secret, join1.slice(4, 60), api.slice(20), operator.slice(20), ...keys, "PRIVATE KEY"]) {
		assert.ok(secret.length > 10 && !shown.includes(secret), `${secret.slice(0, 4)}... is shown`);
	}
	for (const dir of [folders.dir, folders.dataDir]) {
		for (const name of readdirSync(dir)) {
			const path = join(dir, name);
			const text = readFileSync(path, "latin1");
			const isSecret = /PRIVATE KEY|nxt_|nxj_/.test(text);
			if (isSecret || /\.json$/.test(name)) assert.equal(statSync(path).mode & 0o777, 0o600, name);
			assert.ok(!text.includes(content.secret) && !text.includes(api.slice(20)), name);
		}
	}
});
