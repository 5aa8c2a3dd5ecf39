/** All limits of a sidecar by where they stand, so that a reload finds the buckets again that it has not changed. */
import type { Clock } from "../core/clock.ts";
import type { Rng } from "../core/rng.ts";
import type { RateLimitPolicy } from "../policy/resilience-policy.ts";
import { LimitSet } from "./limit-set.ts";
import type { Direction, LimiterView } from "./limited.ts";
import { Limiter } from "./limiter.ts";
import { type RefusalRollup, RefusalRollups } from "./rollup.ts";
import type { SharedStores } from "./shared-store.ts";
import type { BottleneckClass } from "./wait-queue.ts";

export interface LimiterRegistryOptions {
	readonly clock: Clock;
	readonly rng: Rng;
	/** Sidecars of one service share the buckets of their shared limits; those of different services do not. */
	readonly service: string;
	/** Undefined: shared limits act as if they were the sidecar's own. */
	readonly stores: SharedStores | undefined;
	/** At most once a second and limit. */
	readonly onExceeded: (rollup: RefusalRollup) => void;
}

/** Something in the policy that has `rateLimits`. */
export interface LimitPlace {
	/** Unique within its direction: `upstream payments`, `route canary`. */
	readonly place: string;
	readonly policies: readonly RateLimitPolicy[];
}

interface Entry {
	readonly limiter: Limiter;
	readonly kind: string;
	wanted: boolean;
}

export class LimiterRegistry {
	readonly #options: LimiterRegistryOptions;
	readonly #entries = new Map<string, Entry>();
	readonly #rollups: RefusalRollups;
	#bottleneck: Promise<BottleneckClass> | undefined;

	constructor(options: LimiterRegistryOptions) {
		this.#options = options;
		this.#rollups = new RefusalRollups(options.clock, options.onExceeded);
	}

	/**
	 * The limits of these places, in this order. A limit that was there before under the same direction, place and name is the same object
	 * with the same buckets, unless it counts something else now (key, kind of overflow, store). So the limits of an upstream hold for
	 * all routes that lead to it, where each of them names the upstream as one of its places.
	 */
	limitSet(direction: Direction, places: readonly LimitPlace[]): LimitSet {
		return new LimitSet(
			direction,
			places.flatMap(({ place, policies }) => policies.map((policy) => this.#limiter(direction, place, policy))),
		);
	}

	/** After a reload has asked for all its sets: forgets the limits that it did not ask for. Requests that wait at them wait on. */
	sweep(): void {
		const urls = new Set<string>();
		for (const [id, entry] of this.#entries) {
			if (!entry.wanted) this.#entries.delete(id);
			else if (entry.limiter.policy.shared !== undefined) urls.add(entry.limiter.policy.shared.redisUrl);
			entry.wanted = false;
		}
		this.#options.stores?.keep(urls);
	}

	views(): LimiterView[] {
		return [...this.#entries.values()].map(({ limiter }) => limiter.view());
	}

	/** Resolves once all that is loaded lazily is there; rejects where it cannot be loaded. */
	async ready(): Promise<void> {
		await this.#bottleneck;
	}

	/** Tells the last refusals and closes the stores. */
	stop(): void {
		this.#rollups.flush();
		this.#options.stores?.keep(new Set());
	}

	#limiter(direction: Direction, place: string, policy: RateLimitPolicy): Limiter {
		const id = `${direction}\n${place}\n${policy.name}`;
		const kind = kindOf(policy);
		const entry = this.#entries.get(id);
		if (entry !== undefined && entry.kind === kind) {
			entry.wanted = true;
			if (entry.limiter.policy !== policy) entry.limiter.configure(policy);
			return entry.limiter;
		}
		const limiter = this.#create(direction, place, policy);
		this.#entries.set(id, { limiter, kind, wanted: true });
		return limiter;
	}

	#create(direction: Direction, place: string, policy: RateLimitPolicy): Limiter {
		const { clock, rng, service, stores } = this.#options;
		if (policy.overflow.kind === "queue") this.#bottleneck ??= loadBottleneck();
		return new Limiter({
			direction,
			place,
			policy,
			clock,
			rng,
			store: policy.shared === undefined ? undefined : stores?.open(policy.shared.redisUrl),
			storePrefix: `nexus:limit:${service}:${direction}:${place}:${policy.name}:`,
			bottleneck: policy.overflow.kind === "queue" ? this.#bottleneck : undefined,
			onRefused: (refusing) => this.#rollups.add(refusing),
		});
	}
}

/** What may not change under a bucket: what it counts, and where. */
function kindOf({ key, overflow, shared }: RateLimitPolicy): string {
	return JSON.stringify([key, overflow.kind, shared?.redisUrl ?? null]);
}

async function loadBottleneck(): Promise<BottleneckClass> {
	return (await import("bottleneck")).default;
}
