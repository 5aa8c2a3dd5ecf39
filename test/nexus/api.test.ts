/** Queries, streams, health and documents of the API over real sockets. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { type TestContext, test } from "node:test";
import { type SseMessage, SseReader } from "../../src/client/sse-reader.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { batchOf, numbered, serveNexus, temporaryDir } from "./support.ts";

interface Page {
	events: { sequence: number; receivedAt: string; event: { id: string; type: string } }[];
	next: number | null;
}

async function read(url: string, query: string): Promise<Page> {
	const response = await fetch(`${url}/v1/events?${query}`);
	assert.equal(response.status, 200, query);
	assert.equal(response.headers.get("content-type"), "application/json");
	return (await response.json()) as Page;
}

test("a query filters, pages with next, and says when there is no more", async (t) => {
	const clock = new FakeClock(Date.UTC(2026, 0, 1));
	const { nexus, url } = await serveNexus(t, temporaryDir(t), { clock });
	await nexus.log.append(batchOf(numbered("a", 5, { type: "nexus.mesh.x", source: "/mesh/shop/1" })));
	clock.advance(60_000);
	await nexus.log.append(batchOf(numbered("b", 5, { type: "other", subject: "ü" })));
	const first = await read(url, "limit=4");
	assert.deepEqual(
		first.events.map(({ sequence }) => sequence),
		[1, 2, 3, 4],
	);
	assert.equal(first.next, 4);
	const rest = await read(url, `after=${first.next}`);
	assert.deepEqual([rest.events.length, rest.next], [6, null]);
	const ids = async (query: string): Promise<string[]> => (await read(url, query)).events.map(({ event }) => event.id);
	assert.deepEqual(await ids("type=nexus.*&order=desc&limit=2"), ["a4", "a3"]);
	assert.deepEqual(await ids("source=/mesh/shop/1&limit=1"), ["a0"]);
	assert.deepEqual(await ids("subject=%C3%BC&limit=1"), ["b0"]);
	assert.deepEqual(await ids("since=2026-01-01T00:00:30Z&limit=1"), ["b0"]);
	assert.deepEqual((await ids("until=2026-01-01T00:00:30Z")).length, 5);
	assert.equal((await read(url, "limit=1")).events[0]?.receivedAt, "2026-01-01T00:00:00.000Z");
});

test("a query that is not valid is 400 and names each fault", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	for (const query of [
		"limit=0",
		"limit=1001",
		"limit=x",
		"order=up",
		"since=yesterday",
		"until=2026-99-01T00:00:00Z",
		"after=-1",
		"after=1e3",
		"type=",
		"sinc=1",
	]) {
		const response = await fetch(`${url}/v1/events?${query}`);
		assert.equal(response.status, 400, query);
		assert.equal(response.headers.get("content-type"), "application/problem+json");
		assert.match(await response.text(), new RegExp(query.split("=")[0] ?? ""), query);
	}
	assert.equal((await fetch(`${url}/v1/events/stream?limit=1`)).status, 400);
	assert.equal((await fetch(`${url}/v1/events/stream`, { headers: { "last-event-id": "abc" } })).status, 400);
	assert.equal((await fetch(`${url}/v1/nothing`)).status, 404);
});

/** Reads a stream until `enough` says so, then leaves. */
async function readStream(url: string, query: string, lastId: string, enough: (messages: readonly SseMessage[]) => boolean): Promise<SseMessage[]> {
	const abort = new AbortController();
	const response = await fetch(`${url}/v1/events/stream?${query}`, {
		signal: abort.signal,
		headers: lastId === "" ? {} : { "last-event-id": lastId },
	});
	assert.equal(response.headers.get("content-type"), "text/event-stream");
	assert.ok(response.body);
	const reader = new SseReader(lastId);
	const decoder = new TextDecoder();
	const messages: SseMessage[] = [];
	for await (const chunk of response.body) {
		messages.push(...reader.push(decoder.decode(chunk, { stream: true })));
		if (enough(messages)) break;
	}
	abort.abort();
	return messages;
}

