/** The nodes that share one log and one state: who they are, where they are reached, and what only one of them does at a time. */
import type { Clock, Timer } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { EventLog, RetentionLimits } from "../log/event-log.ts";
import { Leases } from "../state/leases.ts";
import { put, remove, type StateStore } from "../state/state-store.ts";
import { untilBeatMs } from "./beat.ts";
import type { DispatchView } from "./dispatch-view.ts";
import { Duty, type DutyOptions } from "./duty.ts";

export interface ClusterOptions {
	readonly state: StateStore;
	readonly nodeId: string;
	readonly host: string;
	/** Of the program. */
	readonly version: string;
	/** How long a node may be silent before others take over. */
	readonly leaseMs: number;
	readonly clock: Clock;
	readonly logger: Logger;
}

export interface NodeView {
	readonly id: string;
	readonly host: string;
	/** Where its API is reached. */
	readonly url: string;
	readonly version: string;
	/** Wall clock of the node itself, for people. */
	readonly startedAtMs: number;
	readonly seenAtMs: number;
	/** Of the subscriptions; undefined where it does not say. */
	readonly dispatch?: DispatchView;
}

interface Sighting {
	readonly view: NodeView;
	readonly revision: number;
	/** Monotonic, of this node: when it was first seen to be as it is. */
	readonly atMs: number;
}

// Quiet: it is written every few seconds, and nobody watches it.
const NODES = "_nodes";
const RETENTION_CHECK_MS = 60_000;
/** Nodes that went without a word are shown as gone for a while, then forgotten. */
const FORGET_AFTER_MS = 24 * 3_600_000;
/** More nodes than a cluster of brokers has clients of this kind. */
const NODES_MAX = 1_000;
const LOOK_MS = 250;
/** Of the others: a node that comes or goes is noticed a second late at most. */
const LOOK_AT_OTHERS_MS = 1_000;
/** In the time of a lease, where that is short. */
const LOOKS = 3;

export class Cluster {
	readonly leases: Leases;
	readonly #options: ClusterOptions;
	readonly #startedAtMs: number;
	readonly #duties: Duty[] = [];
	readonly #sightings = new Map<string, Sighting>();
	#self: NodeView | undefined;
	#beat: Timer | undefined;
	/** Undefined while it looks. */
	#look: Timer | undefined;
	#retention: Timer | undefined;
	#isClosed = false;
	/** What this node tells of its subscriptions. */
	describe: () => DispatchView | undefined = () => undefined;
	/** The others were looked at. */
	onLook: () => void = () => {};

	constructor(options: ClusterOptions) {
		this.#options = options;
		this.leases = new Leases(options.state, options.clock);
		this.#startedAtMs = options.clock.wallMs();
	}

	get nodeId(): string {
		return this.#options.nodeId;
	}

	get leaseMs(): number {
		return this.#options.leaseMs;
	}

	/** By duty: whether it is this node's, and whose it was seen to be. */
	get duties(): readonly Duty[] {
		return this.#duties;
	}

	/** Tells the others where this node is reached, and goes on telling. */
	async announce(url: string): Promise<void> {
		const { nodeId: id, host, version } = this.#options;
		this.#self = { id, host, url, version, startedAtMs: this.#startedAtMs, seenAtMs: 0 };
		await this.tell();
		await this.#lookAtOthers();
	}

