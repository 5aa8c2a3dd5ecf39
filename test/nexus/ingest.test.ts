/** POST /v1/events over real sockets. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { silentLogger } from "../../src/core/log.ts";
import { BATCH_TYPE, STRUCTURED_TYPE } from "../../src/events/http-binding.ts";
import { Ingest } from "../../src/nexus/ingest.ts";
import { InFlight } from "../../src/nexus/publish/in-flight.ts";
import { Publisher } from "../../src/nexus/publish/publisher.ts";
import { startHttpServer } from "../../src/server/http-server.ts";
import { eventJson, openLog, readAll, serveNexus, temporaryDir } from "./support.ts";

function post(url: string, body: string | Buffer, headers: Record<string, string>): Promise<Response> {
	return fetch(`${url}/v1/events`, { method: "POST", body: typeof body === "string" ? body : new Uint8Array(body), headers });
}

const batch = (url: string, events: readonly string[]): Promise<Response> => post(url, `[${events.join(",")}]`, { "content-type": BATCH_TYPE });

test("structured, batch and binary events are acknowledged once durable, and kept as sent", async (t) => {
	const { nexus, url } = await serveNexus(t, temporaryDir(t));
	const structured = '{ "specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {"n": 1.0} }';
	const first = await post(url, structured, { "content-type": STRUCTURED_TYPE });
	assert.equal(first.status, 200);
	assert.deepEqual(await first.json(), { accepted: 1, duplicates: 0, rejected: [], sequence: 1, durability: "disk" });
	assert.deepEqual(await (await batch(url, [eventJson({ id: "2" }), eventJson({ id: "1" }), eventJson({ id: "3" })])).json(), {
		accepted: 2,
		duplicates: 1,
		rejected: [],
		sequence: 3,
		durability: "disk",
	});
	const binary = await post(url, '{"m":"é"}', {
		"content-type": "application/json",
		"ce-specversion": "1.0",
		"ce-id": "4",
		"ce-source": "/s",
		"ce-type": "t",
		"ce-subject": "%E2%82%AC",
	});
	assert.equal(binary.status, 200);
	const stored = (await readAll(nexus.log)).map(({ json }) => json.toString());
	assert.equal(stored[0], structured);
	assert.deepEqual(JSON.parse(stored[3] ?? ""), {
		specversion: "1.0",
		id: "4",
		source: "/s",
		type: "t",
		subject: "€",
		datacontenttype: "application/json",
		data: { m: "é" },
	});
});

test("bad members of a batch are told one by one; the others are kept", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	const answer = await batch(url, ['{"id":"x"}', eventJson({ id: "1" }), "7", eventJson({ id: "big", data: "x".repeat(70_000) })]);
	assert.equal(answer.status, 200);
	assert.deepEqual(await answer.json(), {
		accepted: 1,
		duplicates: 0,
		rejected: [
			{ index: 0, reason: 'specversion must be "1.0"' },
			{ index: 2, reason: "an event is a JSON object" },
			{ index: 3, reason: "the event is larger than 65536 bytes" },
		],
		sequence: 1,
		durability: "disk",
	});
});

test("a request with nothing valid in it is 400 and names what is wrong", async (t) => {
	const { nexus, url } = await serveNexus(t, temporaryDir(t));
	const answer = await batch(url, ['{"id":"x"}', "7"]);
	assert.equal(answer.status, 400);
	assert.equal(answer.headers.get("content-type"), "application/problem+json");
	const problem = (await answer.json()) as { rejected: unknown[]; reason: string };
	assert.equal(problem.reason, "bad_event");
	assert.equal(problem.rejected.length, 2);
	assert.equal((await post(url, "[]", { "content-type": BATCH_TYPE })).status, 400);
	assert.equal((await post(url, "{", { "content-type": STRUCTURED_TYPE })).status, 400);
	assert.equal((await post(url, "", { "content-type": STRUCTURED_TYPE })).status, 400);
	assert.equal(nexus.log.stats().lastSequence, 0);
});

test("another type of content is 415, a larger event or body 413", async (t) => {
	const { nexus, url } = await serveNexus(t, temporaryDir(t));
	assert.equal((await post(url, eventJson({ id: "1" }), { "content-type": "application/json" })).status, 415);
	assert.equal((await post(url, eventJson({ id: "1" }), { "content-type": "application/cloudevents+avro" })).status, 415);
	assert.equal((await post(url, eventJson({ id: "1" }), { "content-type": STRUCTURED_TYPE, "content-encoding": "gzip" })).status, 415);
	assert.equal((await post(url, eventJson({ id: "1", data: "x".repeat(65_536) }), { "content-type": STRUCTURED_TYPE })).status, 413);
	assert.equal((await post(url, Buffer.alloc(4 * 1024 * 1024 + 1, 0x20), { "content-type": BATCH_TYPE })).status, 413);
	assert.equal(nexus.log.stats().lastSequence, 0);
});

test("a web page, or a name that was rebound to this machine, reaches neither the log nor its events", async (t) => {
	const { nexus, url } = await serveNexus(t, temporaryDir(t));
	const { port } = nexus.address;
	const send = async (fields: string): Promise<string> => {
		const socket = connect(port, "127.0.0.1");
		const body = eventJson({ id: "evil" });
		socket.write(
			`POST /v1/events HTTP/1.1\r\n${fields}content-type: ${STRUCTURED_TYPE}\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
		);
		return (await readToEnd(socket)).slice(0, 12);
	};
	assert.equal(await send("host: evil.example\r\n"), "HTTP/1.1 421");
	assert.equal(await send("host: localhost\r\norigin: http://evil.example\r\n"), "HTTP/1.1 403");
	assert.equal(await send("host: localhost\r\nsec-fetch-site: cross-site\r\n"), "HTTP/1.1 403");
	assert.equal(await send("host: localhost\r\n"), "HTTP/1.1 200");
	assert.equal((await fetch(`${url}/v1/events`, { headers: { origin: "http://evil.example" } })).status, 403);
	assert.equal(nexus.log.stats().lastSequence, 1);
});

/** An ingest of its own with a small bound, told of each request that it begins. */
async function smallIngest(t: TestContext, options: { bytesMax?: number; eventsMax?: number; beforeSync?: () => void } = {}) {
	const { log } = openLog(t, temporaryDir(t), options.beforeSync === undefined ? {} : { beforeSync: options.beforeSync });
	const publisher = new Publisher({
		log,
		check: () => undefined,
		park: () => Promise.resolve({ ok: true, refused: [] }),
		inFlight: new InFlight(options.bytesMax, options.eventsMax),
	});
	const ingest = new Ingest(publisher);
	let begun = (): void => {};
	const server = await startHttpServer({
		listen: { host: "127.0.0.1", port: 0 },
		log: silentLogger,
		handler: (req, res) => {
			const handled = ingest.handle(req, res);
			begun();
			return handled;
		},
	});
	t.after(() => server.close());
	const onBegin = (): Promise<void> => new Promise((resolve) => (begun = resolve));
	return { log, ingest, onBegin, port: server.address.port, url: `http://127.0.0.1:${server.address.port}` };
}

