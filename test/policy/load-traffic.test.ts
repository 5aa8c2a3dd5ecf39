import assert from "node:assert/strict";
import { test } from "node:test";
import { faultsOf, routeOf, snapshotOf, upstreamOf } from "./support.ts";

const ROUTE = (written: string) =>
	`service: a\noutbound:\n  routes:\n    - { name: r, ${written} }\nupstreams: { u: { endpoints: [{ address: h:1 }] }, v: { file: x } }\n`;
const UP = (written: string, top = "") => `service: a\noutbound: {}\n${top}upstreams: { u: { endpoints: [{ address: h:1 }], ${written} } }\n`;
const route = (written: string) => routeOf(snapshotOf(ROUTE(written)), "r");
const balancing = (written: string, top = "") => upstreamOf(snapshotOf(UP(written, top)), "u").balancing;

test("a request is recognised by host, path, methods, headers, query, source and percentage", () => {
	const { match } = route(
		'to: u, match: { host: h, path: /a/**, methods: [GET, PUT], headers: { X-A: "1", x-b: { prefix: p }, x-c: { present: true }, x-d: { absent: true }, x-e: { exact: e } }, query: { v: "2", "a b": { prefix: "%" } }, from: a, percent: 12.5 }',
	);
	assert.deepEqual(
		[...match.headers],
		[
			["x-a", { kind: "exact", value: "1" }],
			["x-b", { kind: "prefix", value: "p" }],
			["x-c", { kind: "present" }],
			["x-d", { kind: "absent" }],
			["x-e", { kind: "exact", value: "e" }],
		],
	);
	assert.deepEqual(
		[...match.query],
		[
			["v", { kind: "exact", value: "2" }],
			["a b", { kind: "prefix", value: "%" }],
		],
	);
	assert.deepEqual([match.from, match.percent, match.methods], [["a"], 12.5, ["GET", "PUT"]]);
	const any = route("to: u").match;
	assert.deepEqual([any.from, any.percent, any.headers.size, any.query.size], [[], 100, 0, 0]);
});

test("a route leads to one upstream, to several, elsewhere, or is answered here", () => {
	assert.deepEqual(route("to: u").action, { kind: "forward", destinations: [{ to: "u", weight: 1 }], sticky: undefined });
	assert.deepEqual(route('split: [{ to: u, weight: 95 }, { to: v }], sticky: "cookie:Session"').action, {
		kind: "forward",
		destinations: [
			{ to: "u", weight: 95 },
			{ to: "v", weight: 1 },
		],
		sticky: { kind: "cookie", name: "Session" },
	});
	assert.deepEqual(route("redirect: { path: /new }").action, {
		kind: "redirect",
		redirect: { status: 307, scheme: undefined, host: undefined, path: "/new" },
	});
	assert.deepEqual(route('redirect: { status: 308, scheme: https, host: "n.example.com:8443" }').action, {
		kind: "redirect",
		redirect: { status: 308, scheme: "https", host: "n.example.com:8443", path: undefined },
	});
	assert.deepEqual(route("respond: { body: pong }").action, {
		kind: "respond",
		respond: { status: 200, contentType: "text/plain; charset=utf-8", body: "pong" },
	});
});

test("what a route changes on the way is read, with the lines of what may be told alone", () => {
	const { mirror, rewriteHost, rewritePath, requestHeaders, responseHeaders, overrides } = route(
		"to: u, mirror: { to: v, percent: 1 }, rewrite: { host: u.internal, path: /v2 }, headers: { request: { set: { X-A: b }, add: { x-b: c }, remove: [X-C] }, response: { remove: [server] } }, timeout: { request: 3s, idle: 30s }, retry: { attempts: 1 }, rateLimits: [{ name: l, requestsPerSecond: 1 }]",
	);
	assert.deepEqual(mirror, { place: { file: "p.yaml", line: 4, column: 25 }, to: "v", percent: 1 });
	assert.deepEqual([rewriteHost, rewritePath], ["u.internal", "/v2"]);
	assert.deepEqual(requestHeaders, { set: [{ name: "x-a", value: "b" }], add: [{ name: "x-b", value: "c" }], remove: ["x-c"] });
	assert.deepEqual(responseHeaders, { set: [], add: [], remove: ["server"] });
	assert.deepEqual([overrides.requestTimeoutMs, overrides.idleTimeoutMs], [3_000, 30_000]);
	assert.deepEqual([overrides.retry?.attempts, overrides.retry?.bodyBytesMax, overrides.retry?.on.connectFailure], [1, 65_536, true]);
	assert.deepEqual(
		overrides.rateLimits.map(({ name }) => name),
		["l"],
	);
	const plain = route("to: u");
	assert.deepEqual(plain.overrides, { requestTimeoutMs: undefined, idleTimeoutMs: undefined, retry: undefined, rateLimits: [] });
	assert.deepEqual(
		[plain.mirror, plain.requestHeaders, plain.responseHeaders],
		[undefined, { set: [], add: [], remove: [] }, { set: [], add: [], remove: [] }],
	);
});

