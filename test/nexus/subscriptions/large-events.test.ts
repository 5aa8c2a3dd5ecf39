/** The largest event that Nexus takes, on every way in and out: what was accepted can be delivered, parked, looked at and replayed. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { WebSocket } from "ws";
import { BATCH_TYPE, STRUCTURED_TYPE } from "../../../src/events/http-binding.ts";
import { EVENT_BYTES_LIMIT } from "../../../src/nexus/publish/limits.ts";
import { eventJson, serveNexus, temporaryDir } from "../support.ts";
import { call, receiver, until } from "./support.ts";

interface Page {
	readonly deadLetters: readonly { readonly sequence: number; readonly event: unknown }[];
	readonly next: string | null;
	readonly total: number;
}

interface Fetched {
	readonly deliveries: readonly { readonly token: string; readonly event: unknown }[];
}

/** Of 1 MiB to the byte, and such that it takes twice that as JSON in JSON. */
function largest(id: string): string {
	const around = eventJson({ id, data: "" }).length;
	const room = EVENT_BYTES_LIMIT - around;
	const json = eventJson({ id, data: `${"x".repeat(room % 2)}${'"'.repeat(Math.floor(room / 2))}` });
	assert.equal(Buffer.byteLength(json), EVENT_BYTES_LIMIT);
	return json;
}

async function serve(t: TestContext, dir = temporaryDir(t)): Promise<{ url: string; close: () => Promise<unknown> }> {
	const { nexus, url } = await serveNexus(t, dir, { limits: { eventBytesMax: EVENT_BYTES_LIMIT } });
	return { url, close: () => nexus.close() };
}

async function post(url: string, body: string, type = STRUCTURED_TYPE): Promise<void> {
	const answer = await fetch(`${url}/v1/events`, { method: "POST", headers: { "content-type": type }, body });
	assert.equal(answer.status, 200, await answer.text());
}

test("an event of 1 MiB comes in by a request, a batch and a socket, and goes out by query, stream, fetch, socket and webhook", async (t) => {
	const { url } = await serve(t);
	const hook = await receiver(t);
	for (const name of ["pulled", "socketed"]) await call(`${url}/v1/subscriptions/${name}`, "PUT", { filter: { type: "t" }, sink: { kind: "pull" } });
	await call(`${url}/v1/subscriptions/hooked`, "PUT", { filter: { type: "t" }, sink: { kind: "webhook", url: hook.url } });
	const [a, b, c] = [largest("a"), largest("b"), largest("c")];
	const wanted = [a, b, c].map((text) => JSON.parse(text) as unknown);

	const stream = await fetch(`${url}/v1/events/stream?type=t`);
	const told = (async (): Promise<unknown[]> => {
		const events: unknown[] = [];
		let text = "";
		const decoder = new TextDecoder();
		for await (const chunk of stream.body ?? assert.fail()) {
			text += decoder.decode(chunk as Uint8Array, { stream: true });
			const frames = text.split("\n\n");
			text = frames.pop() ?? "";
			for (const frame of frames) {
				const data = /^data: ?(.*)$/m.exec(frame)?.[1];
				if (data !== undefined) events.push((JSON.parse(data) as { event: unknown }).event);
			}
			if (events.length === 3) return events;
		}
		return events;
	})();
	const consumed: unknown[] = [];
	const consumer = new WebSocket(`${url.replace("http", "ws")}/v1/subscriptions/socketed/socket?credit=8`);
	t.after(() => consumer.terminate());
	consumer.on("message", (data) => {
		const { deliveries = [] } = JSON.parse(String(data)) as Partial<Fetched>;
		consumed.push(...deliveries.map(({ event }) => event));
		if (deliveries.length > 0) consumer.send(JSON.stringify({ ack: deliveries.map(({ token }) => token) }));
	});

	await post(url, a);
	await post(url, `[${b}]`, BATCH_TYPE);
	const producer = new WebSocket(`${url.replace("http", "ws")}/v1/events/publish`);
	t.after(() => producer.terminate());
	const acks: string[] = [];
	producer.on("message", (data) => acks.push(String(data)));
	await new Promise((resolve, reject) => producer.once("open", resolve).once("error", reject));
	producer.send(c);
	await until("the socket has its answer", () => acks.length === 1);
	assert.match(acks[0] ?? "", /"accepted":1/);

	const { events } = (await call<{ events: { event: unknown }[] }>(`${url}/v1/events?type=t`, "GET")).json;
	assert.deepEqual(
		events.map(({ event }) => event),
		wanted,
	);
	assert.deepEqual(await told, wanted);
	await until("the webhook has them", () => hook.received.length === 3);
	assert.deepEqual(hook.received.map(({ body }) => body).sort(), [a, b, c]);
	await until("the socket has them", () => consumed.length === 3);
	assert.deepEqual(consumed, wanted);
	const pulled: unknown[] = [];
	while (pulled.length < 3) {
		const { deliveries } = (await call<Fetched>(`${url}/v1/subscriptions/pulled/fetch`, "POST", { max: 10, wait: "10s" })).json;
		pulled.push(...deliveries.map(({ event }) => event));
		await call(`${url}/v1/subscriptions/pulled/ack`, "POST", { ack: deliveries.map(({ token }) => token) });
	}
	assert.deepEqual(pulled, wanted);

	const over = largest("d").replace('"data":"', '"data":"y');
	const answer = await fetch(`${url}/v1/events`, { method: "POST", headers: { "content-type": STRUCTURED_TYPE }, body: over });
	assert.equal(answer.status, 413);
});

