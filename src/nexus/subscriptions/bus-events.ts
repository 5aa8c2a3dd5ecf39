/** What the bus says of itself, into its own log. Best effort: what it is about is kept elsewhere. */
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import { IdSource } from "../../core/ids.ts";
import type { Logger } from "../../core/log.ts";
import { makeEvent, type NexusEventData, type NexusEventType } from "../../events/catalogue.ts";
import type { CloudEvent } from "../../events/cloud-event.ts";
import type { EventLog } from "../log/event-log.ts";
import type { Entry, Failure } from "./delivery.ts";

type BusEventType = NexusEventType & `nexus.bus.${string}`;

export type TellBus = <T extends BusEventType>(type: T, subscription: string, data: NexusEventData[T]) => void;

export interface BusEventsOptions {
	readonly log: EventLog;
	readonly clock: Clock;
	readonly logger: Logger;
	/** Of this Nexus. */
	readonly instance: string;
}

export function busEvents({ log, clock, logger, instance }: BusEventsOptions): TellBus {
	const ids = new IdSource();
	return (type, subscription, data) => {
		const event = makeEvent(type, data, { service: "nexus", instance, ids, wallMs: clock.wallMs(), subject: subscription });
		const bytes = Buffer.from(JSON.stringify(event));
		const { source, id, subject, priority, partitionkey } = event;
		log.append({ bytes, events: [{ source, id, type, subject, priority, partitionKey: partitionkey, start: 0, end: bytes.length }] }).then(
			(outcome) => {
				if (!outcome.ok) logger.warn("an event of the bus was not kept", { type, failure: outcome.failure });
			},
			(thrown: unknown) => logger.error("an event of the bus was not kept", { type, error: messageOf(thrown) }),
		);
	};
}

/** For each event that becomes a dead letter. */
export function tellParked(tell: TellBus, logger: Logger): (subscription: string, member: string, entry: Entry, failure: Failure) => void {
	return (subscription, member, { sequence, json }, { attempts, reason, status = 0 }) => {
		const { type, source, id } = JSON.parse(json.toString()) as CloudEvent;
		logger.warn("an event could not be delivered and is a dead letter", { subscription, member, sequence, attempts, reason });
		// Who subscribes to dead letters and fails would make more of them with each one.
		if (type === "nexus.bus.dead_letter.parked") return;
		tell("nexus.bus.dead_letter.parked", subscription, { subscription, member, sequence, type, source, id, attempts, reason, status });
	};
}