test("balancing is told what it hashes, how it warms up and when it panics", () => {
	assert.deepEqual(balancing("loadBalancing: ring-hash, hashOn: header:X-User, ringSize: 64, panicThreshold: 0"), {
		hashOn: { kind: "header", name: "x-user" },
		ringSizeMin: 64,
		tableSize: 65_537,
		failurePenaltyMs: 5_000,
		slowStart: undefined,
		zoneAware: false,
		panicThreshold: 0,
	});
	assert.equal(balancing("loadBalancing: maglev, tableSize: 251").tableSize, 251);
	assert.equal(balancing("loadBalancing: peak-ewma, failurePenalty: 1s").failurePenaltyMs, 1_000);
	assert.deepEqual(balancing("slowStart: { window: 30s }").slowStart, { windowMs: 30_000, aggression: 1, minWeightPercent: 10 });
	assert.equal(balancing("zoneAware: true", "zone: a\n").zoneAware, true);
	assert.equal(snapshotOf(UP("zoneAware: true", "zone: a\n")).zone, "a");
	const text = UP("loadBalancing: random").replace(
		"{ address: h:1 }",
		"{ address: h:1, priority: 0 }, { address: h:2, priority: 1 }, { address: h:3 }",
	);
	const { endpoints } = upstreamOf(snapshotOf(text), "u");
	assert.ok(endpoints.kind === "static");
	assert.deepEqual(
		endpoints.endpoints.map(({ priority }) => priority),
		[0, 1, undefined],
	);
});

