import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientRequest, get, type IncomingMessage } from "node:http";
import { test } from "node:test";
import type { HttpServer } from "../../../src/server/http-server.ts";
import { parseExposition } from "../../support/exposition-parser.ts";
import { GUARD, POLICY, rig } from "./support.ts";

test("/livez says 200 whatever the state, /readyz says 503 with the reasons until ready", GUARD, async (t) => {
	const { view, call } = await rig(t);
	view.ready = { ready: false, reasons: ["upstream payments: no endpoint is resolved", "upstream ledger: first health check is not in"] };
	assert.equal((await call("GET", "/livez")).status, 200);
	const before = await call("GET", "/readyz");
	assert.deepEqual([before.status, before.json], [503, { ...view.ready }]);
	view.ready = { ready: true, reasons: [] };
	const after = await call("GET", "/readyz");
	assert.deepEqual([after.status, after.json], [200, { ready: true, reasons: [] }]);
});

test("/metrics answers in the Prometheus text format, from the same numbers as /upstreams", GUARD, async (t) => {
	const { call } = await rig(t);
	const { status, headers, text } = await call("GET", "/metrics");
	assert.deepEqual([status, headers["content-type"]], [200, "text/plain; version=0.0.4; charset=utf-8"]);
	const families = parseExposition(text);
	const value = (name: string): unknown => families.get(name)?.samples[0]?.value;
	assert.deepEqual(families.get("nexus_endpoint_healthy")?.samples, [
		{ name: "nexus_endpoint_healthy", labels: { upstream: "payments", endpoint: "10.0.0.11:15006" }, value: 0 },
	]);
	assert.deepEqual(
		[value("nexus_ready"), value("nexus_policy_version"), value("nexus_connections_refused_total"), value("nexus_pool_connects_total")],
		[1, 1, 1, 7],
	);
	const [shown] = (await call("GET", "/upstreams")).json.upstreams as { endpoints: { pool: unknown; health: string }[] }[];
	assert.deepEqual(shown?.endpoints[0]?.pool, { open: 4, idle: 2, pending: 0, connects: 7, connectFailures: 1, overflows: 0 });
	assert.equal(shown?.endpoints[0]?.health, "unhealthy");
});

test("/config shows the running policy without its secrets", GUARD, async (t) => {
	const { call } = await rig(t);
	const { text, json } = await call("GET", "/config");
	assert.ok(!text.includes("hunter2"), text);
	const policy = json.policy as { service: string; upstreams: { payments: { healthCheck: { headers: unknown; path: string } } } };
	assert.deepEqual([json.version, json.file, json.appliedAt, json.rejected], [1, "checkout.yaml", "2026-01-01T00:00:00.000Z", null]);
	assert.deepEqual(policy.upstreams.payments.healthCheck.headers, { authorization: "[redacted]" });
	assert.equal(policy.upstreams.payments.healthCheck.path, "/healthz");
});

test("a reload of a bad file tells every fault, changes nothing, and /config shows it until a good one is taken", GUARD, async (t) => {
	const { view, call } = await rig(t);
	view.text = POLICY.replace("to: payments", "to: paiments").replace("kind: http", "kind: htp");
	const rejected = await call("POST", "/reload");
	assert.equal(rejected.status, 422);
	const faults = rejected.json.faults as { place: string; message: string; hint: string }[];
	assert.equal(faults.length, 2);
	assert.ok(faults.every(({ place }) => /^checkout\.yaml:\d+:\d+$/.test(place)));
	const config = (await call("GET", "/config")).json;
	assert.equal(config.version, 1);
	assert.deepEqual((config.rejected as { faults: unknown }).faults, faults);
	view.text = `${POLICY}# a comment\n`;
	const applied = await call("POST", "/reload");
	assert.deepEqual([applied.status, applied.json.result, applied.json.version], [200, "applied", 2]);
	assert.equal((await call("GET", "/config")).json.rejected, null);
});

