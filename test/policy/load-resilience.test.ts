import assert from "node:assert/strict";
import { test } from "node:test";
import { APPLICATION_OUTLIER, APPLICATION_RETRY, defaultUpstream } from "../../src/policy/compile.ts";
import { faultsOf, snapshotOf, upstreamOf } from "./support.ts";

const UP = (written: string, top = "") =>
	`service: a\noutbound: {}\n${top}upstreams:\n  v: { file: x }\n  u:\n    endpoints: [{ address: h:1 }]\n    ${written}\n`;
const IN = (written: string) => `service: a\ninbound:\n  application: h:1\n  ${written}\n`;
const of = (written: string, top = "") => upstreamOf(snapshotOf(UP(written, top)), "u");

test("an upstream about which nothing is said has the protection that everybody gets", () => {
	const { circuitBreaker, concurrency, outlierDetection, retry, retryBudget, rateLimits, faults, balancing, place } = of("pool: {}");
	assert.deepEqual([circuitBreaker, concurrency, rateLimits, faults], [undefined, undefined, [], []]);
	assert.deepEqual(outlierDetection, {
		place,
		enabled: true,
		consecutiveFailures: 5,
		consecutiveGatewayFailures: 0,
		consecutiveLocalOriginFailures: 0,
		intervalMs: 10_000,
		baseEjectionTimeMs: 30_000,
		maxEjectionTimeMs: 300_000,
		jitterMs: 0,
		maxEjectionPercent: 10,
		successRate: { minHosts: 5, requestVolume: 100, stdevFactor: 1.9 },
		failurePercentage: undefined,
	});
	assert.deepEqual(retry, {
		place,
		attempts: 2,
		on: {
			connectFailure: true,
			reset: true,
			perTryTimeout: true,
			statuses: [
				{ from: 502, to: 502 },
				{ from: 503, to: 503 },
				{ from: 504, to: 504 },
			],
		},
		perTryTimeoutMs: undefined,
		backoff: { baseMs: 25, maxMs: 250 },
		retryAfterMaxMs: 5_000,
		bodyBytesMax: 65_536,
		hedge: undefined,
	});
	assert.deepEqual(retryBudget, { ratio: 0.2, minPerSecond: 10, windowMs: 10_000 });
	assert.deepEqual(balancing, {
		hashOn: undefined,
		ringSizeMin: 1024,
		tableSize: 65_537,
		failurePenaltyMs: 5_000,
		slowStart: undefined,
		zoneAware: false,
		panicThreshold: 50,
	});
});

test("what the policy does not name is protected alike, the application is not left out", () => {
	const place = { file: "p.yaml", line: 3, column: 1 };
	const named = of("pool: {}");
	const unnamed = defaultUpstream(place);
	assert.deepEqual({ ...unnamed.retry, place: 0 }, { ...named.retry, place: 0 });
	assert.deepEqual(unnamed.retry.place, place);
	assert.deepEqual(unnamed.outlierDetection.place, place);
	for (const key of ["balancing", "loadBalancing", "timeout", "pool", "retryBudget"] as const) assert.deepEqual(unnamed[key], named[key], key);
	assert.equal(APPLICATION_OUTLIER.enabled, false);
	assert.equal(APPLICATION_RETRY.attempts, 0);
	assert.deepEqual(APPLICATION_RETRY.on, { connectFailure: false, reset: false, perTryTimeout: false, statuses: [] });
	assert.ok(Object.isFrozen(APPLICATION_RETRY.on) && Object.isFrozen(unnamed.retry));
});

test("a breaker opens by what is said, by 5 failures in a row where nothing is", () => {
	const trips: [written: string, trip: [number | undefined, number | undefined, number | undefined] | undefined][] = [
		["circuitBreaker: {}", [5, undefined, undefined]],
		["circuitBreaker: { maxConcurrent: 10 }", [5, undefined, undefined]],
		["circuitBreaker: { failureThreshold: 3 }", [3, undefined, undefined]],
		["circuitBreaker: { failureRate: 0.5 }", [undefined, 0.5, undefined]],
		["circuitBreaker: { failureRate: 0.5, failureThreshold: 3 }", [3, 0.5, undefined]],
		["circuitBreaker: { slowCallRate: 0.8, failureThreshold: 0 }", [undefined, undefined, 0.8]],
		["circuitBreaker: { failureThreshold: 0 }", undefined],
	];
	for (const [written, expected] of trips) {
		const { circuitBreaker, concurrency } = of(written);
		const trip = circuitBreaker?.trip;
		assert.deepEqual(trip && [trip.consecutiveFailures, trip.failureRate, trip.slowCallRate], expected, written);
		assert.ok(concurrency !== undefined, written);
	}
});

