/** Envoy's configuration with the features that a setup has, each as near to ours as Envoy has it. */
import type { Ports } from "./nexus-policy.ts";
import { HEALTH_PATH } from "./service-options.ts";
import { type Feature, SERVICE, SETTINGS } from "./settings.ts";

// Its own word for no limit.
const UNLIMITED = 4_294_967_295;

export function envoyConfig({ port, adminPort }: Ports, addresses: readonly string[], features: readonly Feature[]): string {
	const config = {
		admin: { address: socketAddress(`127.0.0.1:${adminPort}`) },
		static_resources: {
			listeners: [{ address: socketAddress(`127.0.0.1:${port}`), filter_chains: [{ filters: [connectionManager(features)] }] }],
			clusters: [cluster(addresses, features)],
		},
	};
	// JSON is YAML.
	return `${JSON.stringify(config, null, "\t")}\n`;
}

function connectionManager(features: readonly Feature[]) {
	return {
		name: "envoy.filters.network.http_connection_manager",
		typed_config: {
			"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
			stat_prefix: "bench",
			route_config: {
				virtual_hosts: [{ name: "all", domains: ["*"], routes: [{ match: { prefix: "/" }, route: route(features) }] }],
			},
			http_filters: [
				{
					name: "envoy.filters.http.router",
					typed_config: { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
				},
			],
		},
	};
}

function route(features: readonly Feature[]) {
	const { retry } = SETTINGS;
	return {
		cluster: SERVICE,
		timeout: duration(SETTINGS.requestTimeoutMs),
		...(features.includes("retries") && {
			retry_policy: {
				// gateway-error: 502, 503, 504, and with it a try that has timed out.
				retry_on: "connect-failure,reset,gateway-error",
				num_retries: retry.attempts,
				retry_back_off: { base_interval: duration(retry.baseMs), max_interval: duration(retry.maxMs) },
				retry_host_predicate: [
					{
						name: "envoy.retry_host_predicates.previous_hosts",
						typed_config: { "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate" },
					},
				],
				host_selection_retry_max_attempts: 5,
				...(features.includes("per-try-timeout") && { per_try_timeout: duration(SETTINGS.perTryTimeoutMs) }),
			},
		}),
		...(features.includes("hedging") && { hedge_policy: { hedge_on_per_try_timeout: true } }),
	};
}

function cluster(addresses: readonly string[], features: readonly Feature[]) {
	const { outlier, healthCheck } = SETTINGS;
	return {
		name: SERVICE,
		type: "STATIC",
		connect_timeout: duration(SETTINGS.connectTimeoutMs),
		lb_policy: features.includes("peak-ewma") ? "LEAST_REQUEST" : "ROUND_ROBIN",
		circuit_breakers: { thresholds: [thresholds(features)] },
		...(features.includes("outlier-ejection") && {
			outlier_detection: {
				consecutive_5xx: outlier.consecutiveFailures,
				interval: duration(outlier.intervalMs),
				base_ejection_time: duration(outlier.baseEjectionTimeMs),
				max_ejection_percent: outlier.maxEjectionPercent,
			},
		}),
		...(features.includes("health-checks") && {
			health_checks: [
				{
					http_health_check: { path: HEALTH_PATH },
					interval: duration(healthCheck.intervalMs),
					// Its 60 s of a cluster without traffic would be the interval of the whole run.
					no_traffic_interval: duration(healthCheck.intervalMs),
					timeout: duration(healthCheck.timeoutMs),
					unhealthy_threshold: healthCheck.unhealthyThreshold,
					healthy_threshold: healthCheck.healthyThreshold,
				},
			],
		}),
		load_assignment: {
			cluster_name: SERVICE,
			endpoints: [{ lb_endpoints: addresses.map((address) => ({ endpoint: { address: socketAddress(address) } })) }],
		},
	};
}

function thresholds(features: readonly Feature[]) {
	const { retry } = SETTINGS;
	if (!features.includes("breaker")) return { max_connections: UNLIMITED, max_pending_requests: UNLIMITED, max_requests: UNLIMITED };
	return {
		max_connections: SETTINGS.concurrent,
		max_pending_requests: SETTINGS.pending,
		max_requests: SETTINGS.concurrent,
		retry_budget: { budget_percent: { value: retry.budgetRatio * 100 }, min_retry_concurrency: retry.budgetMin },
	};
}

function socketAddress(address: string) {
	const at = address.lastIndexOf(":");
	return { socket_address: { address: address.slice(0, at), port_value: Number(address.slice(at + 1)) } };
}

function duration(ms: number): string {
	return `${ms / 1000}s`;
}
