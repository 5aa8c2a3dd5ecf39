/** Sees subscriptions whose events wait while none arrives: they are told once, and once more when it is over. */
import type { Clock, Timer } from "../../core/clock.ts";
import type { TellBus } from "./bus-events.ts";
import { policyOf } from "./document.ts";
import { STALL_LOOK_MS } from "./limits.ts";
import type { Subscription } from "./subscription.ts";

interface Sighting {
	/** Things that only happen where somebody works. */
	readonly signs: number;
	readonly atMs: number;
}

export class StallDetector {
	readonly #clock: Clock;
	readonly #tell: TellBus;
	readonly #subscriptions: () => Iterable<Subscription>;
	/** When each one was last seen to get on, or to have nothing to do. */
	#sightings = new WeakMap<Subscription, Sighting>();
	#timer: Timer | undefined;

	constructor(clock: Clock, subscriptions: () => Iterable<Subscription>, tell: TellBus) {
		this.#clock = clock;
		this.#subscriptions = subscriptions;
		this.#tell = tell;
		this.#schedule();
	}

	close(): void {
		this.#timer?.cancel();
		this.#timer = undefined;
	}

	#schedule(): void {
		this.#timer = this.#clock.setTimer(STALL_LOOK_MS, () => {
			for (const subscription of this.#subscriptions()) this.#look(subscription);
			if (this.#timer !== undefined) this.#schedule();
		});
	}

	#look(subscription: Subscription): void {
		const { document, branches } = subscription;
		if (document === undefined || branches.length === 0) return;
		const nowMs = this.#clock.monotonicMs();
		// The slowest branch decides: a member that gets nothing is not healed by one that gets everything.
		const { open, unread, acked, extended, terminated } = subscription.numbers;
		const signs = acked + extended + terminated;
		const seen = this.#sightings.get(subscription);
		if (seen === undefined || seen.signs !== signs || open + unread === 0) {
			this.#sightings.set(subscription, { signs, atMs: nowMs });
			if (subscription.stalledSinceMs !== undefined) this.#over(subscription, nowMs);
			return;
		}
		if (subscription.stalledSinceMs === undefined && nowMs - seen.atMs >= policyOf(document).stallAfterMs) this.#stalled(subscription, seen.atMs);
	}

	#stalled(subscription: Subscription, sinceMs: number): void {
		subscription.stalledSinceMs = sinceMs;
		const { open, unread, oldestAgeMs } = subscription.numbers;
		const { consumers } = subscription;
		const nobody = consumers !== undefined && consumers.takers === 0 ? "no consumer takes its events" : "";
		this.#tell("nexus.bus.subscription.stalled", subscription.name, {
			subscription: subscription.name,
			cause: subscription.trouble || nobody || "its consumer does not answer",
			open,
			unread,
			oldestAgeMs,
			stalledForMs: this.#clock.monotonicMs() - sinceMs,
		});
	}

	#over(subscription: Subscription, nowMs: number): void {
		const stalledForMs = nowMs - (subscription.stalledSinceMs ?? nowMs);
		subscription.stalledSinceMs = undefined;
		this.#tell("nexus.bus.subscription.recovered", subscription.name, { subscription: subscription.name, stalledForMs });
	}
}
