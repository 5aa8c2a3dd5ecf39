/** The buckets of one limit in this process, by key. */
import type { Rng } from "../core/rng.ts";
import { Gcra } from "./gcra.ts";
import { KeyTable } from "./key-table.ts";

const NS_PER_MS = 1e6;

export interface LocalBucketsOptions {
	readonly requestsPerSecond: number;
	readonly burst: number;
	/** One bucket for all: the key is not looked at. */
	readonly single: boolean;
	readonly rng: Rng;
	/** Monotonic; the bucket's time line begins here. */
	readonly nowMs: number;
	readonly keysMax?: number;
}

/** `judge` looks at a bucket and remembers which; `take` and `waitMs` are about that one, within the same synchronous stretch. */
export class LocalBuckets {
	readonly table: KeyTable;
	#gcra: Gcra;
	readonly #originMs: number;
	readonly #fixedSlot: number;
	#slot = 0;
	#nowNs = 0;

	constructor(options: LocalBucketsOptions) {
		this.#gcra = new Gcra(options.requestsPerSecond, options.burst);
		this.table = new KeyTable(options.rng, options.keysMax);
		this.#originMs = options.nowMs;
		this.#fixedSlot = options.single ? this.table.slotOf("", 0) : -1;
	}

	/** Whether a request of `key` fits now. */
	judge(key: string, nowMs: number): boolean {
		const nowNs = Math.round((nowMs - this.#originMs) * NS_PER_MS);
		const slot = this.#fixedSlot >= 0 ? this.#fixedSlot : this.table.slotOf(key, nowNs);
		this.#slot = slot;
		this.#nowNs = nowNs;
		return this.#gcra.waitNs(this.table.fullAtNs[slot] ?? 0, nowNs) <= 0;
	}

	/** Takes a token of the bucket that was judged last. */
	take(): void {
		const { fullAtNs } = this.table;
		fullAtNs[this.#slot] = this.#gcra.take(fullAtNs[this.#slot] ?? 0, this.#nowNs);
	}

	/** When the bucket that was judged last is full again, by its own time line: what `giveBack` asks for. */
	get fullAtNs(): number {
		return this.table.fullAtNs[this.#slot] ?? 0;
	}

	/** Until the bucket that was judged last has room. */
	get waitMs(): number {
		return Math.max(0, this.#gcra.waitNs(this.table.fullAtNs[this.#slot] ?? 0, this.#nowNs) / NS_PER_MS);
	}

	/** The key that the bucket which was judged last stands for; "" where keys share it. */
	get judgedKey(): string {
		return this.table.keyOf(this.#slot);
	}

	/**
	 * A token that was taken for nothing. `takenFullAtNs`: `fullAtNs` just after it was taken. Where the bucket has been full since then
	 * the token has flowed back already, and a second one would let more pass than the limit says.
	 */
	giveBack(key: string, takenFullAtNs: number, nowMs: number): void {
		this.judge(key, nowMs);
		if (takenFullAtNs <= this.#nowNs) return;
		const { fullAtNs } = this.table;
		fullAtNs[this.#slot] = (fullAtNs[this.#slot] ?? 0) - this.#gcra.periodNs;
	}

	/** Requests of `key` that fit now. Changes nothing. */
	remaining(key: string, nowMs: number): number {
		const slot = this.#fixedSlot >= 0 ? this.#fixedSlot : this.table.find(key);
		const nowNs = Math.round((nowMs - this.#originMs) * NS_PER_MS);
		return this.#gcra.remaining(slot === undefined ? 0 : (this.table.fullAtNs[slot] ?? 0), nowNs);
	}

	/** Other numbers from now on: what was spent stays spent, as requests, not as time. At most all of the new burst counts as spent. */
	configure(requestsPerSecond: number, burst: number, nowMs: number): void {
		const next = new Gcra(requestsPerSecond, burst);
		const factor = next.periodNs / this.#gcra.periodNs;
		this.#gcra = next;
		const nowNs = Math.round((nowMs - this.#originMs) * NS_PER_MS);
		const { fullAtNs } = this.table;
		for (let slot = 0; slot < fullAtNs.length; slot++) {
			const spentNs = (fullAtNs[slot] ?? 0) - nowNs;
			if (spentNs > 0) fullAtNs[slot] = nowNs + Math.min(Math.round(spentNs * factor), next.depthNs);
		}
	}
}
