/** Upgraded connections: decided by the rules at their start, and cut when a policy takes the right away. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { until } from "../../net/support.ts";
import { type RawClient, rawUpstream } from "../../support/raw-peer.ts";
import { accessLog, type Guarded, guarded, reasonOf } from "./support.ts";

const ALLOW = "{ rules: [ { name: chats, action: allow, from: [frontend], paths: [/chat/**] } ] }";
const UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
const SWITCHED = `HTTP/1.1 101 Switching Protocols\r\n${UPGRADE}\r\n`;

interface Chat {
	readonly service: Guarded;
	/** What the application has closed, in order. */
	readonly closed: string[];
	open(caller: string, path: string, fields?: string): Promise<RawClient>;
}

/** The application answers `x` to `x`, whatever it is; the path names the connection. */
async function chat(t: TestContext, rules: string): Promise<Chat> {
	const closed: string[] = [];
	const app = await rawUpstream(t, ({ target }, connection) => {
		connection.tunnel = true;
		connection.socket.on("data", (bytes: Buffer) => connection.send(bytes));
		connection.socket.on("close", () => closed.push(target));
		return SWITCHED;
	});
	const service = await guarded(t, rules, { address: app.address });
	return {
		service,
		closed,
		async open(caller, path, fields = "") {
			const client = await service.client(caller);
			client.send(`GET ${path} HTTP/1.1\r\nHost: chat\r\n${UPGRADE}${fields}\r\n`);
			await client.untilText("\r\n\r\n");
			return client;
		},
	};
}

async function echoes(client: RawClient, text: string): Promise<void> {
	client.send(text);
	await client.untilText(text);
}

describe("an upgraded connection", { timeout: 60_000 }, () => {
	it("is decided at its start like any request", async (t) => {
		const { service, open } = await chat(t, ALLOW);
		await echoes(await open("frontend", "/chat/a"), "hello");
		const client = await service.client("batch");
		const answer = await client.send(`GET /chat/a HTTP/1.1\r\nHost: chat\r\n${UPGRADE}\r\n`).answer();
		assert.deepEqual([answer.status, reasonOf(answer)], [403, "unauthorized"]);
	});

	it("is cut by the very swap to a policy that takes its right away, on both sides; the others go on", async (t) => {
		const { service, open, closed } = await chat(t, ALLOW);
		const [gone, stays] = [await open("frontend", "/chat/a/../gone?x"), await open("frontend", "/chat/stays")];
		await service.reload("{ rules: [ { name: chats, action: allow, from: [frontend], paths: [/chat/stays] } ] }");
		// Decided and cut before the reload is over: no timer, however busy the machine.
		assert.equal(await service.sidecar.metric("nexus_authorization_requests_total", { rule: "", result: "denied" }), 1);
		await gone.untilClosed();
		await until(() => closed.length === 1);
		assert.deepEqual(closed, ["/chat/gone?x"]);
		await echoes(stays, "still here");
		const [line] = await accessLog(service, 1);
		assert.deepEqual([line?.status, line?.reason, line?.target], [101, "unauthorized", "/chat/gone?x"]);
		assert.match(String(line?.detail), /^no rule allows this to spiffe:\/\/mesh\.local\/frontend \(/);
	});

	it("is judged by fields that no rule asked for when it began, each of its lines", async (t) => {
		const { service, open } = await chat(t, "");
		const plain = await open("frontend", "/a", "X-Debug: 0\r\n");
		const debug = await open("frontend", "/b", "X-Debug: 0\r\nx-debug: 1\r\n");
		const alias = await open("frontend", "/c", "X-Debug: 0\r\nx_debug: 0\r\nX_Debug: 1\r\n");
		await service.reload('{ rules: [ { name: debug, action: deny, headers: { x-debug: "1" } } ] }');
		await Promise.all([debug.untilClosed(), alias.untilClosed()]);
		await echoes(plain, "still here");
	});

	it("keeps on through reloads that change nothing for it, and may be refused by a later one", async (t) => {
		const { service, open } = await chat(t, ALLOW);
		const client = await open("frontend", "/chat/a");
		for (const more of ["{ name: x, action: allow, from: [x] }", "{ name: y, action: deny, from: [y] }"]) {
			await service.reload(ALLOW.replace(" ] }", `, ${more} ] }`));
			await echoes(client, `after ${more}`);
		}
		await service.reload(ALLOW.replace("frontend", "backend"));
		await client.untilClosed();
	});

	it("that its application grants only after the right is gone is never begun", async (t) => {
		const app = await rawUpstream(t);
		const service = await guarded(t, ALLOW, { address: app.address });
		const client = await service.client("frontend");
		client.send(`GET /chat/a HTTP/1.1\r\nHost: chat\r\n${UPGRADE}\r\n`);
		const connection = await app.connection(0);
		await connection.request();
		await service.reload(ALLOW.replace("frontend", "backend"));
		connection.tunnel = true;
		connection.send(`${SWITCHED}secret`);
		await client.untilClosed();
		assert.equal(client.text, "");
		await connection.untilClosed();
		const [line] = await accessLog(service, 1);
		assert.deepEqual([line?.status, line?.reason], [0, "unauthorized"]);
	});
});
