/** API tokens over their life: two secrets while one follows the other, when they were used last, what producers may publish, pages of them. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { WebSocket } from "ws";
import { FileTokens } from "../../../src/nexus/access/file-tokens.ts";
import { Tokens } from "../../../src/nexus/access/tokens.ts";
import { StateFile } from "../../../src/nexus/authority/state-file.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { Caller, JumpingClock, makeAuthority, serveAuthority, until } from "../authority/support.ts";
import { eventJson, serveNexus, temporaryDir } from "../support.ts";

const STRUCTURED = { "content-type": "application/cloudevents+json" };
const BATCH = { "content-type": "application/cloudevents-batch+json" };

interface Made {
	readonly id: string;
	readonly token: string;
	readonly version: number;
	readonly previous?: { readonly until: string; readonly lastUsedAt: string | null };
	readonly expiresAt: string | null;
	readonly lastUsedAt: string | null;
}

test("while a token is rotated both of its secrets hold; the former one ends with its time, or at once when it is retired", async (t) => {
	const clock = new JumpingClock();
	const { operate, anybody } = await serveAuthority(t, { clock });
	const statusWith = async (token: string) => (await anybody.call("/v1/events", { token })).status;
	const first = (await operate("/v1/tokens", { body: { role: "read", name: "grafana" } }, 201)).json as unknown as Made;
	assert.deepEqual([first.version, first.lastUsedAt], [1, null]);
	assert.equal(await statusWith(first.token), 200);
	const second = (await operate(`/v1/tokens/${first.id}/rotate`, { body: { grace: "1h" } }, 201)).json as unknown as Made;
	assert.deepEqual([second.id, second.version], [first.id, 2]);
	assert.notEqual(second.token, first.token);
	assert.ok(second.previous?.lastUsedAt);
	assert.deepEqual([await statusWith(first.token), await statusWith(second.token)], [200, 200]);

	const third = await operate(`/v1/tokens/${first.id}/rotate`, { body: {} }, 409);
	assert.match(String(third.json.detail), /two secrets of the token are in use, the former one until /);
	clock.jump(3_600_000);
	const over = await anybody.call("/v1/events", { token: first.token });
	assert.equal(over.status, 401);
	assert.match(String(over.json.detail), /^The token was rotated, and its former secret has ended at /);
	assert.equal(await statusWith(second.token), 200);

	const fourth = (await operate(`/v1/tokens/${first.id}/rotate`, { body: {} }, 201)).json as unknown as Made;
	assert.equal(fourth.version, 3);
	assert.equal((await anybody.call("/v1/events", { token: first.token })).json.detail, "The token is unknown.");
	assert.equal(await statusWith(second.token), 200);
	await operate(`/v1/tokens/${first.id}/previous`, { method: "DELETE" }, 204);
	assert.deepEqual([await statusWith(second.token), await statusWith(fourth.token)], [401, 200]);

	// Told after the answer.
	const audited = await until(async () => {
		const found = await operate("/v1/events?type=nexus.audit.mutation&limit=100", {}, 200);
		return found.text.includes(`"method":"DELETE","path":"/v1/tokens/${first.id}/previous","status":204`) && found;
	}, "the retirement is audited");
	assert.match(audited.text, new RegExp(`"method":"POST","path":"/v1/tokens/${first.id}/rotate","status":201`));
	assert.doesNotMatch(audited.text, /nxt_/);
});

test("a new secret that was lost before anybody used it is replaced, and the one in use stays", async (t) => {
	const clock = new JumpingClock();
	const { operate, anybody } = await serveAuthority(t, { clock });
	const first = (await operate("/v1/tokens", { body: { role: "read", name: "x", ttl: "2h" } }, 201)).json as unknown as Made;
	const lost = (await operate(`/v1/tokens/${first.id}/rotate`, { body: { grace: "1h", ttl: "100h" } }, 201)).json as unknown as Made;
	const found = (await operate(`/v1/tokens/${first.id}/rotate`, { body: { grace: "700h" } }, 201)).json as unknown as Made;
	assert.equal(found.previous?.until, lost.previous?.until);
	assert.equal(found.expiresAt, lost.expiresAt);
	assert.equal((await anybody.call("/v1/events", { token: lost.token })).status, 401);
	for (const { token } of [first, found]) assert.equal((await anybody.call("/v1/events", { token })).status, 200);
});

test("a grace never outlasts the token, none at all ends a secret at once, and a token that is over holds again only for a time that is said", async (t) => {
	const clock = new JumpingClock();
	const { operate, anybody } = await serveAuthority(t, { clock });
	const made = (await operate("/v1/tokens", { body: { role: "read", name: "x", ttl: "1h" } }, 201)).json as unknown as Made;
	const rotated = (await operate(`/v1/tokens/${made.id}/rotate`, { body: { grace: "24h", ttl: "3h" } }, 201)).json as unknown as Made;
	assert.equal(rotated.previous?.until, made.expiresAt);
	assert.equal((await anybody.call("/v1/events", { token: rotated.token })).status, 200);
	clock.jump(3_600_000);
	const again = (await operate(`/v1/tokens/${made.id}/rotate`, { body: { grace: "0s" } }, 201)).json as unknown as Made;
	assert.equal(again.previous, undefined);
	assert.equal((await anybody.call("/v1/events", { token: rotated.token })).status, 401);
	clock.jump(2 * 3_600_000);
	assert.match(String((await operate(`/v1/tokens/${made.id}/rotate`, { body: {} }, 409)).json.detail), /has expired/);
	const revived = (await operate(`/v1/tokens/${made.id}/rotate`, { body: { ttl: "1h" } }, 201)).json as unknown as Made;
	assert.deepEqual(
		[(await anybody.call("/v1/events", { token: revived.token })).status, (await anybody.call("/v1/events", { token: again.token })).status],
		[200, 401],
	);

	const join = (await operate("/v1/tokens", { body: { service: "payments" } }, 201)).json as unknown as Made;
	assert.match(String((await operate(`/v1/tokens/${join.id}/rotate`, { body: {} }, 409)).json.detail), /join token/);
	await operate("/v1/tokens/0123456789abcdef/rotate", { body: {} }, 404);
	await operate(`/v1/tokens/${join.id}/previous`, { method: "DELETE" }, 404);
	for (const body of [{ grace: "31d" }, { grace: "800h" }, { grace: 5 }, { grace: "1h", more: 1 }])
		await operate(`/v1/tokens/${made.id}/rotate`, { body }, 400);
});

test("when a secret was used last is known at once, written once a minute, and survives a restart", async (t) => {
	const path = join(temporaryDir(t), "identity.json");
	const clock = new FakeClock();
	let writes = 0;
	let isFull = false;
	const kept: string[] = [];
	const state = await StateFile.open(path, async (_path, text) => {
		if (isFull) throw new Error("no space");
		writes++;
		kept[0] = text;
	});
	const tokens = new Tokens(new FileTokens(state), clock);
	const made = await tokens.createApi({ role: "ingest", name: "x" });
	assert.ok("text" in made);
	const lastUsed = () => tokens.page(undefined, 1).tokens[0]?.lastUsedAt;
	for (let i = 0; i < 1_000; i++) {
		clock.advance(10);
		assert.ok(tokens.recogniseApi(made.text).ok);
	}
	assert.ok(!tokens.recogniseApi(`${made.text.slice(0, 20)}${made.text.at(20) === "A" ? "B" : "A"}${made.text.slice(21)}`).ok);
	assert.equal(lastUsed(), new Date(clock.wallMs()).toISOString());
	assert.equal(writes, 1);
	isFull = true;
	clock.advance(60_000);
	await state.settled();
	assert.equal(writes, 1);
	isFull = false;
	const usedMs = clock.wallMs() - 60_000;
	clock.advance(60_000);
	await state.settled();
	assert.equal(writes, 2);
	assert.equal(lastUsed(), new Date(usedMs).toISOString());
	assert.match(kept[0] ?? "", new RegExp(`"lastUsedMs":${usedMs}`));
	clock.advance(600_000);
	await state.settled();
	assert.equal(writes, 2);
	tokens.recogniseApi(made.text);
	await tokens.close();
	assert.match(kept[0] ?? "", new RegExp(`"lastUsedMs":${clock.wallMs()}`));
});

test("a rotation that cannot be written changes nothing, and of two at the same time one secret is left beside the one in use", async (t) => {
	let isFull = false;
	const state = await StateFile.open(join(temporaryDir(t), "identity.json"), async () => {
		if (isFull) throw new Error("ENOSPC: no space left on device");
	});
	const tokens = new Tokens(new FileTokens(state), new FakeClock());
	const made = await tokens.createApi({ role: "ingest", name: "x" });
	assert.ok("text" in made);
	assert.ok(tokens.recogniseApi(made.text).ok);
	isFull = true;
	const failed = await tokens.rotate(made.shown.id, { graceMs: 1_000 });
	assert.ok("fault" in failed && failed.fault === "not_kept");
	assert.deepEqual(await tokens.retirePrevious(made.shown.id), { fault: "not_found", words: "there is no token of this id that has two secrets" });
	assert.ok(tokens.recogniseApi(made.text).ok);
	assert.equal(tokens.page(undefined, 1).tokens[0]?.version, 1);
	isFull = false;
	const both = await Promise.all([tokens.rotate(made.shown.id, { graceMs: 1_000 }), tokens.rotate(made.shown.id, { graceMs: 1_000 })]);
	const holding = both.map((each) => "text" in each && tokens.recogniseApi(each.text).ok);
	assert.deepEqual(holding, [false, true]);
	assert.ok(tokens.recogniseApi(made.text).ok);
	assert.equal(tokens.page(undefined, 1).tokens[0]?.version, 3);
});

test("a restart knows when tokens were used", async (t) => {
	const folders = await makeAuthority(t);
	const first = await serveAuthority(t, { folders });
	await first.nexus.close();
	assert.match(readFileSync(join(folders.dataDir, "identity.json"), "utf8"), /"name":"first operator"/);
	const second = await serveAuthority(t, { folders });
	const made = (await second.operate("/v1/tokens", { body: { role: "read", name: "x" } }, 201)).json as unknown as Made;
	await second.anybody.call("/v1/events", { token: made.token });
	await second.nexus.close();
	const third = await serveAuthority(t, { folders });
	const { tokens } = (await third.operate("/v1/tokens", {}, 200)).json as { tokens: Made[] };
	const shown = tokens.find(({ id }) => id === made.id);
	assert.ok(shown?.lastUsedAt && Math.abs(Date.parse(shown.lastUsedAt) - Date.now()) < 60_000);
});

test("a producer's token opens the types and sources that it names, event by event, and nothing else", async (t) => {
	const { operate, anybody, url } = await serveAuthority(t);
	const body = { role: "ingest", name: "shop", types: ["order.*", "cart"], sources: ["/shop/*"] };
	const { token } = (await operate("/v1/tokens", { body }, 201)).json as unknown as Made;
	const event = (id: string, type: string, source: string) => eventJson({ id, type, source });
	const post = (text: string, headers = STRUCTURED) => anybody.call("/v1/events", { token, headers, body: text });

	assert.equal((await post(event("1", "order.placed", "/shop/1"))).status, 200);
	for (const [type, source] of [
		["order", "/shop/1"],
		["order.placed", "/shop"],
		["nexus.mesh.traffic.routed", "/shop/1"],
	] as const) {
		const refused = await post(event("2", type, source));
		assert.deepEqual([refused.status, refused.json.reason], [403, "unauthorized"], type);
	}
	const batch = await post(`[${event("3", "order.paid", "/shop/1")},${event("4", "other", "/shop/1")},${event("5", "cart", "/shop/")}]`, BATCH);
	assert.equal(batch.status, 200);
	assert.deepEqual(batch.json.rejected, [{ index: 1, reason: "the token does not allow events of type other" }]);
	assert.equal(batch.json.accepted, 2);
	const mixed = await post(`[{},${event("6", "other", "/shop/1")}]`, BATCH);
	assert.equal(mixed.status, 400);

	for (const [method, path] of [
		["GET", "/v1/events"],
		["PUT", "/v1/services/shop/instances/a"],
	] as const) {
		const answer = await anybody.call(path, { method, token, ...(method === "PUT" ? { body: {} } : {}) });
		assert.ok([403, 404].includes(answer.status), `${method} ${path} ${answer.status}`);
	}

	const socket = new WebSocket(`${url.replace("https", "wss")}/v1/events/publish`, {
		headers: { authorization: `Bearer ${token}` },
		rejectUnauthorized: false,
	});
	t.after(() => socket.terminate());
	const acks: { message: number; accepted: number; rejected: unknown[] }[] = [];
	socket.on("message", (data) => acks.push(JSON.parse(String(data))));
	await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
	socket.send(event("7", "order.sent", "/shop/1"));
	socket.send(event("8", "other", "/shop/1"));
	await until(() => acks.length === 2, "both messages are answered");
	acks.sort((a, b) => a.message - b.message);
	assert.deepEqual(
		acks.map(({ accepted, rejected }) => [accepted, rejected.length]),
		[
			[1, 0],
			[0, 1],
		],
	);
	const { events } = (await operate("/v1/events?source=/shop/1", {}, 200)).json as { events: { event: { id: string } }[] };
	assert.deepEqual(
		events.map(({ event }) => event.id),
		["1", "3", "7"],
	);
	const rotated = (await operate("/v1/tokens", {}, 200)).json as { tokens: { name?: string; id: string; types?: string[] }[] };
	const shown = rotated.tokens.find(({ name }) => name === "shop");
	assert.deepEqual(shown?.types, body.types);
	const next = (await operate(`/v1/tokens/${shown?.id}/rotate`, { body: {} }, 201)).json as unknown as Made;
	assert.equal((await anybody.call("/v1/events", { token: next.token, headers: STRUCTURED, body: event("9", "other", "/shop/1") })).status, 403);
});

test("types and sources are for producers, and are bounded", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	const caller = new Caller(t, url);
	for (const more of [
		{ role: "read", types: ["a"] },
		{ role: "operate", sources: ["a"] },
		{ role: "ingest", types: [] },
		{ role: "ingest", types: [""] },
		{ role: "ingest", types: ["x".repeat(257)] },
		{ role: "ingest", sources: Array.from({ length: 17 }, (_, i) => `/${i}`) },
	]) {
		assert.equal((await caller.call("/v1/tokens", { body: { name: "x", ...more } })).status, 400, JSON.stringify(more).slice(0, 60));
	}
});

test("tokens are listed page by page, also where one goes in between", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	const caller = new Caller(t, url);
	const made: string[] = [];
	for (let i = 0; i < 7; i++) made.push(String((await caller.call("/v1/tokens", { body: { role: "read", name: `n${i}` } })).json.id));
	const seen: string[] = [];
	let after = "";
	do {
		const { json } = await caller.call(`/v1/tokens?limit=3${after}`);
		const { tokens, next } = json as unknown as { tokens: Made[]; next: string | null };
		seen.push(...tokens.map(({ id }) => id));
		const last = tokens.at(-1);
		if (seen.length === 3) assert.equal((await caller.call(`/v1/tokens/${last?.id}`, { method: "DELETE" })).status, 204);
		after = next === null ? "" : `&after=${next}`;
	} while (after !== "");
	assert.deepEqual([...seen].sort(), [...made].sort());
	for (const query of ["limit=0", "limit=1001", "after=x", "more=1"]) assert.equal((await caller.call(`/v1/tokens?${query}`)).status, 400, query);
});
