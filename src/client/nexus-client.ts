/** The client of Nexus: events are published, read, followed and consumed here; each further part of the API has a client of its own. */
import { type Clock, systemClock } from "../core/clock.ts";
import { IdSource } from "../core/ids.ts";
import { type Rng, systemRng } from "../core/rng.ts";
import type { CloudEvent } from "../events/cloud-event.ts";
import { BATCH_TYPE } from "../events/http-binding.ts";
import { AuthorityClient } from "./authority-client.ts";
import { BatchPublisher, type BatchPublisherOptions } from "./batch-publisher.ts";
import { DeadLettersClient } from "./dead-letters-client.ts";
import { completeEvent, type EventInput } from "./event-input.ts";
import { type FollowOptions, follow, type StoredEvent } from "./follow.ts";
import { type CallOptions, JsonCalls, withQuery } from "./json-calls.ts";
import { LogClient } from "./log-client.ts";
import { ParkedEventsClient } from "./parked-events-client.ts";
import { PoliciesClient } from "./policies-client.ts";
import type { PublishReport } from "./publish-report.ts";
import { withRetry } from "./retry.ts";
import { SchemasClient } from "./schemas-client.ts";
import { ServicesClient } from "./services-client.ts";
import { SocketPublisher, type SocketPublisherOptions } from "./socket-publisher.ts";
import { SubscriptionsClient } from "./subscriptions-client.ts";
import { TokensClient } from "./tokens-client.ts";
import { type HttpTransportOptions, httpTransport, type Transport } from "./transport.ts";

export type { CloudEvent } from "../events/cloud-event.ts";
export type * from "./authority-client.ts";
export { BatchPublisher, type BatchPublisherOptions } from "./batch-publisher.ts";
export type { ConsumeOptions, Handler } from "./consumer.ts";
export type * from "./dead-letters-client.ts";
export type { EventInput } from "./event-input.ts";
export type { FollowOptions, StoredEvent } from "./follow.ts";
export type { Delivery } from "./held-delivery.ts";
export type { CallOptions } from "./json-calls.ts";
export type * from "./log-client.ts";
export { NexusError, type ProblemDocument, type ProblemFault } from "./nexus-error.ts";
export type * from "./parked-events-client.ts";
export type * from "./policies-client.ts";
export { type EventReceipt, EventRejected, type PublishReport } from "./publish-report.ts";
export type * from "./schemas-client.ts";
export type * from "./services-client.ts";
export type { SocketPublisherOptions } from "./socket-publisher.ts";
export type * from "./subscription-shapes.ts";
export type * from "./subscriptions-client.ts";
export type * from "./tokens-client.ts";
export type { HttpTransportOptions, Transport } from "./transport.ts";

interface ClientSettings {
	/** Of events that name none, as in `/shop/checkout`. */
	readonly source?: string;
	/** How long publishing tries again what Nexus does not take now. Default 30 s. */
	readonly patienceMs?: number;
	/** What a call that is answered at once may take. Default 30 s. */
	readonly timeoutMs?: number;
	readonly clock?: Clock;
	readonly rng?: Rng;
}

export type NexusClientOptions = ClientSettings & (HttpTransportOptions | { readonly transport: Transport });

export interface EventQuery {
	/** Exact, or with `*` for any run of characters. */
	readonly type?: string;
	readonly source?: string;
	readonly subject?: string;
	/** By the clock of Nexus. */
	readonly since?: Date | string;
	readonly until?: Date | string;
	/** Behind this sequence, in the asked order. */
	readonly after?: number;
	readonly order?: "asc" | "desc";
	/** Of all pages. Default: no limit. */
	readonly limit?: number;
}

export interface EventPage<Data = unknown> {
	readonly events: readonly StoredEvent<Data>[];
	/** `after` of the next page; null where there was nothing more. */
	readonly next: number | null;
	/** Sequences, inclusive, whose bytes are damaged on disk. */
	readonly damaged?: readonly { readonly first: number; readonly last: number }[];
}

/** Of which each may have 1 MiB. */
const PAGE_MAX = 256;
const PATIENCE_MS = 30_000;
const TIMEOUT_MS = 30_000;

export class NexusClient {
	readonly subscriptions: SubscriptionsClient;
	readonly deadLetters: DeadLettersClient;
	readonly schemas: SchemasClient;
	readonly parkedEvents: ParkedEventsClient;
	readonly policies: PoliciesClient;
	readonly services: ServicesClient;
	readonly log: LogClient;
	readonly tokens: TokensClient;
	readonly authority: AuthorityClient;
	readonly #calls: JsonCalls;
	readonly #transport: Transport;
	readonly #clock: Clock;
	readonly #rng: Rng;
	readonly #patienceMs: number;
	readonly #complete: (input: EventInput) => CloudEvent;

