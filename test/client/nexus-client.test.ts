/** The client against a real Nexus, and against servers that fail in the ways a Nexus may. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { EventRejected, NexusClient, NexusError, type ParkedEvent, type StoredEvent } from "nexus-mesh/client";
import { silentLogger } from "../../src/core/log.ts";
import type { Nexus } from "../../src/nexus/nexus.ts";
import { type HttpServerOptions, startHttpServer } from "../../src/server/http-server.ts";
import { sendJson, sendProblem } from "../../src/server/problem.ts";
import { idOf, readAll, serveNexus, temporaryDir } from "../nexus/support.ts";

const ACCEPTED = { accepted: 1, duplicates: 0, rejected: [], sequence: 1, durability: "disk" };

async function serve(t: TestContext, handler: HttpServerOptions["handler"]): Promise<string> {
	const server = await startHttpServer({ listen: { host: "127.0.0.1", port: 0 }, log: silentLogger, handler, drainTimeoutMs: 0 });
	t.after(() => server.close());
	return `http://127.0.0.1:${server.address.port}`;
}

async function bodyOf(req: Parameters<HttpServerOptions["handler"]>[0]): Promise<string> {
	const read = await req.body(1024 * 1024);
	assert.ok(read.ok);
	return read.body.toString();
}

test("what an event leaves out is put in, and is the same when it has to be sent again", async (t) => {
	const bodies: string[] = [];
	const url = await serve(t, async (req, res) => {
		bodies.push(await bodyOf(req));
		if (bodies.length === 1) sendProblem(res, { status: 503, title: "Nexus is shutting down." });
		else if (bodies.length === 2) res.destroy();
		else sendJson(res, 200, ACCEPTED);
	});
	const client = new NexusClient({ url, source: "/shop/a", rng: () => 0.001 });
	assert.deepEqual(await client.publish({ type: "shop.order.placed", data: { total: 1 } }), ACCEPTED);
	assert.equal(new Set(bodies).size, 1);
	assert.equal(bodies.length, 3);
	const [event] = JSON.parse(bodies[0] ?? "") as [Record<string, unknown>];
	assert.equal(event.source, "/shop/a");
	assert.match(String(event.id), /^[0-9a-f-]{36}$/);
	assert.ok(Number.isFinite(Date.parse(String(event.time))));
});

test("what is no event throws at once; what Nexus refuses for good is not tried again; patience ends", async (t) => {
	let calls = 0;
	let status = 400;
	const url = await serve(t, (_req, res) => {
		calls++;
		sendProblem(res, { status, title: "No.", reason: "bad_event" });
	});
	const client = new NexusClient({ url, source: "/shop/a", patienceMs: 0 });
	assert.throws(() => client.publish({ type: "" }), /not a CloudEvent: type/);
	await assert.rejects(client.publish({ type: "t" }), (error: unknown) => error instanceof NexusError && error.status === 400);
	assert.equal(calls, 1);
	status = 429;
	await assert.rejects(client.publish({ type: "t" }), (error: unknown) => error instanceof NexusError && error.isTransient);
	assert.throws(() => new NexusClient({ url: "ftp://x" }), /is not an http URL/);
	assert.throws(() => new NexusClient({ url: "http://nexus.internal", token: "nxt_x" }), /plain text/);
	const gone = new NexusClient({ url: "http://127.0.0.1:1", source: "/s", patienceMs: 0 });
	await assert.rejects(gone.publish({ type: "t" }), (error: unknown) => error instanceof NexusError && error.status === 0);
});

test("a publisher sends batches, tells each event its fate, and closes when all are answered", async (t) => {
	const sizes: number[] = [];
	const url = await serve(t, async (req, res) => {
		const events = JSON.parse(await bodyOf(req)) as { subject?: string }[];
		sizes.push(events.length);
		const rejected = events.flatMap(({ subject }, index) => (subject === "bad" ? [{ index, reason: "not as it should be" }] : []));
		sendJson(res, 200, { ...ACCEPTED, accepted: events.length - rejected.length, rejected });
	});
	const publisher = new NexusClient({ url, source: "/s" }).publisher({ batchEvents: 10, inFlight: 1, pendingMax: 25 });
	const sent = Array.from({ length: 25 }, (_, i) => publisher.send({ type: "t", ...(i === 3 ? { subject: "bad" } : {}) }));
	await assert.rejects(publisher.send({ type: "t" }), /25 events wait for Nexus already/);
	const closing = publisher.close();
	const fates = await Promise.allSettled(sent);
	await closing;
	assert.deepEqual(sizes, [10, 10, 5]);
	assert.deepEqual(
		fates.flatMap((fate, i) => (fate.status === "rejected" ? [[i, fate.reason instanceof EventRejected]] : [])),
		[[3, true]],
	);
	await assert.rejects(publisher.send({ type: "t" }), /closed/);
});

test("a socket survives the restart of Nexus: what was not acknowledged is sent again, and taken once", async (t) => {
	const dir = temporaryDir(t);
	const { url, nexus: before } = await serveNexus(t, dir);
	const listen = before.address;
	const client = new NexusClient({ url, source: "/s", rng: () => 0.01 });
	const socket = await client.openSocket({ unackedMax: 1000 });
	const sent: Promise<unknown>[] = [];
	for (let i = 0; i < 200; i++) sent.push(socket.send({ type: "t", id: `a${i}` }));
	await sent[0];
	await before.close();
	for (let i = 0; i < 100; i++) sent.push(socket.send({ type: "t", id: `b${i}` }));
	const { nexus } = await serveAt(t, dir, listen);
	await Promise.all(sent);
	await socket.close();
	const ids = (await readAll(nexus.log)).map(idOf);
	assert.equal(ids.length, 300);
	assert.equal(new Set(ids).size, 300);
});

test("events are read page by page, and followed over a restart without gap or double", async (t) => {
	const dir = temporaryDir(t);
	const first = await serveNexus(t, dir);
	const client = new NexusClient({ url: first.url, source: "/s", rng: () => 0.01 });
	for (let from = 0; from < 1500; from += 500) {
		await client.publish(Array.from({ length: 500 }, (_, i) => ({ type: from === 0 ? "t.a" : "t.b", id: String(from + i) })));
	}
	const read: StoredEvent[] = [];
	for await (const event of client.query({ type: "t.b", limit: 1200 })) read.push(event);
	assert.deepEqual([read.length, read[0]?.sequence], [1000, 501]);
	const last: StoredEvent[] = [];
	for await (const event of client.query({ order: "desc", limit: 3 })) last.push(event);
	assert.deepEqual(
		last.map(({ sequence }) => sequence),
		[1500, 1499, 1498],
	);

	const stop = new AbortController();
	const breaks: string[] = [];
	const seen: number[] = [];
	let nexus: Nexus | undefined;
	const following = client.follow({ after: 1490 }, { signal: stop.signal, onBreak: (_cause, _ms, after) => void breaks.push(after) });
	await assert.rejects(async () => {
		for await (const { sequence } of following) {
			seen.push(sequence);
			if (sequence === 1500) {
				await first.nexus.close();
				nexus = (await serveAt(t, dir, first.nexus.address)).nexus;
				await client.publish([{ type: "t" }, { type: "t" }]);
			}
			if (sequence === 1502) stop.abort(new Error("enough"));
		}
	}, /enough/);
	assert.deepEqual(seen, [1491, 1492, 1493, 1494, 1495, 1496, 1497, 1498, 1499, 1500, 1501, 1502]);
	assert.equal(breaks[0], "1500");
	assert.equal(nexus?.log.stats().lastSequence, 1502);
});

test("schemas are kept, judged and forgotten; parked events are seen and published", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	const client = new NexusClient({ url, source: "/s" });
	const { schemas, parkedEvents } = client;
	const kept = await schemas.put("t", { schema: { type: "object", required: ["n"] }, onViolation: "park" });
	assert.equal(kept.version, 1);
	const receipt = await (async () => {
		const publisher = client.publisher();
		const sending = publisher.send({ type: "t", data: {} });
		await publisher.close();
		return sending;
	})();
	assert.match(receipt.parked ?? "", /required property 'n'/);
	const parked: ParkedEvent[] = [];
	for await (const event of parkedEvents.list({ type: "t" })) parked.push(event);
	assert.equal(parked.length, 1);
	assert.deepEqual(await parkedEvents.get(parked[0]?.key ?? ""), parked[0]);
	assert.equal((await parkedEvents.replay()).stillFailed, 1);
	await schemas.delete("t");
	assert.deepEqual(await parkedEvents.replay(), { recovered: 1, stillFailed: 0, failures: [] });
	await assert.rejects(schemas.get("t"), (error: unknown) => error instanceof NexusError && error.status === 404);
	assert.ok((await schemas.list()).every(({ isBuiltIn }) => isBuiltIn));
});

/** The same Nexus again: the clients know its address. */
async function serveAt(t: TestContext, dir: string, listen: { readonly host: string; readonly port: number }) {
	return serveNexus(t, dir, { listen });
}
