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
	/** RFC 8446; Linkerd speaks nothing older. */
	inboundTlsVersion: "1.3",
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
	balancing: {
		/** Envoy: minimum_ring_size. */
		ringSize: 1024,
		/** Envoy and the Maglev paper: a prime well above 100 times the endpoints. */
		tableSize: 65_537,
		/** Linkerd: the penalty of its failure accrual for peak EWMA. */
		failurePenalty: "5s",
		zoneAware: false,
		/** Envoy: healthy_panic_threshold. */
		panicThreshold: 50,
		/** Envoy: aggression, min_weight_percent. */
		slowStart: { aggression: 1, minWeightPercent: 10 },
	},
	circuitBreaker: {
		scope: "upstream",
		/** Envoy: consecutive_5xx; cockatiel's and Linkerd's examples stand near it. */
		failureThreshold: 5,
		successThreshold: 2,
		openFor: "60s",
		jitter: 0,
		/** Resilience4j allows 10 and Hystrix 1: a service that has just failed gets one request. */
		halfOpenMaxConcurrent: 1,
		failureStatuses: ["5xx"],
		/** Hystrix: metrics.rollingStats.timeInMilliseconds. */
		window: "10s",
		/** Hystrix: circuitBreaker.requestVolumeThreshold. */
		minRequests: 20,
		/** A user waits no longer without a doubt (Nielsen's second limit); whoever counts slow calls should say what is slow. */
		slowCallDuration: "1s",
		/** Envoy: max_requests. */
		maxConcurrent: 1024,
		/** Envoy: max_pending_requests. */
		maxPending: 1024,
		/** As for the queue of a pool. */
		pendingTimeout: "1s",
		concurrency: "fixed",
		/** Envoy: the adaptive concurrency filter's min_concurrency. */
		minConcurrent: 3,
	},
	/** All but gateway failures as Envoy's outlier_detection.proto; those are counted among the others already. */
	outlierDetection: {
		enabled: true,
		consecutiveFailures: 5,
		consecutiveGatewayFailures: 0,
		consecutiveLocalOriginFailures: 0,
		interval: "10s",
		baseEjectionTime: "30s",
		maxEjectionTime: "300s",
		jitter: "0s",
		maxEjectionPercent: 10,
		successRate: { enabled: true, minHosts: 5, requestVolume: 100, stdevFactor: 1.9 },
		failurePercentage: { enabled: false, threshold: 85, minHosts: 5, requestVolume: 50 },
	},
	retry: {
		/** Istio: retries.attempts. */
		attempts: 2,
		on: ["connect-failure", "reset", "per-try-timeout", 502, 503, 504],
		/** Envoy: retry_back_off, 25 ms and ten times as much. */
		backoff: { base: "25ms", max: "250ms" },
		/** Longer than that, the caller is better told at once. */
		retryAfterMax: "5s",
		/** Linkerd keeps 64 KiB for replays. */
		maxBodyBytes: "64KiB",
		/** Finagle and Linkerd: 20 % and 10 a second over 10 s. */
		budget: { ratio: 0.2, minPerSecond: 10, window: "10s" },
		/** gRPC A6 and "The Tail at Scale": a hedge after the 95th percentile adds 5 %. */
		hedgeMaxExtra: "5%",
	},
	rateLimit: {
		key: "global",
		overflow: "reject",
		maxQueued: 100,
		maxWait: "1s",
		/** Longer than a healthy Redis ever takes in one data centre, short beside the request. */
		shared: { timeout: "20ms", onFailure: "local", slice: "100ms" },
	},
	fault: { abortStatus: 503, distribution: "fixed", percent: 100, exempt: false },
	/** Keeps the method, and no browser remembers it. */
	redirectStatus: 307,
	respond: { status: 200, contentType: "text/plain; charset=utf-8" },
	splitWeight: 1,
	mirrorPercent: 100,
	matchPercent: 100,
	/** Of the traces that begin here: enough for a picture, little for the collector (Istio: 1 %). */
	tracingSample: 0.01,
	traceAllow: ["127.0.0.0/8", "::1/128"],
	/** Minutes of rollups and state changes while Nexus is away, for about 10 MB. */
	spoolMaxEvents: 10_000,
	/** A day of rollups of one route, or a week of state changes: longer than anybody leaves Nexus down, and nobody misses the room. */
	spoolMaxBytes: "64MiB",
	/** Who is next to the service knows what it needs; Nexus says what nobody has said there. */
	policyMerge: "local",
	/** Consul and Eureka: three missed renewals of 10 s. */
	registrationLease: "30s",
	accessLogSample: 1,
} as const;