test("/explain tells the route, the line of the policy and the endpoints as they are now", GUARD, async (t) => {
	const { call } = await rig(t);
	const { status, json } = await call("GET", `/explain?method=POST&url=${encodeURIComponent("http://payments/pay/1?x=1")}&header=x-beta:%201`);
	assert.equal(status, 200);
	const outcome = json.outcome as { kind: string; upstream: string; route: string; because: { place: { line: number } } };
	assert.deepEqual([outcome.kind, outcome.upstream, outcome.route, outcome.because.place.line], ["upstream", "payments", "pay", 5]);
	assert.equal((json.endpoints as { health: string }[])[0]?.health, "unhealthy");
	const live = json.live as { breakers: { state: string }[]; panic: boolean; faults: { name: string }[] };
	assert.deepEqual([live.breakers[0]?.state, live.panic, live.faults.map(({ name }) => name)], ["closed", true, ["slow"]]);
	const refused = await call("GET", "/explain?url=http://search/");
	assert.equal(refused.json.live, undefined);
	assert.equal((refused.json.outcome as { reason: string }).reason, "no_route");
});

test("/explain says what is wrong with a question", GUARD, async (t) => {
	const { call } = await rig(t);
	for (const [query, detail] of [
		["", /url is missing/],
		["url=/pay/1", /add the header/],
		["url=pay", /neither http/],
		["url=http://a/&method=G%20T", /method "G T" is not a method/],
		["url=http://a/&header=nocolon", /header "nocolon"/],
		["url=http://a/&direction=sideways", /inbound or outbound/],
		["url=/a&direction=inbound", /has no inbound section/],
	] as const) {
		const { status, headers, json } = await call("GET", `/explain?${query}`);
		assert.deepEqual([status, headers["content-type"]], [400, "application/problem+json"], query);
		assert.match(String(json.detail), detail);
	}
});

function openStream(server: HttpServer): Promise<{ req: ClientRequest; res: IncomingMessage }> {
	return new Promise((resolve, reject) => {
		const req = get({ host: "127.0.0.1", port: server.address.port, path: "/events", agent: false }, (res) => resolve({ req, res }));
		req.on("error", reject);
	});
}

test("/events streams the sidecar's events as they happen, to each listener, until it leaves", GUARD, async (t) => {
	const { view, server, api } = await rig(t);
	const first = await openStream(server);
	const second = await openStream(server);
	assert.equal(first.res.headers["content-type"], "text/event-stream");
	view.feed.emit("nexus.mesh.sidecar.draining", { cause: "api", inFlight: 3, drainTimeoutMs: 30_000 });
	for (const { res } of [first, second]) {
		const [chunk] = await once(res.setEncoding("utf8"), "data");
		const [, id, type, data] = /^id: (\S+)\nevent: (\S+)\ndata: (.*)\n\n$/.exec(String(chunk)) ?? [];
		const event = JSON.parse(data ?? "");
		assert.deepEqual([type, event.id, event.data.inFlight], ["nexus.mesh.sidecar.draining", id, 3]);
	}
	first.req.on("error", () => {}).destroy();
	const ended = once(second.res.resume(), "end");
	api.closeStreams();
	await ended;
	while (view.feed.hasListeners) await new Promise((resolve) => setImmediate(resolve));
});

test("event streams are bounded in number", GUARD, async (t) => {
	const { server } = await rig(t);
	const streams = await Promise.all(Array.from({ length: 16 }, () => openStream(server)));
	assert.ok(streams.every(({ res }) => res.statusCode === 200));
	const { res, req } = await openStream(server);
	assert.deepEqual([res.statusCode, res.headers["retry-after"]], [503, "10"]);
	req.destroy();
});

test("/drain and /loglevel act, and take POST without a body", GUARD, async (t) => {
	const { view, call } = await rig(t);
	assert.deepEqual((await call("POST", "/drain")).status, 202);
	assert.equal(view.drains, 1);
	const { status, json } = await call("POST", "/loglevel?level=debug");
	assert.deepEqual([status, json, view.level], [200, { level: "debug" }, "debug"]);
	const wrong = await call("POST", "/loglevel?level=loud");
	assert.deepEqual([wrong.status, wrong.json.detail, view.level], [400, "level is one of debug, info, warn, error", "debug"]);
});