function slowPost(port: number, bytes: number): Socket {
	const socket = connect(port, "127.0.0.1");
	socket.write(
		`POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: ${STRUCTURED_TYPE}\r\ncontent-length: ${bytes}\r\nconnection: close\r\n\r\n`,
	);
	return socket;
}

async function readToEnd(socket: Socket): Promise<string> {
	let text = "";
	for await (const chunk of socket) text += String(chunk);
	return text;
}

test("more in hand than the bound is 429 with retry-after, and there is room again when it is done", async (t) => {
	const { ingest, onBegin, port, url } = await smallIngest(t, { bytesMax: 1000 });
	const body = eventJson({ id: "1", data: "x".repeat(700) });
	const begun = onBegin();
	const slow = slowPost(port, body.length);
	await begun;
	const refused = await post(url, eventJson({ id: "2", data: "x".repeat(700) }), { "content-type": STRUCTURED_TYPE });
	assert.equal(refused.status, 429);
	assert.equal(refused.headers.get("retry-after"), "1");
	slow.write(body);
	assert.match(await readToEnd(slow), /^HTTP\/1\.1 200 /);
	assert.equal((await post(url, eventJson({ id: "2", data: "x".repeat(700) }), { "content-type": STRUCTURED_TYPE })).status, 200);
	assert.deepEqual([ingest.counts.overloaded, ingest.counts.inFlightBytes], [1, 0]);
});

