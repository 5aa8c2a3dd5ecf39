/** From what a program wants to tell to a CloudEvent: what it leaves out is put in once, so that sending it again is known to be the same. */
import type { Clock } from "../core/clock.ts";
import type { IdSource } from "../core/ids.ts";
import { type CloudEvent, validateEvent } from "../events/cloud-event.ts";

/** A CloudEvent of which only the type must be said. Further members are extensions. */
export type EventInput<Data = unknown> = Pick<CloudEvent<Data>, "type"> & Partial<CloudEvent<Data>> & { readonly [extension: string]: unknown };

export interface EventDefaults {
	/** Of events that name none. */
	readonly source: string | undefined;
	readonly ids: IdSource;
	readonly clock: Clock;
}

/** Throws a TypeError that names what is wrong with it: Nexus would refuse it each time. */
export function completeEvent(input: EventInput, { source, ids, clock }: EventDefaults): CloudEvent {
	const nowMs = clock.wallMs();
	const event = {
		specversion: "1.0",
		id: ids.uuid7(nowMs),
		...(source === undefined ? {} : { source }),
		time: new Date(nowMs).toISOString(),
		...input,
	};
	const verdict = validateEvent(event);
	if (!verdict.ok) throw new TypeError(`not a CloudEvent: ${verdict.reason}`);
	return verdict.event;
}
