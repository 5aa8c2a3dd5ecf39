/** The states of a circuit breaker and every way from one to another, as data: breaker.ts obeys it, docs/states.md shows it. */

/** Closed passes, open rejects, half-open lets a few probes through. */
export type BreakerState = "closed" | "open" | "half-open";

export type BreakerEvent = "trip" | "elapse" | "recover" | "relapse" | "force-open" | "force-closed" | "release";

export interface BreakerEdge {
	readonly from: BreakerState;
	readonly event: BreakerEvent;
	readonly to: BreakerState;
	/** When it happens, in the words of the policy. */
	readonly when: string;
}

export const BREAKER_STATES: { readonly [S in BreakerState]: string } = Object.freeze({
	closed: "requests pass and are counted",
	open: "requests are answered at once with `breaker_open`, or by the fallback",
	"half-open": "up to `halfOpenMaxConcurrent` requests at a time pass as probes, the others are answered as while open",
});

/** A pair of state and event that is missing here does not happen: it would be a fault of ours. */
export const BREAKER_EDGES: readonly BreakerEdge[] = Object.freeze([
	{ from: "closed", event: "trip", to: "open", when: "`failureThreshold` failures in a row, or `failureRate` or `slowCallRate` reached in `window`" },
	{ from: "open", event: "elapse", to: "half-open", when: "`openFor` is over, with or without traffic" },
	{ from: "half-open", event: "recover", to: "closed", when: "`successThreshold` probes in a row succeeded" },
	{
		from: "half-open",
		event: "relapse",
		to: "open",
		when: "a probe failed, or was slow where `slowCallRate` is given: open for twice as long, up to `maxOpenFor`",
	},
	{ from: "closed", event: "force-open", to: "open", when: "an operator forces it open, until `auto`" },
	{ from: "open", event: "force-open", to: "open", when: "an operator forces it open: `openFor` no longer ends it" },
	{ from: "half-open", event: "force-open", to: "open", when: "an operator forces it open, until `auto`" },
	{ from: "open", event: "force-closed", to: "closed", when: "an operator forces it closed: nothing trips it until `auto`" },
	{ from: "half-open", event: "force-closed", to: "closed", when: "an operator forces it closed: nothing trips it until `auto`" },
	{ from: "open", event: "release", to: "half-open", when: "it was forced open, and the operator says `auto`" },
]);

/** Where an event leads. Throws for a pair that the table does not have. */
export function nextBreakerState(from: BreakerState, event: BreakerEvent): BreakerState {
	const edge = BREAKER_EDGES.find((candidate) => candidate.from === from && candidate.event === event);
	if (edge === undefined) throw new Error(`a breaker that is ${from} knows no ${event}`);
	return edge.to;
}
