// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the policy has this syntax as well
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadPolicy } from "../../src/policy/load.ts";
import { faultsOf, snapshotOf, upstreamOf } from "./support.ts";

const WITH = (...entries: string[]) => `service: checkout
outbound: {}
policies:
${entries.map((entry) => `  - ${entry}\n`).join("")}upstreams:
  pay:
    endpoints: [{ address: h:1 }]
    timeout: { connect: 2s }
    retry: { attempts: 1 }
  plain: { file: x }
`;
const upstreams = (...entries: string[]) => {
	const snapshot = snapshotOf(WITH(...entries));
	return { pay: upstreamOf(snapshot, "pay"), plain: upstreamOf(snapshot, "plain") };
};

test("an entry fills what the upstream itself does not say, key by key", () => {
	const { pay, plain } = upstreams("{ from: checkout, to: pay, timeout: { request: 2s, connect: 9s }, retry: { attempts: 3, maxBodyBytes: 1KiB } }");
	assert.deepEqual(pay.timeout, { requestMs: 2_000, connectMs: 2_000, idleMs: 60_000 });
	assert.deepEqual([pay.retry.attempts, pay.retry.bodyBytesMax], [1, 1024]);
	assert.deepEqual(plain.timeout, { requestMs: 15_000, connectMs: 1_000, idleMs: 60_000 });
});

test("later entries win over earlier ones, and both over nothing", () => {
	const { pay, plain } = upstreams(
		'{ to: "*", timeout: { request: 1s, idle: 1s, connect: 1s }, loadBalancing: random }',
		"{ to: [pay, plain], timeout: { idle: 2s } }",
		'{ to: "*", timeout: { request: 3s } }',
	);
	assert.deepEqual(pay.timeout, { requestMs: 3_000, connectMs: 2_000, idleMs: 2_000 });
	assert.deepEqual(plain.timeout, { requestMs: 3_000, connectMs: 1_000, idleMs: 2_000 });
	assert.deepEqual([pay.loadBalancing, plain.loadBalancing], ["random", "random"]);
});

test("only entries whose `from` names this service act", () => {
	const timeoutOf = (from: string) => upstreams(`{ from: ${from}, to: plain, timeout: { request: 1s } }`).plain.timeout.requestMs;
	for (const from of ["checkout", "[other, checkout]", '"*"', '["*"]']) assert.equal(timeoutOf(from), 1_000, from);
	for (const from of ["other", "[other, another]"]) assert.equal(timeoutOf(from), 15_000, from);
});

test("source and service may come from the environment", () => {
	const text = WITH('{ from: "${WHO}", to: plain, timeout: { request: 1s } }').replace("service: checkout", "service: ${WHO}");
	assert.equal(upstreamOf(snapshotOf(text, { WHO: "billing" }), "plain").timeout.requestMs, 1_000);
});

test("a filled value keeps the place of its entry, what the upstream says keeps its own", () => {
	const { pay, plain } = upstreams(
		"{ to: pay, timeout: { request: 2s }, circuitBreaker: { failureRate: 0.5 }, rateLimits: [{ name: l, requestsPerSecond: 1 }] }",
		'{ to: "*", retry: { hedge: { after: p95 } } }',
	);
	const at = (place: { line: number; column: number } | undefined) => place && `${place.line}:${place.column}`;
	assert.equal(at(pay.circuitBreaker?.place), "4:42");
	assert.equal(at(pay.circuitBreaker?.trip.place), "4:60");
	assert.equal(at(pay.rateLimits[0]?.place), "4:93");
	assert.equal(at(pay.retry.hedge?.place), "5:25");
	assert.equal(at(pay.retry.place), "10:5");
	assert.equal(at(plain.retry.place), "5:16");
	assert.deepEqual(
		["timeout.request", "timeout.connect", "retry.attempts", "retry.hedge.after", "timeout.idle"].map((key) => at(pay.places?.get(key))),
		["4:27", "9:16", "10:14", "5:34", undefined],
	);
	assert.deepEqual(
		[...(plain.places ?? [])].map(([key, place]) => [key, at(place)]),
		[
			["file", "11:12"],
			["retry.hedge.after", "5:34"],
		],
	);
});

test("lists and faults are taken as a whole, or not at all", () => {
	const { pay } = upstreams(
		"{ to: pay, fault: { abort: {} }, retry: { on: [reset] } }",
		"{ to: pay, fault: { delay: { duration: 1s } }, retry: { on: [503] } }",
	);
	assert.deepEqual(
		pay.faults.map(({ action }) => action.kind),
		["delay"],
	);
	assert.deepEqual([pay.retry.on.reset, pay.retry.on.statuses], [false, [{ from: 503, to: 503 }]]);
});