test("events of 1 MiB become dead letters, are looked at in bounded pages, outlive a restart, and are replayed", async (t) => {
	const dir = temporaryDir(t);
	const first = await serve(t, dir);
	let status = 500;
	const hook = await receiver(t, () => ({ status }));
	const COUNT = 7;
	await call(`${first.url}/v1/subscriptions/s`, "PUT", {
		filter: { type: "t" },
		sink: { kind: "webhook", url: hook.url },
		delivery: { attempts: 2, backoff: ["10ms"] },
	});
	for (let n = 0; n < COUNT; n++) await post(first.url, largest(`e${n}`));
	const lettersAt = async (url: string): Promise<number> => (await call(`${url}/v1/subscriptions/s`, "GET")).json.deadLetters;
	await until("all are dead letters", async () => (await lettersAt(first.url)) === COUNT);
	await first.close();

	const { url } = await serve(t, dir);
	assert.equal(await lettersAt(url), COUNT);
	const seen: unknown[] = [];
	for (let after: string | null = ""; after !== null; ) {
		const query: string = after === "" ? "" : `&after=${encodeURIComponent(after)}`;
		const page: { json: Page } = await call<Page>(`${url}/v1/subscriptions/s/dead-letters?limit=1000${query}`, "GET");
		assert.ok(page.json.deadLetters.length > 0 && page.json.deadLetters.length <= 5, `${page.json.deadLetters.length} in one answer`);
		assert.equal(page.json.total, COUNT);
		seen.push(...page.json.deadLetters.map(({ event }) => event));
		after = page.json.next;
	}
	assert.deepEqual(
		seen,
		Array.from({ length: COUNT }, (_, n) => JSON.parse(largest(`e${n}`)) as unknown),
	);
	status = 204;
	hook.received.length = 0;
	const replayed = await call<{ recovered: number; stillFailed: number }>(`${url}/v1/subscriptions/s/dead-letters/replay`, "POST", { count: 5 });
	assert.deepEqual([replayed.json.recovered, replayed.json.stillFailed], [5, 0]);
	assert.deepEqual(hook.received.map(({ body }) => body).sort(), Array.from({ length: 5 }, (_, n) => largest(`e${n}`)).sort());
	const left = (await call<Page>(`${url}/v1/subscriptions/s/dead-letters`, "GET")).json.deadLetters.map(({ sequence }) => sequence);
	assert.equal((await call<{ discarded: number }>(`${url}/v1/subscriptions/s/dead-letters/discard`, "POST", { sequences: left })).json.discarded, 2);
	assert.equal(await lettersAt(url), 0);
});

