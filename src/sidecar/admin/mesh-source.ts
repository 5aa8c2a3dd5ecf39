/** Puts on /metrics what the admin API shows: the same view, so that the two never disagree. */
import type { Clock } from "../../core/clock.ts";
import type { LimiterView } from "../../limits/limited.ts";
import type { Emit, MetricSource } from "../../metrics/source.ts";
import type { Endpoint } from "../../upstream/endpoint.ts";
import type { Upstream } from "../../upstream/upstream.ts";
import type { AdminView, EndpointView, ScopedBreakerView, UpstreamView } from "./view.ts";

export type MeshView = Pick<AdminView, "readiness" | "policy" | "listeners" | "upstreams" | "limits" | "faults">;

const BREAKER_STATES = ["closed", "open", "half-open"] as const;

export function meshSource(view: MeshView): MetricSource {
	return {
		collect(emit) {
			const { snapshot, appliedAtMs, reloads } = view.policy();
			emit("nexus_ready", {}, view.readiness().ready ? 1 : 0);
			emit("nexus_policy_version", {}, snapshot.version);
			emit("nexus_policy_info", { service: snapshot.service, hash: snapshot.hash }, 1);
			emit("nexus_policy_applied_timestamp_seconds", {}, appliedAtMs / 1000);
			for (const [result, count] of Object.entries(reloads)) emit("nexus_policy_reloads_total", { result }, count);
			for (const { name, open, accepted, refused } of view.listeners()) {
				const labels = { listener: name };
				emit("nexus_connections_open", labels, open);
				emit("nexus_connections_accepted_total", labels, accepted);
				emit("nexus_connections_refused_total", labels, refused);
			}
			for (const upstream of view.upstreams()) {
				for (const endpoint of upstream.endpoints) emitEndpoint(emit, upstream.name, endpoint);
				for (const breaker of upstream.breakers) emitBreaker(emit, upstream.name, breaker);
				emitUpstream(emit, upstream);
			}
			emitLimits(emit, view.limits());
			view.faults.collect(emit);
		},
	};
}

function emitEndpoint(emit: Emit, upstream: string, { address, health, activeRequests, pool, ejected, ejections }: EndpointView): void {
	const labels = { upstream, endpoint: address };
	emit("nexus_endpoint_healthy", labels, health === "unhealthy" ? 0 : 1);
	emit("nexus_endpoint_requests_active", labels, activeRequests);
	emit("nexus_endpoint_ejected", labels, ejected ? 1 : 0);
	for (const [cause, count] of Object.entries(ejections)) emit("nexus_endpoint_ejections_total", { ...labels, cause }, count);
	emit("nexus_pool_connections_open", labels, pool.open);
	emit("nexus_pool_connections_idle", labels, pool.idle);
	emit("nexus_pool_pending", labels, pool.pending);
	emit("nexus_pool_connects_total", labels, pool.connects);
	emit("nexus_pool_connect_failures_total", labels, pool.connectFailures);
	emit("nexus_pool_overflow_total", labels, pool.overflows);
}

function emitBreaker(emit: Emit, upstream: string, { scope, key, state, trips }: ScopedBreakerView): void {
	const labels = { upstream, scope, key };
	for (const known of BREAKER_STATES) emit("nexus_breaker_state", { ...labels, state: known }, known === state ? 1 : 0);
	emit("nexus_breaker_trips_total", labels, trips);
}

