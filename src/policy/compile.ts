/** Typed configuration -> the frozen snapshot that the data plane runs. Nothing can fail here any more. */
import { dirname, resolve } from "node:path";
import { FrozenMap } from "./frozen-map.ts";
import {
	type EndpointConfig,
	limits as limitsSchema,
	type PolicyConfig,
	pool as poolSchema,
	timeout as timeoutSchema,
	type UpstreamConfig,
} from "./schema.ts";
import type {
	EndpointPolicy,
	EndpointsPolicy,
	HealthCheckPolicy,
	InboundPolicy,
	ListenerLimits,
	OutboundPolicy,
	Place,
	PoolLimits,
	RoutePolicy,
	Snapshot,
	Timeouts,
	UpstreamPolicy,
} from "./snapshot.ts";
import type { Path } from "./tree.ts";

/** Where the key that leads to `path` stands. */
export type PlaceOf = (path: Path) => Place;

export interface SnapshotIdentity {
	readonly version: number;
	readonly hash: string;
	readonly file: string;
}

export function compile(config: PolicyConfig, { version, hash, file }: SnapshotIdentity, placeOf: PlaceOf): Snapshot {
	const upstreams = Object.entries(config.upstreams).map(([name, upstream]): [string, UpstreamPolicy] => [
		name,
		compileUpstream(name, upstream, file, placeOf),
	]);
	return deepFreeze({
		version,
		hash,
		file,
		service: config.service,
		trustDomain: config.trustDomain,
		admin: { listen: config.admin.listen, place: placeOf(["admin"]) },
		inbound: config.inbound && compileInbound(config.inbound, placeOf),
		outbound: config.outbound && compileOutbound(config.outbound, placeOf),
		upstreams: new FrozenMap(upstreams),
		nexus: config.nexus && { url: config.nexus.url, spoolEventsMax: config.nexus.spool.maxEvents },
		accessLogSample: config.accessLog?.sample,
		drainTimeoutMs: config.drainTimeout,
	});
}

function compileInbound(inbound: NonNullable<PolicyConfig["inbound"]>, placeOf: PlaceOf): InboundPolicy {
	return {
		place: placeOf(["inbound"]),
		listen: inbound.listen,
		application: inbound.application,
		limits: compileLimits(inbound.limits),
		trustedProxies: inbound.trustedProxies,
		timeout: compileTimeouts(inbound.timeout),
		pool: compilePool(inbound.pool),
	};
}

function compileOutbound(outbound: NonNullable<PolicyConfig["outbound"]>, placeOf: PlaceOf): OutboundPolicy {
	return {
		place: placeOf(["outbound"]),
		listen: outbound.listen,
		passthrough: outbound.passthrough,
		limits: compileLimits(outbound.limits),
		routes: outbound.routes.map((route, i): RoutePolicy => {
			const { host, path, method, methods, headers } = route.match;
			return {
				place: placeOf(["outbound", "routes", i]),
				name: route.name,
				match: { host, path, methods: method === undefined ? (methods ?? []) : [method], headers: new FrozenMap(headers ?? []) },
				to: route.to,
				rewriteHost: route.rewrite?.host,
			};
		}),
	};
}

function compileUpstream(name: string, upstream: UpstreamConfig, file: string, placeOf: PlaceOf): UpstreamPolicy {
	return {
		place: placeOf(["upstreams", name]),
		name,
		listen: upstream.listen,
		endpoints: compileEndpoints(upstream, file),
		loadBalancing: upstream.loadBalancing,
		healthCheck: upstream.healthCheck && compileHealthCheck(upstream.healthCheck, placeOf(["upstreams", name, "healthCheck"])),
		timeout: compileTimeouts(upstream.timeout),
		pool: compilePool(upstream.pool),
	};
}

function compileEndpoints({ endpoints, dns, file }: UpstreamConfig, policyFile: string): EndpointsPolicy {
	if (dns !== undefined) {
		return { kind: "dns", name: dns.name, port: dns.port, type: dns.type, refreshMs: dns.refresh, servers: dns.servers };
	}
	if (file !== undefined) return { kind: "file", path: resolve(dirname(policyFile), file) };
	return { kind: "static", endpoints: (endpoints ?? []).map(compileEndpoint) };
}

export function compileEndpoint({ address, weight, zone }: EndpointConfig): EndpointPolicy {
	return { address, weight, zone };
}

function compileHealthCheck(check: NonNullable<UpstreamConfig["healthCheck"]>, place: Place): HealthCheckPolicy {
	return {
		place,
		kind: check.kind,
		path: check.path,
		host: check.host,
		headers: new FrozenMap(check.headers),
		statuses: check.statuses,
		intervalMs: check.interval,
		timeoutMs: check.timeout,
		unhealthyThreshold: check.unhealthyThreshold,
		healthyThreshold: check.healthyThreshold,
	};
}

function compileLimits(limits: NonNullable<PolicyConfig["inbound"]>["limits"]): ListenerLimits {
	return {
		connectionsMax: limits.maxConnections,
		requestHeadTimeoutMs: limits.requestHeadTimeout,
		bodyIdleTimeoutMs: limits.bodyIdleTimeout,
		keepAliveIdleTimeoutMs: limits.keepAliveIdleTimeout,
	};
}

function compileTimeouts(timeout: UpstreamConfig["timeout"]): Timeouts {
	return { requestMs: timeout.request, connectMs: timeout.connect, idleMs: timeout.idle };
}

function compilePool(pool: UpstreamConfig["pool"]): PoolLimits {
	return { connectionsMax: pool.maxConnections, pendingMax: pool.maxPending, pendingTimeoutMs: pool.pendingTimeout };
}

/** What holds where a policy has no place to say otherwise: ports of single upstreams without `outbound`, destinations outside the mesh. */
export function defaultLimits(): { readonly limits: ListenerLimits; readonly timeout: Timeouts; readonly pool: PoolLimits } {
	return {
		limits: compileLimits(limitsSchema.parse({})),
		timeout: compileTimeouts(timeoutSchema.parse({})),
		pool: compilePool(poolSchema.parse({})),
	};
}

export function deepFreeze<T>(value: T): T {
	if (typeof value !== "object" || value === null) return value;
	const children = value instanceof Map ? value.values() : Object.values(value);
	for (const child of children) deepFreeze(child);
	return Object.freeze(value);
}
