import assert from "node:assert/strict";
import { test } from "node:test";
import type { Decision } from "../../src/policy/decision-trace.ts";
import { explainRouting, type RoutingTrace } from "../../src/policy/explain.ts";
import { explainJson, readExplainedRequest } from "../../src/policy/explained-request.ts";
import { snapshotOf } from "./support.ts";

const POLICY = snapshotOf(`service: checkout
zone: a
policies:
  - { from: checkout, to: "*", timeout: { request: 2s }, retry: { budget: { ratio: 0.1 } } }
inbound:
  application: 127.0.0.1:3000
  timeout: { idle: 5s }
  rateLimits:
    - { name: per-caller, requestsPerSecond: 100, burst: 200, key: [caller, "header:x-tenant"], overflow: queue }
  circuitBreaker: { maxConcurrent: 100, respond: { body: later } }
outbound:
  routes:
    - { name: canary, match: { host: search, headers: { x-beta: { present: true } }, query: { v: { prefix: "2" } }, percent: 10 }, split: [{ to: v1, weight: 95 }, { to: v2, weight: 5 }], sticky: cookie:sid, mirror: { to: v2, percent: 1 }, rewrite: { path: /x }, headers: { request: { set: { x-a: b } } }, rateLimits: [{ name: few, requestsPerSecond: 1 }] }
    - { name: theirs, match: { from: other }, to: v1 }
    - { name: old, match: { path: /old/** }, redirect: { status: 308, path: /new } }
    - { name: ping, match: { path: /ping, headers: { x-x: { absent: true } } }, respond: { body: pong, status: 203 } }
    - { name: all, match: { host: search }, to: v1, timeout: { request: 1s }, retry: { attempts: 1, perTryTimeout: 500ms } }
upstreams:
  v1:
    endpoints: [{ address: h:1 }]
    circuitBreaker: { scope: endpoint, failureRate: 0.5, slowCallRate: 0.8, maxOpenFor: 2m, failover: [v2], concurrency: adaptive }
    retry: { hedge: { after: p95 } }
  v2:
    endpoints: [{ address: h:2 }, { address: h:3 }]
    loadBalancing: ring-hash
    hashOn: ip
    zoneAware: true
    fault: { name: f, abort: { percent: 5 }, delay: { duration: 20ms, distribution: exponential }, endpoints: ["h:2"] }
    retry: { attempts: 0 }
    outlierDetection: { enabled: false }
`);

function explain(url: string, header: string[] = [], draw?: number): RoutingTrace {
	const direction = url.startsWith("/") ? "inbound" : "outbound";
	const request = readExplainedRequest({ direction, method: "GET", url, header, from: undefined });
	assert.ok(typeof request !== "string", String(request));
	return explainRouting(POLICY, draw === undefined ? request : { ...request, draw });
}

/** `stage verdict line: text` */
function lines({ decisions }: RoutingTrace): string[] {
	return decisions.map(({ stage, verdict, place, text }) => `${stage} ${verdict} ${place?.line ?? "-"}: ${text}`);
}

function holds(trace: RoutingTrace, expected: readonly string[]): void {
	const all = lines(trace);
	for (const line of expected) assert.ok(all.includes(line), `${line}\nis not in\n${all.join("\n")}`);
}

test("each route tells the first condition that did not hold", () => {
	const routesOf = (url: string, header: string[] = [], draw?: number) =>
		lines(explain(url, header, draw)).filter((line) => / route [a-z]+: /.test(line));
	assert.deepEqual(routesOf("http://search/ping?v=1", ["x-x: 1"]), [
		"route no 13: route canary: header x-beta is absent",
		"route no 14: route theirs: it is for requests of other only",
		"route no 15: route old: the path does not fit /old/**",
		'route no 16: route ping: header x-x is there: "1"',
		"route yes 17: route all: matches: to v1",
	]);
	assert.match(routesOf("http://search/?v=1", ["x-beta: 1"])[0] ?? "", /query parameter v is "1", not something that begins with "2"$/);
	assert.match(routesOf("http://search/", ["x-beta: 1"])[0] ?? "", /query parameter v is absent, not something that begins with "2"$/);
	const draws = [0.1, 0.2, 0.3, 0.4, 0.5].map((draw) => routesOf("http://search/?v=2", ["x-beta: 1"], draw)[0] ?? "");
	assert.ok(
		draws.some((line) => /route canary: it takes 10 % of such requests, and the draw for this one was \d+\.\d\d$/.test(line)),
		draws.join("\n"),
	);
});

