/** The request as it goes to an upstream, once or several times: its head, what is kept of its body, its deadline, its marks. */
import type { Clock } from "../../core/clock.ts";
import { type Hash64, Hash64Slot } from "../../core/xxh64.ts";
import type { BodyDecoder } from "../../http1/body-decoder.ts";
import { type Framing, NO_BODY } from "../../http1/framing.ts";
import type { RequestParser } from "../../http1/request-parser.ts";
import { fieldWriter } from "../../http1/serializer.ts";
import { OWN_ROOM } from "../../net/loop-memory.ts";
import type { DecisionLog } from "../../policy/decision-trace.ts";
import { effectiveTimeoutMs, remainingMs } from "../../resilience/deadline/deadline-header.ts";
import { isIdempotent } from "../../resilience/retry/retry-decision.ts";
import type { ExchangeSpan } from "../../telemetry/tracing/span-source.ts";
import type { Http1Connection } from "../../upstream/http1-connection.ts";
import type { Try } from "../../upstream/try.ts";
import { framedBytes, framedText, GLUED_BYTES_MAX } from "./body-framing.ts";
import type { ExchangeTracing } from "./exchange-tracing.ts";
import { hashOf } from "./hash-key.ts";
import { KeptBody } from "./kept-body.ts";
import { attemptLine, callerAttemptOf, callerDeadlineMs, deadlineLine } from "./mesh-fields.ts";
import { wantsUpgrade } from "./request-head.ts";
import { RequestView } from "./request-view.ts";
import type { Client, Correlation, Stack, Target } from "./stack.ts";
import type { TriedRequest } from "./tries.ts";

const traceparentLine = fieldWriter("traceparent");

export interface OutgoingDeps {
	readonly clock: Clock;
	readonly tracing: ExchangeTracing;
}

/** Reused from one exchange to the next. */
export class OutgoingRequest implements TriedRequest {
	readonly #deps: OutgoingDeps;
	/** Its fields, for those who ask while its head is here, and for faults later. */
	readonly view = new RequestView();
	method = "";
	host = "";
	target = "";
	route = "";
	headRequest = false;
	upgrade = false;
	/** Whether the text of a try is all of the request. */
	complete = true;
	/** Whether its body has come whole. */
	whole = true;
	idempotencyKey = false;
	callerAttempt = 1;
	hash: Hash64 | undefined;
	perTryTimeoutMs: number | undefined;
	/** What the policy or the caller gives it, from `startedMs` on. */
	timeoutMs = 0;
	startedMs = 0;
	trace: DecisionLog | undefined;
	span: ExchangeSpan | undefined;
	#target: Target | undefined;
	/** What stands before each try's own lines, and the small body that goes with it. */
	#head = "";
	#glued = "";
	#mirrored = false;
	#framing: Framing = NO_BODY;
	readonly #kept = new KeptBody();
	#hashSlot: Hash64Slot | undefined;
	/** Whether a part of the body has been sent that is not kept. */
	#inTransit = false;

	constructor(deps: OutgoingDeps) {
		this.#deps = deps;
	}

	/** A head has come; nobody knows yet where it goes. */
	begin(request: RequestParser, client: Client, startedMs: number): void {
		this.view.open(request, client);
		this.method = request.method;
		this.host = request.authority;
		this.target = request.target;
		this.headRequest = request.method === "HEAD";
		this.#framing = request.framing;
		this.startedMs = startedMs;
	}

