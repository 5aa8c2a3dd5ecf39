import assert from "node:assert/strict";
import { once } from "node:events";
import { get, type IncomingMessage } from "node:http";
import { type TestContext, test } from "node:test";
import type { DecisionTrace } from "../../../src/policy/decision-trace.ts";
import { GUARD, type Rig, rig, type View } from "./support.ts";

function traceOf(more: Partial<DecisionTrace> = {}): DecisionTrace {
	return {
		id: "r1",
		time: "2026-01-01T00:00:00.000Z",
		direction: "outbound",
		method: "GET",
		host: "payments",
		target: "/pay/1",
		route: "pay",
		upstream: "payments",
		endpoint: "10.0.0.11:15006",
		status: 503,
		reason: "breaker_open",
		detail: "",
		attempts: 1,
		durationMs: 3,
		policyVersion: 1,
		decisions: [{ stage: "breaker", verdict: "no", atMs: 0.1, text: "the breaker is open", place: undefined, data: undefined }],
		...more,
	};
}

/** As the exchange would: asked when the request comes, told when it is over. */
function happens(view: View, trace: DecisionTrace, headers: Record<string, string> = {}): void {
	const wanted = view.tap.active ? view.tap.wants(trace.method, trace.host, (name) => headers[name]) : 0;
	if (wanted !== 0) view.tap.publish(trace, wanted);
}

interface Tap {
	readonly res: IncomingMessage;
	/** The next event: [name, data]. */
	next(): Promise<[event: string, data: Record<string, unknown>]>;
	readonly ended: Promise<unknown>;
	leave(): void;
}

async function tap(t: TestContext, { server }: Rig, query = ""): Promise<Tap> {
	const req = get({ host: "127.0.0.1", port: server.address.port, path: `/tap?${query}`, agent: false });
	t.after(() => req.destroy());
	const [res] = (await once(req, "response")) as [IncomingMessage];
	res.on("error", () => {});
	const ended = new Promise((resolve) => res.on("close", resolve));
	const frames: string[] = [];
	let rest = "";
	let wake = (): void => {};
	res.setEncoding("utf8").on("data", (chunk: string) => {
		const parts = (rest + chunk).split("\n\n");
		rest = parts.pop() ?? "";
		frames.push(...parts);
		wake();
	});
	const next: Tap["next"] = async () => {
		for (;;) {
			const frame = frames.shift();
			if (frame !== undefined) return [/^event: (.*)$/m.exec(frame)?.[1] ?? "", JSON.parse(/^data: (.*)$/m.exec(frame)?.[1] ?? "null")];
			await new Promise<void>((resolve) => {
				wake = resolve;
			});
		}
	};
	return { res, next, ended, leave: () => void req.on("error", () => {}).destroy() };
}

test("/tap streams decision traces whole, to those who ask, until they leave", GUARD, async (t) => {
	const all = await rig(t);
	const { view } = all;
	assert.equal(view.tap.active, false);
	const first = await tap(t, all);
	assert.deepEqual([first.res.statusCode, first.res.headers["content-type"], view.tap.active], [200, "text/event-stream", true]);
	const { reason, ...ok } = traceOf({ id: "r2", status: 200 });
	happens(view, traceOf());
	happens(view, { ...ok, reason: undefined });
	assert.deepEqual(await first.next(), ["trace", JSON.parse(JSON.stringify(traceOf()))]);
	const [, second] = await first.next();
	assert.deepEqual([second.id, second.reason, reason], ["r2", undefined, "breaker_open"]);
	first.leave();
	while (view.tap.active) await new Promise((resolve) => setImmediate(resolve));
});

test("/tap takes every filter, and shows nothing else", GUARD, async (t) => {
	const fits = traceOf({ durationMs: 250 });
	for (const [query, other, headers] of [
		["route=pay", { route: "" }],
		["upstream=payments", { upstream: "ledger" }],
		["status=503", { status: 502 }],
		["status=5xx", { status: 404 }],
		["reason=breaker_open", { reason: "no_route" }],
		["method=get", { method: "POST" }],
		["host=payments", { host: "ledger" }],
		["header=x-user:7", {}, {}],
		["min-duration=100ms", { durationMs: 99 }],
	] as const) {
		await t.test(query, GUARD, async (t) => {
			const all = await rig(t);
			const reader = await tap(t, all, query);
			happens(all.view, { ...traceOf({ durationMs: 250 }), ...other, id: "other" }, headers ?? { "x-user": "7" });
			happens(all.view, fits, { "x-user": "7" });
			assert.equal((await reader.next())[1].id, "r1");
		});
	}
});

test("/tap shows no more than its rate, and says how many were left out", GUARD, async (t) => {
	const all = await rig(t);
	const { view } = all;
	const reader = await tap(t, all, "rate=2");
	for (let i = 0; i < 10; i++) happens(view, traceOf({ id: `r${i}` }));
	view.clock.advance(1000);
	happens(view, traceOf({ id: "later" }));
	const seen: unknown[] = [];
	for (let i = 0; i < 4; i++) {
		const [event, data] = await reader.next();
		seen.push(event === "dropped" ? data.dropped : data.id);
	}
	assert.deepEqual(seen, ["r0", "r1", 8, "later"]);
});

