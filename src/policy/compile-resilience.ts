/** Breaker, ejection, retries, rate limits and faults: typed configuration -> what the data plane runs. Nothing can fail here any more. */

import { compileMatch } from "./compile-match.ts";
import { DEFAULTS } from "./defaults.ts";
import type { Places } from "./places.ts";
import type {
	CircuitBreakerPolicy,
	ConcurrencyPolicy,
	FallbackPolicy,
	FaultAction,
	FaultPolicy,
	OutlierPolicy,
	RateLimitPolicy,
	RetryBudgetPolicy,
	RetryPolicy,
	StaticResponse,
	TripPolicy,
} from "./resilience-policy.ts";
import type { RetryCause } from "./resilience-values.ts";
import type { RespondConfig } from "./schema-match.ts";
import type { CircuitBreakerConfig, FaultConfig, OutlierConfig, RateLimitConfig, RetryConfig, RouteRetryConfig } from "./schema-resilience.ts";
import type { Place } from "./snapshot.ts";
import type { Path } from "./tree.ts";
import { parseDuration } from "./values.ts";

const TRIP_KEYS = ["failureThreshold", "failureRate", "slowCallRate"] as const;

/** Undefined where nothing trips it: only its limits act then. */
export function compileCircuitBreaker(config: CircuitBreakerConfig | undefined, path: Path, places: Places): CircuitBreakerPolicy | undefined {
	if (config === undefined) return undefined;
	const trip = compileTrip(config, path, places);
	if (trip.consecutiveFailures === undefined && trip.failureRate === undefined && trip.slowCallRate === undefined) return undefined;
	return {
		place: places.of(path),
		scope: config.scope,
		trip,
		successThreshold: config.successThreshold,
		openForMs: config.openFor,
		maxOpenForMs: config.maxOpenFor ?? config.openFor,
		jitter: config.jitter,
		halfOpenMaxConcurrent: config.halfOpenMaxConcurrent,
		failureStatuses: config.failureStatuses,
		fallback: compileFallback(config),
	};
}

function compileTrip(config: CircuitBreakerConfig, path: Path, places: Places): TripPolicy {
	const { failureThreshold, failureRate, slowCallRate } = config;
	const written = TRIP_KEYS.find((key) => config[key] !== undefined);
	const byDefault = failureRate === undefined && slowCallRate === undefined ? DEFAULTS.circuitBreaker.failureThreshold : 0;
	return {
		place: places.of(written === undefined ? path : [...path, written]),
		consecutiveFailures: (failureThreshold ?? byDefault) || undefined,
		failureRate,
		slowCallRate,
		slowCallMs: config.slowCallDuration,
		windowMs: config.window,
		minRequests: config.minRequests,
	};
}

function compileFallback({ failover, respond }: CircuitBreakerConfig): FallbackPolicy | undefined {
	if (failover !== undefined) return { kind: "failover", upstreams: failover };
	return respond && { kind: "respond", respond: compileRespond(respond) };
}

export function compileRespond({ status, contentType, body }: RespondConfig): StaticResponse {
	return { status, contentType, body: Buffer.from(body, "utf8").toString("latin1") };
}

export function compileConcurrency(config: CircuitBreakerConfig | undefined, path: Path, places: Places): ConcurrencyPolicy | undefined {
	if (config === undefined) return undefined;
	const { concurrency: kind, maxConcurrent, minConcurrent, maxPending, pendingTimeout } = config;
	return {
		place: places.of([...path, "maxConcurrent"]),
		kind,
		limitMin: kind === "fixed" ? maxConcurrent : Math.min(minConcurrent ?? DEFAULTS.circuitBreaker.minConcurrent, maxConcurrent),
		limitMax: maxConcurrent,
		pendingMax: maxPending,
		pendingTimeoutMs: pendingTimeout,
	};
}

export function compileOutlier(config: OutlierConfig, place: Place): OutlierPolicy {
	const { successRate, failurePercentage } = config;
	return {
		place,
		enabled: config.enabled,
		consecutiveFailures: config.consecutiveFailures,
		consecutiveGatewayFailures: config.consecutiveGatewayFailures,
		consecutiveLocalOriginFailures: config.consecutiveLocalOriginFailures,
		intervalMs: config.interval,
		baseEjectionTimeMs: config.baseEjectionTime,
		maxEjectionTimeMs: config.maxEjectionTime,
		jitterMs: config.jitter,
		maxEjectionPercent: config.maxEjectionPercent,
		successRate: successRate.enabled ? without(successRate) : undefined,
		failurePercentage: failurePercentage.enabled ? without(failurePercentage) : undefined,
	};
}

