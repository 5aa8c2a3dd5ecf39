import assert from "node:assert/strict";
import { test } from "node:test";
import type { MetricName } from "../../src/metrics/catalogue.ts";
import type { FaultAction, FaultPolicy } from "../../src/policy/resilience-policy.ts";
import type { Snapshot, UpstreamPolicy } from "../../src/policy/snapshot.ts";
import { FaultBook, LEASES_MAX } from "../../src/sidecar/faults.ts";
import type { EventFeed } from "../../src/sidecar/telling/event-feed.ts";
import { FakeClock } from "../support/fake-clock.ts";

const ABORT: FaultAction = { kind: "abort", status: 503 };
const REQUEST = { method: "GET", host: "payments", target: "/", header: () => undefined };
const A = "10.0.0.1:80";
const B = "10.0.0.2:80";

function faultOf(more: Partial<FaultPolicy> = {}): FaultPolicy {
	return {
		place: undefined,
		name: "f1",
		upstream: "payments",
		action: ABORT,
		percent: 100,
		match: undefined,
		endpoints: [],
		endpointsMax: undefined,
		exempt: false,
		expiresAtMs: undefined,
		...more,
	};
}

/** The book looks at nothing else of a snapshot. */
function snapshotOf(upstreams: Record<string, readonly FaultPolicy[]>): Snapshot {
	const entries = Object.entries(upstreams).map(([name, faults]) => [name, { name, faults } as unknown as UpstreamPolicy] as const);
	return { upstreams: new Map(entries) } as unknown as Snapshot;
}

function rig(upstreams: Record<string, readonly FaultPolicy[]> = { payments: [], search: [] }) {
	const clock = new FakeClock();
	const events: { type: string; data: unknown; subject: string | undefined }[] = [];
	const emit: EventFeed["emit"] = (type, data, subject) => void events.push({ type, data, subject });
	const book = new FaultBook({ clock, rng: () => 0, feed: { emit } });
	book.applyPolicy(snapshotOf(upstreams));
	const lease = (more: Partial<FaultPolicy> = {}, forMs = 60_000): FaultPolicy => faultOf({ expiresAtMs: clock.wallMs() + forMs, ...more });
	const changes = (): string[] => {
		const told = events.filter(({ type }) => type === "nexus.chaos.inject.failure").map(({ data }) => data as { fault: string; change: string });
		events.length = 0;
		return told.map(({ fault, change }) => `${fault} ${change}`);
	};
	const metric = (name: MetricName): unknown[] => {
		const values: unknown[] = [];
		book.collect((emitted, labels, value) => {
			if (emitted === name) values.push({ ...labels, value });
		});
		return values;
	};
	return { clock, events, book, lease, changes, metric };
}

test("a lease acts at once on its upstream alone, is listed, and is told", () => {
	const { book, lease, events, metric } = rig();
	const payments = book.injector("payments");
	assert.equal(payments.active, false);
	const result = book.put(lease({ percent: 30, endpointsMax: 2 }));
	assert.equal(result.kind, "added");
	assert.deepEqual([payments.active, book.injector("search").active, book.injector("payments") === payments], [true, false, true]);
	assert.deepEqual(book.list(), [
		{
			name: "f1",
			upstream: "payments",
			source: "lease",
			place: null,
			action: ABORT,
			percent: 30,
			match: null,
			endpoints: [],
			maxAffected: 2,
			exempt: false,
			expiresAt: "2026-01-01T00:01:00.000Z",
			endsInMs: 60_000,
			injected: 0,
		},
	]);
	assert.deepEqual(events, [
		{
			type: "nexus.chaos.inject.failure",
			data: { fault: "f1", upstream: "payments", kind: "abort", percent: 30, change: "added", expiresAt: "2026-01-01T00:01:00.000Z" },
			subject: "payments",
		},
	]);
	assert.deepEqual(metric("nexus_faults_active"), [{ value: 1 }]);
});

test("a lease ends by itself, to the millisecond, whatever the wall clock does", () => {
	for (const jumpMs of [-86_400_000, 0, 86_400_000]) {
		const { book, lease, changes, clock } = rig();
		book.put(lease());
		changes();
		clock.jumpWall(jumpMs);
		clock.advance(59_999);
		assert.deepEqual([book.injector("payments").active, book.list()[0]?.endsInMs, changes()], [true, 1, []]);
		clock.advance(1);
		assert.deepEqual([book.injector("payments").active, book.list(), changes()], [false, [], ["f1 expired"]]);
		assert.equal(clock.pendingTimers, 0);
	}
});

test("a lease of the same name replaces the former one, also on another upstream, and has its own end", () => {
	const { book, lease, changes, clock } = rig();
	book.put(lease());
	clock.advance(50_000);
	assert.equal(book.put(lease({ upstream: "search" })).kind, "replaced");
	assert.deepEqual([book.injector("payments").active, book.injector("search").active], [false, true]);
	clock.advance(59_999);
	assert.equal(book.injector("search").active, true);
	clock.advance(1);
	assert.equal(book.injector("search").active, false);
	assert.deepEqual(changes(), ["f1 added", "f1 replaced", "f1 expired"]);
});

