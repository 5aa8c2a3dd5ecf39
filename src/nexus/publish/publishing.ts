/** All of publishing as one thing: schemas, what they park, the way to the log, and both ways in. */
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { OpenStreams } from "../access/open-streams.ts";
import { Ingest } from "../ingest.ts";
import type { EventLog } from "../log/event-log.ts";
import type { StateStore } from "../state/state-store.ts";
import { EventSchemas } from "./event-schemas.ts";
import { ParkedEvents } from "./parked-events.ts";
import { Publisher } from "./publisher.ts";
import { SocketIngest } from "./socket-ingest.ts";

export interface PublishingOptions {
	readonly log: EventLog;
	readonly state: StateStore;
	readonly clock: Clock;
	readonly logger: Logger;
	readonly openStreams: OpenStreams;
	readonly eventBytesMax: number;
}

export interface Publishing {
	readonly schemas: EventSchemas;
	readonly parked: ParkedEvents;
	readonly publisher: Publisher;
	readonly ingest: Ingest;
	readonly sockets: SocketIngest;
	/** After both ways in are closed. */
	close(): Promise<void>;
}

/** Rejects where the state cannot be read. */
export async function openPublishing(options: PublishingOptions): Promise<Publishing> {
	const { log, state, clock, logger, openStreams, eventBytesMax } = options;
	const parked = await ParkedEvents.open(state, clock);
	const schemas = await EventSchemas.open({ state, clock, logger });
	const publisher = new Publisher({ log, check: (event) => schemas.check(event), park: (events) => parked.park(events) });
	return {
		schemas,
		parked,
		publisher,
		ingest: new Ingest(publisher, eventBytesMax),
		sockets: new SocketIngest({ publisher, openStreams, logger, eventBytesMax }),
		close: () => schemas.close(),
	};
}
