/** Every default of the policy, once, as a person would write it, with where it comes from. */

export const DEFAULTS = {
	trustDomain: "mesh.local",
	/** Istio's Envoy admin port. */
	adminListen: "127.0.0.1:15000",
	/** Istio's inbound port. */
	inboundListen: "0.0.0.0:15006",
	/** Istio's outbound port. */
	outboundListen: "127.0.0.1:15001",
	/** Longer than the 15 s that a request may take, as Kubernetes' terminationGracePeriodSeconds. */
	drainTimeout: "30s",
	limits: {
		/** About 60 MB of idle connections at 6 KB each. */
		maxConnections: 10_000,
		/** Half of nginx' client_header_timeout (60 s) would still hold a slot against slowloris; heads arrive in milliseconds. */
		requestHeadTimeout: "10s",
		/** nginx: client_body_timeout. */
		bodyIdleTimeout: "60s",
		/** nginx: keepalive_timeout. */
		keepAliveIdleTimeout: "75s",
	},
	timeout: {
		/** Envoy: route timeout. */
		request: "15s",
		/** Linkerd: outbound connect timeout. */
		connect: "1s",
		/** nginx: proxy_read_timeout and upstream keepalive_timeout. */
		idle: "60s",
	},
	pool: {
		/** Envoy: max_connections. */
		maxConnections: 1024,
		/** Envoy: max_pending_requests. */
		maxPending: 1024,
		/** As long as a connection attempt may take: then the pool is too small, not slow. */
		pendingTimeout: "1s",
	},
	/** Envoy: ROUND_ROBIN. */
	loadBalancing: "round-robin",
	endpointWeight: 1,
	dns: {
		type: "A",
		/** Envoy: dns_refresh_rate. */
		refresh: "5s",
	},
	healthCheck: {
		kind: "http",
		/** Dapr and Kubernetes convention. */
		path: "/healthz",
		statuses: [200],
		/** nginx Plus and Dapr. */
		interval: "5s",
		/** Kubernetes probes: timeoutSeconds. */
		timeout: "1s",
		/** HAProxy: fall. */
		unhealthyThreshold: 3,
		/** HAProxy: rise. */
		healthyThreshold: 2,
	},
	/** Minutes of rollups and state changes while Nexus is away, for about 10 MB. */
	spoolMaxEvents: 10_000,
	accessLogSample: 1,
} as const;
