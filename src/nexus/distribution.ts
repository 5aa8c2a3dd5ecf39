/** Opens what sidecars are served from besides their certificates: policies and the registry of services. */
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import type { Rng } from "../core/rng.ts";
import type { EventLog } from "./log/event-log.ts";
import { Policies } from "./policy/policies.ts";
import { ServiceRegistry } from "./registry/service-registry.ts";
import type { StateStore } from "./state/state-store.ts";

export interface DistributionOptions {
	readonly store: StateStore;
	readonly log: EventLog;
	readonly clock: Clock;
	readonly rng: Rng;
	readonly logger: Logger;
}

export interface Distribution {
	readonly policies: Policies;
	readonly registry: ServiceRegistry;
	/** Those who wait are answered. */
	endPolls(): void;
	close(): void;
}

/** Rejects where the state cannot be read. */
export async function openDistribution(options: DistributionOptions): Promise<Distribution> {
	const registry = await ServiceRegistry.open(options);
	const policies = await Policies.open(options);
	return {
		policies,
		registry,
		endPolls() {
			policies.endPolls();
			registry.polls.close();
		},
		close() {
			policies.close();
			registry.close();
		},
	};
}
