/** What differs between two snapshots, so that a reload touches only that. Where something stands in its file does not count. */
import type { InboundPolicy, OutboundPolicy, Snapshot, UpstreamPolicy } from "./snapshot.ts";

export type Change<Part> =
	| { readonly kind: "unchanged" | "added" | "removed" }
	| { readonly kind: "changed" /** Never empty. */; readonly parts: readonly Part[] };

export type UpstreamPart = Exclude<keyof UpstreamPolicy, "place" | "places" | "name">;
export type InboundPart = Exclude<keyof InboundPolicy, "place" | "places">;
export type OutboundPart = Exclude<keyof OutboundPolicy, "place">;
export type SettingPart = Exclude<keyof Snapshot, "version" | "hash" | "file" | "inbound" | "outbound" | "upstreams">;

export interface SnapshotDiff {
	readonly settings: readonly SettingPart[];
	readonly inbound: Change<InboundPart>;
	readonly outbound: Change<OutboundPart>;
	/** Every upstream of either snapshot, by name. */
	readonly upstreams: ReadonlyMap<string, Change<UpstreamPart>>;
	/** Nothing differs but places, comments, or the way things are written. */
	readonly empty: boolean;
}

const SETTINGS = partsOf<SettingPart>({
	service: true,
	trustDomain: true,
	zone: true,
	identity: true,
	admin: true,
	nexus: true,
	policy: true,
	tracing: true,
	traceAllowed: true,
	accessLogSample: true,
	drainTimeoutMs: true,
});
const UPSTREAM = partsOf<UpstreamPart>({
	listen: true,
	endpoints: true,
	tls: true,
	loadBalancing: true,
	balancing: true,
	healthCheck: true,
	timeout: true,
	pool: true,
	circuitBreaker: true,
	concurrency: true,
	outlierDetection: true,
	retry: true,
	retryBudget: true,
	rateLimits: true,
	faults: true,
});
const INBOUND = partsOf<InboundPart>({
	listen: true,
	application: true,
	limits: true,
	trustedProxies: true,
	timeout: true,
	pool: true,
	rateLimits: true,
	circuitBreaker: true,
	concurrency: true,
	tls: true,
	authorization: true,
});
const OUTBOUND = partsOf<OutboundPart>({ listen: true, passthrough: true, limits: true, routes: true });

/** A record names every part, or it does not compile. */
function partsOf<Part extends string>(parts: Readonly<Record<Part, true>>): readonly Part[] {
	return Object.keys(parts) as Part[];
}

export function diffSnapshots(before: Snapshot, after: Snapshot): SnapshotDiff {
	const settings = changedParts(before, after, SETTINGS);
	const inbound = changeOf(before.inbound, after.inbound, INBOUND);
	const outbound = changeOf(before.outbound, after.outbound, OUTBOUND);
	const upstreams = new Map<string, Change<UpstreamPart>>();
	for (const name of new Set([...before.upstreams.keys(), ...after.upstreams.keys()])) {
		upstreams.set(name, changeOf(before.upstreams.get(name), after.upstreams.get(name), UPSTREAM));
	}
	const changes = [inbound, outbound, ...upstreams.values()];
	return { settings, inbound, outbound, upstreams, empty: settings.length === 0 && changes.every((c) => c.kind === "unchanged") };
}

function changeOf<T extends object, P extends keyof T>(before: T | undefined, after: T | undefined, parts: readonly P[]): Change<P> {
	if (before === undefined) return { kind: after === undefined ? "unchanged" : "added" };
	if (after === undefined) return { kind: "removed" };
	const changed = changedParts(before, after, parts);
	return changed.length === 0 ? { kind: "unchanged" } : { kind: "changed", parts: changed };
}

function changedParts<T extends object, P extends keyof T>(before: T, after: T, parts: readonly P[]): P[] {
	return parts.filter((part) => !sameValue(before[part], after[part]));
}

function sameValue(a: unknown, b: unknown): boolean {
	if (Object.is(a, b)) return true;
	if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
	if (a instanceof Map) return b instanceof Map && a.size === b.size && [...a].every(([key, value]) => b.has(key) && sameValue(value, b.get(key)));
	if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((item, i) => sameValue(item, b[i]));
	return sameObject(a as Readonly<Record<string, unknown>>, b as Readonly<Record<string, unknown>>);
}

function sameObject(a: Readonly<Record<string, unknown>>, b: Readonly<Record<string, unknown>>): boolean {
	const keys = Object.keys(a);
	if (keys.length !== Object.keys(b).length) return false;
	// A fault that ends after a while ends later each time that the same file is read.
	const lease = a.forMs !== undefined && a.forMs === b.forMs;
	return keys.every((key) => key === "place" || (lease && key === "expiresAtMs") || (Object.hasOwn(b, key) && sameValue(a[key], b[key])));
}