	/** At the others, now. */
	look(): void {
		if (this.#look === undefined) return;
		this.#look.cancel();
		void this.#lookAtOthers();
	}

	/** Now, not only with the next sign of life. */
	async tell(): Promise<void> {
		const { state, clock, leaseMs } = this.#options;
		this.#beat?.cancel();
		if (this.#self === undefined || this.#isClosed) return;
		const dispatch = this.describe();
		const view: NodeView = { ...this.#self, seenAtMs: clock.wallMs(), ...(dispatch === undefined ? {} : { dispatch }) };
		this.#beat = clock.setTimer(untilBeatMs(clock.monotonicMs(), leaseMs), () => void this.tell());
		await state.commit([put(NODES, view.id, view)]);
	}

	/** The other nodes that have shown a sign of life in the time of a lease, as they were a moment ago. */
	get others(): readonly NodeView[] {
		const silentAtMs = this.#options.clock.monotonicMs() - this.#options.leaseMs;
		return [...this.#sightings.values()].filter(({ atMs }) => atMs > silentAtMs).map(({ view }) => view);
	}

	/** All that are known, also those that are gone since a short while; empty where the state cannot be read. */
	async nodes(): Promise<readonly NodeView[]> {
		const page = await this.#options.state.list(NODES, { limit: NODES_MAX });
		return page.ok ? page.value.entries.map(({ value }) => value as NodeView) : [];
	}

	/** Undefined where it is not known. */
	async urlOf(nodeId: string): Promise<string | undefined> {
		const found = await this.#options.state.get(NODES, nodeId);
		return found.ok ? (found.value?.value as NodeView | undefined)?.url : undefined;
	}

	/** Has the log held within its limits, by one of the nodes: harmless if two did it, but work that all of them would do. */
	async retain(log: EventLog, limits: RetentionLimits): Promise<void> {
		const duty = new Duty({
			...this.dutyOptions("retention"),
			onTaken: async () => this.#retainIn(log, limits),
			onLost: async () => this.#retention?.cancel(),
		});
		this.#duties.push(duty);
		await duty.start();
	}

	/**
	 * Who may change what only one node has: the authority. Undefined where another node does, and goes on doing so: a node that was killed is
	 * waited for, for the time of a lease.
	 */
	async claim(name: string): Promise<Duty | undefined> {
		const { clock, leaseMs } = this.#options;
		const duty = new Duty({ ...this.dutyOptions(name), onTaken: async () => {}, onLost: async () => {} });
		const untilMs = clock.monotonicMs() + 2 * leaseMs;
		await duty.start();
		while (!duty.isMine && clock.monotonicMs() < untilMs) await new Promise<void>((resolve) => void clock.setTimer(LOOK_MS, resolve));
		if (duty.isMine) {
			this.#duties.push(duty);
			return duty;
		}
		await duty.close();
		return undefined;
	}

	async close(): Promise<void> {
		this.#isClosed = true;
		this.#beat?.cancel();
		this.#look?.cancel();
		this.#retention?.cancel();
		for (const duty of this.#duties) await duty.close();
		if (this.#self !== undefined) await this.#options.state.commit([remove(NODES, this.#self.id)]);
	}

	/** What a duty needs to know of this node. */
	dutyOptions(name: string): Pick<DutyOptions, "name" | "owner" | "leases" | "ttlMs" | "clock" | "logger"> {
		const { nodeId: owner, leaseMs: ttlMs, clock, logger } = this.#options;
		return { name, leases: this.leases, owner, ttlMs, clock, logger };
	}

	/** Who is alive is not decided by any clock but this node's: whoever changes before its eyes is. Who dispatches what does not hang on it. */
	async #lookAtOthers(): Promise<void> {
		const { state, clock, leaseMs, nodeId } = this.#options;
		this.#look = undefined;
		const page = await state.list(NODES, { limit: NODES_MAX });
		if (page.ok) {
			const { entries } = page.value;
			const names = new Set(entries.map(({ key }) => key));
			for (const name of this.#sightings.keys()) if (!names.has(name)) this.#sightings.delete(name);
			for (const { key, value, revision } of entries) {
				const view = value as NodeView;
				if (key === nodeId) continue;
				const seen = this.#sightings.get(key);
				if (seen?.revision !== revision) this.#sightings.set(key, { view, revision, atMs: clock.monotonicMs() });
				// Its clock may be wrong by days, or this one: who shows signs of life is there.
				else if (clock.monotonicMs() - seen.atMs > leaseMs && clock.wallMs() - view.seenAtMs > FORGET_AFTER_MS)
					await state.commit([remove(NODES, key, revision)]);
			}
			this.onLook();
		}
		if (!this.#isClosed) this.#look = clock.setTimer(Math.min(LOOK_AT_OTHERS_MS, leaseMs / LOOKS), () => void this.#lookAtOthers());
	}

	#retainIn(log: EventLog, limits: RetentionLimits): void {
		const { clock, logger } = this.#options;
		this.#retention = clock.setTimer(RETENTION_CHECK_MS, () => {
			log
				.truncate(limits)
				.catch((thrown: unknown) => logger.warn("the log could not be held within its limits; trying again later", { error: messageOf(thrown) }))
				.finally(() => {
					if (!this.#isClosed && this.#duties.some(({ name, isMine }) => name === "retention" && isMine)) this.#retainIn(log, limits);
				});
		});
	}
}
