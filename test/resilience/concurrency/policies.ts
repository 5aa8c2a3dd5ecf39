/** Concurrency policies for tests. */
import type { ConcurrencyPolicy } from "../../../src/policy/resilience-policy.ts";

export function concurrencyPolicy(changes: Partial<ConcurrencyPolicy> = {}): ConcurrencyPolicy {
	const place = { file: "policy.yaml", line: 1, column: 1 };
	return { place, kind: "fixed", limitMin: 3, limitMax: 1_024, pendingMax: 1_024, pendingTimeoutMs: 1_000, ...changes };
}
