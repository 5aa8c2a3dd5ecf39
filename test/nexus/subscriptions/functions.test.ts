/** Functions of this process as receivers, on its loop and in threads, and transforms before delivery. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { systemClock } from "../../../src/core/clock.ts";
import type { CloudEvent } from "../../../src/events/cloud-event.ts";
import type { EventLog } from "../../../src/nexus/log/event-log.ts";
import type { NexusOptions } from "../../../src/nexus/nexus.ts";
import type { Entry } from "../../../src/nexus/subscriptions/delivery.ts";
import { InProcess } from "../../../src/nexus/subscriptions/sinks/in-process.ts";
import { OtherLog } from "../../../src/nexus/subscriptions/sinks/other-log.ts";
import { TransformedSink } from "../../../src/nexus/subscriptions/sinks/transformed.ts";
import { Transformer } from "../../../src/nexus/subscriptions/transform/transformer.ts";
import { eventJson, numbered, openLog, readAll, serveNexus, temporaryDir } from "../support.ts";
import { call, publish, receiver, type Shown, until } from "./support.ts";

const MODULE = new URL("./fixtures-handler.ts", import.meta.url).href;

async function subscribed(
	t: TestContext,
	document: object,
	options: Partial<NexusOptions> = {},
): Promise<{ url: string; show: () => Promise<Shown>; reason: () => Promise<string> }> {
	const { url } = await serveNexus(t, temporaryDir(t), options);
	const made = await call(`${url}/v1/subscriptions/s`, "PUT", { filter: { type: "t" }, ...document });
	assert.equal(made.status, 201, JSON.stringify(made.json));
	return {
		url,
		show: async () => (await call(`${url}/v1/subscriptions/s`, "GET")).json,
		reason: async () =>
			(await call<{ deadLetters: { reason: string }[] }>(`${url}/v1/subscriptions/s/dead-letters`, "GET")).json.deadLetters[0]?.reason ?? "",
	};
}

test("what a function throws is a nak, and it may say that it is for good, or for how long", async (t) => {
	const seen: string[] = [];
	const handler = (event: CloudEvent, { attempt }: { attempt: number }): void => {
		seen.push(`${event.id} ${attempt}`);
		if (event.id === "final") throw Object.assign(new Error("never"), { isFinal: true });
		if (attempt === 1) throw Object.assign(new Error("not yet"), { retryInMs: 10 });
	};
	const { url, show, reason } = await subscribed(
		t,
		{ sink: { kind: "function", name: "f" }, delivery: { backoff: ["1h"] } },
		{ functions: { f: handler } },
	);
	await publish(url, { id: "a" }, { id: "final" });
	await until("both have ended", async () => (await show()).deliveries.acked + (await show()).deadLetters === 2);
	assert.deepEqual(seen.sort(), ["a 1", "a 2", "final 1"]);
	assert.equal(await reason(), "never");
});

test("a function that takes longer than ackWait is not waited for", async (t) => {
	let calls = 0;
	const handler = async (_: CloudEvent, { signal }: { signal: AbortSignal }): Promise<void> => {
		if (++calls === 1) await new Promise((resolve) => signal.addEventListener("abort", resolve));
	};
	const { url, show } = await subscribed(
		t,
		{ sink: { kind: "function", name: "f" }, delivery: { backoff: ["10ms"], ackWait: "150ms" } },
		{ functions: { f: handler } },
	);
	await publish(url, { id: "a" });
	await until("it is settled", async () => (await show()).deliveries.acked === 1);
	assert.equal((await show()).deliveries.timedOut, 1);
});

test("a handler that computes for longer than ackWait keeps its event: its lease is renewed by another loop", async (t) => {
	const { url, show } = await subscribed(
		t,
		{ sink: { kind: "function", name: "f" }, delivery: { ackWait: "1s" } },
		{ functions: { f: { module: MODULE, timeoutMs: 20_000 } } },
	);
	await publish(url, { id: "a", data: { spinMs: 2500 } });
	await until("it is settled", async () => (await show()).deliveries.acked === 1);
	assert.deepEqual([(await show()).deliveries.timedOut, (await show()).deliveries.naked], [0, 0]);
});

test("handlers that compute stand in line for their thread, and their time begins when it has come to them", async (t) => {
	const { url, show } = await subscribed(
		t,
		{ sink: { kind: "function", name: "f" }, delivery: { attempts: 1, ackWait: "4s", concurrency: 8 } },
		{ functions: { f: { module: MODULE, threads: 1 } } },
	);
	await publish(url, ...numbered("e", 8, { data: { spinMs: 700 } }));
	await until("all have ended", async () => (await show()).deliveries.acked + (await show()).deadLetters === 8);
	assert.deepEqual([(await show()).deadLetters, (await show()).deliveries.timedOut], [0, 0]);
});

test("a handler that hangs is ended with its thread, and the others go on", async (t) => {
	const { url, show, reason } = await subscribed(
		t,
		{ sink: { kind: "function", name: "f" }, delivery: { attempts: 1, ackWait: "10s" } },
		{ functions: { f: { module: MODULE, threads: 1, timeoutMs: 400 } } },
	);
	await publish(url, { id: "a", data: { hang: true } });
	await until("it is parked", async () => (await show()).deadLetters === 1);
	assert.equal(await reason(), "the handler took longer than 400 ms");
	await publish(url, { id: "b" });
	await until("the next one is done", async () => (await show()).deliveries.acked === 1);
});

test("events go on into another log, once", async (t) => {
	const { log } = openLog(t, temporaryDir(t));
	const { url, show } = await subscribed(t, { sink: { kind: "log", name: "archive" } }, { logs: { archive: log } });
	await publish(url, { id: "a", data: 1 }, { id: "b" });
	await until("both are settled", async () => (await show()).deliveries.acked === 2);
	await call(`${url}/v1/subscriptions/s/seek`, "POST", { from: "all" });
	await until("both are settled again", async () => (await show()).deliveries.acked === 2);
	assert.deepEqual(
		(await readAll(log)).map(({ json }) => (JSON.parse(json.toString()) as CloudEvent).id),
		["a", "b"],
	);
});

test("a transform makes another event of it; what it cannot do is a dead letter with the reason, at once", async (t) => {
	const hook = await receiver(t);
	const { url, show, reason } = await subscribed(t, {
		sink: { kind: "webhook", url: hook.url },
		transform: { jsonata: '{ "type": "order.total", "data": { "total": $sum(data.lines.price), "of": id } }' },
	});
	await publish(url, { id: "a", data: { lines: [{ price: 2 }, { price: 3.5 }] } });
	await until("it arrives", () => hook.received.length === 1);
	assert.deepEqual(JSON.parse(hook.received[0]?.body ?? ""), {
		specversion: "1.0",
		id: "a",
		source: "/s",
		type: "order.total",
		data: { total: 5.5, of: "a" },
	});
	await publish(url, { id: "b", data: { lines: [{ price: "two" }] } });
	await until("it is parked", async () => (await show()).deadLetters === 1);
	assert.match(await reason(), /sum/);
});

test("a transform is bounded in time, memory and result, and takes no other with it", async () => {
	const transformer = new Transformer(systemClock);
	const event = Buffer.from('{"specversion":"1.0","id":"a","source":"/s","type":"t","data_base64":"AA=="}');
	const reasonOf = async (expression: string): Promise<string> => {
		const transformed = await transformer.transform(expression, event);
		return transformed.ok ? transformed.json.toString() : `${transformed.failure}: ${transformed.reason}`;
	};
	const [endless, good] = await Promise.all([reasonOf("($f := function($x) { $f($x + 1) }; $f(0))"), reasonOf('{"data": 1}')]);
	assert.equal(endless, "failed: the transform took more than 250 ms");
	assert.equal(good, '{"specversion":"1.0","id":"a","source":"/s","type":"t","data":1}');
	assert.match(await reasonOf('$match($join([1..40].("a")) & "!", /^(a+)+$/)'), /more than 250 ms/);
	assert.match(await reasonOf('{"data": [1..30].($pad("", 100000))}'), /more than 2097152 bytes/);
	assert.match(await reasonOf("7"), /does not give an object/);
	assert.match(await reasonOf("nothing"), /gives nothing/);
	assert.match(await reasonOf('{"id": 7}'), /does not give an event: id/);
	assert.match(await reasonOf('{"data": [1..9999999]}'), /^failed: /);
	assert.equal(await reasonOf('{"data": 2}'), '{"specversion":"1.0","id":"a","source":"/s","type":"t","data":2}');
	await transformer.close();
	assert.match(await reasonOf("1"), /^busy/);
});

test("a try that is cut does not wait for its transform", async () => {
	const sink = new TransformedSink(new InProcess(() => assert.fail("it was cut")), () => new Promise(() => {}));
	const controller = new AbortController();
	const verdict = sink.deliver({ json: Buffer.from("{}") } as Entry, controller.signal, () => {});
	controller.abort();
	assert.deepEqual(await Promise.race([verdict, new Promise((resolve) => setImmediate(resolve, "it waits"))]), {
		kind: "nak",
		reason: "the transform was not done in time",
	});
});

test("a try that is cut does not wait for another log that is away, and what that throws is no answer", async () => {
	const entry = { json: Buffer.from(eventJson({ id: "a" })) } as Entry;
	const { promise: never } = Promise.withResolvers<never>();
	const sink = new OtherLog({ append: () => never } as unknown as EventLog);
	const controller = new AbortController();
	const broken = new OtherLog({ append: () => Promise.reject(new Error("it is broken")) } as unknown as EventLog);
	assert.deepEqual(await broken.deliver(entry, controller.signal), { kind: "nak", reason: "it is broken" });
	const verdict = sink.deliver(entry, controller.signal);
	controller.abort();
	const waits = new Promise((resolve) => setImmediate(resolve, "it waits"));
	assert.deepEqual(await Promise.race([verdict, waits]), { kind: "nak", reason: "the log did not answer in time" });
});
