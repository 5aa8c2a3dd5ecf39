/** The field `x-nexus-deadline-ms`: how many milliseconds a request has left, told from hop to hop; each hop can only shorten it. */

export const DEADLINE_HEADER = "x-nexus-deadline-ms";

/** 11 days: beyond any timeout, and far from where integers end. */
const DIGITS_MAX = 9;

const ZERO = 0x30;
const NINE = 0x39;

/** 1..9 digits and nothing else; undefined for anything else, which is to be ignored. 0: the time is over. */
export function parseDeadline(value: string): number | undefined {
	if (value.length === 0 || value.length > DIGITS_MAX) return undefined;
	let ms = 0;
	for (let i = 0; i < value.length; i++) {
		const code = value.charCodeAt(i);
		if (code < ZERO || code > NINE) return undefined;
		ms = ms * 10 + (code - ZERO);
	}
	return ms;
}

/** The shorter of what the policy and the caller allow. `headerMs`: undefined where the caller said nothing, or nothing that makes sense. */
export function effectiveTimeoutMs(policyMs: number, headerMs: number | undefined): number {
	return headerMs === undefined || headerMs > policyMs ? policyMs : headerMs;
}

/**
 * Whole milliseconds that are left of `timeoutMs` since `startedMs` (both monotonic); 0 or less: it is over and must not be sent on.
 * Rounded down, so that what is told to the next hop is never more than there is, and never 0 where this hop went on.
 */
export function remainingMs(startedMs: number, timeoutMs: number, nowMs: number): number {
	return Math.floor(timeoutMs - (nowMs - startedMs));
}