test("a lease is taken away once", () => {
	const { book, lease, changes, clock } = rig();
	book.put(lease());
	assert.deepEqual(book.remove("f1"), { kind: "removed" });
	assert.deepEqual(book.remove("f1"), { kind: "unknown" });
	assert.deepEqual([book.injector("payments").active, changes(), clock.pendingTimers], [false, ["f1 added", "f1 removed"], 0]);
});

test("a lease without an upstream, or with the name of a fault of the policy, is refused and changes nothing", () => {
	const place = { file: "checkout.yaml", line: 7, column: 5 };
	const { book, lease, changes } = rig({ payments: [faultOf({ place })], search: [] });
	changes();
	assert.deepEqual(book.put(lease({ upstream: "paiments" })), { kind: "no_upstream", known: ["payments", "search"] });
	assert.deepEqual(book.put(lease()), { kind: "in_policy", place: "checkout.yaml:7:5" });
	assert.deepEqual(book.remove("f1"), { kind: "in_policy", place: "checkout.yaml:7:5" });
	assert.deepEqual([book.list().length, changes()], [1, []]);
});

test("a lease whose end passes before it is in force acts on nothing and ends at once", () => {
	const { book, lease, changes, clock } = rig();
	assert.equal(book.put(lease({}, -5)).kind, "added");
	assert.equal(book.injector("payments").decide(REQUEST, A), undefined);
	clock.advance(0);
	assert.deepEqual([book.list(), changes(), clock.pendingTimers], [[], ["f1 added", "f1 expired"], 0]);
});

test("a lease without an end is a mistake of the program", () => {
	const { book } = rig();
	assert.throws(() => book.put(faultOf()), /has no end/);
});

test("leases are bounded in number; replacing one is still possible, and there is room again when one ends", () => {
	const { book, lease } = rig();
	for (let i = 0; i < LEASES_MAX; i++) assert.equal(book.put(lease({ name: `f${i}` })).kind, "added");
	assert.deepEqual(book.put(lease({ name: "more" })), { kind: "too_many", max: LEASES_MAX });
	assert.equal(book.put(lease({ name: "f0" })).kind, "replaced");
	book.remove("f9");
	assert.equal(book.put(lease({ name: "more" })).kind, "added");
});

test("faults of the policy act with it, and are told when they come, change and go", () => {
	const { book, changes } = rig({ payments: [faultOf()], search: [] });
	assert.deepEqual([book.injector("payments").active, book.list()[0]?.source, changes()], [true, "policy", ["f1 added"]]);
	book.applyPolicy(snapshotOf({ payments: [faultOf({ place: { file: "a.yaml", line: 3, column: 1 } })] }));
	assert.deepEqual([changes(), book.list()[0]?.place], [[], "a.yaml:3:1"]);
	book.applyPolicy(snapshotOf({ payments: [faultOf({ percent: 5 })] }));
	assert.deepEqual(changes(), ["f1 replaced"]);
	book.applyPolicy(snapshotOf({ payments: [] }));
	assert.deepEqual([book.injector("payments").active, changes(), book.list()], [false, ["f1 removed"], []]);
});

test("one key of the policy with several kinds is several faults of one name", () => {
	const { book, changes } = rig({ payments: [faultOf(), faultOf({ action: { kind: "throttle", bytesPerSecond: 10 } })] });
	assert.deepEqual(changes(), ["f1 added", "f1 added"]);
	book.applyPolicy(snapshotOf({ payments: [faultOf()] }));
	assert.deepEqual([changes(), book.list().map(({ action }) => action.kind)], [["f1 removed"], ["abort"]]);
});

test("a fault of the policy that has expired stays over, also through a reload that moves its line and a wall clock set back", () => {
	const expiresAtMs = Date.UTC(2026, 0, 1) + 40 * 86_400_000;
	const { book, clock, changes, metric } = rig({ payments: [faultOf({ expiresAtMs })] });
	changes();
	clock.advance(40 * 86_400_000 - 1);
	assert.equal(book.injector("payments").active, true);
	clock.advance(1);
	assert.deepEqual(
		[book.injector("payments").active, book.list(), changes(), metric("nexus_faults_active")],
		[false, [], ["f1 expired"], [{ value: 0 }]],
	);
	clock.jumpWall(-86_400_000);
	book.applyPolicy(snapshotOf({ payments: [faultOf({ expiresAtMs, place: { file: "a.yaml", line: 3, column: 1 } })] }));
	assert.deepEqual([book.injector("payments").active, book.list(), changes(), clock.pendingTimers], [false, [], [], 0]);
	book.applyPolicy(snapshotOf({ payments: [] }));
	assert.deepEqual(changes(), []);
});

