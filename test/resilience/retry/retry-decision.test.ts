import assert from "node:assert/strict";
import { test } from "node:test";
import { REASON_CODES, type Reason } from "../../../src/core/reasons.ts";
import { seededRng } from "../../../src/core/rng.ts";
import type { RetryPolicy } from "../../../src/policy/resilience-policy.ts";
import {
	type FailedTry,
	isIdempotent,
	REFUSALS,
	RESCUED_TRIES_MAX,
	type RetryDecision,
	retryDecision,
} from "../../../src/resilience/retry/retry-decision.ts";
import { oneOf, whole } from "../model-check.ts";

const POLICY: RetryPolicy = {
	place: { file: "policy.yaml", line: 1, column: 1 },
	attempts: 2,
	on: {
		connectFailure: true,
		reset: true,
		perTryTimeout: true,
		statuses: [
			{ from: 502, to: 502 },
			{ from: 503, to: 504 },
		],
	},
	perTryTimeoutMs: undefined,
	backoff: { baseMs: 25, maxMs: 250 },
	retryAfterMaxMs: 5000,
	bodyBytesMax: 65_536,
	hedge: undefined,
};

const NONE: RetryPolicy = { ...POLICY, attempts: 0, on: { connectFailure: false, reset: false, perTryTimeout: false, statuses: [] } };

/** A GET that was answered with 503 at its first try, unless said otherwise. */
function decide(changes: Partial<FailedTry> = {}): RetryDecision {
	return retryDecision({
		reason: undefined,
		status: 503,
		method: "GET",
		idempotencyKey: false,
		attempts: 1,
		policy: POLICY,
		unsent: false,
		replayable: true,
		resetUnanswered: false,
		raced: false,
		retryAfterMs: undefined,
		calleeRetried: false,
		callerAttempt: 1,
		remainingMs: 15_000,
		// The last of 2^32 draws: waits of 20 ms of 25, 45 ms of 50.
		rng: () => 0.9999999999,
		...changes,
	});
}

function failure(reason: Reason, changes: Partial<FailedTry> = {}): RetryDecision {
	return decide({ reason, status: 0, ...changes });
}

function refused(why: keyof typeof REFUSALS): RetryDecision {
	return { again: false, why };
}

test("a request of which nothing has left goes elsewhere at once, whatever its method, up to three tries in all", () => {
	for (const reason of ["connect_refused", "connect_failed", "connect_timeout", "no_healthy_endpoint"] as const) {
		for (const policy of [POLICY, NONE]) {
			const request = { method: "POST", replayable: false, unsent: true, policy };
			assert.deepEqual(failure(reason, request), { again: true, kind: "elsewhere", delayMs: 0 });
			const second = failure(reason, { ...request, attempts: 2 });
			assert.ok(second.again && second.kind === "elsewhere" && second.delayMs > 0 && second.delayMs < 50, reason);
			assert.equal(failure(reason, { ...request, attempts: RESCUED_TRIES_MAX }).again, false);
		}
	}
});

test("more tries than three are made for connect failures where the policy says so", () => {
	const policy = { ...POLICY, attempts: 5 };
	assert.equal(failure("connect_refused", { policy, attempts: 5 }).again, true);
	assert.deepEqual(failure("connect_refused", { policy, attempts: 6 }), refused("attempts_used"));
	assert.deepEqual(failure("no_healthy_endpoint", { policy, attempts: 5 }), refused("attempts_used"));
});

test("where every endpoint has been tried, a connect failure is tried again after a pause if the policy has it, and else not at all", () => {
	const again = failure("connect_refused", { allTried: true });
	assert.ok(again.again && again.kind === "anywhere" && again.delayMs > 0);
	assert.deepEqual(failure("connect_refused", { allTried: true, policy: NONE }), refused("nowhere_else"));
	assert.deepEqual(failure("connect_refused", { allTried: true, callerAttempt: 2 }), refused("caller_retries"));
	assert.deepEqual(failure("no_healthy_endpoint", { allTried: true }), refused("nowhere_else"));
});

