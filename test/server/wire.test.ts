/** HTTP/1.1 as the clients of the local APIs meet it on the wire: framing, order, limits and deadlines. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { silentLogger } from "../../src/core/log.ts";
import { type HttpServer, type HttpServerOptions, startHttpServer } from "../../src/server/http-server.ts";
import { sendJson, sendProblem } from "../../src/server/problem.ts";
import type { ServerResponse } from "../../src/server/server-response.ts";
import { FakeClock } from "../support/fake-clock.ts";

const GUARD = { timeout: 30_000 };

async function serve(t: TestContext, handler: HttpServerOptions["handler"], options: Partial<HttpServerOptions> = {}): Promise<HttpServer> {
	const server = await startHttpServer({ listen: { host: "127.0.0.1", port: 0 }, log: silentLogger, drainTimeoutMs: 0, handler, ...options });
	t.after(() => {
		const closed = server.close();
		if (options.clock instanceof FakeClock) options.clock.advance(1);
		return closed;
	});
	return server;
}

interface Client {
	readonly socket: Socket;
	send(bytes: string): void;
	/** What has come, once it matches. */
	until(pattern: RegExp): Promise<string>;
	/** All that came, once the server has closed. */
	rest(): Promise<string>;
}

async function dial(t: TestContext, server: HttpServer): Promise<Client> {
	const socket = connect(server.address.port, server.address.host);
	t.after(() => socket.destroy());
	socket.on("error", () => {});
	let text = "";
	let look = (): void => {};
	const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
	socket.on("data", (bytes) => {
		text += bytes.toString("latin1");
		look();
	});
	await once(socket, "connect");
	return {
		socket,
		send: (bytes) => void socket.write(bytes, "latin1"),
		until: (pattern) =>
			new Promise((resolve, reject) => {
				look = () => {
					if (pattern.test(text)) resolve(text);
				};
				void closed.then(() => reject(new Error(`closed after ${JSON.stringify(text)}`)));
				look();
			}),
		rest: async () => {
			await closed;
			return text;
		},
	};
}

async function exchange(t: TestContext, server: HttpServer, bytes: string): Promise<string> {
	const client = await dial(t, server);
	client.send(bytes);
	return client.rest();
}

const H = "host: localhost\r\n";
const LAST = `${H}connection: close\r\n`;
const bodyOf = (answer: string): string => answer.slice(answer.indexOf("\r\n\r\n") + 4);

/** Answers with what it understood of the request. */
const echo: HttpServerOptions["handler"] = async (req, res) => {
	const read = await req.body(1000);
	if (read.ok) sendJson(res, 200, { method: req.method, url: req.url, body: read.body.toString("latin1") });
	else sendProblem(res, read.problem);
};

