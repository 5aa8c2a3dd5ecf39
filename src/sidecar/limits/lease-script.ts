/** The bucket of a shared limit as a script inside Redis: one round trip, one clock for all sidecars. */
import { createHash } from "node:crypto";

// GCRA as in `src/limits/gcra.ts`, in microseconds since 2024 by the server's clock, so that sidecars need no common time. Doubles hold
// these to 1/64 us until 2028 and 1/32 us for the next decades. A bucket that lies further ahead than it can (the limit was made
// smaller, or the server's clock was set back) counts as empty, not as forbidden for hours. It expires when it is full again.
export const LEASE_SCRIPT = `
local time = redis.call("TIME")
local now = (tonumber(time[1]) - 1704067200) * 1000000 + tonumber(time[2])
local period = tonumber(ARGV[1])
local depth = tonumber(ARGV[2]) * period
local wanted = tonumber(ARGV[3])
local full_at = tonumber(redis.call("GET", KEYS[1]) or now)
full_at = math.min(math.max(full_at, now), now + depth)
local granted = math.min(wanted, math.floor((now + depth - full_at) / period + 0.000001))
if granted > 0 then
  full_at = full_at + granted * period
  redis.call("SET", KEYS[1], string.format("%.3f", full_at), "PX", math.ceil((full_at - now) / 1000) + 1)
end
return { granted, math.max(0, math.ceil(full_at + period - now - depth)) }
`;

/** How Redis names it once it has seen it. */
export const LEASE_SCRIPT_SHA1: string = createHash("sha1").update(LEASE_SCRIPT).digest("hex");

const US_PER_SECOND = 1e6;

/** Period in microseconds, burst, tokens. */
export function leaseArguments(requestsPerSecond: number, burst: number, tokens: number): string[] {
	return [String(US_PER_SECOND / requestsPerSecond), String(Math.max(1, Math.floor(burst))), String(tokens)];
}

/** Undefined for what the script never returns. */
export function leaseReply(reply: unknown): { readonly granted: number; readonly retryAfterMs: number } | undefined {
	if (!Array.isArray(reply)) return undefined;
	const [granted, retryAfterUs] = reply as unknown[];
	if (typeof granted !== "number" || typeof retryAfterUs !== "number") return undefined;
	return { granted, retryAfterMs: retryAfterUs / 1000 };
}
