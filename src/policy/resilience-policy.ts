/** Resilience as a policy says it, part of the snapshot: breakers, ejection, retries, limits, faults. Types only. */
import type { Place, RouteMatch } from "./snapshot.ts";

/** `circuitBreaker` of an upstream, or of `inbound` for the application. */
export interface CircuitBreakerPolicy {
	readonly place: Place;
	/** One breaker for the upstream (default), for each of its endpoints, or for each route that leads to it. */
	readonly scope: "upstream" | "endpoint" | "route";
	readonly trip: TripPolicy;
	/** Successes in a row while half-open until it closes. Default 2. */
	readonly successThreshold: number;
	/** Default 60 s. */
	readonly openForMs: number;
	/** Each trip from half-open doubles the time, up to this. Default: `openForMs`, so no growth. */
	readonly maxOpenForMs: number;
	/** 0..1: part of the time that is drawn at random on top. Default 0. */
	readonly jitter: number;
	/** Probes at a time while half-open. Default 1. */
	readonly halfOpenMaxConcurrent: number;
	/** Answers that count as failures. Default 500..599. */
	readonly failureStatuses: readonly StatusRange[];
	readonly fallback: FallbackPolicy | undefined;
}

/** Both ends belong to it. */
export interface StatusRange {
	readonly from: number;
	readonly to: number;
}

/** When it trips: any of the conditions that are given. */
export interface TripPolicy {
	/** Line of the threshold that a person wrote, else of the breaker. */
	readonly place: Place;
	/** Default 5 where no rate is given either. */
	readonly consecutiveFailures: number | undefined;
	/** 0..1 of the requests in the window. */
	readonly failureRate: number | undefined;
	/** 0..1 of the requests in the window that took longer than `slowCallMs` until the answer's head. */
	readonly slowCallRate: number | undefined;
	readonly slowCallMs: number;
	/** Default 10 s. */
	readonly windowMs: number;
	/** A rate says nothing below this. Default 20 (Hystrix). */
	readonly minRequests: number;
}

/** What is answered instead while a breaker is open; the upstreams are asked in their order. */
export type FallbackPolicy =
	| { readonly kind: "failover"; readonly upstreams: readonly string[] }
	| { readonly kind: "respond"; readonly respond: StaticResponse };

export interface StaticResponse {
	readonly status: number;
	readonly contentType: string;
	/** Bytes as latin1 text, UTF-8 encoded; at most 64 KiB. */
	readonly body: string;
}

/** `circuitBreaker.maxConcurrent`, `maxPending`, `pendingTimeout`, `concurrency`: how many requests may be under way to the whole upstream. */
export interface ConcurrencyPolicy {
	readonly place: Place;
	/** `fixed`: `limitMax` always. `adaptive`: between `limitMin` and `limitMax`, by the gradient of latency. */
	readonly kind: "fixed" | "adaptive";
	readonly limitMin: number;
	readonly limitMax: number;
	readonly pendingMax: number;
	readonly pendingTimeoutMs: number;
}

/** `outlierDetection`; the names and defaults of Envoy, see outlier_detection.proto. */
export interface OutlierPolicy {
	readonly place: Place;
	readonly enabled: boolean;
	/** 5xx answers and failures of ours to reach it, in a row. Default 5; 0: off, here and below. */
	readonly consecutiveFailures: number;
	/** 502, 503, 504 and failures to reach it. Default 0. */
	readonly consecutiveGatewayFailures: number;
	/** Connect failures, resets and timeouts alone. Default 0. */
	readonly consecutiveLocalOriginFailures: number;
	readonly intervalMs: number;
	readonly baseEjectionTimeMs: number;
	readonly maxEjectionTimeMs: number;
	/** Up to so much is added at random. Default 0. */
	readonly jitterMs: number;
	/** 0..100; one endpoint may always be ejected. Default 10. */
	readonly maxEjectionPercent: number;
	readonly successRate: { readonly minHosts: number; readonly requestVolume: number; readonly stdevFactor: number } | undefined;
	readonly failurePercentage: { readonly threshold: number; readonly minHosts: number; readonly requestVolume: number } | undefined;
}

