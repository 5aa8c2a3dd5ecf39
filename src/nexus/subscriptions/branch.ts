/** One line of deliveries, from the log to a receiver: a subscription has one, a broadcast one for each member. Opened from its progress, closed with it. */
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Rng } from "../../core/rng.ts";
import type { EventFilter, EventLog } from "../log/event-log.ts";
import type { StateStore } from "../state/state-store.ts";
import type { CatchUp, CatchUpTarget } from "./catch-up.ts";
import { Consumers } from "./consumers.ts";
import type { DeadLetters } from "./dead-letters.ts";
import type { Entry, Failure, Sink } from "./delivery.ts";
import type { DeliveryPolicy } from "./delivery-policy.ts";
import { Dispatcher } from "./dispatcher.ts";
import type { Strategy } from "./document.ts";
import { parseStored } from "./feed.ts";
import { type Figures, figuresIn, figuresOf } from "./figures.ts";
import type { Filter } from "./filter/filter.ts";
import { CATCH_UP_PAGE_EVENTS, DRAIN_MS, UNWRITTEN_MAX } from "./limits.ts";
import type { Portion } from "./portion.ts";
import { decodeProgress, type OpenEvent, type Progress } from "./progress.ts";
import { Pump } from "./pump.ts";
import { KeyedQueue, PlainQueue } from "./ready-queue.ts";
import type { Transform } from "./sinks/transformed.ts";
import { lastPerKey, type Start } from "./start-position.ts";
import type { WindowBudget } from "./window-budget.ts";

/** Of the cursors of all branches. */
export const CURSOR_PREFIX = "subscription/";
const DRAIN_LOOK_MS = 20;

/** What all branches of one Nexus share. */
export interface BranchHouse {
	readonly log: EventLog;
	readonly state: StateStore;
	readonly clock: Clock;
	readonly rng: Rng;
	readonly logger: Logger;
	readonly budget: WindowBudget;
	readonly catchUp: CatchUp;
	readonly letters: DeadLetters;
	readonly onParked: (subscription: string, member: string, entry: Entry, failure: Failure) => void;
	/** Nexus does. */
	readonly isStopping: () => boolean;
	/** Undefined: no other node has subscriptions. */
	readonly portion?: Portion;
}

export interface BranchOptions {
	readonly subscription: string;
	/** "" but in a broadcast. */
	readonly member: string;
	readonly life: number;
	readonly start: Start;
	readonly filter: Filter;
	readonly logFilter: EventFilter;
	readonly policy: DeliveryPolicy;
	readonly strategy: Strategy;
	/** Undefined: consumers take. */
	readonly sink: Sink | undefined;
	readonly transform: Transform | undefined;
}

export class Branch implements CatchUpTarget {
	readonly name: string;
	readonly member: string;
	readonly filter: Filter;
	readonly logFilter: EventFilter;
	readonly dispatcher: Dispatcher;
	readonly alone: CatchUpTarget["alone"];
	readonly pump: Pump | undefined;
	readonly consumers: Consumers | undefined;
	readonly #house: BranchHouse;
	readonly #subscription: string;
	readonly #mayDeliver: () => boolean;
	/** Nothing is written of how far it is. */
	#isNew = false;
	#isDraining = false;
	#isStalled = false;

	private constructor(house: BranchHouse, options: BranchOptions, dispatcher: Dispatcher, alone: CatchUpTarget["alone"], mayDeliver: () => boolean) {
		const { subscription, member, sink, policy, life, transform } = options;
		this.#house = house;
		this.#subscription = subscription;
		this.#mayDeliver = mayDeliver;
		this.name = branchName(subscription, member);
		this.member = member;
		this.filter = options.filter;
		this.logFilter = options.logFilter;
		this.dispatcher = dispatcher;
		this.alone = alone;
		this.pump = sink === undefined ? undefined : new Pump(dispatcher, sink, house.clock, policy.concurrency);
		this.consumers = sink === undefined ? new Consumers(dispatcher, life, { ...house, transform }) : undefined;
	}

