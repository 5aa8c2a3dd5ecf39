/** What the admin API shows and sets off, as the composition root hands it in; the API itself knows no part of the sidecar. */
import type { LogLevel } from "../../core/log.ts";
import type { CloudEvent } from "../../events/cloud-event.ts";
import type { DryRunCount } from "../../identity/authorization/dry-run-ledger.ts";
import type { LimiterView } from "../../limits/limited.ts";
import type { HandshakeStats } from "../../net/tls-handshakes.ts";
import type { DecisionTrace } from "../../policy/decision-trace.ts";
import type { PolicyFault } from "../../policy/fault.ts";
import type { Snapshot } from "../../policy/snapshot.ts";
import type { BreakerView } from "../../resilience/breaker/breaker.ts";
import type { BulkheadView } from "../../resilience/concurrency/bulkhead.ts";
import type { TapHub } from "../../telemetry/tracing/tap-hub.ts";
import type { EndpointHealth } from "../../upstream/endpoint.ts";
import type { RetryCounts } from "../../upstream/guards.ts";
import type { PoolStats } from "../../upstream/pool.ts";
import type { FaultBook } from "../faults.ts";
import type { IdentityStatus } from "../identity/identity-status.ts";
import type { TlsReport } from "../telling/tls-events.ts";

export interface Readiness {
	readonly ready: boolean;
	/** Why not, one sentence each; empty where ready. */
	readonly reasons: readonly string[];
}

export interface RunningPolicy {
	readonly snapshot: Snapshot;
	readonly appliedAtMs: number;
	/** The last file that was not taken, where none has been taken since. */
	readonly rejected: { readonly atMs: number; readonly faults: readonly PolicyFault[] } | undefined;
	/** What Nexus has given to it, where the file asks for that; since when it is in force. */
	readonly nexus?: { readonly version: number; readonly tag: string; readonly author: string; readonly reason: string; readonly sinceMs: number };
	/** Attempts since the start; the first load is none. */
	readonly reloads: { readonly applied: number; readonly unchanged: number; readonly rejected: number };
}

export interface ListenerView {
	/** admin, inbound, outbound, or the name of an upstream that has a port of its own. */
	readonly name: string;
	/** `host:port` as bound. */
	readonly address: string;
	readonly open: number;
	readonly accepted: number;
	readonly refused: number;
}

export interface EndpointView {
	/** `host:port` or `unix:/path`. */
	readonly address: string;
	readonly weight: number;
	readonly zone: string | undefined;
	readonly health: EndpointHealth;
	readonly activeRequests: number;
	/** Sent to it, ever. */
	readonly requests: number;
	readonly pool: PoolStats;
	/** Out of balancing, by outlier detection. */
	readonly ejected: boolean;
	/** By detector, ever; the detectors that ejected it. */
	readonly ejections: Readonly<Record<string, number>>;
	/** What the last ejection was for, in words; empty where there was none. */
	readonly ejectedFor: string;
	/** Until it may return; 0 where it is not ejected. */
	readonly ejectionEndsInMs: number;
	/** As balancing by latency sees it; undefined where nobody measures. */
	readonly latencyMs: number | undefined;
}

export interface ScopedBreakerView extends BreakerView {
	readonly scope: "upstream" | "endpoint" | "route";
	/** The endpoint or the route; empty for the upstream as a whole. */
	readonly key: string;
}

export interface UpstreamView {
	readonly name: string;
	readonly loadBalancing: string;
	/** Whether its source has given a list yet. */
	readonly resolved: boolean;
	readonly endpoints: readonly EndpointView[];
	/** Empty without `circuitBreaker`. */
	readonly breakers: readonly ScopedBreakerView[];
	/** Undefined where nothing limits what is under way. */
	readonly concurrency: BulkheadView | undefined;
	/** So few endpoints are usable that all of them are used. */
	readonly panic: boolean;
	readonly panicPicks: number;
	/** Tries that would be granted now. */
	readonly retryBudget: { readonly balance: number };
	readonly retries: Readonly<RetryCounts>;
}

export type BreakerMode = "open" | "closed" | "auto";

export type FaultsView = Pick<FaultBook, "list" | "put" | "remove" | "collect">;

export interface TlsView {
	readonly report: TlsReport;
	/** Of callers. */
	readonly handshakes: HandshakeStats;
	/** Connections of others that came in plain text and are open. */
	readonly plaintextOpen: number;
}

export type ReloadResult =
	| { readonly kind: "applied"; readonly version: number; readonly hash: string }
	| { readonly kind: "unchanged"; readonly version: number; readonly hash: string }
	| { readonly kind: "rejected"; readonly faults: readonly PolicyFault[] };

export interface AdminView {
	readiness(): Readiness;
	policy(): RunningPolicy;
	listeners(): readonly ListenerView[];
	upstreams(): readonly UpstreamView[];
	/** Until `auto`. Without a key: every breaker of the upstream, those to come as well. */
	forceBreaker(upstream: string, mode: BreakerMode, key?: string): "done" | "no_upstream" | "no_breaker";
	limits(): readonly LimiterView[];
	/** Undefined where the policy has no identity. */
	identity?(): IdentityStatus | undefined;
	tls?(): TlsView;
	/** Whom the dry runs of authorization would have refused. */
	dryRuns?(): readonly DryRunCount[];
	readonly faults: FaultsView;
	/** Undefined from `subscribe`: there are as many taps as there may be. */
	readonly tap: Pick<TapHub, "subscribe">;
	/** Of the last requests that failed, newest first. */
	failures(): readonly DecisionTrace[];
	/** One that was kept because its request asked for it. */
	trace(id: string): DecisionTrace | undefined;
	/** Reads the file again; resolves when the outcome is known, and never rejects. */
	reload(): Promise<ReloadResult>;
	/** Begins to drain and returns. Idempotent. */
	drain(): void;
	setLogLevel(level: LogLevel): void;
	/** Prometheus text format. */
	metricsText(): Promise<string>;
	/** The sidecar's own events from now on; returns how to stop. */
	subscribeEvents(listener: (event: CloudEvent) => void): () => void;
}
