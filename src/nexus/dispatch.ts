/**
 * The subscriptions as this node has them: all of them while dispatching is its duty, none while another node does it. Where no other node can
 * be, it always is. Nothing is delivered or written once the lease has run out, whatever this process was doing meanwhile.
 */
import { Duty } from "./duty.ts";
import { fencedState } from "./fenced-state.ts";
import type { Lease, Leases } from "./state/leases.ts";
import { openState } from "./state/open-state.ts";
import { CURSOR_PREFIX } from "./subscriptions/branch.ts";
import { decodeProgress } from "./subscriptions/progress.ts";
import { Subscriptions, type SubscriptionsOptions } from "./subscriptions/subscriptions.ts";

/** The end of a broker's log is heard of in milliseconds; a broker that is slow gets this long. */
const READABLE_WITHIN_MS = 30_000;
/** A commit that is missed costs so much. */
const LOOK_MS = 200;

export interface DispatchOptions extends SubscriptionsOptions {
	/** Undefined: there are no other nodes. */
	readonly shared: { readonly leases: Leases; readonly nodeId: string; readonly ttlMs: number } | undefined;
	/** Others are to be asked from now on. */
	readonly onChange: (subscriptions: Subscriptions) => void;
}

export class Dispatch {
	readonly duty: Duty | undefined;
	#current: Subscriptions;
	readonly #none: Subscriptions;
	readonly #onChange: DispatchOptions["onChange"];
	/** One is opened or closed after the other. */
	#turn: Promise<unknown> = Promise.resolve();

	private constructor(options: DispatchOptions, none: Subscriptions) {
		const { shared, clock, logger, onChange } = options;
		this.#none = none;
		this.#current = none;
		this.#onChange = onChange;
		if (shared === undefined) return;
		const { leases, nodeId: owner, ttlMs } = shared;
		this.duty = new Duty({
			name: "subscriptions",
			leases,
			owner,
			ttlMs,
			clock,
			logger,
			onTaken: (lease) => this.#inTurn(() => this.#take(options, lease)),
			onLost: () => this.#inTurn(() => this.#letGo()),
		});
	}

	/** Rejects where the state cannot be read. */
	static async open(options: DispatchOptions): Promise<Dispatch> {
		if (options.shared === undefined) return new Dispatch(options, await Subscriptions.open(options));
		const nothing = await openState({ engine: "memory" });
		if (!nothing.ok) throw new Error(nothing.detail);
		return new Dispatch(options, await Subscriptions.open({ ...options, state: nothing.store }));
	}

	get current(): Subscriptions {
		return this.#current;
	}

	/** Whether this node is to be asked about subscriptions. */
	get isHere(): boolean {
		return this.duty === undefined || (this.#current !== this.#none && this.duty.isMine);
	}

	/** The node that is to be asked instead; undefined where none is known. */
	get holder(): string | undefined {
		return this.duty?.holder;
	}

	/** Long polls and streams end. */
	endWaits(): void {
		this.#current.endWaits();
	}

	async close(): Promise<void> {
		await this.duty?.close();
		await this.#turn;
		await this.#none.close();
	}

	async #take(options: DispatchOptions, { fence }: Lease): Promise<void> {
		const { duty } = this;
		// Of this very lease: one that is taken again later is another opening's.
		const leaseOf = (): Lease | undefined => (duty?.isMine === true && duty.lease?.fence.revision === fence.revision ? duty.lease : undefined);
		await readableUpToOpen(options, () => leaseOf() !== undefined);
		if (leaseOf() === undefined) return;
		const opened = await Subscriptions.open({ ...options, state: fencedState(options.state, leaseOf), mayAct: () => leaseOf() !== undefined });
		this.#current = opened;
		this.#onChange(opened);
	}

	async #letGo(): Promise<void> {
		const before = this.#current;
		if (before === this.#none) return;
		this.#current = this.#none;
		this.#onChange(this.#none);
		await before.close();
	}

	#inTurn(act: () => Promise<void>): Promise<void> {
		const turn = this.#turn.then(act);
		this.#turn = turn.catch(() => {});
		return turn;
	}
}

/**
 * What the node before had open must be readable here, or it would be taken for lost: the end of a broker's log is heard of a moment later.
 * Rejects where it does not become so in time, or while this node may wait.
 */
async function readableUpToOpen({ state, log, clock }: SubscriptionsOptions, mayWait: () => boolean): Promise<void> {
	let needed = 0;
	for (let after: string | undefined; ; ) {
		const page = await state.cursors({ prefix: CURSOR_PREFIX, ...(after === undefined ? {} : { after }) });
		if (!page.ok) throw new Error(`the progress of subscriptions could not be read: ${page.detail}`);
		for (const { value } of page.value.entries) needed = Math.max(needed, decodeProgress(value)?.open.at(-1)?.sequence ?? 0);
		after = page.value.next;
		if (after === undefined) break;
	}
	const untilMs = clock.monotonicMs() + READABLE_WITHIN_MS;
	while (log.stats().lastSequence < needed) {
		if (!mayWait() || clock.monotonicMs() > untilMs)
			throw new Error(`the log ends at sequence ${log.stats().lastSequence}, and ${needed} is being delivered: is it another log?`);
		const { promise, resolve } = Promise.withResolvers<void>();
		const stop = log.onCommit(resolve);
		const timer = clock.setTimer(LOOK_MS, resolve);
		await promise;
		stop();
		timer.cancel();
	}
}