test("a whole answer has date, content-length and one head; HEAD gets the same head and no body", GUARD, async (t) => {
	const server = await serve(t, echo, { clock: new FakeClock(Date.UTC(2026, 1, 3, 4, 5, 6)) });
	const get = await exchange(t, server, `GET /a?b HTTP/1.1\r\n${LAST}\r\n`);
	const body = '{"method":"GET","url":"/a?b","body":""}';
	assert.equal(
		get,
		`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ndate: Tue, 03 Feb 2026 04:05:06 GMT\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
	);
	const head = await exchange(t, server, `HEAD /a?bc HTTP/1.1\r\n${LAST}\r\n`);
	assert.deepEqual([head.split("\r\n")[3], bodyOf(head)], [`content-length: ${body.length + 2}`, ""]);
});

test("requests on one connection are answered one after the other, also where the first takes longer", GUARD, async (t) => {
	const first = Promise.withResolvers<void>();
	const entered = Promise.withResolvers<void>();
	const seen: string[] = [];
	const server = await serve(t, async (req, res) => {
		seen.push(req.url);
		const read = await req.body(10);
		if (req.url === "/1") {
			entered.resolve();
			await first.promise;
		}
		res.writeHead(200).end(`${req.url}=${read.ok ? read.body : "?"};`);
	});
	const client = await dial(t, server);
	client.send(
		`POST /1 HTTP/1.1\r\n${H}content-length: 2\r\n\r\nonPOST /2 HTTP/1.1\r\n${H}transfer-encoding: chunked\r\n\r\n1\r\nt\r\n1\r\nw\r\n0\r\n\r\nGET /3`,
	);
	await entered.promise;
	client.send(` HTTP/1.1\r\n${LAST}\r\nGET /never HTTP/1.1\r\n${H}\r\n`);
	assert.deepEqual(seen, ["/1"]);
	first.resolve();
	const answers = await client.rest();
	assert.deepEqual(answers.match(/\/\d=[^;]*;/g), ["/1=on;", "/2=tw;", "/3=;"]);
	assert.deepEqual(seen, ["/1", "/2", "/3"]);
});

test("a body that arrives byte by byte is the same body", GUARD, async (t) => {
	const server = await serve(t, echo);
	const client = await dial(t, server);
	client.socket.setNoDelay(true);
	for (const byte of `POST / HTTP/1.1\r\n${LAST}transfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nt: 1\r\n\r\n`) {
		client.send(byte);
		await new Promise((resolve) => setImmediate(resolve));
	}
	assert.match(await client.rest(), /^HTTP\/1\.1 200 .*"body":"abcde"/s);
});

test("a body larger than a read arrives whole, announced or not", GUARD, async (t) => {
	const server = await serve(t, async (req, res) => {
		const read = await req.body(400_000);
		const sum = read.ok ? read.body.reduce((total, byte) => total + byte, 0) : -1;
		sendJson(res, 200, { bytes: read.ok ? read.body.length : -1, sum });
	});
	const body = "abcdefghij".repeat(30_000);
	const expected = `{"bytes":300000,"sum":${30_000 * 1015}}`;
	assert.equal(bodyOf(await exchange(t, server, `POST / HTTP/1.1\r\n${LAST}content-length: 300000\r\n\r\n${body}`)), expected);
	const chunked = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
	assert.equal(bodyOf(await exchange(t, server, `POST / HTTP/1.1\r\n${LAST}transfer-encoding: chunked\r\n\r\n${chunked}`)), expected);
});

test("100 Continue is sent when the body is asked for, and not where the request is refused by its length", GUARD, async (t) => {
	const server = await serve(t, echo);
	const client = await dial(t, server);
	client.send(`POST / HTTP/1.1\r\n${LAST}expect: 100-continue\r\ncontent-length: 2\r\n\r\n`);
	assert.equal(await client.until(/\r\n\r\n/), "HTTP/1.1 100 Continue\r\n\r\n");
	client.send("ok");
	assert.match(await client.rest(), /HTTP\/1\.1 200 OK\r\n.*"body":"ok"/s);
	const refused = await exchange(t, server, `POST / HTTP/1.1\r\n${H}expect: 100-continue\r\ncontent-length: 1001\r\n\r\n`);
	assert.match(refused, /^HTTP\/1\.1 413 .*connection: close\r\n/s);
});

test("a body that is asked for late has not been lost", GUARD, async (t) => {
	const ask = Promise.withResolvers<void>();
	const entered = Promise.withResolvers<void>();
	const server = await serve(t, async (req, res) => {
		entered.resolve();
		await ask.promise;
		return echo(req, res);
	});
	const client = await dial(t, server);
	client.send(`POST / HTTP/1.1\r\n${LAST}content-length: 6\r\n\r\nabc`);
	await entered.promise;
	client.send("def");
	ask.resolve();
	assert.match(await client.rest(), /"body":"abcdef"/);
});

test("an answer given before the body was read ends the connection, so that the body is never taken for a request", GUARD, async (t) => {
	let handled = 0;
	const server = await serve(t, (_req, res) => {
		handled++;
		sendJson(res, 200, {});
	});
	const smuggled = `GET /smuggled HTTP/1.1\r\n${H}\r\n`;
	const answer = await exchange(t, server, `POST / HTTP/1.1\r\n${H}content-length: ${smuggled.length}\r\n\r\n${smuggled}${smuggled}`);
	assert.match(answer, /^HTTP\/1\.1 200 OK\r\n.*connection: close\r\n\r\n\{\}$/s);
	assert.equal(handled, 1);
});

test("an answer of unknown length is chunked for HTTP/1.1, ends with the connection for HTTP/1.0, and is nothing for HEAD", GUARD, async (t) => {
	const server = await serve(t, (_req, res) => {
		res.writeHead(200);
		res.write("one");
		res.write("");
		res.write(Buffer.from("töö"));
		res.write("€");
		res.end("four");
	});
	const chunked = await exchange(t, server, `GET / HTTP/1.1\r\n${LAST}\r\n`);
	assert.match(chunked, /\r\ntransfer-encoding: chunked\r\n/);
	assert.equal(Buffer.from(bodyOf(chunked), "latin1").toString(), "3\r\none\r\n5\r\ntöö\r\n3\r\n€\r\n4\r\nfour\r\n0\r\n\r\n");
	const plain = await exchange(t, server, "GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
	assert.match(plain, /^HTTP\/1\.1 200 OK\r\ndate: [^\r]*\r\nconnection: close\r\n\r\n/);
	assert.equal(Buffer.from(bodyOf(plain), "latin1").toString(), "onetöö€four");
	assert.equal(bodyOf(await exchange(t, server, `HEAD / HTTP/1.1\r\n${LAST}\r\n`)), "");
});

test("HTTP/1.0 is closed after the answer unless it asks to be kept, and says so", GUARD, async (t) => {
	const server = await serve(t, echo);
	assert.match(await exchange(t, server, "GET / HTTP/1.0\r\n\r\n"), /connection: close\r\n/);
	const client = await dial(t, server);
	client.send("GET /kept HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
	assert.match(await client.until(/"\/kept"/), /connection: keep-alive\r\n/);
	client.send("GET /last HTTP/1.0\r\n\r\n");
	assert.match(await client.rest(), /"\/last"/);
});

test("204 and 304 have neither body nor chunks", GUARD, async (t) => {
	const server = await serve(t, (req, res) => res.writeHead(Number(req.url.slice(1))).end());
	for (const status of [204, 304]) {
		const answer = await exchange(t, server, `GET /${status} HTTP/1.1\r\n${LAST}\r\n`);
		assert.doesNotMatch(answer, /content-length|transfer-encoding/);
		assert.equal(bodyOf(answer), "");
	}
});

test("bytes that are no HTTP/1.1 get a problem with the rule that they break, and the connection ends", GUARD, async (t) => {
	let handled = 0;
	const server = await serve(t, () => void handled++);
	for (const [bytes, status, reason] of [
		["\x16\x03\x01\x02\x00", 400, "bad_request"],
		[`GET / HTTP/1.1\r\n${H}bad name: 1\r\n\r\n`, 400, "bad_request"],
		["GET / HTTP/1.1\r\n\r\n", 400, "bad_request"],
		[`GET / HTTP/1.1\r\n${H}${H}\r\n`, 400, "bad_request"],
		[`POST / HTTP/1.1\r\n${H}content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n`, 400, "bad_request"],
		[`GET * HTTP/1.1\r\n${H}\r\n`, 400, "bad_request"],
		[`CONNECT a:1 HTTP/1.1\r\n${H}\r\n`, 405, "method_not_allowed"],
		[`GET / HTTP/1.1\r\n${H}expect: more\r\n\r\n`, 417, "expectation_failed"],
		[`GET /${"a".repeat(17_000)} HTTP/1.1\r\n`, 414, "target_too_long"],
		[`GET / HTTP/2.0\r\n${H}\r\n`, 505, "version_not_supported"],
		[`GET / HTTP/1.1\r\n${H}${"x: 1\r\n".repeat(200)}\r\n`, 431, "head_too_large"],
	] as const) {
		const answer = await exchange(t, server, bytes);
		const document = JSON.parse(bodyOf(answer));
		assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} .*connection: close\r\n`, "s"), JSON.stringify(bytes));
		assert.deepEqual([document.status, document.reason], [status, reason], JSON.stringify(bytes));
	}
	assert.equal(handled, 0);
});

