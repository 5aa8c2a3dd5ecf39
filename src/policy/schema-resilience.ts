/** The keys of resilience: breaker, ejection, retries, rate limits, faults. */

import { addressText } from "./address-text.ts";
import { DEFAULTS } from "./defaults.ts";
import { isRefusal } from "./fault.ts";
import {
	parseBytes,
	parseHedgeDelay,
	parseRateLimitKey,
	parseRedisUrl,
	parseRetryCause,
	parseShare,
	parseStatusRange,
	parseTimestamp,
} from "./resilience-values.ts";
import { match, respond } from "./schema-match.ts";
import {
	byDefault,
	duration,
	durationFrom,
	durationOrNone,
	flag,
	fraction,
	integer,
	list,
	name,
	number,
	oneOrMore,
	optional,
	percent,
	required,
	shortDuration,
	text,
	textOrNumber,
} from "./schema-values.ts";
import { choice, type Output, object } from "./shape.ts";
import { parseAddress, parseFieldName } from "./values.ts";

// A replay is kept in memory for as long as its request may be retried.
const BODY_BYTES_MAX = 16 * 1024 * 1024;
// Each costs a look per request.
const RATE_LIMITS_MAX = 32;
const STATUSES_MAX = 32;

const statuses = list(textOrNumber("status, class or range", parseStatusRange, "^([0-9]{3}|[0-9]xx|[0-9]{3}-[0-9]{3})$"), {
	min: 1,
	max: STATUSES_MAX,
});
const bytes = (max: number) => textOrNumber("size", (written) => parseBytes(written, max), "^[0-9]+(B|kB|KiB|MB|MiB)?$");

const BREAKER = DEFAULTS.circuitBreaker;

/** Of an upstream, or of the application behind `inbound`. */
export const circuitBreaker = object({
	scope: byDefault(
		choice(["upstream", "endpoint", "route"]),
		BREAKER.scope,
		"One breaker for all of the upstream, for each endpoint, or for each route.",
	),
	failureThreshold: optional(
		integer(0, 10_000),
		`Failures in a row that open it; ${BREAKER.failureThreshold} where no rate is given. 0 without a rate: only the limits act.`,
	),
	failureRate: optional(number(0.001, 1), "Part of the requests in the window whose failure opens it, 0.001 to 1."),
	slowCallRate: optional(number(0.001, 1), "Part of the requests in the window whose slowness opens it, 0.001 to 1."),
	slowCallDuration: byDefault(shortDuration, BREAKER.slowCallDuration, "An answer's head that takes longer is slow."),
	window: byDefault(durationFrom(1_000, 3_600_000), BREAKER.window, "What the rates look back on."),
	minRequests: byDefault(integer(1, 1_000_000), BREAKER.minRequests, "With fewer requests in the window the rates say nothing."),
	successThreshold: byDefault(integer(1, 1_000), BREAKER.successThreshold, "Successes in a row that close it again while half-open."),
	openFor: byDefault(duration, BREAKER.openFor, "How long it rejects until it probes."),
	maxOpenFor: optional(duration, "Each probe that fails doubles the time, up to this; without it the time stays."),
	jitter: byDefault(fraction, BREAKER.jitter, "Part of the time that is drawn at random on top, 0 to 1."),
	halfOpenMaxConcurrent: byDefault(integer(1, 1_000), BREAKER.halfOpenMaxConcurrent, "Probes at a time while half-open."),
	failureStatuses: byDefault(statuses, [...BREAKER.failureStatuses], "Answers that count as failures."),
	failover: optional(list(name, { min: 1, max: 8 }), "Upstreams that are asked instead while it is open, in this order."),
	respond: optional(respond, "The answer while it is open; `failover` and `respond` exclude each other."),
	maxConcurrent: byDefault(integer(1, 1_000_000), BREAKER.maxConcurrent, "Requests under way at a time; with `adaptive` the most."),
	maxPending: byDefault(integer(0, 1_000_000), BREAKER.maxPending, "Requests that wait for their turn; more are refused with `endpoint_overflow`."),
	pendingTimeout: byDefault(shortDuration, BREAKER.pendingTimeout, "Longest wait for a turn; then `queue_timeout`."),
	concurrency: byDefault(choice(["fixed", "adaptive"]), BREAKER.concurrency, "Whether the limit stays, or follows the latency."),
	minConcurrent: optional(integer(1, 1_000_000), `Least limit with \`adaptive\`; ${BREAKER.minConcurrent} where nothing is said.`),
});

const OUTLIER = DEFAULTS.outlierDetection;
const inARow = integer(0, 10_000);

