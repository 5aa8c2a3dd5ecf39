/** The consume loop of the client against a real Nexus: answers, breaks, a Nexus that is killed and comes back, an orderly stop. */
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { type TestContext, test } from "node:test";
import { type ConsumeOptions, type Delivery, type DeliverySettings, NexusClient, NexusError, type Transport } from "nexus-mesh/client";
import { httpTransport } from "../../src/client/transport.ts";
import type { NexusOptions } from "../../src/nexus/nexus.ts";
import { type NexusProcess, spawnNexus } from "../nexus/nexus-process.ts";
import { until } from "../nexus/subscriptions/support.ts";
import { serveNexus, temporaryDir } from "../nexus/support.ts";
import { freePorts } from "../support/processes.ts";

const WAYS = ["socket", "poll"] as const;
const QUICK: DeliverySettings = { backoff: ["100ms"], jitter: 0 };

async function pullFrom(client: NexusClient, name: string, delivery: DeliverySettings = QUICK): Promise<void> {
	await client.subscriptions.put(name, { filter: { type: "t" }, sink: { kind: "pull" }, delivery, from: "all" });
}

async function connected(t: TestContext, dir = temporaryDir(t), options: Partial<NexusOptions> = {}) {
	const { url, nexus } = await serveNexus(t, dir, options);
	return { url, nexus, dir, client: new NexusClient({ url, source: "/s", rng: () => 0.01 }) };
}

/** Stops with the test, or before. */
function consuming(
	t: TestContext,
	client: NexusClient,
	name: string,
	handler: (id: string, delivery: Delivery) => unknown,
	options: ConsumeOptions = {},
): { readonly ended: Promise<void>; stop(): Promise<void> } {
	const abort = new AbortController();
	const ended = client.subscriptions.consume(name, ({ id }, delivery) => handler(id, delivery), { drainMs: 1_000, ...options, signal: abort.signal });
	ended.catch(() => {});
	const stop = (): Promise<void> => {
		abort.abort();
		return ended.catch(() => {});
	};
	t.after(stop);
	return { ended, stop };
}

function ids(prefix: string, count: number): string[] {
	return Array.from({ length: count }, (_, i) => `${prefix}${i}`);
}

async function isDone(client: NexusClient, name: string): Promise<boolean> {
	const { lag } = await client.subscriptions.get(name);
	return lag.open === 0 && lag.unread === 0;
}

