/** Webhooks from the publisher to the receiver, over real sockets and real processes. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createServer } from "node:net";
import { type TestContext, test } from "node:test";
import { systemClock } from "../../../src/core/clock.ts";
import type { Entry } from "../../../src/nexus/subscriptions/delivery.ts";
import { Webhook } from "../../../src/nexus/subscriptions/sinks/webhook.ts";
import { addressFault, guardedLookup } from "../../../src/nexus/subscriptions/sinks/webhook-address.ts";
import { spawnNexus } from "../nexus-process.ts";
import { numbered, serveNexus, temporaryDir } from "../support.ts";
import { call, publish, receiver, type Shown, until } from "./support.ts";

interface Letters {
	readonly deadLetters: readonly {
		sequence: number;
		attempts: number;
		reason: string;
		status?: number;
		answer?: string;
		event: { id: string; data?: unknown };
	}[];
	readonly total: number;
}

/** A Nexus with one subscription to everything but what Nexus says itself. */
async function subscribed(
	t: TestContext,
	sink: object,
	delivery: object = {},
	more: object = {},
): Promise<{ url: string; show: () => Promise<Shown>; letters: () => Promise<Letters> }> {
	const { url } = await serveNexus(t, temporaryDir(t));
	const made = await call(`${url}/v1/subscriptions/s`, "PUT", {
		filter: { type: "t*" },
		sink: { kind: "webhook", ...sink },
		delivery: { backoff: ["20ms"], ...delivery },
		...more,
	});
	assert.equal(made.status, 201, JSON.stringify(made.json));
	return {
		url,
		show: async () => (await call(`${url}/v1/subscriptions/s`, "GET")).json,
		letters: async () => (await call<Letters>(`${url}/v1/subscriptions/s/dead-letters`, "GET")).json,
	};
}

test("an event reaches a webhook; after kill -9 a new process goes on where the old one stood, and loses nothing", async (t) => {
	const dir = temporaryDir(t);
	let isUp = true;
	const hook = await receiver(t, () => ({ status: isUp ? 204 : 503 }));
	const args = ["--listen", "127.0.0.1:0", "--data", dir];
	const first = await spawnNexus(args);
	t.after(() => first.child.kill("SIGKILL"));
	const made = await call(`${first.url}/v1/subscriptions/billing`, "PUT", {
		filter: { type: "order.*" },
		sink: { kind: "webhook", url: hook.url },
		delivery: { backoff: ["50ms"], attempts: 100 },
	});
	assert.equal(made.status, 201, JSON.stringify(made.json));
	await publish(first.url, { id: "a", type: "order.created" }, { id: "other", type: "invoice.paid" });
	await until("the webhook has it", () => hook.ids().includes("a"));
	await until("it is settled", async () => (await call(`${first.url}/v1/subscriptions/billing`, "GET")).json.lag.open === 0);

	isUp = false;
	const before = hook.received.length;
	await publish(first.url, ...numbered("b", 20, { type: "order.created" }));
	await until("tries have failed", () => hook.received.length > before + 5);
	await first.stop("SIGKILL");

	const second = await spawnNexus(args);
	t.after(() => second.child.kill("SIGKILL"));
	const mark = hook.received.length;
	isUp = true;
	await until("all have arrived", () => new Set(hook.ids().slice(mark)).size >= 20);
	const again = hook.ids().slice(mark);
	assert.deepEqual(
		[...new Set(again)].sort(),
		numbered("b", 20)
			.map(({ id }) => id)
			.sort(),
	);
	assert.ok(!again.includes("a"), "what was settled does not come again");
	assert.deepEqual(await second.stop("SIGTERM"), { code: 0, signal: null });
});

