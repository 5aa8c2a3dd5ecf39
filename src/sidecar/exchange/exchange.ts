/**
 * One request and its response: asks the stack where it goes, runs an attempt, relays the answer, and tells how it ended.
 * Pooled: a client connection holds one while a request of its is on the way, so that an idle connection costs none.
 */

import type { Deadline } from "../../core/deadline-wheel.ts";
import { REASONS, type Reason } from "../../core/reasons.ts";
import { BodyDecoder } from "../../http1/body-decoder.ts";
import { type Framing, NO_BODY } from "../../http1/framing.ts";
import type { RequestParser } from "../../http1/request-parser.ts";
import type { ResponseParser } from "../../http1/response-parser.ts";
import type { TrafficCounters } from "../../metrics/traffic.ts";
import { OWN_ROOM } from "../../net/loop-memory.ts";
import { Attempt, type AttemptObserver, type AttemptRequest } from "../../upstream/attempt.ts";
import type { Endpoint } from "../../upstream/endpoint.ts";
import type { Http1Connection } from "../../upstream/http1-connection.ts";
import { anotherTry } from "./another-try.ts";
import { framedBytes, framedText, GLUED_BYTES_MAX } from "./body-framing.ts";
import { type Downstream, type ExchangeDeps, NOBODY } from "./downstream.ts";
import { ExchangeFacts } from "./exchange-facts.ts";
import { localAnswer } from "./local-answer.ts";
import { wantsUpgrade } from "./request-head.ts";
import { framingForClient, responseHead, switchingHead } from "./response-head.ts";
import type { Client, Stack, Target } from "./stack.ts";

export class Exchange extends ExchangeFacts implements AttemptObserver, AttemptRequest {
	// What the attempt sends.
	text = "";
	complete = true;
	headRequest = false;
	upgrade = false;

	/** The request body as it is read. */
	readonly body = new BodyDecoder();
	#downstream: Downstream = NOBODY;
	readonly #deps: ExchangeDeps;
	readonly #attempt: Attempt;
	readonly #deadline: Deadline;
	#counters: TrafficCounters | undefined;
	#target: Target | undefined;
	#startedMs = 0;
	#active = false;
	#keepAlive = true;
	#minorVersion = 1;
	#acceptsTrailers = false;
	#requestFraming: Framing = NO_BODY;
	#requestComplete = true;
	/** Body that came before there was a connection; one read at most, as reading pauses. */
	#early: Buffer | undefined;
	#replayable = true;
	#triedAt: Endpoint | undefined;
	#raced = false;
	#answerBegun = false;
	/** It has not read what was written, so the upstream is not read. */
	#clientLags = false;
	#answerFraming: Framing = NO_BODY;
	#close = false;

	constructor(deps: ExchangeDeps) {
		super();
		this.#deps = deps;
		this.#attempt = new Attempt(this, deps.clock, deps.wheel);
		this.#deadline = deps.wheel.deadline(() => this.#onDeadline());
	}

	/** Gives it to a connection; `NOBODY` takes it back. */
	attach(downstream: Downstream): void {
		this.#downstream = downstream;
	}

	/** Whether a request is on its way. */
	get active(): boolean {
		return this.#active;
	}

	/** A complete request head, with the part of the body that came in the same read. */
	start(stack: Stack, client: Client, request: RequestParser, buffer: Buffer): void {
		const { body } = this;
		this.#begin(stack, client, request);
		this.bytesIn = body.received;
		this.#requestComplete = body.done;
		const decision = stack.decide(request);
		if (decision.kind === "refusal") {
			this.#enter(stack.refused);
			this.#answerLocally(decision.reason, decision.detail);
			return;
		}
		this.route = decision.route;
		this.upstream = decision.upstream.name;
		this.#target = decision;
		this.#enter(decision.counters);
		this.text = stack.requestHead(request, decision, client, this);
		this.upgrade = wantsUpgrade(request);
		this.#attachBody(body, buffer);
		this.#tryFirst();
	}

	/** The bytes of the client were not a request: counted, answered, closed. */
	refuse(stack: Stack, client: Client, reason: Reason, detail: string): void {
		this.#reset(stack, client);
		this.#enter(stack.refused);
		this.#keepAlive = false;
		this.#requestComplete = false;
		this.#answerLocally(reason, detail);
	}

