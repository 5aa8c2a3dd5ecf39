/** What the data plane runs: a parsed, validated, compiled, frozen policy. Holds no sockets and no state. */
import type { AuthorizationPolicy } from "./authorization-policy.ts";
import type { IdentityPolicy, InboundTls, UpstreamTls } from "./identity-policy.ts";
import type {
	CircuitBreakerPolicy,
	ConcurrencyPolicy,
	FaultPolicy,
	OutlierPolicy,
	RateLimitPolicy,
	RetryBudgetPolicy,
	RetryPolicy,
} from "./resilience-policy.ts";
import type { FieldMatch, HashKey, HeaderChanges, MirrorPolicy, RouteAction, RouteOverrides } from "./traffic-policy.ts";

/** Where a value stands in the policy file, for people: `file:line:column`, 1-based. */
export interface Place {
	readonly file: string;
	readonly line: number;
	readonly column: number;
}

/** `host:port`, or a unix socket path. IPv6 hosts stand without brackets. */
export type Address = { readonly kind: "tcp"; readonly host: string; readonly port: number } | { readonly kind: "unix"; readonly path: string };

export interface Snapshot {
	/** Counts up with each applied policy of this process, from 1. */
	readonly version: number;
	/** SHA-256 of the source text, first 12 hexadecimal digits. */
	readonly hash: string;
	readonly file: string;
	readonly service: string;
	readonly trustDomain: string;
	/** Where this sidecar runs; undefined where it is not said. */
	readonly zone: string | undefined;
	readonly admin: { readonly listen: Address & { kind: "tcp" }; readonly place: Place };
	/** Undefined: TLS between services is off. */
	readonly identity: IdentityPolicy | undefined;
	readonly inbound: InboundPolicy | undefined;
	readonly outbound: OutboundPolicy | undefined;
	readonly upstreams: ReadonlyMap<string, UpstreamPolicy>;
	readonly nexus: NexusPolicy | undefined;
	/** Where more of the policy comes from; undefined where the file is all. */
	readonly policy: PolicySourcePolicy | undefined;
	/** Spans go to this OTLP/HTTP base URL; undefined: none are made. `sample` 0..1 of the traces that begin here. */
	readonly tracing: { readonly otlpUrl: string; readonly sample: number } | undefined;
	/** Addresses (CIDR) whose `x-nexus-trace` is answered. Default: loopback. */
	readonly traceAllowed: readonly string[];
	/** Fraction 0..1 of requests that are logged; undefined where the access log is off (no `accessLog` key). */
	readonly accessLogSample: number | undefined;
	readonly drainTimeoutMs: number;
}

/** Nexus as a source of policy. */
export interface PolicySourcePolicy {
	readonly place: Place;
	/** Whose word counts where file and Nexus both say something. */
	readonly merge: "local" | "nexus";
	/** Absolute; undefined: the last good copy is kept in memory alone. */
	readonly cacheDir: string | undefined;
}

/** Where events go. */
export interface NexusPolicy {
	readonly url: string;
	/** In memory. Default 10,000. */
	readonly spoolEventsMax: number;
	/** Undefined: events wait in memory alone. `dir` is absolute; `bytesMax` of its files, default 64 MiB. */
	readonly spoolDirectory: { readonly dir: string; readonly bytesMax: number; readonly place: Place } | undefined;
	/** Whether, and as what, this instance is listed at Nexus. `address` undefined: as it listens. */
	readonly register?: { readonly address: (Address & { kind: "tcp" }) | undefined; readonly leaseMs: number } | undefined;
}

/** Limits of one listener; each key may be set under `inbound.limits` and `outbound.limits`. */
export interface ListenerLimits {
	/** Connections accepted at a time; more are refused with `connection_limit`. Default 10,000. */
	readonly connectionsMax: number;
	/** From the first byte of a request head to its last. Default 10 s. */
	readonly requestHeadTimeoutMs: number;
	/** Between two reads of a request body. Default 60 s. */
	readonly bodyIdleTimeoutMs: number;
	/** A kept-alive connection without a request. Default 75 s, as nginx. */
	readonly keepAliveIdleTimeoutMs: number;
}

export interface InboundPolicy {
	readonly place: Place;
	/** As those of an upstream. */
	readonly places?: ReadonlyMap<string, Place>;
	readonly listen: Address & { kind: "tcp" };
	readonly application: Address;
	readonly limits: ListenerLimits;
	/** CIDR blocks of peers whose x-forwarded-* are believed. Default: none, not even loopback. */
	readonly trustedProxies: readonly string[];
	/** To the application; the same meaning as for an upstream. */
	readonly timeout: Timeouts;
	readonly pool: PoolLimits;
	readonly tls: InboundTls;
	readonly authorization: AuthorizationPolicy | undefined;
	readonly rateLimits: readonly RateLimitPolicy[];
	readonly circuitBreaker: CircuitBreakerPolicy | undefined;
	readonly concurrency: ConcurrencyPolicy | undefined;
}

export interface OutboundPolicy {
	readonly place: Place;
	readonly listen: Address & { kind: "tcp" };
	readonly passthrough: boolean;
	readonly limits: ListenerLimits;
	/** In file order: the first that matches wins. A host that none of them names goes to the upstream of that name. */
	readonly routes: readonly RoutePolicy[];
}

export interface RoutePolicy {
	readonly place: Place;
	readonly name: string;
	readonly match: RouteMatch;
	readonly action: RouteAction;
	readonly mirror: MirrorPolicy | undefined;
	/** Replaces the Host field towards the upstream where set (`rewrite: { host: name }`). */
	readonly rewriteHost: string | undefined;
	/** Replaces what `match.path` matched before its `**`, or the whole path of an exact match (`rewrite: { path: /x }`). */
	readonly rewritePath: string | undefined;
	readonly requestHeaders: HeaderChanges;
	readonly responseHeaders: HeaderChanges;
	readonly overrides: RouteOverrides;
}

