/** How long to wait before another try: full jitter, so that callers which failed together do not come back together. */
import type { Rng } from "../../core/rng.ts";

const DRAWS = 2 ** 32;

/** As Envoy's JitteredExponentialBackOffStrategy: 0 .. the ceiling exclusive, which doubles from `baseMs` to `maxMs`. `retry`: 1 for the first one. */
export function backoffMs(backoff: { readonly baseMs: number; readonly maxMs: number }, retry: number, rng: Rng): number {
	// 2 ** 31 x 1 ms are 24 days: no ceiling needs more doublings, and no number overflows.
	const ceilingMs = Math.min(backoff.maxMs, backoff.baseMs * 2 ** Math.min(retry - 1, 31));
	return draw(rng, ceilingMs);
}

/** As Envoy's JitteredLowerBoundBackOffStrategy, for a `retry-after`: never sooner than `lowMs`, up to half of it later. */
export function atLeastMs(lowMs: number, rng: Rng): number {
	return lowMs + draw(rng, Math.floor(lowMs / 2));
}

/** Whole milliseconds below `endMs`, taken from a draw of 32 bits by its remainder as Envoy does; 0 where there is nothing to draw from. */
function draw(rng: Rng, endMs: number): number {
	const whole = Math.floor(endMs);
	return whole >= 1 ? Math.floor(rng() * DRAWS) % whole : 0;
}
