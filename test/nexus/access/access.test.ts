/** Who may do what: every route, with no credential, each role, each way to come. Over sockets. */
import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { isLoopback } from "../../../src/nexus/access/access.ts";
import { type Answer, Caller, JumpingClock, makeAuthority, serveAuthority, until } from "../authority/support.ts";
import { eventJson, serveNexus, temporaryDir } from "../support.ts";

const EVENT = { "content-type": "application/cloudevents+json" };

/** One request for routes of each role, without side effects. */
const GUARDED: readonly [role: "read" | "ingest" | "operate", method: string, path: string, body?: string][] = [
	["read", "GET", "/v1/events"],
	["read", "HEAD", "/v1/events/stream"],
	["read", "GET", "/metrics"],
	["read", "GET", "/v1/authority"],
	["ingest", "POST", "/v1/events", eventJson({ id: "1" })],
	["read", "GET", "/v1/status"],
	["operate", "GET", "/v1/log/backups"],
	["operate", "GET", "/v1/log/backups/{name}"],
	["operate", "POST", "/v1/log/backups", "{}"],
	["operate", "GET", "/v1/tokens"],
	["operate", "POST", "/v1/tokens", "{}"],
	["operate", "DELETE", "/v1/tokens/0123456789abcdef"],
	["operate", "POST", "/v1/authority/rotate", "{}"],
	["operate", "POST", "/v1/authority/revocations", "{}"],
	["operate", "DELETE", "/v1/authority/revocations", "{}"],
];
const OPEN = ["/livez", "/readyz", "/openapi.json"];

function isAllowed({ status }: Answer): boolean {
	return status !== 401 && status !== 403;
}

test("every route of the API needs a role, but for health and its description", async (t) => {
	const { anybody } = await serveAuthority(t);
	const document = (await anybody.call("/openapi.json")).json as { paths: Record<string, Record<string, { security?: unknown }>> };
	const described = Object.entries(document.paths).flatMap(([path, item]) =>
		Object.entries(item).map(([method, { security }]) => ({ path, method, security })),
	);
	const withoutRole = described.filter(({ security }) => security === undefined).map(({ path }) => path);
	assert.deepEqual(withoutRole.sort(), ["/livez", "/readyz"]);
	// Whatever route comes along: nobody gets in without showing who it is. Bodies and names are not looked at before that.
	for (const { path, method, security } of described) {
		// Join tokens come with a request that must be read first.
		if (security === undefined || path === "/v1/certificates") continue;
		const { status } = await anybody.call(path.replace(/\{\w+\}/g, "x"), { method: method.toUpperCase() });
		assert.equal(status, 401, `${method} ${path}`);
	}
	for (const path of OPEN) assert.equal((await anybody.call(path)).status, 200, path);
});

test("without certificate and token every guarded route answers 401; a token opens the routes of its role alone", async (t) => {
	const { operate, anybody } = await serveAuthority(t);
	const tokenOf = async (role: string) => String((await operate("/v1/tokens", { body: { role, name: `the ${role} of a test` } }, 201)).json.token);
	const tokens = { read: await tokenOf("read"), ingest: await tokenOf("ingest"), operate: await tokenOf("operate") };
	for (const [needed, method, path, body] of GUARDED) {
		const options = { method, headers: EVENT, ...(body === undefined ? {} : { body }) };
		const none = await anybody.call(path, options);
		assert.equal(none.status, 401, `${method} ${path}`);
		if (method !== "HEAD") assert.equal(none.json.reason, "unauthenticated");
		for (const role of ["read", "ingest", "operate"] as const) {
			const answer = await anybody.call(path, { ...options, token: tokens[role] });
			assert.equal(isAllowed(answer), role === needed || role === "operate", `${role}: ${method} ${path} ${answer.status}`);
			if (!isAllowed(answer) && method !== "HEAD") assert.deepEqual([answer.status, answer.json.reason], [403, "unauthorized"]);
		}
		for (const token of ["nxt_", `nxt_${"0".repeat(16)}${"A".repeat(43)}`, tokens.operate.slice(0, -1), "nxj_AAAA", "Basic"]) {
			assert.equal((await anybody.call(path, { ...options, token })).status, 401, token);
		}
		assert.equal((await anybody.call(path, { ...options, headers: { ...EVENT, authorization: `Basic ${tokens.operate}` } })).status, 401);
	}
});

