/**
 * One try of a request at an upstream, with all that guards it, in the order of DESIGN 3: slot -> breaker -> pick -> fault -> attempt.
 * Whatever it has taken (slot, permit, connection) it gives back exactly once, however it ends.
 */
import type { Clock, Timer } from "../core/clock.ts";
import type { Deadline, DeadlineWheel } from "../core/deadline-wheel.ts";
import type { Reason } from "../core/reasons.ts";
import type { Hash64 } from "../core/xxh64.ts";
import type { BodyDecoder } from "../http1/body-decoder.ts";
import { RETRY_AFTER } from "../http1/fields.ts";
import type { ResponseParser } from "../http1/response-parser.ts";
import type { DecisionLog } from "../policy/decision-trace.ts";
import { Breaker } from "../resilience/breaker/breaker.ts";
import type { Bulkhead, SlotWaiter } from "../resilience/concurrency/bulkhead.ts";
import type { FaultRequest, Injection } from "../resilience/fault/fault-injector.ts";
import { parseRetryAfter } from "../resilience/retry/retry-after.ts";
import { admit } from "./admission.ts";
import { Attempt, type AttemptObserver, type AttemptRequest } from "./attempt.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Http1Connection } from "./http1-connection.ts";
import { InjectedBody, type InjectedBodyObserver } from "./injected-body.ts";
import { Judgement } from "./judgement.ts";
import * as told from "./try-trace.ts";
import type { Upstream } from "./upstream.ts";

/** What is tried, as its owner has it. */
export interface TryRequest extends FaultRequest {
	/** Name of the route: the key of breakers that are kept by route. */
	readonly route: string;
	readonly complete: boolean;
	readonly headRequest: boolean;
	readonly upgrade: boolean;
	readonly hash: Hash64 | undefined;
	/** Undefined: one try may take all the time that is left. */
	readonly perTryTimeoutMs: number | undefined;
	/** Undefined unless somebody asked why. */
	readonly trace: DecisionLog | undefined;
	/** Latin1 text of what is sent, asked for when it leaves; undefined: too late, and its owner is about to cancel. */
	textOf(tried: Try): string | undefined;
}

/** Exactly one of `onFailed`, `onInjectedAnswer` and the end of a body closes a try. */
export interface TryObserver {
	onSent(tried: Try): void;
	onResponse(tried: Try, parser: ResponseParser, body: BodyDecoder, buffer: Buffer): void;
	onBody(tried: Try, body: BodyDecoder, buffer: Buffer): void;
	onInterim(tried: Try, parser: ResponseParser): void;
	onUpgraded(tried: Try, parser: ResponseParser, buffer: Buffer, from: number, to: number): void;
	onWritable(tried: Try): void;
	/** `reason`, `detail`, `unsent` and the rest say how. */
	onFailed(tried: Try): void;
	/** A fault stands for an answer with `injectedStatus`. */
	onInjectedAnswer(tried: Try): void;
}

/** Reused from one request to the next of the same exchange. */
export class Try implements AttemptObserver, AttemptRequest, SlotWaiter, InjectedBodyObserver {
	readonly #observer: TryObserver;
	readonly #clock: Clock;
	readonly #attempt: Attempt;
	readonly #deadline: Deadline;
	readonly slotDeadline: Deadline;
	#upstream: Upstream | undefined;
	#request: TryRequest | undefined;
	#bulkhead: Bulkhead | undefined;
	#waiting = false;
	readonly #judgement: Judgement;
	#injectedBody: InjectedBody | undefined;
	#timer: Timer | undefined;
	#avoid: readonly Endpoint[] = NONE;
	#fresh = false;
	#headMs = Number.NaN;
	#pausedBy = 0;
	/** 1 for the first one of a request; hedges count as well. */
	number = 0;
	endpoint: Endpoint | undefined;
	active = false;
	/** Its owner's: what tells of it elsewhere. */
	span: { readonly traceparent: string; end(status: number, reason: Reason | undefined, detail: string): void } | undefined;
	// How it failed; valid from `onFailed` until the next start.
	reason: Reason = "internal";
	detail = "";
	/** Not a byte of the request has left. */
	unsent = true;
	resetUnanswered = false;
	/** What the upstream (or an open breaker) asked us to wait. */
	retryAfterMs: number | undefined;
	/** Name of the fault that ended it; "" where none did. */
	injectedBy = "";
	injectedStatus = 0;

