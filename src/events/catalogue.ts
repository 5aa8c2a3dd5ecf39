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
	"nexus.mesh.policy.applied": spec(4, "A sidecar runs a new policy."),
	"nexus.mesh.policy.rejected": spec(8, "A changed policy is wrong; the sidecar keeps the last good one."),
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
