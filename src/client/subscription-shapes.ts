/** What the API says of subscriptions, their deliveries and dead letters. Durations are texts as in `1.5s`, times RFC 3339. */
import type { CloudEvent } from "../events/cloud-event.ts";

/** What a subscription is asked to be. */
export interface SubscriptionDocument extends EventFilterFields {
	readonly description?: string;
	readonly sink: Sink;
	/** Default `direct`. */
	readonly strategy?: Strategy;
	readonly delivery?: DeliverySettings;
	/** Default `new`. Counts when it is made: `seek` moves one that is there. */
	readonly from?: StartPoint;
	/** Made before each delivery. */
	readonly transform?: { readonly jsonata: string };
}

export type Strategy = "direct" | "broadcast" | "round-robin" | "weighted" | "fan-out" | "keyed" | "priority";

/** One of both, or neither for every event. */
export interface EventFilterFields {
	readonly filter?: ShortFilter;
	/** Of the CloudEvents Subscriptions API; an event must pass all. */
	readonly filters?: readonly FilterDialect[];
}

/** Every condition that is given must hold. */
export interface ShortFilter {
	/** `*` stands for any run of characters. */
	readonly type?: string;
	readonly source?: string;
	readonly subject?: string;
	readonly priorityMin?: number;
	/** Further attributes: a value, or a list of which one must be met. */
	readonly metadata?: Readonly<Record<string, AttributeCondition | readonly AttributeCondition[]>>;
}

export type AttributeCondition = string | number | boolean;

/** Exactly one of them. */
export interface FilterDialect {
	readonly exact?: Readonly<Record<string, string>>;
	readonly prefix?: Readonly<Record<string, string>>;
	readonly suffix?: Readonly<Record<string, string>>;
	readonly all?: readonly FilterDialect[];
	readonly any?: readonly FilterDialect[];
	readonly not?: FilterDialect;
	/** CESQL. */
	readonly sql?: string;
}

export type Sink =
	| WebhookSink
	/** Consumers take events themselves. */
	| { readonly kind: "pull" }
	| { readonly kind: "function"; readonly name: string }
	| { readonly kind: "log"; readonly name: string };

/** Either `url` or `members`. */
export interface WebhookSink {
	readonly kind: "webhook";
	readonly url?: string;
	readonly members?: readonly WebhookMember[];
	readonly mode?: "structured" | "binary";
	readonly headers?: Readonly<Record<string, string>>;
	/** The newest first. Shown as `(set)`, which a put keeps. */
	readonly secret?: string | readonly string[];
	readonly handshake?: { readonly origin: string };
	readonly tls?: WebhookTls;
}

export interface WebhookMember {
	readonly name: string;
	readonly url: string;
	/** The service that this receiver must prove to be, in the place of `tls.identity`. */
	readonly identity?: string;
	readonly weight?: number;
}

export interface WebhookTls {
	/** What the receiver is shown: `mesh`, or the name of a certificate that Nexus was configured with. Default: none. */
	readonly client?: string;
	/** The roots that it is checked against: `system`, `mesh`, or a name as above. */
	readonly ca?: string;
	readonly serverName?: string;
	/** The service that the receiver must prove to be: its name in the mesh, or a SPIFFE ID. */
	readonly identity?: string;
}

export interface DeliverySettings {
	readonly attempts?: number;
	readonly backoff?: readonly string[];
	readonly jitter?: number;
	readonly ackWait?: string;
	readonly window?: number;
	readonly concurrency?: number | { readonly min: number; readonly max: number };
	readonly rateLimit?: { readonly perSecond: number; readonly burst?: number };
	readonly stallAfter?: string;
}

export type StartPoint =
	| "new"
	| "all"
	/** With this one. */
	| { readonly sequence: number }
	| { readonly time: string }
	| { readonly lastPer: "partitionkey" | "subject" };

export interface Subscription {
	readonly name: string;
	/** For `ifRevision`. */
	readonly revision: number;
	readonly state: "running" | "paused" | "stalled" | "broken";
	readonly trouble?: string;
	readonly pausedBecause?: string;
	readonly createdAt: string;
	readonly updatedAt: string;
	readonly document: SubscriptionDocument;
	/** Every event of the log up to here was looked at. */
	readonly position?: number;
	readonly lag: { readonly open: number; readonly unread: number; readonly oldestAgeMs: number };
	/** Since this Nexus runs. */
	readonly deliveries: Readonly<Record<"acked" | "naked" | "timedOut" | "terminated" | "parked" | "missed", number>>;
	readonly deadLetters: number;
	/** That dispatches it, where several share log and state. */
	readonly node?: string;
}

/** One try of one event. `Data`: what the program takes the events of the subscription to hold; a schema of their type makes it so. */
export interface TakenEvent<Data = unknown> {
	/** Names this try, for the answer. */
	readonly token: string;
	readonly sequence: number;
	/** 1 for the first. */
	readonly attempt: number;
	readonly receivedAt: string;
	readonly event: CloudEvent<Data>;
}

/** Tokens of tries. Each event wants an answer within `ackWait`, or comes again. */
export interface Answers {
	/** Done. */
	readonly ack?: readonly string[];
	/** Again: after the delay, or after the backoff of the subscription. */
	readonly nak?: readonly (string | { readonly token: string; readonly delay?: string; readonly reason?: string })[];
	/** Never again: it becomes a dead letter. */
	readonly term?: readonly (string | { readonly token: string; readonly reason?: string })[];
	/** Still at it: `ackWait` begins anew. */
	readonly progress?: readonly string[];
}

/** Told once it is written down. */
export interface AnswerReport {
	readonly settled: number;
	/** Tries that were over already: their events come again, or are settled. */
	readonly unknown: readonly string[];
}

export interface DeadLetter {
	readonly sequence: number;
	/** Of a broadcast: who did not get it; empty otherwise. */
	readonly member: string;
	readonly receivedAt: string;
	readonly attempts: number;
	/** Of the last try. */
	readonly reason: string;
	/** That the receiver answered. */
	readonly status?: number;
	/** The beginning of what it answered. */
	readonly answer?: string;
	readonly firstTriedAt: string;
	readonly lastTriedAt: string;
	readonly parkedAt: string;
	readonly event: CloudEvent;
}

export interface DeadLetterPage {
	readonly deadLetters: readonly DeadLetter[];
	/** For `after`; null where there is nothing more. */
	readonly next: string | null;
	/** Of all pages. */
	readonly total: number;
}

export interface DeadLetterReplay {
	/** Delivered, and dead letters no more. */
	readonly recovered: number;
	/** Dead letters still, with the new error. */
	readonly stillFailed: number;
	/** Not decided in this time: dead letters until they have arrived. */
	readonly pending: number;
}