test("a transform takes an event of 1 MiB and may add to it, for webhooks and consumers", async (t) => {
	const { url } = await serve(t);
	const hook = await receiver(t);
	const transform = { jsonata: '{ "subject": "added", "data": { "of": data, "more": id } }' };
	await call(`${url}/v1/subscriptions/hooked`, "PUT", { filter: { type: "t" }, sink: { kind: "webhook", url: hook.url }, transform });
	await call(`${url}/v1/subscriptions/pulled`, "PUT", { filter: { type: "t" }, sink: { kind: "pull" }, transform });
	const json = largest("a");
	await post(url, json);
	const { data } = JSON.parse(json) as { data: string };
	await until("the webhook has it", () => hook.received.length === 1);
	assert.deepEqual((JSON.parse(hook.received[0]?.body ?? "") as { data: unknown }).data, { of: data, more: "a" });
	const { deliveries } = (await call<Fetched>(`${url}/v1/subscriptions/pulled/fetch`, "POST", { max: 1, wait: "10s" })).json;
	const [delivery] = deliveries as unknown as [{ event: { data: unknown } }];
	assert.deepEqual(delivery.event.data, { of: data, more: "a" });
});

test("an event of 1 MiB that violates its schema is parked, shown, and published once it is fine", async (t) => {
	const { url } = await serve(t);
	const schema = (type: string) => ({ schema: { type }, onViolation: "park", compatibility: "none" });
	assert.equal((await call(`${url}/v1/schemas/t`, "PUT", schema("number"))).status, 201);
	const json = largest("a");
	await post(url, json);
	interface Parked {
		readonly key: string;
		readonly event: unknown;
	}
	const { events } = (await call<{ events: Parked[] }>(`${url}/v1/parked-events`, "GET")).json;
	assert.deepEqual(
		events.map(({ event }) => event),
		[JSON.parse(json)],
	);
	assert.deepEqual((await call<Parked>(`${url}/v1/parked-events/${events[0]?.key}`, "GET")).json.event, JSON.parse(json));
	await call(`${url}/v1/schemas/t`, "PUT", schema("string"));
	assert.equal((await call<{ recovered: number }>(`${url}/v1/parked-events/replay`, "POST", {})).json.recovered, 1);
	const stored = (await call<{ events: { event: unknown }[] }>(`${url}/v1/events?type=t`, "GET")).json.events;
	assert.deepEqual(
		stored.map(({ event }) => event),
		[JSON.parse(json)],
	);
});

test("server-sent events bring a consumer events of 1 MiB, as many at once as it has credit", async (t) => {
	const { url } = await serve(t);
	await call(`${url}/v1/subscriptions/s`, "PUT", { filter: { type: "t" }, sink: { kind: "pull" } });
	const wanted = Array.from({ length: 12 }, (_, n) => largest(`e${n}`));
	for (const json of wanted) await post(url, json);
	const stream = await fetch(`${url}/v1/subscriptions/s/stream?credit=${wanted.length}`);
	const sent: { attempt: number; event: unknown }[] = [];
	let text = "";
	const decoder = new TextDecoder();
	for await (const chunk of stream.body ?? assert.fail()) {
		text += decoder.decode(chunk as Uint8Array, { stream: true });
		const frames = text.split("\n\n");
		text = frames.pop() ?? "";
		for (const frame of frames) if (frame.startsWith("data: ")) sent.push(JSON.parse(frame.slice("data: ".length)));
		if (sent.length === wanted.length) break;
	}
	assert.deepEqual(
		sent.map(({ attempt, event }) => [attempt, event]),
		wanted.map((json) => [1, JSON.parse(json) as unknown]),
	);
});
