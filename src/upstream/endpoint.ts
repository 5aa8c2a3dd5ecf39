/** One address of an upstream: its pool, its health as checks and traffic saw it, and what goes on there now. */
import type { PeakEwma } from "../balance/peak-ewma.ts";
import type { Candidate } from "../balance/picker.ts";
import type { EndpointPolicy } from "../policy/snapshot.ts";
import type { Breaker } from "../resilience/breaker/breaker.ts";
import type { OutlierHost } from "../resilience/outlier/outlier-host.ts";
import type { Pool } from "./pool.ts";

/** `pending`: no check has ended yet; used like a healthy one, so that a start without Nexus or checks serves at once. */
export type EndpointHealth = "unchecked" | "pending" | "healthy" | "unhealthy";

export class Endpoint implements Candidate {
	/** `host:port` or the path of a unix socket; unique within its upstream. */
	readonly key: string;
	readonly pool: Pool;
	policy: EndpointPolicy;
	health: EndpointHealth;
	activeRequests = 0;
	/** Requests that were sent to it, ever. */
	requests = 0;
	/** Monotonic; since when it has taken part, for slow start. */
	sinceMs = 0;
	/** What outlier detection knows of it; undefined where nobody asks. */
	outlier: OutlierHost | undefined;
	/** Where breakers are kept by endpoint. */
	breaker: Breaker | undefined;
	/** Where balancing goes by latency. */
	latency: PeakEwma | undefined;

	constructor(key: string, policy: EndpointPolicy, pool: Pool, health: EndpointHealth) {
		this.key = key;
		this.policy = policy;
		this.pool = pool;
		this.health = health;
	}

	get weight(): number {
		return this.policy.weight;
	}

	get zone(): string | undefined {
		return this.policy.zone;
	}

	get priority(): number {
		return this.policy.priority ?? 0;
	}

	/** Neither check nor traffic speaks against it. */
	get usable(): boolean {
		return this.health !== "unhealthy" && this.outlier?.ejected !== true;
	}
}
