/** The rate limits of one policy version by where they stand: filled when the policy becomes live, so that one that is refused changes no bucket. */
import { LimitSet } from "../../limits/limit-set.ts";
import type { LimiterRegistry } from "../../limits/limiter-registry.ts";
import type { Snapshot } from "../../policy/snapshot.ts";

export class LimitPlaces {
	#inbound: LimitSet | undefined;
	readonly #routes = new Map<string, LimitSet>();
	readonly #upstreams = new Map<string, LimitSet>();

	fill({ inbound, outbound, upstreams }: Snapshot, registry: LimiterRegistry): void {
		if (inbound !== undefined && inbound.rateLimits.length > 0)
			this.#inbound = registry.limitSet("inbound", [{ place: "inbound", policies: inbound.rateLimits }]);
		for (const { name, overrides } of outbound?.routes ?? []) {
			if (overrides.rateLimits.length > 0)
				this.#routes.set(name, registry.limitSet("outbound", [{ place: `route ${name}`, policies: overrides.rateLimits }]));
		}
		for (const { name, rateLimits } of upstreams.values()) {
			if (rateLimits.length > 0) this.#upstreams.set(name, registry.limitSet("outbound", [{ place: `upstream ${name}`, policies: rateLimits }]));
		}
		registry.sweep();
	}

	inbound(): LimitSet | undefined {
		return this.#inbound;
	}

	/** Those of the route first, then those of the upstream; undefined where there are none. */
	outbound(route: string | undefined, upstream: string): LimitSet | undefined {
		const ofRoute = route === undefined ? undefined : this.#routes.get(route);
		const ofUpstream = this.#upstreams.get(upstream);
		if (ofRoute === undefined || ofUpstream === undefined) return ofRoute ?? ofUpstream;
		return new LimitSet("outbound", [...ofRoute.limiters, ...ofUpstream.limiters]);
	}
}
