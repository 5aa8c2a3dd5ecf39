/** How often, how fast and how patiently the events of a subscription are delivered. */
import type { Rng } from "../../core/rng.ts";

export interface DeliveryPolicy {
	/** All tries of one event. */
	readonly attempts: number;
	/** Before the second try, the third, ...; the last one repeats. The same for naks and for timeouts. */
	readonly backoffMs: readonly number[];
	/** Share of a delay by which it may be shorter or longer. */
	readonly jitter: number;
	/** How long a try may take. */
	readonly ackWaitMs: number;
	/** Events that are open at a time. */
	readonly window: number;
	/** Deliveries under way at a time, for what is pushed. */
	readonly concurrency: { readonly min: number; readonly max: number };
	readonly rate: { readonly perSecond: number; readonly burst: number } | undefined;
	readonly stallAfterMs: number;
}

/** `attempts`: tries so far. */
export function backoffMs({ backoffMs: steps, jitter }: DeliveryPolicy, attempts: number, rng: Rng): number {
	const step = steps[Math.min(attempts, steps.length) - 1] ?? 0;
	return step * (1 - jitter + 2 * jitter * rng());
}
