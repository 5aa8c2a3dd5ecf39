/** The client of Nexus: publish, read, follow, and look after schemas. */
import { type Clock, systemClock } from "../core/clock.ts";
import { IdSource } from "../core/ids.ts";
import { type Rng, systemRng } from "../core/rng.ts";
import type { CloudEvent } from "../events/cloud-event.ts";
import { BATCH_TYPE } from "../events/http-binding.ts";
import { BatchPublisher, type BatchPublisherOptions } from "./batch-publisher.ts";
import { completeEvent, type EventInput } from "./event-input.ts";
import { type FollowOptions, follow, type StoredEvent } from "./follow.ts";
import { errorOf } from "./nexus-error.ts";
import type { PublishReport } from "./publish-report.ts";
import { withRetry } from "./retry.ts";
import { SchemasClient } from "./schemas-client.ts";
import { SocketPublisher, type SocketPublisherOptions } from "./socket-publisher.ts";
import { type HttpTransportOptions, httpTransport, type Transport } from "./transport.ts";

export type { CloudEvent } from "../events/cloud-event.ts";
export { BatchPublisher, type BatchPublisherOptions } from "./batch-publisher.ts";
export type { EventInput } from "./event-input.ts";
export type { FollowOptions, StoredEvent } from "./follow.ts";
export { NexusError } from "./nexus-error.ts";
export { type EventReceipt, EventRejected, type PublishReport } from "./publish-report.ts";
export type { EventSchema, ParkedEvent, SchemaInfo, SchemaPut, SchemasClient } from "./schemas-client.ts";
export type { SocketPublisherOptions } from "./socket-publisher.ts";
export type { HttpTransportOptions, Transport } from "./transport.ts";

interface ClientSettings {
	/** Of events that name none, as in `/shop/checkout`. */
	readonly source?: string;
	/** How long publishing tries again what Nexus does not take now. Default 30 s. */
	readonly patienceMs?: number;
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

const PAGE_MAX = 1000;
const PATIENCE_MS = 30_000;

export class NexusClient {
	readonly schemas: SchemasClient;
	readonly #transport: Transport;
	readonly #clock: Clock;
	readonly #rng: Rng;
	readonly #patienceMs: number;
	readonly #complete: (input: EventInput) => CloudEvent;

	constructor(options: NexusClientOptions) {
		const { source, patienceMs = PATIENCE_MS, clock = systemClock, rng = systemRng } = options;
		this.#transport = "transport" in options ? options.transport : httpTransport(options);
		this.#clock = clock;
		this.#rng = rng;
		this.#patienceMs = patienceMs;
		const ids = new IdSource();
		this.#complete = (input) => completeEvent(input, { source, ids, clock });
		this.schemas = new SchemasClient(this.#transport);
	}

	/**
	 * Resolves once they are durable, however often that had to be tried: they keep the ids that they got first. Rejects with a TypeError for what is no event,
	 * with a NexusError where Nexus takes none of them, or none within the patience.
	 */
	publish(events: EventInput | readonly EventInput[], { signal }: { readonly signal?: AbortSignal } = {}): Promise<PublishReport> {
		const list = Array.isArray(events) ? (events as readonly EventInput[]) : [events as EventInput];
		return this.#post(JSON.stringify(list.map(this.#complete)), signal);
	}

	/** For a program that has events one by one. */
	publisher(options?: BatchPublisherOptions): BatchPublisher {
		return new BatchPublisher((json) => this.#post(json), this.#complete as (event: never) => CloudEvent, this.#clock, options);
	}

	/** For one that has thousands a second. Rejects with a NexusError where there is no Nexus. */
	async openSocket(options?: SocketPublisherOptions): Promise<EventSocket> {
		const target = () => this.#transport.socketTarget("/v1/events/publish");
		const publisher = await SocketPublisher.open(target, this.#clock, this.#rng, options);
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
	async *query({ limit = Number.POSITIVE_INFINITY, ...filter }: EventQuery = {}, signal?: AbortSignal): AsyncGenerator<StoredEvent, void, void> {
		const params = paramsOf(filter);
		for (let left = limit; left > 0; ) {
			params.set("limit", String(Math.min(PAGE_MAX, left)));
			const response = await this.#transport.send(`/v1/events?${params}`, signal === undefined ? {} : { signal });
			if (!response.ok) throw await errorOf(response);
			const { events, next } = (await response.json()) as { events: readonly StoredEvent[]; next: number | null };
			yield* events;
			left -= events.length;
			if (next === null) return;
			params.set("after", String(next));
		}
	}

	/** See follow.ts. Without `since` and `after` it begins with what comes next. */
	follow(filter: Omit<EventQuery, "until" | "order" | "limit"> = {}, options: FollowOptions = {}): AsyncGenerator<StoredEvent, never, void> {
		return follow(this.#transport, `/v1/events/stream?${paramsOf(filter)}`, this.#clock, options);
	}

	#post(body: string, signal?: AbortSignal): Promise<PublishReport> {
		const once = async (): Promise<PublishReport> => {
			const request = { method: "POST", headers: { "content-type": BATCH_TYPE }, body, ...(signal && { signal }) };
			const response = await this.#transport.send("/v1/events", request);
			if (!response.ok) throw await errorOf(response);
			return (await response.json()) as PublishReport;
		};
		return withRetry(once, { clock: this.#clock, rng: this.#rng, patienceMs: this.#patienceMs, signal });
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

function paramsOf(filter: object): URLSearchParams {
	const params = new URLSearchParams();
	for (const [name, value] of Object.entries(filter)) {
		if (value !== undefined) params.set(name, value instanceof Date ? value.toISOString() : String(value));
	}
	return params;
}
