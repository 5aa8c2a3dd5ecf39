/** What protects an upstream and its callers: breakers, a limit of what is under way, ejection, the budgets of further tries. */
import type { Clock } from "../core/clock.ts";
import type { Reason } from "../core/reasons.ts";
import type { Rng } from "../core/rng.ts";
import type { CircuitBreakerPolicy, ConcurrencyPolicy, HedgePolicy, OutlierPolicy, RetryBudgetPolicy } from "../policy/resilience-policy.ts";
import type { Place } from "../policy/snapshot.ts";
import type { Breaker, BreakerTransition } from "../resilience/breaker/breaker.ts";
import { BreakerSet } from "../resilience/breaker/breaker-set.ts";
import { Bulkhead } from "../resilience/concurrency/bulkhead.ts";
import { type EjectionCause, OutlierDetector } from "../resilience/outlier/outlier-detector.ts";
import { RetryBudget } from "../resilience/retry/budget.ts";
import { HedgeBudget, LatencyQuantile } from "../resilience/retry/hedge.ts";

export interface GuardPolicies {
	readonly circuitBreaker: CircuitBreakerPolicy | undefined;
	readonly concurrency: ConcurrencyPolicy | undefined;
	readonly outlierDetection: OutlierPolicy | undefined;
	readonly retryBudget: RetryBudgetPolicy;
}

/** State changes that somebody may want to be told of. */
export interface GuardObserver {
	onBreaker(upstream: string, scope: CircuitBreakerPolicy["scope"], scopeKey: string, transition: BreakerTransition): void;
	onEjected(upstream: string, endpoint: string, cause: EjectionCause, ejections: number, forMs: number, policy: OutlierPolicy): void;
	onReturned(
		upstream: string,
		endpoint: string,
		by: "time" | "health-check" | "policy",
		ejections: number,
		cause: EjectionCause | undefined,
		policy: OutlierPolicy,
	): void;
	/** A try was not made; `place`: of the retry policy that wished it. */
	onBudgetRefused(upstream: string, place: Place): void;
}

export interface GuardDeps {
	readonly clock: Clock;
	readonly rng: Rng;
	readonly observer: GuardObserver | undefined;
	/** Somebody was ejected or has returned: whoever balances must look again. */
	readonly onMembership: () => void;
}

/** What became of tries that somebody wished to make, ever; and of requests that were spread in panic. */
export interface RetryCounts {
	sent: number;
	refused: number;
	notReplayable: number;
	suppressed: number;
	late: number;
	hedgesSent: number;
	hedgesWon: number;
	hedgesRefused: number;
}

export class Guards {
	readonly #name: string;
	readonly #deps: GuardDeps;
	#policies: GuardPolicies;
	breakers: BreakerSet | undefined;
	/** The one of scope `upstream`, which most policies have. */
	#shared: Breaker | undefined;
	bulkhead: Bulkhead | undefined;
	outlier: OutlierDetector | undefined;
	readonly budget: RetryBudget;
	/** Made when the first route hedges. */
	latency: LatencyQuantile | undefined;
	hedges: HedgeBudget | undefined;
	#hedgedBy: HedgePolicy | undefined;
	readonly counts: RetryCounts = {
		sent: 0,
		refused: 0,
		notReplayable: 0,
		suppressed: 0,
		late: 0,
		hedgesSent: 0,
		hedgesWon: 0,
		hedgesRefused: 0,
	};

	constructor(name: string, policies: GuardPolicies, deps: GuardDeps) {
		this.#name = name;
		this.#deps = deps;
		this.#policies = policies;
		this.budget = new RetryBudget(policies.retryBudget, deps.clock.monotonicMs());
		this.#apply(policies);
	}

	get policies(): GuardPolicies {
		return this.#policies;
	}

