/**
 * Every metric of the product as data: name, type, labels, help. The exposition and docs/metrics.md are made from it.
 * Label values come from policy, discovery or a fixed list, never from a request, so their number is bounded (law 5).
 */

export interface MetricSpec {
	readonly type: "counter" | "gauge" | "histogram";
	/** In the order in which they are written. */
	readonly labels: readonly string[];
	/** One sentence, with the unit. */
	readonly help: string;
}

const TRAFFIC = ["direction", "route", "upstream"] as const;
const TLS = ["direction", "name"] as const;
const ENDPOINT = ["upstream", "endpoint"] as const;

export const METRICS = Object.freeze({
	nexus_requests_total: {
		type: "counter",
		labels: [...TRAFFIC, "status_class"],
		help: "Finished requests by class of the status that the client got (1xx to 5xx; none where no status was sent).",
	},
	nexus_local_answers_total: {
		type: "counter",
		labels: [...TRAFFIC, "reason"],
		help: "Requests that the sidecar answered or broke off itself, by reason (see reasons.md).",
	},
	nexus_requests_active: { type: "gauge", labels: TRAFFIC, help: "Requests that have begun and not ended." },
	nexus_request_retries_total: { type: "counter", labels: TRAFFIC, help: "Attempts that were repeated on a new connection." },
	nexus_request_duration_seconds: {
		type: "histogram",
		labels: TRAFFIC,
		help: "From the last byte of the request head to the last byte of the answer, in seconds.",
	},
	nexus_upstream_duration_seconds: {
		type: "histogram",
		labels: TRAFFIC,
		help: "From handing the request to a connection to the head of the answer, in seconds.",
	},
	nexus_proxy_overhead_seconds: {
		type: "histogram",
		labels: TRAFFIC,
		help: "From the last byte of the request head to handing it to a connection, in seconds.",
	},

	nexus_connections_open: { type: "gauge", labels: ["listener"], help: "Client connections that are open." },
	nexus_connections_accepted_total: { type: "counter", labels: ["listener"], help: "Client connections accepted." },
	nexus_connections_refused_total: {
		type: "counter",
		labels: ["listener"],
		help: "Client connections refused because the listener was at its limit.",
	},

	nexus_endpoint_healthy: { type: "gauge", labels: ENDPOINT, help: "1 where the endpoint may be picked, 0 where its active check failed." },
	nexus_endpoint_requests_active: { type: "gauge", labels: ENDPOINT, help: "Requests on their way to the endpoint." },
	nexus_pool_connections_open: { type: "gauge", labels: ENDPOINT, help: "Connections to the endpoint, busy and idle." },
	nexus_pool_connections_idle: { type: "gauge", labels: ENDPOINT, help: "Kept-alive connections to the endpoint without a request." },
	nexus_pool_pending: { type: "gauge", labels: ENDPOINT, help: "Requests that wait for a connection to the endpoint." },
	nexus_pool_connects_total: { type: "counter", labels: ENDPOINT, help: "Connections opened to the endpoint." },
	nexus_pool_connect_failures_total: { type: "counter", labels: ENDPOINT, help: "Connections to the endpoint that could not be opened." },
	nexus_pool_overflow_total: { type: "counter", labels: ENDPOINT, help: "Requests refused because pool and queue of the endpoint were full." },

	nexus_endpoint_ejected: { type: "gauge", labels: ENDPOINT, help: "1 while outlier detection keeps the endpoint out of balancing." },
	nexus_endpoint_ejections_total: { type: "counter", labels: [...ENDPOINT, "cause"], help: "Ejections by outlier detection, by detector." },
	nexus_upstream_panic: { type: "gauge", labels: ["upstream"], help: "1 while so few endpoints are usable that all of them are used." },
	nexus_upstream_panic_picks_total: {
		type: "counter",
		labels: ["upstream"],
		help: "Requests that were spread over all endpoints because too few were usable.",
	},
	nexus_breaker_state: {
		type: "gauge",
		labels: ["upstream", "scope", "key", "state"],
		help: "1 for the state that the circuit breaker is in: closed, open or half-open; 0 for the others.",
	},
	nexus_breaker_trips_total: { type: "counter", labels: ["upstream", "scope", "key"], help: "How often the circuit breaker has opened." },
	nexus_concurrency_limit: {
		type: "gauge",
		labels: ["upstream"],
		help: "Requests that may be under way to the upstream at a time; moves where the limit is adaptive.",
	},
	nexus_concurrency_active: { type: "gauge", labels: ["upstream"], help: "Requests under way to the upstream that count against its limit." },
	nexus_concurrency_pending: { type: "gauge", labels: ["upstream"], help: "Requests that wait for room under the concurrency limit." },
	nexus_retries_total: {
		type: "counter",
		labels: ["upstream", "result"],
		help: "Further tries: sent, refused by the budget, not replayable (body too large), suppressed (a hop behind has retried already), late (no time left).",
	},
	nexus_retry_budget_balance: { type: "gauge", labels: ["upstream"], help: "Tries that the retry budget would grant now." },
	nexus_hedges_total: {
		type: "counter",
		labels: ["upstream", "result"],
		help: "Second requests: sent, won (answered first), refused by the hedge budget.",
	},
	nexus_rate_limit_requests_total: {
		type: "counter",
		labels: ["direction", "limit", "result"],
		help: "Requests that a rate limit has judged: admitted, rejected, queued, or timed_out in the queue.",
	},
	nexus_rate_limit_keys: { type: "gauge", labels: ["direction", "limit"], help: "Buckets in memory." },
	nexus_rate_limit_shared_total: {
		type: "counter",
		labels: ["direction", "limit", "result"],
		help: "Questions to the shared store: granted, empty, failed (error or timeout).",
	},
	nexus_faults_active: { type: "gauge", labels: [], help: "Faults that are in force, from the policy and from leases." },
	nexus_faults_injected_total: { type: "counter", labels: ["fault", "kind"], help: "Attempts that met an injected fault." },
	nexus_mirror_requests_total: {
		type: "counter",
		labels: ["upstream", "result"],
		help: "Copies of requests: sent, failed, or skipped (too many under way, body too large).",
	},
	nexus_traces_total: { type: "counter", labels: ["result"], help: "Decision traces: collected, or dropped because a reader was too slow." },
	nexus_spans_total: {
		type: "counter",
		labels: ["result"],
		help: "OpenTelemetry spans: ended (given to the exporter) or dropped (exporter full or failing).",
	},
	nexus_authorization_requests_total: {
		type: "counter",
		labels: ["rule", "result"],
		help: "Inbound requests by rule of authorization (empty where none decided): denied, audited, would_deny (by a dry run) or would_allow (denied, but for a dry run).",
	},

	nexus_tls_connections_total: {
		type: "counter",
		labels: [...TLS, "result"],
		help: "Connections where TLS is possible: full (a whole handshake), resumed (an earlier session), plaintext (permissive) or failed.",
	},
	nexus_tls_failures_total: {
		type: "counter",
		labels: [...TLS, "reason"],
		help: "Connections that were not made or not let in, by reason (see reasons.md).",
	},
	nexus_tls_connections_cut_total: {
		type: "counter",
		labels: ["reason"],
		help: "Connections that stood and were cut because their peer is not trusted any more, by reason (see reasons.md).",
	},
	nexus_tls_handshakes_active: { type: "gauge", labels: [], help: "TLS handshakes of callers that have begun and not ended." },
	nexus_tls_handshakes_waiting: { type: "gauge", labels: [], help: "Callers that wait for their turn to shake hands." },
	nexus_certificate_not_after_seconds: {
		type: "gauge",
		labels: [],
		help: "When the certificate that this sidecar shows ends, in seconds since 1970.",
	},
	nexus_certificate_renewals_total: { type: "counter", labels: ["result"], help: "Attempts to get a new certificate: renewed or failed." },
	nexus_trust_bundle_version: { type: "gauge", labels: [], help: "Version of the trust bundle in use; grows with every change of whom is trusted." },

	nexus_ready: { type: "gauge", labels: [], help: "1 where /readyz answers 200." },
	nexus_policy_version: { type: "gauge", labels: [], help: "Version of the running policy; counts up with each one applied by this process." },
	nexus_policy_info: { type: "gauge", labels: ["service", "hash"], help: "Always 1; the labels name the running policy." },
	nexus_policy_applied_timestamp_seconds: { type: "gauge", labels: [], help: "When the running policy was applied, in seconds since 1970." },
	nexus_policy_reloads_total: { type: "counter", labels: ["result"], help: "Attempts to replace the policy: applied, unchanged or rejected." },

	nexus_events_queued: { type: "gauge", labels: [], help: "Events that Nexus has not acknowledged, in memory and in the spool directory." },
	nexus_events_queued_bytes: { type: "gauge", labels: [], help: "Bytes of those of them in memory, as JSON." },
	nexus_events_sent_total: { type: "counter", labels: [], help: "Events that Nexus has acknowledged." },
	nexus_events_dropped_total: {
		type: "counter",
		labels: ["cause"],
		help: "Events lost: overflow (spool full), too_large, rejected (by Nexus, one by one), refused (the whole batch), undelivered (at shutdown), damaged (the disk lost what it took).",
	},
	nexus_event_spool_dropped_total: {
		type: "counter",
		labels: ["cause", "priority"],
		help: "Events that the spool lost (overflow, too_large, damaged), by their priority; each appears with its first loss.",
	},
	nexus_event_spool_bytes: { type: "gauge", labels: [], help: "Bytes of the files in the spool directory." },
	nexus_event_spool_unwritten: {
		type: "gauge",
		labels: [],
		help: "Events that are not in the spool directory yet: they would end with the process.",
	},
	nexus_event_spool_faulty: {
		type: "gauge",
		labels: [],
		help: "1 while the spool directory cannot be written (full disk), from the first failure on.",
	},
	nexus_event_deliveries_total: {
		type: "counter",
		labels: ["result"],
		help: "Batches sent to Nexus: delivered, refused (4xx), busy (429), failed (5xx, network), skipped (breaker open).",
	},
	nexus_event_breaker_open: { type: "gauge", labels: [], help: "1 where the breaker around event delivery is open or half-open." },

	nexus_access_log_lines_total: {
		type: "counter",
		labels: ["result"],
		help: "Lines of the access log: written or dropped (writer too slow, disk full).",
	},
	nexus_log_lines_dropped_total: { type: "counter", labels: [], help: "Lines of the sidecar's own log that could not be written." },

	nexus_event_loop_lag_seconds: {
		type: "gauge",
		labels: ["stat"],
		help: "Delay of the event loop since the scrape before, in seconds: mean, p50, p99, max.",
	},
	nexus_build_info: { type: "gauge", labels: ["version", "node"], help: "Always 1; the labels name the program and its runtime." },
	process_cpu_seconds_total: { type: "counter", labels: [], help: "CPU time of the process, user and system, in seconds." },
	process_resident_memory_bytes: { type: "gauge", labels: [], help: "Resident memory of the process, in bytes." },
	process_start_time_seconds: { type: "gauge", labels: [], help: "Start of the process, in seconds since 1970." },
} as const satisfies Record<string, MetricSpec>);

export type MetricName = keyof typeof METRICS;
