/** What both proxies are told, in one place, so that they are configured alike. */

/** Name of the service as its callers know it. */
export const SERVICE = "orders";

export const SETTINGS = Object.freeze({
	connectTimeoutMs: 1000,
	/** Of the whole exchange: the default of both. */
	requestTimeoutMs: 15_000,
	retry: {
		/** After the first try. */
		attempts: 2,
		baseMs: 25,
		maxMs: 250,
		/** Of the requests (ours) or of those under way (Envoy). */
		budgetRatio: 0.2,
		/** Ours: per second on top. Envoy: at a time, whatever the ratio says. */
		budgetMin: 10,
	},
	/** Ten times the usual latency: above nearly all answers of a sound instance, below those of a slow one. */
	perTryTimeoutMs: 100,
	/** Three times the usual latency, about its p99.7. Envoy hedges when a try has timed out, and cannot be told another time. */
	hedgeAfterMs: 30,
	hedgeMaxExtra: 0.2,
	/** Short enough for what lasts a few seconds here; the defaults of both are made for minutes. */
	outlier: { consecutiveFailures: 5, intervalMs: 500, baseEjectionTimeMs: 2000, maxEjectionPercent: 50 },
	healthCheck: { intervalMs: 500, timeoutMs: 300, unhealthyThreshold: 2, healthyThreshold: 1 },
	/** Ours alone: of each endpoint. Envoy has none of that kind; its thresholds of connections and requests are these. */
	breaker: { failureThreshold: 5, successThreshold: 2, openForMs: 2000, slowCallRate: 0.9, slowCallMs: 100, windowMs: 2000, minRequests: 50 },
	concurrent: 1024,
	pending: 1024,
});

export const FEATURES = ["retries", "outlier-ejection", "breaker", "per-try-timeout", "hedging", "peak-ewma", "health-checks"] as const;
export type Feature = (typeof FEATURES)[number];

export interface Setup {
	/** As on the command line. */
	readonly name: string;
	readonly proxy: "nexus" | "envoy";
	readonly features: readonly Feature[];
}

export const SETUPS: readonly Setup[] = [
	{ name: "nexus-off", proxy: "nexus", features: [] },
	...FEATURES.map((feature): Setup => ({ name: `nexus-${feature}`, proxy: "nexus", features: [feature] })),
	{ name: "nexus-all", proxy: "nexus", features: FEATURES },
	{ name: "envoy-off", proxy: "envoy", features: [] },
	{ name: "envoy-all", proxy: "envoy", features: FEATURES },
];
