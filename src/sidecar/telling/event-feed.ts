/** Where the sidecar says what happened to it: makes the event once and hands it to whoever listens (spool, admin API). */
import type { Clock } from "../../core/clock.ts";
import type { IdSource } from "../../core/ids.ts";
import { makeEvent, type NexusEventData, type NexusEventType } from "../../events/catalogue.ts";
import type { CloudEvent } from "../../events/cloud-event.ts";

export interface EventFeedOptions {
	readonly service: string;
	readonly instance: string;
	readonly ids: IdSource;
	readonly clock: Clock;
}

/** Must return at once and must not throw. */
export type EventListener = (event: CloudEvent) => void;

export class EventFeed {
	readonly #options: EventFeedOptions;
	readonly #listeners = new Set<EventListener>();

	constructor(options: EventFeedOptions) {
		this.#options = options;
	}

	/** False where an event would be made for nobody. */
	get hasListeners(): boolean {
		return this.#listeners.size > 0;
	}

	/** `subject`: what it is about, such as an upstream or an endpoint. */
	emit<T extends NexusEventType>(type: T, data: NexusEventData[T], subject?: string): void {
		if (!this.hasListeners) return;
		const { service, instance, ids, clock } = this.#options;
		const event = makeEvent(type, data, { service, instance, ids, wallMs: clock.wallMs(), ...(subject === undefined ? {} : { subject }) });
		for (const listener of this.#listeners) listener(event);
	}

	/** Returns how to stop; idempotent. */
	subscribe(listener: EventListener): () => void {
		this.#listeners.add(listener);
		return () => void this.#listeners.delete(listener);
	}
}
