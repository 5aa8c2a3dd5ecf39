/** Every `nexus.*` event that something in this program sends: its data, its weight, and one sentence. The contract of sidecar and Nexus. */
import type { IdSource } from "../core/ids.ts";
import type { CloudEvent } from "./cloud-event.ts";

/** A latency histogram as it travels; counts are not cumulated, the last one is beyond every bound. */
export interface LatencyData {
	readonly boundsMs: readonly number[];
	readonly counts: readonly number[];
	readonly sumMs: number;
}

export interface NexusEventData {
	"nexus.mesh.sidecar.started": {
		/** Of the program. */
		readonly version: string;
		readonly pid: number;
		readonly policyVersion: number;
		readonly policyHash: string;
		/** `host:port` by purpose: admin, inbound, outbound, and one per upstream that has a port of its own. */
		readonly listeners: Readonly<Record<string, string>>;
		/** From process start to ready. */
		readonly readyMs: number;
	};
	"nexus.mesh.sidecar.draining": {
		readonly cause: "signal" | "api";
		/** Exchanges that had begun. */
		readonly inFlight: number;
		readonly drainTimeoutMs: number;
	};
	"nexus.mesh.sidecar.stopped": {
		readonly uptimeMs: number;
		/** Exchanges cut because the drain timeout ran out. */
		readonly cut: number;
	};
	/** A rollup: one event per (direction, route, upstream, outcome) and window, never one per request. */
	"nexus.mesh.traffic.routed": {
		readonly windowMs: number;
		readonly direction: "inbound" | "outbound";
		/** Empty where the Host alone named the upstream. */
		readonly route: string;
		readonly upstream: string;
		/** A status class (`2xx`) or the reason of a local answer (`connect_refused`). */
		readonly outcome: string;
		readonly count: number;
		readonly latency: LatencyData;
	};
	"nexus.mesh.endpoint.unhealthy": EndpointData;
	"nexus.mesh.endpoint.healthy": EndpointData;
	"nexus.mesh.endpoint.ejected": EjectionData & { readonly forMs: number };
	"nexus.mesh.endpoint.returned": EjectionData & {
		/** `time` is over, or an active check was fine. */ readonly by: "time" | "health-check" | "policy";
	};
	/** A rollup: per window and upstream. */
	"nexus.mesh.retry.budget_exhausted": {
		readonly windowMs: number;
		readonly upstream: string;
		/** Tries that the budget refused. */
		readonly refused: number;
		readonly policy: string;
	};
	/** A rollup: per window and limit, the keys that were refused most often. */
	"nexus.mesh.rate_limit.exceeded": {
		readonly windowMs: number;
		readonly direction: "inbound" | "outbound";
		readonly limit: string;
		readonly policy: string;
		readonly refused: number;
		readonly top: readonly { readonly key: string; readonly refused: number }[];
	};
	/** A rollup: per window and fault. */
	"nexus.mesh.fault.injected": {
		readonly windowMs: number;
		readonly fault: string;
		readonly upstream: string;
		readonly kind: string;
		readonly count: number;
		readonly endpoints: readonly string[];
	};
	/** Somebody has put a fault on a sidecar, or its lease is over. */
	"nexus.chaos.inject.failure": {
		readonly fault: string;
		readonly upstream: string;
		readonly kind: string;
		readonly percent: number;
		readonly change: "added" | "replaced" | "removed" | "expired";
		/** ISO 8601; empty where it holds until the policy changes. */
		readonly expiresAt: string;
	};
	/** A rollup: per window, direction, listener or upstream, reason and peer. Text is "" where it is not known. */
	"nexus.mesh.mtls.failure": {
		readonly windowMs: number;
		/** In this window. */
		readonly count: number;
		/** A connection that was not made or not let in; or one that stood, and was cut because its peer is not trusted any more. */
		readonly kind: "connection" | "cut";
		/** Empty for cuts. */
		readonly direction: "inbound" | "outbound" | "";
		/** `inbound`, or the upstream; empty for cuts. */
		readonly name: string;
		/** See reasons.md; `others` for what was beyond 32 different failures in one window. */
		readonly reason: string;
		readonly words: string;
		readonly hint: string;
		readonly endedBy: "us" | "peer" | "neither";
		/** Of the last one: `host:port` of the endpoint, or the address of the caller. */
		readonly address: string;
		/** SPIFFE IDs: ours, the one that was meant (a host name outside of the mesh), and the one that the peer claims, which nothing has proven. */
		readonly self: string;
		readonly expected: string;
		readonly peer: string;
		/** Of the certificate at fault. */
		readonly role: "leaf" | "intermediate" | "root" | "";
		readonly subject: string;
		readonly issuer: string;
		readonly serial: string;
		/** ISO 8601. */
		readonly notBefore: string;
		readonly notAfter: string;
	};
	/** A rollup: per window, rule and caller. */
	"nexus.mesh.authorization.denied": {
		readonly windowMs: number;
		/** In this window. */
		readonly count: number;
		/** `others`: for what was beyond 32 different pairs of rule and caller in one window. */
		readonly kind: "rule" | "default" | "others";
		/** Empty unless `kind` is `rule`. */
		readonly rule: string;
		/** `file:line:column` of the rule, of `authorization` for the default; empty for others. */
		readonly policy: string;
		/** SPIFFE ID; empty for an unauthenticated caller, and for others. */
		readonly caller: string;
		/** Of the last one. The path in its normal form without the query, at most 256 characters. */
		readonly address: string;
		readonly method: string;
		readonly path: string;
	};
	"nexus.circuit_breaker.tripped": BreakerData & { readonly openForMs: number };
	"nexus.circuit_breaker.half_open": BreakerData;
	"nexus.circuit_breaker.reset": BreakerData;
	"nexus.mesh.certificate.rotated": {
		/** SPIFFE ID. */
		readonly identity: string;
		/** Hexadecimal. */
		readonly oldSerial: string;
		readonly newSerial: string;
		readonly issuer: string;
		/** ISO 8601, of the new one. */
		readonly notAfter: string;
	};
	"nexus.mesh.certificate.expiring": {
		/** SPIFFE ID. */
		readonly identity: string;
		/** Hexadecimal. */
		readonly serial: string;
		/** ISO 8601. */
		readonly notAfter: string;
		/** Until then; 0 where it has ended. */
		readonly leftMs: number;
		readonly expired: boolean;
		/** Renewals in a row that have failed, and what the last one said; empty where none has been tried. */
		readonly failures: number;
		readonly lastError: string;
	};
	"nexus.mesh.policy.applied": {
		readonly version: number;
		readonly hash: string;
		/** Names by section that were added, changed or removed. */
		readonly changed: Readonly<Record<string, readonly string[]>>;
	};
	"nexus.mesh.policy.rejected": {
		/** `place` is `file:line:column`. */
		readonly faults: readonly { readonly place: string; readonly message: string; readonly hint: string }[];
	};
	"nexus.policy.rollout.started": RolloutData & {
		/** Identity, or name of the token. */
		readonly author: string;
		readonly reason: string;
	};
	/** The next instances have their turn. */
	"nexus.policy.rollout.advanced": RolloutData & {
		/** What was found of those before. */
		readonly verdict: string;
	};
	"nexus.policy.rollout.completed": RolloutData;
	"nexus.policy.rollout.rolled_back": RolloutData & {
		/** Why, in words. */
		readonly cause: string;
		/** Whether Nexus did so by itself. */
		readonly automatic: boolean;
	};
	/** Somebody has changed something at Nexus. */
	"nexus.audit.mutation": {
		/** Identity, or name of the token. */
		readonly actor: string;
		readonly method: string;
		/** Of the API, without the query. */
		readonly path: string;
		readonly status: number;
		readonly address: string;
	};
	"nexus.bus.dead_letter.parked": {
		readonly subscription: string;
		/** Of a broadcast: who did not get it; empty otherwise. */
		readonly member: string;
		/** Of the event, in the log. */
		readonly sequence: number;
		/** Of the event. */
		readonly type: string;
		readonly source: string;
		readonly id: string;
		/** All tries. */
		readonly attempts: number;
		/** Of the last one. */
		readonly reason: string;
		/** That the receiver answered; 0 where it did not. */
		readonly status: number;
	};
	"nexus.bus.subscription.stalled": {
		readonly subscription: string;
		/** As far as it is known, in words. */
		readonly cause: string;
		/** Events under way, or waiting for a try. */
		readonly open: number;
		/** Events of the log that were not looked at yet: an upper bound of those that are for it. */
		readonly unread: number;
		/** Since its receipt, of the oldest that is open. */
		readonly oldestAgeMs: number;
		readonly stalledForMs: number;
	};
	"nexus.bus.subscription.recovered": {
		readonly subscription: string;
		readonly stalledForMs: number;
	};
}

