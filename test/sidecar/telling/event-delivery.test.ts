import assert from "node:assert/strict";
import { createServer as createTcpServer } from "node:net";
import { type TestContext, test } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import { EventDelivery, type EventDeliveryOptions } from "../../../src/sidecar/telling/event-delivery.ts";
import { EventSpool } from "../../../src/sidecar/telling/event-spool.ts";
import { tellingSource } from "../../../src/sidecar/telling/metrics.ts";
import { Exposition } from "../../../src/telemetry/exposition.ts";
import { parseExposition } from "../../support/exposition-parser.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { event, ids, MemoryLog, reply, startNexus, until } from "./support.ts";

// A guard against a hang, never a measure.
const GUARD = { timeout: 60_000 };

interface Rig {
	clock: FakeClock;
	spool: EventSpool;
	delivery: EventDelivery;
	log: MemoryLog;
	/** Turns the loop until `done`, moving the clock by `stepMs` each time. */
	run(done: () => boolean, stepMs?: number): Promise<void>;
}

function rig(t: TestContext, url: string, options: Partial<EventDeliveryOptions> & { spool?: EventSpool } = {}): Rig {
	const clock = new FakeClock();
	const spool = options.spool ?? new EventSpool();
	const log = new MemoryLog();
	// Fake hours may pass while a real answer is on its way: only the tests of the timeout have one.
	const delivery = new EventDelivery({ url, clock, rng: seededRng(1), log, breakerOpenMs: 1, timeoutMs: 1e9, ...options, spool });
	t.after(async () => {
		const closed = delivery.close(0);
		clock.advance(0);
		await closed;
	});
	return { clock, spool, delivery, log, run: (done, stepMs = 10) => until(done, () => clock.advance(stepMs)) };
}

function names(from: number, to: number): string[] {
	return Array.from({ length: to - from }, (_, i) => `e${from + i}`);
}

test("what happens within the linger travels in one batch", GUARD, async (t) => {
	const nexus = await startNexus(t);
	const { clock, delivery, run } = rig(t, nexus.url);
	for (let n = 0; n < 10; n++) delivery.offer(event(n));
	clock.advance(49);
	assert.equal(clock.pendingTimers, 1);
	await run(() => delivery.sent === 10);
	assert.deepEqual(nexus.requests.map(ids), [names(0, 10)]);
});

test("many events go in batches of 64, none lost, none twice, in order", GUARD, async (t) => {
	const nexus = await startNexus(t);
	const { delivery, run } = rig(t, nexus.url);
	for (let n = 0; n < 1000; n++) delivery.offer(event(n, n % 8));
	await run(() => delivery.sent === 1000);
	assert.deepEqual(ids(nexus.kept), names(0, 1000));
	assert.ok(nexus.requests.every((request) => request.length <= 64));
	assert.ok(nexus.requests.length <= 17);
});

test("a batch stays below 512 KiB", GUARD, async (t) => {
	const nexus = await startNexus(t);
	const { delivery, run } = rig(t, nexus.url);
	for (let n = 0; n < 40; n++) delivery.offer(event(n, 5, 60_000));
	await run(() => delivery.sent === 40);
	assert.ok(nexus.requests.every((request) => JSON.stringify(request).length <= 512 * 1024));
	assert.equal(Math.max(...nexus.requests.map((request) => request.length)), 8);
});

test("a Nexus that is killed and comes back gets everything, in order, and the outage is told once", GUARD, async (t) => {
	const nexus = await startNexus(t);
	const { delivery, log, run } = rig(t, nexus.url);
	for (let n = 0; n < 100; n++) delivery.offer(event(n));
	await run(() => delivery.sent === 100);
	await nexus.stop();
	for (let n = 100; n < 400; n++) delivery.offer(event(n));
	await run(() => delivery.deliveries.failed >= 8, 1000);
	assert.equal(delivery.sent, 100);
	await nexus.start();
	await run(() => delivery.sent === 400, 1000);
	assert.deepEqual(ids(nexus.kept), names(0, 400));
	assert.deepEqual(
		log.lines.map((line) => line.message),
		["events cannot be delivered; they are kept while there is room", "events are delivered again"],
	);
});