test("a head is refused above 16 KiB, whole or in pieces, and taken below", GUARD, async (t) => {
	const server = await serve(t, echo);
	const headOf = (bytes: number): string => {
		const start = `GET / HTTP/1.1\r\n${LAST}x: `;
		return `${start}${"a".repeat(bytes - start.length - 4)}\r\n\r\n`;
	};
	assert.match(await exchange(t, server, headOf(16 * 1024)), /^HTTP\/1\.1 200 /);
	assert.match(await exchange(t, server, headOf(16 * 1024 + 1)), /^HTTP\/1\.1 431 /);
	const client = await dial(t, server);
	client.send(headOf(64 * 1024).slice(0, 9000));
	await new Promise((resolve) => setImmediate(resolve));
	client.send("a".repeat(9000));
	assert.match(await client.rest(), /^HTTP\/1\.1 431 .*head_too_large/s);
});

test("a broken chunk is a 400 for the handler that reads it, and the last that is read of the connection", GUARD, async (t) => {
	const server = await serve(t, echo);
	const answer = await exchange(
		t,
		server,
		`POST / HTTP/1.1\r\n${H}transfer-encoding: chunked\r\n\r\n2\r\nabX\r\n0\r\n\r\nGET / HTTP/1.1\r\n${H}\r\n`,
	);
	assert.match(answer, /^HTTP\/1\.1 400 .*connection: close.*not followed by CRLF/s);
	assert.equal(answer.match(/HTTP\/1\.1 \d/g)?.length, 1);
});