test("the keys of a breaker are read into what it runs on, the threshold with its own line", () => {
	const written = `circuitBreaker:
      scope: endpoint
      failureThreshold: 4
      failureRate: 0.5
      slowCallRate: 0.8
      slowCallDuration: 300ms
      window: 30s
      minRequests: 7
      successThreshold: 3
      openFor: 2s
      maxOpenFor: 1m
      jitter: 0.1
      halfOpenMaxConcurrent: 2
      failureStatuses: [5xx, 429, "418", 500-504]
      failover: [v]
      maxConcurrent: 100
      maxPending: 5
      pendingTimeout: 20ms
      concurrency: adaptive`;
	const { circuitBreaker, concurrency } = of(written);
	assert.deepEqual(circuitBreaker, {
		place: { file: "p.yaml", line: 7, column: 5 },
		scope: "endpoint",
		trip: {
			place: { file: "p.yaml", line: 9, column: 7 },
			consecutiveFailures: 4,
			failureRate: 0.5,
			slowCallRate: 0.8,
			slowCallMs: 300,
			windowMs: 30_000,
			minRequests: 7,
		},
		successThreshold: 3,
		openForMs: 2_000,
		maxOpenForMs: 60_000,
		jitter: 0.1,
		halfOpenMaxConcurrent: 2,
		failureStatuses: [
			{ from: 500, to: 599 },
			{ from: 429, to: 429 },
			{ from: 418, to: 418 },
			{ from: 500, to: 504 },
		],
		fallback: { kind: "failover", upstreams: ["v"] },
	});
	assert.deepEqual(concurrency, {
		place: { file: "p.yaml", line: 22, column: 7 },
		kind: "adaptive",
		limitMin: 3,
		limitMax: 100,
		pendingMax: 5,
		pendingTimeoutMs: 20,
	});
	assert.equal(of("circuitBreaker: { openFor: 7s }").circuitBreaker?.maxOpenForMs, 7_000);
	const answering = of('circuitBreaker: { respond: { status: 200, body: "{\\"é\\": 1}", contentType: application/json } }').circuitBreaker;
	assert.deepEqual(answering?.fallback, {
		kind: "respond",
		respond: { status: 200, contentType: "application/json", body: Buffer.from('{"é": 1}').toString("latin1") },
	});
});

test("inbound traffic has limits, and a breaker before the application", () => {
	const { inbound } = snapshotOf(IN("circuitBreaker: { maxConcurrent: 100 }\n  rateLimits: [{ name: a, requestsPerSecond: 0.5 }]"));
	assert.deepEqual(inbound?.concurrency, {
		place: { file: "p.yaml", line: 4, column: 21 },
		kind: "fixed",
		limitMin: 100,
		limitMax: 100,
		pendingMax: 1024,
		pendingTimeoutMs: 1_000,
	});
	assert.equal(inbound?.circuitBreaker?.trip.consecutiveFailures, 5);
	assert.deepEqual(inbound?.rateLimits, [
		{
			place: { file: "p.yaml", line: 5, column: 16 },
			name: "a",
			requestsPerSecond: 0.5,
			burst: 1,
			key: [{ kind: "global" }],
			overflow: { kind: "reject" },
			shared: undefined,
		},
	]);
});

