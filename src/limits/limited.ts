/** What a limit says to those outside: of a refusal, and of itself. Types only. */
import type { DecisionData } from "../policy/decision-trace.ts";
import type { Place } from "../policy/snapshot.ts";

export type Direction = "inbound" | "outbound";

export interface Limited {
	readonly limit: string;
	readonly place: Place;
	readonly reason: "rate_limited" | "queue_timeout";
	/** One sentence without secrets: which limit, and its numbers. */
	readonly detail: string;
	readonly retryAfterMs: number;
	/** `RateLimit` and `RateLimit-Policy` of the limit that refused, CRLF behind each. */
	readonly fieldLines: string;
}

/** One line of a decision trace. */
export interface ExplainedLimit {
	/** One sentence without a full stop. */
	readonly text: string;
	readonly place: Place;
	readonly data: DecisionData;
	/** Whether a request would pass it without queueing; of a shared limit as far as this sidecar knows. */
	readonly admits: boolean;
}

/** What was taken for a request that goes on to wait elsewhere, so that it can be given back. */
export interface Taken {
	readonly key: string;
	readonly source: "lease" | "local" | "none";
	readonly fullAtNs: number;
}

export interface LimiterView {
	readonly direction: Direction;
	readonly place: string;
	readonly limit: string;
	readonly admitted: number;
	readonly rejected: number;
	readonly queued: number;
	readonly timedOut: number;
	/** Requests in the queue now. */
	readonly waiting: number;
	readonly keys: number;
	/** New keys that had to share a bucket because the table was full of others in use. */
	readonly overflows: number;
	readonly shared:
		| { readonly available: boolean; readonly granted: number; readonly empty: number; readonly failed: number; readonly lastFailure: string }
		| undefined;
}
