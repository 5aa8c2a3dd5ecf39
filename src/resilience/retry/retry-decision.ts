/**
 * Whether a request whose try has failed may be tried again, when and where: a pure function of why it failed and what is known of it.
 * Who gets a yes asks the budget, last, so that it is never charged for a try that is not made.
 */
import { REASON_CODES, type Reason } from "../../core/reasons.ts";
import type { Rng } from "../../core/rng.ts";
import type { RetryPolicy, StatusRange } from "../../policy/resilience-policy.ts";
import { atLeastMs, backoffMs } from "./backoff.ts";

/** The first one, one elsewhere for a dead connection, and one more for an endpoint that is just restarting (docs/decisions/0006). */
export const RESCUED_TRIES_MAX = 3;

/** No byte of the request has left, or none could be read: the endpoint cannot have acted on it (as HAProxy's redispatch). */
const UNSENT: ReadonlySet<Reason> = new Set([
	"connect_refused",
	"connect_failed",
	"connect_timeout",
	"no_healthy_endpoint",
	...REASON_CODES.filter((reason) => reason.startsWith("tls_")),
]);

/** RFC 9110 9.2.2: these may be sent again when nobody knows whether the first one was acted on. */
const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

/** Each with one sentence for the decision trace. */
export const REFUSALS = Object.freeze({
	client_gone: "the client has gone away",
	not_retryable: "the policy does not retry this failure",
	not_idempotent: "the request may have been acted on, its method is not idempotent and it has no idempotency-key",
	not_replayable: "the request's body is not held any more",
	caller_retries: "the request is itself a retry of the caller, and one hop that retries is enough",
	callee_retried: "the upstream has retried in vain already",
	attempts_used: "all tries are used",
	retry_after_too_long: "the upstream asks to wait longer than the policy allows",
	no_time_left: "the time of the request is over before another try could begin",
	nowhere_else: "no endpoint is left that has not been tried",
	budget: "the retry budget of the upstream is used up",
});

export type RetryRefusal = keyof typeof REFUSALS;

/** What is known of a request whose try has failed, before anything of an answer has gone to the client. */
export interface FailedTry {
	/** Of the local failure; undefined where the upstream has answered. */
	readonly reason: Reason | undefined;
	/** Of the answer, or of the fault that stood in for one; 0: none. */
	readonly status: number;
	readonly method: string;
	/** Whether the request has an `idempotency-key`. */
	readonly idempotencyKey: boolean;
	/** So far, with the one that failed; at least 1. */
	readonly attempts: number;
	readonly policy: RetryPolicy;
	/** Whether not a byte of the request has left in this try. */
	readonly unsent: boolean;
	/** Whether all of it is still there to be sent again. */
	readonly replayable: boolean;
	/** Whether the connection was reset before a byte of the answer. */
	readonly resetUnanswered: boolean;
	/** Whether a connection has ended so under it before: once is bad luck, twice is not. */
	readonly raced: boolean;
	/** Whether no endpoint is left that has not been tried. Default false. */
	readonly allTried?: boolean;
	/** Of the answer; undefined: it has none that makes sense. */
	readonly retryAfterMs: number | undefined;
	/** Whether the answer carries `x-nexus-retried`. */
	readonly calleeRetried: boolean;
	/** Which try of the caller's the request is by its mark; 1: the first, or unmarked. */
	readonly callerAttempt: number;
	/** Of `timeout.request` or the caller's deadline. */
	readonly remainingMs: number;
	/** Draws the backoff alone. */
	readonly rng: Rng;
}

/**
 * `elsewhere`: at an endpoint that has not been tried, or not at all. `fresh`: on a new connection, at another endpoint if there is one.
 * `anywhere`: at another endpoint if there is one.
 */
export type RetryDecision =
	| { readonly again: true; readonly kind: "elsewhere" | "fresh" | "anywhere"; readonly delayMs: number }
	| { readonly again: false; readonly why: RetryRefusal };

/** RFC 9110 9.2.2. Hedges need it as well. */
export function isIdempotent(method: string): boolean {
	return IDEMPOTENT.has(method);
}

