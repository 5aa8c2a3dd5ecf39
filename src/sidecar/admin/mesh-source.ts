/** Puts on /metrics what the admin API shows: the same view, so that the two never disagree. */
import type { MetricSource } from "../../metrics/source.ts";
import type { Upstream } from "../../upstream/upstream.ts";
import type { AdminView, UpstreamView } from "./view.ts";

export type MeshView = Pick<AdminView, "readiness" | "policy" | "listeners" | "upstreams">;

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
			for (const { name, endpoints } of view.upstreams()) {
				for (const { address, health, activeRequests, pool } of endpoints) {
					const labels = { upstream: name, endpoint: address };
					emit("nexus_endpoint_healthy", labels, health === "unhealthy" ? 0 : 1);
					emit("nexus_endpoint_requests_active", labels, activeRequests);
					emit("nexus_pool_connections_open", labels, pool.open);
					emit("nexus_pool_connections_idle", labels, pool.idle);
					emit("nexus_pool_pending", labels, pool.pending);
					emit("nexus_pool_connects_total", labels, pool.connects);
					emit("nexus_pool_connect_failures_total", labels, pool.connectFailures);
					emit("nexus_pool_overflow_total", labels, pool.overflows);
				}
			}
		},
	};
}

/** How a live upstream is shown. */
export function upstreamView(upstream: Upstream): UpstreamView {
	return {
		name: upstream.name,
		loadBalancing: upstream.options.loadBalancing,
		resolved: upstream.resolved,
		endpoints: Array.from(upstream.endpoints(), ({ key, weight, policy, health, activeRequests, requests, pool }) => ({
			address: key,
			weight,
			zone: policy.zone,
			health,
			activeRequests,
			requests,
			pool: pool.stats,
		})),
	};
}
