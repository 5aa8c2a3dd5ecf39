/** Consumers that are sent events: server-sent events and WebSockets, with credit, answers, and an end that loses nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocket } from "ws";
import { numbered, serveNexus, temporaryDir } from "../support.ts";
import { call, publish, until } from "./support.ts";

interface Sent {
	readonly deliveries?: readonly { readonly token: string; readonly attempt: number; readonly event: { readonly id: string } }[];
	readonly message?: number;
	readonly settled?: number;
	readonly unknown?: readonly string[];
	readonly problem?: string;
}

const PULL = { filter: { type: "t" }, sink: { kind: "pull" }, delivery: { backoff: ["20ms"] } };

function connect(url: string, query = ""): { socket: WebSocket; messages: Sent[]; opened: Promise<void>; tokens: () => string[] } {
	const socket = new WebSocket(`${url.replace("http", "ws")}/v1/subscriptions/s/socket${query}`);
	const messages: Sent[] = [];
	socket.on("message", (data) => messages.push(JSON.parse(String(data)) as Sent));
	const opened = new Promise<void>((resolve, reject) => socket.once("open", resolve).once("error", reject));
	return { socket, messages, opened, tokens: () => messages.flatMap(({ deliveries = [] }) => deliveries.map(({ token }) => token)) };
}

test("a WebSocket is sent as many events as it has credit, and more as it answers; each answer is told once it is kept", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	await call(`${url}/v1/subscriptions/s`, "PUT", PULL);
	const { socket, messages, opened, tokens } = connect(url, "?credit=2");
	t.after(() => socket.terminate());
	await opened;
	await publish(url, ...numbered("e", 5));
	await until("two are there", () => tokens().length === 2);
	socket.send(JSON.stringify({ ack: tokens() }));
	await until("four are there", () => tokens().length === 4);
	await until("the answer is kept", () => messages.some(({ message }) => message === 1));
	assert.deepEqual(
		messages.find(({ message }) => message === 1),
		{ message: 1, settled: 2, unknown: [] },
	);
	socket.send(JSON.stringify({ ack: tokens().slice(2), nak: ["1-1-1"], progress: 7 }));
	await until("what is wrong is told", () => messages.some(({ problem }) => problem?.startsWith("progress")));
	socket.send(JSON.stringify({ ack: tokens().slice(2), term: ["zz-zz-zz"] }));
	await until("the rest is there", () => tokens().length === 5 && messages.some(({ message }) => message === 3));
	assert.deepEqual(messages.find(({ message }) => message === 3)?.unknown, ["zz-zz-zz"]);
	socket.send("no json");
	assert.equal(await new Promise((resolve) => socket.once("close", resolve)), 1007);
});

test("a consumer that sends and does not read is not read either, and has all its answers once it does", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	await call(`${url}/v1/subscriptions/s`, "PUT", PULL);
	const { socket, messages, opened } = connect(url);
	t.after(() => socket.terminate());
	await opened;
	socket.pause();
	const BATCH = 100;
	// The answer names the key.
	const nonsense = JSON.stringify({ ["x".repeat(10_000)]: 1 });
	let sent = 0;
	await until("it is not read any more", async () => {
		for (let i = 0; i < BATCH; i++) socket.send(nonsense);
		sent += BATCH;
		for (let look = 0; look < 20 && socket.bufferedAmount > 0; look++) await new Promise((resolve) => setTimeout(resolve, 5));
		return socket.bufferedAmount > 4 * BATCH * nonsense.length;
	});
	socket.resume();
	await until("each message has its answer", () => messages.length === sent);
	assert.ok(messages.every(({ message, problem }, i) => message === i + 1 && problem !== undefined));
});

test("what a consumer held when its connection broke goes to another one", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	await call(`${url}/v1/subscriptions/s`, "PUT", PULL);
	const first = connect(url);
	await first.opened;
	await publish(url, ...numbered("e", 3));
	await until("they are there", () => first.tokens().length === 3);
	first.socket.terminate();
	const second = connect(url);
	t.after(() => second.socket.terminate());
	await second.opened;
	await until("they have come again", () => second.tokens().length === 3);
	assert.ok(second.messages.flatMap(({ deliveries = [] }) => deliveries).every(({ attempt }) => attempt === 2));
});

test("consumers share the events in turn", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	await call(`${url}/v1/subscriptions/s`, "PUT", { ...PULL, strategy: "round-robin" });
	const consumers = [connect(url, "?credit=10"), connect(url, "?credit=10")];
	t.after(() => {
		for (const { socket } of consumers) socket.terminate();
	});
	await Promise.all(consumers.map(({ opened }) => opened));
	await publish(url, ...numbered("e", 20));
	await until("both are full", () => consumers.every(({ tokens }) => tokens().length === 10));
});

test("server-sent events bring deliveries, whose answers go to `ack`; the end of Nexus ends the stream", async (t) => {
	const { nexus, url } = await serveNexus(t, temporaryDir(t));
	await call(`${url}/v1/subscriptions/s`, "PUT", PULL);
	const response = await fetch(`${url}/v1/subscriptions/s/stream?credit=1`);
	assert.equal(response.headers.get("content-type"), "text/event-stream");
	const tokens: string[] = [];
	const ended = (async () => {
		let text = "";
		for await (const chunk of response.body ?? []) {
			text += new TextDecoder().decode(chunk);
			for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
				const frame = text.slice(0, end);
				text = text.slice(end + 2);
				if (frame.startsWith("data: ")) tokens.push((JSON.parse(frame.slice(6)) as { token: string }).token);
			}
		}
	})();
	await publish(url, ...numbered("e", 2));
	await until("one is there", () => tokens.length === 1);
	assert.equal((await call<Sent>(`${url}/v1/subscriptions/s/ack`, "POST", { ack: tokens })).json.settled, 1);
	await until("the next one is there", () => tokens.length === 2);
	const closing = nexus.close();
	await ended;
	assert.deepEqual(await closing, []);
});

test("a subscription that is pushed, is paused or is not there has no consumers", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	await call(`${url}/v1/subscriptions/s`, "PUT", { sink: { kind: "webhook", url: "http://127.0.0.1:1/" } });
	for (const [what, expected] of [
		["s/stream", 409],
		["nobody/stream", 404],
	] as const) {
		assert.equal((await fetch(`${url}/v1/subscriptions/${what}`)).status, expected);
	}
	await call(`${url}/v1/subscriptions/s`, "PUT", PULL);
	await call(`${url}/v1/subscriptions/s/pause`, "POST");
	assert.equal((await call(`${url}/v1/subscriptions/s/fetch`, "POST", {})).status, 409);
	await call(`${url}/v1/subscriptions/s/resume`, "POST");
	assert.equal((await fetch(`${url}/v1/subscriptions/s/socket`)).status, 426);
	assert.equal((await fetch(`${url}/v1/subscriptions/s/stream?credit=0`)).status, 400);
});
