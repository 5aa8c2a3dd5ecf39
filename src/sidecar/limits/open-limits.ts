/** The rate limits of a sidecar with all that they need: Redis where policies name it, the log, the events. */
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Rng } from "../../core/rng.ts";
import { LimiterRegistry } from "../../limits/limiter-registry.ts";
import type { EventFeed } from "../telling/event-feed.ts";
import { RedisStores } from "./redis-stores.ts";

export interface LimitsOptions {
	readonly service: string;
	readonly clock: Clock;
	readonly rng: Rng;
	readonly log: Logger;
	readonly feed: Pick<EventFeed, "emit">;
}

export function openLimits({ service, clock, rng, log, feed }: LimitsOptions): LimiterRegistry {
	const onState = (store: string, available: boolean, detail: string): void => {
		if (available) log.info("shared rate limits: the store answers", { store });
		else log.warn("shared rate limits: the store is away", { store, error: detail });
	};
	return new LimiterRegistry({
		clock,
		rng,
		service,
		stores: new RedisStores({ clock, rng, onState }),
		onExceeded: (rollup) => feed.emit("nexus.mesh.rate_limit.exceeded", rollup, rollup.limit),
	});
}