	constructor(options: NexusClientOptions) {
		const { source, patienceMs = PATIENCE_MS, timeoutMs = TIMEOUT_MS, clock = systemClock, rng = systemRng } = options;
		this.#transport = "transport" in options ? options.transport : httpTransport(options);
		this.#clock = clock;
		this.#rng = rng;
		this.#patienceMs = patienceMs;
		const ids = new IdSource();
		this.#complete = (input) => completeEvent(input, { source, ids, clock });
		const calls = new JsonCalls(this.#transport, clock, timeoutMs);
		this.#calls = calls;
		this.subscriptions = new SubscriptionsClient(calls, this.#transport, rng);
		this.deadLetters = new DeadLettersClient(calls);
		this.schemas = new SchemasClient(calls);
		this.parkedEvents = new ParkedEventsClient(calls);
		this.policies = new PoliciesClient(calls);
		this.services = new ServicesClient(calls, rng);
		this.log = new LogClient(calls);
		this.tokens = new TokensClient(calls);
		this.authority = new AuthorityClient(calls);
	}

	/**
	 * Resolves once they are durable, however often that had to be tried: they keep the ids that they got first. All in one message: 4 MiB at most. Throws a
	 * TypeError for what is no event; rejects with a NexusError where Nexus takes none of them, or none within the patience.
	 */
	publish(events: EventInput | readonly EventInput[], options: CallOptions = {}): Promise<PublishReport> {
		const list = Array.isArray(events) ? (events as readonly EventInput[]) : [events as EventInput];
		return this.#post(JSON.stringify(list.map(this.#complete)), options);
	}

	/** For a program that has events one by one. */
	publisher(options?: BatchPublisherOptions): BatchPublisher {
		return new BatchPublisher((json, signal) => this.#post(json, { signal }), this.#complete as (event: never) => CloudEvent, this.#clock, options);
	}

	/** For one that has thousands a second. Rejects with a NexusError where there is no Nexus. */
	async openSocket(options?: SocketPublisherOptions): Promise<EventSocket> {
		const publisher = await SocketPublisher.open(this.#transport, this.#clock, this.#rng, options);
		return {
			get unacked() {
				return publisher.unacked;
			},
			send: (events) => {
				const isList = Array.isArray(events);
				return publisher.send(JSON.stringify(isList ? events.map(this.#complete) : this.#complete(events as EventInput)));
			},
			close: () => publisher.close(),
		};
	}

	/** Page by page, as they are asked for. */
	async *query<Data = unknown>(query: EventQuery = {}, options: CallOptions = {}): AsyncGenerator<StoredEvent<Data>, void, void> {
		for await (const { events } of this.pages<Data>(query, options)) yield* events;
	}

	/** The same with what stands beside the events: what is damaged, and how far the search has come. */
	async *pages<Data = unknown>(
		{ limit = Number.POSITIVE_INFINITY, ...filter }: EventQuery = {},
		options: CallOptions = {},
	): AsyncGenerator<EventPage<Data>, void, void> {
		for (let left = limit, after = filter.after; left > 0; ) {
			const page: EventPage<Data> = await this.#calls.json(withQuery("/v1/events", { ...filter, limit: Math.min(PAGE_MAX, left), after }), options);
			yield page;
			if (page.next === null) return;
			left -= page.events.length;
			after = page.next;
		}
	}

	/** See follow.ts. Without `since` and `after` it begins with what comes next. */
	follow<Data = unknown>(
		filter: Omit<EventQuery, "until" | "order" | "limit"> = {},
		options: FollowOptions = {},
	): AsyncGenerator<StoredEvent<Data>, never, void> {
		return follow(this.#transport, withQuery("/v1/events/stream", filter), this.#clock, options) as AsyncGenerator<StoredEvent<Data>, never, void>;
	}

	/** Each try has a limit of its own: a Nexus that hangs is one to try again. */
	#post(json: string, options: CallOptions = {}): Promise<PublishReport> {
		const once = () => this.#calls.json<PublishReport>("/v1/events", { ...options, method: "POST", written: { type: BATCH_TYPE, json } });
		return withRetry(once, { clock: this.#clock, rng: this.#rng, patienceMs: this.#patienceMs, signal: options.signal });
	}
}

export interface EventSocket {
	/** Messages under way. */
	readonly unacked: number;
	/** One message; resolves once all of it is durable. Rejects with a NexusError where it was not taken, and where too many are under way. */
	send(events: EventInput | readonly EventInput[]): Promise<PublishReport>;
	/** Once all are acknowledged. */
	close(): Promise<void>;
}
