/** State in memory: applies groups one after another, as each engine must. Knows no time and no I/O; the same groups give the same tables. */
import {
	type CommitResult,
	type EncodedChange,
	type EncodedChanges,
	type EncodedCursor,
	type EncodedEntry,
	type EncodedPage,
	type EncodedWrite,
	endOfPrefix,
	type Group,
	isQuiet,
	type Span,
} from "./engine.ts";
import { HISTORY_BYTES_MAX, HISTORY_CHANGES_MAX, HISTORY_CUT_EVERY } from "./limits.ts";

interface TableChange extends EncodedChange {
	readonly table: string;
}

/** All that a state is; what a copy of it holds. */
export interface TablesImage {
	readonly revision: number;
	readonly entries: readonly (readonly [table: string, key: string, json: string, revision: number])[];
	readonly cursors: readonly (readonly [name: string, json: string])[];
}

export class Tables {
	/** Of the last commit that wrote something. */
	revision = 0;
	/** Changes up to here are gone. */
	#cutTo = 0;
	#tables = new Map<string, SortedMap>();
	#cursors = new SortedMap();
	#changes: TableChange[] = [];
	#changeBytes = 0;

	static from(image: TablesImage): Tables {
		const tables = new Tables();
		tables.revision = image.revision;
		tables.#cutTo = image.revision;
		for (const [table, key, json, revision] of image.entries) tables.#table(table).set({ key, json, revision });
		for (const [key, json] of image.cursors) tables.#cursors.set({ key, json, revision: 0 });
		return tables;
	}

	image(): TablesImage {
		const entries = [...this.#tables].flatMap(([table, map]) =>
			map.entries().map(({ key, json, revision }) => [table, key, json, revision] as const),
		);
		return { revision: this.revision, entries, cursors: this.#cursors.entries().map(({ key, json }) => [key, json] as const) };
	}

	apply({ commits, cursors }: Group): { commits: CommitResult[]; cursors: boolean[] } {
		const results = { commits: commits.map((writes) => this.#commit(writes)), cursors: cursors.map((cursor) => this.#save(cursor)) };
		if (this.#changes.length > HISTORY_CHANGES_MAX + HISTORY_CUT_EVERY || this.#changeBytes > HISTORY_BYTES_MAX) this.#cut();
		return results;
	}

	get(table: string, key: string): EncodedEntry | undefined {
		return this.#tables.get(table)?.get(key);
	}

	list(table: string, span: Span): EncodedPage {
		return this.#page(this.#tables.get(table), span);
	}

	cursors(span: Span): EncodedPage {
		return this.#page(this.#cursors, span);
	}

	changes(table: string, after: number, bytes: number): EncodedChanges {
		if (after < this.#cutTo || after > this.revision) return undefined;
		const changes: EncodedChange[] = [];
		let size = 0;
		for (let i = this.#firstAfter(after); i < this.#changes.length; i++) {
			const change = this.#changes[i];
			if (change?.table !== table) continue;
			const last = changes.at(-1);
			if (size >= bytes && last !== undefined && last.revision !== change.revision) return { changes, revision: last.revision, atEnd: false };
			changes.push(change);
			size += change.key.length + (change.json?.length ?? 0);
		}
		return { changes, revision: this.revision, atEnd: true };
	}

	#commit(writes: readonly EncodedWrite[]): CommitResult {
		const actual = writes.map(({ table, key, expected }) => {
			const revision = this.get(table, key)?.revision ?? 0;
			return expected === -1 || expected === revision ? -1 : revision;
		});
		if (actual.some((revision) => revision !== -1)) return actual;
		const changing = writes.filter(({ table, key, json }) => json !== undefined && (json !== null || this.get(table, key) !== undefined));
		if (changing.length === 0) return this.revision;
		this.revision++;
		for (const { table, key, json = null } of changing) this.#write(table, key, json);
		return this.revision;
	}

	#write(table: string, key: string, json: string | null): void {
		if (json === null) this.#table(table).delete(key);
		else this.#table(table).set({ key, json, revision: this.revision });
		if (isQuiet(table)) return;
		this.#changes.push({ table, key, json, revision: this.revision });
		this.#changeBytes += key.length + (json?.length ?? 0);
	}

	#save({ name, json, fence }: EncodedCursor): boolean {
		if (fence !== undefined && this.get(fence.table, fence.key)?.revision !== fence.revision) return false;
		if (json === null) this.#cursors.delete(name);
		else this.#cursors.set({ key: name, json, revision: 0 });
		return true;
	}

	#page(map: SortedMap | undefined, { prefix, after, limit, bytes }: Span): EncodedPage {
		const entries: EncodedEntry[] = [];
		let size = 0;
		for (const entry of map?.between(prefix, after, endOfPrefix(prefix)) ?? []) {
			if (entries.length === limit || size >= bytes) return { entries, isLast: false, revision: this.revision };
			entries.push(entry);
			size += entry.key.length + entry.json.length;
		}
		return { entries, isLast: true, revision: this.revision };
	}

	#cut(): void {
		let from = Math.max(0, this.#changes.length - HISTORY_CHANGES_MAX);
		for (let i = 0; i < from; i++) this.#changeBytes -= sizeOf(this.#changes[i]);
		// A quarter less than the bound, so that the next cut is not the next commit's.
		for (; this.#changeBytes > HISTORY_BYTES_MAX * 0.75; from++) this.#changeBytes -= sizeOf(this.#changes[from]);
		this.#cutTo = this.#changes[from - 1]?.revision ?? this.#cutTo;
		from = this.#firstAfter(this.#cutTo);
		this.#changes = this.#changes.slice(from);
		this.#changeBytes = this.#changes.reduce((sum, change) => sum + sizeOf(change), 0);
	}

	#firstAfter(revision: number): number {
		let low = 0;
		let high = this.#changes.length;
		while (low < high) {
			const middle = (low + high) >>> 1;
			if ((this.#changes[middle]?.revision ?? 0) > revision) high = middle;
			else low = middle + 1;
		}
		return low;
	}

	#table(name: string): SortedMap {
		const found = this.#tables.get(name);
		if (found !== undefined) return found;
		const table = new SortedMap();
		this.#tables.set(name, table);
		return table;
	}
}

function sizeOf(change: TableChange | undefined): number {
	return change === undefined ? 0 : change.key.length + (change.json?.length ?? 0);
}

/** A map that sorts its keys when somebody lists it, not when somebody writes. */
class SortedMap {
	#map = new Map<string, EncodedEntry>();
	#sorted: string[] | undefined;

	get(key: string): EncodedEntry | undefined {
		return this.#map.get(key);
	}

	set(entry: EncodedEntry): void {
		if (!this.#map.has(entry.key)) this.#sorted = undefined;
		this.#map.set(entry.key, entry);
	}

	delete(key: string): void {
		if (this.#map.delete(key)) this.#sorted = undefined;
	}

	entries(): EncodedEntry[] {
		return [...this.#map.values()];
	}

	/** From `first` (and behind `after`) to before `end`. */
	*between(first: string, after: string, end: string): Generator<EncodedEntry> {
		this.#sorted ??= [...this.#map.keys()].sort();
		const keys = this.#sorted;
		let low = 0;
		let high = keys.length;
		while (low < high) {
			const middle = (low + high) >>> 1;
			const key = keys[middle] ?? "";
			if (key > after && key >= first) high = middle;
			else low = middle + 1;
		}
		for (let i = low; i < keys.length; i++) {
			const key = keys[i] ?? "";
			if (key >= end) return;
			const entry = this.#map.get(key);
			if (entry !== undefined) yield entry;
		}
	}
}