test("an identity of the mesh may send events and take the bundle; further roles come from the configuration", async (t) => {
	const { joined } = await serveAuthority(t, {
		access: { anonymous: [], identities: { operate: ["ops"], read: ["spiffe://mesh.local/grafana"] }, isStated: true },
	});
	const roles = { payments: ["ingest"], grafana: ["ingest", "read"], ops: ["ingest", "read", "operate"] };
	for (const [service, allowed] of Object.entries(roles)) {
		const { caller } = await joined(service);
		for (const [needed, method, path, body] of GUARDED) {
			const answer = await caller.call(path, { method, headers: EVENT, ...(body === undefined ? {} : { body }) });
			assert.equal(isAllowed(answer), allowed.includes(needed), `${service}: ${method} ${path} ${answer.status}`);
		}
		assert.equal((await caller.call("/v1/trust-bundle")).status, 200);
	}
});

test("anonymous callers on loopback have the roles that are configured, over TLS and in plain text", async (t) => {
	const { url } = await serveAuthority(t, { access: { anonymous: ["read"], identities: {}, isStated: true } });
	for (const at of [url, url.replace("https:", "http:")]) {
		const caller = new Caller(t, at);
		for (const [needed, method, path, body] of GUARDED) {
			const answer = await caller.call(path, { method, headers: EVENT, ...(body === undefined ? {} : { body }) });
			assert.equal(answer.status === 401, needed !== "read", `${at} ${method} ${path} ${answer.status}`);
		}
		assert.equal((await caller.call("/v1/trust-bundle")).status, 200);
	}
});

test("without a configuration all is open on loopback, as before", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	const caller = new Caller(t, url);
	assert.equal((await caller.call("/v1/events", { headers: EVENT, body: eventJson({ id: "1" }) })).status, 200);
	assert.equal((await caller.call("/v1/events")).status, 200);
	assert.equal((await caller.call("/v1/tokens", { body: { role: "read", name: "x" } })).status, 201);
	for (const [method, path] of [
		["GET", "/v1/authority"],
		["GET", "/v1/trust-bundle"],
	] as const) {
		const answer = await caller.call(path, { method });
		assert.deepEqual([answer.status, answer.json.reason], [503, "no_authority"]);
	}
	const join = await caller.call("/v1/tokens", { body: { service: "payments" } });
	assert.deepEqual([join.status, join.json.reason], [503, "no_authority"]);
	const asking = await caller.call("/v1/certificates", { body: { request: "AAAA" } });
	assert.deepEqual([asking.status, asking.json.reason], [503, "no_authority"]);
});

const elsewhere = Object.values(networkInterfaces())
	.flat()
	.find((each) => each?.family === "IPv4" && !each.internal)?.address;
// No package would help.
const skip = elsewhere === undefined && "this machine has no address but loopback";

test("from another machine nobody is anonymous, and plain text opens nothing where there is TLS, not even with a token", { skip }, async (t) => {
	const listen = { host: "0.0.0.0", port: 0 };
	const anonymous = ["read", "ingest", "operate"] as const;
	const folders = await makeAuthority(t);
	const { nexus, operator, joinToken } = await serveAuthority(t, { folders, listen, access: { anonymous, identities: {}, isStated: true } });
	const far = new Caller(t, `https://${elsewhere}:${nexus.address.port}`);
	assert.equal((await far.call("/v1/events")).status, 401);
	assert.equal((await far.call("/v1/events", { token: operator })).status, 200);
	const plain = new Caller(t, `http://${elsewhere}:${nexus.address.port}`);
	for (const token of [operator, undefined]) {
		const answer = await plain.call("/v1/events", token === undefined ? {} : { token });
		assert.deepEqual([answer.status, answer.json.reason], [403, "tls_plaintext_on_tls_port"]);
	}
	const joining = await plain.call("/v1/certificates", { token: await joinToken("payments"), body: { request: "AAAA" } });
	assert.deepEqual([joining.status, joining.json.reason], [403, "tls_plaintext_on_tls_port"]);
	assert.equal((await plain.call("/livez")).status, 200);
});

