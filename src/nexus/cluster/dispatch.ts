/**
 * Which subscriptions this node dispatches. Where no other node can be: all. Otherwise its share of the slices (slices.ts), each under a lease:
 * nothing of a slice is delivered or written once its lease has run out, whatever this process was doing meanwhile.
 */

import type { Lease } from "../state/leases.ts";
import { subscriptionOfCursor } from "../subscriptions/branch.ts";
import { type SubscriptionTrouble, subscriptionTrouble } from "../subscriptions/metrics.ts";
import { readableUpToOpen } from "../subscriptions/readable.ts";
import { Subscriptions, type SubscriptionsOptions } from "../subscriptions/subscriptions.ts";
import type { Cluster } from "./cluster.ts";
import { type DispatchFigures, type DispatchView, figuresOf, together, troubleTogether } from "./dispatch-view.ts";
import { Duty } from "./duty.ts";
import { fencedState } from "./fenced-state.ts";
import { SLICES, shareOf, sliceOf } from "./slices.ts";

export interface DispatchOptions extends Omit<SubscriptionsOptions, "portion"> {
	/** Undefined: there are no other nodes. */
	readonly cluster: Cluster | undefined;
}

interface Slice {
	readonly duty: Duty;
	/** Told to be this node's, and not told since that it is not. */
	isGiven: boolean;
	/** Of the lease under which it is open, or is being opened or closed. */
	fence: number | undefined;
	/** Requests about it are answered here. */
	isOpen: boolean;
}

/** After it could not be begun other nodes take this one's share, before it tries again. */
const REST_LEASES = 3;

export class Dispatch {
	readonly subscriptions: Subscriptions;
	readonly #options: DispatchOptions;
	/** None where all is here. */
	readonly #slices: readonly Slice[];
	/** Slices are opened and closed one bundle after the other. */
	#turn: Promise<unknown> = Promise.resolve();
	#restsUntilMs = Number.NEGATIVE_INFINITY;
	#figures: { readonly of: DispatchFigures; readonly untilMs: number } | undefined;
	#isClosing = false;