interface RolloutData {
	readonly service: string;
	readonly version: number;
	/** What runs elsewhere, or again. */
	readonly from: number;
	/** `1 instance`, `10 %`, `all`. */
	readonly stage: string;
	/** Whose turn it was; empty where it is everybody's. */
	readonly instances: readonly string[];
}

interface EjectionData {
	readonly upstream: string;
	/** `host:port`. */
	readonly endpoint: string;
	/** Which detector: consecutive_failures, consecutive_gateway_failures, consecutive_local_origin_failures, success_rate, failure_percentage. */
	readonly cause: string;
	/** How often it has been ejected. */
	readonly ejections: number;
	/** `file:line:column` of the policy, empty where nobody wrote one. */
	readonly policy: string;
}

interface BreakerData {
	/** Who calls. */
	readonly service: string;
	/** The upstream that is protected. */
	readonly dependency: string;
	readonly scope: "upstream" | "endpoint" | "route";
	/** The endpoint or the route, by scope; empty for the upstream as a whole. */
	readonly scopeKey: string;
	/** What made the state change, in words. */
	readonly cause: string;
	readonly counts: { readonly consecutiveFailures: number; readonly requests: number; readonly failures: number; readonly slowCalls: number };
	/** Of the last failures, newest first: reason or status. */
	readonly lastErrors: readonly string[];
	/** `file:line:column` of the line that set the threshold. */
	readonly policy: string;
	/** ISO 8601. */
	readonly at: string;
}