export const outlierDetection = object({
	enabled: byDefault(flag, OUTLIER.enabled, "Whether endpoints are ejected at all."),
	consecutiveFailures: byDefault(
		inARow,
		OUTLIER.consecutiveFailures,
		"5xx answers and failures to reach it, in a row, that eject an endpoint; 0: off.",
	),
	consecutiveGatewayFailures: byDefault(inARow, OUTLIER.consecutiveGatewayFailures, "The same for 502, 503, 504 and failures to reach it; 0: off."),
	consecutiveLocalOriginFailures: byDefault(
		inARow,
		OUTLIER.consecutiveLocalOriginFailures,
		"The same for connect failures, resets and timeouts alone; 0: off.",
	),
	interval: byDefault(duration, OUTLIER.interval, "How often rates are judged and endpoints return."),
	baseEjectionTime: byDefault(duration, OUTLIER.baseEjectionTime, "How long the first ejection lasts; each further one as much longer."),
	maxEjectionTime: byDefault(duration, OUTLIER.maxEjectionTime, "The longest ejection."),
	jitter: byDefault(durationOrNone, OUTLIER.jitter, "Up to so much is added at random."),
	maxEjectionPercent: byDefault(percent, OUTLIER.maxEjectionPercent, "Most endpoints that are ejected at a time, 0 to 100; one may always be."),
	successRate: byDefault(
		object({
			enabled: byDefault(flag, OUTLIER.successRate.enabled, "Whether success rates are compared."),
			minHosts: byDefault(integer(1, 10_000), OUTLIER.successRate.minHosts, "Endpoints with enough requests that a comparison needs."),
			requestVolume: byDefault(integer(1, 1_000_000), OUTLIER.successRate.requestVolume, "Requests in an interval that count as enough."),
			stdevFactor: byDefault(number(0, 10), OUTLIER.successRate.stdevFactor, "Below the mean by so many standard deviations, it is ejected."),
		}),
		{},
		"Ejects an endpoint that succeeds less often than the others.",
	),
	failurePercentage: byDefault(
		object({
			enabled: byDefault(flag, OUTLIER.failurePercentage.enabled, "Whether the percentage of failures is looked at."),
			threshold: byDefault(percent, OUTLIER.failurePercentage.threshold, "Percentage of failures in an interval that ejects."),
			minHosts: byDefault(integer(1, 10_000), OUTLIER.failurePercentage.minHosts, "Endpoints with enough requests that it needs."),
			requestVolume: byDefault(integer(1, 1_000_000), OUTLIER.failurePercentage.requestVolume, "Requests in an interval that count as enough."),
		}),
		{},
		"Ejects an endpoint that fails too often by itself.",
	),
});

const RETRY = DEFAULTS.retry;

const retryKeys = {
	attempts: byDefault(integer(0, 10), RETRY.attempts, "Tries after the first one; 0: none."),
	on: byDefault(
		list(
			textOrNumber("cause or status", parseRetryCause, "^(connect-failure|reset|per-try-timeout|gateway-error|[0-9]{3}|[0-9]xx|[0-9]{3}-[0-9]{3})$"),
			{
				min: 1,
				max: STATUSES_MAX,
			},
		),
		[...RETRY.on],
		"What is tried again: `connect-failure`, `reset`, `per-try-timeout`, `gateway-error` (502 to 504), `5xx`, statuses. What may have been acted on, only where the method is idempotent or the request carries an `idempotency-key`.",
	),
	perTryTimeout: optional(duration, "Longest that one try may take; without it all the time that is left."),
	backoff: byDefault(
		object({
			base: byDefault(shortDuration, RETRY.backoff.base, "Bound of the first wait, which is drawn at random below it; doubles with each try."),
			max: byDefault(shortDuration, RETRY.backoff.max, "Where the bound stops to grow."),
		}),
		{},
		"The wait before another try.",
	),
	retryAfterMax: byDefault(durationOrNone, RETRY.retryAfterMax, "A `retry-after` of the answer is kept to up to here; beyond it the tries end."),
	maxBodyBytes: byDefault(bytes(BODY_BYTES_MAX), RETRY.maxBodyBytes, "Body bytes kept for another try; a larger body is sent once."),
	hedge: optional(
		object({
			after: required(
				text("quantile or duration", parseHedgeDelay),
				"Silence of the first try after which a second is sent: `p95` of the answers, or `50ms`.",
			),
			maxExtra: byDefault(
				textOrNumber("share", parseShare, "^[0-9]+(\\.[0-9]+)?%?$"),
				RETRY.hedgeMaxExtra,
				"Most requests that get a second try so: `5%` or 0.05.",
			),
		}),
		"A second try while the first is still silent; the first answer wins. Only for what may be tried again.",
	),
};

/** Of a route: its tries draw on the budget of the upstream. */
export const routeRetry = object(retryKeys);

export const retry = object({
	...retryKeys,
	budget: byDefault(
		object({
			ratio: byDefault(fraction, RETRY.budget.ratio, "Retries for each request, 0 to 1."),
			minPerSecond: byDefault(number(0, 1_000_000), RETRY.budget.minPerSecond, "Retries a second on top, so that little traffic can retry too."),
			window: byDefault(durationFrom(1_000, 60_000), RETRY.budget.window, "How long an unused share is kept, 1s to 60s."),
		}),
		{},
		"What retries and hedges of all routes may add to the load of this upstream.",
	),
});

