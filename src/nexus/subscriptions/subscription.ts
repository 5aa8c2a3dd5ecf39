/** One subscription as it runs: its branches, opened and closed together, and what can be said of them. */
import { messageOf } from "../../core/errors.ts";
import type { EventFilter } from "../log/event-log.ts";
import { Branch, type BranchHouse } from "./branch.ts";
import type { Consumers } from "./consumers.ts";
import { policyOf, type SubscriptionDocument, subscriptionDocument } from "./document.ts";
import { compileFilter } from "./filter/filter.ts";
import { SHARED_START_EVENTS } from "./limits.ts";
import { branchMembers, buildSinks, missingPart, type Registered } from "./sinks/build-sink.ts";
import type { SubscriptionRecord } from "./subscription-record.ts";
import type { Transformer } from "./transform/transformer.ts";

export interface SubscriptionHouse extends BranchHouse {
	readonly transformer: Transformer;
	readonly registered: Registered;
	/** A receiver has said that it is gone for good, to the subscription as it was at that revision. */
	readonly onGone: (subscription: string, revision: number) => void;
}

/** `broken`: it cannot run as it is written (`trouble` says why), and nothing of it is lost. */
export type SubscriptionState = "running" | "paused" | "stalled" | "broken";

export interface SubscriptionNumbers {
	/** Events that are under way or wait for a try. */
	readonly open: number;
	readonly flying: number;
	/** Events of the log that were not looked at yet; an upper bound of those that are for it. */
	readonly unread: number;
	/** Since its receipt, of the oldest that is open; 0 where none is. */
	readonly oldestAgeMs: number;
	/** Of the pool, 0 to 1. */
	readonly utilisation: number;
	readonly poolSize: number;
	readonly acked: number;
	readonly naked: number;
	readonly timedOut: number;
	readonly terminated: number;
	readonly parked: number;
	readonly extended: number;
	readonly missed: number;
	readonly busyMs: number;
}

export class Subscription {
	readonly name: string;
	readonly record: SubscriptionRecord;
	/** Of the record, in the state. */
	readonly revision: number;
	readonly branches: readonly Branch[];
	/** Undefined where it is broken. */
	readonly document: SubscriptionDocument | undefined;
	/** Why it is broken. */
	readonly fault: string;
	/** It is broken because log or state could not be read, which passes. */
	readonly isUnread: boolean;
	readonly #house: SubscriptionHouse;
	#stalledSinceMs: number | undefined;

	private constructor(
		house: SubscriptionHouse,
		name: string,
		record: SubscriptionRecord,
		revision: number,
		document: SubscriptionDocument | undefined,
		branches: readonly Branch[],
		fault: string,
		isUnread = false,
	) {
		this.#house = house;
		this.name = name;
		this.record = record;
		this.revision = revision;
		this.document = document;
		this.branches = branches;
		this.fault = fault;
		this.isUnread = isUnread;
	}

	/** Never rejects: what cannot run is broken, and says why. Nothing is delivered before `start`. */
	static async open(house: SubscriptionHouse, name: string, record: SubscriptionRecord, revision: number): Promise<Subscription> {
		const parsed = subscriptionDocument.safeParse(record.document);
		const broken = (fault: string): Subscription => new Subscription(house, name, record, revision, parsed.data, [], fault);
		if (!parsed.success) return broken(`its document is not valid here: ${parsed.error.issues[0]?.message}`);
		const document = parsed.data;
		const missing = missingPart(document, house.registered, house.clock);
		if (missing !== undefined) return broken(`${missing.path}: ${missing.message}`);
		if (record.paused !== undefined) return new Subscription(house, name, record, revision, document, [], "");
		const policy = policyOf(document);
		const filter = compileFilter(document);
		const { clock, transformer, registered } = house;
		const sinks = buildSinks(name, document, { clock, transformer, registered, policy, onGone: () => house.onGone(name, revision) });
		const logFilter = logFilterOf(document);
		const { strategy = "direct" } = document;
		const common = { subscription: name, life: record.life, start: record.start, filter, logFilter, policy, strategy };
		const opened = await Promise.allSettled(sinks.map((sink) => Branch.open(house, { ...sink, ...common })));
		const branches = opened.flatMap((one) => (one.status === "fulfilled" ? one.value : []));
		const failed = opened.find((one) => one.status === "rejected");
		if (failed === undefined) return new Subscription(house, name, record, revision, document, branches, "");
		for (const branch of branches) branch.abandon();
		await Promise.all(sinks.map(({ sink }) => sink?.close()));
		return new Subscription(house, name, record, revision, document, [], messageOf(failed.reason), true);
	}