test("what the upstream says leaves no room for what excludes it", () => {
	const text = WITH('{ to: "*", circuitBreaker: { respond: { body: sorry }, openFor: 1s } }').replace(
		"retry: { attempts: 1 }",
		"circuitBreaker: { failover: [plain] }",
	);
	const snapshot = snapshotOf(text);
	const breaker = upstreamOf(snapshot, "pay").circuitBreaker;
	assert.deepEqual([breaker?.fallback, breaker?.openForMs], [{ kind: "failover", upstreams: ["plain"] }, 1_000]);
	assert.equal(upstreamOf(snapshot, "plain").circuitBreaker?.fallback?.kind, "respond");
});

test("the same protection can be written in either place", () => {
	const filled = snapshotOf(WITH("{ to: plain, timeout: { request: 2s } }"));
	const own = snapshotOf(WITH("{ to: plain }").replace("plain: { file: x }", "plain: { file: x, timeout: { request: 2s } }"));
	assert.deepEqual(upstreamOf(filled, "plain").timeout, upstreamOf(own, "plain").timeout);
});

test("what is wrong in an entry is told once, where it stands, whether it acts or not", () => {
	const cases: [entries: string[], ...expected: string[]][] = [
		[["{ to: pay, timout: { request: 1s } }"], "4:16 policies[0].timout: unknown key `timout` | did you mean `timeout`?"],
		[['{ to: "*", timeout: { request: 1 } }'], "4:36 policies[0].timeout.request: `1` has no unit | did you mean 1s or 1ms?"],
		[["{ from: other, to: pay, retry: { attempts: 99 } }"], "4:48 policies[0].retry.attempts: `99` is too large | at most 10"],
		[["{ from: checkout }"], "4:5 policies[0].to: `to` is missing | add `to:` here"],
		[["{ from: checkout, to: pya }"], "4:27 policies[0].to: there is no upstream named `pya` | did you mean `pay`?"],
		[["{ from: [checkout], to: [plain, pya] }"], "4:37 policies[0].to[1]: there is no upstream named `pya` | did you mean `pay`?"],
		[
			["{ to: pay, endpoints: [] }"],
			"4:16 policies[0].endpoints: unknown key `endpoints` | known here: name, from, to, loadBalancing, hashOn, ringSize, tableSize, failurePenalty, slowStart, zoneAware, panicThreshold, timeout, pool, tls, circuitBreaker, outlierDetection, retry, rateLimits, fault",
		],
		[
			['{ to: "*", hashOn: ip }'],
			"4:16 upstreams.pay.hashOn: `hashOn` does not act with `loadBalancing: round-robin` | remove it, or use ring-hash or maglev",
		],
		[
			["{ to: pay, retry: { perTryTimeout: 3s } }", "{ to: pay, timeout: { request: 2s } }"],
			"4:40 upstreams.pay.retry.perTryTimeout: one try may take longer than all of them | lower it below `timeout.request`, or raise that",
		],
	];
	for (const [entries, ...expected] of cases) assert.deepEqual(faultsOf(WITH(...entries)), expected, entries.join("\n"));
});

test("an entry for everybody may speak of upstreams that only others have", () => {
	assert.ok(snapshotOf(WITH("{ to: elsewhere, timeout: { request: 1s } }", "{ from: other, to: elsewhere }")));
});

test("entries for thousands of upstreams are merged in time, or refused", () => {
	const many = (entries: string, count: number) =>
		loadPolicy(
			`service: a\noutbound: {}\npolicies:\n${entries}upstreams:\n${Array.from({ length: count }, (_, i) => `  u${i}: { file: x }\n`).join("")}`,
			"p.yaml",
			{},
			1,
		);
	const filled = many(Array.from({ length: 500 }, () => '  - { to: "*", timeout: { request: 1s } }\n').join(""), 5_000);
	assert.ok(filled.ok);
	for (const { timeout } of filled.snapshot.upstreams.values()) assert.equal(timeout.requestMs, 1_000);
	const names = Array.from({ length: 400 }, (_, i) => `u${i}`).join(", ");
	const refused = many(Array.from({ length: 300 }, () => `  - { to: [${names}], timeout: { request: 1s } }\n`).join(""), 400);
	assert.ok(!refused.ok);
	assert.deepEqual(
		refused.faults.map(({ message }) => message),
		["the policies act on too many upstreams"],
	);
});