test("rate limits are read with their keys, queues and shared buckets", () => {
	const { rateLimits } = of(`rateLimits:
      - { name: deep, requestsPerSecond: 5, key: [route, "header:X-Tenant"], overflow: queue, maxQueued: 7, maxWait: 30ms, priorityHeader: X-Prio }
      - { name: queue, requestsPerSecond: 1.5, burst: 9, key: ip, overflow: queue }
      - { name: wide, requestsPerSecond: 1000, key: caller, shared: { redis: "rediss://u:p@h:6379/2" } }`);
	assert.deepEqual(
		rateLimits.map(({ key, burst, overflow, shared }) => ({ key, burst, overflow, shared })),
		[
			{
				key: [{ kind: "route" }, { kind: "header", name: "x-tenant" }],
				burst: 5,
				overflow: { kind: "queue", queuedMax: 7, waitMaxMs: 30, priorityHeader: "x-prio" },
				shared: undefined,
			},
			{
				key: [{ kind: "ip" }],
				burst: 9,
				overflow: { kind: "queue", queuedMax: 100, waitMaxMs: 1_000, priorityHeader: undefined },
				shared: undefined,
			},
			{
				key: [{ kind: "caller" }],
				burst: 1000,
				overflow: { kind: "reject" },
				shared: { redisUrl: "rediss://u:p@h:6379/2", timeoutMs: 20, onFailure: "local", sliceMs: 100 },
			},
		],
	);
});

test("retries are read with their causes, budget and hedge", () => {
	const { retry, retryBudget } = of(
		"retry: { attempts: 1, on: [reset, gateway-error, 5xx, 429, 520-522], perTryTimeout: 2s, backoff: { base: 1ms, max: 2ms }, retryAfterMax: 0s, maxBodyBytes: 1MiB, budget: { ratio: 0, minPerSecond: 0.5, window: 1s }, hedge: { after: p99.9 } }",
	);
	assert.deepEqual(retry.on, {
		connectFailure: false,
		reset: true,
		perTryTimeout: false,
		statuses: [
			{ from: 502, to: 504 },
			{ from: 500, to: 599 },
			{ from: 429, to: 429 },
			{ from: 520, to: 522 },
		],
	});
	assert.deepEqual(
		[retry.attempts, retry.perTryTimeoutMs, retry.backoff, retry.retryAfterMaxMs, retry.bodyBytesMax],
		[1, 2_000, { baseMs: 1, maxMs: 2 }, 0, 1024 * 1024],
	);
	assert.deepEqual(retry.hedge?.after, { kind: "quantile", quantile: 99.9 / 100 });
	assert.equal(retry.hedge?.maxExtra, 0.05);
	assert.deepEqual(retryBudget, { ratio: 0, minPerSecond: 0.5, windowMs: 1_000 });
	assert.deepEqual(of("retry: { hedge: { after: 50ms, maxExtra: 0.1 }, maxBodyBytes: 0 }").retry.hedge?.after, { kind: "time", ms: 50 });
	assert.equal(of('retry: { hedge: { after: 50ms, maxExtra: "12.5%" } }').retry.hedge?.maxExtra, 0.125);
});

test("ejection can be switched off, in whole and in part", () => {
	assert.equal(of("outlierDetection: { enabled: false }").outlierDetection.enabled, false);
	const { successRate, failurePercentage, jitterMs } = of(
		"outlierDetection: { jitter: 3s, successRate: { enabled: false }, failurePercentage: { enabled: true, threshold: 50 } }",
	).outlierDetection;
	assert.deepEqual([successRate, failurePercentage, jitterMs], [undefined, { threshold: 50, minHosts: 5, requestVolume: 50 }, 3_000]);
});

