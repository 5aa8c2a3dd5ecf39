/** When a circuit breaker trips: failures in a row, the rate of failures, or the rate of slow calls. What follows stands in breaker.ts. */
import type { TripPolicy } from "../../policy/resilience-policy.ts";
import { CallWindow } from "./call-window.ts";

export interface BreakerCounts {
	readonly consecutiveFailures: number;
	/** Of the window, as the three below. */
	readonly requests: number;
	readonly failures: number;
	readonly slowCalls: number;
}

export class TripRule {
	#policy: TripPolicy;
	#window: CallWindow;
	#consecutiveFailures = 0;

	constructor(policy: TripPolicy) {
		this.#policy = policy;
		this.#window = new CallWindow(policy.windowMs);
	}

	/** Takes one result. Why the breaker should trip now, in words; undefined where it should not. */
	record(failed: boolean, latencyMs: number, nowMs: number): string | undefined {
		this.#window.record(failed, latencyMs > this.#policy.slowCallMs, latencyMs, nowMs);
		if (failed) this.#consecutiveFailures++;
		else this.#consecutiveFailures = 0;
		return this.#inARow() ?? this.#byRate();
	}

	/** Whether a call was too slow to count as a success where a slow upstream is a broken one. */
	tooSlow(latencyMs: number): boolean {
		return this.#policy.slowCallRate !== undefined && latencyMs > this.#policy.slowCallMs;
	}

	counts(nowMs: number): BreakerCounts {
		this.#window.advance(nowMs);
		const { requests, failures, slowCalls } = this.#window;
		return { consecutiveFailures: this.#consecutiveFailures, requests, failures, slowCalls };
	}

	/** Begins to count afresh. */
	reset(): void {
		this.#consecutiveFailures = 0;
		this.#window.reset();
	}

	/** New thresholds judge what was counted; only another length of the window, or another meaning of slow, begins a new window. */
	configure(policy: TripPolicy): void {
		if (policy.windowMs !== this.#policy.windowMs || policy.slowCallMs !== this.#policy.slowCallMs) this.#window = new CallWindow(policy.windowMs);
		this.#policy = policy;
	}

	#inARow(): string | undefined {
		const threshold = this.#policy.consecutiveFailures;
		const failures = this.#consecutiveFailures;
		if (threshold === undefined || failures === 0 || failures < threshold) return undefined;
		return failures === 1 ? "1 failure" : `${failures} failures in a row`;
	}

	#byRate(): string | undefined {
		const { failureRate, slowCallRate, slowCallMs, windowMs, minRequests } = this.#policy;
		const { requests, failures, slowCalls, slowFailures, totalMs } = this.#window;
		if (requests < minRequests) return undefined;
		// Divided, never threshold x requests: 7 / 100 is the number that 0.07 is, 0.07 * 100 is more than 7.
		if (failureRate !== undefined && failures > 0 && failures / requests >= failureRate)
			return `${failures} of ${requests} requests failed within ${windowMs} ms (threshold ${percent(failureRate)})`;
		if (slowCallRate !== undefined && slowCalls > 0 && slowCalls / requests >= slowCallRate)
			return (
				`${slowCalls} of ${requests} requests took longer than ${slowCallMs} ms within ${windowMs} ms, ${slowFailures} of them failed ` +
				`(threshold ${percent(slowCallRate)}, ${Math.round(totalMs / requests)} ms on average)`
			);
		return undefined;
	}
}

function percent(rate: number): string {
	return `${Math.round(rate * 1000) / 10} %`;
}