test("the structured form is the event as it was sent; the binary form is the same in header fields", async (t) => {
	const structured = await receiver(t);
	const binary = await receiver(t);
	const one = await subscribed(t, { url: structured.url });
	const two = await subscribed(t, { url: binary.url, mode: "binary", headers: { "x-team": "billing" } });
	const event = { id: "ä 1", type: "t", subject: 'a "b" %', partitionkey: "k", data: { price: 1.5 } };
	await publish(one.url, event);
	await publish(two.url, event);
	await until("both have it", () => structured.received.length + binary.received.length === 2);
	const [first] = structured.received;
	assert.match(String(first?.headers["content-type"]), /^application\/cloudevents\+json/);
	assert.deepEqual(JSON.parse(first?.body ?? ""), { specversion: "1.0", source: "/s", ...event });
	const [second] = binary.received;
	assert.equal(second?.headers["content-type"], "application/json");
	assert.equal(second?.headers["ce-id"], "%C3%A4%201");
	assert.equal(second?.headers["ce-subject"], "a%20%22b%22%20%25");
	assert.equal(second?.headers["ce-specversion"], "1.0");
	assert.equal(second?.headers["x-team"], "billing");
	assert.equal(second?.body, '{"price":1.5}');
});

test("each request is signed with every secret that is in use, over its id, its time and its bytes", async (t) => {
	const hook = await receiver(t);
	const key = Buffer.from("0123456789abcdef0123456789abcdef");
	const { url, show } = await subscribed(t, { url: hook.url, secret: [`whsec_${key.toString("base64")}`, "the secret before that"] });
	await publish(url, { id: "a" });
	await until("it arrives", () => hook.received.length === 1);
	const { headers, body = "" } = hook.received[0] ?? {};
	const signed = `${headers?.["webhook-id"]}.${headers?.["webhook-timestamp"]}.${body}`;
	const expected = [key, Buffer.from("the secret before that")].map((secret) => `v1,${createHmac("sha256", secret).update(signed).digest("base64")}`);
	assert.equal(headers?.["webhook-signature"], expected.join(" "));
	assert.ok(Math.abs(Number(headers?.["webhook-timestamp"]) * 1000 - Date.now()) < 60_000);
	assert.deepEqual((await show()).document.sink, { kind: "webhook", url: hook.url, secret: "(set)" });
	// What was shown comes back, edited, and the secret stays.
	const { document } = await show();
	assert.equal((await call(`${url}/v1/subscriptions/s`, "PUT", { ...document, description: "edited" })).status, 200);
	await publish(url, { id: "b" });
	await until("it arrives", () => hook.received.length === 2);
	assert.ok(String(hook.received[1]?.headers["webhook-signature"]).includes(" v1,"));
});

test("nothing is sent to a receiver that does not agree to the handshake, and no try is lost by that", async (t) => {
	let allows = "other.example";
	const hook = await receiver(t, ({ method }) =>
		method === "OPTIONS" ? { status: 200, headers: { "webhook-allowed-origin": allows, "webhook-allowed-rate": "6000" } } : { status: 200 },
	);
	const { url, show } = await subscribed(t, { url: hook.url, handshake: { origin: "nexus.example" } });
	await publish(url, ...numbered("e", 3));
	await until("it was asked", () => hook.received.length > 0);
	assert.equal(hook.received[0]?.method, "OPTIONS");
	assert.equal(hook.received[0]?.headers["webhook-request-origin"], "nexus.example");
	await until("it says why", async () => /allows other.example, and not nexus.example/.test((await show()).trouble ?? ""));
	assert.equal((await show()).deliveries.naked, 0);
	allows = "*";
	// As if its patience were over.
	await call(`${url}/v1/subscriptions/s/pause`, "POST");
	await call(`${url}/v1/subscriptions/s/resume`, "POST");
	await until("all arrive", () => hook.received.filter(({ method }) => method === "POST").length === 3);
});

test("redirects are not followed: the event is tried again, and parked with what was answered", async (t) => {
	const elsewhere = await receiver(t);
	const hook = await receiver(t, () => ({ status: 307, headers: { location: elsewhere.url }, body: "go there" }));
	const { url, letters, show } = await subscribed(t, { url: hook.url }, { attempts: 2 });
	await publish(url, { id: "a", data: { x: 1 } });
	await until("it is parked", async () => (await show()).deadLetters === 1);
	assert.equal(elsewhere.received.length, 0);
	const [letter] = (await letters()).deadLetters;
	assert.equal(letter?.attempts, 2);
	assert.equal(letter?.status, 307);
	assert.equal(letter?.answer, "go there");
	assert.match(letter?.reason ?? "", /redirects are not followed/);
	assert.deepEqual(letter?.event, { specversion: "1.0", id: "a", source: "/s", type: "t", data: { x: 1 } });
	assert.equal((await letters()).total, 1, "looking takes nothing out");
});

