/** Something that one node does at a time: taken under a lease, kept while it is renewed, given up before anybody else may take it. */
import type { Clock, Timer } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { Lease, Leases } from "../state/leases.ts";
import { untilBeatMs, untilTickMs } from "./beat.ts";

export interface DutyOptions {
	readonly name: string;
	readonly leases: Leases;
	/** Of this node. */
	readonly owner: string;
	readonly ttlMs: number;
	readonly clock: Clock;
	readonly logger: Logger;
	/** Asked where nobody has it: whether this node should. Default: always. */
	readonly mayTake?: () => boolean;
	/** Nobody has it, and this node was not to take it. */
	readonly onFree?: () => void;
	/** The duty is this node's from now on. Whatever it writes names `lease.fence`. Rejects where it cannot be done; it is then left to others. */
	readonly onTaken: (lease: Lease) => Promise<void>;
	/** It is not any more. Resolves once nothing more is done. */
	readonly onLost: () => Promise<void>;
}

/** Who asks once a second knows a second late whose it is now; it takes over in time, since it knows when the lease of a silent one ends. */
const ASK_MS = 1_000;
/** While it should be this node's, or nobody's: nobody does it then. */
const ASK_SOON_MS = 100;
/** After the state did not answer. */
const RENEW_AGAIN_MS = 1_000;

export class Duty {
	readonly name: string;
	readonly #options: DutyOptions;
	#lease: Lease | undefined;
	/** As last seen; undefined where nobody has it, or nothing is known. */
	holder: string | undefined;
	#timer: Timer | undefined;
	/** At the end of the lease, whatever a renewal is waiting for. */
	#expiry: Timer | undefined;
	#work: Promise<void> = Promise.resolve();
	#isTaking = false;
	#isClosed = false;

	constructor(options: DutyOptions) {
		this.name = options.name;
		this.#options = options;
	}

	/** To be asked before each act: the lease may have run out while this process stood still. */
	get isMine(): boolean {
		return this.#lease !== undefined && this.#options.clock.monotonicMs() < this.#lease.validUntilMs;
	}

	get lease(): Lease | undefined {
		return this.#lease;
	}

	/** It is this node's, or is about to be. */
	get isWanted(): boolean {
		return this.#lease !== undefined || this.#isTaking;
	}

	/** Resolves once it was asked for the first time. */
	start(): Promise<void> {
		return this.#serially(() => this.#ask());
	}

