/** Typed configuration -> the frozen snapshot that the data plane runs. Nothing can fail here any more. */
import { dirname, resolve } from "node:path";
import { compileAuthorization } from "./compile-authorization.ts";
import { compileIdentity, compileInboundTls, compileUpstreamTls } from "./compile-identity.ts";
import {
	compileCircuitBreaker,
	compileConcurrency,
	compileFaults,
	compileOutlier,
	compileRateLimits,
	compileRetry,
	compileRetryBudget,
} from "./compile-resilience.ts";
import { compileBalancing, compileRoute } from "./compile-traffic.ts";
import { DEFAULTS } from "./defaults.ts";
import { FrozenMap } from "./frozen-map.ts";
import type { Places } from "./places.ts";
import type { OutlierPolicy, RetryPolicy } from "./resilience-policy.ts";
import { limits as limitsSchema, type PolicyConfig } from "./schema.ts";
import { type EndpointConfig, type UpstreamConfig, upstreamDefaults } from "./schema-upstream.ts";
import { defaultsOf } from "./shape.ts";
import type {
	EndpointPolicy,
	EndpointsPolicy,
	HealthCheckPolicy,
	InboundPolicy,
	ListenerLimits,
	NexusPolicy,
	OutboundPolicy,
	Place,
	PolicySourcePolicy,
	PoolLimits,
	Snapshot,
	Timeouts,
	UpstreamPolicy,
} from "./snapshot.ts";

export interface SnapshotIdentity {
	readonly version: number;
	readonly hash: string;
	readonly file: string;
	/** Milliseconds since 1970: from when on the faults with `for` count. */
	readonly wallMs: number;
}

export function compile(config: PolicyConfig, identity: SnapshotIdentity, places: Places): Snapshot {
	const { version, hash, file, wallMs } = identity;
	const { tracing } = config;
	const mesh = { trustDomain: config.trustDomain, hasIdentity: config.identity !== undefined, file };
	const upstreams = Object.entries(config.upstreams).map(([name, upstream]): [string, UpstreamPolicy] => [
		name,
		compileUpstream(name, upstream, mesh, places, wallMs),
	]);
	return deepFreeze({
		version,
		hash,
		file,
		service: config.service,
		trustDomain: config.trustDomain,
		zone: config.zone,
		admin: { listen: config.admin.listen, place: places.of(["admin"]) },
		identity: compileIdentity(config.identity, file, places),
		inbound: config.inbound && compileInbound(config.inbound, mesh, places),
		outbound: config.outbound && compileOutbound(config.outbound, places),
		upstreams: new FrozenMap(upstreams),
		nexus: config.nexus && compileNexus(config.nexus, file, places),
		policy: config.policy && compileSource(config.policy, file, places),
		tracing: tracing?.otlp === undefined ? undefined : { otlpUrl: tracing.otlp, sample: tracing.sample ?? DEFAULTS.tracingSample },
		traceAllowed: tracing?.allow ?? DEFAULTS.traceAllow,
		accessLogSample: config.accessLog?.sample,
		drainTimeoutMs: config.drainTimeout,
	});
}

function compileNexus({ url, spool, register }: NonNullable<PolicyConfig["nexus"]>, file: string, places: Places): NexusPolicy {
	const { dir, maxBytes, maxEvents } = spool;
	const place = places.of(["nexus", "spool", "dir"]);
	return {
		url,
		spoolEventsMax: maxEvents,
		spoolDirectory: dir === undefined ? undefined : { dir: resolve(dirname(file), dir), bytesMax: maxBytes, place },
		...(register === undefined ? {} : { register: { address: register.address, leaseMs: register.lease } }),
	};
}

function compileSource({ merge, cacheDir }: NonNullable<PolicyConfig["policy"]>, file: string, places: Places): PolicySourcePolicy {
	return { place: places.of(["policy"]), merge, cacheDir: cacheDir && resolve(dirname(file), cacheDir) };
}

/** Has a place of its own in the snapshot, or none that anybody asks for. */
function isOwnSection(key: string): boolean {
	return (
		key === "endpoints" ||
		key === "dns" ||
		key === "healthCheck" ||
		key === "limits" ||
		key === "rateLimits" ||
		key === "authorization" ||
		key === "tls"
	);
}

/** What several parts of a policy need to know of it. */
interface MeshFacts {
	readonly trustDomain: string;
	readonly hasIdentity: boolean;
	/** Of the policy. */
	readonly file: string;
}

function compileInbound(inbound: NonNullable<PolicyConfig["inbound"]>, { hasIdentity }: MeshFacts, places: Places): InboundPolicy {
	return {
		place: places.of(["inbound"]),
		listen: inbound.listen,
		application: inbound.application,
		limits: compileLimits(inbound.limits),
		trustedProxies: inbound.trustedProxies,
		timeout: compileTimeouts(inbound.timeout),
		pool: compilePool(inbound.pool),
		tls: compileInboundTls(inbound.tls, hasIdentity, places),
		authorization: compileAuthorization(inbound.authorization, ["inbound", "authorization"], places),
		rateLimits: compileRateLimits(inbound.rateLimits, ["inbound", "rateLimits"], places),
		places: new FrozenMap(places.below(["inbound"], isOwnSection)),
		circuitBreaker: compileCircuitBreaker(inbound.circuitBreaker, ["inbound", "circuitBreaker"], places),
		concurrency: compileConcurrency(inbound.circuitBreaker, ["inbound", "circuitBreaker"], places),
	};
}