	/** More of the request body. */
	onRequestBody(buffer: Buffer): void {
		const { body } = this;
		this.bytesIn = body.received;
		this.#requestComplete = body.done;
		const connection = this.#attempt.connection;
		const part = framedBytes(body, buffer, this.#requestFraming, body.trailers, "", connection ?? OWN_ROOM);
		if (connection === undefined) {
			this.#early = this.#early === undefined ? part : Buffer.concat([this.#early, part]);
			if (!body.done) this.#downstream.pauseReading();
			return;
		}
		this.#replayable = false;
		if (!connection.write(part, body.done) && !body.done) this.#downstream.pauseReading();
	}

	/** The request cannot be completed: broken framing, too slow, or the client closed in the middle of it. */
	requestBroken(reason: Reason, detail: string): void {
		this.#keepAlive = false;
		this.#fail(reason, detail);
	}

	/** The client is gone; whatever was under way is given up. */
	downstreamClosed(): void {
		if (!this.#active) return;
		this.#attempt.cancel();
		this.reason ??= "client_closed";
		this.#end();
	}

	onDownstreamWritable(): void {
		this.#clientLags = false;
		this.#attempt.connection?.resumeReading();
	}

	// --- the attempt's side

	onAttemptSent(): void {
		const connection = this.#attempt.connection as Http1Connection;
		const early = this.#early;
		if (early !== undefined) {
			this.#early = undefined;
			this.#replayable = false;
			connection.write(early, this.#requestComplete);
		}
		if (!this.#requestComplete && connection.writable) this.#downstream.resumeReading();
	}

	onWritable(): void {
		if (!this.#requestComplete) this.#downstream.resumeReading();
	}

	onInterim(parser: ResponseParser): void {
		// RFC 9110 15.2: no 1xx to HTTP/1.0.
		if (this.#minorVersion === 1) this.#downstream.write(responseHead(parser, NO_BODY, 1, false, false));
	}

	onResponse(parser: ResponseParser, body: BodyDecoder, buffer: Buffer): void {
		this.upstreamMs = this.#deps.clock.monotonicMs() - this.#attempt.sentMs;
		this.status = parser.status;
		this.#answerBegun = true;
		const framing = framingForClient(parser, this.#minorVersion);
		this.#answerFraming = framing;
		// An answer before the end of the request: what is still to come of it must never be read as a request (RFC 9112 9.3).
		this.#close = !this.#keepAlive || !this.#requestComplete || framing.kind === "close" || this.#downstream.draining;
		const head = responseHead(parser, framing, this.#minorVersion, this.#close, this.#acceptsTrailers);
		this.#relay(head, body, buffer);
	}

	onBody(body: BodyDecoder, buffer: Buffer): void {
		this.#relay("", body, buffer);
	}

	onUpgraded(parser: ResponseParser, buffer: Buffer, from: number, to: number): void {
		this.upstreamMs = this.#deps.clock.monotonicMs() - this.#attempt.sentMs;
		this.status = 101;
		this.#answerBegun = true;
		this.#deadline.disarm();
		this.#downstream.becomeTunnel(this.#attempt.connection as Http1Connection, switchingHead(parser), Buffer.from(buffer.subarray(from, to)));
	}

	/** The tunnel has ended; bytes as it counted them. */
	tunnelEnded(bytesIn: number, bytesOut: number): void {
		this.bytesIn = bytesIn;
		this.bytesOut = bytesOut;
		this.#attempt.cancel();
		this.#end();
	}

	onAttemptFailed(reason: Reason, detail: string): void {
		if (!this.#tryAgain(reason)) this.#fail(reason, detail);
	}

	// --- in the order of a request's life

	#begin(stack: Stack, client: Client, request: RequestParser): void {
		this.#reset(stack, client);
		this.method = request.method;
		this.target = request.target;
		this.host = request.authority;
		this.headRequest = request.method === "HEAD";
		this.#keepAlive = request.keepAlive;
		this.#minorVersion = request.minorVersion;
		this.#acceptsTrailers = request.meaning.teTrailers && request.minorVersion === 1;
		this.#requestFraming = request.framing;
	}

	#reset(stack: Stack, client: Client): void {
		this.forget(stack, client);
		this.#startedMs = this.#deps.clock.monotonicMs();
		this.headRequest = this.upgrade = false;
		this.#minorVersion = 1;
		this.#early = undefined;
		this.#replayable = true;
		this.#raced = false;
		this.#answerBegun = false;
		this.#clientLags = false;
		this.#target = undefined;
	}

	#enter(counters: TrafficCounters): void {
		this.#counters = counters;
		this.#active = true;
		counters.active++;
	}

	/** A body that has come whole and small goes with the head; otherwise its beginning waits for the connection. */
	#attachBody(body: BodyDecoder, buffer: Buffer): void {
		this.complete = body.done;
		if (body.done && this.#requestFraming.kind === "none") return;
		const length = body.dataEnd - body.dataStart;
		if (length <= GLUED_BYTES_MAX && (body.done || length > 0)) {
			this.text += framedText(body, buffer, this.#requestFraming, body.trailers);
		} else if (length > 0) this.#early = framedBytes(body, buffer, this.#requestFraming, body.trailers, "", OWN_ROOM);
		this.#replayable = body.done && this.#early === undefined;
		if (this.#early !== undefined) {
			// The text alone is not the whole request: `onAttemptSent` sends the rest.
			this.complete = false;
		}
	}

	#tryFirst(): void {
		const { upstream } = this.#target as Target;
		const endpoint = upstream.pick();
		if (endpoint === undefined) {
			this.#fail("no_healthy_endpoint", "");
			return;
		}
		this.#deadline.arm(upstream.options.timeout.requestMs);
		this.#tryAt(endpoint, false);
	}

	/** False where it must not be sent again, or there is nowhere else to send it. */
	#tryAgain(reason: Reason): boolean {
		const again = anotherTry(reason, {
			method: this.method,
			attempts: this.attempts,
			replayable: this.#replayable,
			resetUnanswered: this.#attempt.resetUnanswered,
			raced: this.#raced,
		});
		if (again === "no") return false;
		const failed = this.#triedAt;
		const endpoint = (this.#target as Target).upstream.pick(failed);
		if (endpoint === undefined || (again === "elsewhere" && endpoint === failed)) return false;
		if (again === "fresh") this.#raced = true;
		(this.#counters as TrafficCounters).retries++;
		this.#tryAt(endpoint, this.#raced);
		return true;
	}

	#tryAt(endpoint: Endpoint, fresh: boolean): void {
		this.attempts++;
		this.endpoint = endpoint.key;
		this.#triedAt = endpoint;
		if (!this.#requestComplete) this.#downstream.pauseReading();
		this.#attempt.start(endpoint, this, fresh);
	}

	#relay(head: string, body: BodyDecoder, buffer: Buffer): void {
		const ended = body.done;
		// RFC 9110 6.5.1: trailers only for a client that said `TE: trailers`.
		const trailers = this.#acceptsTrailers ? body.trailers : "";
		const length = this.headRequest || this.#answerFraming.kind === "none" ? 0 : body.dataEnd - body.dataStart;
		this.bytesOut += length;
		let writable = true;
		if (length <= GLUED_BYTES_MAX) {
			const text =
				length > 0 || (ended && this.#answerFraming.kind === "chunked") ? head + framedText(body, buffer, this.#answerFraming, trailers) : head;
			if (text !== "") writable = this.#downstream.write(text);
		} else writable = this.#downstream.writeBytes(framedBytes(body, buffer, this.#answerFraming, trailers, head, this.#downstream));
		if (ended) {
			this.#attempt.finish();
			this.#end();
			this.#downstream.exchangeEnded(this.#close);
			return;
		}
		this.#deadline.arm((this.#target as Target).upstream.options.timeout.idleMs);
		if (writable) return;
		this.#clientLags = true;
		this.#attempt.connection?.pauseReading();
	}

	#fail(reason: Reason, detail: string): void {
		if (this.#answerBegun) {
			this.reason = reason;
			this.detail = detail;
			this.#attempt.cancel();
			this.#end();
			this.#downstream.abort();
			return;
		}
		this.#answerLocally(reason, detail);
	}

	#answerLocally(reason: Reason, detail: string): void {
		this.#attempt.cancel();
		this.reason = reason;
		this.detail = detail;
		this.status = REASONS[reason].status;
		const close = REASONS[reason].closes || !this.#keepAlive || !this.#requestComplete || this.#downstream.draining;
		this.#downstream.write(
			localAnswer({ reason, detail, requestId: this.requestId, close, headRequest: this.headRequest, minorVersion: this.#minorVersion }),
		);
		this.#end();
		this.#downstream.exchangeEnded(close);
	}

	/** Counts and tells, exactly once per exchange. */
	#end(): void {
		if (!this.#active) return;
		this.#active = false;
		this.#deadline.disarm();
		this.#early = undefined;
		this.text = "";
		const counters = this.#counters as TrafficCounters;
		const now = this.#deps.clock.monotonicMs();
		this.durationMs = now - this.#startedMs;
		counters.active--;
		counters.finish(this.status, this.reason, this.durationMs);
		if (this.upstreamMs > 0) {
			counters.upstreamTime.observe(this.upstreamMs);
			counters.overhead.observe(Math.max(0, this.#attempt.sentMs - this.#startedMs));
		}
		this.#deps.observer.record(this);
	}

	#onDeadline(): void {
		if (!this.#active) return;
		if (this.#clientLags) this.#fail("client_closed", "the client has stopped reading");
		else if (this.#answerBegun) this.#fail("body_timeout", "");
		else this.#fail("upstream_timeout", "");
	}
}