test("a part of the requests is told as a part, with what becomes of the others", () => {
	holds(explain("http://search/a?v=23", ["x-beta: 1"]), [
		"route yes 13: route canary: matches, as 10 % of such requests: split over v1 95 %, v2 5 %, always the same for one cookie sid",
		"route note 17: route all: would match as well, but an earlier route has won",
		"route note 17: the other 90 % go on: route all matches next",
	]);
});

test("a split tells its shares, what is changed and copied, and the rules of each destination", () => {
	const trace = explain("http://search/a?v=23", ["x-beta: 1"]);
	assert.ok(trace.outcome?.kind === "split");
	assert.deepEqual(
		trace.outcome.destinations.map(({ upstream, share }) => [upstream.name, share]),
		[
			["v1", 0.95],
			["v2", 0.05],
		],
	);
	holds(trace, [
		"route note 13: the path becomes /x",
		"route note 13: the request gets x-a set",
		"limit note 13: limit few: 1 requests/s, 1 at once; over it 429",
		"mirror note 13: 1 % of the requests are copied to v2; nobody waits for the answer",
		"breaker note 21: v1: while it is open, v2 is asked instead",
		"breaker note -: v2: no circuit breaker",
		"pick note 25: v2: ring-hash among 2 endpoints by address of the client, those of the same zone first; all of them when fewer than 50 % are usable",
		"pick note 30: v2: no endpoint is ejected",
		"fault note 28: v2: fault f-abort: status 503 for 5 % of the attempts to h:2",
		"fault note 28: v2: fault f-delay: a delay (exponential) of 20ms, at most 200ms for 100 % of the attempts to h:2",
		"retry note 29: v2: no further tries",
	]);
	assert.equal(lines(trace).filter((line) => line.startsWith("mirror")).length, 1);
});

test("the rules of an upstream are told with the line that each came from, or as defaults", () => {
	holds(explain("http://search/"), [
		"route yes 17: route all is the first that matches",
		"deadline note 17: 1s for the whole exchange, all tries included",
		"deadline note -: 1s for a connection (default)",
		"deadline note -: 1m of silence inside an answer's body (default)",
		"concurrency note 21: at most 3 to 1024 requests, by latency, under way; 1024 more wait up to 1s",
		"breaker note 21: a breaker for each endpoint opens when 50 % of at least 20 requests in 10s fail, or when 80 % of at least 20 requests in 10s take longer than 1s (failures to reach it, and 5xx), for 1m to 2m, and closes after 2 successes",
		"pick note -: round-robin among one endpoint; all of them when fewer than 50 % are usable (default)",
		"retry note 17: up to 1 more tries on connect-failure, reset, per-try-timeout, 502, 503, 504, each up to 500ms, after a random part of 25ms to 250ms",
		"retry note 4: further tries may add 10 % to the load and 10 a second, over 10s",
	]);
	holds(explain("http://v1/"), [
		"route yes 19: no route names this host, so the Host names the upstream",
		"deadline note 4: 2s for the whole exchange, all tries included",
		"hedge note 22: a second try goes out when the first has been silent for the time that 95 % of the answers take, for at most 5 % of the requests",
	]);
});

