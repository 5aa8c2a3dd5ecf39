/** Tells what guards of upstreams did: breakers that change, endpoints that are ejected and return, budgets that are used up. */
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import { placeText } from "../../policy/explain.ts";
import type { CircuitBreakerPolicy, OutlierPolicy } from "../../policy/resilience-policy.ts";
import type { Place } from "../../policy/snapshot.ts";
import type { BreakerTransition } from "../../resilience/breaker/breaker.ts";
import type { EjectionCause } from "../../resilience/outlier/outlier-detector.ts";
import type { GuardObserver } from "../../upstream/guards.ts";
import type { EventFeed } from "./event-feed.ts";

const WINDOW_MS = 1000;

export interface GuardEventsOptions {
	readonly service: string;
	readonly clock: Clock;
	readonly log: Logger;
	readonly feed: Pick<EventFeed, "emit">;
}

export class GuardEvents implements GuardObserver {
	readonly #options: GuardEventsOptions;
	/** Tries refused in the window that runs, by upstream; empty where none runs. */
	readonly #refused = new Map<string, { refused: number; place: Place }>();

	constructor(options: GuardEventsOptions) {
		this.#options = options;
	}

	onBreaker(upstream: string, scope: CircuitBreakerPolicy["scope"], scopeKey: string, transition: BreakerTransition): void {
		const { service, log, feed } = this.#options;
		const { to, cause, counts, lastErrors, openForMs, place, atWallMs } = transition;
		const data = {
			service,
			dependency: upstream,
			scope,
			scopeKey,
			cause,
			counts,
			lastErrors,
			policy: textOf(place),
			at: new Date(atWallMs).toISOString(),
		};
		const subject = scopeKey === "" ? upstream : `${upstream}/${scopeKey}`;
		switch (to) {
			case "open":
				feed.emit("nexus.circuit_breaker.tripped", { ...data, openForMs }, subject);
				log.warn("circuit breaker is open", { upstream, scope, scopeKey, cause, openForMs, lastErrors });
				break;
			case "half-open":
				feed.emit("nexus.circuit_breaker.half_open", data, subject);
				log.info("circuit breaker lets probes through", { upstream, scope, scopeKey });
				break;
			case "closed":
				feed.emit("nexus.circuit_breaker.reset", data, subject);
				log.info("circuit breaker is closed again", { upstream, scope, scopeKey, cause });
				break;
		}
	}

	onEjected(upstream: string, endpoint: string, cause: EjectionCause, ejections: number, forMs: number, { place }: OutlierPolicy): void {
		const { log, feed } = this.#options;
		const data = { upstream, endpoint, cause, ejections, policy: textOf(place), forMs };
		feed.emit("nexus.mesh.endpoint.ejected", data, `${upstream}/${endpoint}`);
		log.warn("endpoint is ejected", data);
	}

	onReturned(
		upstream: string,
		endpoint: string,
		by: "time" | "health-check" | "policy",
		ejections: number,
		cause: EjectionCause | undefined,
		{ place }: OutlierPolicy,
	): void {
		const { log, feed } = this.#options;
		const data = { upstream, endpoint, cause: cause ?? "", ejections, policy: textOf(place), by };
		feed.emit("nexus.mesh.endpoint.returned", data, `${upstream}/${endpoint}`);
		log.info("endpoint takes part again", data);
	}

	onBudgetRefused(upstream: string, place: Place): void {
		const counted = this.#refused.get(upstream);
		if (counted !== undefined) {
			counted.refused++;
			return;
		}
		if (this.#refused.size === 0) this.#options.clock.setTimer(WINDOW_MS, () => this.#tellRefused());
		this.#refused.set(upstream, { refused: 1, place });
	}

	#tellRefused(): void {
		const { log, feed } = this.#options;
		for (const [upstream, { refused, place }] of this.#refused) {
			feed.emit("nexus.mesh.retry.budget_exhausted", { windowMs: WINDOW_MS, upstream, refused, policy: textOf(place) }, upstream);
			log.warn("retry budget is used up", { upstream, refused });
		}
		this.#refused.clear();
	}
}

/** Empty where nobody wrote a line for it. */
function textOf(place: Place): string {
	return place.file === "" ? "" : placeText(place);
}
