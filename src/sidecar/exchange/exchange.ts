/**
 * One request and its response: asks the stack where it goes, has it tried there, relays the answer, and tells how it ended.
 * Pooled: a client connection holds one while a request of its is on the way, so that an idle connection costs none.
 */

import type { Deadline } from "../../core/deadline-wheel.ts";
import { REASONS, type Reason } from "../../core/reasons.ts";
import { BodyDecoder } from "../../http1/body-decoder.ts";
import { TRACEPARENT, X_REQUEST_ID } from "../../http1/fields.ts";
import type { RequestParser } from "../../http1/request-parser.ts";
import type { ResponseParser } from "../../http1/response-parser.ts";
import { fieldLine } from "../../http1/serializer.ts";
import { type LimitWaiter, WAITING } from "../../limits/limit-set.ts";
import type { Limited } from "../../limits/limiter.ts";
import type { TrafficCounters } from "../../metrics/traffic.ts";
import type { StaticResponse } from "../../policy/resilience-policy.ts";
import type { Http1Connection } from "../../upstream/http1-connection.ts";
import type { Try } from "../../upstream/try.ts";
import { ClientAnswer } from "./client-answer.ts";
import { type Downstream, type ExchangeDeps, NOBODY } from "./downstream.ts";
import { ExchangeFacts } from "./exchange-facts.ts";
import { RETRIED_LINE } from "./mesh-fields.ts";
import { OutgoingRequest } from "./outgoing-request.ts";
import { normaliseTarget } from "./request-target.ts";
import { switchingHead } from "./response-head.ts";
import type { Client, Refusal, Stack, Target } from "./stack.ts";
import { Tries, type TriesObserver } from "./tries.ts";

export class Exchange extends ExchangeFacts implements TriesObserver, LimitWaiter {
	/** The request body as it is read. */
	readonly body = new BodyDecoder();
	#downstream: Downstream = NOBODY;
	readonly #deps: ExchangeDeps;
	readonly #out: OutgoingRequest;
	readonly #answer = new ClientAnswer();
	readonly #tries: Tries;
	readonly #deadline: Deadline;
	#counters: TrafficCounters | undefined;
	#stack: Stack | undefined;
	#target: Target | undefined;
	/** What a trace is for: the answer's header, the taps. */
	#traceWanted = 0;
	#traceToken: string | undefined;
	#startedMs = 0;
	#active = false;
	#limited = false;
	#requestComplete = true;

	constructor(deps: ExchangeDeps) {
		super();
		this.#deps = deps;
		this.#out = new OutgoingRequest(deps);
		this.#tries = new Tries(this, this.#out, deps);
		this.#deadline = deps.wheel.deadline(() => this.#onDeadline());
	}

	/** Gives it to a connection; `NOBODY` takes it back. */
	attach(downstream: Downstream): void {
		this.#downstream = downstream;
		this.#answer.attach(downstream);
	}

	/** Whether a request is on its way. */
	get active(): boolean {
		return this.#active;
	}

