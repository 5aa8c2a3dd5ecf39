/** One try of an exchange at one endpoint: takes a connection from its pool, sends, and hands the answer on. */
import type { Clock } from "../core/clock.ts";
import type { Deadline, DeadlineWheel } from "../core/deadline-wheel.ts";
import type { Reason } from "../core/reasons.ts";
import type { BodyDecoder } from "../http1/body-decoder.ts";
import type { ResponseParser } from "../http1/response-parser.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Http1Connection } from "./http1-connection.ts";
import type { Pool, Waiter } from "./pool.ts";
import type { ResponseHandler } from "./response-handler.ts";

/** The exchange's side. Exactly one of `onAttemptFailed` and the end of a body (`body.done`) closes an attempt. */
export interface AttemptObserver {
	/** The request text is on its way; the rest of a streamed body may follow. */
	onAttemptSent(): void;
	onResponse(parser: ResponseParser, body: BodyDecoder, buffer: Buffer): void;
	onBody(body: BodyDecoder, buffer: Buffer): void;
	onInterim(parser: ResponseParser): void;
	onUpgraded(parser: ResponseParser, buffer: Buffer, from: number, to: number): void;
	onAttemptFailed(reason: Reason, detail: string): void;
	onWritable(): void;
}

/** What is sent. `text` is latin1: the head, and behind it a small body where that has come whole. */
export interface AttemptRequest {
	/** Asked for when it leaves; undefined: by now it is too late to send it, and whoever wanted it is about to say so. */
	readonly text: string | undefined;
	readonly complete: boolean;
	readonly headRequest: boolean;
	readonly upgrade: boolean;
}

/** Reused from one exchange to the next of the same client connection. */
export class Attempt implements Waiter, ResponseHandler {
	readonly #observer: AttemptObserver;
	readonly #clock: Clock;
	readonly waitDeadline: Deadline;
	waitsIn: Pool | undefined;
	endpoint: Endpoint | undefined;
	connection: Http1Connection | undefined;
	/** Monotonic; when the request went onto a connection, 0 before. */
	sentMs = 0;
	/** Of the last failure: `Http1Connection.resetUnanswered`. */
	resetUnanswered = false;
	#request: AttemptRequest | undefined;

	constructor(observer: AttemptObserver, clock: Clock, wheel: DeadlineWheel) {
		this.#observer = observer;
		this.#clock = clock;
		this.waitDeadline = wheel.deadline(() => this.waitsIn?.expire(this));
	}

	/** `fresh`: not on a connection that lies idle, as the one before it turned out to be dead. */
	start(endpoint: Endpoint, request: AttemptRequest, fresh: boolean): void {
		this.endpoint = endpoint;
		this.#request = request;
		this.sentMs = 0;
		endpoint.activeRequests++;
		endpoint.requests++;
		const connection = fresh ? undefined : endpoint.pool.takeIdle();
		if (connection !== undefined) this.onConnection(connection);
		else if (!endpoint.pool.wait(this)) this.#fail("endpoint_overflow", "the queue for a connection is full");
	}

	onConnection(connection: Http1Connection): void {
		const request = this.#request as AttemptRequest;
		this.sentMs = this.#clock.monotonicMs();
		const { text } = request;
		if (text === undefined) {
			this.sentMs = 0;
			this.endpoint?.pool.onReusable(connection);
			return;
		}
		this.connection = connection;
		connection.send(this, text, request.complete, request.headRequest, request.upgrade);
		this.#observer.onAttemptSent();
	}

	onNoConnection(reason: Reason, detail: string): void {
		this.#fail(reason, detail);
	}

	/** A complete answer has been handed on: the connection goes back to the pool. */
	finish(): void {
		const connection = this.connection;
		this.#leave();
		connection?.release();
	}

	/** Gives up whatever it was doing; nothing is called back. Idempotent. */
	cancel(): void {
		this.waitsIn?.leave(this);
		const connection = this.connection;
		this.#leave();
		connection?.close();
	}

	onResponse(parser: ResponseParser, body: BodyDecoder, buffer: Buffer): void {
		this.#observer.onResponse(parser, body, buffer);
	}

	onBody(body: BodyDecoder, buffer: Buffer): void {
		this.#observer.onBody(body, buffer);
	}

	onInterim(parser: ResponseParser): void {
		this.#observer.onInterim(parser);
	}

	onUpgraded(parser: ResponseParser, buffer: Buffer, from: number, to: number): void {
		this.#observer.onUpgraded(parser, buffer, from, to);
	}

	onBroken(reason: Reason, detail: string): void {
		this.#fail(reason, detail);
	}

	onWritable(): void {
		this.#observer.onWritable();
	}

	#fail(reason: Reason, detail: string): void {
		this.resetUnanswered = this.connection?.resetUnanswered === true;
		this.#leave();
		this.#observer.onAttemptFailed(reason, detail);
	}

	/** The slot at the endpoint is given back exactly once, whatever ended the attempt. */
	#leave(): void {
		const endpoint = this.endpoint;
		if (endpoint === undefined) return;
		endpoint.activeRequests--;
		this.endpoint = undefined;
		this.connection = undefined;
		this.#request = undefined;
	}
}
