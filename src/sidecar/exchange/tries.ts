/**
 * Gets one request answered: a first try, further ones where the policy allows them, a hedge where the first is slow.
 * Hands on exactly one answer or one failure; what comes late is dropped here.
 */
import type { Clock, Timer } from "../../core/clock.ts";
import type { DeadlineWheel } from "../../core/deadline-wheel.ts";
import type { DueQueue } from "../../core/due-queue.ts";
import type { Reason } from "../../core/reasons.ts";
import type { Rng } from "../../core/rng.ts";
import type { BodyDecoder } from "../../http1/body-decoder.ts";
import { X_NEXUS_RETRIED } from "../../http1/fields.ts";
import type { ResponseParser } from "../../http1/response-parser.ts";
import type { DecisionLog } from "../../policy/decision-trace.ts";
import type { RetryPolicy } from "../../policy/resilience-policy.ts";
import { hedgeDelayMs } from "../../resilience/retry/hedge.ts";
import { type FailedTry, isIdempotent, type RetryRefusal, retryDecision } from "../../resilience/retry/retry-decision.ts";
import type { Endpoint } from "../../upstream/endpoint.ts";
import type { Http1Connection } from "../../upstream/http1-connection.ts";
import { Try, type TryObserver, type TryRequest } from "../../upstream/try.ts";
import type { Upstream } from "../../upstream/upstream.ts";
import * as told from "./tries-trace.ts";

/** The request, as the exchange has it. */
export interface TriedRequest extends TryRequest {
	readonly idempotencyKey: boolean;
	/** Which try of its own caller it is. */
	readonly callerAttempt: number;
	/** Whether all of it is still there to be sent again. */
	readonly replayable: boolean;
	remainingMs(): number;
	/** Begins a trace where there is none, unless there are more failures than anybody would read. */
	traceOfFailure(): DecisionLog | undefined;
}

/** The exchange's side: `onAnswer` .. the end of the body, or `onFailed`, once a request. */
export interface TriesObserver {
	onSent(connection: Http1Connection): void;
	/** A try begins. */
	onTry(): void;
	/** One was answered (`status`), or failed. */
	onTryOver(tried: Try, status: number, reason: Reason | undefined): void;
	onAnswer(tried: Try, parser: ResponseParser, body: BodyDecoder, buffer: Buffer): void;
	onBody(body: BodyDecoder, buffer: Buffer): void;
	onInterim(parser: ResponseParser): void;
	onUpgraded(tried: Try, parser: ResponseParser, buffer: Buffer, from: number, to: number): void;
	onUpstreamWritable(): void;
	/** `tried` says how the last try ended; `status` is that of an injected answer, else 0. */
	onFailed(tried: Try, reason: Reason, detail: string, status: number): void;
}

export interface TriesDeps {
	readonly clock: Clock;
	readonly wheel: DeadlineWheel;
	readonly rng: Rng;
	readonly hedges: DueQueue<Tries>;
}

/** Reused from one request to the next of the same exchange. */
export class Tries implements TryObserver {
	readonly #observer: TriesObserver;
	readonly #request: TriedRequest;
	readonly #deps: TriesDeps;
	/** The one that counts at the moment. */
	#main: Try;
	/** Made when the first request is hedged. */
	#other: Try | undefined;
	#upstream: Upstream | undefined;
	#policy: RetryPolicy | undefined;
	#failed: Endpoint[] = [];
	#raced = false;
	#answered = false;
	#calleeRetried = false;
	/** Until the next try, as decided. */
	#delayMs = 0;
	#backoff: Timer | undefined;
	/** Why the last failure was not tried again. */
	#refusal: RetryRefusal | undefined;
	/** Number of the try whose end was told last. */
	#toldOf = 0;
	/** Counts requests, so that a hedge that becomes due too late is known. */
	#generation = 0;
	/** How often the request was sent, hedges included. */
	count = 0;

	constructor(observer: TriesObserver, request: TriedRequest, deps: TriesDeps) {
		this.#observer = observer;
		this.#request = request;
		this.#deps = deps;
		this.#main = new Try(this, deps.clock, deps.wheel);
	}