for (const over of WAYS) {
	test(`over a ${over}: done is done, nak comes again, what is thrown is the reason, term never comes again`, async (t) => {
		const { client } = await connected(t);
		await pullFrom(client, "work", { ...QUICK, attempts: 2 });
		await client.publish(["fine", "again", "broken", "never"].map((id) => ({ type: "t", id })));
		const tries: string[] = [];
		const errors: unknown[] = [];
		const kept: Promise<boolean>[] = [];
		consuming(
			t,
			client,
			"work",
			(id, delivery) => {
				tries.push(`${id} ${delivery.attempt}`);
				if (id === "again" && delivery.attempt === 1) kept.push(delivery.nak({ delayMs: 1, reason: "not yet" }));
				if (id === "never") kept.push(delivery.term("no use"), delivery.ack());
				if (id === "broken") throw new Error("out of order");
			},
			{ over, onError: (thrown) => errors.push(thrown) },
		);
		await until("all are settled", () => isDone(client, "work"));
		assert.deepEqual(tries.toSorted(), ["again 1", "again 2", "broken 1", "broken 2", "fine 1", "never 1"]);
		assert.deepEqual(await Promise.all(kept), [true, true, true]);
		assert.equal(errors.length, 2);
		const letters: [string, string][] = [];
		for await (const { event, reason } of client.deadLetters.list("work")) letters.push([event.id, reason]);
		assert.deepEqual(letters, [
			["broken", "out of order"],
			["never", "no use"],
		]);
		const { deliveries } = await client.subscriptions.get("work");
		assert.deepEqual([deliveries.acked, deliveries.naked, deliveries.timedOut, deliveries.terminated], [2, 3, 0, 1]);
	});

	test(`over a ${over}: Nexus is killed in the middle and comes back, and each event is handled`, { timeout: 60_000 }, async (t) => {
		const dir = temporaryDir(t);
		const [port = 0] = await freePorts(1);
		const args = ["--listen", `127.0.0.1:${port}`, "--data", dir];
		let running: NexusProcess | undefined = await spawnNexus(args);
		t.after(() => running?.stop("SIGKILL"));
		const client = new NexusClient({ url: running.url, source: "/s", rng: () => 0.05 });
		await pullFrom(client, "work");
		const before = ids("a", 300);
		const after = ids("b", 100);
		await client.publish(before.map((id) => ({ type: "t", id })));

		const handled = new Map<string, number>();
		let atWork = 0;
		let atWorkMax = 0;
		const gates: (() => void)[] = [];
		let isSlow = true;
		const breaks: string[] = [];
		let reconnects = 0;
		const consumer = consuming(
			t,
			client,
			"work",
			async (id) => {
				atWorkMax = Math.max(atWorkMax, ++atWork);
				// From the hundredth on they are still at work while Nexus dies.
				if (isSlow && handled.size >= 100) await new Promise<void>((resolve) => gates.push(resolve));
				handled.set(id, (handled.get(id) ?? 0) + 1);
				atWork--;
			},
			{ over, concurrency: 16, onBreak: (cause) => breaks.push(cause), onReconnect: () => reconnects++ },
		);
		await until("some are at work", () => gates.length === 16);
		await running.stop("SIGKILL");
		running = undefined;
		if (over === "socket") await until("the break is told", () => breaks.length > 0);
		isSlow = false;
		running = await spawnNexus(args);
		// Only now: what they answer is for a Nexus that has forgotten the connection on which they came.
		for (const open of gates) open();
		await client.publish(after.map((id) => ({ type: "t", id })));
		await until("all are settled", () => isDone(client, "work"));
		await consumer.stop();

		assert.deepEqual([...handled.keys()].toSorted(), [...before, ...after].toSorted());
		assert.ok(atWorkMax <= 16, String(atWorkMax));
		if (over === "socket") assert.ok(reconnects > 0);
		assert.equal((await client.subscriptions.get("work")).deadLetters, 0);
	});

	test(`over a ${over}: a stop lets what is under way finish, and leaves the rest to others untried`, async (t) => {
		const { client } = await connected(t);
		await pullFrom(client, "work", { ...QUICK, ackWait: "1h" });
		await client.publish(ids("e", 3).map((id) => ({ type: "t", id })));
		let finish = (): void => {};
		const begun: string[] = [];
		const consumer = consuming(
			t,
			client,
			"work",
			async (id) => {
				begun.push(id);
				await new Promise<void>((resolve) => {
					finish = resolve;
				});
			},
			{ over, concurrency: 1, drainMs: 30_000 },
		);
		await until("one is at work", () => begun.length === 1);
		const stopping = consumer.stop();
		finish();
		await stopping;
		await consumer.ended;
		assert.deepEqual(begun, ["e0"]);
		const rest = await client.subscriptions.fetch("work", { max: 10 });
		assert.deepEqual(
			rest.map(({ event, attempt }) => [event.id, attempt]),
			[
				["e1", 1],
				["e2", 1],
			],
		);
		const report = await client.subscriptions.ack(
			"work",
			rest.map(({ token }) => token),
		);
		assert.deepEqual(report, { settled: 2, unknown: [] });
		assert.ok(await isDone(client, "work"));
	});

	test(`over a ${over}: refusals that time does not mend end it, a pause does not`, async (t) => {
		const { client } = await connected(t);
		const refused = (name: string, status: number, reason: string) =>
			assert.rejects(
				client.subscriptions.consume(name, () => {}, { over }),
				(error: unknown) => {
					assert.ok(error instanceof NexusError);
					assert.deepEqual([error.status, error.reason], [status, reason]);
					return true;
				},
			);
		await refused("nobody", 404, "not_found");
		await client.subscriptions.put("hook", { sink: { kind: "webhook", url: "http://127.0.0.1:1/" } });
		await refused("hook", 409, "not_pull");

		await pullFrom(client, "work");
		await client.subscriptions.pause("work");
		const handled: string[] = [];
		const breaks: string[] = [];
		const consumer = consuming(t, client, "work", (id) => handled.push(id), { over, onBreak: (cause) => breaks.push(cause) });
		await until("the pause is told", () => breaks.length > 0);
		await client.publish({ type: "t", id: "later" });
		await client.subscriptions.resume("work");
		await until("it went on", () => handled.length === 1);
		await client.subscriptions.delete("work");
		await assert.rejects(consumer.ended, (error: unknown) => error instanceof NexusError && error.status === 404);
	});
}

