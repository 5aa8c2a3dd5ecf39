/** What Nexus says became of events, as HTTP and WebSocket tell it alike. */

export interface RefusedEvent {
	/** Position among those that were sent. */
	readonly index: number;
	readonly reason: string;
}

export interface PublishReport {
	/** New, and durable. */
	readonly accepted: number;
	/** In the log already: as durable. */
	readonly duplicates: number;
	/** Never taken; the others are kept. */
	readonly rejected: readonly RefusedEvent[];
	/** Durable beside the log, as they violate the schema of their type. */
	readonly parked?: readonly RefusedEvent[];
	/** The last one given; 0 where none was. */
	readonly sequence: number;
	readonly durability: "memory" | "os" | "disk" | "quorum";
}

/** An event that Nexus will never take as it is. */
export class EventRejected extends Error {}

/** Whether it is in the log (or is known to be), or parked. Throws where it was rejected. */
export function fateOf(index: number, { rejected, parked = [], durability }: PublishReport): EventReceipt {
	const refused = rejected.find((each) => each.index === index);
	if (refused !== undefined) throw new EventRejected(refused.reason);
	const aside = parked.find((each) => each.index === index);
	return aside === undefined ? { durability } : { durability, parked: aside.reason };
}

export interface EventReceipt {
	readonly durability: PublishReport["durability"];
	/** Why it is beside the log; absent where it is in it. */
	readonly parked?: string;
}