test("a wrong method gets 405 with Allow and does nothing", GUARD, async (t) => {
	const { view, call } = await rig(t);
	const drain = await call("GET", "/drain");
	assert.deepEqual([drain.status, drain.headers.allow, view.drains], [405, "POST", 0]);
	for (const method of ["POST", "DELETE", "OPTIONS"]) {
		const { status, headers } = await call(method, "/config");
		assert.deepEqual([status, headers.allow], [405, "GET, HEAD"]);
	}
	for (const [method, path, allow] of [
		["POST", "/faults/f1", "GET, HEAD, PUT, DELETE"],
		["PUT", "/faults", "GET, HEAD"],
		["GET", "/upstreams/payments/breaker", "POST"],
		["DELETE", "/upstreams/payments", "GET, HEAD"],
		["POST", "/tap", "GET, HEAD"],
	] as const) {
		const { status, headers } = await call(method, path);
		assert.deepEqual([path, status, headers.allow], [path, 405, allow]);
	}
});

test("a path that is not well-formed percent-encoding gets 400", GUARD, async (t) => {
	const { call } = await rig(t);
	for (const path of ["/faults/%", "/upstreams/%zz", "/traces/%ff"]) {
		const { status, json } = await call("GET", path);
		assert.deepEqual([path, status, json.reason], [path, 400, "bad_request"]);
	}
	assert.equal((await call("GET", "/upstreams/pay%6dents")).status, 200);
});

test("a web page can change nothing, whatever it sends", GUARD, async (t) => {
	const { view, call } = await rig(t);
	const lease = { upstream: "payments", reset: {}, for: "1m" };
	for (const headers of [{ origin: "http://evil.example" }, { "sec-fetch-site": "cross-site" }, { host: "evil.example" }]) {
		for (const [method, path] of [
			["PUT", "/faults/f1"],
			["DELETE", "/faults/slow"],
			["POST", "/upstreams/payments/breaker?state=open"],
			["POST", "/drain"],
		] as const) {
			const { status } = await call(method, path, method === "PUT" ? lease : undefined, headers);
			assert.equal(status, "host" in headers ? 421 : 403, `${method} ${path}`);
		}
	}
	assert.deepEqual([view.faults.list().length, view.drains, view.upstreams()[0]?.breakers[0]?.state], [1, 0, "closed"]);
});

test("HEAD answers as GET does, without a body", GUARD, async (t) => {
	const { call } = await rig(t);
	for (const path of [
		"/livez",
		"/readyz",
		"/metrics",
		"/config",
		"/upstreams",
		"/upstreams/payments",
		"/limits",
		"/faults",
		"/failures",
		"/events",
		"/tap",
	]) {
		const { status, text } = await call("HEAD", path);
		assert.deepEqual([path, status, text], [path, 200, ""]);
	}
});

test("an unknown path gets 404 with all that is there", GUARD, async (t) => {
	const { call } = await rig(t);
	for (const path of [
		"/",
		"/nope",
		"//config",
		"/config/",
		"/CONFIG",
		"/faults/",
		"/faults/a/b",
		"/upstreams//breaker",
		"/upstreams/payments/breaker/x",
	]) {
		const { status, json } = await call("GET", path);
		assert.equal(status, 404, path);
		for (const known of [
			"/livez",
			"/readyz",
			"/metrics",
			"/config",
			"/upstreams",
			"/explain",
			"/events",
			"POST /drain",
			"/reload",
			"/loglevel",
			"PUT /faults/NAME",
			"/tap",
		]) {
			assert.ok(String(json.detail).includes(known), known);
		}
	}
});

test("a view that fails becomes a 500, and the next request is served", GUARD, async (t) => {
	const { view, call } = await rig(t);
	view.metricsText = () => Promise.reject(new Error("a fault of ours"));
	const { status, json } = await call("GET", "/metrics");
	assert.deepEqual([status, json.reason], [500, "internal"]);
	assert.equal((await call("GET", "/livez")).status, 200);
});