test("an event whose handler is still at work as its connection breaks is not handled beside itself", async (t) => {
	const first = await connected(t);
	const { client, dir } = first;
	await pullFrom(client, "work");
	await client.publish({ type: "t", id: "long" });
	let finish = (): void => {};
	const attempts: number[] = [];
	let held: Delivery | undefined;
	let reconnects = 0;
	consuming(
		t,
		client,
		"work",
		async (_id, delivery) => {
			attempts.push(delivery.attempt);
			held = delivery;
			await new Promise<void>((resolve) => {
				finish = resolve;
			});
		},
		{ onReconnect: () => reconnects++ },
	);
	await until("it is at work", () => attempts.length === 1);
	await first.nexus.close();
	await serveNexus(t, dir, { listen: first.nexus.address });
	await until("it is connected again, and the event is there again", () => reconnects > 0 && (held?.attempt ?? 0) > 1);
	finish();
	await until("it is settled", () => isDone(client, "work"));
	assert.deepEqual(attempts, [1]);
});

test("while a handler is at work Nexus is told so, as often as is asked for", async (t) => {
	const { url } = await connected(t);
	const real = httpTransport({ url });
	const told: string[] = [];
	const transport: Transport = {
		...real,
		async send(path, request) {
			const response = await real.send(path, request);
			if (path.endsWith("/ack") && String(request?.body).includes("progress")) told.push(await response.clone().text());
			return response;
		},
	};
	const client = new NexusClient({ transport, source: "/s" });
	await pullFrom(client, "work");
	await client.publish({ type: "t", id: "long" });
	let tries = 0;
	const handler = async (): Promise<void> => {
		tries++;
		await until("it is told a few times", () => told.length >= 3);
	};
	consuming(t, client, "work", handler, { over: "poll", progressEveryMs: 10 });
	await until("it is settled", () => isDone(client, "work"));
	assert.equal(tries, 1);
	assert.ok(
		told.every((text) => text === '{"settled":1,"unknown":[]}'),
		told.join("\n"),
	);
});

test("a handler that never ends keeps a stop from being one no longer than it may take", async (t) => {
	const { client } = await connected(t);
	await pullFrom(client, "work");
	await client.publish({ type: "t", id: "stuck" });
	let begun = 0;
	const { ended, stop } = consuming(t, client, "work", () => new Promise(() => void begun++), { drainMs: 20 });
	await until("it is at work", () => begun === 1);
	await stop();
	await ended;
	const [again] = await client.subscriptions.fetch("work");
	assert.deepEqual([again?.event.id, again?.attempt], ["stuck", 2]);
});

test("while Nexus is away nothing piles up, however often it is tried", async () => {
	const client = new NexusClient({ url: "http://127.0.0.1:1", rng: () => 0 });
	for (const over of WAYS) {
		const stop = new AbortController();
		let [breaks, listeners] = [0, 0];
		const onBreak = (): void => {
			listeners = Math.max(listeners, getEventListeners(stop.signal, "abort").length);
			if (++breaks === 200) stop.abort();
		};
		await client.subscriptions.consume("x", () => {}, { over, signal: stop.signal, onBreak });
		assert.ok(listeners <= 2, `${listeners} listeners`);
		assert.equal(getEventListeners(stop.signal, "abort").length, 0);
	}
});

test("what cannot be a number of events at a time is refused before anything is sent", async () => {
	const client = new NexusClient({ url: "http://127.0.0.1:1" });
	for (const concurrency of [0, 1.5, -1, 1001, Number.NaN]) {
		await assert.rejects(
			client.subscriptions.consume("x", () => {}, { concurrency }),
			RangeError,
		);
	}
	const stopped = client.subscriptions.consume("x", () => {}, { signal: AbortSignal.abort() });
	await stopped;
});
