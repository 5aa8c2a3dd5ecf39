/**
 * Who is there: entries that end unless they are renewed. No clock of the wall is asked, and no silence counts that was our own: a Nexus that
 * was stopped, or has just started, gives everybody the whole time again (docs/decisions/0087).
 */
import type { Clock, Timer } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import { type CommitOutcome, check, put, remove, type StateStore, type Write } from "../state/state-store.ts";
import { TableMirror } from "./table-mirror.ts";

/** How late an end may be seen. */
const LOOK_MS = 500;
/** A look that comes later than this says that we slept, not that the others died. */
const SLEPT_MS = 2_000;
/** Signs of life for the other nodes of a shared state, and how often they look for them. */
const BEATS_MS = 3_000;

interface Leased<T> {
	readonly value: T;
	readonly ttlMs: number;
}

export interface LeaseBookOptions<T> {
	readonly store: StateStore;
	readonly table: string;
	/** Entries at a time; more are `overloaded`. */
	readonly max: number;
	readonly parse: (value: unknown) => T | undefined;
	readonly clock: Clock;
	readonly logger: Logger;
}

export class LeaseBook<T> {
	readonly #options: LeaseBookOptions<T>;
	readonly #mirror: TableMirror<Leased<T>>;
	/** Of the other nodes, where the state is shared. */
	readonly #beats: string;
	/** When we have last heard of each, by our monotonic clock. */
	readonly #heard = new Map<string, number>();
	readonly #beatRevisions = new Map<string, number>();
	readonly #beatenAt = new Map<string, number>();
	readonly #ends: ((key: string, value: T) => void)[] = [];
	/** Whose end is being written. */
	readonly #ending = new Map<string, Promise<unknown>>();
	#lookedAtMs: number;
	#beatsAtMs: number;
	#timer: Timer | undefined;
	#isClosed = false;

	private constructor(options: LeaseBookOptions<T>, mirror: TableMirror<Leased<T>>) {
		this.#options = options;
		this.#mirror = mirror;
		this.#beats = `_${options.table}-beats`;
		this.#lookedAtMs = options.clock.monotonicMs();
		this.#beatsAtMs = this.#lookedAtMs;
		for (const [key] of mirror.entries()) this.#heard.set(key, this.#lookedAtMs);
		mirror.onChange((key) => {
			if (mirror.get(key) === undefined) this.#forget(key);
			else this.#heard.set(key, options.clock.monotonicMs());
		});
		this.#schedule();
	}

	/** Everybody who was there before is there, for the whole time of its lease. Rejects where the state cannot be read. */
	static async open<T>(options: LeaseBookOptions<T>): Promise<LeaseBook<T>> {
		const parse = (value: unknown): Leased<T> | undefined => {
			const { value: inner, ttlMs } = (typeof value === "object" && value !== null ? value : {}) as Partial<Leased<unknown>>;
			const parsed = options.parse(inner);
			return parsed === undefined || typeof ttlMs !== "number" ? undefined : { value: parsed, ttlMs };
		};
		return new LeaseBook(options, await TableMirror.open({ ...options, parse }));
	}

	get size(): number {
		return this.#mirror.size;
	}

	get(key: string): T | undefined {
		return this.#mirror.get(key)?.value.value;
	}