/** First the failures that trying again cannot make worse, with or without a policy; then what the policy lists. */
export function retryDecision(tried: FailedTry): RetryDecision {
	if (tried.reason === "client_closed") return refuse("client_gone");
	if (tried.remainingMs <= 0) return refuse("no_time_left");
	return rescue(tried) ?? retry(tried);
}

/** A try that met a dead endpoint or a dead connection did not happen, in a manner of speaking: the next one is made at once. */
function rescue(tried: FailedTry): RetryDecision | undefined {
	if (tried.status !== 0 || tried.attempts >= RESCUED_TRIES_MAX) return undefined;
	const delayMs = tried.attempts === 1 ? 0 : backoffMs(tried.policy.backoff, tried.attempts, tried.rng);
	if (neverSent(tried)) return tried.allTried === true ? undefined : again("elsewhere", delayMs, tried);
	// Other connections that lie idle may be as dead; a new one is lost in the same race where the service stops with it in the kernel's queue.
	const lost = tried.reason === "upstream_idle_race" || (tried.reason === "upstream_reset" && tried.resetUnanswered);
	const harmless = untouched(tried) || (tried.replayable && repeatable(tried));
	return lost && !tried.raced && harmless ? again("fresh", delayMs, tried) : undefined;
}

function retry(tried: FailedTry): RetryDecision {
	const { policy } = tried;
	if (!isListed(tried)) return refuse(whyNot(tried));
	if (!untouched(tried)) {
		if (!repeatable(tried)) return refuse("not_idempotent");
		if (!tried.replayable) return refuse("not_replayable");
	}
	if (tried.callerAttempt > 1) return refuse("caller_retries");
	if (tried.calleeRetried) return refuse("callee_retried");
	if (tried.attempts > policy.attempts) return refuse("attempts_used");
	const { retryAfterMs } = tried;
	if (retryAfterMs !== undefined && retryAfterMs > policy.retryAfterMaxMs) return refuse("retry_after_too_long");
	const waitMs = backoffMs(policy.backoff, tried.attempts, tried.rng);
	return again("anywhere", retryAfterMs === undefined ? waitMs : Math.max(waitMs, atLeastMs(retryAfterMs, tried.rng)), tried);
}

/** What the policy does not list would still have been rescued, had there been a place or a try left. */
function whyNot(tried: FailedTry): RetryRefusal {
	if (tried.status !== 0 || !neverSent(tried)) return "not_retryable";
	return tried.allTried === true ? "nowhere_else" : "attempts_used";
}

/** Whether `retry.on` has it. A fault that stands in for an answer is judged by its status, as the answer would have been. */
function isListed(tried: FailedTry): boolean {
	const { on } = tried.policy;
	if (tried.status !== 0) return inRanges(tried.status, on.statuses);
	if (neverSent(tried)) return on.connectFailure && tried.reason !== "no_healthy_endpoint";
	if (tried.reason === "upstream_reset" || tried.reason === "upstream_idle_race") return on.reset;
	return tried.reason === "per_try_timeout" && on.perTryTimeout;
}

function neverSent(tried: FailedTry): boolean {
	return tried.reason !== undefined && UNSENT.has(tried.reason);
}

/** Whether the upstream cannot have acted on it. A fault that answers has let nothing leave either, but must look as if. */
function untouched(tried: FailedTry): boolean {
	return tried.status === 0 && (tried.unsent || neverSent(tried));
}

/** By its method, or as the client has made it so by a key (draft-ietf-httpapi-idempotency-key-header). */
function repeatable(tried: FailedTry): boolean {
	return tried.idempotencyKey || isIdempotent(tried.method);
}

function again(kind: "elsewhere" | "fresh" | "anywhere", delayMs: number, tried: FailedTry): RetryDecision {
	return delayMs < tried.remainingMs ? { again: true, kind, delayMs } : refuse("no_time_left");
}

function refuse(why: RetryRefusal): RetryDecision {
	return { again: false, why };
}

function inRanges(status: number, ranges: readonly StatusRange[]): boolean {
	return ranges.some((range) => status >= range.from && status <= range.to);
}