test("addresses where a cloud keeps secrets are refused, in every way to write them", async (t) => {
	for (const address of [
		"169.254.169.254",
		"fe80::1",
		"fd00:ec2::254",
		"fd20:ce::254",
		"100.100.100.200",
		"168.63.129.16",
		"192.0.0.192",
		"0.0.0.0",
		"255.255.255.255",
		"224.0.0.1",
		"::",
		"ff02::1",
		"::ffff:169.254.169.254",
		"::ffff:a9fe:a9fe",
		"64:ff9b::169.254.169.254",
		"2002:a9fe:a9fe::1",
		"::a9fe:a9fe",
		"::ffff:100.100.100.200",
	]) {
		assert.ok(addressFault(address) !== undefined, address);
	}
	for (const address of ["127.0.0.1", "10.0.0.1", "192.168.1.1", "::1", "fd00::1", "2001:db8::1", "::ffff:10.0.0.1"])
		assert.equal(addressFault(address), undefined, address);
	const { url } = await serveNexus(t, temporaryDir(t));
	for (const host of ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "0x a9.254.1.1", "2852039166", "0xa9fea9fe"]) {
		const refused = await call(`${url}/v1/subscriptions/bad`, "PUT", { sink: { kind: "webhook", url: `http://${host}/` } });
		assert.equal(refused.status, 400, host);
		assert.equal(refused.json.faults[0]?.path, "sink.url");
	}
});

test("a receiver that asks for patience gets it, and no event loses a try to it but the one that was answered", async (t) => {
	let busyUntil = 0;
	const hook = await receiver(t, (_, count) => {
		if (count === 1) busyUntil = Date.now() + 1000;
		return count === 1 ? { status: 429, headers: { "retry-after": "1" } } : { status: 204 };
	});
	const { url, show } = await subscribed(t, { url: hook.url }, { concurrency: 1 });
	await publish(url, ...numbered("e", 4));
	await until("all are settled", async () => (await show()).deliveries.acked === 4);
	assert.ok(Date.now() >= busyUntil);
	assert.equal(hook.received.length, 5);
});

test("a receiver whose time to come again is over already gets the backoff, and not all tries at once", async (t) => {
	let field = "";
	const hook = await receiver(t, () => ({ status: 503, headers: { "retry-after": field } }));
	const sink = new Webhook({
		url: hook.url,
		tls: undefined,
		mode: "structured",
		headers: {},
		secrets: [],
		origin: undefined,
		subscription: "s",
		connections: 1,
		timeoutMs: 10_000,
		clock: systemClock,
		onGone: () => {},
	});
	t.after(() => sink.close());
	const delayMs = async (text: string): Promise<number | undefined> => {
		field = text;
		const verdict = await sink.deliver({ sequence: 1, json: Buffer.from('{"id":"a"}') } as Entry, new AbortController().signal);
		assert.equal(verdict.kind, "nak");
		return verdict.delayMs;
	};
	for (const past of ["0", new Date(0).toUTCString(), "soon"]) assert.equal(await delayMs(past), undefined, past);
	assert.equal(sink.trouble, "");
	assert.equal(await delayMs("120"), 120_000);
	assert.match(sink.trouble, /left alone for 120 s/);
});

test("an event that the receiver calls wrong is a dead letter at once; a receiver that is gone pauses the subscription", async (t) => {
	const hook = await receiver(t, ({ id }) => ({ status: id === "bad" ? 422 : 410, body: "no such field" }));
	const { url, show, letters } = await subscribed(t, { url: hook.url });
	await publish(url, { id: "bad" });
	await until("it is parked", async () => (await show()).deadLetters === 1);
	assert.equal((await letters()).deadLetters[0]?.attempts, 1);
	await publish(url, { id: "good" });
	await until("it is paused", async () => (await show()).state === "paused");
	assert.equal((await show()).deadLetters, 1, "nothing is lost by it");
});