	/** What the request runs on, while it does. */
	get connection(): Http1Connection | undefined {
		return this.#main.connection;
	}

	/** Monotonic; when the try that counts went onto a connection; 0 before. */
	get sentMs(): number {
		return this.#main.sentMs;
	}

	/** Whether our own tries were for nothing, so that a hop before us should not add its own. `status`: of the answer; 0: there is none. */
	inVain(status: number): boolean {
		// A budget that is used up is told as well: the hops before us would go on with theirs, and together ask for many times ours.
		const tried = this.count > 1 || this.#refusal === "budget";
		if (status === 0) return tried || this.#calleeRetried;
		// The mark of a sidecar behind this one is on its answer already.
		return tried && !this.#calleeRetried && retryable(this.#policy as RetryPolicy, status);
	}

	/** `nowMs`: monotonic. */
	start(upstream: Upstream, policy: RetryPolicy, nowMs: number): void {
		this.#generation++;
		this.#upstream = upstream;
		this.#policy = policy;
		if (this.#failed.length > 0) this.#failed = [];
		this.#raced = this.#answered = this.#calleeRetried = false;
		this.#refusal = undefined;
		this.count = this.#toldOf = 0;
		upstream.guards.budget.deposit(nowMs);
		if (policy.hedge !== undefined) this.#planHedge(upstream, policy);
		this.#try(this.#main, false);
	}

	/** The same request at another upstream, as its own is broken: what failed before is no concern there. */
	goOnAt(upstream: Upstream): void {
		this.#upstream = upstream;
		this.#failed = [];
		upstream.guards.budget.deposit(this.#deps.clock.monotonicMs());
		// The try that its breaker refused was none, and its number goes to the next one.
		this.count--;
		this.#toldOf = 0;
		this.#try(this.#main, false);
	}

	/** A complete answer has been handed on. */
	finish(): void {
		this.#main.finish();
	}

	/** Gives up; nothing is called back. Idempotent. */
	cancel(cause: "timeout" | "not-its-fault"): void {
		this.#generation++;
		this.#backoff?.cancel();
		this.#backoff = undefined;
		this.#drop(this.#main, cause);
		if (this.#other !== undefined) this.#drop(this.#other, "not-its-fault");
	}

	pauseReading(): void {
		this.#main.pauseReading();
	}

	resumeReading(): void {
		this.#main.resumeReading();
	}

	// --- a try's side

	onSent(tried: Try): void {
		if (tried === this.#main) this.#observer.onSent(tried.connection as Http1Connection);
	}

	onWritable(tried: Try): void {
		if (tried === this.#main) this.#observer.onUpstreamWritable();
	}

	onInterim(tried: Try, parser: ResponseParser): void {
		if (tried === this.#main) this.#observer.onInterim(parser);
	}

	onResponse(tried: Try, parser: ResponseParser, body: BodyDecoder, buffer: Buffer): void {
		const { status } = parser;
		if (status >= 400 && (status >= 500 || retryable(this.#policy as RetryPolicy, status))) {
			if (parser.meaning.has(X_NEXUS_RETRIED)) this.#calleeRetried = true;
			if (this.#passesOver(tried, status)) {
				// What has come whole leaves a connection that can be used again.
				if (body.done) tried.finish();
				else tried.cancel("not-its-fault");
				if (!this.#adopt(tried, undefined, status)) this.#again();
				return;
			}
		}
		this.#wins(tried, status);
		this.#observer.onAnswer(tried, parser, body, buffer);
	}

	onBody(_tried: Try, body: BodyDecoder, buffer: Buffer): void {
		this.#observer.onBody(body, buffer);
	}

	onUpgraded(tried: Try, parser: ResponseParser, buffer: Buffer, from: number, to: number): void {
		this.#wins(tried, parser.status);
		this.#observer.onUpgraded(tried, parser, buffer, from, to);
	}

	onFailed(tried: Try): void {
		this.#ended(tried, tried.reason, 0);
	}

	onInjectedAnswer(tried: Try): void {
		this.#ended(tried, undefined, tried.injectedStatus);
	}

	// --- one after the other

	#try(tried: Try, fresh: boolean): void {
		const upstream = this.#upstream as Upstream;
		this.count++;
		this.#observer.onTry();
		tried.start(upstream, this.#request, this.count, fresh, this.#failed);
	}

	#wins(tried: Try, status: number): void {
		this.#answered = true;
		// Of an answer that could have been better, the decision to try no further has told already.
		if (this.#toldOf !== tried.number) {
			this.#observer.onTryOver(tried, status, undefined);
			const trace = this.#request.trace;
			if (trace !== undefined) told.answered(trace, tried, status);
		}
		if (this.#other === undefined) return;
		const overtook = tried === this.#other;
		if (overtook) {
			this.#other = this.#main;
			this.#main = tried;
			const { guards } = this.#upstream as Upstream;
			guards.counts.hedgesWon++;
			// What the slow one has taken so far must not vanish from the quantile, which would creep down with each hedge.
			const nowMs = this.#deps.clock.monotonicMs();
			if (this.#other.sentMs > 0) guards.latency?.observe(nowMs - this.#other.sentMs, nowMs);
		}
		this.#drop(this.#other, overtook ? "overtaken" : "not-its-fault");
	}

	/** Whatever it was doing, nobody waits for it any more. */
	#drop(tried: Try, cause: "timeout" | "overtaken" | "not-its-fault"): void {
		const trace = this.#request.trace;
		if (trace !== undefined && tried.active && !tried.answered) told.givenUp(trace, tried);
		tried.cancel(cause);
	}

	/** Whether this answer is not to be handed on, as another try is under way or may be made. */
	#passesOver(tried: Try, status: number): boolean {
		if (this.#sibling(tried) !== undefined) return retryable(this.#policy as RetryPolicy, status);
		return this.#mayGoOn(tried, undefined, status);
	}

	/** A try that is over without an answer that could be handed on. */
	#ended(tried: Try, reason: Reason | undefined, status: number): void {
		if (this.#answered) {
			// The answer broke off in the middle.
			if (tried === this.#main) this.#observer.onFailed(tried, tried.injectedBy === "" ? tried.reason : "fault_injected", tried.detail, 0);
			return;
		}
		if (this.#adopt(tried, reason, status)) return;
		if (this.#mayGoOn(tried, reason, status)) this.#again();
		else this.#giveUp(tried, status);
	}

	/** The other try goes on alone, where there is one. */
	#adopt(tried: Try, reason: Reason | undefined, status: number): boolean {
		const sibling = this.#sibling(tried);
		if (sibling === undefined) return false;
		this.#over(tried, reason, status);
		if (tried.endpoint !== undefined) this.#failed.push(tried.endpoint);
		if (tried === this.#main) {
			this.#other = tried;
			this.#main = sibling;
		}
		return true;
	}

	/** A try has come to nothing. */
	#over(tried: Try, reason: Reason | undefined, status: number): void {
		this.#toldOf = tried.number;
		this.#observer.onTryOver(tried, status, reason);
		const trace = this.#request.traceOfFailure();
		if (trace === undefined) return;
		// Where no endpoint was chosen, a guard of the upstream has spoken.
		const place = tried.endpoint === undefined ? this.#upstream?.guards.placeOf(reason) : undefined;
		told.failed(trace, tried, reason, status, place);
	}

	#sibling(tried: Try): Try | undefined {
		const sibling = tried === this.#main ? this.#other : this.#main;
		return sibling?.active === true ? sibling : undefined;
	}

	/** Decides, counts, and takes from the budget; `#again` does it. */
	#mayGoOn(tried: Try, reason: Reason | undefined, status: number): boolean {
		const request = this.#request;
		const upstream = this.#upstream as Upstream;
		const { guards } = upstream;
		const { counts } = guards;
		const policy = this.#policy as RetryPolicy;
		const { endpoint } = tried;
		if (endpoint !== undefined && !this.#failed.includes(endpoint)) this.#failed.push(endpoint);
		const failed: FailedTry = {
			reason,
			status,
			method: request.method,
			idempotencyKey: request.idempotencyKey,
			attempts: this.count,
			policy,
			unsent: tried.unsent,
			replayable: request.replayable,
			resetUnanswered: tried.resetUnanswered,
			raced: this.#raced,
			retryAfterMs: tried.retryAfterMs,
			calleeRetried: this.#calleeRetried,
			callerAttempt: request.callerAttempt,
			remainingMs: request.remainingMs(),
			allTried: upstream.other(this.#failed) === undefined,
			rng: this.#deps.rng,
		};
		const decision = retryDecision(failed);
		let why: RetryRefusal | undefined = decision.again ? undefined : decision.why;
		// What reached nobody is no load: moving it elsewhere, or off a kept connection that was dead, costs the upstream nothing (decision
		// 0006). One that takes new connections and resets them does have work with each.
		const free = decision.again && (decision.kind === "elsewhere" || (decision.kind === "fresh" && reason !== "upstream_reset"));
		if (decision.again && !free && !guards.mayTryAgain(this.#deps.clock.monotonicMs(), policy.place)) why = "budget";
		this.#refusal = why;
		this.#over(tried, reason, status);
		if (request.trace !== undefined) told.decision(request.trace, why, decision.again ? decision.delayMs : 0, policy);
		if (why !== undefined || !decision.again) {
			if (why === "not_replayable") counts.notReplayable++;
			else if (why === "callee_retried" || why === "caller_retries") counts.suppressed++;
			else if (why === "no_time_left") counts.late++;
			return false;
		}
		if (decision.kind === "fresh") this.#raced = true;
		this.#delayMs = decision.delayMs;
		counts.sent++;
		return true;
	}

	#again(): void {
		if (this.#delayMs === 0) {
			this.#try(this.#main, this.#raced);
			return;
		}
		this.#backoff = this.#deps.clock.setTimer(this.#delayMs, () => {
			this.#backoff = undefined;
			this.#try(this.#main, this.#raced);
		});
	}

	#giveUp(tried: Try, status: number): void {
		const { reason, detail, injectedBy } = tried;
		if (injectedBy !== "") {
			this.#observer.onFailed(tried, "fault_injected", detail === "" ? `fault ${injectedBy}: answer ${status}` : detail, status);
			return;
		}
		if (this.#refusal === "budget") {
			this.#observer.onFailed(tried, "retry_budget_exhausted", detail === "" ? reason : `${reason}: ${detail}`, 0);
			return;
		}
		this.#observer.onFailed(tried, reason, detail, 0);
	}

	// --- hedges

	#planHedge(upstream: Upstream, policy: RetryPolicy): void {
		const { hedge } = policy;
		const request = this.#request;
		if (hedge === undefined) return;
		const { latency, hedges } = upstream.guards.hedging(hedge);
		if (!request.complete || request.upgrade || request.callerAttempt > 1 || !(isIdempotent(request.method) || request.idempotencyKey)) return;
		hedges.deposit();
		const delayMs = hedgeDelayMs(hedge, latency);
		if (delayMs !== undefined) this.#deps.hedges.push(this, this.#generation, delayMs);
	}

	/** The first try has been silent for so long. `token`: which request it was about. */
	hedge(token: number): void {
		if (token !== this.#generation || this.#answered || !this.#main.active || this.#main.answered || this.#other?.active === true) return;
		const upstream = this.#upstream as Upstream;
		const { guards } = upstream;
		const { hedges, counts } = guards;
		const first = this.#main.endpoint;
		// Where the first one waits for a slot or a connection, a second one would only wait behind it.
		if (first === undefined || this.#main.sentMs === 0 || upstream.other([...this.#failed, first]) === undefined) return;
		const trace = this.#request.trace;
		const granted = hedges?.tryWithdraw() === true && guards.mayTryAgain(this.#deps.clock.monotonicMs(), (this.#policy as RetryPolicy).place);
		if (trace !== undefined) told.hedge(trace, granted, this.#policy as RetryPolicy);
		if (!granted) {
			counts.hedgesRefused++;
			return;
		}
		counts.hedgesSent++;
		this.#other ??= new Try(this, this.#deps.clock, this.#deps.wheel);
		this.count++;
		this.#observer.onTry();
		this.#other.start(upstream, this.#request, this.count, false, [...this.#failed, first]);
	}
}

function retryable({ on }: RetryPolicy, status: number): boolean {
	return on.statuses.some(({ from, to }) => status >= from && status <= to);
}