/** `retry`; on by default for what is safe. */
export interface RetryPolicy {
	readonly place: Place;
	/** Tries after the first one; 0: none. Default 2. */
	readonly attempts: number;
	readonly on: {
		/** Not a byte has left. */
		readonly connectFailure: boolean;
		/** Broken off before the answer's head. */
		readonly reset: boolean;
		readonly perTryTimeout: boolean;
		readonly statuses: readonly StatusRange[];
	};
	/** Without it one try may take all the time that is left. */
	readonly perTryTimeoutMs: number | undefined;
	readonly backoff: { readonly baseMs: number; readonly maxMs: number };
	/** A `retry-after` beyond it ends the tries. Default 5 s. */
	readonly retryAfterMaxMs: number;
	/** Body bytes kept for another try. Default 64 KiB. */
	readonly bodyBytesMax: number;
	readonly hedge: HedgePolicy | undefined;
}

/** One for each upstream; retries and hedges of all routes draw on it. */
export interface RetryBudgetPolicy {
	/** Retries for each request. Default 0.2. */
	readonly ratio: number;
	/** On top. Default 10. */
	readonly minPerSecond: number;
	/** 1..60 s, as Finagle. Default 10 s. */
	readonly windowMs: number;
}

export interface HedgePolicy {
	readonly place: Place;
	/** A second try is sent when the first has been silent for so long, or for as long as that part of the answers took. */
	readonly after: { readonly kind: "time"; readonly ms: number } | { readonly kind: "quantile"; readonly quantile: number };
	/** 0..1 of the requests. Default 0.05. */
	readonly maxExtra: number;
}

export type RateLimitKeyPart =
	| { readonly kind: "caller" | "route" | "ip" | "global" }
	| { readonly kind: "header" /** Lower case. */; readonly name: string };

export interface RateLimitPolicy {
	readonly place: Place;
	readonly name: string;
	readonly requestsPerSecond: number;
	/** Requests at once. Default: one second's worth, at least 1. */
	readonly burst: number;
	/** A bucket for each distinct tuple of these. */
	readonly key: readonly RateLimitKeyPart[];
	readonly overflow:
		| { readonly kind: "reject" }
		| {
				readonly kind: "queue";
				readonly queuedMax: number;
				readonly waitMaxMs: number /** Header with 0 (first) .. 9; none: all alike. */;
				readonly priorityHeader: string | undefined;
		  };
	/** Buckets that many sidecars share; undefined: each sidecar has its own. */
	readonly shared:
		| {
				readonly redisUrl: string;
				readonly timeoutMs: number;
				readonly onFailure: "local" | "allow" | "deny";
				/** A lease is what flows in so long a time, so that Redis is asked once per slice and key. */
				readonly sliceMs: number;
		  }
		| undefined;
}

export type FaultAction =
	| { readonly kind: "abort"; readonly status: number }
	/** The connection breaks before an answer; is refused; the request vanishes. */
	| { readonly kind: "reset" | "refuse" | "black-hole" }
	| {
			readonly kind: "delay";
			readonly distribution: "fixed" | "uniform" | "exponential";
			readonly ms: number /** Bound of what is drawn; `ms` where fixed. */;
			readonly msMax: number;
	  }
	| { readonly kind: "throttle"; readonly bytesPerSecond: number }
	| { readonly kind: "truncate"; readonly afterBytes: number };

export interface FaultPolicy {
	readonly place: Place | undefined;
	readonly name: string;
	readonly upstream: string;
	readonly action: FaultAction;
	/** 0..100 of the attempts that fit. */
	readonly percent: number;
	/** As routes match; undefined: every request. */
	readonly match: RouteMatch | undefined;
	/** `host:port` each; empty: every endpoint. */
	readonly endpoints: readonly string[];
	/** At most so many different endpoints are touched; undefined: no bound but `percent`. */
	readonly endpointsMax: number | undefined;
	/** Not counted by breaker and outlier detection. Default false: a fault is there to be seen by them. */
	readonly exempt: boolean;
	/** `for` as the policy file says it: `expiresAtMs` is that long after the file was taken, so it says nothing new by itself. */
	readonly forMs?: number | undefined;
	/** Wall clock; gone then by itself. Undefined only for faults that the policy file holds without `for` and `expiresAt`. */
	readonly expiresAtMs: number | undefined;
}