	/** Set by the stall detector. */
	get stalledSinceMs(): number | undefined {
		return this.#stalledSinceMs;
	}

	set stalledSinceMs(sinceMs: number | undefined) {
		this.#stalledSinceMs = sinceMs;
		for (const branch of this.branches) branch.noteStalled(sinceMs !== undefined);
	}

	get state(): SubscriptionState {
		if (this.record.paused !== undefined) return "paused";
		if (this.fault !== "") return "broken";
		return this.stalledSinceMs === undefined ? "running" : "stalled";
	}

	/** What keeps events from arriving, for people; "" where nothing is known. */
	get trouble(): string {
		if (this.fault !== "") return this.fault;
		return this.branches.find(({ trouble }) => trouble !== "")?.trouble ?? "";
	}

	/** Names of its branches, also of those that do not run. */
	get members(): readonly string[] {
		return this.document === undefined ? [""] : branchMembers(this.document);
	}

	/** Where consumers take. */
	get consumers(): Consumers | undefined {
		return this.branches[0]?.consumers;
	}

	get numbers(): SubscriptionNumbers {
		const { clock } = this.#house;
		const sum = (of: (branch: Branch) => number): number => this.branches.reduce((total, branch) => total + of(branch), 0);
		const oldest = Math.min(...this.branches.map(({ dispatcher }) => dispatcher.oldestReceivedAtMs ?? Number.POSITIVE_INFINITY));
		const poolSize = sum(({ pump }) => pump?.pool.size ?? 0);
		return {
			open: sum(({ dispatcher }) => dispatcher.openSize),
			flying: sum(({ dispatcher }) => dispatcher.flyingSize),
			unread: Math.max(0, ...this.branches.map((branch) => branch.unread)),
			oldestAgeMs: Number.isFinite(oldest) ? Math.max(0, clock.wallMs() - oldest) : 0,
			utilisation: poolSize === 0 ? 0 : Math.min(1, sum(({ pump }) => pump?.busy ?? 0) / poolSize),
			poolSize,
			acked: sum(({ dispatcher }) => dispatcher.counts.acked),
			naked: sum(({ dispatcher }) => dispatcher.counts.naked),
			timedOut: sum(({ dispatcher }) => dispatcher.counts.timedOut),
			terminated: sum(({ dispatcher }) => dispatcher.counts.terminated),
			parked: sum(({ dispatcher }) => dispatcher.counts.parked),
			extended: sum(({ dispatcher }) => dispatcher.counts.extended),
			missed: sum(({ dispatcher }) => dispatcher.counts.missed),
			busyMs: sum(({ dispatcher }) => dispatcher.counts.busyMs),
		};
	}

	start(): void {
		for (const branch of this.branches) branch.start();
	}

	/** Before another node has it; see Branch. */
	async drain(): Promise<void> {
		await Promise.all(this.branches.map((branch) => branch.drain()));
	}

	/** Waits a while for what is under way; progress is kept. */
	async close(): Promise<void> {
		await Promise.all(this.branches.map((branch) => branch.close()));
	}
}

/** What of the short form the log can sort out by itself. */
export function logFilterOf({ filter }: SubscriptionDocument): EventFilter {
	if (filter === undefined) return {};
	const { type, source, subject } = filter;
	return {
		...(type === undefined ? {} : { type }),
		...(source === undefined ? {} : { source }),
		...(subject === undefined ? {} : { subject }),
	};
}

/** The shared reader is to begin at the first of those that are near the end of the log; who is far behind it reads alone. */
export function inStartOrder(subscriptions: readonly Subscription[], lastSequence: number): readonly Subscription[] {
	const distance = ({ branches }: Subscription): number => {
		const position = Math.min(...branches.map(({ dispatcher }) => dispatcher.position));
		return lastSequence - position <= SHARED_START_EVENTS ? position : Number.MAX_SAFE_INTEGER;
	};
	return [...subscriptions].sort((a, b) => distance(a) - distance(b));
}