test("inbound rules are told up to the application", () => {
	const trace = explain("/orders");
	assert.equal(trace.outcome?.kind, "application");
	holds(trace, [
		"caller note 5: arrives at the inbound listener 0.0.0.0:15006",
		"limit note 9: limit per-caller: 100 requests/s for each caller and value of x-tenant, 200 at once; over it up to 100 wait up to 1s, further ones get 429",
		"deadline note -: 15s for the whole exchange, all tries included (default)",
		"deadline note 7: 5s of silence inside an answer's body",
		"concurrency note 10: at most 100 requests under way; 1024 more wait up to 1s",
		"breaker note 10: one breaker opens after 5 failures in a row (failures to reach it, and 5xx), for 1m, and closes after 2 successes",
		"breaker note 10: while it is open, the answer is 200",
	]);
});

test("what is answered here is told with its status and where it leads", () => {
	const redirect = explain("http://x/old/a?b=/c");
	assert.ok(redirect.outcome?.kind === "redirect");
	assert.deepEqual([redirect.outcome.status, redirect.outcome.location], [308, "/new/a?b=/c"]);
	holds(redirect, ["answer note 15: status 308, location /new/a?b=/c"]);
	const respond = explain("http://x/ping");
	assert.equal(respond.outcome?.kind, "respond");
	holds(respond, ["answer note 16: status 203, 4 bytes of text/plain; charset=utf-8"]);
});

test("a request that nothing takes ends with the refusal", () => {
	const { decisions } = explain("http://nobody/");
	const last = decisions.at(-1) as Decision;
	assert.deepEqual([last.stage, last.verdict, last.place?.line], ["route", "no", 11]);
	assert.match(last.text, /no upstream named "nobody"/);
});

test("a policy without the listener says nothing, and the query of a described request is kept", () => {
	const inboundOnly = snapshotOf("service: a\ninbound: { application: h:1 }\n");
	const request = readExplainedRequest({ direction: "outbound", method: "GET", url: "http://h/p?a=1&b#c", header: [] });
	assert.ok(typeof request !== "string");
	assert.deepEqual([request.path, request.query], ["/p", "?a=1&b"]);
	const trace = explainRouting(inboundOnly, request);
	assert.deepEqual([trace.outcome, trace.decisions], [undefined, []]);
	const relative = readExplainedRequest({ direction: "outbound", method: "GET", url: "/p?x", header: ["Host: h"] });
	assert.ok(typeof relative !== "string");
	assert.deepEqual([relative.path, relative.query], ["/p", "?x"]);
	assert.match(String(readExplainedRequest({ direction: "outbound", method: "GET", url: "?x", header: [] })), /neither/);
});

test("as JSON a trace holds what it says and nothing that JSON cannot", () => {
	for (const [url, header] of [
		["http://search/a?v=2", ["x-beta: 1"]],
		["http://x/old/a", []],
		["http://x/ping", []],
		["http://v2/", []],
		["/in", []],
	] as const) {
		const request = readExplainedRequest({ direction: url.startsWith("/") ? "inbound" : "outbound", method: "GET", url, header });
		assert.ok(typeof request !== "string");
		const trace = explainRouting(POLICY, request);
		const json = JSON.parse(JSON.stringify(explainJson(request, trace)));
		assert.equal(json.outcome.kind, trace.outcome?.kind);
		assert.equal(json.decisions.length, trace.decisions.length);
		assert.doesNotMatch(JSON.stringify(json), /undefined|\[object/);
	}
	const request = readExplainedRequest({ direction: "outbound", method: "GET", url: "http://search/a?v=2", header: ["x-beta: 1"] });
	assert.ok(typeof request !== "string");
	const { outcome } = JSON.parse(JSON.stringify(explainJson(request, explainRouting(POLICY, request))));
	assert.deepEqual(
		[outcome.route, outcome.destinations],
		[
			"canary",
			[
				{ upstream: "v1", share: 0.95 },
				{ upstream: "v2", share: 0.05 },
			],
		],
	);
});
