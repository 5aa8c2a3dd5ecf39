/** The subscriptions that this node has: kept in the state, opened when they become its own, changed one at a time under their revision. */
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Rng } from "../../core/rng.ts";
import type { EventLog } from "../log/event-log.ts";
import { put, remove, type StateStore, type Write } from "../state/state-store.ts";
import { forgetProgress, safePosition } from "./branch.ts";
import { busEvents, type TellBus, tellParked } from "./bus-events.ts";
import { CatchUp } from "./catch-up.ts";
import { DeadLetters } from "./dead-letters.ts";
import { type StartPoint, type SubscriptionDocument, subscriptionDocument } from "./document.ts";
import { Feed } from "./feed.ts";
import { compileFilter } from "./filter/filter.ts";
import { filterFaults } from "./filter/schema.ts";
import { SUBSCRIPTIONS_MAX, WINDOW_BYTES_MAX } from "./limits.ts";
import { type OpenAgainOptions, openAgain } from "./open-again.ts";
import type { Portion } from "./portion.ts";
import { type Changed, MOVED, NOT_FOUND, type Refusal } from "./refusal.ts";
import { type ReplayResult, type ReplayWish, replayLetters } from "./replay.ts";
import { withSecretsOf } from "./secrets.ts";
import { missingPart, type Registered } from "./sinks/build-sink.ts";
import { StallDetector } from "./stall-detector.ts";
import { beginning, type Start } from "./start-position.ts";
import { inStartOrder, logFilterOf, Subscription, type SubscriptionHouse } from "./subscription.ts";
import { recordOf, recordPages, SUBSCRIPTIONS_TABLE, type SubscriptionRecord } from "./subscription-record.ts";
import { Transformer } from "./transform/transformer.ts";
import { Turns } from "./turns.ts";
import { Waits } from "./waits.ts";
import { WindowBudget } from "./window-budget.ts";

export interface SubscriptionsOptions {
	readonly log: EventLog;
	readonly state: StateStore;
	readonly clock: Clock;
	readonly rng: Rng;
	readonly logger: Logger;
	/** Names this Nexus in the events that it sends. */
	readonly instance: string;
	readonly registered?: Registered;
	/** Undefined: all subscriptions are here. */
	readonly portion?: Portion;
}

const OPENED_AT_ONCE = 64;

export class Subscriptions {
	readonly letters: DeadLetters;
	readonly waits = new Waits();
	readonly #options: SubscriptionsOptions;
	readonly #house: SubscriptionHouse;
	readonly #feed: Feed;
	readonly #catchUp: CatchUp;
	readonly #transformer: Transformer;
	readonly #tell: TellBus;
	readonly #stalls: StallDetector;
	readonly #all = new Map<string, Subscription>();
	readonly #turns: Turns;
	readonly #again: OpenAgainOptions;