test("a follower that breaks off and resumes gets each event once and in order, while events keep coming", async (t) => {
	const { nexus, url } = await serveNexus(t, temporaryDir(t));
	const total = 3000;
	const produce = async (): Promise<void> => {
		for (let i = 0; i < total / 10; i++)
			await nexus.log.append(batchOf(numbered(`${i}-`, 10, { type: i % 3 === 0 ? "wanted" : "other", data: "x".repeat(200) })));
	};
	const consume = async (query: string, wanted: number): Promise<number[]> => {
		const sequences: number[] = [];
		let lastId = "0";
		for (let round = 0; sequences.length < wanted; round++) {
			const chunk = 1 + ((round * 37) % 200);
			const messages = await readStream(url, query, lastId, (seen) => seen.length >= Math.min(chunk, wanted - sequences.length));
			// Only what was taken counts; the connection may have brought more.
			for (const message of messages.slice(0, chunk)) {
				assert.equal((JSON.parse(message.data) as { sequence: number }).sequence, Number(message.id));
				sequences.push(Number(message.id));
				lastId = message.id;
			}
		}
		return sequences;
	};
	const [, all, wanted] = await Promise.all([produce(), consume("", total), consume("type=want*", total / 3)]);
	assert.deepEqual(
		all,
		Array.from({ length: total }, (_, i) => i + 1),
	);
	assert.deepEqual(
		wanted,
		all.filter((sequence) => Math.floor((sequence - 1) / 10) % 3 === 0),
	);
});

test("a stream begins with what comes next, or where after or since says", async (t) => {
	const { nexus, url } = await serveNexus(t, temporaryDir(t));
	await nexus.log.append(batchOf(numbered("old", 3)));
	const first = async (query: string): Promise<string | undefined> => (await readStream(url, query, "", (seen) => seen.length > 0))[0]?.id;
	assert.equal(await first("after=1"), "2");
	assert.equal(await first("since=2020-01-01T00:00:00Z"), "1");
	const live = fetch(`${url}/v1/events/stream`);
	const { body } = await live;
	assert.ok(body);
	await nexus.log.append(batchOf([{ id: "new" }]));
	let text = "";
	for await (const chunk of body) {
		text += new TextDecoder().decode(chunk);
		if (text.includes("data:")) break;
	}
	assert.match(text, /^id: 3\n\nid: 4\ndata: /);
});

test("a slow follower costs no memory: it is fed as it reads, and misses nothing", async (t) => {
	const { nexus, url } = await serveNexus(t, temporaryDir(t));
	const socket = connect(nexus.address.port, "127.0.0.1");
	t.after(() => socket.destroy());
	socket.write("GET /v1/events/stream?after=0 HTTP/1.1\r\nhost: localhost\r\n\r\n");
	await once(socket, "readable");
	const count = 600;
	// 36 MiB: far more than the kernel's buffers and the stream's own bound take.
	for (let i = 0; i < count; i += 20) await nexus.log.append(batchOf(numbered(`${i}-`, 20, { data: "x".repeat(60_000) })));
	const metrics = await (await fetch(`${url}/metrics`)).text();
	assert.match(metrics, /^nexus_followers 1$/m);
	let text = "";
	let seen = 0;
	for await (const chunk of socket) {
		text += String(chunk);
		for (let at = text.indexOf("\nid: "); at >= 0; at = text.indexOf("\nid: ")) {
			const end = text.indexOf("\n", at + 5);
			if (end < 0) break;
			const id = Number(text.slice(at + 5, end));
			assert.equal(id, seen === 0 && id === 0 ? 0 : seen + 1);
			seen = id;
			text = text.slice(end);
		}
		if (seen === count) break;
	}
	assert.equal(seen, count);
});