interface EndpointData {
	readonly upstream: string;
	/** `host:port`. */
	readonly endpoint: string;
	/** Of the check: http or tcp. */
	readonly kind: string;
	/** Of the last failed check; empty where there was none. */
	readonly lastError: string;
	/** Checks in a row with this result. */
	readonly consecutive: number;
}

export type NexusEventType = keyof NexusEventData;

export interface NexusEventSpec {
	/** 0 (first to be dropped when a spool is full) to 9. */
	readonly priority: number;
	readonly sentence: string;
}

export const NEXUS_EVENTS: { readonly [T in NexusEventType]: NexusEventSpec } = Object.freeze({
	"nexus.mesh.sidecar.started": spec(5, "A sidecar is ready: its listeners are bound and its first health checks are in."),
	"nexus.mesh.sidecar.draining": spec(5, "A sidecar takes no new connections and finishes what it has."),
	"nexus.mesh.sidecar.stopped": spec(5, "A sidecar has ended in good order."),
	"nexus.mesh.traffic.routed": spec(1, "What passed a sidecar in one window, per route, upstream and outcome."),
	"nexus.mesh.endpoint.unhealthy": spec(8, "Active checks took an endpoint out of balancing."),
	"nexus.mesh.endpoint.healthy": spec(6, "Active checks put an endpoint back into balancing."),
	"nexus.mesh.endpoint.ejected": spec(8, "Outlier detection took an endpoint out of balancing for a while."),
	"nexus.mesh.endpoint.returned": spec(6, "An ejected endpoint takes part again."),
	"nexus.mesh.retry.budget_exhausted": spec(7, "Tries were not made because the retry budget of an upstream was used up; one event a window."),
	"nexus.mesh.rate_limit.exceeded": spec(5, "Requests were over a rate limit; one event a window and limit."),
	"nexus.mesh.fault.injected": spec(5, "Requests met a fault that was injected on purpose; one event a window and fault."),
	"nexus.chaos.inject.failure": spec(7, "A fault was put on a sidecar, replaced, taken away, or has expired."),
	"nexus.mesh.mtls.failure": spec(8, "Connections over TLS were not made, not let in, or cut; one event a window, reason and peer."),
	"nexus.mesh.authorization.denied": spec(8, "The rules refused requests of a caller; one event a window, rule and caller."),
	"nexus.circuit_breaker.tripped": spec(9, "A circuit breaker has opened."),
	"nexus.circuit_breaker.half_open": spec(6, "An open circuit breaker lets probes through."),
	"nexus.circuit_breaker.reset": spec(7, "A circuit breaker has closed again."),
	"nexus.mesh.certificate.rotated": spec(3, "A sidecar shows a new certificate."),
	"nexus.mesh.certificate.expiring": spec(9, "A certificate ends soon, or has ended, and could not be renewed."),
	"nexus.mesh.policy.applied": spec(4, "A sidecar runs a new policy."),
	"nexus.mesh.policy.rejected": spec(8, "A changed policy is wrong; the sidecar keeps the last good one."),
	"nexus.policy.rollout.started": spec(6, "A new policy is given to the first instances of a service."),
	"nexus.policy.rollout.advanced": spec(4, "A new policy has done no harm so far and is given to more instances."),
	"nexus.policy.rollout.completed": spec(6, "All instances of a service have a new policy."),
	"nexus.policy.rollout.rolled_back": spec(9, "A new policy was taken back."),
	"nexus.audit.mutation": spec(7, "Somebody has changed something at Nexus."),
	"nexus.bus.dead_letter.parked": spec(8, "An event could not be delivered to a subscription, and is kept as a dead letter."),
	"nexus.bus.subscription.stalled": spec(8, "Events wait for a subscription, and none has arrived for a while."),
	"nexus.bus.subscription.recovered": spec(6, "Events arrive again at a subscription that was stalled."),
});