test("each fault in a route is told with its place, its path and a hint", () => {
	const cases: [written: string, ...expected: string[]][] = [
		["match: {}", "4:7 outbound.routes[0]: the route leads nowhere | give one of `to`, `split`, `redirect` and `respond`"],
		[
			"to: u, respond: {}",
			"4:25 outbound.routes[0].respond: `to` and `respond` are both given | keep one of `to`, `split`, `redirect` and `respond`",
		],
		["split: [{ to: u }, { to: w }]", "4:43 outbound.routes[0].split[1].to: there is no upstream named `w` | add it under `upstreams`"],
		["split: [{ to: u }, { to: u }]", "4:43 outbound.routes[0].split[1].to: `u` stands here twice | give it a larger `weight` instead"],
		["split: [{ to: u, weight: 0 }]", "4:25 outbound.routes[0].split: all weights are 0 | give at least one of them a share"],
		["split: []", "4:25 outbound.routes[0].split: `[]` is empty | at least 1"],
		["to: u, mirror: { to: w }", "4:39 outbound.routes[0].mirror.to: there is no upstream named `w` | add it under `upstreams`"],
		["to: u, mirror: { to: v, percent: 200 }", "4:51 outbound.routes[0].mirror.percent: `200` is too large | at most 100"],
		[
			"to: u, sticky: ip",
			"4:25 outbound.routes[0].sticky: `sticky` does not act without `split` | remove it; endpoints of one upstream are chosen by `hashOn`",
		],
		[
			"split: [{ to: u }], sticky: user",
			"4:46 outbound.routes[0].sticky: `user` is nothing to tell requests apart by | use header:NAME, cookie:NAME, ip or path",
		],
		["redirect: { status: 200, path: /a }", "4:38 outbound.routes[0].redirect.status: `200` is not one of the choices | use 301, 302, 303, 307, 308"],
		["redirect: {}", "4:18 outbound.routes[0].redirect: `redirect` leads back to where it came from | give at least one of `scheme`, `host`, `path`"],
		[
			'redirect: { host: "a.example\\r\\nx: y" }',
			'4:36 outbound.routes[0].redirect.host: `"a.example\\r\\nx: y"` is not a host | write a name, with a port where it is needed: payments:8080',
		],
		[
			"redirect: { path: /a/** }",
			"4:36 outbound.routes[0].redirect.path: `/a/**` holds a `*`, `?` or `#` | write a path; what `**` matched is put behind it, the query stays",
		],
		["redirect: { path: /a, scheme: ftp }", "4:48 outbound.routes[0].redirect.scheme: `ftp` is not one of the choices | use http, https"],
		["respond: {}, mirror: { to: u }", "4:31 outbound.routes[0].mirror: `mirror` does not act with `respond` | nothing is sent on: remove it"],
		[
			"redirect: { path: /a }, timeout: { request: 1s }",
			"4:42 outbound.routes[0].timeout: `timeout` does not act with `redirect` | nothing is sent on: remove it",
		],
		["respond: { status: 304, body: x }", "4:42 outbound.routes[0].respond.body: an answer 304 has no body | remove it"],
		[`respond: { body: ${"x".repeat(65_537)} }`, "4:35 outbound.routes[0].respond.body: this value is too long | at most 64 KiB in UTF-8"],
		["to: u, rewrite: {}", "4:25 outbound.routes[0].rewrite: `rewrite` changes nothing | give at least one of `host`, `path`"],
		[
			"to: u, rewrite: { path: a }",
			"4:42 outbound.routes[0].rewrite.path: `a` is not a path | begin with `/`; no spaces, other characters percent-encoded",
		],
		["to: u, rewrite: { path: /a% }", "4:42 outbound.routes[0].rewrite.path: `/a%` has a `%` that encodes nothing | write %25 for a percent sign"],
		[
			"to: u, headers: { request: { set: { Host: a } } }",
			"4:54 outbound.routes[0].headers.request.set.Host: `Host` is not a field that a route may change | use `rewrite: { host: NAME }`",
		],
		[
			"to: u, headers: { request: { set: { x-a: a }, remove: [X-A] } }",
			"4:73 outbound.routes[0].headers.request.remove[0]: `x-a` is set and removed | `set` replaces what is there: remove it here",
		],
		[
			'to: u, headers: { response: { add: { x: "a\\nb" } } }',
			'4:58 outbound.routes[0].headers.response.add.x: `"a\\nb"` is not a header value | at most 4096 visible characters, without spaces around',
		],
		["to: u, headers: { reply: {} }", "4:36 outbound.routes[0].headers.reply: unknown key `reply` | known here: request, response"],
		[
			"to: u, retry: { budget: {} }",
			"4:34 outbound.routes[0].retry.budget: unknown key `budget` | known here: attempts, on, perTryTimeout, backoff, retryAfterMax, maxBodyBytes, hedge",
		],
		[
			"to: u, timeout: { request: 1s }, retry: { perTryTimeout: 2s }",
			"4:75 outbound.routes[0].retry.perTryTimeout: one try may take longer than all of them | lower it below `timeout.request`, or raise that",
		],
		["to: u, match: { percent: 101 }", "4:43 outbound.routes[0].match.percent: `101` is too large | at most 100"],
		["to: u, match: { percent: half }", "4:43 outbound.routes[0].match.percent: `half` is not a number"],
		["to: u, match: { from: [] }", "4:40 outbound.routes[0].match.from: `[]` is empty | at least 1"],
		[
			"to: u, match: { from: [A] }",
			"4:41 outbound.routes[0].match.from[0]: `A` is not a name | at most 63 lower-case letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit",
		],
		["to: u, match: { from: 5 }", '4:40 outbound.routes[0].match.from: `5` is not text | put it in quotes: "5"'],
		["to: u, match: { from: { a: b } }", "4:40 outbound.routes[0].match.from: `{ a: b }` is not text"],
		[
			"to: u, match: { headers: { x: { suffix: a } } }",
			"4:48 outbound.routes[0].match.headers.x: `{ suffix: a }` is no condition | write its value, or one of { prefix: TEXT }, { present: true } and { absent: true }",
		],
		[
			"to: u, match: { headers: { x: { present: false } } }",
			"4:48 outbound.routes[0].match.headers.x: `{ present: false }` is no condition | write its value, or one of { prefix: TEXT }, { present: true } and { absent: true }",
		],
		[
			"to: u, match: { headers: { x: { prefix: a, present: true } } }",
			"4:48 outbound.routes[0].match.headers.x: `{ prefix: a, present: true }` asks for several things at once | write its value, or one of { prefix: TEXT }, { present: true } and { absent: true }",
		],
		["to: u, match: { query: { x: { prefix: 1 } } }", '4:56 outbound.routes[0].match.query.x.prefix: `1` is not text | put it in quotes: "1"'],
		[
			"to: u, match: { query: { x: [a] } }",
			"4:46 outbound.routes[0].match.query.x: `[a]` is no condition | write its value, or one of { prefix: TEXT }, { present: true } and { absent: true }",
		],
		[
			'to: u, match: { query: { "": a } }',
			'4:43 outbound.routes[0].match.query."": `""` is not a name of a query parameter | 1 to 256 characters, decoded',
		],
	];
	for (const [written, ...expected] of cases) assert.deepEqual(faultsOf(ROUTE(written)), expected, written.slice(0, 200));
});