const LIMIT = DEFAULTS.rateLimit;

const rateLimit = object({
	name: required(name, "Unique in its list; stands in answers, metrics and events."),
	requestsPerSecond: required(number(0.001, 1_000_000), "What flows in, 0.001 to 1000000."),
	burst: optional(integer(1, 10_000_000), "Requests at once; by default one second's worth, at least 1."),
	key: byDefault(
		oneOrMore("part of a key", parseRateLimitKey, 8),
		LIMIT.key,
		"Requests are counted apart by this: `caller`, `route`, `ip`, `header:NAME`, several of them, or `global`.",
	),
	overflow: byDefault(choice(["reject", "queue"]), LIMIT.overflow, "What is over the rate: 429, or a wait for its turn."),
	maxQueued: optional(integer(1, 100_000), `Requests that wait, with \`queue\`; ${LIMIT.maxQueued} where nothing is said. More are rejected.`),
	maxWait: optional(shortDuration, `Longest wait, with \`queue\`; ${LIMIT.maxWait} where nothing is said.`),
	priorityHeader: optional(text("header name", parseFieldName), "Header with 0 (first) to 9, with `queue`."),
	shared: optional(
		object({
			redis: required(text("Redis URL", parseRedisUrl, "^rediss?://"), "Where the buckets are kept."),
			timeout: byDefault(shortDuration, LIMIT.shared.timeout, "Longest that Redis may take to answer."),
			onFailure: byDefault(
				choice(["local", "allow", "deny"]),
				LIMIT.shared.onFailure,
				"Without Redis: a bucket of this sidecar's own, everything, or nothing passes.",
			),
			slice: byDefault(durationFrom(10, 10_000), LIMIT.shared.slice, "Redis is asked for what flows in so long a time, so once per slice and key."),
		}),
		"Buckets that many sidecars share; without it each has its own.",
	),
});

export const rateLimits = list(rateLimit, { max: RATE_LIMITS_MAX });

const share = byDefault(percent, DEFAULTS.fault.percent, "Percentage of the attempts that fit, 0 to 100.");

/** What happens to an attempt; each kind draws for itself. */
export const faultKinds = {
	abort: optional(
		object({
			percent: share,
			status: byDefault(integer(400, 599), DEFAULTS.fault.abortStatus, "Status of the answer."),
		}),
		"The upstream seems to answer with an error.",
	),
	delay: optional(
		object({
			percent: share,
			duration: required(shortDuration, "How long; the mean of an exponential, the least of a uniform distribution."),
			distribution: byDefault(choice(["fixed", "uniform", "exponential"]), DEFAULTS.fault.distribution, "How delays are drawn."),
			max: optional(shortDuration, "The longest that is drawn; by default twice the duration (uniform), ten times (exponential)."),
		}),
		"The attempt waits before it is sent.",
	),
	reset: optional(object({ percent: share }), "The connection breaks before an answer."),
	refuse: optional(object({ percent: share }), "The connection is refused."),
	blackHole: optional(object({ percent: share }), "The request vanishes: nothing ever answers."),
	throttle: optional(
		object({ percent: share, bytesPerSecond: required(integer(1, 1_000_000_000), "Bytes a second of the answer's body.") }),
		"The answer's body comes slowly.",
	),
	truncate: optional(
		object({ percent: share, afterBytes: required(bytes(1_000_000_000), "Bytes of the answer's body that still arrive.") }),
		"The answer's body breaks off.",
	),
};

function parseEndpoint(written: string) {
	const address = parseAddress(written);
	return isRefusal(address) ? address : addressText(address);
}

export const fault = object({
	name: optional(name, "Stands in answers, metrics and events; by default made of the upstream and the kind."),
	...faultKinds,
	match: optional(match, "Requests that are touched, as routes match; by default all."),
	endpoints: optional(list(text("address", parseEndpoint), { min: 1, max: 1_000 }), "Endpoints that are touched; by default all."),
	maxAffected: optional(integer(1, 10_000), "At most so many different endpoints are touched."),
	exempt: byDefault(flag, DEFAULTS.fault.exempt, "Whether breaker and ejection look away."),
	for: optional(duration, "Gone by itself after this, from the moment that the policy is taken."),
	expiresAt: optional(text("point in time", parseTimestamp), 'Gone by itself then: "2026-12-01T00:00:00Z".'),
});

export type CircuitBreakerConfig = Output<typeof circuitBreaker>;
export type OutlierConfig = Output<typeof outlierDetection>;
export type RetryConfig = Output<typeof retry>;
export type RouteRetryConfig = Output<typeof routeRetry>;
export type RateLimitConfig = Output<typeof rateLimit>;
export type FaultConfig = Output<typeof fault>;
