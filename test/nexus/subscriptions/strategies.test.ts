/** Several members of one subscription: who gets what, and in which order, over real sockets. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { numbered, serveNexus, temporaryDir } from "../support.ts";
import { call, publish, type Received, type Reply, receiver, type Shown, until } from "./support.ts";

type Answer = (member: number, received: Received, count: number) => Reply | Promise<Reply>;

async function members(
	t: TestContext,
	strategy: string,
	count: number,
	more: { delivery?: object; weights?: number[] } = {},
	answer: Answer = () => ({ status: 204 }),
) {
	const { url } = await serveNexus(t, temporaryDir(t));
	const hooks = await Promise.all(Array.from({ length: count }, (_, member) => receiver(t, (received, n) => answer(member, received, n))));
	const document = {
		filter: { type: "t" },
		strategy,
		sink: {
			kind: "webhook",
			members: hooks.map((hook, i) => ({ name: `m${i}`, url: hook.url, ...(more.weights === undefined ? {} : { weight: more.weights[i] }) })),
		},
		delivery: { backoff: ["20ms"], ...more.delivery },
	};
	const made = await call(`${url}/v1/subscriptions/s`, "PUT", document);
	assert.equal(made.status, 201, JSON.stringify(made.json));
	return { url, hooks, document, show: async (): Promise<Shown> => (await call(`${url}/v1/subscriptions/s`, "GET")).json };
}

test("round-robin gives each its turn, weighted its share", async (t) => {
	const turn = await members(t, "round-robin", 3, { delivery: { concurrency: 1 } });
	await publish(turn.url, ...numbered("e", 12));
	await until("all are there", async () => (await turn.show()).deliveries.acked === 12);
	assert.deepEqual(
		turn.hooks.map(({ received }) => received.length),
		[4, 4, 4],
	);
	const share = await members(t, "weighted", 3, { delivery: { concurrency: 1 }, weights: [5, 1, 2] });
	await publish(share.url, ...numbered("e", 16));
	await until("all are there", async () => (await share.show()).deliveries.acked === 16);
	assert.deepEqual(
		share.hooks.map(({ received }) => received.length),
		[10, 2, 4],
	);
});

test("a try again goes to another member", async (t) => {
	const { url, hooks, show } = await members(t, "round-robin", 2, { delivery: { concurrency: 1 } }, (member) => ({
		status: member === 0 ? 500 : 204,
	}));
	await publish(url, ...numbered("e", 4));
	await until("all are there", async () => (await show()).deliveries.acked === 4);
	assert.deepEqual(hooks[1]?.ids().sort(), ["e0", "e1", "e2", "e3"]);
});

test("a broadcast goes to every member on its own: one that fails holds up no other, and has dead letters of its own", async (t) => {
	const { url, hooks, show } = await members(t, "broadcast", 2, { delivery: { attempts: 3, backoff: ["300ms"] } }, (member) => ({
		status: member === 0 ? 500 : 204,
	}));
	await publish(url, ...numbered("e", 5));
	await until("the healthy one has all", () => hooks[1]?.received.length === 5);
	assert.ok((hooks[0]?.received.length ?? 0) < 15, "the other one is still tried");
	await until("the others are parked", async () => (await show()).deadLetters === 5);
	assert.equal(hooks[1]?.received.length, 5);
	const letters = await call<{ deadLetters: { member: string }[] }>(`${url}/v1/subscriptions/s/dead-letters`, "GET");
	assert.ok(letters.json.deadLetters.every(({ member }) => member === "m0"));
	const replayed = await call(`${url}/v1/subscriptions/s/dead-letters/replay`, "POST", { count: 2 });
	assert.deepEqual(replayed.json, { recovered: 0, stillFailed: 2, pending: 0 });
	assert.equal(hooks[1]?.received.length, 5, "who has it does not get it again");
});

test("a member that joins a broadcast begins where the slowest of the others stands", async (t) => {
	const { url, hooks, document, show } = await members(t, "broadcast", 2);
	await publish(url, ...numbered("old", 3));
	await until("both have them", async () => (await show()).deliveries.acked === 6);
	const third = await receiver(t);
	const changed = { ...document, sink: { ...document.sink, members: [...document.sink.members, { name: "m2", url: third.url }] } };
	assert.equal((await call(`${url}/v1/subscriptions/s`, "PUT", changed)).status, 200);
	await publish(url, ...numbered("new", 2));
	await until("all have the new ones", () => third.received.length === 2 && hooks.every(({ received }) => received.length === 5));
	assert.deepEqual(third.ids().sort(), ["new0", "new1"]);
});

test("a fan-out is done when all members have it, and tries again only those who have not", async (t) => {
	const { url, hooks, show } = await members(t, "fan-out", 3, {}, (member, _, count) => ({ status: member === 1 && count <= 2 ? 503 : 204 }));
	await publish(url, { id: "a" });
	await until("it is settled", async () => (await show()).deliveries.acked === 1);
	assert.deepEqual(
		hooks.map(({ received }) => received.length),
		[1, 3, 1],
	);
	assert.equal((await show()).deliveries.naked, 2);
});

test("keyed: a key stays with its member and in order, whatever fails on the way", async (t) => {
	const failed = new Set<string>();
	const { url, hooks, show } = await members(t, "keyed", 3, { delivery: { attempts: 10, concurrency: 16 } }, (_, { id }) => {
		// Each third event fails once.
		if (Number(id.split("-")[1]) % 3 !== 0 || failed.has(id)) return { status: 204 };
		failed.add(id);
		return { status: 500 };
	});
	const keys = ["a", "b", "c", "d", "e", "f"];
	for (let n = 0; n < 10; n++) await publish(url, ...keys.map((key) => ({ id: `${key}-${n}`, partitionkey: key })));
	await until("all are there", async () => (await show()).deliveries.acked === 60);
	for (const key of keys) {
		const owners = hooks.filter((hook) => hook.ids().some((id) => id.startsWith(`${key}-`)));
		assert.equal(owners.length, 1, key);
		const numbers = (owners[0]?.ids() ?? []).filter((id) => id.startsWith(`${key}-`)).map((id) => Number(id.split("-")[1]));
		assert.deepEqual(
			numbers,
			[...numbers].sort((a, b) => a - b),
			key,
		);
		assert.equal(new Set(numbers).size, 10, key);
	}
	assert.ok(hooks.filter(({ received }) => received.length > 0).length > 1);
});

test("one subscription that takes nothing holds up no other", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	const slow = await receiver(t, () => new Promise(() => {}));
	const quick = await receiver(t);
	await call(`${url}/v1/subscriptions/slow`, "PUT", { filter: { type: "t" }, sink: { kind: "webhook", url: slow.url }, delivery: { window: 4 } });
	await call(`${url}/v1/subscriptions/quick`, "PUT", { filter: { type: "t" }, sink: { kind: "webhook", url: quick.url } });
	await publish(url, ...numbered("e", 40));
	await until("the quick one has all", () => new Set(quick.ids()).size === 40);
	const shown = (await call(`${url}/v1/subscriptions/slow`, "GET")).json;
	assert.equal(shown.lag.open, 4, "no more than its window is in memory");
	assert.ok(shown.lag.unread >= 36);
});

test("keyed: a member that asks for patience costs the events of its keys no try, and holds up no other's", async (t) => {
	let isFirst = true;
	const { url, hooks, show } = await members(t, "keyed", 2, { delivery: { attempts: 2, concurrency: 8 } }, (member) => {
		if (member === 1 || !isFirst) return { status: 204 };
		isFirst = false;
		return { status: 503, headers: { "retry-after": "1" } };
	});
	for (let n = 0; n < 16; n++) await publish(url, { id: `e${n}`, partitionkey: `k${n}` });
	await until("all have ended", async () => (await show()).deliveries.acked + (await show()).deliveries.parked === 16);
	const { parked, naked } = (await show()).deliveries;
	assert.deepEqual([parked, naked], [0, 1]);
	assert.ok(hooks.every(({ received }) => received.length > 1));
});

test("dead letters of a broadcast that is paused are thrown away as well", async (t) => {
	const { url, show } = await members(t, "broadcast", 2, { delivery: { attempts: 1 } }, () => ({ status: 500 }));
	await publish(url, { id: "a" });
	await until("both have failed", async () => (await show()).deadLetters === 2);
	await call(`${url}/v1/subscriptions/s/pause`, "POST");
	const { json } = await call<{ deadLetters: { sequence: number }[] }>(`${url}/v1/subscriptions/s/dead-letters`, "GET");
	const sequences = [...new Set(json.deadLetters.map(({ sequence }) => sequence))];
	assert.deepEqual((await call<{ discarded: number }>(`${url}/v1/subscriptions/s/dead-letters/discard`, "POST", { sequences })).json, {
		discarded: 2,
	});
	assert.equal((await show()).deadLetters, 0);
});