test("a route changes no field that framing, one connection, or the mesh itself speaks through", () => {
	const protectedNames = [
		...["connection", "Keep-Alive", "proxy-connection", "te", "Trailer", "Transfer-Encoding", "upgrade", "http2-settings"],
		...["Content-Length", "content_length", "transfer_encoding", "expect", "Host", "via", "forwarded", "max-forwards"],
		...["X-Forwarded-For", "x_forwarded_for", "x-forwarded-anything", "x-real-ip", "x-request-id", "traceparent", "tracestate"],
		...["x-nexus-deadline-ms", "X-Nexus-Reason", "x_nexus_trace", "proxy-authorization", "proxy-authenticate"],
	];
	for (const name of protectedNames) {
		for (const change of [`set: { ${name}: a }`, `add: { ${name}: a }`, `remove: [${name}]`]) {
			const [fault = "", ...more] = faultsOf(ROUTE(`to: u, headers: { request: { ${change} } }`));
			assert.match(fault, /is not a field that a route may change/, change);
			assert.equal(more.length, 0);
		}
	}
	assert.deepEqual(route("to: u, headers: { response: { set: { cache-control: no-store, x-nexusx: a } } }").responseHeaders.set.length, 2);
});

test("each fault in balancing is told with its place, its path and a hint", () => {
	const cases: [written: string, ...expected: string[]][] = [
		["hashOn: ip", "3:50 upstreams.u.hashOn: `hashOn` does not act with `loadBalancing: round-robin` | remove it, or use ring-hash or maglev"],
		[
			"loadBalancing: maglev, ringSize: 5",
			"3:73 upstreams.u.ringSize: `ringSize` does not act with `loadBalancing: maglev` | remove it, or use ring-hash",
		],
		["loadBalancing: maglev, tableSize: 65536", "3:84 upstreams.u.tableSize: `65536` is not a prime | the next one is 65537"],
		["loadBalancing: maglev, tableSize: 1", "3:84 upstreams.u.tableSize: `1` is too small | at least 2"],
		["zoneAware: true", "3:50 upstreams.u.zoneAware: `zoneAware` does not act without a zone | add `zone: NAME` at the top: where this sidecar runs"],
		["slowStart: {}", "3:50 upstreams.u.slowStart.window: `window` is missing | add `window:` here"],
		["panicThreshold: -1", "3:66 upstreams.u.panicThreshold: `-1` is too small | at least 0"],
		["loadBalancing: ring_hash", "3:65 upstreams.u.loadBalancing: `ring_hash` is not one of the choices | did you mean `ring-hash`?"],
		[
			'loadBalancing: ring-hash, hashOn: "header:"',
			'3:84 upstreams.u.hashOn: `"header:"` does not name a header | letters, digits and `-`, at most 64',
		],
	];
	for (const [written, ...expected] of cases) assert.deepEqual(faultsOf(UP(written)), expected, written);
});
