import assert from "node:assert/strict";
import { test } from "node:test";
import { GUARD, rig } from "./support.ts";

const LEASE = { upstream: "payments", abort: { percent: 30, status: 503 }, for: "10m" };

test("PUT /faults/NAME puts a lease on the upstream, /faults and /config list it beside those of the policy", GUARD, async (t) => {
	const { view, call } = await rig(t);
	const put = await call("PUT", "/faults/f1", { ...LEASE, match: { path: "/pay/**", headers: { "x-a": { prefix: "b" } } }, maxAffected: 1 });
	assert.equal(put.status, 201);
	assert.deepEqual(put.json, {
		name: "f1",
		upstream: "payments",
		source: "lease",
		place: null,
		action: { kind: "abort", status: 503 },
		percent: 30,
		match: {
			path: { kind: "prefix", pattern: "/pay/**" },
			methods: [],
			headers: { "x-a": { kind: "prefix", value: "b" } },
			query: {},
			from: [],
			percent: 100,
		},
		endpoints: [],
		maxAffected: 1,
		exempt: false,
		expiresAt: "2026-01-01T00:10:00.000Z",
		endsInMs: 600_000,
		injected: 0,
	});
	const { json } = await call("GET", "/faults");
	const faults = json.faults as { name: string; source: string; place: string | null }[];
	assert.deepEqual(
		faults.map(({ name, source, place }) => [name, source, place]),
		[
			["slow", "policy", "checkout.yaml:11:26"],
			["f1", "lease", null],
		],
	);
	assert.deepEqual((await call("GET", "/config")).json.faults, faults);
	assert.deepEqual((await call("GET", "/faults/f1")).json, put.json);
	assert.equal(view.faults.injector("payments").active, true);
});

test("PUT of the same name replaces the lease, DELETE ends it, and it ends by itself", GUARD, async (t) => {
	const { view, call } = await rig(t);
	assert.equal((await call("PUT", "/faults/f1", LEASE)).status, 201);
	const again = await call("PUT", "/faults/f1", { upstream: "ledger", blackHole: {}, expiresAt: "2026-01-01T00:05:00Z" });
	assert.deepEqual([again.status, again.json.action, again.json.percent, again.json.endsInMs], [200, { kind: "black-hole" }, 100, 300_000]);
	assert.deepEqual((await call("DELETE", "/faults/f1")).json, { name: "f1", removed: true });
	const gone = await call("DELETE", "/faults/f1");
	assert.deepEqual([gone.status, gone.json.reason], [404, "not_found"]);
	assert.equal((await call("PUT", "/faults/f1", LEASE)).status, 201);
	view.clock.advance(600_000);
	assert.equal((await call("GET", "/faults/f1")).status, 404);
});

test("each kind of fault can be put on by the keys of the policy", GUARD, async (t) => {
	const { call } = await rig(t);
	for (const [kind, action] of [
		[{ delay: { duration: "5ms" } }, { kind: "delay", distribution: "fixed", ms: 5, msMax: 5 }],
		[{ delay: { duration: "1s", distribution: "exponential", max: "3s" } }, { kind: "delay", distribution: "exponential", ms: 1000, msMax: 3000 }],
		[{ reset: {} }, { kind: "reset" }],
		[{ refuse: {} }, { kind: "refuse" }],
		[{ blackHole: {} }, { kind: "black-hole" }],
		[{ throttle: { bytesPerSecond: 1000 } }, { kind: "throttle", bytesPerSecond: 1000 }],
		[{ truncate: { afterBytes: "1KiB" } }, { kind: "truncate", afterBytes: 1024 }],
	] as const) {
		const { status, json } = await call("PUT", "/faults/f1", { upstream: "ledger", for: "1m", ...kind });
		assert.ok(status === 200 || status === 201, JSON.stringify(json));
		assert.deepEqual(json.action, action);
	}
});