test("`for` in a policy counts once: reloads that leave the fault alone do not prolong it", () => {
	const startMs = Date.UTC(2026, 0, 1);
	const read = (wallMs: number, line: number): FaultPolicy =>
		faultOf({ forMs: 60_000, expiresAtMs: wallMs + 60_000, place: { file: "a.yaml", line, column: 1 } });
	const { book, clock, changes } = rig({ payments: [read(startMs, 3)] });
	clock.advance(40_000);
	book.applyPolicy(snapshotOf({ payments: [read(startMs + 40_000, 9)] }));
	assert.deepEqual([book.list()[0]?.endsInMs, book.list()[0]?.expiresAt, book.list()[0]?.place], [20_000, "2026-01-01T00:01:00.000Z", "a.yaml:9:1"]);
	clock.advance(20_000);
	assert.equal(book.injector("payments").active, false);
	book.applyPolicy(snapshotOf({ payments: [read(startMs + 60_000, 3)] }));
	assert.deepEqual([book.list(), changes()], [[], ["f1 added", "f1 expired"]]);
});

test("a fault whose end is past when the policy is loaded never acts and is not told", () => {
	const { book, changes, clock } = rig({ payments: [faultOf({ expiresAtMs: 1000 })] });
	assert.deepEqual([book.injector("payments").active, book.list(), changes(), clock.pendingTimers], [false, [], [], 0]);
});

test("leases outlive a reload, but not their upstream nor a fault of the policy that takes their name", () => {
	const { book, lease, changes, clock } = rig();
	const payments = book.injector("payments");
	book.put(lease());
	book.put(lease({ name: "f2", upstream: "search" }));
	book.put(lease({ name: "f3" }));
	changes();
	book.applyPolicy(snapshotOf({ payments: [], search: [], more: [] }));
	assert.deepEqual([changes(), book.list().length, book.injector("payments") === payments], [[], 3, true]);
	book.applyPolicy(snapshotOf({ payments: [faultOf({ name: "f3", percent: 1 })] }));
	assert.deepEqual(changes(), ["f2 removed", "f3 removed", "f3 added"]);
	assert.deepEqual(
		book.list().map(({ name, source, percent }) => [name, source, percent]),
		[
			["f3", "policy", 1],
			["f1", "lease", 100],
		],
	);
	assert.equal(clock.pendingTimers, 1);
});

test("an upstream that is gone from the policy injects nothing into what is still under way to it", () => {
	const { book } = rig({ payments: [faultOf()] });
	const injector = book.injector("payments");
	book.applyPolicy(snapshotOf({}));
	assert.deepEqual([injector.active, injector.decide(REQUEST, A)], [false, undefined]);
});

test("what was injected is told once a second and fault, with the endpoints, and counted for good", () => {
	const { book, lease, clock, events, metric } = rig();
	book.put(lease());
	const injector = book.injector("payments");
	events.length = 0;
	for (const endpoint of [A, B, A]) injector.decide(REQUEST, endpoint);
	assert.equal(events.length, 0);
	clock.advance(1000);
	assert.deepEqual(events, [
		{
			type: "nexus.mesh.fault.injected",
			data: { windowMs: 1000, fault: "f1", upstream: "payments", kind: "abort", count: 3, endpoints: [A, B] },
			subject: "payments",
		},
	]);
	clock.advance(10_000);
	assert.equal(events.length, 1);
	injector.decide(REQUEST, B);
	clock.advance(1000);
	assert.deepEqual(events.at(-1)?.data, { windowMs: 1000, fault: "f1", upstream: "payments", kind: "abort", count: 1, endpoints: [B] });
	assert.deepEqual(metric("nexus_faults_injected_total"), [{ fault: "f1", kind: "abort", value: 4 }]);
	book.remove("f1");
	assert.deepEqual(metric("nexus_faults_injected_total"), [{ fault: "f1", kind: "abort", value: 4 }]);
	assert.equal(book.put(lease()).kind, "added");
	assert.equal(book.list()[0]?.injected, 4);
});

test("the names that counters are kept for are bounded, and so are the endpoints of an event", () => {
	const { book, lease, clock, events, metric } = rig();
	for (let i = 0; i < 400; i++) {
		book.put(lease({ name: `f${i}` }));
		book.injector("payments").decide(REQUEST, A);
		book.remove(`f${i}`);
	}
	const totals = metric("nexus_faults_injected_total") as { fault: string }[];
	assert.deepEqual([totals.length, totals[0]?.fault, totals.at(-1)?.fault], [256, "f144", "f399"]);
	clock.advance(1000);
	events.length = 0;
	book.put(lease());
	for (let i = 0; i < 300; i++) book.injector("payments").decide(REQUEST, `10.0.0.1:${i}`);
	clock.advance(1000);
	const told = events.at(-1)?.data as { count: number; endpoints: string[] } | undefined;
	assert.deepEqual([told?.count, told?.endpoints.length], [300, 100]);
});

test("the end of the process tells the last window, injects nothing more and leaves no timer", () => {
	const { book, lease, clock, events } = rig({ payments: [faultOf({ name: "written", expiresAtMs: Date.UTC(2027, 0, 1) })] });
	book.put(lease());
	book.injector("payments").decide(REQUEST, A);
	clock.advance(300);
	book.stop();
	assert.deepEqual([events.at(-1)?.type, book.injector("payments").active, clock.pendingTimers], ["nexus.mesh.fault.injected", false, 0]);
	book.stop();
});