	/** A complete request head, with the part of the body that came in the same read. */
	start(stack: Stack, client: Client, request: RequestParser, buffer: Buffer): void {
		const { body } = this;
		this.#reset(stack, client, request);
		// Before anybody looks at it: what is matched, traced and sent on is one and the same string.
		const misread = normaliseTarget(request);
		this.method = request.method;
		this.target = request.target;
		this.host = request.authority;
		this.bytesIn = body.received;
		this.#requestComplete = body.done;
		this.#out.begin(request, client, this.#startedMs);
		if (this.#deps.tracing.mayBeWanted(request)) this.#beginTrace(stack, client, request);
		const verdict = misread ?? stack.decide(request, this.#out.view, client, this.#out.trace);
		if (verdict.kind === "target") this.#startTarget(verdict, client, request, buffer);
		else if (verdict.kind === "answer") {
			this.route = verdict.route;
			this.#enter(verdict.counters);
			this.#answerByPolicy(verdict.response, verdict.lines, undefined);
		} else this.#refuse(verdict, stack, request);
		this.#out.view.close(this.#active && this.#fieldsAreAskedLater(stack));
	}

	/** The bytes of the client were not a request: counted, answered, closed. */
	refuse(stack: Stack, client: Client, reason: Reason, detail: string): void {
		this.#reset(stack, client, undefined);
		this.#out.startedMs = this.#startedMs;
		this.#enter(stack.refused);
		this.#requestComplete = false;
		this.#answerLocally(reason, detail, 0, "");
	}

	/** More of the request body. */
	onRequestBody(buffer: Buffer): void {
		const { body } = this;
		this.bytesIn = body.received;
		this.#requestComplete = body.done;
		if (!this.#out.addBody(body, buffer, this.#tries.connection)) this.#downstream.pauseReading();
		this.#out.copyToMirror(this.requestId);
	}

	/** The request cannot be completed: broken framing, too slow, or the client closed in the middle of it. */
	requestBroken(reason: Reason, detail: string): void {
		this.#answer.endConnection();
		this.#fail(reason, detail, 0, "");
	}

	/** The client is gone; whatever was under way is given up. */
	downstreamClosed(): void {
		if (!this.#active) return;
		this.reason ??= "client_closed";
		this.#end();
	}

	onDownstreamWritable(): void {
		this.#answer.clientLags = false;
		this.#tries.resumeReading();
	}

	// --- the tries' side

	onTry(): void {
		this.attempts = this.#tries.count;
		if (!this.#requestComplete) this.#downstream.pauseReading();
	}

	onTryOver(tried: Try, status: number, reason: Reason | undefined): void {
		tried.span?.end(status, reason, tried.detail);
		tried.span = undefined;
	}

	onSent(connection: Http1Connection): void {
		this.#out.sendBody(connection);
		if (!this.#requestComplete && connection.writable) this.#downstream.resumeReading();
	}

	onUpstreamWritable(): void {
		if (!this.#requestComplete) this.#downstream.resumeReading();
	}

	onInterim(parser: ResponseParser): void {
		this.#answer.interim(parser);
	}

	onAnswer(tried: Try, parser: ResponseParser, body: BodyDecoder, buffer: Buffer): void {
		this.#answered(tried, parser.status);
		const lines = this.#answerLines(parser.status, this.#tries.inVain(parser.status));
		this.#relay(this.#answer.headOf(parser, this.#requestComplete, (this.#target as Target).responseChanges, lines), body, buffer);
	}

	onBody(body: BodyDecoder, buffer: Buffer): void {
		this.#relay("", body, buffer);
	}

	onUpgraded(tried: Try, parser: ResponseParser, buffer: Buffer, from: number, to: number): void {
		this.#answered(tried, 101);
		this.#deadline.disarm();
		this.#downstream.becomeTunnel(tried.connection as Http1Connection, switchingHead(parser), Buffer.from(buffer.subarray(from, to)));
	}

	/** Another policy has begun to act. False: what has become a tunnel has lost its right, and must be cut. */
	mayGoOn(stack: Stack, client: Client): boolean {
		const refused = stack.decideAgain(this.#out.view, client);
		if (refused === undefined) return true;
		this.reason = refused.reason;
		this.detail = refused.detail;
		this.#tellCause(refused);
		return false;
	}

	/** The tunnel has ended; bytes as it counted them. */
	tunnelEnded(bytesIn: number, bytesOut: number): void {
		this.bytesIn = bytesIn;
		this.bytesOut = bytesOut;
		this.#end();
	}

	onFailed(tried: Try, reason: Reason, detail: string, status: number): void {
		if (tried.endpoint !== undefined) this.endpoint = tried.endpoint.key;
		if (reason === "breaker_open" && !this.#answer.begun && this.#fallBack(detail)) return;
		this.#fail(reason, detail, status, tried.retryAfterMs === undefined ? "" : retryAfterLine(tried.retryAfterMs));
	}

	// --- the limits' side

	onAdmitted(): void {
		this.#limited = false;
		this.#goOn();
	}

	onLimited(limited: Limited): void {
		this.#limited = false;
		this.#refuseLimited(limited);
	}

	// --- in the order of a request's life

	#reset(stack: Stack, client: Client, request: RequestParser | undefined): void {
		this.forget(stack, client);
		this.#answer.begin(request);
		this.#stack = stack;
		this.#startedMs = this.#deps.clock.monotonicMs();
		this.#limited = false;
		this.#target = undefined;
	}

	#enter(counters: TrafficCounters): void {
		this.#counters = counters;
		this.#active = true;
		counters.active++;
	}

	/** By the policy, before a target is known. */
	#refuse(refused: Refusal, stack: Stack, { fields, meaning }: RequestParser): void {
		this.#enter(stack.refused);
		// Made for what goes on; what stops here has those that it brings.
		if (meaning.has(X_REQUEST_ID)) this.requestId = fields.first(X_REQUEST_ID) ?? "";
		if (meaning.has(TRACEPARENT) && !this.spanned) this.traceparent = fields.first(TRACEPARENT) ?? "";
		this.#tellCause(refused);
		this.#answerLocally(refused.reason, refused.detail, 0, "", refused.told);
	}

	#tellCause({ because }: Refusal): void {
		if (because !== undefined) this.#out.traceOfFailure()?.add(because.stage, "no", because.text, because.place, because.data);
	}

	/** By faults for each try, and by rules when a policy changes while it is a tunnel. */
	#fieldsAreAskedLater(stack: Stack): boolean {
		return (this.#out.upgrade && stack.direction === "inbound") || this.#target?.upstream.faults?.readsFields === true;
	}

	#startTarget(target: Target, client: Client, request: RequestParser, buffer: Buffer): void {
		const stack = this.#stack as Stack;
		this.route = target.route;
		this.upstream = target.upstream.name;
		this.#target = target;
		this.#enter(target.counters);
		const out = this.#out;
		out.prepare(target, stack, client, request, this);
		out.attachBody(this.body, buffer);
		if (out.timeoutMs <= 0) {
			this.#fail("deadline_exceeded", "the caller's time was over when the request arrived", 0, "");
			return;
		}
		this.#deadline.arm(out.timeoutMs);
		const { limits } = target;
		if (limits === undefined) {
			this.#goOn();
			return;
		}
		this.#limited = true;
		const subject = out.view.subject(target.route);
		if (out.trace !== undefined) this.#deps.tracing.tellLimits(out.trace, limits, subject);
		const verdict = limits.enter(subject, this, this.#startedMs);
		if (verdict === WAITING) return;
		this.#limited = false;
		if (verdict === undefined) this.#goOn();
		else this.#refuseLimited(verdict);
	}

	/** Past the limits: what is left is where it is tried. */
	#goOn(): void {
		const { upstream, retry } = this.#target as Target;
		this.#out.copyToMirror(this.requestId);
		this.#tries.start(upstream, retry, this.#startedMs);
	}

	/** While the breaker is open: at another upstream, or with a fixed answer. */
	#fallBack(detail: string): boolean {
		const { failover, respondWhenOpen, upstream, place } = this.#target as Target;
		const next = failover[failover.findIndex(({ name }) => name === this.upstream) + 1];
		if (next !== undefined) {
			this.#out.trace?.add("breaker", "yes", `goes to ${next.name} instead of ${upstream.name}`, place);
			this.upstream = next.name;
			this.#tries.goOnAt(next);
			return true;
		}
		if (respondWhenOpen === undefined) return false;
		this.reason = "breaker_open";
		this.detail = detail;
		this.#answerByPolicy(respondWhenOpen, "", "breaker_open");
		return true;
	}

	#refuseLimited({ reason, detail, retryAfterMs, fieldLines, limit, place }: Limited): void {
		this.#out.trace?.add("limit", "no", detail, place, { brief: limit });
		this.#answerLocally(reason, detail, 0, retryAfterLine(retryAfterMs) + fieldLines);
	}

	#answered(tried: Try, status: number): void {
		this.upstreamMs = tried.headMs;
		this.status = status;
		this.endpoint = tried.endpoint?.key ?? "";
		this.#answer.begun = true;
	}

	/** What we add to an answer: that we have tried in vain, and the trace where it was asked for. */
	#answerLines(status: number, inVain: boolean): string {
		let lines = "";
		const { vain } = this.#deps;
		if (inVain || (status >= 500 && this.direction === "inbound" && vain.has(this.requestId))) {
			lines = RETRIED_LINE;
			if (this.direction === "outbound") vain.add(this.requestId);
		}
		const { trace } = this.#out;
		if (this.#traceToken !== undefined && trace !== undefined) lines += this.#deps.tracing.compactLine(trace);
		return lines;
	}

	#relay(head: string, body: BodyDecoder, buffer: Buffer): void {
		const ended = body.done;
		const writable = this.#answer.relay(head, body, buffer);
		this.bytesOut = this.#answer.bytes;
		if (ended) {
			this.#tries.finish();
			this.#finish();
			return;
		}
		this.#deadline.arm((this.#target as Target).idleMs);
		if (writable) return;
		this.#answer.clientLags = true;
		this.#tries.pauseReading();
	}

