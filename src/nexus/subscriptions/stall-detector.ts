/** Sees subscriptions whose events wait while none arrives: they are told once, and once more when it is over. */
import type { Clock, Timer } from "../../core/clock.ts";
import type { Branch } from "./branch.ts";
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
	readonly #sightings = new WeakMap<Branch, Sighting>();
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
		const { stallAfterMs } = policyOf(document);
		// The slowest branch decides: a member that gets nothing is not healed by one that gets everything.
		const sinceMs = Math.min(...branches.map((branch) => this.#seenAtMs(branch, nowMs)));
		if (nowMs - sinceMs < stallAfterMs) {
			if (subscription.stalledSinceMs !== undefined) this.#over(subscription, nowMs);
		} else if (subscription.stalledSinceMs === undefined) this.#stalled(subscription, sinceMs);
	}

	#seenAtMs(branch: Branch, nowMs: number): number {
		const { counts, openSize } = branch.dispatcher;
		const signs = counts.acked + counts.extended + counts.terminated;
		const seen = this.#sightings.get(branch);
		if (seen !== undefined && seen.signs === signs && openSize + branch.unread > 0) return seen.atMs;
		this.#sightings.set(branch, { signs, atMs: nowMs });
		return nowMs;
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