export const NEXUS_EVENT_TYPES: readonly NexusEventType[] = Object.freeze(Object.keys(NEXUS_EVENTS) as NexusEventType[]);

export interface EventContext {
	readonly service: string;
	readonly instance: string;
	readonly ids: IdSource;
	readonly wallMs: number;
	/** What the event is about, such as an upstream or an endpoint. */
	readonly subject?: string;
	/** The trace that led to it. */
	readonly traceparent?: string;
}

/** An event of the catalogue, ready to be sent. The instance is the partition key: what one sidecar says stays in order. */
export function makeEvent<T extends NexusEventType>(type: T, data: NexusEventData[T], context: EventContext): CloudEvent<NexusEventData[T]> {
	return {
		specversion: "1.0",
		id: context.ids.uuid7(context.wallMs),
		source: `/mesh/${context.service}/${context.instance}`,
		type,
		...(context.subject === undefined ? {} : { subject: context.subject }),
		time: new Date(context.wallMs).toISOString(),
		datacontenttype: "application/json",
		priority: NEXUS_EVENTS[type].priority,
		partitionkey: context.instance,
		...(context.traceparent === undefined ? {} : { traceparent: context.traceparent }),
		data,
	};
}

function spec(priority: number, sentence: string): NexusEventSpec {
	return Object.freeze({ priority, sentence });
}
