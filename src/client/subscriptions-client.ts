/** Subscriptions as a client makes and watches them, and takes events from them. */
import type { Rng } from "../core/rng.ts";
import { type ConsumeOptions, consume, type Handler } from "./consumer.ts";
import { type CallOptions, conditionOf, durationText, type JsonCalls, path, withQuery } from "./json-calls.ts";
import type { AnswerReport, Answers, StartPoint, Subscription, SubscriptionDocument, TakenEvent } from "./subscription-shapes.ts";
import type { Transport } from "./transport.ts";

export interface Precondition extends CallOptions {
	/** Only where it has this revision; 0: only where there is none. Otherwise rejects with status 412, `precondition_failed`. */
	readonly ifRevision?: number;
}

export interface FetchOptions extends CallOptions {
	/** Events at most, up to 1,000. Default 1. */
	readonly max?: number;
	/** For the first one, up to 2 min. Default 30 s; 0: not at all. */
	readonly waitMs?: number;
}

const WAIT_MS = 30_000;

/** Each call rejects with a NexusError where it is refused. */
export class SubscriptionsClient {
	readonly #calls: JsonCalls;
	readonly #transport: Transport;
	readonly #rng: Rng;

	constructor(calls: JsonCalls, transport: Transport, rng: Rng) {
		this.#calls = calls;
		this.#transport = transport;
		this.#rng = rng;
	}

	/** By name, page by page as they are asked for. */
	list(options: CallOptions = {}): AsyncGenerator<Subscription, void, void> {
		return this.#calls.list("/v1/subscriptions", "subscriptions", options);
	}

	get(name: string, options: CallOptions = {}): Promise<Subscription> {
		return this.#calls.json(path`/v1/subscriptions/${name}`, options);
	}

	/** Makes it, or changes it: one that is there goes on where it was. What is wrong with it stands in `problem.faults` of the error. */
	put(name: string, document: SubscriptionDocument, { ifRevision, ...options }: Precondition = {}): Promise<Subscription> {
		return this.#calls.json(path`/v1/subscriptions/${name}`, { ...options, method: "PUT", body: document, headers: conditionOf(ifRevision) });
	}

	/** Nothing is delivered until it is resumed. */
	pause(name: string, options: CallOptions = {}): Promise<Subscription> {
		return this.#calls.json(path`/v1/subscriptions/${name}/pause`, { ...options, method: "POST" });
	}

	resume(name: string, options: CallOptions = {}): Promise<Subscription> {
		return this.#calls.json(path`/v1/subscriptions/${name}/resume`, { ...options, method: "POST" });
	}

	/** Events behind that place are delivered, also those that were before. */
	seek(name: string, from: StartPoint, options: CallOptions = {}): Promise<Subscription> {
		return this.#calls.json(path`/v1/subscriptions/${name}/seek`, { ...options, method: "POST", body: { from } });
	}

	/** Rejects with status 409, `dead_letters`, where it has some and nobody says that they are to be thrown away. */
	async delete(
		name: string,
		{ ifRevision, discardDeadLetters, ...options }: Precondition & { readonly discardDeadLetters?: boolean } = {},
	): Promise<void> {
		const query = { deadLetters: discardDeadLetters === true ? "discard" : undefined };
		await this.#calls.json(withQuery(path`/v1/subscriptions/${name}`, query), { ...options, method: "DELETE", headers: conditionOf(ifRevision) });
	}

	/** The first events, or none when the time is over. */
	async fetch<Data = unknown>(name: string, { max, waitMs = WAIT_MS, ...options }: FetchOptions = {}): Promise<readonly TakenEvent<Data>[]> {
		const request = { body: { ...(max !== undefined && { max }), wait: durationText(waitMs) }, method: "POST" as const };
		// It answers when there is something: what it is given to answer at all comes on top.
		const timeoutMs = waitMs + (options.timeoutMs ?? WAIT_MS);
		return (
			await this.#calls.json<{ deliveries: readonly TakenEvent<Data>[] }>(path`/v1/subscriptions/${name}/fetch`, {
				...options,
				...request,
				timeoutMs,
			})
		).deliveries;
	}

	/** Resolves once it is written down: what is acknowledged does not come again, whatever crashes. */
	answer(name: string, answers: Answers, options: CallOptions = {}): Promise<AnswerReport> {
		return this.#calls.json(path`/v1/subscriptions/${name}/ack`, { ...options, method: "POST", body: answers });
	}

	/** Done. */
	ack(name: string, tokens: readonly string[], options?: CallOptions): Promise<AnswerReport> {
		return this.answer(name, { ack: tokens }, options);
	}

	/** Again: after the delay, or after the backoff of the subscription. */
	nak(
		name: string,
		token: string,
		{ delayMs, reason }: { readonly delayMs?: number; readonly reason?: string } = {},
		options?: CallOptions,
	): Promise<AnswerReport> {
		const delay = delayMs === undefined ? {} : { delay: durationText(delayMs) };
		return this.answer(name, { nak: [{ token, ...delay, ...(reason !== undefined && { reason }) }] }, options);
	}

	/** Never again: it becomes a dead letter. */
	term(name: string, token: string, reason?: string, options?: CallOptions): Promise<AnswerReport> {
		return this.answer(name, { term: [reason === undefined ? token : { token, reason }] }, options);
	}

	/** Still at it: `ackWait` begins anew. */
	inProgress(name: string, tokens: readonly string[], options?: CallOptions): Promise<AnswerReport> {
		return this.answer(name, { progress: tokens }, options);
	}

	/** See consumer.ts: hands events to `handler` until the signal is aborted, whatever breaks meanwhile. */
	consume<Data = unknown>(name: string, handler: Handler<Data>, options: ConsumeOptions = {}): Promise<void> {
		const target = { name, subscriptions: this, transport: this.#transport, clock: this.#calls.clock, rng: this.#rng };
		return consume(target, handler as Handler<never> as Handler, options);
	}
}
