/** How long a delayed attempt waits. */
import { assertNever } from "../../core/errors.ts";
import type { Rng } from "../../core/rng.ts";
import type { FaultAction } from "../../policy/resilience-policy.ts";

/** Milliseconds, at most `msMax`. Fixed: `ms`; uniform: between `ms` and `msMax`; exponential: `ms` on average before the bound. */
export function drawDelayMs({ distribution, ms, msMax }: FaultAction & { readonly kind: "delay" }, rng: Rng): number {
	switch (distribution) {
		case "fixed":
			return ms;
		case "uniform":
			return Math.min(msMax, ms + rng() * (msMax - ms));
		case "exponential":
			// Inverse of the distribution function; 1 - rng() is never 0.
			return Math.min(msMax, -Math.log(1 - rng()) * ms);
		default:
			return assertNever(distribution);
	}
}