test("a dead connection is replaced by a fresh one at once, for idempotent requests, and once, with or without a policy", () => {
	const race = { again: true, kind: "fresh", delayMs: 0 };
	for (const policy of [POLICY, NONE]) {
		assert.deepEqual(failure("upstream_idle_race", { policy }), race);
		assert.deepEqual(failure("upstream_reset", { policy, resetUnanswered: true }), race);
		assert.deepEqual(failure("upstream_idle_race", { policy, method: "POST", idempotencyKey: true }), race);
		assert.deepEqual(failure("upstream_idle_race", { policy, method: "POST", replayable: false, unsent: true }), race, "nothing of it has left");
	}
	assert.deepEqual(failure("upstream_idle_race", { method: "POST" }), refused("not_idempotent"));
	assert.deepEqual(failure("upstream_idle_race", { replayable: false }), refused("not_replayable"));
	assert.deepEqual(failure("upstream_idle_race", { policy: NONE, raced: true }), refused("not_retryable"));
	assert.deepEqual(failure("upstream_reset", { policy: NONE }), refused("not_retryable"), "closed in good order: the service's own doing");
});

test("a second dead connection in a row is a reset like any other", () => {
	const second = failure("upstream_idle_race", { raced: true, attempts: 2 });
	assert.ok(second.again && second.kind === "anywhere" && second.delayMs > 0);
	assert.deepEqual(failure("upstream_idle_race", { raced: true, attempts: 3 }), refused("attempts_used"));
});

test("listed statuses, resets and per-try timeouts are tried again after a pause that grows", () => {
	for (const failed of [{}, { status: 504 }, { status: 0, reason: "upstream_reset" as const }, { status: 0, reason: "per_try_timeout" as const }]) {
		assert.deepEqual(decide(failed), { again: true, kind: "anywhere", delayMs: 20 });
		assert.deepEqual(decide({ ...failed, attempts: 2 }), { again: true, kind: "anywhere", delayMs: 45 });
		assert.deepEqual(decide({ ...failed, attempts: 3 }), refused("attempts_used"));
		assert.deepEqual(decide({ ...failed, policy: NONE }), refused("not_retryable"));
	}
	assert.deepEqual(decide({ status: 500 }), refused("not_retryable"));
	assert.deepEqual(decide({ status: 429 }), refused("not_retryable"));
});

test("only idempotent methods are repeated, and any with an idempotency-key", () => {
	for (const method of ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]) {
		assert.equal(isIdempotent(method), true);
		assert.equal(decide({ method }).again, true);
	}
	for (const method of ["POST", "PATCH", "get", "LOCK"]) {
		assert.equal(isIdempotent(method), false);
		assert.deepEqual(decide({ method }), refused("not_idempotent"));
		assert.equal(decide({ method, idempotencyKey: true }).again, true);
	}
});

test("a fault that answers is judged by its status, though nothing has left", () => {
	const fault = { reason: "fault_injected" as const, unsent: true };
	assert.equal(decide({ ...fault, status: 503 }).again, true);
	assert.deepEqual(decide({ ...fault, status: 503, method: "POST" }), refused("not_idempotent"));
	assert.deepEqual(decide({ ...fault, status: 500 }), refused("not_retryable"));
	assert.deepEqual(decide({ ...fault, status: 0 }), refused("not_retryable"));
	assert.deepEqual(decide({ reason: "connect_refused", status: 503, method: "POST" }), refused("not_idempotent"), "an answer was made of it already");
});

test("a per-try timeout before anything has left repeats any method", () => {
	assert.equal(failure("per_try_timeout", { method: "POST", replayable: false, unsent: true }).again, true);
	assert.deepEqual(failure("per_try_timeout", { method: "POST" }), refused("not_idempotent"));
});

test("a body that is not held any more ends the tries", () => {
	assert.deepEqual(decide({ method: "PUT", replayable: false }), refused("not_replayable"));
});

test("a retry of the caller's gets none of our own, but is rescued from dead endpoints and connections", () => {
	for (const failed of [{}, { status: 0, reason: "upstream_reset" as const }, { status: 0, reason: "per_try_timeout" as const }]) {
		assert.deepEqual(decide({ ...failed, callerAttempt: 2 }), refused("caller_retries"));
	}
	assert.equal(failure("connect_refused", { callerAttempt: 2 }).again, true);
	assert.equal(failure("upstream_idle_race", { callerAttempt: 3 }).again, true);
});

test("an answer of a callee that has retried in vain is not multiplied", () => {
	assert.deepEqual(decide({ calleeRetried: true }), refused("callee_retried"));
});

test("a retry-after is waited for, never less and up to half of it more, unless the policy finds it too long", () => {
	const rng = seededRng(5);
	for (let i = 0; i < 1000; i++) {
		const decision = decide({ retryAfterMs: 1000, rng });
		assert.ok(decision.again && decision.delayMs >= 1000 && decision.delayMs < 1500);
	}
	assert.equal(decide({ retryAfterMs: 5000 }).again, true);
	assert.deepEqual(decide({ retryAfterMs: 5001 }), refused("retry_after_too_long"));
	assert.deepEqual(decide({ retryAfterMs: 0 }), { again: true, kind: "anywhere", delayMs: 20 });
});