test("what retention has removed is told to a follower as a gap", async (t) => {
	const clock = new FakeClock();
	const { nexus, url } = await serveNexus(t, temporaryDir(t), { clock, retention: { bytesMax: 1, ageMsMax: 7_000_000 } });
	await nexus.log.append(batchOf(numbered("old", 3)));
	clock.advance(1_000_001);
	await nexus.log.append(batchOf(numbered("new", 2)));
	clock.advance(60_000);
	assert.equal(nexus.log.stats().firstSequence, 4);
	const messages = await readStream(url, "after=1", "", (seen) => seen.length === 3);
	assert.deepEqual(
		messages.map(({ event, id, data }) => (event === "gap" ? data : id)),
		['{"first":2,"last":3}', "4", "5"],
	);
});

async function expectStatus(url: string, path: string, status: number): Promise<string> {
	const response = await fetch(url + path);
	assert.equal(response.status, status, path);
	return response.text();
}

test("health, metrics and the OpenAPI document answer", async (t: TestContext) => {
	const { nexus, url } = await serveNexus(t, temporaryDir(t));
	await nexus.log.append(batchOf([{ id: "1" }]));
	assert.equal(await expectStatus(url, "/livez", 200), '{"status":"live"}');
	assert.equal(await expectStatus(url, "/readyz?verbose", 200), '{"status":"ready"}');
	assert.match(await expectStatus(url, "/metrics", 200), /^nexus_events_accepted_total 1$/m);
	const head = await fetch(`${url}/v1/events/stream`, { method: "HEAD" });
	assert.deepEqual([head.status, head.headers.get("content-type")], [200, "text/event-stream"]);
	assert.match(await expectStatus(url, "/metrics", 200), /^nexus_followers 0$/m);
	const document = JSON.parse(await expectStatus(url, "/openapi.json", 200)) as {
		openapi: string;
		paths: Record<string, Record<string, { responses: object }>>;
	};
	assert.equal(document.openapi, "3.1.0");
	// Which there are stands in docs/nexus.md, which a test holds against this document.
	assert.ok(Object.keys(document.paths).length > 20);
	assert.deepEqual(Object.keys(document.paths["/v1/events"]?.post?.responses ?? {}), [
		"200",
		"400",
		"401",
		"403",
		"408",
		"413",
		"415",
		"429",
		"500",
		"503",
		"507",
	]);
});

test("closing ends the streams in order and lets go of the directory", async (t) => {
	const dir = temporaryDir(t);
	const { nexus, url } = await serveNexus(t, dir);
	const response = await fetch(`${url}/v1/events/stream`);
	assert.deepEqual(await nexus.close(), []);
	const text = await response.text();
	assert.match(text, /^id: 0\n\n/);
	await serveNexus(t, dir);
});

test("requests that the web's Request cannot express are answered like others", async (t) => {
	const { nexus } = await serveNexus(t, temporaryDir(t));
	const send = async (bytes: string): Promise<string> => {
		const socket = connect(nexus.address.port, "127.0.0.1");
		socket.write(bytes);
		let text = "";
		for await (const chunk of socket) text += String(chunk);
		return text;
	};
	const last = "host: localhost\r\nconnection: close\r\n";
	for (const method of ["trace", "connect", "get", "Delete"])
		assert.match(await send(`${method} /livez HTTP/1.1\r\n${last}\r\n`), /^HTTP\/1\.1 405 /, method);
	assert.match(await send(`TRACE /livez HTTP/1.1\r\n${last}\r\n`), /^HTTP\/1\.1 405 .*\r\nallow: GET, HEAD, POST, PUT, DELETE\r\n/s);
	assert.match(await send(`OPTIONS * HTTP/1.1\r\n${last}\r\n`), /^HTTP\/1\.1 404 /);
	assert.match(await send("GET /livez HTTP/1.0\r\n\r\n"), /^HTTP\/1\.1 200 .*\{"status":"live"\}$/s);
	// The body is not read: it must not be taken for a request.
	const smuggled = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n";
	const answer = await send(`GET /livez HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${smuggled.length}\r\n\r\n${smuggled}`);
	assert.match(answer, /^HTTP\/1\.1 200 .*connection: close\r\n\r\n\{"status":"live"\}$/s);
});