test("/tap ends by itself after `limit` traces", GUARD, async (t) => {
	const all = await rig(t);
	const { view } = all;
	const reader = await tap(t, all, "limit=2");
	for (let i = 0; i < 5; i++) happens(view, traceOf({ id: `r${i}` }));
	assert.deepEqual([(await reader.next())[1].id, (await reader.next())[1].id], ["r0", "r1"]);
	await reader.ended;
	assert.deepEqual([reader.res.complete, view.tap.active], [true, false]);
});

test("a reader that takes nothing costs bounded memory, is not cut off, and is told what it missed", GUARD, async (t) => {
	const all = await rig(t);
	const { view } = all;
	const reader = await tap(t, all, "rate=1000");
	reader.res.pause();
	const trace = traceOf({ detail: "x".repeat(10_000) });
	// More than what the two sockets and the stream hold together, at a thousand a second.
	for (let second = 0; second < 20; second++) {
		for (let i = 0; i < 1000; i++) happens(view, trace);
		await new Promise((resolve) => setImmediate(resolve));
		view.clock.advance(1000);
	}
	assert.equal(view.tap.active, true);
	reader.res.resume();
	// Traffic goes on; the reader catches up sooner or later.
	let goesOn = true;
	t.after(() => {
		goesOn = false;
	});
	const traffic = (): void => {
		if (!goesOn) return;
		view.clock.advance(1);
		happens(view, trace);
		setImmediate(traffic);
	};
	traffic();
	let dropped = 0;
	while (dropped === 0) {
		const [event, data] = await reader.next();
		if (event === "dropped") dropped = Number(data.dropped);
	}
	assert.ok(dropped > 10_000, `${dropped}`);
	assert.equal((await reader.next())[0], "trace");
});

test("/tap says what is wrong with a filter and opens no stream", GUARD, async (t) => {
	const { view, call } = await rig(t);
	for (const [query, detail] of [
		["rout=pay", /did you mean route/],
		["status=600", /neither a status/],
		["reason=breaker", /not in the catalogue/],
		["rate=0", /rate is "0"/],
		["rate=1001", /from 1 to 1000/],
		["limit=0", /limit is "0"/],
		["limit=many", /limit is "many"/],
		["header=nocolon", /name:value/],
		["min-duration=fast", /duration/],
		["method=GET&method=PUT", /twice/],
	] as const) {
		const { status, json } = await call("GET", `/tap?${query}`);
		assert.deepEqual([query, status], [query, 400]);
		assert.match(String(json.detail), detail);
	}
	assert.equal(view.tap.active, false);
});

test("taps and event streams are bounded together, and there is room again when one ends", GUARD, async (t) => {
	const all = await rig(t);
	const taps = await Promise.all(Array.from({ length: 16 }, () => tap(t, all)));
	const { status, headers } = await all.call("GET", "/tap");
	assert.deepEqual([status, headers["retry-after"], (await all.call("GET", "/events")).status], [503, "10", 503]);
	taps[3]?.leave();
	while (all.view.tap.subscribers === 16) await new Promise((resolve) => setImmediate(resolve));
	assert.equal((await tap(t, all)).res.statusCode, 200);
});

test("the end of the API ends the taps in good order", GUARD, async (t) => {
	const all = await rig(t);
	const reader = await tap(t, all);
	all.api.closeStreams();
	await reader.ended;
	assert.deepEqual([reader.res.complete, all.view.tap.active], [true, false]);
});

test("/failures shows the last requests that failed, newest first, as many as are asked for", GUARD, async (t) => {
	const { view, call } = await rig(t);
	assert.deepEqual((await call("GET", "/failures")).json, { failures: [] });
	for (let i = 0; i < 3; i++) view.ring.offer(traceOf({ id: `r${i}` }));
	const ids = async (query: string): Promise<unknown> =>
		((await call("GET", `/failures${query}`)).json.failures as { id: string }[]).map(({ id }) => id);
	assert.deepEqual([await ids(""), await ids("?limit=1")], [["r2", "r1", "r0"], ["r2"]]);
	assert.equal((await call("GET", "/failures?limit=-1")).status, 400);
});

test("/traces/ID shows the trace that a request asked for, and 404 for any other", GUARD, async (t) => {
	const { view, call } = await rig(t);
	view.store.put("my token", traceOf());
	const { status, json } = await call("GET", "/traces/my%20token");
	assert.deepEqual([status, json], [200, JSON.parse(JSON.stringify(traceOf()))]);
	const other = await call("GET", "/traces/r1");
	assert.deepEqual([other.status, other.json.reason], [404, "not_found"]);
});