test("while Nexus is dead the spool stays within its bounds, the most important survive, and every loss is counted", GUARD, async (t) => {
	const nexus = await startNexus(t);
	await nexus.stop();
	const spool = new EventSpool({ eventsMax: 1000 });
	const { delivery, run } = rig(t, nexus.url, { spool });
	delivery.offer(event(0, 1));
	await run(() => delivery.deliveries.failed >= 1);
	for (let n = 1; n < 100_000; n++) {
		delivery.offer(event(n, n % 1000 === 0 ? 9 : 1));
		assert.ok(spool.size <= 1000 && delivery.pendingEvents <= 64);
	}
	await nexus.start();
	const kept = 100_000 - spool.losses.total("overflow");
	assert.equal(kept, 1001);
	await run(() => delivery.sent === kept, 1000);
	assert.equal(nexus.kept.filter((e) => e.priority === 9).length, 99);
	assert.deepEqual(ids(nexus.kept).slice(-3), names(99_997, 100_000));
	assert.equal(spool.losses.overflow[1], spool.losses.total("overflow"));
});

test("batches that fail now and then change nothing about the order within urgent and other events", GUARD, async (t) => {
	const nexus = await startNexus(t);
	const { answer } = nexus;
	let posts = 0;
	nexus.answer = (res, events) => {
		const verdict = [200, 500, 429, 413][posts++ % 4] ?? 200;
		if (verdict === 200 || (verdict === 413 && events.length === 1)) answer(res, events);
		else reply(res, {}, verdict, verdict === 429 ? { "retry-after": "1" } : {});
	};
	const { delivery, run } = rig(t, nexus.url);
	let offered = 0;
	await run(() => {
		if (offered < 600) delivery.offer(event(offered, [1, 9, 5][offered++ % 3]));
		return delivery.sent === 600;
	}, 100);
	const urgent = names(0, 600).filter((_, n) => n % 3 === 1);
	assert.deepEqual(ids(nexus.kept.filter((e) => e.priority === 9)), urgent, "urgent ones in order");
	assert.deepEqual(
		ids(nexus.kept.filter((e) => e.priority !== 9)),
		names(0, 600).filter((id) => !urgent.includes(id)),
		"all others in order",
	);
});

test("failures of the mesh pass a backlog of rollups, even the batch that Nexus did not take", GUARD, async (t) => {
	const nexus = await startNexus(t);
	await nexus.stop();
	const { delivery, run } = rig(t, nexus.url);
	for (let n = 0; n < 200; n++) delivery.offer(event(n, 1));
	await run(() => delivery.deliveries.failed >= 1, 1000);
	assert.equal(delivery.pendingEvents, 64);
	for (let n = 200; n < 210; n++) delivery.offer(event(n, 8));
	await nexus.start();
	await run(() => delivery.sent === 210, 1000);
	assert.deepEqual(ids(nexus.kept), [...names(200, 210), ...names(0, 200)]);
});

test("after five failures the breaker leaves a broken Nexus alone", GUARD, async (t) => {
	const nexus = await startNexus(t);
	nexus.answer = (res) => reply(res, {}, 500);
	const { delivery, run } = rig(t, nexus.url, { breakerOpenMs: 3_600_000 });
	delivery.offer(event(0));
	await run(() => delivery.deliveries.skipped === 1, 10_000);
	assert.equal(delivery.breakerOpen, true);
	let turns = 0;
	await run(() => ++turns === 200, 10_000);
	assert.deepEqual([nexus.requests.length, delivery.deliveries.failed, delivery.deliveries.skipped], [5, 5, 1]);
});

test("an open breaker lets probes through in time, and closes with the first that succeeds", GUARD, async (t) => {
	const nexus = await startNexus(t);
	const { answer } = nexus;
	nexus.answer = (res) => reply(res, {}, 500);
	const { delivery, run } = rig(t, nexus.url);
	delivery.offer(event(0));
	await run(() => nexus.requests.length === 12, 10_000);
	assert.equal(delivery.breakerOpen, true);
	nexus.answer = answer;
	await run(() => delivery.sent === 1, 10_000);
	assert.equal(delivery.breakerOpen, false);
});

test("failures wait longer and longer, at random, up to ten seconds", GUARD, async (t) => {
	const nexus = await startNexus(t);
	const arrivals: number[] = [];
	// An rng near 1 shows the ceilings.
	const { clock, delivery, run } = rig(t, nexus.url, { rng: () => 0.999 });
	nexus.answer = (res) => {
		arrivals.push(clock.monotonicMs());
		reply(res, {}, 503);
	};
	delivery.offer(event(0));
	await run(() => arrivals.length === 5, 5);
	const waits = arrivals.slice(1).map((at, i) => at - (arrivals[i] ?? 0));
	[99, 199, 399, 799].forEach((least, i) => {
		assert.ok((waits[i] ?? 0) >= least, `wait ${i} was ${waits[i]}`);
	});
});