test("each kind of fault becomes one of its own, with a name and an end", () => {
	const { faults } = of(`fault:
      name: f1
      abort: { percent: 1, status: 500 }
      delay: { percent: 5, duration: 200ms }
      reset: { percent: 2 }
      refuse: {}
      blackHole: { percent: 0.1 }
      throttle: { bytesPerSecond: 1000 }
      truncate: { afterBytes: 1KiB }
      match: { path: /x/**, query: { v: "1" } }
      endpoints: ["H:1"]
      maxAffected: 1
      exempt: true
      for: 10m`);
	assert.deepEqual(
		faults.map(({ name, percent, action, place }) => [name, percent, action, place?.line]),
		[
			["f1-abort", 1, { kind: "abort", status: 500 }, 9],
			["f1-delay", 5, { kind: "delay", distribution: "fixed", ms: 200, msMax: 200 }, 10],
			["f1-reset", 2, { kind: "reset" }, 11],
			["f1-refuse", 100, { kind: "refuse" }, 12],
			["f1-black-hole", 0.1, { kind: "black-hole" }, 13],
			["f1-throttle", 100, { kind: "throttle", bytesPerSecond: 1000 }, 14],
			["f1-truncate", 100, { kind: "truncate", afterBytes: 1024 }, 15],
		],
	);
	for (const { upstream, endpoints, endpointsMax, exempt, forMs, expiresAtMs, match } of faults) {
		assert.deepEqual(
			{ upstream, endpoints, endpointsMax, exempt, forMs, expiresAtMs },
			{ upstream: "u", endpoints: ["h:1"], endpointsMax: 1, exempt: true, forMs: 600_000, expiresAtMs: Date.UTC(2026, 0, 1, 0, 10) },
		);
		assert.deepEqual(
			[match?.path, match?.query.get("v"), match?.percent],
			[{ kind: "prefix", pattern: "/x/**" }, { kind: "exact", value: "1" }, 100],
		);
	}
	assert.deepEqual(of("fault: { name: one, reset: {} }").faults[0]?.name, "one");
	const [unnamed] = of('fault: { abort: {}, expiresAt: "2026-12-01T00:00:00+01:00" }').faults;
	assert.deepEqual([unnamed?.name, unnamed?.expiresAtMs, unnamed?.forMs], ["u-abort", Date.UTC(2026, 10, 30, 23), undefined]);
	const drawn = (distribution: string, max = "") => of(`fault: { delay: { duration: 10ms, distribution: ${distribution}${max} } }`).faults[0]?.action;
	assert.deepEqual(drawn("uniform"), { kind: "delay", distribution: "uniform", ms: 10, msMax: 20 });
	assert.deepEqual(drawn("exponential"), { kind: "delay", distribution: "exponential", ms: 10, msMax: 100 });
	assert.deepEqual(drawn("exponential", ", max: 1s"), { kind: "delay", distribution: "exponential", ms: 10, msMax: 1_000 });
});

test("tracing says where spans go and who may ask for a trace", () => {
	const base = "service: a\noutbound: {}\n";
	const none = snapshotOf(base);
	assert.deepEqual([none.tracing, none.traceAllowed], [undefined, ["127.0.0.0/8", "::1/128"]]);
	const { tracing, traceAllowed } = snapshotOf(`${base}tracing: { otlp: "http://h:4318/", allow: [10.0.0.0/8] }\n`);
	assert.deepEqual([tracing, traceAllowed], [{ otlpUrl: "http://h:4318", sample: 0.01 }, ["10.0.0.0/8"]]);
	assert.equal(snapshotOf(`${base}tracing: { otlp: "http://h", sample: 1 }\n`).tracing?.sample, 1);
	assert.deepEqual(snapshotOf(`${base}tracing: { allow: [] }\n`).traceAllowed, []);
});

