/** Endpoints from a DNS name, asked for again and again. */
import type { Clock, Timer } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Rng } from "../../core/rng.ts";
import type { EndpointsPolicy } from "../../policy/snapshot.ts";
import type { EndpointSource } from "../endpoint-source.ts";
import { Listing, type OnFault, type OnUpdate } from "./listing.ts";
import { createResolver, type NameResolver, resolveEndpoints, type TargetAddresses } from "./resolve.ts";

// A whole resolution, SRV targets included. As long as the refresh by default: a name server that is slower is down.
const RESOLUTION_TIMEOUT_MS = 5_000;
// So that the sidecars of a mesh do not ask their name server in step.
const JITTER = 0.1;

export interface DnsSourceDeps {
	readonly clock: Clock;
	readonly rng: Rng;
	readonly log: Logger;
	/** Makes the resolver of one resolution; that of `node:dns` where absent. */
	readonly resolver?: (servers: readonly string[]) => NameResolver;
}

export class DnsSource implements EndpointSource {
	readonly #policy: EndpointsPolicy & { kind: "dns" };
	readonly #deps: DnsSourceDeps;
	#targets: TargetAddresses = new Map();
	#stopped = false;
	#timer: Timer | undefined;
	#running: NameResolver | undefined;

	constructor(policy: EndpointsPolicy & { kind: "dns" }, deps: DnsSourceDeps) {
		this.#policy = policy;
		this.#deps = deps;
	}

	start(onUpdate: OnUpdate, onFault: OnFault): void {
		void this.#resolve(new Listing(this.#policy.name, this.#deps.log, onUpdate, onFault));
	}

	stop(): void {
		this.#stopped = true;
		this.#timer?.cancel();
		this.#running?.cancel();
	}

	async #resolve(listing: Listing): Promise<void> {
		const { clock, rng, resolver: create = createResolver } = this.#deps;
		const { refreshMs, servers } = this.#policy;
		const resolver = create(servers);
		this.#running = resolver;
		const deadline = clock.setTimer(RESOLUTION_TIMEOUT_MS, () => resolver.cancel());
		const result = await resolveEndpoints(this.#policy, resolver, this.#targets);
		deadline.cancel();
		this.#running = undefined;
		if (this.#stopped) return;
		// Before the list is told: whoever is told may stop the source.
		this.#timer = clock.setTimer(refreshMs * (1 - JITTER + 2 * JITTER * rng()), () => void this.#resolve(listing));
		if (result.ok) {
			this.#targets = result.targets;
			listing.good(result.endpoints, result.fault);
		} else listing.bad(result.fault);
	}
}
