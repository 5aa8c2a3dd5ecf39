/** What the tests of outlier detection share: a policy in which only what a test asks for acts, and an observer that writes down what it is told. */
import type { Clock } from "../../../src/core/clock.ts";
import type { Rng } from "../../../src/core/rng.ts";
import type { OutlierPolicy } from "../../../src/policy/resilience-policy.ts";
import { OutlierDetector } from "../../../src/resilience/outlier/outlier-detector.ts";

export const QUIET: OutlierPolicy = {
	place: { file: "policy.yaml", line: 1, column: 1 },
	enabled: true,
	consecutiveFailures: 0,
	consecutiveGatewayFailures: 0,
	consecutiveLocalOriginFailures: 0,
	intervalMs: 10_000,
	baseEjectionTimeMs: 30_000,
	maxEjectionTimeMs: 300_000,
	jitterMs: 0,
	maxEjectionPercent: 100,
	successRate: undefined,
	failurePercentage: undefined,
};

export interface Watched {
	readonly detector: OutlierDetector;
	/** `ejected a success_rate 1 30000`, `returned a time 1`, in their order. */
	readonly told: string[];
	readonly details: string[];
}

export function watched(policy: OutlierPolicy, clock: Clock, keys: readonly string[] = [], rng: Rng = () => 0): Watched {
	const told: string[] = [];
	const details: string[] = [];
	const detector = new OutlierDetector(policy, {
		clock,
		rng,
		observer: {
			onEjected(key, cause, ejections, forMs, detail) {
				told.push(`ejected ${key} ${cause} ${ejections} ${forMs}`);
				details.push(detail);
			},
			onReturned: (key, by, ejections) => void told.push(`returned ${key} ${by} ${ejections}`),
		},
	});
	detector.setHosts(keys);
	return { detector, told, details };
}

export function answers({ detector }: Watched, key: string, count: number, status: number): void {
	const host = detector.host(key);
	for (let i = 0; i < count; i++) host.onStatus(status);
}
