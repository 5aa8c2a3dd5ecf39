import assert from "node:assert/strict";
import { test } from "node:test";
import { IdSource } from "../../../src/core/ids.ts";
import type { NexusEventData } from "../../../src/events/catalogue.ts";
import { type CloudEvent, validateEvent } from "../../../src/events/cloud-event.ts";
import { TrafficRegistry } from "../../../src/metrics/traffic.ts";
import { EventFeed } from "../../../src/sidecar/telling/event-feed.ts";
import { TrafficRollup } from "../../../src/sidecar/telling/traffic-rollup.ts";
import { FakeClock } from "../../support/fake-clock.ts";

type Routed = NexusEventData["nexus.mesh.traffic.routed"];

function setUp(): { clock: FakeClock; feed: EventFeed; traffic: TrafficRegistry; rollup: TrafficRollup; listen: () => CloudEvent[] } {
	const clock = new FakeClock();
	const feed = new EventFeed({ service: "checkout", instance: "a1", ids: new IdSource(), clock });
	const traffic = new TrafficRegistry();
	const rollup = new TrafficRollup({ traffic, feed, clock });
	const listen = (): CloudEvent[] => {
		const events: CloudEvent[] = [];
		feed.subscribe((event) => events.push(event));
		return events;
	};
	return { clock, feed, traffic, rollup, listen };
}

test("each second tells one event per route, upstream and outcome that saw traffic, with its latencies", () => {
	const { clock, traffic, listen } = setUp();
	const events = listen();
	const pay = traffic.counters("outbound", "pay", "payments");
	traffic.counters("outbound", "", "quiet");
	pay.finish(200, undefined, 3);
	pay.finish(200, undefined, 0.05);
	pay.finish(503, "connect_refused", 7);
	clock.advance(1000);
	assert.deepEqual(
		events.map((e) => [
			e.type,
			e.source,
			e.subject,
			e.priority,
			(e.data as Routed).outcome,
			(e.data as Routed).count,
			(e.data as Routed).latency.sumMs,
		]),
		[
			["nexus.mesh.traffic.routed", "/mesh/checkout/a1", "payments", 1, "2xx", 2, 3.05],
			["nexus.mesh.traffic.routed", "/mesh/checkout/a1", "payments", 1, "connect_refused", 1, 7],
		],
	);
	const data = events[0]?.data as Routed;
	assert.deepEqual([data.windowMs, data.direction, data.route], [1000, "outbound", "pay"]);
	assert.equal(data.latency.counts.length, data.latency.boundsMs.length + 1);
	assert.deepEqual([data.latency.counts[0], data.latency.counts[data.latency.boundsMs.indexOf(5)]], [1, 1]);
	for (const event of events) assert.deepEqual(validateEvent(JSON.parse(JSON.stringify(event))).ok, true);
});

test("a window tells only what is new in it, and an idle one nothing", () => {
	const { clock, traffic, listen } = setUp();
	const events = listen();
	const pay = traffic.counters("outbound", "pay", "payments");
	for (const count of [3, 0, 5]) {
		for (let i = 0; i < count; i++) pay.finish(200, undefined, 2);
		clock.advance(1000);
	}
	assert.deepEqual(
		events.map((e) => [(e.data as Routed).count, (e.data as Routed).latency.sumMs]),
		[
			[3, 6],
			[5, 10],
		],
	);
});

test("while nobody listens nothing is made; the first listener gets it all in one honest window", () => {
	const { clock, traffic, listen } = setUp();
	const pay = traffic.counters("outbound", "pay", "payments");
	for (let second = 0; second < 5; second++) {
		pay.finish(200, undefined, 2);
		clock.advance(1000);
	}
	const events = listen();
	clock.advance(1000);
	assert.deepEqual(
		events.map((e) => [(e.data as Routed).windowMs, (e.data as Routed).count]),
		[[6000, 5]],
	);
});

test("stopping tells the last, shorter window, once", () => {
	const { clock, traffic, rollup, listen } = setUp();
	const events = listen();
	traffic.counters("inbound", "", "application").finish(200, undefined, 2);
	clock.advance(300);
	rollup.stop();
	rollup.stop();
	assert.deepEqual(
		events.map((e) => [(e.data as Routed).windowMs, (e.data as Routed).direction]),
		[[300, "inbound"]],
	);
	assert.equal(clock.pendingTimers, 0);
});

test("who stops listening hears nothing more, and the others still do", () => {
	const { feed } = setUp();
	const heard: string[] = [];
	const stop = feed.subscribe((event) => heard.push(`a ${event.type}`));
	feed.subscribe((event) => heard.push(`b ${event.type}`));
	stop();
	stop();
	feed.emit("nexus.mesh.sidecar.stopped", { uptimeMs: 1, cut: 0 });
	assert.deepEqual(heard, ["b nexus.mesh.sidecar.stopped"]);
});
