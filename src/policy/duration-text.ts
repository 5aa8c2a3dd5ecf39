/** How a duration is written for people: in the notation of the policy. */

/** 1500 -> `1.5s`, 300000 -> `5m`. */
export function durationText(ms: number): string {
	if (ms !== 0 && ms % 3_600_000 === 0) return `${ms / 3_600_000}h`;
	if (ms !== 0 && ms % 60_000 === 0) return `${ms / 60_000}m`;
	return ms < 1_000 ? `${ms}ms` : `${ms / 1_000}s`;
}
