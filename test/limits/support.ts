/** What the tests of limits share: a policy with its defaults, a subject, and waiters that remember. */
import type { Limited, LimitSubject, LimitWaiter } from "../../src/limits/limit-set.ts";
import type { RateLimitPolicy } from "../../src/policy/resilience-policy.ts";

export function policyOf(overrides: Partial<RateLimitPolicy> = {}): RateLimitPolicy {
	return {
		place: { file: "mesh.yaml", line: 7, column: 5 },
		name: "per-caller",
		requestsPerSecond: 10,
		burst: 5,
		key: [{ kind: "caller" }],
		overflow: { kind: "reject" },
		shared: undefined,
		...overrides,
	};
}

export function subjectOf(caller: string, headers: Record<string, string> = {}): LimitSubject {
	return { caller: () => caller, ip: () => "192.0.2.1", route: () => "pay", header: (name) => headers[name] };
}

export class Waiter implements LimitWaiter {
	outcome: "waiting" | "admitted" | Limited = "waiting";
	calls = 0;
	readonly settled: Promise<void>;
	readonly #settle: () => void;

	constructor() {
		const { promise, resolve } = Promise.withResolvers<void>();
		this.settled = promise;
		this.#settle = resolve;
	}

	onAdmitted(): void {
		this.#take("admitted");
	}

	onLimited(limited: Limited): void {
		this.#take(limited);
	}

	#take(outcome: "admitted" | Limited): void {
		this.calls++;
		this.outcome = outcome;
		this.#settle();
	}
}
