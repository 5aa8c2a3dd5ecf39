/** What becomes of parsed events, however they came: refused, parked, or appended to the log; answered once they are durable. */
import type { CloudEvent } from "../../events/cloud-event.ts";
import type { EventMember } from "../../events/http-binding.ts";
import type { AppendOutcome, Durability, EventLog, NewEvent } from "../log/event-log.ts";
import type { RejectedEvent } from "./answer.ts";
import { CommitLanes } from "./commit-lanes.ts";
import { InFlight } from "./in-flight.ts";
import { URGENT_PRIORITY } from "./limits.ts";

export interface Published {
	readonly ok: true;
	readonly accepted: number;
	readonly duplicates: number;
	readonly rejected: readonly RejectedEvent[];
	/** Kept beside the log, as their data is not as their schema asks. */
	readonly parked: readonly RejectedEvent[];
	/** The last one given; 0 where none was. */
	readonly sequence: number;
	readonly durability: Durability;
}

/** Nothing of it is promised to be kept; sent again, what has been kept is recognised. */
export type PublishFailure =
	| (AppendOutcome & { readonly ok: false })
	| { readonly ok: false; readonly failure: "overloaded" }
	| { readonly ok: false; readonly failure: "parking"; readonly detail: string };

export type PublishOutcome = Published | PublishFailure;

export interface Violation {
	readonly reason: string;
	/** Or else refused. */
	readonly isParked: boolean;
}

/** What the schemas say of an event; undefined where it is fine. */
export type CheckEvent = (event: CloudEvent) => Violation | undefined;

export interface ParkingEvent {
	readonly index: number;
	readonly event: CloudEvent;
	/** As its sender wrote it. */
	readonly json: string;
	readonly reason: string;
}

export type ParkOutcome = { readonly ok: true; readonly refused: readonly RejectedEvent[] } | { readonly ok: false; readonly detail: string };

export interface PublisherOptions {
	readonly log: EventLog;
	readonly check: CheckEvent;
	/** Resolves once they are kept. */
	readonly park: (events: readonly ParkingEvent[]) => Promise<ParkOutcome>;
	readonly inFlight?: InFlight;
	readonly lanes?: CommitLanes;
}

export interface PublishCounts {
	readonly rejectedEvents: number;
	readonly parkedEvents: number;
	readonly overloaded: number;
}

/** A message as it came. Its bytes are counted as in flight already. */
export interface Message {
	readonly bytes: Buffer;
	readonly members: readonly EventMember[];
}

/** How a message came. */
export interface Way {
	/** Its sender is held back by other means; it is not refused for what else is in hand. */
	readonly isAdmitted: boolean;
	/** Its sender has others before it that are to stay before it, so that it may not overtake however urgent it is. */
	readonly isBehindOthers: boolean;
}

const REQUEST: Way = Object.freeze({ isAdmitted: false, isBehindOthers: false });
const NONE: readonly never[] = Object.freeze([]);

export class Publisher {
	readonly inFlight: InFlight;
	readonly lanes: CommitLanes;
	readonly #log: EventLog;
	readonly #check: CheckEvent;
	readonly #park: PublisherOptions["park"];
	#rejected = 0;
	#parked = 0;
	#overloaded = 0;

	constructor({ log, check, park, inFlight, lanes }: PublisherOptions) {
		this.#log = log;
		this.#check = check;
		this.#park = park;
		this.inFlight = inFlight ?? new InFlight();
		this.lanes = lanes ?? new CommitLanes(log);
	}

	get counts(): PublishCounts {
		return { rejectedEvents: this.#rejected, parkedEvents: this.#parked, overloaded: this.#overloaded };
	}

	/** Never rejects but for a fault of ours. */
	publish({ bytes, members }: Message, way: Way = REQUEST): Promise<PublishOutcome> {
		const events: NewEvent[] = [];
		let rejected: RejectedEvent[] | undefined;
		let parking: ParkingEvent[] | undefined;
		let isUrgent = false;
		let appended = 0;
		for (let index = 0; index < members.length; index++) {
			const member = members[index] as EventMember;
			if (!member.ok) {
				rejected ??= [];
				rejected.push({ index, reason: member.reason });
				continue;
			}
			const { event, start, end } = member;
			const violation = this.#check(event);
			if (violation === undefined) {
				const { source, id, type, subject, priority, partitionkey } = event;
				events.push({ source, id, type, subject, priority, partitionKey: partitionkey, start, end });
				appended += end - start;
				if (priority !== undefined && priority >= URGENT_PRIORITY) isUrgent = true;
			} else if (violation.isParked) {
				parking ??= [];
				parking.push({ index, event, json: bytes.toString("utf8", start, end), reason: violation.reason });
			} else {
				rejected ??= [];
				rejected.push({ index, reason: violation.reason });
			}
		}
		if (!isUrgent && !way.isAdmitted && this.inFlight.isShort) {
			this.overload();
			return Promise.resolve(OVERLOADED);
		}
		if (rejected !== undefined) this.#rejected += rejected.length;
		this.inFlight.take(0, members.length);
		const outcome = events.length === 0 ? this.#nothing : this.lanes.append({ bytes, events }, appended, isUrgent && !way.isBehindOthers);
		return this.#settle(outcome, members.length, rejected ?? NONE, parking);
	}

	/** A message was not even read, as too much is in hand. */
	overload(): typeof OVERLOADED {
		this.#overloaded++;
		return OVERLOADED;
	}

	async #settle(
		appending: Promise<AppendOutcome>,
		taken: number,
		rejected: readonly RejectedEvent[],
		parking: readonly ParkingEvent[] | undefined,
	): Promise<PublishOutcome> {
		try {
			const outcome = await appending;
			if (!outcome.ok) return outcome;
			const { accepted, duplicates, sequence, durability } = outcome;
			if (parking === undefined) return { ok: true, accepted, duplicates, rejected, parked: NONE, sequence, durability };
			const parked = await this.#park(parking);
			if (!parked.ok) return { ok: false, failure: "parking", detail: parked.detail };
			const refused = new Set(parked.refused.map(({ index }) => index));
			const kept = parking.filter(({ index }) => !refused.has(index)).map(({ index, reason }) => ({ index, reason }));
			this.#parked += kept.length;
			this.#rejected += refused.size;
			const all = refused.size === 0 ? rejected : [...rejected, ...parked.refused].sort((a, b) => a.index - b.index);
			return { ok: true, accepted, duplicates, rejected: all, parked: kept, sequence, durability };
		} finally {
			this.inFlight.giveBack(0, taken);
		}
	}

	get #nothing(): Promise<AppendOutcome> {
		const { durability } = this.#log.capabilities;
		return Promise.resolve({ ok: true, accepted: 0, duplicates: 0, sequence: 0, durability });
	}
}

const OVERLOADED: PublishFailure = Object.freeze({ ok: false, failure: "overloaded" });
