/** Subscriptions over the API: made, shown, changed under their revision, paused, moved and deleted; faults with their places. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { numbered, serveNexus, temporaryDir } from "../support.ts";
import { call, publish, receiver, type Shown, until } from "./support.ts";

interface Fetched {
	readonly deliveries: readonly {
		readonly token: string;
		readonly sequence: number;
		readonly attempt: number;
		readonly event: { readonly id: string };
	}[];
}

const PULL = { filter: { type: "t" }, sink: { kind: "pull" }, delivery: { backoff: ["20ms"], attempts: 2 } };

async function lastSequence(url: string): Promise<number> {
	const { json } = await call<{ events: { sequence: number }[] }>(`${url}/v1/events?order=desc&limit=1`, "GET");
	return json.events[0]?.sequence ?? 0;
}

test("a subscription is made, shown, listed, changed only as it was read, and deleted", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	const at = `${url}/v1/subscriptions/billing`;
	const made = await call(at, "PUT", PULL, { "if-none-match": "*" });
	assert.equal(made.status, 201);
	assert.equal(made.etag, `"${made.json.revision}"`);
	assert.equal((await call(at, "PUT", PULL, { "if-none-match": "*" })).status, 412);
	const changed = await call(at, "PUT", { ...PULL, description: "x" }, { "if-match": made.etag ?? "" });
	assert.equal(changed.status, 200);
	const late = await call(at, "PUT", PULL, { "if-match": made.etag ?? "" });
	assert.deepEqual([late.status, late.json.reason, late.json.detail], [412, "precondition_failed", `It has revision ${changed.json.revision}.`]);
	assert.equal((await call(at, "PUT", PULL, { "if-match": "billing" })).status, 400);
	const shown = await call(at, "GET");
	assert.deepEqual(shown.json.document, { ...PULL, description: "x" });
	assert.equal(shown.json.state, "running");
	for (const name of ["a", "b", "c"]) await call(`${url}/v1/subscriptions/${name}`, "PUT", PULL);
	const page = await call<{ subscriptions: Shown[]; next: string | null }>(`${url}/v1/subscriptions?limit=2`, "GET");
	assert.equal(page.json.next, "b");
	const rest = await call<{ subscriptions: { name: string }[]; next: string | null }>(`${url}/v1/subscriptions?after=b`, "GET");
	assert.deepEqual([rest.json.subscriptions.map(({ name }) => name), rest.json.next], [["billing", "c"], null]);
	assert.equal((await call(at, "DELETE", undefined, { "if-match": '"1"' })).status, 412);
	assert.equal((await call(at, "DELETE")).status, 204);
	assert.equal((await call(at, "GET")).status, 404);
	assert.equal((await call(at, "DELETE")).status, 404);
});

test("every fault of a document is told with its place", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	const faultsOf = async (document: unknown, name = "x"): Promise<string[]> => {
		const answer = await call(`${url}/v1/subscriptions/${name}`, "PUT", document);
		assert.equal(answer.status, 400, JSON.stringify(document));
		assert.equal(answer.json.reason, "bad_subscription");
		return answer.json.faults.map(({ path }) => path);
	};
	assert.deepEqual(await faultsOf({ filter: { typ: "t" }, sink: { kind: "webhook" }, delivery: { backoff: ["1"], attempts: 0 } }), [
		"filter",
		"sink",
		"delivery.attempts",
		"delivery.backoff[0]",
	]);
	assert.deepEqual(await faultsOf({ filters: [{ any: [{ sql: "1 +" }] }], sink: { kind: "pull" } }), ["filters[0].any[0].sql"]);
	assert.deepEqual(await faultsOf({ sink: { kind: "webhook", url: "ftp://x" } }), ["sink.url"]);
	assert.deepEqual(await faultsOf({ sink: { kind: "webhook", url: "http://u:p@x/" } }), ["sink.url"]);
	assert.deepEqual(await faultsOf({ sink: { kind: "webhook", url: "http://x/", headers: { host: "y" } } }), ["sink.headers.host"]);
	// As it is shown of another one: there is nothing here that it could keep.
	assert.deepEqual(await faultsOf({ sink: { kind: "webhook", url: "http://x/", headers: { authorization: "(set)" } } }), [
		"sink.headers.authorization",
	]);
	assert.deepEqual(await faultsOf({ sink: { kind: "function", name: "nobody" } }), ["sink.name"]);
	assert.deepEqual(await faultsOf({ sink: { kind: "pull" }, strategy: "broadcast" }), ["strategy"]);
	assert.deepEqual(await faultsOf({ sink: { kind: "pull" }, transform: { jsonata: "$sum(" } }), ["transform.jsonata"]);
	assert.deepEqual(await faultsOf({ sink: { kind: "pull" }, from: { time: "yesterday" } }), ["from.time"]);
	assert.deepEqual(await faultsOf({ sink: { kind: "pull" }, from: "tomorrow" }), ["from"]);
	assert.deepEqual(await faultsOf({ sink: { kind: "pull" }, delivery: { concurrency: { min: 5, max: 2 } } }), ["delivery.concurrency"]);
	assert.deepEqual(await faultsOf({ sink: { kind: "pull" } }, "a%20b"), ["name"]);
	const notJson = await fetch(`${url}/v1/subscriptions/x`, { method: "PUT", body: "{" });
	assert.equal(notJson.status, 400);
});

test("a paused subscription delivers nothing, and goes on where it was", async (t) => {
	const hook = await receiver(t);
	const { url } = await serveNexus(t, temporaryDir(t));
	const at = `${url}/v1/subscriptions/s`;
	await call(at, "PUT", { filter: { type: "t" }, sink: { kind: "webhook", url: hook.url } });
	await publish(url, { id: "a" });
	await until("it arrives", () => hook.received.length === 1);
	await until("it is settled", async () => (await call(at, "GET")).json.deliveries.acked === 1);
	assert.equal((await call(`${at}/pause`, "POST")).json.state, "paused");
	await publish(url, ...numbered("p", 5));
	assert.equal((await call(`${at}/resume`, "POST")).json.state, "running");
	await until("all arrive", () => hook.received.length === 6);
	assert.deepEqual(
		hook.ids().slice(1).sort(),
		numbered("p", 5).map(({ id }) => id),
	);
	assert.equal((await call(`${url}/v1/subscriptions/nobody/pause`, "POST")).status, 404);
});

test("a subscription begins with what is new, with all, at a sequence, at a time, or with the last of each key; and can be moved there", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	const first = 1 + (await lastSequence(url));
	await publish(
		url,
		...numbered("old", 3, { partitionkey: "a" }),
		{ id: "b0", partitionkey: "b" },
		{ id: "a-last", partitionkey: "a" },
		{ id: "keyless" },
	);
	const ids = async (name: string): Promise<string[]> => {
		const answer = await call<Fetched>(`${url}/v1/subscriptions/${name}/fetch`, "POST", { max: 100, wait: "5s" });
		await call(`${url}/v1/subscriptions/${name}/ack`, "POST", { ack: answer.json.deliveries.map(({ token }) => token) });
		return answer.json.deliveries.map(({ event }) => event.id);
	};
	const all = ["old0", "old1", "old2", "b0", "a-last", "keyless"];
	for (const [name, from, expected] of [
		["all", "all", all],
		["sequence", { sequence: first + 3 }, all.slice(3)],
		["time", { time: "2020-01-01T00:00:00Z" }, all],
		["last", { lastPer: "partitionkey" }, ["b0", "a-last", "keyless"]],
	] as const) {
		assert.equal((await call(`${url}/v1/subscriptions/${name}`, "PUT", { ...PULL, from })).status, 201);
		assert.deepEqual(await ids(name), expected, name);
	}
	for (const [name, from] of [
		["new", undefined],
		["future", { time: "2100-01-01T00:00:00Z" }],
	] as const) {
		await call(`${url}/v1/subscriptions/${name}`, "PUT", { ...PULL, ...(from === undefined ? {} : { from }) });
	}
	await publish(url, { id: "x", partitionkey: "a" });
	for (const name of ["new", "future", "last", "all"]) assert.deepEqual(await ids(name), ["x"], name);
	assert.equal((await call(`${url}/v1/subscriptions/new/seek`, "POST", { from: { sequence: first + 4 } })).status, 200);
	assert.deepEqual(await ids("new"), ["a-last", "keyless", "x"]);
});

test("dead letters are looked at, tried again by filter and count, and a subscription that has some is not deleted unawares", async (t) => {
	let isUp = false;
	const hook = await receiver(t, ({ id }) => ({ status: isUp && id !== "d2" ? 204 : 500, body: "out of order" }));
	const { url } = await serveNexus(t, temporaryDir(t));
	const at = `${url}/v1/subscriptions/s`;
	await call(at, "PUT", {
		filter: { type: "t*" },
		sink: { kind: "webhook", url: hook.url },
		delivery: { attempts: 2, backoff: ["10ms"], concurrency: 8 },
	});
	const parked: string[] = [];
	const events = await fetch(`${url}/v1/events/stream?type=nexus.bus.*`);
	const reader = (events.body as ReadableStream<Uint8Array>).getReader();
	t.after(() => reader.cancel());
	await publish(url, ...numbered("d", 4), { id: "other", type: "t2" });
	await until("all are parked", async () => (await call(at, "GET")).json.deadLetters === 5);
	while (parked.length < 5)
		parked.push(
			...new TextDecoder()
				.decode((await reader.read()).value)
				.split("nexus.bus.dead_letter.parked")
				.slice(1),
		);
	const looked = await call<{ deadLetters: { sequence: number; reason: string }[]; next: string | null; total: number }>(
		`${at}/dead-letters?limit=2`,
		"GET",
	);
	const [one = 0, two = 0] = looked.json.deadLetters.map(({ sequence }) => sequence);
	assert.deepEqual([looked.json.deadLetters.length, two - one, looked.json.total], [2, 1, 5]);
	assert.equal((await call<{ deadLetters: unknown[] }>(`${at}/dead-letters?after=${looked.json.next}`, "GET")).json.deadLetters.length, 3);
	const replay = async (body: object): Promise<unknown> => (await call(`${at}/dead-letters/replay`, "POST", body)).json;
	assert.deepEqual(await replay({ count: 1 }), { recovered: 0, stillFailed: 1, pending: 0 });
	isUp = true;
	assert.deepEqual(await replay({ filter: { type: "t2" } }), { recovered: 1, stillFailed: 0, pending: 0 });
	assert.deepEqual(await replay({ count: 1 }), { recovered: 1, stillFailed: 0, pending: 0 });
	assert.deepEqual(await replay({}), { recovered: 2, stillFailed: 1, pending: 0 });
	const refused = await call(at, "DELETE");
	assert.deepEqual([refused.status, refused.json.reason], [409, "dead_letters"]);
	assert.match(await (await fetch(`${url}/metrics`)).text(), /nexus_subscription_dead_letters\{subscription="s"\} 1\n/);
	assert.equal((await call<{ discarded: number }>(`${at}/dead-letters/discard`, "POST", { sequences: [two + 1, 9999] })).json.discarded, 1);
	assert.equal((await call(at, "DELETE")).status, 204);
});

test("a consumer takes events, answers for them, and those it is silent about come again", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	const at = `${url}/v1/subscriptions/s`;
	await call(at, "PUT", { ...PULL, delivery: { attempts: 3, backoff: ["20ms"], ackWait: "300ms" } });
	const waiting = call<Fetched>(`${at}/fetch`, "POST", { max: 10, wait: "20s" });
	await publish(url, { id: "a" });
	const [first] = (await waiting).json.deliveries;
	assert.deepEqual([first?.event.id, first?.attempt], ["a", 1]);
	const again = (await call<Fetched>(`${at}/fetch`, "POST", { max: 10 })).json.deliveries[0];
	assert.deepEqual([again?.event.id, again?.attempt], ["a", 2]);
	const answer = await call<{ settled: number; unknown: string[] }>(`${at}/ack`, "POST", {
		ack: [again?.token],
		nak: [{ token: first?.token ?? "", delay: "1s" }],
		progress: ["1-1-1"],
	});
	assert.deepEqual(answer.json, { settled: 1, unknown: [first?.token, "1-1-1"] });
	await publish(url, { id: "b" });
	const [b] = (await call<Fetched>(`${at}/fetch`, "POST", {})).json.deliveries;
	assert.equal((await call<{ settled: number }>(`${at}/ack`, "POST", { term: [{ token: b?.token, reason: "unwanted" }] })).json.settled, 1);
	await until("it is parked", async () => (await call(at, "GET")).json.deadLetters === 1);
	assert.deepEqual((await call<Fetched>(`${at}/fetch`, "POST", { wait: "0s" })).json.deliveries, []);
	assert.equal((await call(`${at}/fetch`, "POST", { max: 0 })).status, 400);
});

test("a consumer that goes away while it waits takes no event with it", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	const at = `${url}/v1/subscriptions/s`;
	await call(at, "PUT", PULL);
	for (let i = 0; i < 3; i++) {
		const gone = new AbortController();
		const fetched = fetch(`${at}/fetch`, { method: "POST", body: "{}", signal: gone.signal });
		await until("it waits", async () => (await fetch(`${url}/readyz`)).ok);
		gone.abort();
		await fetched.catch(() => {});
	}
	await publish(url, { id: "a" });
	const [a] = (await call<Fetched>(`${at}/fetch`, "POST", { wait: "5s" })).json.deliveries;
	assert.equal(a?.event.id, "a");
});
