/** The nodes that share one log and one state: who they are, where they are reached, and what only one of them does at a time. */
import type { Clock, Timer } from "../core/clock.ts";
import { messageOf } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import { Duty } from "./duty.ts";
import type { EventLog, RetentionLimits } from "./log/event-log.ts";
import { Leases } from "./state/leases.ts";
import { put, remove, type StateStore } from "./state/state-store.ts";

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
}

// Quiet: it is written every few seconds, and nobody watches it.
const NODES = "_nodes";
const RETENTION_CHECK_MS = 60_000;
/** Nodes that went without a word are shown as gone for a while, then forgotten. */
const FORGET_AFTER_MS = 24 * 3_600_000;
/** More nodes than a cluster of brokers has clients of this kind. */
const NODES_MAX = 1_000;
const LOOK_MS = 250;

export class Cluster {
	readonly leases: Leases;
	readonly #options: ClusterOptions;
	readonly #startedAtMs: number;
	readonly #duties: Duty[] = [];
	#self: NodeView | undefined;
	#beat: Timer | undefined;
	#retention: Timer | undefined;
	#isClosed = false;

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

	add(duty: Duty): void {
		this.#duties.push(duty);
	}

	/** Tells the others where this node is reached, and goes on telling. */
	async announce(url: string): Promise<void> {
		const { nodeId: id, host, version } = this.#options;
		this.#self = { id, host, url, version, startedAtMs: this.#startedAtMs, seenAtMs: 0 };
		await this.#tell();
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
			...this.#dutyOptions("retention"),
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
		const duty = new Duty({ ...this.#dutyOptions(name), onTaken: async () => {}, onLost: async () => {} });
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
		this.#retention?.cancel();
		for (const duty of this.#duties) await duty.close();
		if (this.#self !== undefined) await this.#options.state.commit([remove(NODES, this.#self.id)]);
	}

	#dutyOptions(name: string) {
		const { nodeId: owner, leaseMs: ttlMs, clock, logger } = this.#options;
		return { name, leases: this.leases, owner, ttlMs, clock, logger };
	}

	async #tell(): Promise<void> {
		const { state, clock, leaseMs } = this.#options;
		if (this.#self === undefined) return;
		const nowMs = clock.wallMs();
		// Not the only sign of life: who has a duty shows it by its lease.
		await state.commit([put(NODES, this.#self.id, { ...this.#self, seenAtMs: nowMs } satisfies NodeView)]);
		for (const { id, seenAtMs } of await this.nodes()) if (nowMs - seenAtMs > FORGET_AFTER_MS) await state.commit([remove(NODES, id)]);
		if (!this.#isClosed) this.#beat = clock.setTimer(leaseMs, () => void this.#tell());
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