test("an address beyond loopback is refused until somebody has said who may do what", async (t) => {
	const dir = temporaryDir(t);
	const listen = { host: "0.0.0.0", port: 0 };
	await assert.rejects(serveNexus(t, dir, { listen }), /can be reached from other machines/);
	const { url, nexus } = await serveNexus(t, dir);
	assert.equal((await new Caller(t, url).call("/v1/tokens", { body: { role: "operate", name: "me" } })).status, 201);
	await nexus.close();
	await serveNexus(t, dir, { listen });
});

test("the first operator finds a token in a file of its owner's alone; it is made once, and again only where none is left", async (t) => {
	const folders = await makeAuthority(t);
	const first = await serveAuthority(t, { folders });
	const path = join(folders.dataDir, "operator.token");
	assert.equal(statSync(path).mode & 0o777, 0o600);
	assert.equal(statSync(join(folders.dataDir, "identity.json")).mode & 0o777, 0o600);
	await first.nexus.close();
	const second = await serveAuthority(t, { folders });
	assert.equal(second.operator, first.operator);
	const { tokens } = (await second.operate("/v1/tokens", {}, 200)).json as { tokens: { id: string; role: string }[] };
	assert.deepEqual(
		tokens.map(({ role }) => role),
		["operate"],
	);
	await second.operate(`/v1/tokens/${tokens[0]?.id}`, { method: "DELETE" }, 204);
	assert.equal((await second.anybody.call("/v1/tokens", { token: second.operator })).status, 401);
	await second.nexus.close();
	const third = await serveAuthority(t, { folders });
	assert.notEqual(third.operator, first.operator);
	await third.operate("/v1/tokens", {}, 200);
});

test("tokens are listed without their secrets, hold until they expire or are deleted, and end the streams that they opened", async (t) => {
	const clock = new JumpingClock();
	const { operate, anybody, url, dataDir } = await serveAuthority(t, { clock });
	const made = (await operate("/v1/tokens", { body: { role: "read", name: "grafana", ttl: "1h" } }, 201)).json as { id: string; token: string };
	const list = await operate("/v1/tokens", {}, 200);
	assert.ok(!list.text.includes(made.token.slice(20)));
	assert.ok(!readFileSync(join(dataDir, "identity.json"), "utf8").includes(made.token.slice(20)));
	assert.equal((await anybody.call("/v1/events", { token: made.token })).status, 200);
	const stream = new Caller(t, url).call("/v1/events/stream", { token: made.token });
	await until(async () => /nexus_followers 1/.test((await operate("/metrics", {}, 200)).text), "the stream is open");
	await operate(`/v1/tokens/${made.id}`, { method: "DELETE" }, 204);
	assert.equal((await stream).status, 200);
	const gone = await anybody.call("/v1/events", { token: made.token });
	assert.deepEqual([gone.status, gone.json.detail], [401, "The token is unknown."]);
	await operate(`/v1/tokens/${made.id}`, { method: "DELETE" }, 404);
	const short = (await operate("/v1/tokens", { body: { role: "read", name: "soon over", ttl: "1m" } }, 201)).json as { token: string };
	clock.jump(60_000);
	const over = await anybody.call("/v1/events", { token: short.token });
	assert.equal(over.status, 401);
	assert.match(String(over.json.detail), /^The token has expired at /);
});

test("bodies for tokens that mean nothing are refused", async (t) => {
	const { operate } = await serveAuthority(t);
	const bodies = [{}, { role: "root", name: "x" }, { role: "read" }, { role: "read", name: "\u001b[2J" }, { role: "read", name: "x", service: "y" }];
	const more = [
		{ service: "a", uses: 0 },
		{ service: "a", uses: 1.5 },
		{ service: "a", ttl: "soon" },
		{ service: "a", ttl: "31d" },
		{ service: "a", ttl: "800h" },
	];
	for (const body of [...bodies, ...more]) await operate("/v1/tokens", { body }, 400);
});

test("loopback is what the system calls so, and nothing that looks like it", () => {
	for (const address of ["127.0.0.1", "127.9.8.7", "::1", "::ffff:127.0.0.1"]) assert.ok(isLoopback(address), address);
	for (const address of ["", "10.0.0.1", "128.0.0.1", "::ffff:10.0.0.1", "127.0.0.1.example", "127.1", "fe80::1", "0.0.0.0"])
		assert.ok(!isLoopback(address), address);
});