test("a Nexus that does not answer is given up after the timeout and asked again", GUARD, async (t) => {
	const nexus = await startNexus(t);
	let stuck = 0;
	const { answer } = nexus;
	nexus.answer = () => void stuck++;
	const { clock, delivery, log, run } = rig(t, nexus.url, { timeoutMs: 5000 });
	delivery.offer(event(0));
	await run(() => stuck === 1);
	clock.advance(4000);
	assert.equal(delivery.deliveries.failed, 0);
	nexus.answer = answer;
	await run(() => delivery.sent === 1, 5);
	assert.equal(delivery.deliveries.failed, 1);
	assert.match(String(log.lines[0]?.fields.error), /no answer within 5000 ms/);
});

test("an overloaded Nexus is left alone for as long as it asks, at most a minute", GUARD, async (t) => {
	const nexus = await startNexus(t);
	const { answer } = nexus;
	const { clock, delivery, run } = rig(t, nexus.url);
	const asks: [string, number][] = [
		["7", 7000],
		[new Date(clock.wallMs() + 3_600_000).toUTCString(), 60_000],
	];
	for (const [retryAfter, atLeastMs] of asks) {
		let refusedAt = 0;
		nexus.answer = (res) => {
			refusedAt = clock.monotonicMs();
			nexus.answer = answer;
			reply(res, {}, 429, { "retry-after": retryAfter });
		};
		const sent = delivery.sent;
		delivery.offer(event(sent));
		await run(() => delivery.sent === sent + 1, 50);
		const waited = clock.monotonicMs() - refusedAt;
		assert.ok(waited >= atLeastMs && waited < atLeastMs + 5000, `${retryAfter}: ${waited}`);
	}
	assert.equal(delivery.deliveries.busy, 2);
	assert.equal(delivery.breakerOpen, false);
});

test("a batch that is too large is split until it fits; a single event that never fits is dropped", GUARD, async (t) => {
	const nexus = await startNexus(t);
	const { answer } = nexus;
	nexus.answer = (res, events) => (events.length > 5 || events.some((e) => e.id === "e20") ? reply(res, {}, 413) : answer(res, events));
	const { delivery, run } = rig(t, nexus.url);
	for (let n = 0; n < 64; n++) delivery.offer(event(n));
	await run(() => delivery.sent === 63);
	assert.deepEqual(ids(nexus.kept), [...names(0, 20), ...names(21, 64)]);
	assert.equal(delivery.dropped.tooLarge, 1);
});

test("members that Nexus rejects are counted, the others are not sent again", GUARD, async (t) => {
	const nexus = await startNexus(t);
	nexus.answer = (res, events) =>
		reply(res, { accepted: events.length - 1, duplicates: 0, rejected: [{ index: 3, reason: "type is missing" }], sequence: 1 });
	const { delivery, log, run } = rig(t, nexus.url);
	for (let n = 0; n < 10; n++) delivery.offer(event(n));
	await run(() => delivery.sent === 9);
	assert.equal(delivery.dropped.rejected, 1);
	assert.equal(nexus.requests.length, 1);
	assert.equal(log.lines[0]?.fields.reason, "type is missing");
});

test("a refusal drops the batch and is told once, however often it comes", GUARD, async (t) => {
	const nexus = await startNexus(t);
	nexus.answer = (res) => reply(res, {}, 422);
	const { delivery, log, run } = rig(t, nexus.url);
	for (let n = 0; n < 200; n++) delivery.offer(event(n));
	await run(() => delivery.dropped.refused === 200);
	assert.deepEqual([delivery.sent, delivery.breakerOpen, log.lines.length], [0, false, 1]);
	assert.deepEqual(log.lines[0]?.fields.status, 422);
});

test("who is not let in keeps its events until it is", GUARD, async (t) => {
	const nexus = await startNexus(t);
	const { answer } = nexus;
	let refused = 0;
	nexus.answer = (res, batch) => {
		const status = [401, 403, 404][refused++];
		if (status === undefined) answer(res, batch);
		else reply(res, {}, status);
	};
	const { delivery, run } = rig(t, nexus.url);
	for (let n = 0; n < 10; n++) delivery.offer(event(n));
	await run(() => delivery.sent === 10);
	assert.deepEqual(ids(nexus.kept), names(0, 10));
	assert.equal(delivery.dropped.refused, 0);
});

test("an answer that is not that of a Nexus acknowledges nothing", GUARD, async (t) => {
	const nexus = await startNexus(t);
	const { answer } = nexus;
	const strange = ["<html>It works!</html>", "", "null", "[]", '{"accepted":"all"}', `{"accepted":1,"rejected":[],"x":"${"x".repeat(300_000)}"}`];
	nexus.answer = (res) => {
		const body = strange.shift();
		if (strange.length === 0) nexus.answer = answer;
		res.writeHead(200).end(body);
	};
	const { delivery, run } = rig(t, nexus.url);
	delivery.offer(event(0));
	await run(() => delivery.sent === 1, 1000);
	assert.equal(delivery.deliveries.failed, 6);
});