function emitUpstream(emit: Emit, { name: upstream, concurrency, panic, panicPicks, retryBudget, retries }: UpstreamView): void {
	emit("nexus_upstream_panic", { upstream }, panic ? 1 : 0);
	emit("nexus_upstream_panic_picks_total", { upstream }, panicPicks);
	emit("nexus_retry_budget_balance", { upstream }, retryBudget.balance);
	emit("nexus_retries_total", { upstream, result: "sent" }, retries.sent);
	emit("nexus_retries_total", { upstream, result: "refused" }, retries.refused);
	emit("nexus_retries_total", { upstream, result: "not_replayable" }, retries.notReplayable);
	emit("nexus_retries_total", { upstream, result: "suppressed" }, retries.suppressed);
	emit("nexus_retries_total", { upstream, result: "late" }, retries.late);
	emit("nexus_hedges_total", { upstream, result: "sent" }, retries.hedgesSent);
	emit("nexus_hedges_total", { upstream, result: "won" }, retries.hedgesWon);
	emit("nexus_hedges_total", { upstream, result: "refused" }, retries.hedgesRefused);
	if (concurrency === undefined) return;
	emit("nexus_concurrency_limit", { upstream }, concurrency.limit);
	emit("nexus_concurrency_active", { upstream }, concurrency.active);
	emit("nexus_concurrency_pending", { upstream }, concurrency.pending);
}

/** Limits of one name (two upstreams may have one each) are one series. */
function emitLimits(emit: Emit, limits: readonly LimiterView[]): void {
	const byName = Map.groupBy(limits, ({ direction, limit }) => `${direction} ${limit}`);
	for (const [first, ...more] of byName.values()) {
		if (first === undefined) continue;
		const sum = (of: (limit: LimiterView) => number): number => more.reduce((total, limit) => total + of(limit), of(first));
		const labels = { direction: first.direction, limit: first.limit };
		emit(
			"nexus_rate_limit_keys",
			labels,
			sum(({ keys }) => keys),
		);
		emit(
			"nexus_rate_limit_requests_total",
			{ ...labels, result: "admitted" },
			sum(({ admitted }) => admitted),
		);
		emit(
			"nexus_rate_limit_requests_total",
			{ ...labels, result: "rejected" },
			sum(({ rejected }) => rejected),
		);
		emit(
			"nexus_rate_limit_requests_total",
			{ ...labels, result: "queued" },
			sum(({ queued }) => queued),
		);
		emit(
			"nexus_rate_limit_requests_total",
			{ ...labels, result: "timed_out" },
			sum(({ timedOut }) => timedOut),
		);
		if (first.shared === undefined && more.every(({ shared }) => shared === undefined)) continue;
		emit(
			"nexus_rate_limit_shared_total",
			{ ...labels, result: "granted" },
			sum(({ shared }) => shared?.granted ?? 0),
		);
		emit(
			"nexus_rate_limit_shared_total",
			{ ...labels, result: "empty" },
			sum(({ shared }) => shared?.empty ?? 0),
		);
		emit(
			"nexus_rate_limit_shared_total",
			{ ...labels, result: "failed" },
			sum(({ shared }) => shared?.failed ?? 0),
		);
	}
}

/** How a live upstream is shown. */
export function upstreamView(upstream: Upstream, clock: Clock): UpstreamView {
	const nowMs = clock.monotonicMs();
	const { breakers, bulkhead, budget, counts } = upstream.guards;
	return {
		name: upstream.name,
		loadBalancing: upstream.options.loadBalancing,
		resolved: upstream.resolved,
		endpoints: Array.from(upstream.endpoints(), (endpoint) => endpointView(endpoint, nowMs)),
		breakers: breakers === undefined ? [] : Array.from(breakers.all(), ([key, breaker]) => ({ scope: breakers.scope, key, ...breaker.view() })),
		concurrency: bulkhead?.view(),
		panic: upstream.panic,
		panicPicks: upstream.panicPicks,
		retryBudget: { balance: budget.balance(nowMs) },
		retries: { ...counts },
	};
}

function endpointView({ key, weight, policy, health, activeRequests, requests, pool, outlier, latency }: Endpoint, nowMs: number): EndpointView {
	const seen = outlier?.view();
	return {
		address: key,
		weight,
		zone: policy.zone,
		health,
		activeRequests,
		requests,
		pool: pool.stats,
		ejected: seen?.ejected ?? false,
		ejections: outlier?.ejectionsByCause ?? {},
		ejectedFor: seen?.detail ?? "",
		ejectionEndsInMs: Math.ceil(seen?.leftMs ?? 0),
		latencyMs: latency?.get(nowMs),
	};
}