	/** New thresholds; what was learned stays where it still means something. */
	configure(policies: GuardPolicies): void {
		this.#policies = policies;
		this.budget.configure(policies.retryBudget, this.#deps.clock.monotonicMs());
		this.#apply(policies);
	}

	/** The breaker that a try by this route must ask before an endpoint is known. */
	breakerBefore(route: string): Breaker | undefined {
		if (this.#shared !== undefined || this.breakers === undefined) return this.#shared;
		return this.#policies.circuitBreaker?.scope === "route" ? this.breakers.of(route) : undefined;
	}

	/** The breaker of an endpoint, where they are kept so. */
	breakerOf(endpoint: string): Breaker | undefined {
		return this.#policies.circuitBreaker?.scope === "endpoint" ? this.breakers?.of(endpoint) : undefined;
	}

	/** Breakers of routes that are gone go as well. The one without a name stays: a host alone may name the upstream. */
	retainRoutes(routes: ReadonlySet<string>): void {
		if (this.#policies.circuitBreaker?.scope === "route") this.breakers?.retain({ has: (key) => key === "" || routes.has(key) });
	}

	/** What a hedge needs to know and to ask; measured from the first route on that hedges. Routes that differ in `maxExtra` share the last one's. */
	hedging(policy: HedgePolicy): { readonly latency: LatencyQuantile; readonly hedges: HedgeBudget } {
		this.latency ??= new LatencyQuantile(this.#deps.clock.monotonicMs());
		this.hedges ??= new HedgeBudget(policy.maxExtra);
		if (this.#hedgedBy !== policy) {
			this.#hedgedBy = policy;
			this.hedges.configure(policy.maxExtra);
		}
		return { latency: this.latency, hedges: this.hedges };
	}

	/** Takes one try from the budget; false: it must not be made. */
	mayTryAgain(nowMs: number, place: Place): boolean {
		if (this.budget.tryWithdraw(nowMs)) return true;
		this.counts.refused++;
		this.#deps.observer?.onBudgetRefused(this.#name, place);
		return false;
	}

	/** The line of the policy that a refusal comes from; undefined for failures of others. */
	placeOf(reason: Reason | undefined): Place | undefined {
		if (reason === "breaker_open") return this.#policies.circuitBreaker?.trip.place;
		if (reason === "endpoint_overflow" || reason === "queue_timeout") return this.#policies.concurrency?.place;
		return undefined;
	}

	stop(): void {
		this.breakers?.dispose();
		this.outlier?.stop();
	}

	#apply({ circuitBreaker, concurrency, outlierDetection }: GuardPolicies): void {
		this.#applyBreaker(circuitBreaker);
		// Whoever is under way gives its slot back to the bulkhead that it came from.
		if (concurrency === undefined) this.bulkhead = undefined;
		else if (this.bulkhead === undefined) this.bulkhead = new Bulkhead(concurrency, this.#deps);
		else this.bulkhead.configure(concurrency);
		this.#applyOutlier(outlierDetection);
	}

	#applyBreaker(policy: CircuitBreakerPolicy | undefined): void {
		if (policy === undefined || this.breakers?.scope !== policy.scope) {
			this.breakers?.dispose();
			this.breakers = undefined;
		}
		if (policy !== undefined) {
			if (this.breakers !== undefined) this.breakers.configure(policy);
			else {
				const { clock, rng, observer } = this.#deps;
				const onTransition = (key: string, transition: BreakerTransition): void => observer?.onBreaker(this.#name, policy.scope, key, transition);
				this.breakers = new BreakerSet(policy, { clock, rng, onTransition });
			}
		}
		this.#shared = policy?.scope === "upstream" ? this.breakers?.of("") : undefined;
	}

	#applyOutlier(policy: OutlierPolicy | undefined): void {
		if (policy === undefined) {
			this.outlier?.stop();
			this.outlier = undefined;
			return;
		}
		if (this.outlier !== undefined) {
			this.outlier.configure(policy);
			return;
		}
		const { clock, rng, observer, onMembership } = this.#deps;
		this.outlier = new OutlierDetector(policy, {
			clock,
			rng,
			observer: {
				onEjected: (key, cause, ejections, forMs) => {
					onMembership();
					observer?.onEjected(this.#name, key, cause, ejections, forMs, this.#outlierPolicy(policy));
				},
				onReturned: (key, by, ejections) => {
					onMembership();
					observer?.onReturned(this.#name, key, by, ejections, this.outlier?.host(key).view().cause, this.#outlierPolicy(policy));
				},
			},
		});
	}

	/** As it is now: a reload may have come since the detector was made. */
	#outlierPolicy(first: OutlierPolicy): OutlierPolicy {
		return this.#policies.outlierDetection ?? first;
	}
}
