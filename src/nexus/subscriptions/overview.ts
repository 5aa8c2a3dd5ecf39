/** All subscriptions, whichever node has them: its own as they run, those of other nodes as these have written them down. */
import type { Clock } from "../../core/clock.ts";
import type { EventLog } from "../log/event-log.ts";
import type { Entry, StateFailed, StateStore } from "../state/state-store.ts";
import { keptOf } from "./branch.ts";
import { subscriptionDocument } from "./document.ts";
import type { Figures } from "./figures.ts";
import { branchMembers } from "./sinks/build-sink.ts";
import type { Subscription, SubscriptionNumbers, SubscriptionState } from "./subscription.ts";
import { recordOf, SUBSCRIPTIONS_TABLE, type SubscriptionRecord } from "./subscription-record.ts";
import type { Subscriptions } from "./subscriptions.ts";

export interface SubscriptionView {
	readonly name: string;
	readonly revision: number;
	readonly record: SubscriptionRecord;
	readonly state: SubscriptionState;
	/** What keeps events from arriving; "" where nothing is known. */
	readonly trouble: string;
	/** Undefined where it does not run. */
	readonly position: number | undefined;
	readonly numbers: Pick<
		SubscriptionNumbers,
		"open" | "unread" | "oldestAgeMs" | "acked" | "naked" | "timedOut" | "terminated" | "parked" | "missed"
	>;
	readonly deadLetters: number;
	/** That dispatches it; undefined where there is one node only, or none is known to do so. */
	readonly node: string | undefined;
}

export type OverviewPage = { readonly ok: true; readonly views: readonly SubscriptionView[]; readonly next: string | undefined } | StateFailed;

export interface OverviewOptions {
	readonly subscriptions: Subscriptions;
	readonly log: EventLog;
	readonly clock: Clock;
	/** Undefined: all of them are here. */
	readonly shared: Shared | undefined;
}

/** Where other nodes have some. */
interface Shared {
	readonly state: StateStore;
	readonly nodeOf: (subscription: string) => string | undefined;
}

export class Overview {
	readonly #options: OverviewOptions;

	constructor(options: OverviewOptions) {
		this.#options = options;
	}

	/** One of this node's own. */
	viewOf(subscription: Subscription): SubscriptionView {
		const { name, revision, record, state, trouble, numbers, branches } = subscription;
		const position = branches.length === 0 ? undefined : Math.min(...branches.map(({ dispatcher }) => dispatcher.position));
		const deadLetters = this.#options.subscriptions.letters.count(name)?.count ?? 0;
		return { name, revision, record, state, trouble, position, numbers, deadLetters, node: this.#options.shared?.nodeOf(name) };
	}

	/** By name, those behind `after`. */
	async page(after: string, limit: number): Promise<OverviewPage> {
		const { subscriptions, shared } = this.#options;
		if (shared === undefined) {
			const found = subscriptions.list(after, limit + 1);
			const next = found.length > limit ? found.at(-2)?.name : undefined;
			return { ok: true, views: found.slice(0, limit).map((one) => this.viewOf(one)), next };
		}
		const page = await shared.state.list(SUBSCRIPTIONS_TABLE, { limit, ...(after === "" ? {} : { after }) });
		if (!page.ok) return page;
		const views = await Promise.all(
			page.value.entries.map((entry) => {
				const own = subscriptions.get(entry.key);
				return own === undefined ? this.#elsewhere(shared, entry) : this.viewOf(own);
			}),
		);
		return { ok: true, views: views.filter((view) => view !== undefined), next: page.value.next };
	}

	/** Undefined where the state has something else than a subscription. */
	async #elsewhere({ state, nodeOf }: Shared, { key: name, value, revision }: Entry): Promise<SubscriptionView | undefined> {
		const record = recordOf(value);
		if (record === undefined) return undefined;
		const { data: document } = subscriptionDocument.safeParse(record.document);
		const members = document === undefined ? [""] : branchMembers(document);
		const kept = (await Promise.all(members.map((member) => keptOf(state, name, member)))).filter((one) => one !== undefined);
		const deadLetters = Math.max(0, ...kept.map(({ figures }) => figures.deadLetters));
		const seen = { name, revision, record, deadLetters, node: nodeOf(name) };
		if (record.paused !== undefined || document === undefined) {
			const trouble = document === undefined ? "its document is not valid here" : "";
			return { ...seen, state: record.paused === undefined ? "broken" : "paused", trouble, position: undefined, numbers: numbersOf([]) };
		}
		const { lastSequence } = this.#options.log.stats();
		const nowMs = this.#options.clock.wallMs();
		const running = kept.filter(({ progress }) => progress.life === record.life);
		const position = Math.min(...(running.length === 0 ? [record.start.position] : running.map(({ progress }) => progress.position)));
		const oldest = running.map(({ figures }) => figures.oldestAtMs).filter((atMs) => atMs > 0);
		return {
			...seen,
			state: running.some(({ figures }) => figures.isStalled) ? "stalled" : "running",
			trouble: running.find(({ figures }) => figures.trouble !== "")?.figures.trouble ?? "",
			position,
			numbers: {
				...numbersOf(running.map(({ figures }) => figures)),
				open: running.reduce((sum, { progress }) => sum + progress.open.length, 0),
				unread: Math.max(0, lastSequence - position),
				oldestAgeMs: oldest.length === 0 ? 0 : Math.max(0, nowMs - Math.min(...oldest)),
			},
		};
	}
}

function numbersOf(figures: readonly Figures[]): SubscriptionView["numbers"] {
	const sum = (of: (one: Figures) => number): number => figures.reduce((total, one) => total + of(one), 0);
	return {
		open: 0,
		unread: 0,
		oldestAgeMs: 0,
		acked: sum(({ acked }) => acked),
		naked: sum(({ naked }) => naked),
		timedOut: sum(({ timedOut }) => timedOut),
		terminated: sum(({ terminated }) => terminated),
		parked: sum(({ parked }) => parked),
		missed: sum(({ missed }) => missed),
	};
}