	constructor(observer: TryObserver, clock: Clock, wheel: DeadlineWheel) {
		this.#observer = observer;
		this.#clock = clock;
		this.#attempt = new Attempt(this, clock, wheel);
		this.#judgement = new Judgement(clock);
		this.#deadline = wheel.deadline(() => this.#fail("per_try_timeout", `no answer within ${this.#request?.perTryTimeoutMs} ms`));
		this.slotDeadline = wheel.deadline(() => this.#bulkhead?.expire(this));
	}

	// --- what the attempt sends

	get text(): string | undefined {
		return (this.#request as TryRequest).textOf(this);
	}

	get complete(): boolean {
		return (this.#request as TryRequest).complete;
	}

	get headRequest(): boolean {
		return (this.#request as TryRequest).headRequest;
	}

	get upgrade(): boolean {
		return (this.#request as TryRequest).upgrade;
	}

	/** The connection that it runs on, while it does. */
	get connection(): Http1Connection | undefined {
		return this.#attempt.connection;
	}

	/** Monotonic; when the request went onto a connection, 0 before. */
	get sentMs(): number {
		return this.#attempt.sentMs;
	}

	/** From sending until the head of the answer; NaN before. */
	get headMs(): number {
		return this.#headMs;
	}

	/** Whether the head of an answer has come. */
	get answered(): boolean {
		return !Number.isNaN(this.#headMs);
	}

	/** `avoid`: endpoints that failed this request already. `fresh`: not on a connection that lies idle. */
	start(upstream: Upstream, request: TryRequest, number: number, fresh: boolean, avoid: readonly Endpoint[]): void {
		this.#upstream = upstream;
		this.#request = request;
		this.#fresh = fresh;
		this.#avoid = avoid;
		this.number = number;
		this.endpoint = undefined;
		this.active = true;
		this.detail = this.injectedBy = "";
		this.unsent = true;
		this.resetUnanswered = false;
		this.retryAfterMs = undefined;
		this.injectedStatus = 0;
		this.#headMs = Number.NaN;
		this.#pausedBy = 0;
		this.#attempt.sentMs = 0;
		if (request.perTryTimeoutMs !== undefined) this.#deadline.arm(request.perTryTimeoutMs);
		const { bulkhead } = upstream.guards;
		this.#bulkhead = bulkhead;
		if (bulkhead === undefined) {
			this.#admit();
			return;
		}
		const entered = bulkhead.enter(this);
		if (request.trace !== undefined) told.concurrency(request.trace, upstream, bulkhead, entered);
		if (entered === "entered") this.#admit();
		else if (entered === "waiting") this.#waiting = true;
		else {
			this.#bulkhead = undefined;
			this.#fail("endpoint_overflow", "as many requests are under way to the upstream as circuitBreaker.maxConcurrent allows, and its queue is full");
		}
	}

	onSlot(): void {
		this.#waiting = false;
		this.#admit();
	}

	onNoSlot(): void {
		this.#waiting = false;
		this.#bulkhead = undefined;
		this.#fail("queue_timeout", "no request to the upstream ended in time to make room for this one");
	}

	/** A complete answer has been handed on: the connection goes back to the pool. */
	finish(): void {
		if (!this.active) return;
		// Whoever gets it next expects to be told what comes.
		if (this.#pausedBy !== 0) this.connection?.resumeReading();
		this.#attempt.finish();
		this.#leave(false);
	}

	/**
	 * Gives up whatever it was doing; nothing is called back. Idempotent. `timeout`: the upstream took too long, which counts
	 * against it. `overtaken`: a later try was answered first. Otherwise nobody is to blame: the client has gone, say.
	 */
	cancel(cause: "timeout" | "overtaken" | "not-its-fault"): void {
		if (!this.active) return;
		if (cause === "overtaken" && !this.answered && this.sentMs !== 0) this.#judgement.overtaken(this.endpoint as Endpoint, this.sentMs);
		if (cause === "timeout" && !this.answered) this.#judgement.failed(this.#upstream as Upstream, this.endpoint, "upstream_timeout", this.sentMs);
		this.#attempt.cancel();
		this.#leave(cause === "timeout");
	}

	/** Stops and goes on reading the answer: backpressure of the client. */
	pauseReading(): void {
		this.#pausedBy |= PAUSED_BY_CLIENT;
		this.connection?.pauseReading();
	}

	resumeReading(): void {
		this.#resume(PAUSED_BY_CLIENT);
	}

	// --- breaker -> pick -> fault -> attempt

	#admit(): void {
		const upstream = this.#upstream as Upstream;
		const request = this.#request as TryRequest;
		const admission = admit(upstream, request, this.#avoid, this.#judgement, this.#clock);
		if (admission === undefined) this.#fail("no_healthy_endpoint", "");
		else if (admission instanceof Breaker) this.#failOpen(admission);
		else this.#goTo(admission, upstream, request);
	}

	#goTo(endpoint: Endpoint, { faults }: Upstream, request: TryRequest): void {
		this.endpoint = endpoint;
		const injection = faults?.active === true ? faults.decide(request, endpoint.key) : undefined;
		if (injection === undefined) this.#connect(endpoint);
		else this.#inject(injection, endpoint);
	}

	#failOpen(breaker: Breaker): void {
		this.retryAfterMs = breaker.retryAfterMs();
		this.#fail("breaker_open", `the circuit breaker of ${this.#upstream?.name} is ${breaker.state}`);
	}

	#connect(endpoint: Endpoint): void {
		this.#attempt.start(endpoint, this, this.#fresh);
	}

	#inject(injection: Injection, endpoint: Endpoint): void {
		this.#judgement.exempt = injection.exempt;
		if (injection.bytesPerSecond !== undefined || injection.truncateAfterBytes !== undefined) {
			this.#injectedBody = new InjectedBody(injection, this.#clock, this);
		}
		const trace = this.#request?.trace;
		if (trace !== undefined) told.fault(trace, injection);
		if (injection.delayMs > 0) this.#timer = this.#clock.setTimer(injection.delayMs, () => this.#afterDelay(injection, endpoint));
		else this.#afterDelay(injection, endpoint);
	}

	#afterDelay(injection: Injection, endpoint: Endpoint): void {
		this.#timer = undefined;
		const { end, fault } = injection;
		if (end === undefined) {
			this.#connect(endpoint);
			return;
		}
		this.injectedBy = fault.name;
		if (end === "black-hole") return; // until a timeout
		if (end === "refuse") this.#fail("connect_refused", `fault ${fault.name}: refused`);
		else if (end === "reset") {
			this.unsent = false;
			this.#fail("upstream_reset", `fault ${fault.name}: reset`);
		} else {
			this.unsent = false;
			this.injectedStatus = end;
			this.#judgement.answered(this.#upstream as Upstream, endpoint, end, 0, this.#clock.monotonicMs(), undefined);
			this.#leave(false);
			this.#observer.onInjectedAnswer(this);
		}
	}

	// --- the attempt's side

	onAttemptSent(): void {
		this.unsent = false;
		this.#observer.onSent(this);
	}

	onResponse(parser: ResponseParser, body: BodyDecoder, buffer: Buffer): void {
		if (parser.meaning.has(RETRY_AFTER)) this.retryAfterMs = parseRetryAfter(parser.fields.first(RETRY_AFTER) ?? "", this.#clock.wallMs());
		this.#judgeAnswer(parser.status);
		const slow = this.#injectedBody;
		slow?.take(body, buffer);
		this.#observer.onResponse(this, parser, body, buffer);
		// It may have been given up in favour of another try, which has begun already.
		if (slow !== undefined && slow === this.#injectedBody) this.#passSlowly(slow);
	}

	onBody(body: BodyDecoder, buffer: Buffer): void {
		const slow = this.#injectedBody;
		if (slow === undefined) {
			this.#observer.onBody(this, body, buffer);
			return;
		}
		slow.take(body, buffer);
		this.#passSlowly(slow);
	}

	onInterim(parser: ResponseParser): void {
		this.#observer.onInterim(this, parser);
	}

	onUpgraded(parser: ResponseParser, buffer: Buffer, from: number, to: number): void {
		this.#judgeAnswer(101);
		this.#observer.onUpgraded(this, parser, buffer, from, to);
	}

	onAttemptFailed(reason: Reason, detail: string): void {
		this.resetUnanswered = this.#attempt.resetUnanswered;
		this.#fail(reason, detail);
	}

	onWritable(): void {
		this.#observer.onWritable(this);
	}

	// --- an injected fault acts on the body

	onPiece(body: BodyDecoder, buffer: Buffer): void {
		this.#observer.onBody(this, body, buffer);
	}

	onDrained(): void {
		this.#resume(PAUSED_BY_FAULT);
	}

	onCut(fault: string, bytes: number): void {
		this.injectedBy = fault;
		this.#fail("upstream_reset", `fault ${fault}: cut after ${bytes} bytes of the body`);
	}

	#passSlowly(slow: InjectedBody): void {
		this.#pausedBy |= PAUSED_BY_FAULT;
		this.connection?.pauseReading();
		slow.pass();
	}

	#resume(by: number): void {
		this.#pausedBy &= ~by;
		if (this.#pausedBy === 0) this.connection?.resumeReading();
	}

	#fail(reason: Reason, detail: string): void {
		if (!this.active) return;
		this.reason = reason;
		this.detail = detail;
		if (!this.answered) this.#judgement.failed(this.#upstream as Upstream, this.endpoint, reason, this.sentMs);
		this.#attempt.cancel();
		this.#leave(true);
		this.#observer.onFailed(this);
	}

	#judgeAnswer(status: number): void {
		this.#deadline.disarm();
		const nowMs = this.#clock.monotonicMs();
		this.#headMs = nowMs - this.sentMs;
		this.#judgement.answered(this.#upstream as Upstream, this.endpoint as Endpoint, status, this.#headMs, nowMs, this.retryAfterMs);
	}

	#leave(dropped: boolean): void {
		if (!this.active) return;
		this.active = false;
		this.#deadline.disarm();
		this.#timer?.cancel();
		this.#timer = undefined;
		this.#injectedBody?.stop();
		this.#injectedBody = undefined;
		this.#avoid = NONE;
		this.#judgement.release();
		const bulkhead = this.#bulkhead;
		this.#bulkhead = undefined;
		this.#request = undefined;
		if (bulkhead === undefined) return;
		if (this.#waiting) {
			this.#waiting = false;
			bulkhead.cancel(this);
		} else bulkhead.leave(this.#headMs, dropped);
	}
}

const NONE: readonly Endpoint[] = Object.freeze([]);

const PAUSED_BY_CLIENT = 1;
const PAUSED_BY_FAULT = 2;
