/** What the admin API shows and sets off, as the composition root hands it in; the API itself knows no part of the sidecar. */
import type { LogLevel } from "../../core/log.ts";
import type { CloudEvent } from "../../events/cloud-event.ts";
import type { PolicyFault } from "../../policy/fault.ts";
import type { Snapshot } from "../../policy/snapshot.ts";
import type { EndpointHealth } from "../../upstream/endpoint.ts";
import type { PoolStats } from "../../upstream/pool.ts";

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
}

export interface UpstreamView {
	readonly name: string;
	readonly loadBalancing: string;
	/** Whether its source has given a list yet. */
	readonly resolved: boolean;
	readonly endpoints: readonly EndpointView[];
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
