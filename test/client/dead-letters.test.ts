/** Dead letters through the client against a real Nexus: looked at, replayed in portions, of several members, by filter. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type DeadLetterReplayProgress, NexusClient, type SubscriptionDocument } from "nexus-mesh/client";
import { type Received, receiver, until } from "../nexus/subscriptions/support.ts";
import { serveNexus, temporaryDir } from "../nexus/support.ts";

const MANY = 250;

async function parked(t: TestContext, document: SubscriptionDocument, events: { type: string; id: string }[], count: number): Promise<NexusClient> {
	const { url } = await serveNexus(t, temporaryDir(t));
	const client = new NexusClient({ url, source: "/s" });
	await client.subscriptions.put("work", { delivery: { attempts: 1 }, ...document });
	await client.publish(events);
	await until("all are parked", async () => (await client.subscriptions.get("work")).deadLetters === count);
	return client;
}

async function all<T>(list: AsyncIterable<T>): Promise<T[]> {
	const items: T[] = [];
	for await (const item of list) items.push(item);
	return items;
}

const numbers = (name: string): { type: string; id: string }[] => Array.from({ length: MANY }, (_, i) => ({ type: `t.${name}`, id: `${name}${i}` }));

test("all dead letters are replayed in portions, each once, and told as they go; those that fail stay where they are", async (t) => {
	let isUp = false;
	const hook = await receiver(t, ({ id }: Received) => ({ status: isUp && !id.endsWith("7") ? 204 : 500, body: `not ${id}` }));
	const client = await parked(t, { filter: { type: "t.*" }, sink: { kind: "webhook", url: hook.url } }, numbers("t"), MANY);
	const letters = await all(client.deadLetters.list("work"));
	assert.deepEqual(
		letters.map(({ event }) => event.id),
		numbers("t").map(({ id }) => id),
	);
	const [first] = letters;
	assert.deepEqual([first?.attempts, first?.status, first?.answer, first?.member], [1, 500, "not t0", ""]);
	assert.deepEqual(await client.deadLetters.peek("work", first?.sequence ?? 0), [first]);

	isUp = true;
	hook.received.length = 0;
	const told = await all(client.deadLetters.replayAll("work"));
	const failing = MANY / 10;
	assert.deepEqual(
		told.map(({ done, total }) => [done, total]),
		[
			[100, MANY],
			[200, MANY],
			[MANY, MANY],
		],
	);
	assert.deepEqual(told.at(-1), { done: MANY, total: MANY, recovered: MANY - failing, stillFailed: failing, pending: 0 });
	assert.deepEqual(
		hook.ids().toSorted(),
		numbers("t")
			.map(({ id }) => id)
			.toSorted(),
	);
	const left = await all(client.deadLetters.list("work"));
	assert.deepEqual([left.length, left[0]?.event.id, left[0]?.attempts], [failing, "t7", 2]);
	const { discarded } = await client.deadLetters.discard("work", [left[0]?.sequence ?? 0]);
	assert.deepEqual([discarded, (await client.deadLetters.page("work", { limit: 1 })).total], [1, failing - 1]);
});

test("a replay takes a filter, a count, and sequences; whoever stops asking stops it", async (t) => {
	let isUp = false;
	const hook = await receiver(t, () => ({ status: isUp ? 204 : 500 }));
	const events = [...numbers("a"), ...numbers("b")];
	const client = await parked(t, { filter: { type: "t.*" }, sink: { kind: "webhook", url: hook.url } }, events, events.length);
	isUp = true;
	const filter = { type: "t.b" };
	const some = await all(client.deadLetters.replayAll("work", { filter, count: 110 }));
	assert.equal(some.at(-1)?.recovered, 110);
	assert.ok(some.every((progress) => progress.done <= progress.total && progress.total === events.length));
	let stopped: DeadLetterReplayProgress | undefined;
	for await (const progress of client.deadLetters.replayAll("work", { count: 120 })) {
		assert.equal(progress.total, 120);
		stopped = progress;
		break;
	}
	assert.deepEqual([stopped?.done, stopped?.recovered], [100, 100]);
	const sequences = (await all(client.deadLetters.list("work"))).slice(5, 8).map(({ sequence }) => sequence);
	const { recovered } = await client.deadLetters.replay("work", { sequences: [...sequences, 999_999] });
	assert.equal(recovered, 3);
	const ids = new Set((await all(client.deadLetters.list("work"))).map(({ event }) => event.id));
	assert.equal(ids.size, 2 * MANY - 110 - 100 - 3);
	assert.deepEqual([ids.has("a99"), ids.has("a100"), ids.has("a105"), ids.has("b109"), ids.has("b110")], [false, true, false, false, true]);
	await all(client.deadLetters.replayAll("work", { filters: [{ prefix: { id: "a" } }] }));
	assert.ok((await all(client.deadLetters.list("work"))).every(({ event }) => event.type === "t.b"));
	const abort = AbortSignal.abort(new Error("enough"));
	await assert.rejects(all(client.deadLetters.replayAll("work", { signal: abort })), /^Error: enough$/);
});

test("of a broadcast the letters of an event go together, each member's once, also where a page ends between them", async (t) => {
	let isUp = false;
	const hooks = [await receiver(t), await receiver(t, () => ({ status: isUp ? 204 : 500 })), await receiver(t, () => ({ status: 500 }))];
	const members = hooks.map(({ url }, i) => ({ name: `m${i}`, url }));
	const document: SubscriptionDocument = { filter: { type: "t.*" }, strategy: "broadcast", sink: { kind: "webhook", members } };
	// Two of three fail: a page of 100 letters ends between those of an event where the count is odd.
	const client = await parked(t, document, [{ type: "t.t", id: "first" }, ...numbers("t")], 2 * (MANY + 1));
	const [first] = await all(client.deadLetters.list("work"));
	const both = await client.deadLetters.peek("work", first?.sequence ?? 0);
	assert.deepEqual(
		both.map(({ member }) => member),
		["m1", "m2"],
	);
	isUp = true;
	const before = hooks.map(({ received }) => received.length);
	const told = await all(client.deadLetters.replayAll("work", { count: 101 }));
	assert.equal((told.at(-1)?.recovered ?? 0) + (told.at(-1)?.stillFailed ?? 0), 101);
	const last = (await all(client.deadLetters.replayAll("work"))).at(-1);
	assert.deepEqual([last?.pending, (await client.deadLetters.page("work")).total], [0, MANY + 1]);
	assert.equal(hooks[0]?.received.length, before[0], "who had it does not get it again");
	assert.equal(hooks[1]?.received.length, 2 * (MANY + 1));
	assert.ok((await all(client.deadLetters.list("work"))).every(({ member, attempts }) => member === "m2" && attempts >= 2));
});