function compileOutbound(outbound: NonNullable<PolicyConfig["outbound"]>, places: Places): OutboundPolicy {
	return {
		place: places.of(["outbound"]),
		listen: outbound.listen,
		passthrough: outbound.passthrough,
		limits: compileLimits(outbound.limits),
		routes: outbound.routes.map((route, i) => compileRoute(route, ["outbound", "routes", i], places)),
	};
}

function compileUpstream(name: string, upstream: UpstreamConfig, mesh: MeshFacts, places: Places, wallMs: number): UpstreamPolicy {
	const path = ["upstreams", name];
	const at = (key: string) => [...path, key];
	return {
		place: places.of(path),
		places: new FrozenMap(places.below(path, isOwnSection)),
		name,
		listen: upstream.listen,
		endpoints: compileEndpoints(name, upstream, mesh.file),
		tls: compileUpstreamTls(upstream.tls, upstream.registry?.service ?? name, mesh),
		loadBalancing: upstream.loadBalancing,
		balancing: compileBalancing(upstream),
		healthCheck: upstream.healthCheck && compileHealthCheck(upstream.healthCheck, places.of(at("healthCheck"))),
		timeout: compileTimeouts(upstream.timeout),
		pool: compilePool(upstream.pool),
		circuitBreaker: compileCircuitBreaker(upstream.circuitBreaker, at("circuitBreaker"), places),
		concurrency: compileConcurrency(upstream.circuitBreaker, at("circuitBreaker"), places),
		outlierDetection: compileOutlier(upstream.outlierDetection, places.of(at("outlierDetection"))),
		retry: compileRetry(upstream.retry, at("retry"), places),
		retryBudget: compileRetryBudget(upstream.retry),
		rateLimits: compileRateLimits(upstream.rateLimits, at("rateLimits"), places),
		faults: compileFaults(upstream.fault, name, at("fault"), places, wallMs),
	};
}

function compileEndpoints(name: string, { endpoints, dns, file, registry }: UpstreamConfig, policyFile: string): EndpointsPolicy {
	if (dns !== undefined) {
		return { kind: "dns", name: dns.name, port: dns.port, type: dns.type, refreshMs: dns.refresh, servers: dns.servers };
	}
	if (file !== undefined) return { kind: "file", path: resolve(dirname(policyFile), file) };
	if (registry !== undefined) return { kind: "registry", service: registry.service ?? name };
	return { kind: "static", endpoints: (endpoints ?? []).map(compileEndpoint) };
}

export function compileEndpoint({ address, weight, zone, priority }: EndpointConfig): EndpointPolicy {
	return priority === undefined ? { address, weight, zone } : { address, weight, zone, priority };
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

/** Limits of a listener that the policy has no place for: ports of single upstreams without `outbound`. */
export function defaultLimits(): { readonly limits: ListenerLimits; readonly timeout: Timeouts; readonly pool: PoolLimits } {
	const { timeout, pool } = defaultUpstream();
	return { limits: compileLimits(defaultsOf(limitsSchema)), timeout, pool };
}

/** An upstream that the policy does not name: destinations outside the mesh. */
export type DefaultUpstream = Pick<UpstreamPolicy, "loadBalancing" | "balancing" | "timeout" | "pool" | "outlierDetection" | "retry" | "retryBudget">;

/** Stands where a value comes from no line of any policy. */
export const NO_PLACE: Place = Object.freeze({ file: "", line: 1, column: 1 });

/** What holds for it; `place` is the line that lets such upstreams be. */
export function defaultUpstream(place: Place = NO_PLACE): DefaultUpstream {
	const config = upstreamDefaults();
	return deepFreeze({
		loadBalancing: config.loadBalancing,
		balancing: compileBalancing(config),
		timeout: compileTimeouts(config.timeout),
		pool: compilePool(config.pool),
		outlierDetection: compileOutlier(config.outlierDetection, place),
		retry: compileRetry(config.retry, [], { of: () => place }),
		retryBudget: compileRetryBudget(config.retry),
	});
}

/**
 * Towards the application beside us: only what met a dead connection is sent once more, as to anybody. Its callers retry the rest, and
 * can do so elsewhere.
 */
export const APPLICATION_RETRY: RetryPolicy = deepFreeze({
	...defaultUpstream().retry,
	attempts: 0,
	on: { connectFailure: false, reset: false, perTryTimeout: false, statuses: [] },
});

/** There is only one application: to leave it out would help nobody. */
export const APPLICATION_OUTLIER: OutlierPolicy = deepFreeze({ ...defaultUpstream().outlierDetection, enabled: false });

/** Freezes what is not frozen yet: defaults and places are shared by many. A map that is frozen may still hold what is not. */
export function deepFreeze<T>(value: T): T {
	if (typeof value !== "object" || value === null) return value;
	if (value instanceof Map) {
		for (const child of value.values()) deepFreeze(child);
		return Object.freeze(value);
	}
	if (Object.isFrozen(value)) return value;
	for (const key in value) deepFreeze(value[key]);
	return Object.freeze(value);
}