	*entries(): Generator<[key: string, value: T]> {
		for (const [key, { value }] of this.#mirror.entries()) yield [key, value.value];
	}

	/** Since the last sign of life. */
	silentMs(key: string): number {
		return Math.max(0, this.#options.clock.monotonicMs() - (this.#heard.get(key) ?? 0));
	}

	/** Says it, or that it is still so: then nothing is written, so that renewing goes on while the disk fails. */
	async renew(key: string, value: T, ttlMs: number): Promise<CommitOutcome | { readonly ok: true }> {
		// Else it would be told that it is listed, and be removed a moment later.
		const ending = this.#ending.get(key);
		if (ending !== undefined) await ending;
		const nowMs = this.#options.clock.monotonicMs();
		const known = this.#mirror.get(key)?.value;
		if (known === undefined && this.#mirror.size >= this.#options.max) {
			return { ok: false, failure: "overloaded", detail: `there are ${this.#options.max} entries already` };
		}
		if (known !== undefined) this.#heard.set(key, nowMs);
		if (known?.ttlMs === ttlMs && JSON.stringify(known.value) === JSON.stringify(value)) {
			this.#beat(key, nowMs);
			return { ok: true };
		}
		return this.#mirror.put(key, { value, ttlMs });
	}

	/** Gone, and says so. Nothing happens where it was not there. */
	async release(key: string): Promise<CommitOutcome | { readonly ok: true }> {
		const known = this.#mirror.get(key);
		if (known === undefined) return { ok: true };
		const outcome = await this.#mirror.remove(key, known.revision, this.#isShared ? [remove(this.#beats, key)] : []);
		return !outcome.ok && outcome.failure === "conflict" ? { ok: true } : outcome;
	}

	/** It seems to be gone: without another sign it ends after `leftMs`. */
	doubt(key: string, leftMs: number): void {
		const known = this.#mirror.get(key);
		if (known === undefined) return;
		const endsAtMs = this.#options.clock.monotonicMs() + leftMs;
		this.#heard.set(key, Math.min(this.#heard.get(key) ?? 0, endsAtMs - known.value.ttlMs));
	}

	/** Called with the key of each entry that was written or removed. */
	onChange(listener: (key: string) => void): () => void {
		return this.#mirror.onChange(listener);
	}

	/** Called for each that was not renewed in time. */
	onEnd(listener: (key: string, value: T) => void): void {
		this.#ends.push(listener);
	}

	close(): void {
		this.#isClosed = true;
		this.#timer?.cancel();
		this.#mirror.close();
	}

	get #isShared(): boolean {
		return this.#options.store.capabilities.isShared;
	}

	#schedule(): void {
		this.#timer = this.#options.clock.setTimer(LOOK_MS, () => {
			void this.#look().finally(() => {
				if (!this.#isClosed) this.#schedule();
			});
		});
	}

	async #look(): Promise<void> {
		const { clock, logger, table } = this.#options;
		const sleptMs = clock.monotonicMs() - this.#lookedAtMs;
		this.#lookedAtMs = clock.monotonicMs();
		if (sleptMs > SLEPT_MS) {
			logger.warn("this Nexus was stopped for a while: nobody's lease ends for that", { table, sleptMs: Math.round(sleptMs) });
			for (const [key, atMs] of this.#heard) this.#heard.set(key, atMs + sleptMs);
			return;
		}
		if (this.#isShared && this.#lookedAtMs - this.#beatsAtMs >= BEATS_MS) await this.#readBeats();
		for (const [key, { value, revision }] of [...this.#mirror.entries()]) {
			if (clock.monotonicMs() - (this.#heard.get(key) ?? 0) < value.ttlMs) continue;
			await this.#end(key, value.value, revision);
		}
		// Writing may have taken its time; that is not sleep.
		this.#lookedAtMs = clock.monotonicMs();
	}

	async #end(key: string, value: T, revision: number): Promise<void> {
		const beat = this.#beatRevisions.get(key) ?? 0;
		const fence: readonly Write[] = !this.#isShared ? [] : beat === 0 ? [check(this.#beats, key, 0)] : [remove(this.#beats, key, beat)];
		const removing = this.#mirror.remove(key, revision, fence);
		this.#ending.set(key, removing);
		const outcome = await removing;
		this.#ending.delete(key);
		// Another node has heard of it, or the disk fails: there is another look.
		if (outcome.ok) for (const told of this.#ends) told(key, value);
	}

	/** One of the other nodes may be the next that it talks to. */
	#beat(key: string, nowMs: number): void {
		if (!this.#isShared || nowMs - (this.#beatenAt.get(key) ?? Number.NEGATIVE_INFINITY) < BEATS_MS) return;
		this.#beatenAt.set(key, nowMs);
		void this.#options.store.commit([put(this.#beats, key, 0)]);
	}

	async #readBeats(): Promise<void> {
		const { store, clock } = this.#options;
		this.#beatsAtMs = clock.monotonicMs();
		let after: string | undefined;
		do {
			const page = await store.list(this.#beats, after === undefined ? {} : { after });
			if (!page.ok) return;
			for (const { key, revision } of page.value.entries) {
				if (this.#beatRevisions.get(key) === revision) continue;
				this.#beatRevisions.set(key, revision);
				if (this.#mirror.get(key) !== undefined) this.#heard.set(key, clock.monotonicMs());
			}
			after = page.value.next;
		} while (after !== undefined);
	}

	#forget(key: string): void {
		this.#heard.delete(key);
		this.#beatRevisions.delete(key);
		this.#beatenAt.delete(key);
	}
}
