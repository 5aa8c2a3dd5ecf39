/** How calls end where what is at the other end is slow, breaks, lies or sends elsewhere. */
import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { NexusClient, NexusError } from "nexus-mesh/client";
import { boundedText } from "../../src/client/bounded-text.ts";
import { httpExchange } from "../../src/client/http-exchange.ts";
import { serveNexus, temporaryDir } from "../nexus/support.ts";

async function serve(t: TestContext, handler: RequestListener): Promise<{ url: string; server: Server }> {
	const server = createServer(handler);
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	t.after(() => {
		server.closeAllConnections();
		server.close();
	});
	return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

function json(res: ServerResponse, body: unknown, status = 200): void {
	res.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

const ACCEPTED = { accepted: 1, duplicates: 0, rejected: [], sequence: 1, durability: "disk" };

function isError(status: number, words: RegExp): (error: unknown) => boolean {
	return (error) => {
		assert.ok(error instanceof NexusError, String(error));
		assert.equal(error.status, status);
		assert.match(error.message, words);
		return true;
	};
}

test("an answer that breaks off, or never comes, is tried again where that is safe", async (t) => {
	let calls = 0;
	const { url } = await serve(t, (_req, res) => {
		calls++;
		if (calls === 1) res.writeHead(200, { "content-length": "100" }).write('{"accepted":', () => res.destroy());
		else if (calls > 2) json(res, ACCEPTED);
	});
	const client = new NexusClient({ url, source: "/s", timeoutMs: 1_000, rng: () => 0.01 });
	assert.deepEqual(await client.publish({ type: "t" }), ACCEPTED);
	assert.ok(calls >= 3);
	calls = 0;
	await assert.rejects(client.log.startBackup(), isError(0, /broke off/));
	await assert.rejects(client.log.startBackup(), isError(0, /not answered within 1 s/));
	assert.equal(calls, 2);
});

test("a kept connection that the other side has closed is no failure, but nothing is done twice", async (t) => {
	const asked: string[] = [];
	const answer = JSON.stringify({ policies: [] });
	const served = new Map<Socket, number>();
	// Answers the first request of each connection, and closes it as the second one comes.
	const server = createTcpServer((socket) => {
		socket.on("error", () => {});
		socket.on("data", (chunk) => {
			asked.push(String(chunk).split(/\?| HTTP/)[0] ?? "");
			const count = (served.get(socket) ?? 0) + 1;
			served.set(socket, count);
			if (count === 1) socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${answer.length}\r\n\r\n${answer}`);
			else socket.resetAndDestroy();
		});
	});
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	t.after(() => {
		server.close();
		for (const socket of served.keys()) socket.destroy();
	});
	const client = new NexusClient({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
	assert.deepEqual(await client.policies.list(), []);
	assert.deepEqual(await client.policies.list(), []);
	assert.deepEqual(asked.splice(0), ["GET /v1/policies", "GET /v1/policies", "GET /v1/policies"]);
	await assert.rejects(client.log.startBackup("x"), isError(0, /does not answer/));
	assert.deepEqual(asked, ["POST /v1/log/backups"]);
});

test("an answer on a kept connection that is reset in the middle is a failure of its reader, and nothing is sent again", async (t) => {
	const asked: string[] = [];
	const sockets: Socket[] = [];
	const answer = JSON.stringify({ policies: [] });
	const server = createTcpServer((socket) => {
		sockets.push(socket);
		socket.on("error", () => {});
		socket.on("data", (chunk) => {
			asked.push(String(chunk).split(/\?| HTTP/)[0] ?? "");
			const isWhole = asked.length === 1;
			socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${answer.length}\r\n\r\n${isWhole ? answer : "{"}`);
			// Nobody is there for another one, as while Nexus restarts.
			if (!isWhole) server.close();
		});
	});
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	t.after(() => {
		for (const socket of sockets) socket.destroy();
	});
	const base = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
	const exchange = httpExchange({});
	assert.equal(await (await exchange(new URL("/v1/policies", base), {})).text(), answer);
	const broken = await exchange(new URL("/v1/policies", base), {});
	assert.equal(sockets.length, 1);
	sockets[0]?.resetAndDestroy();
	await assert.rejects(broken.text());
	// A second try would be refused by now, with nobody to tell: the test would fail by its unhandled rejection.
	await new Promise<void>((resolve) => void connect({ port: Number(base.port), host: "127.0.0.1" }, () => {}).once("error", () => resolve()));
	assert.deepEqual(asked, ["GET /v1/policies", "GET /v1/policies"]);
});

test("a redirect is followed with body and token, a few times, and never to where the token could be read", async (t) => {
	const { url: last } = await serve(t, async (req, res) => {
		let body = "";
		for await (const chunk of req) body += chunk;
		json(res, { got: `${req.method} ${req.url} ${req.headers.authorization} ${body}` });
	});
	let location = `${last}/v1/tokens`;
	let calls = 0;
	const { url } = await serve(t, (_req, res) => {
		calls++;
		res.writeHead(307, { location }).end();
	});
	const client = new NexusClient({ url, token: "nxt_secret" });
	const told = (await client.tokens.create({ role: "read", name: "x" })) as unknown as { got: string };
	assert.equal(told.got, 'POST /v1/tokens Bearer nxt_secret {"role":"read","name":"x"}');
	location = "/v1/policies";
	calls = 0;
	await assert.rejects(client.policies.list(), isError(307, /status 307/));
	assert.equal(calls, 4);
	for (const [where, why] of [
		["http://192.0.2.1/", /plain text to 192\.0\.2\.1/],
		["https://192.0.2.1/", /another protocol/],
		["http://[", /no URL/],
	] as const) {
		location = where;
		await assert.rejects(client.policies.list(), (error: unknown) => {
			assert.match(String(error), why);
			assert.ok(!String(error).includes("secret"));
			return true;
		});
	}
});

test("of several nodes one is asked until it does not answer; what was not sent goes to the next one at once", async (t) => {
	const asked: string[] = [];
	const node = async (name: string) => {
		const { url, server } = await serve(t, (req, res) => {
			asked.push(`${name} ${req.method}`);
			json(res, { policies: [], name: "b", state: "done" });
		});
		const stop = (): Promise<void> =>
			new Promise((resolve) => {
				server.closeAllConnections();
				server.close(() => resolve());
			});
		return { url, stop };
	};
	const [a, b] = [await node("a"), await node("b")];
	const client = new NexusClient({ url: [a.url, b.url] });
	await client.policies.list();
	await client.policies.list();
	await a.stop();
	await client.policies.list();
	await client.policies.list();
	await new NexusClient({ url: [a.url, b.url] }).log.startBackup();
	assert.deepEqual(asked, ["a GET", "a GET", "b GET", "b GET", "b POST"]);
	await b.stop();
	await assert.rejects(client.policies.list(), isError(0, /does not answer/));
	assert.throws(() => new NexusClient({ url: [] }), /there is no URL/);
	assert.throws(() => new NexusClient({ url: [a.url, "nexus:7400"] }), /nexus:7400 is not an http URL/);
	assert.throws(() => new NexusClient({ url: [a.url, "http://192.0.2.1"], token: "nxt_secret" }), /plain text to 192\.0\.2\.1/);
});

test("of several nodes one that takes connections and never answers is left for the next one", async (t) => {
	const hung = createTcpServer();
	await new Promise<void>((resolve) => hung.listen(0, "127.0.0.1", resolve));
	const { url: fine } = await serve(t, (_req, res) => json(res, ACCEPTED));
	const sockets: Socket[] = [];
	hung.on("connection", (socket) => sockets.push(socket));
	t.after(() => {
		hung.close();
		for (const socket of sockets) socket.destroy();
	});
	const urls = [`http://127.0.0.1:${(hung.address() as AddressInfo).port}`, fine];
	const client = new NexusClient({ url: urls, source: "/s", timeoutMs: 500, rng: () => 0.01 });
	assert.deepEqual(await client.publish({ type: "t" }), ACCEPTED);
	const other = new NexusClient({ url: urls });
	const abort = new AbortController();
	hung.once("connection", () => abort.abort(new Error("enough")));
	await assert.rejects(other.policies.list({ signal: abort.signal }), /^Error: enough$/);
	await assert.rejects(other.log.status({ timeoutMs: 200 }), isError(0, /not answered within/), "a caller that gives up says nothing of the node");
});

test("a WebSocket that is answered by something else is refused, whatever the status", async (t) => {
	let status = 0;
	const server = createTcpServer((socket) => {
		socket.on("error", () => {});
		socket.once("data", () => socket.end(`HTTP/1.1 ${status} Whatever\r\ncontent-length: 0\r\n\r\n`));
	});
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	t.after(() => server.close());
	const client = new NexusClient({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, source: "/s" });
	for (status of [200, 204, 205, 302, 304, 403, 999]) {
		const told = [200, 302, 403].includes(status) ? status : 502;
		await assert.rejects(client.openSocket(), isError(told, /from something that is not Nexus/));
	}
});

test("a WebSocket goes where a redirect leads", async (t) => {
	const { url: real, nexus } = await serveNexus(t, temporaryDir(t));
	const { url, server } = await serve(t, (_req, res) => res.end());
	const upgrades: string[] = [];
	server.on("upgrade", (req: IncomingMessage, socket: Socket) => {
		upgrades.push(req.url ?? "");
		socket.end(`HTTP/1.1 307 Temporary Redirect\r\nlocation: ${real}${req.url}\r\ncontent-length: 0\r\n\r\n`);
	});
	const socket = await new NexusClient({ url, source: "/s" }).openSocket();
	assert.equal((await socket.send({ type: "t" })).accepted, 1);
	await socket.close();
	assert.deepEqual(upgrades, ["/v1/events/publish"]);
	assert.equal(nexus.log.stats().lastSequence, 1);
});

test("what is not of Nexus is said to be so", async (t) => {
	let reply = (res: ServerResponse): unknown => res.end("<html>");
	const { url } = await serve(t, (_req, res) => reply(res));
	const client = new NexusClient({ url });
	await assert.rejects(client.policies.list(), isError(502, /no JSON, from something that is not Nexus/));
	reply = (res) => res.writeHead(403).end("<html>");
	await assert.rejects(client.policies.list(), isError(403, /status 403 from something that is not Nexus/));
	reply = (res) => res.writeHead(400).end(JSON.stringify({ title: "x".repeat(2 * 1024 * 1024) }));
	await assert.rejects(client.policies.list(), isError(400, /^status 400 from something that is not Nexus$/));
	reply = (res) => res.writeHead(503, { "retry-after": "999999" }).end(JSON.stringify({ title: "Later.", hint: "Wait.", reason: "later" }));
	await assert.rejects(client.policies.list(), (error: unknown) => {
		assert.ok(error instanceof NexusError);
		assert.deepEqual(
			[error.message, error.reason, error.hint, error.retryAfterMs, error.isTransient],
			["Later. Wait.", "later", "Wait.", 60_000, true],
		);
		return true;
	});
	assert.equal(await boundedText(new Response("äöü"), 6), "äöü");
	assert.equal(await boundedText(new Response("äöü"), 5), undefined);
	assert.equal(await boundedText(new Response(null), 0), "");
});

test("an aborted signal ends a call with its reason, and the connection with it", async (t) => {
	const closed = Promise.withResolvers<void>();
	const came = Promise.withResolvers<void>();
	const { url } = await serve(t, (req) => {
		came.resolve();
		req.once("close", () => closed.resolve());
	});
	const client = new NexusClient({ url, source: "/s" });
	const abort = new AbortController();
	const call = client.subscriptions.fetch("x", { signal: abort.signal });
	await came.promise;
	abort.abort(new Error("enough"));
	await assert.rejects(call, /^Error: enough$/);
	await closed.promise;
	for (const late of [client.publish({ type: "t" }, { signal: abort.signal }), client.query({}, { signal: abort.signal }).next()]) {
		await assert.rejects(late, /^Error: enough$/);
	}
});
