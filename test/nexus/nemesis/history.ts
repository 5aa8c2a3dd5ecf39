/** What a run is judged by: what was sent, acknowledged, stored, delivered and parked. Pure. */

/** What becomes of an event at its consumers: the sender says it, so that every consumer, also one that was killed, decides the same. */
export type Fate =
	| "good"
	/** Refused at first. */
	| "flaky"
	/** Not answered at first. */
	| "slow"
	/** Refused until its consumers are mended, after the faults: a dead letter that is worth another try. */
	| "sick"
	/** Refused for ever. */
	| "poison";

export interface Sent {
	readonly id: string;
	readonly key: string;
	/** Counts the events of the key. The next one is sent once this one is acknowledged, or behind it in the same batch. */
	readonly n: number;
	readonly fate: Fate;
	readonly digest: string;
}

/** An event as somebody else showed it; `digest` is of what it holds then. */
export interface Seen {
	readonly id: string;
	readonly digest: string;
	readonly sequence: number;
}

export type Moment =
	/** It has come. */
	| { readonly what: "delivered"; readonly id: string; readonly digest: string }
	/** The consumer is about to say yes. */
	| { readonly what: "accepted"; readonly id: string }
	/** It has said yes, and was told that this is kept. */
	| { readonly what: "settled"; readonly id: string }
	/** All was done, and Nexus has written that down: from here on nothing is to come but what is tried again. */
	| { readonly what: "closed" };

export interface Subscribed {
	readonly name: string;
	/** In the order in which they happened. */
	readonly moments: readonly Moment[];
	/** The dead letters as all was done, before any was tried again. */
	readonly parked: ReadonlySet<string>;
	/** After each was tried again, with consumers that are well. */
	readonly dead: readonly Seen[];
}

export interface History {
	/** The log promises to keep each event once, also where it is sent again to another node. */
	readonly isTakenOnce: boolean;
	/** Every attempt, acknowledged or not, by id. */
	readonly sent: ReadonlyMap<string, Sent>;
	readonly acknowledged: ReadonlySet<string>;
	/** The whole log at the end, as it was read. */
	readonly stored: readonly Seen[];
	/** By a follower that was there from the start, in the order of arrival. */
	readonly followed: readonly Seen[];
	/** Sequences that the log or a stream said it could not show. */
	readonly gaps: readonly { readonly where: string; readonly first: number; readonly last: number }[];
	readonly subscriptions: readonly Subscribed[];
}

/** A line of the record that each process of a run writes, before it acts on it. */
export type Line =
	| ({ readonly what: "sent" } & Sent)
	| { readonly what: "acknowledged"; readonly id: string; readonly durability: string }
	/** `status` 0: nobody answered. */
	| { readonly what: "refused"; readonly status: number }
	| ({ readonly what: "followed" } & Seen)
	| { readonly what: "gap"; readonly first: number; readonly last: number }
	| Moment;