test("no try is made that could only begin when the time is over", () => {
	assert.deepEqual(decide({ remainingMs: 0 }), refused("no_time_left"));
	assert.deepEqual(decide({ remainingMs: -5 }), refused("no_time_left"));
	assert.deepEqual(decide({ remainingMs: 20 }), refused("no_time_left"));
	assert.equal(decide({ remainingMs: 21 }).again, true);
	assert.deepEqual(decide({ retryAfterMs: 1000, remainingMs: 1000 }), refused("no_time_left"));
	assert.deepEqual(failure("connect_refused", { remainingMs: 0 }), refused("no_time_left"));
	assert.equal(failure("connect_refused", { remainingMs: 1 }).again, true);
});

test("nothing is tried for a client that has gone", () => {
	assert.deepEqual(failure("client_closed"), refused("client_gone"));
	assert.deepEqual(failure("client_closed", { remainingMs: 0 }), refused("client_gone"));
});

test("of all reasons only these are ever tried again", () => {
	// Whatever goes wrong with TLS, nothing of the request has been read.
	const retried = REASON_CODES.filter((reason) => failure(reason, { resetUnanswered: true }).again && !reason.startsWith("tls_"));
	assert.ok(REASON_CODES.filter((reason) => reason.startsWith("tls_")).every((reason) => failure(reason, {}).again));
	assert.deepEqual(retried.sort(), [
		"connect_failed",
		"connect_refused",
		"connect_timeout",
		"no_healthy_endpoint",
		"per_try_timeout",
		"upstream_idle_race",
		"upstream_reset",
	]);
});

test("each refusal has one sentence for the trace", () => {
	for (const text of Object.values(REFUSALS)) assert.match(text, /^[a-z][^.]+[a-z]$/);
});

test("over 100,000 random failures no yes breaks a rule: tries, time, what may be repeated, marks", () => {
	const rng = seededRng(11);
	const flag = () => rng() < 0.5;
	for (let i = 0; i < 100_000; i++) {
		const answered = flag();
		const policy = oneOf(rng, [POLICY, NONE, { ...POLICY, attempts: 5 }, { ...POLICY, on: { ...POLICY.on, connectFailure: false } }]);
		const tried: FailedTry = {
			reason: answered ? oneOf(rng, [undefined, "fault_injected" as const]) : oneOf(rng, REASON_CODES),
			status: answered ? whole(rng, 400, 599) : 0,
			method: oneOf(rng, ["GET", "PUT", "POST", "PATCH"]),
			idempotencyKey: rng() < 0.2,
			attempts: whole(rng, 1, 7),
			policy,
			unsent: flag(),
			replayable: flag(),
			resetUnanswered: flag(),
			raced: flag(),
			allTried: flag(),
			retryAfterMs: flag() ? undefined : whole(rng, 0, 8000),
			calleeRetried: answered && flag(),
			callerAttempt: whole(rng, 1, 3),
			remainingMs: whole(rng, -10, 10_000),
			rng,
		};
		const decision = retryDecision(tried);
		const says = `${JSON.stringify(tried)} -> ${JSON.stringify(decision)}`;
		if (!decision.again) {
			assert.ok(Object.hasOwn(REFUSALS, decision.why), says);
			continue;
		}
		assert.ok(tried.attempts <= Math.max(2, policy.attempts), says);
		assert.ok(decision.delayMs >= 0 && decision.delayMs < tried.remainingMs, says);
		if (tried.status > 0) {
			assert.ok(tried.status >= 502 && tried.status <= 504 && !tried.calleeRetried && tried.callerAttempt === 1, says);
			assert.ok(tried.replayable && (tried.idempotencyKey || isIdempotent(tried.method)), says);
			assert.ok((tried.retryAfterMs ?? 0) <= policy.retryAfterMaxMs && decision.delayMs >= (tried.retryAfterMs ?? 0), says);
		} else if (!tried.unsent && !/^connect_|^no_healthy|^tls_/.test(tried.reason ?? "")) {
			assert.ok(tried.replayable && (tried.idempotencyKey || isIdempotent(tried.method)), says);
		}
		if (decision.kind === "anywhere") assert.ok(tried.callerAttempt === 1 && policy !== NONE, says);
		if (decision.kind === "fresh") assert.ok(!tried.raced, says);
		if (decision.kind === "elsewhere") assert.ok(!tried.allTried, says);
	}
});