function without<T extends { readonly enabled: boolean }>({ enabled: _, ...rest }: T): Omit<T, "enabled"> {
	return rest;
}

export function compileRetry(config: RetryConfig | RouteRetryConfig, path: Path, places: Pick<Places, "of">): RetryPolicy {
	const { hedge } = config;
	const has = (cause: RetryCause) => config.on.includes(cause);
	return {
		place: places.of(path),
		attempts: config.attempts,
		on: {
			connectFailure: has("connect-failure"),
			reset: has("reset"),
			perTryTimeout: has("per-try-timeout"),
			statuses: config.on.filter((cause) => typeof cause === "object"),
		},
		perTryTimeoutMs: config.perTryTimeout,
		backoff: { baseMs: config.backoff.base, maxMs: config.backoff.max },
		retryAfterMaxMs: config.retryAfterMax,
		bodyBytesMax: config.maxBodyBytes,
		hedge: hedge && { place: places.of([...path, "hedge"]), after: hedge.after, maxExtra: hedge.maxExtra },
	};
}

export function compileRetryBudget({ budget }: RetryConfig): RetryBudgetPolicy {
	return { ratio: budget.ratio, minPerSecond: budget.minPerSecond, windowMs: budget.window };
}

export function compileRateLimits(configs: readonly RateLimitConfig[], path: Path, places: Places): readonly RateLimitPolicy[] {
	return configs.map((config, i) => ({
		place: places.of([...path, i]),
		name: config.name,
		requestsPerSecond: config.requestsPerSecond,
		burst: config.burst ?? Math.max(1, Math.round(config.requestsPerSecond)),
		key: config.key,
		overflow:
			config.overflow === "reject"
				? { kind: "reject" }
				: {
						kind: "queue",
						queuedMax: config.maxQueued ?? DEFAULTS.rateLimit.maxQueued,
						waitMaxMs: config.maxWait ?? DEFAULT_WAIT_MS,
						priorityHeader: config.priorityHeader,
					},
		shared: config.shared && {
			redisUrl: config.shared.redis,
			timeoutMs: config.shared.timeout,
			onFailure: config.shared.onFailure,
			sliceMs: config.shared.slice,
		},
	}));
}

const DEFAULT_WAIT_MS = Number(parseDuration(DEFAULTS.rateLimit.maxWait));

/** One policy for each kind of fault that is given. `wallMs`: the moment from which `for` counts. */
export function compileFaults(config: FaultConfig | undefined, upstream: string, path: Path, places: Places, wallMs: number): readonly FaultPolicy[] {
	if (config === undefined) return [];
	const actions = faultActions(config);
	const base = config.name ?? upstream;
	return actions.map(({ key, percent, action }) => ({
		place: places.of([...path, key]),
		name: config.name !== undefined && actions.length === 1 ? base : `${base}-${action.kind}`,
		upstream,
		action,
		percent,
		match: config.match && compileMatch(config.match),
		endpoints: config.endpoints ?? [],
		endpointsMax: config.maxAffected,
		exempt: config.exempt,
		forMs: config.for,
		expiresAtMs: config.for === undefined ? config.expiresAt : wallMs + config.for,
	}));
}

interface GivenFault {
	readonly key: string;
	readonly percent: number;
	readonly action: FaultAction;
}

function faultActions({ abort, delay, reset, refuse, blackHole, throttle, truncate }: FaultConfig): GivenFault[] {
	const given: GivenFault[] = [];
	const add = (key: string, { percent }: { readonly percent: number }, action: FaultAction) => given.push({ key, percent, action });
	if (abort) add("abort", abort, { kind: "abort", status: abort.status });
	if (delay) add("delay", delay, { kind: "delay", distribution: delay.distribution, ms: delay.duration, msMax: longestDelayMs(delay) });
	if (reset) add("reset", reset, { kind: "reset" });
	if (refuse) add("refuse", refuse, { kind: "refuse" });
	if (blackHole) add("blackHole", blackHole, { kind: "black-hole" });
	if (throttle) add("throttle", throttle, { kind: "throttle", bytesPerSecond: throttle.bytesPerSecond });
	if (truncate) add("truncate", truncate, { kind: "truncate", afterBytes: truncate.afterBytes });
	return given;
}

function longestDelayMs({ distribution, duration, max }: NonNullable<FaultConfig["delay"]>): number {
	switch (distribution) {
		case "fixed":
			return duration;
		case "uniform":
			return max ?? 2 * duration;
		case "exponential":
			// One draw in 22,000 would be longer.
			return max ?? 10 * duration;
	}
}
