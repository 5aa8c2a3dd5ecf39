import assert from "node:assert/strict";
import { test } from "node:test";
import type { DecisionTrace } from "../../../src/policy/decision-trace.ts";
import { fitsRequest, fitsTrace, parseTapQuery, type TapRequest } from "../../../src/telemetry/tracing/tap-filter.ts";
import { TapHub } from "../../../src/telemetry/tracing/tap-hub.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { trace } from "./support.ts";

const none = (): undefined => undefined;

function query(text: string): TapRequest {
	const parsed = parseTapQuery(new URLSearchParams(text));
	assert.ok(typeof parsed !== "string", String(parsed));
	return parsed;
}

function listen(hub: TapHub, text: string) {
	const seen: [id: string, dropped: number][] = [];
	const stop = hub.subscribe(query(text), ({ id }, dropped) => seen.push([id, dropped]));
	assert.ok(stop);
	return { seen, stop };
}

test("an empty query fits everything, ten times a second", () => {
	const { filter, perSecond } = query("");
	assert.equal(perSecond, 10);
	assert.ok(fitsRequest(filter, "PUT", "any", none));
	assert.ok(fitsTrace(filter, trace({ status: 0, durationMs: 0, route: "" })));
});

test("the head of a request is held against method, host and headers", () => {
	const { filter } = query("method=post&host=Pay.Mesh&header=X-Tenant:%20a&header=x-beta:1");
	const headers: Record<string, string> = { "x-tenant": "a", "x-beta": "1" };
	const header = (name: string): string | undefined => headers[name];
	assert.ok(fitsRequest(filter, "POST", "PAY.mesh.:8080", header));
	assert.ok(!fitsRequest(filter, "GET", "pay.mesh", header));
	assert.ok(!fitsRequest(filter, "POST", "pay.mesh.local", header));
	assert.ok(!fitsRequest(filter, "POST", "pay.mesh", (name) => (name === "x-tenant" ? "a" : "2")));
	assert.ok(!fitsRequest(filter, "POST", "pay.mesh", none));
	const { filter: below } = query("host=*.mesh");
	assert.ok(fitsRequest(below, "GET", "a.b.mesh:80", none));
	for (const host of ["mesh", ".mesh", "xmesh", "a.mesh.x"]) assert.ok(!fitsRequest(below, "GET", host, none), host);
});

test("a finished exchange is held against route, upstream, status, reason and duration", () => {
	const cases: [string, Partial<DecisionTrace>, Partial<DecisionTrace>][] = [
		["route=canary", { route: "canary" }, { route: "" }],
		["upstream=pay", { upstream: "pay" }, { upstream: "pay2" }],
		["status=503", { status: 503 }, { status: 502 }],
		["status=5xx", { status: 599 }, { status: 499 }],
		["status=5XX", { status: 500 }, { status: 0 }],
		["reason=breaker_open", { reason: "breaker_open" }, { reason: "rate_limited" }],
		["minDuration=250ms", { durationMs: 250 }, { durationMs: 249.9 }],
	];
	for (const [text, fits, not] of cases) {
		assert.ok(fitsTrace(query(text).filter, trace(fits)), text);
		assert.ok(!fitsTrace(query(text).filter, trace(not)), text);
	}
});

test("a query that is wrong is refused with the word that is wrong, and the nearest right one", () => {
	const cases: [string, RegExp][] = [
		["rout=a", /^"rout" is no filter; did you mean route\?$/],
		["zzzzzzzz=1", /is no filter; there are route, upstream/],
		["route=a&route=b", /^route stands there twice$/],
		["status=50", /^status "50" is neither/],
		["status=6xx", /^status "6xx" is neither/],
		["reason=breaker_opened", /did you mean breaker_open\?$/],
		["reason=42", /is not in the catalogue \(docs\/reasons\.md\)$/],
		["host=a*b", /^host "a\*b" has an asterisk/],
		["header=x-a", /^header "x-a" is not of the form name:value$/],
		["header=:v", /not of the form/],
		["header=a%20b:v", /not of the form/],
		[Array(9).fill("header=a:b").join("&"), /9 times; 8 is the most/],
		["minDuration=250", /minDuration "250" has no unit/],
		["minDuration=soon", /minDuration "soon" is not a duration/],
		["rate=0", /goes from 1 to 1000/],
		["rate=1001", /goes from 1 to 1000/],
		["rate=ten", /rate is "ten"/],
	];
	for (const [text, expected] of cases) assert.match(String(parseTapQuery(new URLSearchParams(text))), expected, text);
});

