/** A table of the state in memory: read at once, written through, and on a shared state kept up by watching. Knows no meaning of what it holds. */
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import { type CommitOutcome, put, remove, type StateStore, type Write } from "../state/state-store.ts";
import { watch } from "../state/watch.ts";

/** A state that is away is asked again no sooner. */
const AGAIN_MS = 2_000;

export interface MirrorOptions<T> {
	readonly store: StateStore;
	readonly table: string;
	/** Undefined: nothing that we know how to read; it is left alone. */
	readonly parse: (value: unknown) => T | undefined;
	readonly clock: Clock;
	readonly logger: Logger;
}

export interface MirrorEntry<T> {
	readonly value: T;
	readonly revision: number;
}

export class TableMirror<T> {
	readonly #options: MirrorOptions<T>;
	#entries = new Map<string, MirrorEntry<T>>();
	/** Of keys that are gone: what the watch tells of the time before is old. Only where others write as well. */
	readonly #removed = new Map<string, number>();
	readonly #listeners = new Set<(key: string, before: T | undefined) => void>();
	readonly #stop = new AbortController();

	private constructor(options: MirrorOptions<T>) {
		this.#options = options;
	}

	/** Rejects with a readable error where the state cannot be read. */
	static async open<T>(options: MirrorOptions<T>): Promise<TableMirror<T>> {
		const mirror = new TableMirror(options);
		const revision = await mirror.#readAll();
		if (typeof revision === "string") throw new Error(`the table ${options.table} of the state cannot be read: ${revision}`);
		if (options.store.capabilities.isShared) void mirror.#follow(revision);
		return mirror;
	}

	get size(): number {
		return this.#entries.size;
	}

	get(key: string): MirrorEntry<T> | undefined {
		return this.#entries.get(key);
	}

	entries(): IterableIterator<[string, MirrorEntry<T>]> {
		return this.#entries.entries();
	}

	/** `expected`: as in the state, 0 for none. `others` are written with it, or not at all. */
	async put(key: string, value: T, expected?: number, others: readonly Write[] = []): Promise<CommitOutcome> {
		const { store, table } = this.#options;
		const outcome = await store.commit([put(table, key, value, expected), ...others]);
		if (outcome.ok) this.#apply(key, value, outcome.revision);
		return outcome;
	}

	/** `others` are written with it, or not at all. */
	async remove(key: string, expected: number, others: readonly Write[] = []): Promise<CommitOutcome> {
		const { store, table } = this.#options;
		const outcome = await store.commit([remove(table, key, expected), ...others]);
		if (outcome.ok) this.#apply(key, undefined, outcome.revision);
		return outcome;
	}

	/** Called with the key of each entry that was written or removed, here or by another node, and what it was. Returns how to stop that. */
	onChange(listener: (key: string, before: T | undefined) => void): () => void {
		const own = (key: string, before: T | undefined): void => listener(key, before);
		this.#listeners.add(own);
		return () => void this.#listeners.delete(own);
	}

	close(): void {
		this.#stop.abort();
		this.#listeners.clear();
	}

	/** Anew from the state; the revision that a watch goes on from, or why not. */
	async #readAll(): Promise<number | string> {
		const { store, table, parse, logger } = this.#options;
		const found = new Map<string, MirrorEntry<T>>();
		let revision: number | undefined;
		let after: string | undefined;
		do {
			const page = await store.list(table, after === undefined ? {} : { after });
			if (!page.ok) return page.detail;
			for (const entry of page.value.entries) {
				const value = parse(entry.value);
				if (value === undefined) logger.warn("an entry of the state cannot be understood; it is left alone", { table, key: entry.key });
				else found.set(entry.key, { value, revision: entry.revision });
			}
			revision ??= page.value.revision;
			after = page.value.next;
		} while (after !== undefined);
		const keys = new Set([...this.#entries.keys(), ...found.keys()]);
		const before = this.#entries;
		this.#entries = found;
		for (const key of keys) if (before.get(key)?.revision !== found.get(key)?.revision) this.#tell(key, before.get(key)?.value);
		return revision;
	}

	async #follow(from: number): Promise<void> {
		const { store, table, parse, clock, logger } = this.#options;
		const { signal } = this.#stop;
		for (let revision = from; !signal.aborted; ) {
			for await (const item of watch(store, table, revision, { signal, clock })) {
				if (item.kind === "failing") logger.warn("the state cannot be read; what is known stays", { table, detail: item.detail });
				if (item.kind !== "changes") continue;
				for (const { key, value, revision: at } of item.changes) this.#apply(key, value === undefined ? undefined : parse(value), at);
				for (const [key, at] of this.#removed) if (at <= item.revision) this.#removed.delete(key);
				revision = item.revision;
			}
			if (signal.aborted) return;
			const read = await this.#readAll();
			// Closing, or away: the next look says which.
			if (typeof read === "number") revision = read;
			else await new Promise<void>((resolve) => void clock.setTimer(AGAIN_MS, resolve));
		}
	}

	#apply(key: string, value: T | undefined, revision: number): void {
		if (revision <= (this.#entries.get(key)?.revision ?? this.#removed.get(key) ?? 0)) return;
		const before = this.#entries.get(key)?.value;
		if (value !== undefined) this.#entries.set(key, { value, revision });
		else {
			this.#entries.delete(key);
			if (this.#options.store.capabilities.isShared) this.#removed.set(key, revision);
		}
		this.#tell(key, before);
	}

	#tell(key: string, before: T | undefined): void {
		for (const listener of this.#listeners) listener(key, before);
	}
}
