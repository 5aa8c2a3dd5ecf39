/** What Nexus says of its own acts, into its own log. Best effort: the acts themselves stand in the state. */
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import { IdSource } from "../../core/ids.ts";
import type { Logger } from "../../core/log.ts";
import { makeEvent, type NexusEventData, type NexusEventType } from "../../events/catalogue.ts";
import type { EventLog } from "../log/event-log.ts";

type OwnEventType = NexusEventType & (`nexus.policy.${string}` | `nexus.audit.${string}`);

/** `subject`: the service, or the path of what was changed. Never throws. */
export type TellOwn = <T extends OwnEventType>(type: T, subject: string, data: NexusEventData[T]) => void;

export interface OwnEventsOptions {
	readonly log: EventLog;
	readonly clock: Clock;
	readonly logger: Logger;
	/** Of this Nexus. */
	readonly instance: string;
}

export function ownEvents({ log, clock, logger, instance }: OwnEventsOptions): TellOwn {
	const ids = new IdSource();
	return (type, subject, data) => {
		const event = makeEvent(type, data, { service: "nexus", instance, ids, wallMs: clock.wallMs(), subject });
		const bytes = Buffer.from(JSON.stringify(event));
		const { source, id, priority, partitionkey } = event;
		log.append({ bytes, events: [{ source, id, type, subject, priority, partitionKey: partitionkey, start: 0, end: bytes.length }] }).then(
			(outcome) => {
				if (!outcome.ok) logger.warn("an event about Nexus itself was not kept", { type, subject, failure: outcome.failure });
			},
			(thrown: unknown) => logger.error("an event about Nexus itself was not kept", { type, subject, error: messageOf(thrown) }),
		);
	};
}