test("a receiver that never answers, and one that never stops, hold nothing up for longer than ackWait", async (t) => {
	const silent = await receiver(t, ({ id }, count) => (count === 1 && id === "a" ? undefined : { status: 204 }));
	const one = await subscribed(t, { url: silent.url }, { ackWait: "200ms" });
	await publish(one.url, { id: "a" });
	await until("it is tried again", async () => (await one.show()).deliveries.acked === 1);
	assert.equal((await one.show()).deliveries.timedOut, 1);

	const endless = createServer((socket) => {
		socket.on("error", () => {});
		socket.once("data", () => {
			socket.write("HTTP/1.1 500 No\r\n\r\n");
			const pour = (): void => {
				while (socket.writable && socket.write("x".repeat(16_384)));
			};
			socket.on("drain", pour);
			pour();
		});
	});
	await new Promise<void>((resolve) => endless.listen(0, "127.0.0.1", resolve));
	t.after(() => endless.close());
	const { port } = endless.address() as { port: number };
	const two = await subscribed(t, { url: `http://127.0.0.1:${port}/` }, { attempts: 2, ackWait: "5s" });
	await publish(two.url, { id: "a" });
	await until("it is parked", async () => (await two.show()).deadLetters === 1);
	const [letter] = (await two.letters()).deadLetters;
	assert.equal(letter?.status, 500);
	assert.equal(letter?.answer?.length, 1024, "the beginning of it");
});

test("nobody listens: the reason is told, and the event arrives when somebody does", async (t) => {
	const hook = await receiver(t);
	hook.close();
	const { url, show } = await subscribed(t, { url: hook.url }, { attempts: 100 });
	await publish(url, { id: "a" });
	await until("it was tried", async () => /ECONNREFUSED/.test((await show()).trouble ?? ""));
	const again = (await import("node:http")).createServer((_req, res) => res.writeHead(204).end());
	await new Promise<void>((resolve) => again.listen(hook.port, "127.0.0.1", resolve));
	t.after(() => again.close());
	await until("it arrives", async () => (await show()).deliveries.acked === 1);
});

test("a name is judged by the addresses that it stands for", async () => {
	const look = (name: string): Promise<string> =>
		new Promise((resolve) => guardedLookup(name, {}, (error, address) => resolve(error?.message ?? String(address))));
	assert.match(await look("localhost"), /^(127\.0\.0\.1|::1)$/);
	// What a resolver makes of a number, in whatever notation.
	assert.match(await look("169.254.169.254"), /webhooks are not sent there/);
	assert.match(await look("no-such-name.invalid"), /ENOTFOUND|EAI_AGAIN/);
});

test("no more are under way than the concurrency allows, and the rate limit holds", async (t) => {
	let open = 0;
	let most = 0;
	const hook = await receiver(t, async () => {
		most = Math.max(most, ++open);
		await new Promise((resolve) => setTimeout(resolve, 20));
		open--;
		return { status: 204 };
	});
	const { url, show } = await subscribed(t, { url: hook.url }, { concurrency: 3, rateLimit: { perSecond: 40, burst: 1 } });
	const beganMs = performance.now();
	await publish(url, ...numbered("e", 21));
	await until("all are settled", async () => (await show()).deliveries.acked === 21);
	assert.ok(most <= 3, `${most}`);
	assert.ok(performance.now() - beganMs >= 490, "20 steps of 25 ms");
});

test("what is under way when Nexus stops is waited for, and does not come again", async (t) => {
	const dir = temporaryDir(t);
	const hook = await receiver(t, async () => {
		await new Promise((resolve) => setTimeout(resolve, 300));
		return { status: 204 };
	});
	const first = await serveNexus(t, dir);
	await call(`${first.url}/v1/subscriptions/s`, "PUT", { filter: { type: "t" }, sink: { kind: "webhook", url: hook.url } });
	await publish(first.url, { id: "a" });
	await until("it is under way", () => hook.received.length === 1);
	assert.deepEqual(await first.nexus.close(), []);
	const second = await serveNexus(t, dir);
	await publish(second.url, { id: "b" });
	await until("the next one arrives", () => hook.received.length === 2);
	assert.deepEqual(hook.ids(), ["a", "b"]);
});
