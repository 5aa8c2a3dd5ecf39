/** The response fields that tell a client which limit it has met (draft-ietf-httpapi-ratelimit-headers-10). */
import type { RateLimitPolicy } from "../policy/resilience-policy.ts";

/**
 * The `RateLimit-Policy` line. The draft knows quotas per window of whole seconds, not buckets: the window is the time in which the bucket
 * fills (at least 1 s), and the quota what flows in it, so a client that spreads the quota over the window is never refused.
 */
export function policyLine(policy: RateLimitPolicy): string {
	const windowS = Math.max(1, Math.ceil(policy.burst / policy.requestsPerSecond));
	const quota = Math.max(1, Math.floor(policy.requestsPerSecond * windowS));
	return `RateLimit-Policy: ${quoted(policy.name)};q=${quota};w=${windowS}\r\n`;
}

/** The `RateLimit` line of a refusal: nothing is left, and when there is something again. */
export function usedUpLine(name: string, retryAfterMs: number): string {
	return `RateLimit: ${quoted(name)};r=0;t=${Math.max(1, Math.ceil(retryAfterMs / 1000))}\r\n`;
}

/** A String of RFC 9651: printable ASCII; other characters become `_`. */
function quoted(name: string): string {
	return `"${name.replace(/[^\x20-\x7e]/g, "_").replace(/["\\]/g, "\\$&")}"`;
}