test("a head that drips is refused with 408 ten seconds after its first byte", GUARD, async (t) => {
	const clock = new FakeClock();
	const server = await serve(t, (_req, res) => res.writeHead(200).end("ok"), { clock });
	const drip = await dial(t, server);
	drip.send(`GET /whole HTTP/1.1\r\n${H}\r\nGET /drip HTTP/1.1\r\n`);
	await drip.until(/ok$/);
	clock.advance(9_900);
	drip.send("x: 1\r\n");
	clock.advance(500);
	const answers = await drip.rest();
	assert.match(answers, /ok.*HTTP\/1\.1 408 .*connection: close.*request_timeout/s);
});

test("a body that drips is a 408 for its reader thirty seconds after it was asked for", GUARD, async (t) => {
	const clock = new FakeClock();
	const asked = Promise.withResolvers<void>();
	const server = await serve(
		t,
		(req, res) => {
			const done = echo(req, res);
			asked.resolve();
			return done;
		},
		{ clock },
	);
	const client = await dial(t, server);
	client.send(`POST / HTTP/1.1\r\n${H}content-length: 10\r\n\r\nabc`);
	await asked.promise;
	clock.advance(29_000);
	client.send("d");
	clock.advance(1_500);
	assert.match(await client.rest(), /^HTTP\/1\.1 408 .*connection: close.*request_timeout/s);
});

test("a connection that says nothing is closed without an answer, at first and between requests", GUARD, async (t) => {
	const clock = new FakeClock();
	const server = await serve(t, (_req, res) => res.writeHead(200).end("ok"), { clock });
	const silent = await dial(t, server);
	const kept = await dial(t, server);
	kept.send(`GET / HTTP/1.1\r\n${H}\r\n`);
	await kept.until(/ok$/);
	clock.advance(10_200);
	assert.equal(await silent.rest(), "");
	clock.advance(64_000);
	kept.send(`GET / HTTP/1.1\r\n${H}\r\n`);
	await kept.until(/ok.*ok$/s);
	clock.advance(75_200);
	assert.doesNotMatch(await kept.rest(), /408/);
});

test("a client that pipelines without reading is not served further until it reads", GUARD, async (t) => {
	let handled = 0;
	const answer = "x".repeat(1024 * 1024);
	const stalled = Promise.withResolvers<void>();
	const server = await serve(t, (_req, res) => {
		handled++;
		res.writeHead(200).end(answer);
		if (res.unsentBytes > 0) setImmediate(stalled.resolve);
	});
	const client = await dial(t, server);
	client.socket.pause();
	client.send(`${`GET / HTTP/1.1\r\n${H}\r\n`.repeat(99)}GET / HTTP/1.1\r\n${LAST}\r\n`);
	await stalled.promise;
	const atStall = handled;
	assert.ok(atStall < 50, `${atStall} answers are held for a client that reads none`);
	client.socket.resume();
	assert.equal((await client.rest()).match(/HTTP\/1\.1 200/g)?.length, 100);
});