	/** Has none yet. */
	constructor(options: SubscriptionsOptions) {
		const { log, state, clock, logger, registered = { functions: {}, logs: {} } } = options;
		this.#options = options;
		this.letters = new DeadLetters(state);
		this.#turns = new Turns(logger);
		this.#feed = new Feed(log, clock, logger);
		this.#catchUp = new CatchUp(log, this.#feed, clock, logger);
		this.#transformer = new Transformer(clock);
		this.#tell = busEvents(options);
		this.#house = {
			...options,
			registered,
			letters: this.letters,
			catchUp: this.#catchUp,
			transformer: this.#transformer,
			budget: new WindowBudget(WINDOW_BYTES_MAX),
			onGone: (name, revision) => this.#onGone(name, revision),
			onParked: tellParked(this.#tell, logger),
			isStopping: () => this.waits.isOver,
		};
		this.#stalls = new StallDetector(clock, () => this.#all.values(), this.#tell);
		this.#again = {
			house: this.#house,
			clock,
			turns: this.#turns,
			isStill: (unread) => this.#all.get(unread.name) === unread && !this.waits.isOver,
			mayOpen: (name) => options.portion?.mayChange(name) !== false,
			onOpened: (subscription) => this.#begun(subscription),
		};
	}

	/** All of them. Goes on where the last process stopped. Rejects where the state cannot be read. */
	static async open(options: SubscriptionsOptions): Promise<Subscriptions> {
		const subscriptions = new Subscriptions(options);
		try {
			await subscriptions.take(() => true);
		} catch (thrown) {
			await subscriptions.close();
			throw thrown;
		}
		return subscriptions;
	}

	get(name: string): Subscription | undefined {
		return this.#all.get(name);
	}

	/** By name. */
	list(after: string, limit: number): Subscription[] {
		const names = [...this.#all.keys()].filter((name) => name > after).sort();
		return names.slice(0, limit).flatMap((name) => this.#all.get(name) ?? []);
	}

	values(): Iterable<Subscription> {
		return this.#all.values();
	}

	/** `expected`: the revision that it must have; 0: there must be none. */
	put(name: string, given: unknown, expected?: number): Promise<Changed> {
		return this.#turns.take(name, async () => {
			const current = this.#all.get(name);
			const complete = withSecretsOf(given, current?.record.document);
			const parsed = subscriptionDocument.safeParse(complete);
			if (!parsed.success) return { ok: false, failure: "invalid", faults: filterFaults(parsed.error) };
			const missing = missingPart(parsed.data, this.#house.registered, this.#house.clock);
			if (missing !== undefined) return { ok: false, failure: "invalid", faults: [missing] };
			if (current === undefined && this.#all.size >= SUBSCRIPTIONS_MAX * (this.#options.portion?.part() ?? 1))
				return this.absence(name) === MOVED ? MOVED : { ok: false, failure: "too_many" };
			const document = complete as Record<string, unknown>;
			const updatedAtMs = this.#options.clock.wallMs();
			if (current !== undefined) return this.#change(name, { ...current.record, document, updatedAtMs }, expected);
			const begun = await this.#begin(parsed.data, parsed.data.from ?? "new");
			if ("ok" in begun) return begun;
			return this.#change(name, { document, ...begun, createdAtMs: updatedAtMs, updatedAtMs }, expected);
		});
	}

	/** `expected`: the revision that it must have. */
	pause(name: string, reason: string, expected?: number): Promise<Changed> {
		return this.#turns.take(name, async () => {
			const current = this.#all.get(name);
			if (current === undefined) return this.absence(name);
			if (current.record.paused !== undefined) return { ok: true, subscription: current, isNew: false };
			return this.#change(name, { ...current.record, paused: { sinceMs: this.#options.clock.wallMs(), reason } }, expected);
		});
	}

	resume(name: string): Promise<Changed> {
		return this.#turns.take(name, async () => {
			const current = this.#all.get(name);
			if (current === undefined) return this.absence(name);
			const { paused: _, ...record } = current.record;
			return this.#change(name, record);
		});
	}

	/** Begins somewhere anew; what was open is open no more, dead letters stay. */
	seek(name: string, from: StartPoint): Promise<Changed> {
		return this.#turns.take(name, async () => {
			const current = this.#all.get(name);
			if (current?.document === undefined) return this.absence(name);
			const begun = await this.#begin(current.document, from);
			if ("ok" in begun) return begun;
			return this.#change(name, { ...current.record, ...begun });
		});
	}

	/** `discard`: with its dead letters, where it has some. */
	remove(name: string, discard: boolean, expected?: number): Promise<{ readonly ok: true } | Refusal> {
		return this.#turns.take(name, async () => {
			const current = this.#all.get(name);
			if (current === undefined) return this.absence(name);
			const { count = 0 } = this.letters.count(name) ?? {};
			if (count > 0 && !discard) return { ok: false, failure: "dead_letters", count };
			const outcome = await this.#commit(name, remove(SUBSCRIPTIONS_TABLE, name, expected ?? current.revision));
			if (!outcome.ok) return outcome;
			this.#all.delete(name);
			await current.close();
			for (const member of current.members) await forgetProgress(this.#options.state, name, member);
			await this.letters.discard(name);
			return { ok: true };
		});
	}

	/** Opens these, which are this node's from now on. Rejects where the state cannot be read; none of them is open then. */
	async take(has: (name: string) => boolean): Promise<void> {
		try {
			await this.letters.load(has);
			const opened = await this.#openAll(has);
			for (const subscription of inStartOrder(opened, this.#options.log.stats().lastSequence)) this.#begun(subscription);
		} catch (thrown) {
			await this.#closeAll(has, false);
			throw thrown;
		}
	}

	/** Closes these in order: another node has them from then on. Consumers are waited for, as long as it matters what they say. */
	async letGo(has: (name: string) => boolean): Promise<void> {
		await this.#turns.over(has);
		await this.#closeAll(has, !this.waits.isOver);
	}

	/** Why there is none of this name. */
	absence(name: string): Refusal {
		return this.#options.portion?.mayChange(name) === false ? MOVED : NOT_FOUND;
	}

	async replay(name: string, wish: ReplayWish): Promise<({ readonly ok: true } & ReplayResult) | Refusal> {
		const subscription = this.#all.get(name);
		if (subscription === undefined) return this.absence(name);
		if (subscription.branches.length === 0) return { ok: false, failure: "paused", detail: subscription.record.paused?.reason ?? subscription.fault };
		return replayLetters(this.letters, subscription, wish, this.#options.clock);
	}

	/** Waits a while for what is under way; progress is kept. */
	async close(): Promise<void> {
		this.waits.endAll();
		this.#stalls.close();
		await this.letGo(() => true);
		await this.#catchUp.close();
		await this.#feed.close();
		await this.#transformer.close();
	}

	async #openAll(has: (name: string) => boolean): Promise<readonly Subscription[]> {
		const { state, logger } = this.#options;
		const opened: Subscription[] = [];
		for await (const entries of recordPages(state, OPENED_AT_ONCE)) {
			await Promise.all(
				entries.map(async ({ key, value, revision }) => {
					if (!has(key)) return;
					const record = recordOf(value);
					if (record === undefined) {
						logger.error("a subscription of the state cannot be read; it is left as it is", { subscription: key });
						return;
					}
					const subscription = await Subscription.open(this.#house, key, record, revision);
					this.#all.set(key, subscription);
					opened.push(subscription);
				}),
			);
		}
		return opened;
	}

	async #closeAll(has: (name: string) => boolean, drains: boolean): Promise<void> {
		const closing = [...this.#all.values()].filter(({ name }) => has(name));
		if (drains) await Promise.all(closing.map((subscription) => subscription.drain()));
		await Promise.all(closing.map((subscription) => subscription.close()));
		for (const { name } of closing) this.#all.delete(name);
	}

	#begun(subscription: Subscription): void {
		const { name, fault, isUnread } = subscription;
		this.#all.set(name, subscription);
		if (fault !== "") this.#options.logger.error("a subscription is broken", { subscription: name, fault });
		subscription.start();
		if (isUnread) openAgain(subscription, this.#again);
	}

	/** Writes the record, then lets the new one take the place of the old one. */
	async #change(name: string, record: SubscriptionRecord, expected?: number): Promise<Changed> {
		const current = this.#all.get(name);
		const outcome = await this.#commit(name, put(SUBSCRIPTIONS_TABLE, name, record, expected ?? current?.revision ?? 0));
		if (!outcome.ok) return outcome;
		await current?.close();
		let kept = record;
		if (current !== undefined && current.record.life === record.life) {
			// Branches that were not there before begin where the slowest of the others stands.
			kept = { ...record, start: await safePosition(this.#options.state, name, current.members, record) };
		}
		const subscription = await Subscription.open(this.#house, name, kept, outcome.revision);
		this.#begun(subscription);
		return { ok: true, subscription, isNew: current === undefined };
	}

	async #commit(name: string, write: Write): Promise<{ readonly ok: true; readonly revision: number } | Refusal> {
		if (this.waits.isOver) return { ok: false, failure: "unavailable", detail: "Nexus is stopping" };
		if (this.#options.portion?.mayChange(name) === false) return MOVED;
		const outcome = await this.#options.state.commit([write]);
		if (outcome.ok) return outcome;
		if (outcome.failure === "conflict") return { ok: false, failure: "precondition", actual: outcome.conflicts[0]?.actual ?? 0 };
		return { ok: false, failure: "unavailable", detail: outcome.detail };
	}

	/** What it is changed into meanwhile may have another receiver. */
	#onGone(name: string, revision: number): void {
		const reason = "the receiver says that it is gone for good (410)";
		this.#options.logger.warn("a subscription is to be paused", { subscription: name, reason });
		void this.pause(name, reason, revision);
	}

	#begin(document: SubscriptionDocument, from: StartPoint): Promise<{ life: number; start: Start } | Refusal> {
		const { log, rng } = this.#options;
		return beginning(log, rng, from, { filter: compileFilter(document), logFilter: logFilterOf(document) });
	}
}