	private constructor(options: DispatchOptions, subscriptions: Subscriptions | undefined) {
		const { cluster } = options;
		this.#options = options;
		this.#slices = cluster === undefined ? [] : Array.from({ length: SLICES }, (_, slice) => this.#slice(cluster, slice));
		this.subscriptions =
			subscriptions ??
			new Subscriptions({
				...options,
				state: fencedState(options.state, (table, key) => this.#leaseOf(table === undefined ? subscriptionOfCursor(key) : subscriptionOfKey(key))),
				portion: {
					mayChange: (name) => this.#isSteady(this.#sliceOf(name)),
					guardOf: (name) => this.#guard(this.#sliceOf(name)),
					part: () => this.part,
				},
			});
		if (cluster === undefined) return;
		cluster.describe = () => this.#view(cluster);
		cluster.onLook = () => this.#giveUpSurplus(cluster);
	}

	/** Rejects where the state cannot be read. */
	static async open(options: DispatchOptions): Promise<Dispatch> {
		return new Dispatch(options, options.cluster === undefined ? await Subscriptions.open(options) : undefined);
	}

	/** Of all names, those that this node is to be asked about; 0 to 1. */
	get part(): number {
		return this.#slices.length === 0 ? 1 : this.#slices.filter(isHere).length / SLICES;
	}

	/** Whether this node is to be asked about a subscription of that name. */
	isHere(name: string): boolean {
		const slice = this.#sliceOf(name);
		return slice === undefined || isHere(slice);
	}

	/** The node that is to be asked about it; undefined where none is known. */
	holderOf(name: string): string | undefined {
		return this.#sliceOf(name)?.duty.holder;
	}

	/** Slices that nobody dispatches as far as this node knows. */
	get orphans(): number {
		const self = this.#options.cluster?.nodeId;
		return this.#slices.filter((slice) => !isHere(slice) && (slice.duty.holder === undefined || slice.duty.holder === self)).length;
	}

	/** Of all nodes: this one's own of now, those of the others as they have told them last. */
	get figures(): DispatchFigures {
		const others = this.#options.cluster?.others ?? [];
		return together([figuresOf(this.subscriptions), ...others.flatMap(({ dispatch }) => dispatch ?? [])]);
	}

	/** As in the figures, without going through the numbers of all: probes ask for it, and anybody may send them. */
	get trouble(): SubscriptionTrouble | undefined {
		const others = this.#options.cluster?.others ?? [];
		return troubleTogether([subscriptionTrouble(this.subscriptions), ...others.map(({ dispatch }) => dispatch?.trouble)]);
	}

	/** Resolves once each slice was asked for, and those that were given are open. */
	async start(): Promise<void> {
		await Promise.all(this.#slices.map(({ duty }) => duty.start()));
		await this.#options.cluster?.tell();
	}

	/** In order: what is under way ends, positions are written down, others take over at once. */
	async close(): Promise<void> {
		this.#isClosing = true;
		// Before the slices are free: the others are to take all of them.
		await this.#options.cluster?.tell();
		this.subscriptions.waits.endAll();
		await Promise.all(this.#slices.map(({ duty }) => duty.close()));
		await this.subscriptions.close();
	}

	#slice(cluster: Cluster, number: number): Slice {
		const slice: Slice = {
			isGiven: false,
			fence: undefined,
			isOpen: false,
			duty: new Duty({
				...cluster.dutyOptions(`subscriptions/${number}`),
				mayTake: () => this.#slices.filter(({ duty }) => duty.isWanted).length < this.#share(cluster),
				// Somebody may just have gone: the shares are others then.
				onFree: () => cluster.look(),
				onTaken: () => {
					slice.isGiven = true;
					return this.#settle();
				},
				onLost: () => {
					slice.isGiven = false;
					return this.#settle();
				},
			}),
		};
		return slice;
	}

	/** How many slices this node should have, as the living are seen from here. */
	#share({ nodeId, others }: Cluster): number {
		const takers = others.filter(({ dispatch }) => dispatch?.isTaking === true).map(({ id }) => id);
		return shareOf(nodeId, this.#isTaking ? [...takers, nodeId] : takers);
	}

	get #isTaking(): boolean {
		return !this.#isClosing && this.#options.clock.monotonicMs() >= this.#restsUntilMs;
	}

	/** A node has come: what is beyond this one's share goes there. Who could not begin something keeps what it has. */
	#giveUpSurplus(cluster: Cluster): void {
		if (!this.#isTaking) return;
		const given = this.#slices.filter(({ isGiven }) => isGiven);
		for (const { duty } of given.slice(this.#share(cluster))) void duty.handOver();
	}

	/** Opens what was given, closes what was taken away; what comes together is done together, since each opening reads the whole table. */
	#settle(): Promise<void> {
		const turn = this.#turn.then(() => this.#settleNow());
		this.#turn = turn.catch(() => {});
		return turn;
	}

	async #settleNow(): Promise<void> {
		const { clock, cluster } = this.#options;
		const leaving = this.#slices.filter(({ fence, isGiven, duty }) => fence !== undefined && !(isGiven && duty.lease?.fence.revision === fence));
		if (leaving.length > 0) {
			await this.subscriptions.letGo(among(leaving, this.#slices));
			for (const slice of leaving) {
				slice.isOpen = false;
				slice.fence = undefined;
			}
		}
		const coming = this.#slices.filter(({ fence, isGiven, duty }) => fence === undefined && isGiven && duty.isMine);
		if (coming.length === 0) return;
		if (!this.#isTaking) throw new Error("it has just failed, and is left to other nodes for a while");
		for (const slice of coming) slice.fence = slice.duty.lease?.fence.revision;
		try {
			const has = among(coming, this.#slices);
			await readableUpToOpen(this.#options, has, () => coming.some((slice) => this.#holds(slice) !== undefined));
			await this.subscriptions.take(has);
			for (const slice of coming) slice.isOpen = true;
		} catch (thrown) {
			for (const slice of coming) slice.fence = undefined;
			this.#restsUntilMs = clock.monotonicMs() + REST_LEASES * (cluster?.leaseMs ?? 0);
			void cluster?.tell();
			throw thrown;
		}
	}

	#sliceOf(name: string): Slice | undefined {
		return this.#slices.length === 0 ? undefined : this.#slices[sliceOf(name)];
	}

	/** The lease of this very opening: one that was lost and taken again is another opening's. */
	#holds({ duty, fence }: Slice): Lease | undefined {
		return duty.isMine && duty.lease?.fence.revision === fence ? duty.lease : undefined;
	}

	#leaseOf(name: string): Lease | undefined {
		const slice = this.#sliceOf(name);
		return slice === undefined ? undefined : this.#holds(slice);
	}

	#guard(slice: Slice | undefined): () => boolean {
		if (slice === undefined) return () => false;
		const { duty, fence } = slice;
		return () => duty.isMine && duty.lease?.fence.revision === fence;
	}

	#isSteady(slice: Slice | undefined): boolean {
		return slice?.isGiven === true && isHere(slice);
	}

	/** The figures are a lease old at most: going through all subscriptions is more than a sign of life should cost. */
	#view({ leaseMs }: Cluster): DispatchView {
		const nowMs = this.#options.clock.monotonicMs();
		if (this.#figures === undefined || nowMs >= this.#figures.untilMs)
			this.#figures = { of: figuresOf(this.subscriptions), untilMs: nowMs + leaseMs };
		const slices = this.#slices.flatMap((slice, number) => (isHere(slice) ? [number] : []));
		return { ...this.#figures.of, isTaking: this.#isTaking, slices };
	}
}

function isHere({ isOpen, duty }: Slice): boolean {
	return isOpen && duty.isMine;
}

/** Whether a subscription is in one of these. */
function among(some: readonly Slice[], all: readonly Slice[]): (name: string) => boolean {
	const chosen = all.map((slice) => some.includes(slice));
	return (name) => chosen[sliceOf(name)] === true;
}

/** Of a row in the tables of subscriptions and of dead letters: they begin with the name. */
function subscriptionOfKey(key: string): string {
	const [subscription = ""] = key.split("/");
	return subscription;
}
