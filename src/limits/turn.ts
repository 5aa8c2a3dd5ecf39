/** One request that waits at one limit: for its place in a queue, or for the answer of the shared store. */

export interface Refusal {
	readonly reason: "rate_limited" | "queue_timeout";
	readonly retryAfterMs: number;
}

export interface Turn {
	/** The key of its bucket at the limit where it waits. */
	readonly key: string;
	/** 0 (first) .. 9 */
	readonly priority: number;
	/** Its token is taken. Called at most once per wait, never before the wait's call has returned. */
	granted(nowMs: number): void;
	/** As `granted`, instead of it. */
	refused(refusal: Refusal): void;
}