test("each fault in resilience is told with its place, its path and a hint", () => {
	const cases: [written: string, ...expected: string[]][] = [
		[
			"circuitBreaker: { failureThreshhold: 5 }",
			"7:23 upstreams.u.circuitBreaker.failureThreshhold: unknown key `failureThreshhold` | did you mean `failureThreshold`?",
		],
		["circuitBreaker: { failureRate: 50 }", "7:36 upstreams.u.circuitBreaker.failureRate: `50` is too large | at most 1"],
		["circuitBreaker: { failureRate: 0 }", "7:36 upstreams.u.circuitBreaker.failureRate: `0` is too small | at least 0.001"],
		[
			"circuitBreaker: { failureStatuses: [200] }",
			"7:41 upstreams.u.circuitBreaker.failureStatuses[0]: `200` is no status of a failure | write a status (503), a class (5xx) or a range (500-504), from 400 to 599",
		],
		[
			"circuitBreaker: { failureStatuses: [504-500] }",
			"7:41 upstreams.u.circuitBreaker.failureStatuses[0]: `504-500` ends before it begins | write a status (503), a class (5xx) or a range (500-504), from 400 to 599",
		],
		[
			"circuitBreaker: { failureStatuses: [teapot] }",
			"7:41 upstreams.u.circuitBreaker.failureStatuses[0]: `teapot` is not a status | write a status (503), a class (5xx) or a range (500-504), from 400 to 599",
		],
		["circuitBreaker: { failureStatuses: [] }", "7:40 upstreams.u.circuitBreaker.failureStatuses: `[]` is empty | at least 1"],
		[
			"circuitBreaker: { openFor: 10s, maxOpenFor: 5s }",
			"7:49 upstreams.u.circuitBreaker.maxOpenFor: `maxOpenFor` is shorter than `openFor` | the time only grows: raise it, or remove it",
		],
		[
			"circuitBreaker: { window: 5s }",
			"7:23 upstreams.u.circuitBreaker.window: `window` does not act without a rate | add `failureRate` or `slowCallRate`, or remove it",
		],
		[
			"circuitBreaker: { slowCallDuration: 5s, failureRate: 0.1 }",
			"7:23 upstreams.u.circuitBreaker.slowCallDuration: `slowCallDuration` does not act without `slowCallRate` | add it, or remove this",
		],
		[
			"circuitBreaker: { failureThreshold: 0, failover: [v] }",
			"7:44 upstreams.u.circuitBreaker.failover: `failover` does not act: nothing opens this breaker | raise `failureThreshold`, or give a rate",
		],
		[
			"circuitBreaker: { failover: [v], respond: {} }",
			"7:38 upstreams.u.circuitBreaker.respond: `failover` and `respond` are both given | keep one of them",
		],
		["circuitBreaker: { failover: [w] }", "7:34 upstreams.u.circuitBreaker.failover[0]: there is no upstream named `w` | add it under `upstreams`"],
		["circuitBreaker: { failover: [u] }", "7:34 upstreams.u.circuitBreaker.failover[0]: an upstream cannot stand in for itself | name another one"],
		["circuitBreaker: { respond: { status: 204, body: x } }", "7:47 upstreams.u.circuitBreaker.respond.body: an answer 204 has no body | remove it"],
		["circuitBreaker: { respond: { status: 100 } }", "7:42 upstreams.u.circuitBreaker.respond.status: `100` is too small | at least 200"],
		[
			"circuitBreaker: { minConcurrent: 5 }",
			"7:23 upstreams.u.circuitBreaker.minConcurrent: `minConcurrent` does not act with a fixed limit | add `concurrency: adaptive`, or remove it",
		],
		[
			"circuitBreaker: { concurrency: adaptive, minConcurrent: 5, maxConcurrent: 4 }",
			"7:61 upstreams.u.circuitBreaker.minConcurrent: `minConcurrent` is more than `maxConcurrent` | lower it",
		],
		["circuitBreaker: { pendingTimeout: 0ms }", "7:39 upstreams.u.circuitBreaker.pendingTimeout: `0ms` is too short | at least 1ms"],
		[
			"outlierDetection: { baseEjectionTime: 10m }",
			"7:43 upstreams.u.outlierDetection.baseEjectionTime: the longest ejection is shorter than the first one | raise `maxEjectionTime`",
		],
		["outlierDetection: { maxEjectionPercent: 101 }", "7:45 upstreams.u.outlierDetection.maxEjectionPercent: `101` is too large | at most 100"],
		["outlierDetection: { successRate: false }", "7:38 upstreams.u.outlierDetection.successRate: `false` is not a mapping"],
		["retry: { attempts: 11 }", "7:24 upstreams.u.retry.attempts: `11` is too large | at most 10"],
		[
			"retry: { on: [timeout] }",
			"7:19 upstreams.u.retry.on[0]: `timeout` is not a cause of retries | use connect-failure, reset, per-try-timeout, gateway-error, 5xx, or a status as in 503",
		],
		["retry: { on: [] }", "7:18 upstreams.u.retry.on: `[]` is empty | at least 1"],
		["retry: { budget: { window: 61s } }", "7:32 upstreams.u.retry.budget.window: `61s` is too long | at most 1m"],
		["retry: { budget: { window: 500ms } }", "7:32 upstreams.u.retry.budget.window: `500ms` is too short | at least 1s"],
		["retry: { budget: { ratio: 20 } }", "7:31 upstreams.u.retry.budget.ratio: `20` is too large | at most 1"],
		["retry: { backoff: { base: 1s } }", "7:31 upstreams.u.retry.backoff.base: the longest wait is shorter than the first one | raise `backoff.max`"],
		[
			"retry: { perTryTimeout: 20s }",
			"7:29 upstreams.u.retry.perTryTimeout: one try may take longer than all of them | lower it below `timeout.request`, or raise that",
		],
		[
			"retry: { perTryTimeout: 1s, hedge: { after: 1s } }",
			"7:49 upstreams.u.retry.hedge.after: the hedge would never be sent: the first try has ended by then | wait less long",
		],
		["retry: { hedge: {} }", "7:14 upstreams.u.retry.hedge.after: `after` is missing | add `after:` here"],
		["retry: { hedge: { after: p100 } }", "7:30 upstreams.u.retry.hedge.after: `p100` is not a quantile | write p95, p99, or a duration as in 50ms"],
		[
			"retry: { hedge: { after: p0 } }",
			"7:30 upstreams.u.retry.hedge.after: `p0` is no part of the answers | write p95 for the time that 95 % of them take",
		],
		["retry: { hedge: { after: 50 } }", "7:30 upstreams.u.retry.hedge.after: `50` has no unit | did you mean 50s or 50ms?"],
		["retry: { hedge: { after: p95, maxExtra: 5 } }", "7:45 upstreams.u.retry.hedge.maxExtra: `5` is more than all | write 5% or 0.05; from 0 to 1"],
		["retry: { maxBodyBytes: 64KB }", "7:28 upstreams.u.retry.maxBodyBytes: `64KB` is not a number of bytes | write 64KiB, 1MiB or 65536"],
		["retry: { maxBodyBytes: 1000MiB }", "7:28 upstreams.u.retry.maxBodyBytes: `1000MiB` is too large | at most 16MiB"],
		["rateLimits: [{ name: a }]", "7:18 upstreams.u.rateLimits[0].requestsPerSecond: `requestsPerSecond` is missing | add `requestsPerSecond:` here"],
		["rateLimits: [{ name: a, requestsPerSecond: 0 }]", "7:48 upstreams.u.rateLimits[0].requestsPerSecond: `0` is too small | at least 0.001"],
		[
			"rateLimits: [{ name: a, requestsPerSecond: 1 }, { name: a, requestsPerSecond: 2 }]",
			"7:61 upstreams.u.rateLimits[1].name: a limit named `a` stands above already | names of limits are unique",
		],
		[
			"rateLimits: [{ name: a, requestsPerSecond: 1, key: user }]",
			"7:56 upstreams.u.rateLimits[0].key: `user` is nothing to count requests by | use caller, route, ip, global or header:NAME",
		],
		[
			'rateLimits: [{ name: a, requestsPerSecond: 1, key: [ip, "header:a b"] }]',
			'7:61 upstreams.u.rateLimits[0].key[1]: `"header:a b"` does not name a header | letters, digits and `-`, at most 64',
		],
		["rateLimits: [{ name: a, requestsPerSecond: 1, key: [] }]", "7:56 upstreams.u.rateLimits[0].key: `[]` is empty | at least 1"],
		[
			"rateLimits: [{ name: a, requestsPerSecond: 1, key: [ip, global] }]",
			"7:56 upstreams.u.rateLimits[0].key: `global` tells nothing apart beside others | remove it",
		],
		[
			"rateLimits: [{ name: a, requestsPerSecond: 1, maxWait: 1s }]",
			"7:51 upstreams.u.rateLimits[0].maxWait: `maxWait` does not act without `overflow: queue` | add it, or remove this",
		],
		[
			'rateLimits: [{ name: a, requestsPerSecond: 1000, burst: 50, shared: { redis: "redis://h" } }]',
			"7:61 upstreams.u.rateLimits[0].burst: `burst` is less than what flows in one slice | sidecars lease a slice at a time: raise `burst`, or shorten `shared.slice`",
		],
		[
			"rateLimits: [{ name: a, requestsPerSecond: 1, shared: { redis: h:6379 } }]",
			"7:68 upstreams.u.rateLimits[0].shared.redis: `h:6379` is not a Redis URL | write redis://127.0.0.1:6379, or rediss:// for TLS",
		],
		["fault: {}", "7:5 upstreams.u.fault: the fault does nothing | give one of abort, delay, reset, refuse, blackHole, throttle, truncate"],
		["fault: { abort: { percent: 101 } }", "7:32 upstreams.u.fault.abort.percent: `101` is too large | at most 100"],
		["fault: { abort: { status: 200 } }", "7:31 upstreams.u.fault.abort.status: `200` is too small | at least 400"],
		["fault: { delay: {} }", "7:14 upstreams.u.fault.delay.duration: `duration` is missing | add `duration:` here"],
		[
			"fault: { delay: { duration: 2s, distribution: uniform, max: 1s } }",
			"7:65 upstreams.u.fault.delay.max: `max` is shorter than the delay itself | raise it",
		],
		[
			'fault: { reset: {}, for: 1m, expiresAt: "2026-12-01T00:00:00Z" }',
			"7:34 upstreams.u.fault.expiresAt: `for` and `expiresAt` are both given | keep one of them",
		],
		[
			"fault: { reset: {}, expiresAt: tomorrow }",
			'7:36 upstreams.u.fault.expiresAt: `tomorrow` is not a point in time | write it with its zone, in quotes: "2026-12-01T00:00:00Z"',
		],
		[
			'fault: { reset: {}, expiresAt: "2026-13-01T00:00:00Z" }',
			'7:36 upstreams.u.fault.expiresAt: `"2026-13-01T00:00:00Z"` is a point in time that does not exist | write it with its zone, in quotes: "2026-12-01T00:00:00Z"',
		],
		['fault: { reset: {}, endpoints: ["h:2"] }', "7:37 upstreams.u.fault.endpoints[0]: `h:2` is no endpoint of this upstream | did you mean `h:1`?"],
		[
			"fault: { reset: {}, match: { method: GET, methods: [GET] } }",
			"7:34 upstreams.u.fault.match.method: `method` and `methods` are both given | keep one of them",
		],
	];
	for (const [written, ...expected] of cases) assert.deepEqual(faultsOf(UP(written)), expected, written);
});