test("a fault that is wrong is refused with every fault of it, in the words of the policy, and changes nothing", GUARD, async (t) => {
	const { view, call } = await rig(t);
	for (const [body, faults] of [
		[{}, [["upstream", /`upstream` is missing/]]],
		[
			{ ...LEASE, abort: { percent: 101, status: 99 } },
			[
				["abort.percent", /`101` is too large/],
				["abort.status", /`99` is too small/],
			],
		],
		[{ ...LEASE, abrot: {} }, [["abrot", /unknown key `abrot`/]]],
		[
			{ ...LEASE, match: { headers: { "bad name": "x" }, paht: "/" } },
			[
				["match.paht", /unknown key/],
				["match.headers", /`bad name`/],
			],
		],
		[{ ...LEASE, name: "other" }, [["name", /unknown key `name`/]]],
		[{ ...LEASE, for: "10 minutes" }, [["for", /`10 minutes` is not a duration/]]],
		[{ ...LEASE, for: "25h" }, [["for", /`25h` is too long/]]],
		[{ ...LEASE, for: 600 }, [["for", /`600` /]]],
		[{ ...LEASE, upstream: 7 }, [["upstream", /`7` /]]],
		[{ upstream: "payments", abort: {} }, [["", /has no end/]]],
		[{ ...LEASE, expiresAt: "2026-01-01T00:05:00Z" }, [["", /two ends/]]],
		[{ upstream: "payments", for: "1m" }, [["", /nothing is said/]]],
		[{ ...LEASE, reset: {} }, [["", /abort and reset are 2 faults/]]],
		[{ upstream: "payments", reset: {}, expiresAt: "2025-12-31T23:59:59Z" }, [["expiresAt", /past/]]],
		[{ upstream: "payments", reset: {}, expiresAt: "2026-01-02T00:00:01Z" }, [["expiresAt", /too far/]]],
		[{ upstream: "payments", reset: {}, expiresAt: "tomorrow" }, [["expiresAt", /`tomorrow` is not a point in time/]]],
		[{ ...LEASE, upstream: "a\0unset" }, [["", /NUL/]]],
		["[]", [["", /not a mapping/]]],
		["null", [["", /./]]],
		['"abort"', [["", /not a mapping/]]],
		['{"__proto__": {"upstream": "payments"}}', [["", /__proto__/]]],
		[`${"[".repeat(30)}${"]".repeat(30)}`, [["", /nested deeper/]]],
	] as const) {
		const { status, headers, json, text } = await call("PUT", "/faults/f1", body);
		assert.deepEqual([status, headers["content-type"], json.reason], [422, "application/problem+json", "invalid_fault"], text);
		const told = json.faults as { path: string; message: string }[];
		for (const [path, message] of faults) {
			assert.ok(
				told.some((fault) => fault.path.startsWith(path) && message.test(fault.message)),
				`${path} ${message} in ${text}`,
			);
		}
	}
	assert.deepEqual([view.faults.list().length, view.faults.injector("ledger").active], [1, false]);
});

test("names that nothing may have are refused", GUARD, async (t) => {
	const { view, call } = await rig(t);
	for (const name of ["Bad", "a%20b", "%2e%2e", "x".repeat(64), "a%00"]) {
		const { status, json } = await call("PUT", `/faults/${name}`, LEASE);
		assert.deepEqual([status, (json.faults as { path: string }[])[0]?.path], [422, "name"], name);
	}
	assert.equal(view.faults.list().length, 1);
});

test("a lease for an upstream that the policy does not have is refused, with those that it has", GUARD, async (t) => {
	const { call } = await rig(t);
	const { status, json } = await call("PUT", "/faults/f1", { ...LEASE, upstream: "paiments" });
	assert.deepEqual([status, json.reason, json.hint], [422, "no_upstream", "It has payments, ledger."]);
});

test("a fault of the policy is neither replaced nor taken away here, and its line is told", GUARD, async (t) => {
	const { view, call } = await rig(t);
	for (const [method, body] of [
		["PUT", LEASE],
		["DELETE", undefined],
	] as const) {
		const { status, json } = await call(method, "/faults/slow", body);
		assert.deepEqual([status, json.reason, json.detail], [409, "fault_in_policy", "checkout.yaml:11:26"]);
	}
	assert.equal(view.faults.list().length, 1);
});

test("leases are bounded in number", GUARD, async (t) => {
	const { call } = await rig(t);
	for (let i = 0; i < 64; i++) assert.equal((await call("PUT", `/faults/f${i}`, LEASE)).status, 201);
	const { status, json } = await call("PUT", "/faults/more", LEASE);
	assert.deepEqual([status, json.reason], [409, "too_many_faults"]);
	assert.equal((await call("DELETE", "/faults/f7")).status, 200);
	assert.equal((await call("PUT", "/faults/more", LEASE)).status, 201);
});

test("a body that is no JSON, no UTF-8 or too large is refused, announced or not, and the next request is served", GUARD, async (t) => {
	const { view, call } = await rig(t);
	for (const body of ["", "{", "abort: {}", Buffer.from([0x22, 0xff, 0x22])]) {
		const { status, json } = await call("PUT", "/faults/f1", body);
		assert.deepEqual([status, json.reason], [400, "bad_request"]);
	}
	const large = JSON.stringify({ ...LEASE, match: { path: `/${"a".repeat(70_000)}` } });
	for (const headers of [{ "content-length": String(large.length) }, { "transfer-encoding": "chunked" }]) {
		const { status, json } = await call("PUT", "/faults/f1", large, headers);
		assert.deepEqual([status, json.reason], [413, "body_too_large"]);
	}
	assert.deepEqual([view.faults.list().length, (await call("GET", "/livez")).status], [1, 200]);
});

test("what a match compares with is not shown where it is a secret", GUARD, async (t) => {
	const { call } = await rig(t);
	const { text } = await call("PUT", "/faults/f1", { ...LEASE, match: { headers: { authorization: "Bearer hunter3" } } });
	const listing = (await call("GET", "/faults")).text + (await call("GET", "/config")).text;
	assert.ok(!text.includes("hunter3") && !listing.includes("hunter3"));
});