test("a hub is active while somebody taps, and wants only what one of them wants", () => {
	const hub = new TapHub(new FakeClock());
	assert.equal(hub.active, false);
	assert.equal(hub.wants("GET", "a", none), 0);
	const posts = listen(hub, "method=POST");
	const all = listen(hub, "host=a");
	assert.equal(hub.active, true);
	assert.equal(hub.wants("GET", "b", none), 0);
	assert.notEqual(hub.wants("GET", "a", none), 0);
	posts.stop();
	posts.stop();
	assert.equal(hub.active, true);
	all.stop();
	assert.equal(hub.active, false);
	assert.equal(hub.subscribers, 0);
});

test("each tap gets what its own filter let pass at the head and at the end", () => {
	const hub = new TapHub(new FakeClock());
	const tenant = listen(hub, "header=x-tenant:a");
	const failed = listen(hub, "status=5xx");
	const send = (id: string, tenantOf: string, status: number): void =>
		hub.publish(
			trace({ id, status }),
			hub.wants("GET", "h", () => tenantOf),
		);
	send("1", "a", 200);
	send("2", "b", 503);
	send("3", "a", 500);
	send("4", "b", 200);
	assert.deepEqual(tenant.seen, [
		["1", 0],
		["3", 0],
	]);
	assert.deepEqual(failed.seen, [
		["2", 0],
		["3", 0],
	]);
});

test("over its rate a tap loses traces and is told how many; the others lose none", () => {
	const clock = new FakeClock();
	const hub = new TapHub(clock);
	const slow = listen(hub, "rate=2");
	const fast = listen(hub, "rate=1000");
	let id = 0;
	const send = (): void => hub.publish(trace({ id: String(++id) }), hub.wants("GET", "h", none));
	for (let i = 0; i < 5; i++) send();
	clock.advance(499);
	send();
	clock.advance(1);
	send();
	clock.advance(60_000);
	for (let i = 0; i < 3; i++) send();
	assert.deepEqual(slow.seen, [
		["1", 0],
		["2", 0],
		["7", 4],
		["8", 0],
		["9", 0],
	]);
	assert.deepEqual(
		fast.seen.map(([seen]) => Number(seen)),
		[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
	);
});

test("the seventeenth tap is refused until one leaves, and its place is free at once", () => {
	const hub = new TapHub(new FakeClock());
	const taps = Array.from({ length: 16 }, () => listen(hub, ""));
	assert.equal(
		hub.subscribe(query(""), () => {}),
		undefined,
	);
	taps[3]?.stop();
	const next = listen(hub, "");
	hub.publish(trace(), hub.wants("GET", "h", none));
	assert.equal(next.seen.length, 1);
	assert.equal(taps[3]?.seen.length, 0);
	assert.equal(taps[4]?.seen.length, 1);
});

test("one who taps while a request runs does not see it, even in the place of one who wanted it", () => {
	const hub = new TapHub(new FakeClock());
	const first = listen(hub, "");
	const wanted = hub.wants("GET", "h", none);
	first.stop();
	const second = listen(hub, "header=x-tenant:a");
	hub.publish(trace(), wanted);
	assert.deepEqual([first.seen, second.seen], [[], []]);
});

test("a listener may end its own tap while it is called", () => {
	const hub = new TapHub(new FakeClock());
	let calls = 0;
	const stop = hub.subscribe(query(""), () => {
		calls++;
		stop?.();
	});
	const other = listen(hub, "");
	for (let i = 0; i < 2; i++) hub.publish(trace(), hub.wants("GET", "h", none));
	assert.equal(calls, 1);
	assert.equal(other.seen.length, 2);
});