test("failovers that lead in circles are refused where they close", () => {
	const text = `service: a
outbound: {}
upstreams:
  a: { file: x, circuitBreaker: { failover: [b] } }
  b: { file: y, circuitBreaker: { failover: [c] } }
  c: { file: z, circuitBreaker: { failover: [d, a] } }
  d: { file: z }
`;
	assert.deepEqual(
		faultsOf(text).map((fault) => fault.split(" | ")[0]),
		[
			"4:46 upstreams.a.circuitBreaker.failover[0]: `b` fails over to `a` in turn",
			"5:46 upstreams.b.circuitBreaker.failover[0]: `c` fails over to `b` in turn",
			"6:49 upstreams.c.circuitBreaker.failover[1]: `a` fails over to `c` in turn",
		],
	);
	assert.ok(snapshotOf(text.replace("[d, a]", "[d]")).upstreams.size === 4);
});

test("faults of the inbound side and of tracing are told as well", () => {
	const cases: [text: string, ...expected: string[]][] = [
		[
			IN("circuitBreaker: { failover: [u] }"),
			"4:21 inbound.circuitBreaker.failover: `failover` does not act under `inbound` | there is one application and nothing beside it: remove it",
		],
		[
			IN("circuitBreaker: { scope: route }"),
			"4:21 inbound.circuitBreaker.scope: `scope` does not act under `inbound` | there is one application and nothing beside it: remove it",
		],
		[
			IN("rateLimits: [{ name: a, requestsPerSecond: 1 }, { name: a, requestsPerSecond: 1 }]"),
			"4:59 inbound.rateLimits[1].name: a limit named `a` stands above already | names of limits are unique",
		],
		[
			"service: a\noutbound: {}\ntracing: { sample: 0.5 }\n",
			"3:12 tracing.sample: `sample` does not act without `otlp` | say where spans go, or remove it",
		],
		[
			"service: a\noutbound: {}\ntracing: { allow: [localhost] }\n",
			"3:20 tracing.allow[0]: `localhost` is not a CIDR block | write a block as in 10.0.0.0/8 or fd00::/8",
		],
	];
	for (const [text, ...expected] of cases) assert.deepEqual(faultsOf(text), expected);
});
