/** Whether a request that has failed may be sent once more, and where: a pure function of why it failed and what is known of it. */
import type { Reason } from "../../core/reasons.ts";

/** The first one, one elsewhere for a dead connection, and one more for an endpoint that is just restarting. */
export const ATTEMPTS_MAX = 3;

/** No byte of the request has left: the endpoint cannot have acted on it (as HAProxy's redispatch). */
const UNSENT: ReadonlySet<Reason> = new Set(["connect_refused", "connect_failed", "connect_timeout", "no_healthy_endpoint"]);

/** RFC 9110 9.2.2: these may be sent again when nobody knows whether the first one was acted on. */
const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

/** What is known of a request whose attempt has failed. */
export interface Tried {
	readonly method: string;
	readonly attempts: number;
	/** Whether all of it is still there to be sent again. */
	readonly replayable: boolean;
	/** Whether the connection was reset before a byte of the answer. */
	readonly resetUnanswered: boolean;
	/** Whether a connection has ended so under it before: once is bad luck, twice is not. */
	readonly raced: boolean;
}

/** `elsewhere`: at another endpoint or not at all. `fresh`: on a new connection, at another endpoint if there is one. */
export function anotherTry(reason: Reason, tried: Tried): "no" | "elsewhere" | "fresh" {
	if (tried.attempts >= ATTEMPTS_MAX) return "no";
	if (UNSENT.has(reason)) return "elsewhere";
	// A new connection is lost in the same race where the service stops with it still in the kernel's queue.
	const lost = reason === "upstream_idle_race" || (reason === "upstream_reset" && tried.resetUnanswered);
	if (lost && !tried.raced && tried.replayable && IDEMPOTENT.has(tried.method)) return "fresh";
	return "no";
}