test("who announces much and sends little keeps nobody out; what comes takes its room, or is 429", async (t) => {
	const { ingest, onBegin, port, url } = await smallIngest(t, { bytesMax: 180_000 });
	const slow: Socket[] = [];
	for (let i = 0; i < 2; i++) {
		const begun = onBegin();
		slow.push(slowPost(port, 1_000_000));
		await begun;
	}
	const small = (id: string) => post(url, eventJson({ id }), { "content-type": STRUCTURED_TYPE });
	assert.equal((await small("1")).status, 200);
	const [first, second] = slow as [Socket, Socket];
	first.write("x".repeat(100_000));
	assert.match(await readToEnd(first), /^HTTP\/1\.1 429 [\s\S]*retry-after: 1/i);
	second.destroy();
	await once(second, "close");
	while (ingest.counts.inFlightBytes > 0) await small("2");
	assert.deepEqual([ingest.counts.overloaded, ingest.counts.inFlightBytes], [1, 0]);
});

test("a client that goes away in the middle of its body leaves nothing behind", async (t) => {
	const { log, ingest, onBegin, port, url } = await smallIngest(t, { bytesMax: 1000 });
	const begun = onBegin();
	const slow = slowPost(port, 900);
	slow.write('{"specversion":"1.0"');
	await begun;
	slow.destroy();
	await once(slow, "close");
	// The next request needs the room that the first one held.
	let status = 429;
	while (status === 429) status = (await post(url, eventJson({ id: "1", data: "x".repeat(700) }), { "content-type": STRUCTURED_TYPE })).status;
	assert.equal(status, 200);
	assert.equal(ingest.counts.inFlightBytes, 0);
	assert.equal(log.stats().lastSequence, 1);
});

test("a full disk is 507, a failing one 500, a closing log 503; none of them acknowledges", async (t) => {
	let code = "ENOSPC";
	const beforeSync = (): void => {
		if (code !== "") throw Object.assign(new Error("the disk says no"), { code });
	};
	const { log, url } = await smallIngest(t, { beforeSync });
	const send = (): Promise<Response> => post(url, eventJson({ id: "1" }), { "content-type": STRUCTURED_TYPE });
	assert.equal((await send()).status, 507);
	code = "EIO";
	const failed = await send();
	assert.equal(failed.status, 500);
	assert.match(await failed.text(), /"reason":"log_failed"/);
	code = "";
	assert.deepEqual(await (await send()).json(), { accepted: 1, duplicates: 0, rejected: [], sequence: 1, durability: "disk" });
	await log.close();
	assert.equal((await send()).status, 503);
});

test("an event may be as large as the configuration says, and no larger", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t), { limits: { eventBytesMax: 200_000 } });
	const headers = { "content-type": STRUCTURED_TYPE };
	assert.equal((await post(url, eventJson({ id: "1", data: "x".repeat(190_000) }), headers)).status, 200);
	const refused = await post(url, eventJson({ id: "2", data: "x".repeat(200_000) }), headers);
	assert.equal(refused.status, 413);
	assert.match(await refused.text(), /the event is larger than 200000 bytes/);
});

test("in the last part of the bound only urgent events are taken", async (t) => {
	const { onBegin, port, url, ingest } = await smallIngest(t, { bytesMax: 10_000 });
	const begun = onBegin();
	const slow = slowPost(port, 8_700);
	await begun;
	const send = (id: string, priority: number): Promise<Response> =>
		post(url, JSON.stringify({ ...JSON.parse(eventJson({ id })), priority }), { "content-type": STRUCTURED_TYPE });
	assert.equal((await send("1", 7)).status, 429);
	assert.equal((await send("2", 8)).status, 200);
	slow.destroy();
	await once(slow, "close");
	let status = 429;
	while (status === 429) status = (await send("3", 0)).status;
	assert.equal(status, 200);
	assert.equal(ingest.counts.inFlightBytes, 0);
});