	#fail(reason: Reason, detail: string, status: number, lines: string): void {
		if (this.#answer.begun) {
			this.reason = reason;
			this.detail = detail;
			this.#end();
			this.#answer.abort();
			return;
		}
		this.#answerLocally(reason, detail, status, lines);
	}

	/** `status` 0: that of the reason. `lines`: further fields. `told`: to the client, where that is not the whole detail. */
	#answerLocally(reason: Reason, detail: string, status: number, lines: string, told = detail): void {
		this.#giveUp("not-its-fault");
		this.reason = reason;
		this.detail = detail;
		this.status = status === 0 ? REASONS[reason].status : status;
		this.#out.trace?.add("answer", "no", `${this.status} ${reason}${detail === "" ? "" : `: ${detail}`}`);
		const all = lines + this.#answerLines(this.status, this.attempts > 0 && this.#tries.inVain(0));
		this.#answer.local(reason, told, this.status, this.requestId, this.#requestComplete, all);
		this.#finish();
	}

	#answerByPolicy(response: StaticResponse, lines: string, reason: Reason | undefined): void {
		this.#giveUp("not-its-fault");
		this.status = response.status;
		this.#out.trace?.add("answer", "yes", `${response.status} as the policy says`);
		this.#answer.fixed(response, reason, this.requestId, this.#requestComplete, lines + this.#answerLines(0, false));
		this.#finish();
	}

	/** The answer is complete. */
	#finish(): void {
		this.#end();
		this.#downstream.exchangeEnded(this.#answer.close);
	}

	/** Nobody works for this request any more. Idempotent. */
	#giveUp(cause: "timeout" | "not-its-fault"): void {
		if (this.#limited) {
			this.#limited = false;
			(this.#target as Target).limits?.leave(this);
		}
		this.#tries.cancel(cause);
	}

	/** Counts and tells, exactly once per exchange. */
	#end(): void {
		if (!this.#active) return;
		this.#giveUp("not-its-fault");
		this.#active = false;
		this.#deadline.disarm();
		const counters = this.#counters as TrafficCounters;
		const now = this.#deps.clock.monotonicMs();
		this.durationMs = now - this.#startedMs;
		counters.active--;
		counters.finish(this.status, this.reason, this.durationMs);
		if (this.attempts > 1) counters.retries += this.attempts - 1;
		if (this.upstreamMs > 0) {
			counters.upstreamTime.observe(this.upstreamMs);
			counters.overhead.observe(Math.max(0, this.#tries.sentMs - this.#startedMs));
		}
		this.#deps.observer.record(this);
		const { trace, span } = this.#out;
		if (trace !== undefined || span !== undefined || this.reason !== undefined || this.status >= 500) this.#tell();
		this.#out.clear();
	}

	#onDeadline(): void {
		if (!this.#active) return;
		if (this.#answer.clientLags) this.#fail("client_closed", "the client has stopped reading", 0, "");
		else if (this.#answer.begun) this.#fail("body_timeout", "", 0, "");
		else if (this.#limited) this.#fail("queue_timeout", "the request's time was over while it waited for its rate limit", 0, "");
		else {
			const { timeoutMs } = this.#out;
			this.#out.traceOfFailure();
			const byCaller = timeoutMs < (this.#target as Target).requestMs;
			// Whoever calls in may give a millisecond: that must not speak against the application, and open its breaker for all others.
			this.#giveUp(byCaller && this.direction === "inbound" ? "not-its-fault" : "timeout");
			this.#fail("upstream_timeout", byCaller ? `the caller gave ${timeoutMs} ms` : "", 0, "");
		}
	}

	// --- for whoever asks why

	#beginTrace(stack: Stack, client: Client, request: RequestParser): void {
		const begun = this.#deps.tracing.begin(request, client, stack, this.#startedMs);
		this.#out.trace = begun.trace;
		this.#out.span = begun.span;
		this.#traceWanted = begun.wanted;
		this.#traceToken = begun.token;
		this.spanned = begun.span !== undefined;
		if (begun.span !== undefined) this.traceparent = begun.span.traceparent;
	}

	#tell(): void {
		this.#deps.tracing.finish(this, this.#stack as Stack, this.#startedMs, {
			trace: this.#out.traceOfFailure(),
			wanted: this.#traceWanted,
			token: this.#traceToken,
			span: this.#out.span,
		});
		this.#traceWanted = 0;
		this.#traceToken = undefined;
	}
}

function retryAfterLine(ms: number): string {
	// RFC 9110 10.2.3: whole seconds; never 0, which would invite a loop.
	return fieldLine("retry-after", String(Math.max(1, Math.ceil(ms / 1000))));
}
