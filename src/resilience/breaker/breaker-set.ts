/** The circuit breakers of one upstream: one for all of it, or one for each endpoint or route. */
import type { Clock } from "../../core/clock.ts";
import type { Rng } from "../../core/rng.ts";
import type { CircuitBreakerPolicy } from "../../policy/resilience-policy.ts";
import { Breaker, type BreakerTransition } from "./breaker.ts";

// As many as a policy may name endpoints, or routes. Keys come from policy and discovery, never from a request.
const BREAKERS_MAX = 10_000;

/** Of scope `upstream`. */
export const UPSTREAM_KEY = "";
/** Whoever comes when the set is full: protected all the same, but together. */
export const OTHERS_KEY = "(others)";

export interface BreakerSetDeps {
	readonly clock: Clock;
	readonly rng: Rng;
	/** As `BreakerDeps.onTransition`; `scopeKey` is the endpoint or route, empty for the upstream as a whole. */
	readonly onTransition: (scopeKey: string, transition: BreakerTransition) => void;
}

export class BreakerSet {
	readonly #deps: BreakerSetDeps;
	readonly #breakers = new Map<string, Breaker>();
	#policy: CircuitBreakerPolicy;
	/** Holds for those that come later too. */
	#forced: "open" | "closed" | undefined;

	constructor(policy: CircuitBreakerPolicy, deps: BreakerSetDeps) {
		this.#policy = policy;
		this.#deps = deps;
		this.#begin();
	}

	get scope(): CircuitBreakerPolicy["scope"] {
		return this.#policy.scope;
	}

	/** The breaker of an endpoint or a route, made when first asked for; with scope `upstream` there is one, whatever the key. */
	of(scopeKey: string): Breaker {
		const key = this.#policy.scope === "upstream" ? UPSTREAM_KEY : scopeKey;
		return this.#breakers.get(key) ?? this.#add(this.#breakers.size < BREAKERS_MAX ? key : OTHERS_KEY);
	}

	/** By key, in the order in which they came. */
	all(): Iterable<[string, Breaker]> {
		return this.#breakers.entries();
	}

	/** New thresholds; states stay. Another scope begins anew, since its keys mean something else. */
	configure(policy: CircuitBreakerPolicy): void {
		const scope = this.#policy.scope;
		this.#policy = policy;
		if (policy.scope !== scope) {
			this.dispose();
			this.#begin();
		} else {
			for (const breaker of this.#breakers.values()) breaker.configure(policy);
		}
	}

	/** Endpoints or routes that are gone take their breakers with them. */
	retain(keys: { has(key: string): boolean }): void {
		if (this.#policy.scope === "upstream") return;
		for (const [key, breaker] of this.#breakers) {
			if (key === OTHERS_KEY || keys.has(key)) continue;
			this.#breakers.delete(key);
			breaker.dispose();
		}
	}

	/** One breaker, or all that are and will be. False where the key has none. */
	force(mode: "open" | "closed" | "auto", key?: string): boolean {
		if (key !== undefined) {
			const breaker = this.#breakers.get(key);
			breaker?.force(mode);
			return breaker !== undefined;
		}
		this.#forced = mode === "auto" ? undefined : mode;
		for (const breaker of this.#breakers.values()) breaker.force(mode);
		return true;
	}

	dispose(): void {
		for (const breaker of this.#breakers.values()) breaker.dispose();
		this.#breakers.clear();
	}

	/** Gauges of the one breaker are there before its first request. */
	#begin(): void {
		if (this.#policy.scope === "upstream") this.#add(UPSTREAM_KEY);
	}

	#add(key: string): Breaker {
		const present = this.#breakers.get(key);
		if (present !== undefined) return present;
		const { clock, rng, onTransition } = this.#deps;
		const breaker = new Breaker(this.#policy, { clock, rng, onTransition: (transition) => onTransition(key, transition) });
		this.#breakers.set(key, breaker);
		if (this.#forced !== undefined) breaker.force(this.#forced);
		return breaker;
	}
}
