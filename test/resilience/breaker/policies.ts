/** Breaker policies for tests: everything off but what a test names. */
import type { CircuitBreakerPolicy, TripPolicy } from "../../../src/policy/resilience-policy.ts";

export const THRESHOLD_PLACE = { file: "policy.yaml", line: 7, column: 9 };

export function tripPolicy(changes: Partial<TripPolicy> = {}): TripPolicy {
	return {
		place: THRESHOLD_PLACE,
		consecutiveFailures: undefined,
		failureRate: undefined,
		slowCallRate: undefined,
		slowCallMs: 1_000,
		windowMs: 10_000,
		minRequests: 20,
		...changes,
	};
}

/** The defaults of the product: 5 failures in a row, 60 s, 2 successes. */
export function breakerPolicy(changes: Partial<CircuitBreakerPolicy> = {}): CircuitBreakerPolicy {
	return {
		place: { file: "policy.yaml", line: 6, column: 5 },
		scope: "upstream",
		trip: tripPolicy({ consecutiveFailures: 5 }),
		successThreshold: 2,
		openForMs: 60_000,
		maxOpenForMs: 60_000,
		jitter: 0,
		halfOpenMaxConcurrent: 1,
		failureStatuses: [{ from: 500, to: 599 }],
		fallback: undefined,
		...changes,
	};
}
