/** One address of an upstream: its pool, its health as the last check saw it, and what goes on there now. */
import type { Candidate } from "../balance/picker.ts";
import type { EndpointPolicy } from "../policy/snapshot.ts";
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

	constructor(key: string, policy: EndpointPolicy, pool: Pool, health: EndpointHealth) {
		this.key = key;
		this.policy = policy;
		this.pool = pool;
		this.health = health;
	}

	get weight(): number {
		return this.policy.weight;
	}
}