	/** Goes on where its progress says, or begins at its start. Rejects where log or state cannot be read. */
	static async open(house: BranchHouse, options: BranchOptions): Promise<Branch> {
		const { log, state, letters, clock } = house;
		const { subscription, member, life, start, strategy } = options;
		const name = branchName(subscription, member);
		const found = await state.cursor(cursorName(name));
		if (!found.ok) throw new Error(`the progress of ${name} could not be read: ${found.detail}`);
		const kept = decodeProgress(found.value);
		const progress = kept?.life === life ? kept : undefined;
		const position = progress?.position ?? start.position;
		const isKeyed = strategy === "keyed";
		let branch: Branch | undefined;
		const { portion } = house;
		const mayDeliver = portion?.guardOf(subscription);
		let written = 0;
		let isHeld = false;
		const mayAct = (): boolean => {
			isHeld = dispatcher.counts.acked - written >= UNWRITTEN_MAX;
			return !isHeld && (branch === undefined || !branch.#isDraining) && mayDeliver?.() !== false;
		};
		const dispatcher: Dispatcher = new Dispatcher({
			...house,
			...(mayDeliver === undefined ? {} : { mayAct }),
			policy: options.policy,
			ready: isKeyed ? new KeyedQueue() : new PlainQueue(strategy === "priority"),
			isKeyed,
			life,
			position,
			async save(text) {
				const { acked } = dispatcher.counts;
				const cursor = portion === undefined || branch === undefined ? text : { ...text, figures: branch.#figures() };
				const { ok } = await state.saveCursor(cursorName(name), cursor);
				if (ok) written = acked;
				if (ok && isHeld) dispatcher.onReady();
				return ok;
			},
			async park(entry, failure) {
				const isKept = await letters.park(subscription, member, entry, failure, clock.wallMs());
				if (isKept && entry.replay === undefined) house.onParked(subscription, member, entry, failure);
				return isKept;
			},
			unpark: async ({ sequence }) => (await letters.remove(subscription, { sequence, member })) !== "failed",
		});
		const { lastPer } = start;
		let alone: CatchUpTarget["alone"];
		try {
			if (lastPer !== undefined && position < lastPer.until) {
				const wanted = await lastPerKey(log, options, position, lastPer);
				// Checked when it was made; keys that came since stand behind `until`.
				alone = { until: lastPer.until, wants: (sequence) => wanted?.has(sequence) ?? true };
			}
			if (progress !== undefined) await restore(log, dispatcher, progress);
		} catch (thrown) {
			dispatcher.abandon();
			throw thrown;
		}
		branch = new Branch(house, options, dispatcher, alone, mayDeliver ?? (() => true));
		branch.#isNew = progress === undefined;
		return branch;
	}

	start(): void {
		this.dispatcher.start();
		this.#house.catchUp.add(this);
		// Where others have stood when it joined them is known to nobody else.
		if (this.#isNew) this.dispatcher.saveSoon();
	}

	onLagging(): void {
		this.#house.catchUp.add(this);
	}

	/** Events behind the end of the log that were not looked at yet; an upper bound of those for this one. */
	get unread(): number {
		return this.dispatcher.isLive ? 0 : Math.max(0, this.#house.log.stats().lastSequence - this.dispatcher.position);
	}

	/** What keeps events from arriving, for people; "" where nothing is known. */
	get trouble(): string {
		return this.pump?.trouble || this.pump?.lastFailure || "";
	}

	/** Kept for the other nodes, where there are some. */
	noteStalled(isStalled: boolean): void {
		this.#isStalled = isStalled;
		if (this.#house.portion !== undefined) this.dispatcher.saveSoon();
	}

	/**
	 * Before another node has it: gives nothing more to consumers and waits a while for their answers, so that little comes again. A pump
	 * waits for its own when it is closed.
	 */
	async drain(): Promise<void> {
		this.#isDraining = true;
		if (this.consumers === undefined) return;
		const { clock } = this.#house;
		const untilMs = clock.monotonicMs() + DRAIN_MS;
		while (this.dispatcher.flyingSize > 0 && this.#mayDeliver() && clock.monotonicMs() < untilMs) {
			await new Promise<void>((resolve) => void clock.setTimer(DRAIN_LOOK_MS, resolve));
		}
	}

	/** Of one that was never started. */
	abandon(): void {
		this.dispatcher.abandon();
	}

	/** Waits a while for what is under way. */
	async close(): Promise<void> {
		await this.#house.catchUp.remove(this);
		this.consumers?.end();
		await this.pump?.stop(DRAIN_MS);
		await this.dispatcher.close();
	}

	#figures(): Figures {
		return figuresOf(this.dispatcher.counts, {
			oldestAtMs: this.dispatcher.oldestReceivedAtMs ?? 0,
			isStalled: this.#isStalled,
			trouble: this.trouble,
			deadLetters: this.#house.letters.count(this.#subscription)?.count ?? 0,
		});
	}
}

/** Of one that another node has; undefined where it has none, or the state cannot be read. */
export async function keptOf(
	state: StateStore,
	subscription: string,
	member: string,
): Promise<{ readonly progress: Progress; readonly figures: Figures } | undefined> {
	const found = await state.cursor(cursorName(branchName(subscription, member)));
	const progress = found.ok ? decodeProgress(found.value) : undefined;
	return found.ok && progress !== undefined ? { progress, figures: figuresIn(found.value) } : undefined;
}

/** Forgets how far it had come. */
export async function forgetProgress(state: StateStore, subscription: string, member: string): Promise<void> {
	await state.saveCursor(cursorName(branchName(subscription, member)), undefined);
}

/** Where a branch may begin that takes over from others, without missing anything that any of them had open: their slowest. */
export async function safePosition(
	state: StateStore,
	subscription: string,
	members: readonly string[],
	{ life, start }: { readonly life: number; readonly start: Start },
): Promise<Start> {
	let position = Number.POSITIVE_INFINITY;
	for (const member of members) {
		const found = await state.cursor(cursorName(branchName(subscription, member)));
		const progress = found.ok ? decodeProgress(found.value) : undefined;
		if (progress?.life !== life) return start;
		position = Math.min(position, progress.position, (progress.open[0]?.sequence ?? Number.POSITIVE_INFINITY) - 1);
	}
	return { ...start, position: Math.max(position, start.position) };
}

/** A slash stands in no name. */
function branchName(subscription: string, member: string): string {
	return member === "" ? subscription : `${subscription}/${member}`;
}

function cursorName(branch: string): string {
	return CURSOR_PREFIX + branch;
}

export function subscriptionOfCursor(cursor: string): string {
	const [subscription = ""] = cursor.slice(CURSOR_PREFIX.length).split("/");
	return subscription;
}

/** Reads the events that were open, page by page as far as they stand together. */
async function restore(log: EventLog, dispatcher: Dispatcher, { atMs, open }: Progress): Promise<void> {
	let at = 0;
	while (at < open.length) {
		const first = open[at] as OpenEvent;
		const { events, scannedTo } = await log.read({ after: first.sequence - 1, order: "asc", limit: CATCH_UP_PAGE_EVENTS });
		const bySequence = new Map(events.map((event) => [event.sequence, event]));
		for (let next = open[at]; next !== undefined && next.sequence <= Math.max(scannedTo, first.sequence); next = open[++at]) {
			const stored = bySequence.get(next.sequence);
			const event = stored === undefined ? undefined : parseStored(stored);
			if (stored !== undefined && event !== undefined) dispatcher.restore(stored, event, next, atMs);
			else dispatcher.counts.missed++;
		}
	}
}