export interface RouteMatch {
	/** Lower case, without port and trailing dot; `*.suffix` allowed; undefined matches every host. */
	readonly host: string | undefined;
	readonly path: PathMatch | undefined;
	/** Upper case; empty matches every method. */
	readonly methods: readonly string[];
	/** Names lower case. */
	readonly headers: ReadonlyMap<string, FieldMatch>;
	/** Query parameters by name, decoded; the first of a name counts. */
	readonly query: ReadonlyMap<string, FieldMatch>;
	/** Source services; empty: any. On the way out that is this service itself, on the way in the verified caller. */
	readonly from: readonly string[];
	/** 0..100 of the requests that fit otherwise; 100: all. */
	readonly percent: number;
}

/** `/a/b` exact; `/a/**` everything at or below /a; otherwise a glob: `*` one segment or part of one, `**` any. */
export type PathMatch = { readonly kind: "exact" | "prefix" | "glob"; readonly pattern: string };

export type BalancingKind = "round-robin" | "least-connections" | "weighted" | "random" | "peak-ewma" | "ring-hash" | "maglev";

/** What balancing of any kind may be told besides. */
export interface BalancingPolicy {
	/** What ring-hash and maglev hash; undefined: at random. */
	readonly hashOn: HashKey | undefined;
	/** Envoy: minimum_ring_size 1,024. */
	readonly ringSizeMin: number;
	/** Prime; Envoy: 65,537. */
	readonly tableSize: number;
	/** Latency that peak-ewma charges for a failure or a 429 (Linkerd: 5 s). */
	readonly failurePenaltyMs: number;
	/** New endpoints come up to their weight over `windowMs` (Envoy: aggression 1, 10 %); undefined: at once. */
	readonly slowStart: { readonly windowMs: number; readonly aggression: number; readonly minWeightPercent: number } | undefined;
	/** Whether endpoints of the sidecar's own zone are preferred, with spill-over where they are too few or ill. */
	readonly zoneAware: boolean;
	/** 0..100: with fewer usable endpoints than this, all are used; 0: never. Default 50 (Envoy). */
	readonly panicThreshold: number;
}

export interface UpstreamPolicy {
	readonly place: Place;
	/** Where each value stands that was written for it, here or under `policies`, by its key: `timeout.request`. What is missing is a default. */
	readonly places?: ReadonlyMap<string, Place>;
	readonly name: string;
	/** A port of its own, for applications that cannot set a Host. */
	readonly listen: (Address & { kind: "tcp" }) | undefined;
	readonly endpoints: EndpointsPolicy;
	readonly tls: UpstreamTls;
	readonly loadBalancing: BalancingKind;
	readonly balancing: BalancingPolicy;
	readonly healthCheck: HealthCheckPolicy | undefined;
	readonly timeout: Timeouts;
	readonly pool: PoolLimits;
	readonly circuitBreaker: CircuitBreakerPolicy | undefined;
	readonly concurrency: ConcurrencyPolicy | undefined;
	readonly outlierDetection: OutlierPolicy;
	readonly retry: RetryPolicy;
	readonly retryBudget: RetryBudgetPolicy;
	readonly rateLimits: readonly RateLimitPolicy[];
	readonly faults: readonly FaultPolicy[];
}

export interface Timeouts {
	/** Whole exchange, until the last byte of the answer's head. Default 15 s (Envoy). */
	readonly requestMs: number;
	/** Default 1 s (Linkerd). */
	readonly connectMs: number;
	/** Without a byte of the answer's body, and of a pooled connection without use. Default 60 s. */
	readonly idleMs: number;
}

export interface PoolLimits {
	/** Connections per endpoint. Default 1,024 (Envoy's max_connections). */
	readonly connectionsMax: number;
	/** Requests waiting for a connection per endpoint. Default 1,024 (Envoy's max_pending_requests). */
	readonly pendingMax: number;
	/** Longest wait in that queue. Default 1 s. */
	readonly pendingTimeoutMs: number;
}

export interface EndpointPolicy {
	readonly address: Address;
	/** 1..1000 */
	readonly weight: number;
	readonly zone: string | undefined;
	/** 0 (also where absent) is used first, further ones as those before them fail (Envoy's priorities, over-provisioning 1.4). */
	readonly priority?: number;
}

export type EndpointsPolicy =
	| { readonly kind: "static"; readonly endpoints: readonly EndpointPolicy[] }
	/** A/AAAA need `port`; SRV brings its own ports and weights. */
	| {
			readonly kind: "dns";
			readonly name: string;
			readonly port: number | undefined;
			readonly type: "A" | "AAAA" | "SRV";
			readonly refreshMs: number;
			readonly servers: readonly string[];
	  }
	/** A YAML or JSON list of `{ address, weight?, zone? }`, watched. The path is absolute. */
	| { readonly kind: "file"; readonly path: string }
	/** Those that have registered at Nexus. */
	| { readonly kind: "registry"; readonly service: string };

export interface HealthCheckPolicy {
	readonly place: Place;
	readonly kind: "http" | "tcp";
	readonly path: string;
	readonly host: string | undefined;
	readonly headers: ReadonlyMap<string, string>;
	/** Statuses that count as healthy. Default: 200. */
	readonly statuses: readonly number[];
	readonly intervalMs: number;
	readonly timeoutMs: number;
	readonly unhealthyThreshold: number;
	readonly healthyThreshold: number;
}
