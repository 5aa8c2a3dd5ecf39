/** A subscription that gets nothing although there is something is told, shown, and told again when it is over. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fetchOnce } from "../../../src/nexus/subscriptions/consumers.ts";
import { subscriptionReadings, subscriptionTrouble } from "../../../src/nexus/subscriptions/metrics.ts";
import { numbered, readAll } from "../support.ts";
import { memoryHouse, quiet, receiver, until } from "./support.ts";

test("events wait and nobody takes them: one event, the metric and /readyz say so, until one is acknowledged", async (t) => {
	const house = await memoryHouse(t);
	const subscriptions = await house.open();
	await subscriptions.put("s", { filter: { type: "t" }, sink: { kind: "pull" }, delivery: { stallAfter: "20s" } });
	const told = async (): Promise<{ type: string; data: { cause?: string; open?: number } }[]> =>
		(await readAll(house.log, { type: "nexus.bus.*" })).map(({ json }) => JSON.parse(json.toString()) as { type: string; data: { cause?: string } });
	const pass = async (ms: number): Promise<void> => {
		for (let i = 0; i < ms; i += 5000) {
			house.clock.advance(5000);
			await quiet();
		}
	};
	await pass(60_000);
	assert.deepEqual(await told(), [], "nothing to do is no stall");
	await house.publish(...numbered("e", 3));
	await quiet();
	await pass(60_000);
	const [stalled, ...others] = await told();
	assert.deepEqual(
		[stalled?.type, stalled?.data.cause, stalled?.data.open, others],
		["nexus.bus.subscription.stalled", "no consumer takes its events", 3, []],
	);
	assert.equal(subscriptions.get("s")?.state, "stalled");
	assert.deepEqual(subscriptionTrouble(subscriptions), { count: 1, first: [{ name: "s", state: "stalled", trouble: "" }] });
	const reading = subscriptionReadings(subscriptions, house.clock.wallMs()).find(({ name }) => name === "nexus_subscription_stalled");
	assert.deepEqual(reading?.values, [{ labels: { subscription: "s" }, value: 1 }]);

	const consumers = subscriptions.get("s")?.consumers;
	assert.ok(consumers !== undefined);
	const entries = await fetchOnce(consumers, 1, 0, house.clock).entries;
	assert.ok(entries !== "too_many");
	await consumers.answer({ ack: (await consumers.shown(entries)).map(({ token }) => token), nak: [], term: [], progress: [] });
	await pass(10_000);
	assert.equal((await told()).at(-1)?.type, "nexus.bus.subscription.recovered");
	assert.equal(subscriptions.get("s")?.state, "running");
	assert.equal(subscriptionTrouble(subscriptions), undefined);
	await subscriptions.close();
});

test("a member of a broadcast that gets nothing is a stall, whatever the others get", async (t) => {
	const house = await memoryHouse(t);
	const [well, ill] = [await receiver(t), await receiver(t, () => ({ status: 500 }))];
	const subscriptions = await house.open();
	t.after(() => subscriptions.close());
	const members = [well, ill].map(({ url }, i) => ({ name: `m${i}`, url }));
	const delivery = { stallAfter: "20s", backoff: ["1h"], attempts: 100 };
	assert.ok((await subscriptions.put("s", { filter: { type: "t" }, sink: { kind: "webhook", members }, strategy: "broadcast", delivery })).ok);
	for (let n = 0; n < 6; n++) {
		await house.publish({ id: `${n}`, type: "t" });
		await until("the one has it, the other has refused one", () => {
			const { acked = 0, naked = 0 } = subscriptions.get("s")?.numbers ?? {};
			return acked === n + 1 && naked > 0;
		});
		house.clock.advance(5000);
		await quiet();
	}
	assert.equal(subscriptions.get("s")?.state, "stalled");
	const told = (await readAll(house.log, { type: "nexus.bus.subscription.*" })).map(
		({ json }) => JSON.parse(json.toString()) as { data: { cause: string } },
	);
	assert.deepEqual(
		told.map(({ data }) => data.cause),
		["answered 500"],
	);
});