	/** It goes to `target`: all that can be made ready before a connection is known. */
	prepare(target: Target, stack: Stack, client: Client, request: RequestParser, correlation: Correlation): void {
		this.#target = target;
		this.route = target.route;
		this.perTryTimeoutMs = target.retry.perTryTimeoutMs;
		const callerMs = callerDeadlineMs(request);
		this.timeoutMs = effectiveTimeoutMs(target.requestMs, callerMs);
		this.callerAttempt = callerAttemptOf(request);
		// Looked up only where it can matter: the others may be tried again anyway.
		this.idempotencyKey = !isIdempotent(request.method) && request.fields.get("idempotency-key") !== undefined;
		this.hash = target.hashOn === undefined ? undefined : hashOf(target.hashOn, request, client, this.#slot());
		this.#head = stack.requestHead(request, target, client, correlation);
		this.#mirrored = target.mirror?.wants() === true;
		if (this.#mirrored && target.mirror !== undefined) {
			const { upstream, place } = target.mirror;
			this.trace?.add("mirror", "note", `a copy goes to ${upstream.name}`, place, { brief: upstream.name });
		}
		this.upgrade = wantsUpgrade(request);
		const given = callerMs === undefined ? `${this.timeoutMs} ms by the policy` : `${this.timeoutMs} ms, the caller gave ${callerMs}`;
		this.trace?.add("deadline", this.timeoutMs > 0 ? "note" : "no", given, target.place);
	}

	/** The part of the body that came with the head. Whole and small it goes with the head; otherwise it waits for the connection. */
	attachBody(body: BodyDecoder, buffer: Buffer): void {
		const { retry } = this.#target as Target;
		const length = body.dataEnd - body.dataStart;
		const glued = length <= GLUED_BYTES_MAX;
		const again = retry.attempts > 0 || retry.hedge !== undefined || this.#mirrored;
		// What goes with the head is there in any case, for the one try more that a dead connection is worth.
		this.#kept.begin(again ? retry.bodyBytesMax : glued ? length : 0, glued ? length : 0);
		this.#inTransit = false;
		this.#glued = "";
		this.complete = this.whole = body.done;
		if (body.done && this.#framing.kind === "none") return;
		if (glued && (body.done || length > 0)) {
			this.#glued = framedText(body, buffer, this.#framing, body.trailers);
		} else if (length > 0) {
			this.#kept.add(framedBytes(body, buffer, this.#framing, body.trailers, "", OWN_ROOM), length);
			this.complete = false;
		}
	}

	/** More of the body. Sent on where there is a connection, kept where there is none. Returns whether more may come now. */
	addBody(body: BodyDecoder, buffer: Buffer, connection: Http1Connection | undefined): boolean {
		this.whole = body.done;
		const kept = this.#kept;
		const length = body.dataEnd - body.dataStart;
		const keeps = connection === undefined || kept.keeps(length);
		const part = framedBytes(body, buffer, this.#framing, body.trailers, "", keeps ? OWN_ROOM : connection);
		if (keeps) kept.add(part, length);
		else {
			kept.drop();
			this.#inTransit = true;
		}
		return (connection === undefined ? false : connection.write(part, body.done)) || body.done;
	}

	/** A connection has been given the text; what else is here follows. */
	sendBody(connection: Http1Connection): void {
		const { parts } = this.#kept;
		for (let i = 0; i < parts.length; i++) connection.write(parts[i] as Buffer, this.whole && i === parts.length - 1);
		if (!this.#kept.sent()) this.#inTransit = true;
	}

	/** The copy goes out once all of it is here; what it takes is the mirror's. */
	copyToMirror(requestId: string): void {
		if (!this.#mirrored || !this.whole) return;
		this.#mirrored = false;
		const parts = this.#inTransit ? undefined : this.#kept.parts;
		(this.#target as Target).mirror?.send(this.method, requestId, this.#head, this.#glued, parts);
	}

	/** Nothing is held on to. */
	clear(): void {
		this.#kept.begin(0);
		this.view.forget();
		this.#head = this.#glued = "";
		this.trace = undefined;
		this.span = undefined;
		this.#target = undefined;
	}

	// --- as the tries ask for it

	get replayable(): boolean {
		return !this.#inTransit;
	}

	header(name: string): string | undefined {
		return this.view.header(name);
	}

	remainingMs(): number {
		return remainingMs(this.startedMs, this.timeoutMs, this.#deps.clock.monotonicMs());
	}

	/** Undefined where the time of the request is over. Each try says how much is left, which try it is, and, where spans are made, its own span. */
	textOf(tried: Try): string | undefined {
		const { deadlineLine: fullTime, headEnd, requestMs } = this.#target as Target;
		const leftMs = remainingMs(this.startedMs, this.timeoutMs, tried.sentMs);
		// The coarse timer of the exchange is about to say so.
		if (leftMs <= 0) return undefined;
		// Nearly always it is the first try and not a millisecond has passed: what ends the head is there already, in one piece.
		const isPlain = leftMs >= requestMs - 1 && tried.number === 1 && this.callerAttempt === 1 && this.span === undefined;
		if (isPlain) return this.#glued === "" ? this.#head + headEnd : this.#head + headEnd + this.#glued;
		let lines = "";
		if (fullTime !== undefined) {
			lines = leftMs >= requestMs - 1 ? fullTime : deadlineLine(leftMs);
			const number = Math.max(tried.number, this.callerAttempt);
			if (number > 1) lines += attemptLine(number);
		}
		if (this.span !== undefined) {
			tried.span = this.span.attempt(tried.number, tried.endpoint?.key ?? "");
			lines += traceparentLine(tried.span.traceparent);
		}
		return `${this.#head}${lines}\r\n${this.#glued}`;
	}

	/** A failure is always worth its story; from its first bad turn on where nobody has asked before. */
	traceOfFailure(): DecisionLog | undefined {
		this.trace ??= this.#deps.tracing.ofFailure(this.startedMs, this.#target);
		return this.trace;
	}

	#slot(): Hash64Slot {
		this.#hashSlot ??= new Hash64Slot();
		return this.#hashSlot;
	}
}