	/** Leaves it to another node in order, and asks for it again a while later. */
	handOver(): Promise<void> {
		return this.#serially(async () => {
			await this.#release();
			this.#askEvery(ASK_SOON_MS);
		});
	}

	/** Gives it back at once, so that another node need not wait. */
	async close(): Promise<void> {
		this.#isClosed = true;
		if (this.#lease === undefined) this.#timer?.cancel();
		await this.#work;
		await this.#release();
		this.#forget();
	}

	/** It holds until `onLost` has written what it has to write. */
	async #release(): Promise<void> {
		if (this.#lease === undefined) return;
		await this.#end();
		const lease = this.#lease;
		this.#forget();
		if (lease !== undefined) await this.#options.leases.release(lease);
	}

	async #ask(): Promise<void> {
		const { leases, name, owner, ttlMs, clock, logger, onTaken, mayTake, onFree } = this.#options;
		const seen = mayTake === undefined ? undefined : await leases.look(name, owner);
		if (seen === undefined && mayTake?.() === false) {
			this.holder = undefined;
			onFree?.();
			this.#askEvery(ASK_SOON_MS);
			return;
		}
		this.#isTaking = seen === undefined;
		const asked = seen ?? (await leases.acquire(name, { owner, ttlMs }));
		this.#isTaking = false;
		if (!asked.ok) {
			this.holder = asked.failure === "held" ? asked.owner : undefined;
			if (asked.failure === "held") this.#askEvery(mayTake?.() === true ? ASK_SOON_MS : ASK_MS, asked.retryInMs);
			else this.#askEvery(ASK_MS);
			return;
		}
		this.holder = owner;
		this.#hold(asked.lease);
		// What takes long to begin must not cost the lease.
		this.#renewIn(untilBeatMs(clock.monotonicMs(), ttlMs));
		try {
			await onTaken(asked.lease);
			logger.info("a duty is this node's", { duty: name });
		} catch (thrown) {
			logger.error("a duty could not be begun; it is left to others", { duty: name, error: messageOf(thrown) });
			await this.#giveUp();
			await leases.release(asked.lease);
			this.#askIn(ttlMs);
		}
	}

	async #renew(): Promise<void> {
		const lease = this.#lease;
		if (lease === undefined) return;
		const renewed = await this.#options.leases.renew(lease);
		if (this.#lease !== lease) return;
		if (renewed.ok) {
			this.#hold(renewed.lease);
			this.#renewIn(untilBeatMs(this.#options.clock.monotonicMs(), this.#options.ttlMs));
		} else if (renewed.failure === "lost") await this.#lost("another node has it, or it was renewed too late");
		// The state is away: nobody else can take it either, but nobody can know that.
		else this.#renewIn(Math.min(RENEW_AGAIN_MS, untilBeatMs(this.#options.clock.monotonicMs(), this.#options.ttlMs)));
	}

	#hold(lease: Lease): void {
		const { clock } = this.#options;
		this.#lease = lease;
		this.#expiry?.cancel();
		this.#expiry = clock.setTimer(Math.max(0, lease.validUntilMs - clock.monotonicMs()), () => {
			if (this.#lease === lease) void this.#lost("it could not be renewed in time");
		});
	}

	async #lost(why: string): Promise<void> {
		const { logger, name } = this.#options;
		if (this.#lease === undefined) return;
		logger.warn("a duty is not this node's any more", { duty: name, why });
		await this.#giveUp();
		this.#askIn(0);
	}

	async #giveUp(): Promise<void> {
		this.#forget();
		await this.#end();
	}

	#forget(): void {
		this.#lease = undefined;
		this.holder = undefined;
		this.#expiry?.cancel();
		this.#timer?.cancel();
	}

	async #end(): Promise<void> {
		const { logger, name, onLost } = this.#options;
		try {
			await onLost();
		} catch (thrown) {
			logger.error("a duty could not be ended in order", { duty: name, error: messageOf(thrown) });
		}
	}

	#askIn(delayMs: number): void {
		this.#in(delayMs, () => this.#ask());
	}

	/** Together with the other duties of this node. */
	#askEvery(everyMs: number, latestMs = Number.POSITIVE_INFINITY): void {
		this.#askIn(Math.min(latestMs, untilTickMs(this.#options.clock.monotonicMs(), everyMs)));
	}

	#renewIn(delayMs: number): void {
		this.#timer?.cancel();
		// Not behind what else is under way: the beginning of a duty may take longer than its lease.
		this.#timer = this.#options.clock.setTimer(delayMs, () => void this.#renew().catch((thrown: unknown) => this.#failed(thrown)));
	}

	#in(delayMs: number, act: () => Promise<void>): void {
		this.#timer?.cancel();
		if (!this.#isClosed) this.#timer = this.#options.clock.setTimer(delayMs, () => void this.#serially(act));
	}

	#serially(act: () => Promise<void>): Promise<void> {
		this.#work = this.#work.then(() => (this.#isClosed ? undefined : act())).catch((thrown: unknown) => this.#failed(thrown));
		return this.#work;
	}

	#failed(thrown: unknown): void {
		this.#isTaking = false;
		this.#options.logger.error("a duty could not be looked after", { duty: this.#options.name, error: messageOf(thrown) });
		if (this.#lease === undefined) this.#askEvery(ASK_MS);
	}
}
