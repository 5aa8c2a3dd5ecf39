/** The answer as the client gets it: in its version of HTTP, its framing, with or without trailers, and whether anything may follow. */
import { REASONS, type Reason } from "../../core/reasons.ts";
import type { BodyDecoder } from "../../http1/body-decoder.ts";
import { type Framing, NO_BODY } from "../../http1/framing.ts";
import type { RequestParser } from "../../http1/request-parser.ts";
import type { ResponseParser } from "../../http1/response-parser.ts";
import type { StaticResponse } from "../../policy/resilience-policy.ts";
import { framedBytes, framedText, GLUED_BYTES_MAX } from "./body-framing.ts";
import { type Downstream, NOBODY } from "./downstream.ts";
import type { FieldChanges } from "./field-changes.ts";
import { localAnswer, policyAnswer } from "./local-answer.ts";
import { framingForClient, responseHead } from "./response-head.ts";

/** Reused from one exchange to the next. */
export class ClientAnswer {
	#downstream: Downstream = NOBODY;
	#minorVersion = 1;
	#headRequest = false;
	#acceptsTrailers = false;
	#keepAlive = true;
	#framing: Framing = NO_BODY;
	/** Whether its head is on its way. */
	begun = false;
	/** The client has not read what was written, so the upstream is not read. */
	clientLags = false;
	/** Nothing may follow on this connection. */
	close = false;
	/** Of the body, as sent. */
	bytes = 0;

	attach(downstream: Downstream): void {
		this.#downstream = downstream;
	}

	/** `request`: undefined where what came was none. */
	begin(request: RequestParser | undefined): void {
		this.#minorVersion = request?.minorVersion ?? 1;
		this.#headRequest = request?.method === "HEAD";
		this.#acceptsTrailers = request?.minorVersion === 1 && request.meaning.teTrailers;
		this.#keepAlive = request?.keepAlive === true;
		this.begun = this.clientLags = this.close = false;
		this.bytes = 0;
	}

	/** What follows on the connection could not be told from the rest of this request. */
	endConnection(): void {
		this.#keepAlive = false;
	}

	interim(parser: ResponseParser): void {
		// RFC 9110 15.2: no 1xx to HTTP/1.0.
		if (this.#minorVersion === 1) this.#downstream.write(responseHead(parser, NO_BODY, 1, false, false, undefined, ""));
	}

	/** Latin1 text of the head; goes out with the first part of the body. `lines`: fields that we add. */
	headOf(parser: ResponseParser, requestWhole: boolean, changes: FieldChanges | undefined, lines: string): string {
		this.#framing = framingForClient(parser, this.#minorVersion);
		this.close = this.#framing.kind === "close" || this.#closes(requestWhole);
		return responseHead(parser, this.#framing, this.#minorVersion, this.close, this.#acceptsTrailers, changes, lines);
	}

	/** `head`: "" behind the first part. Returns whether more may follow now. */
	relay(head: string, body: BodyDecoder, buffer: Buffer): boolean {
		const framing = this.#framing;
		// RFC 9110 6.5.1: trailers only for a client that said `TE: trailers`.
		const trailers = this.#acceptsTrailers ? body.trailers : "";
		const length = this.#headRequest || framing.kind === "none" ? 0 : body.dataEnd - body.dataStart;
		this.bytes += length;
		if (length > GLUED_BYTES_MAX) return this.#downstream.writeBytes(framedBytes(body, buffer, framing, trailers, head, this.#downstream));
		const text = length > 0 || (body.done && framing.kind === "chunked") ? head + framedText(body, buffer, framing, trailers) : head;
		return text === "" || this.#downstream.write(text);
	}

	/** A whole answer of our own. */
	local(reason: Reason, detail: string, status: number, requestId: string, requestWhole: boolean, lines: string): void {
		this.close = REASONS[reason].closes || this.#closes(requestWhole);
		this.#downstream.write(localAnswer({ reason, detail, status, ...this.#shape(requestId, lines) }));
	}

	/** A whole answer that stands in the policy. */
	fixed(response: StaticResponse, reason: Reason | undefined, requestId: string, requestWhole: boolean, lines: string): void {
		this.close = this.#closes(requestWhole);
		this.#downstream.write(policyAnswer(this.#shape(requestId, lines), response, reason));
	}

	/** It cannot be completed, and the client must see that. */
	abort(): void {
		this.#downstream.abort(this.#framing.kind === "close" || this.clientLags);
	}

	#shape(requestId: string, lines: string) {
		return { requestId, lines, close: this.close, headRequest: this.#headRequest, minorVersion: this.#minorVersion };
	}

	/** An answer before the end of the request: what is still to come of it must never be read as a request (RFC 9112 9.3). */
	#closes(requestWhole: boolean): boolean {
		return !this.#keepAlive || !requestWhole || this.#downstream.draining;
	}
}