test("closing delivers what is left, at once and without the linger", GUARD, async (t) => {
	const nexus = await startNexus(t);
	const { delivery } = rig(t, nexus.url);
	for (let n = 0; n < 10; n++) delivery.offer(event(n));
	await delivery.close(5000);
	assert.deepEqual(ids(nexus.kept), names(0, 10));
	assert.equal(delivery.dropped.undelivered, 0);
	delivery.offer(event(10));
	assert.equal(nexus.requests.length, 1);
});

test("closing wakes a waiting delivery and tries a Nexus that is back", GUARD, async (t) => {
	const nexus = await startNexus(t);
	await nexus.stop();
	const { delivery, run } = rig(t, nexus.url, { breakerOpenMs: 3_600_000 });
	for (let n = 0; n < 100; n++) delivery.offer(event(n));
	await run(() => delivery.deliveries.skipped >= 1, 10_000);
	await nexus.start();
	await delivery.close(5000);
	assert.deepEqual(ids(nexus.kept), names(0, 100));
});

test("closing with a dead Nexus ends after its time and counts what was lost", GUARD, async (t) => {
	const silent = createTcpServer(() => {}); // accepts and says nothing
	await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
	t.after(() => silent.close());
	const address = silent.address();
	const port = typeof address === "object" && address !== null ? address.port : 0;
	const { delivery, clock, run } = rig(t, `http://127.0.0.1:${port}`);
	for (let n = 0; n < 100; n++) delivery.offer(event(n));
	let ended = false;
	const before = clock.monotonicMs();
	const closed = delivery.close(2000).then(() => {
		ended = true;
	});
	await run(() => ended, 1);
	await closed;
	assert.ok(clock.monotonicMs() - before >= 2000);
	assert.equal(delivery.dropped.undelivered, 100);
});

test("a new address gets everything that the old one has not acknowledged, at once", GUARD, async (t) => {
	const dead = await startNexus(t);
	await dead.stop();
	const nexus = await startNexus(t);
	const { delivery, run } = rig(t, dead.url, { breakerOpenMs: 3_600_000 });
	for (let n = 0; n < 100; n++) delivery.offer(event(n));
	await run(() => delivery.deliveries.skipped === 1, 10_000);
	delivery.setUrl(nexus.url);
	await run(() => delivery.sent === 100, 0);
	assert.deepEqual(ids(nexus.kept), names(0, 100));
	assert.throws(() => delivery.setUrl("nexus"), /Invalid URL/);
});

test("a path in the URL is kept as a prefix, and a URL that is none is refused at once", GUARD, async (t) => {
	const nexus = await startNexus(t);
	const { delivery, log, run } = rig(t, `${nexus.url}/mesh/`);
	delivery.offer(event(0));
	await run(() => log.lines.length > 0); // this server knows /v1/events alone
	assert.match(JSON.stringify(log.lines[0]?.fields), /status 404/);
	delivery.setUrl(nexus.url);
	await run(() => delivery.sent === 1);
	const options = { spool: new EventSpool(), clock: new FakeClock(), rng: seededRng(1), log };
	assert.throws(() => new EventDelivery({ ...options, url: "//" }), /Invalid URL/);
	assert.throws(() => new EventDelivery({ ...options, url: "nexus:7400" }), /not an http: or https: URL: nexus:7400/);
});

test("metrics show queued, sent and lost events, and the breaker", GUARD, async (t) => {
	const nexus = await startNexus(t);
	const { delivery, spool, log, run } = rig(t, nexus.url);
	const exposition = new Exposition([tellingSource(() => ({ spool, delivery, accessLog: undefined, log: { dropped: 0 } }))]);
	const read = async (name: string): Promise<number[]> => (parseExposition(await exposition.text()).get(name)?.samples ?? []).map((s) => s.value);
	for (let n = 0; n < 10; n++) delivery.offer(event(n));
	assert.deepEqual(await read("nexus_events_queued"), [10]);
	assert.ok(((await read("nexus_events_queued_bytes"))[0] ?? 0) > 500);
	await run(() => delivery.sent === 10);
	assert.deepEqual(await read("nexus_events_queued"), [0]);
	assert.deepEqual(await read("nexus_events_sent_total"), [10]);
	assert.deepEqual(await read("nexus_event_breaker_open"), [0]);
	assert.deepEqual(await read("nexus_events_dropped_total"), [0, 0, 0, 0, 0, 0]);
	assert.equal(log.lines.length, 0);
});
