/** Builds what a request is sent by: a target for each route and upstream of a policy, with its limits, mirror, retries and fallbacks. */
import type { Clock } from "../core/clock.ts";
import type { DeadlineWheel } from "../core/deadline-wheel.ts";
import type { Rng } from "../core/rng.ts";
import type { TrafficRegistry } from "../metrics/traffic.ts";
import { APPLICATION_RETRY } from "../policy/compile.ts";
import { rewriteTarget } from "../policy/rewrite.ts";
import type { InboundPolicy, RoutePolicy, UpstreamPolicy } from "../policy/snapshot.ts";
import type { MirrorPolicy } from "../policy/traffic-policy.ts";
import type { Upstream } from "../upstream/upstream.ts";
import { fieldChanges } from "./exchange/field-changes.ts";
import { deadlineLine } from "./exchange/mesh-fields.ts";
import { Mirror, type MirrorCounts } from "./exchange/mirror.ts";
import type { Target } from "./exchange/stack.ts";
import type { LimitPlaces } from "./limits/limit-places.ts";

export interface TargetsDeps {
	readonly clock: Clock;
	readonly wheel: DeadlineWheel;
	readonly rng: Rng;
	readonly traffic: TrafficRegistry;
	readonly upstream: (name: string) => Upstream | undefined;
}

export class Targets {
	readonly #deps: TargetsDeps;
	/** By upstream; they count on through all policies. */
	readonly #mirrors = new Map<string, MirrorCounts>();

	constructor(deps: TargetsDeps) {
		this.#deps = deps;
	}

	mirrorCounts(): Iterable<readonly [upstream: string, counts: MirrorCounts]> {
		return this.#mirrors;
	}

	application(policy: InboundPolicy, upstream: Upstream, limits: LimitPlaces): Target {
		const { requestMs, idleMs } = policy.timeout;
		return {
			kind: "target",
			route: "",
			place: policy.place,
			upstream,
			counters: this.#deps.traffic.counters("inbound", "", upstream.name),
			rewriteHost: undefined,
			rewriteTarget: undefined,
			requestMs,
			idleMs,
			retry: APPLICATION_RETRY,
			deadlineLine: deadlineLine(requestMs),
			headEnd: `${deadlineLine(requestMs)}\r\n`,
			limits: limits.inbound(),
			hashOn: undefined,
			mirror: undefined,
			requestChanges: undefined,
			responseChanges: undefined,
			failover: [],
			respondWhenOpen: respondWhenOpen(policy),
		};
	}

	/** Undefined where the upstream is being removed. `route`: undefined where the host alone named it. */
	outbound(route: RoutePolicy | undefined, policy: UpstreamPolicy, limits: LimitPlaces): Target | undefined {
		const upstream = this.#deps.upstream(policy.name);
		if (upstream === undefined) return undefined;
		const requestMs = route?.overrides.requestTimeoutMs ?? policy.timeout.requestMs;
		return {
			kind: "target",
			route: route?.name ?? "",
			place: route?.place ?? policy.place,
			upstream,
			counters: this.#deps.traffic.counters("outbound", route?.name ?? "", policy.name),
			rewriteHost: route?.rewriteHost,
			rewriteTarget: route?.rewritePath === undefined ? undefined : (target) => rewriteTarget(route, target),
			requestMs,
			idleMs: route?.overrides.idleTimeoutMs ?? policy.timeout.idleMs,
			retry: route?.overrides.retry ?? policy.retry,
			deadlineLine: deadlineLine(requestMs),
			headEnd: `${deadlineLine(requestMs)}\r\n`,
			limits: limits.outbound(route?.name, policy.name),
			hashOn: policy.balancing.hashOn,
			mirror: route?.mirror === undefined ? undefined : this.#mirror(route.mirror),
			requestChanges: route && fieldChanges(route.requestHeaders),
			responseChanges: route && fieldChanges(route.responseHeaders),
			failover: this.#failover(policy),
			respondWhenOpen: respondWhenOpen(policy),
		};
	}

	/** Those of the policy that are there; the request keeps its route, its time and its tries. */
	#failover({ circuitBreaker }: UpstreamPolicy): readonly Upstream[] {
		const fallback = circuitBreaker?.fallback;
		if (fallback?.kind !== "failover") return [];
		return fallback.upstreams.flatMap((name) => this.#deps.upstream(name) ?? []);
	}

	#mirror(policy: MirrorPolicy): Mirror | undefined {
		const name = policy.to;
		const upstream = this.#deps.upstream(name);
		if (upstream === undefined) return undefined;
		let counts = this.#mirrors.get(name);
		if (counts === undefined) {
			counts = { sent: 0, failed: 0, skipped: 0 };
			this.#mirrors.set(name, counts);
		}
		return new Mirror(upstream, policy, counts, this.#deps);
	}
}

function respondWhenOpen({ circuitBreaker }: Pick<UpstreamPolicy, "circuitBreaker">): Target["respondWhenOpen"] {
	return circuitBreaker?.fallback?.kind === "respond" ? circuitBreaker.fallback.respond : undefined;
}