test("a client that half-closes behind its request gets its answer", GUARD, async (t) => {
	const ended = Promise.withResolvers<void>();
	const server = await serve(t, async (_req, res) => {
		await ended.promise;
		sendJson(res, 200, { late: true });
	});
	const socket = connect({ port: server.address.port, host: server.address.host, allowHalfOpen: true });
	t.after(() => socket.destroy());
	socket.end(`GET / HTTP/1.1\r\n${H}\r\n`, () => ended.resolve());
	let text = "";
	for await (const bytes of socket) text += bytes;
	assert.match(text, /\r\n\r\n\{"late":true\}$/);
});

test("an answer whose client has left is told so and ends quietly", GUARD, async (t) => {
	const opened = Promise.withResolvers<ServerResponse>();
	const server = await serve(t, (_req, res) => {
		res.writeHead(200).write("begun");
		opened.resolve(res);
	});
	const client = await dial(t, server);
	client.send(`GET / HTTP/1.1\r\n${H}\r\n`);
	const res = await opened.promise;
	await client.until(/begun/);
	client.socket.destroy();
	await new Promise<void>((resolve) => res.onClose(resolve));
	assert.equal(res.write("more"), false);
	res.end("last");
	let late = false;
	res.onClose(() => (late = true));
	assert.ok(late && res.ended);
});

test("a handler that breaks the framing that it announced is a fault of ours, never a second answer", GUARD, async (t) => {
	const logged: string[] = [];
	const log = { ...silentLogger, error: (_message: string, fields?: Record<string, unknown>) => void logged.push(String(fields?.error)) };
	const server = await serve(
		t,
		(req, res) => {
			if (req.url === "/short") res.writeHead(200, { "content-length": 5 }).end("abc");
			else if (req.url === "/long") {
				res.writeHead(200, { "content-length": 2 }).write("a");
				res.write("bcd");
			} else if (req.url === "/line") res.writeHead(200, { location: "a\r\nset-cookie: b" }).end();
			else res.writeHead(200, { "transfer-encoding": "gzip" }).end();
		},
		{ log },
	);
	for (const path of ["/short", "/line", "/coding"]) {
		assert.match(await exchange(t, server, `GET ${path} HTTP/1.1\r\n${LAST}\r\n`), /^HTTP\/1\.1 500 /, path);
	}
	const cut = await exchange(t, server, `GET /long HTTP/1.1\r\n${LAST}\r\n`);
	assert.ok(!cut.includes("bcd") && !cut.includes("500"), cut);
	assert.equal(logged.length, 4);
});

test("while it closes, the running answer says that it is the last", GUARD, async (t) => {
	const entered = Promise.withResolvers<ServerResponse>();
	const server = await serve(t, (_req, res) => entered.resolve(res), { drainTimeoutMs: 10_000 });
	const client = await dial(t, server);
	client.send(`GET / HTTP/1.1\r\n${H}\r\n`);
	const res = await entered.promise;
	const closing = server.close();
	sendJson(res, 200, {});
	assert.match(await client.rest(), /connection: close\r\n\r\n\{\}$/);
	await closing;
});

test("header fields are read by lower-case name, joined where they repeat, without the space around them", GUARD, async (t) => {
	const server = await serve(t, (req, res) =>
		sendJson(res, 200, { all: [...req.headers()], many: req.header("x-many"), none: req.header("x-none"), from: req.remoteAddress }),
	);
	const answer = await exchange(t, server, `GET / HTTP/1.1\r\nHOST:localhost\r\nX-Many: \t1 \r\nconnection: close\r\nx-MANY:2\r\nx-empty:\r\n\r\n`);
	assert.deepEqual(JSON.parse(bodyOf(answer)), {
		all: [
			["host", "localhost"],
			["x-many", "1"],
			["connection", "close"],
			["x-many", "2"],
			["x-empty", ""],
		],
		many: "1, 2",
		from: "127.0.0.1",
	});
});

test("the body of a request can be asked for once", GUARD, async (t) => {
	const server = await serve(t, async (req, res) => {
		await req.body(1);
		assert.throws(() => req.body(1), /once/);
		sendJson(res, 200, {});
	});
	assert.match(await exchange(t, server, `GET / HTTP/1.1\r\n${LAST}\r\n`), /^HTTP\/1\.1 200 /);
});
