/** The one store over each engine: checks, encodes, and writes what has gathered while the group before was on its way. */

import { encodeCommit, encodeCursor, encodeQuery, faultOfKey, faultOfTable, invalid } from "./encode.ts";
import type { CommitResult, EncodedCursor, EncodedPage, EncodedWrite, Outcome, StateEngine } from "./engine.ts";
import { PAGE_BYTES_MAX, PENDING_BYTES_MAX, PENDING_READS_MAX } from "./limits.ts";
import type {
	ChangePage,
	CommitOutcome,
	CursorEntry,
	CursorOutcome,
	Durability,
	Entry,
	Fence,
	Page,
	PageQuery,
	Read,
	StateCapabilities,
	StateFailed,
	StateStats,
	StateStore,
	Write,
} from "./state-store.ts";

interface PendingCommit {
	readonly writes: readonly EncodedWrite[];
	readonly bytes: number;
	readonly settle: (outcome: CommitOutcome) => void;
}

interface PendingCursor {
	cursor: EncodedCursor;
	bytes: number;
	/** Whoever has saved it since the last group. */
	readonly settle: ((outcome: CursorOutcome) => void)[];
}

const CLOSED: StateFailed = { ok: false, failure: "closed", detail: "the state is closing" };
const TOO_MANY_WRITES: StateFailed = { ok: false, failure: "overloaded", detail: `${PENDING_BYTES_MAX} bytes wait to be written` };
const TOO_MANY_READS: StateFailed = { ok: false, failure: "overloaded", detail: `${PENDING_READS_MAX} reads wait` };

export class GroupedStore implements StateStore {
	readonly engine: string;
	readonly capabilities: StateCapabilities;
	readonly backup: StateStore["backup"];
	readonly #engine: StateEngine;
	readonly #listeners = new Set<() => void>();
	#commits: PendingCommit[] = [];
	/** By name and fence, in the order of their first save. */
	#cursors = new Map<string, PendingCursor>();
	#pendingBytes = 0;
	#reads = 0;
	#writing: Promise<void> | undefined;
	#closing: Promise<void> | undefined;
	#stats = { commits: 0, conflicts: 0, cursorsSaved: 0, cursorsMerged: 0, groups: 0, failedGroups: 0, isFailing: false };

	constructor(engine: StateEngine) {
		this.#engine = engine;
		this.engine = engine.name;
		this.capabilities = Object.freeze({ isShared: engine.isShared, durability: engine.durability });
		if (engine.backup !== undefined) this.backup = (file) => this.#read(() => engine.backup?.(file) ?? Promise.resolve(CLOSED));
		engine.onChange(() => this.#tellListeners());
	}

	async commit(writes: readonly Write[]): Promise<CommitOutcome> {
		if (this.#closing !== undefined) return CLOSED;
		const encoded = encodeCommit(writes);
		if (!encoded.ok) return encoded;
		if (this.#pendingBytes + encoded.bytes > PENDING_BYTES_MAX) return TOO_MANY_WRITES;
		const { promise, resolve } = Promise.withResolvers<CommitOutcome>();
		this.#commits.push({ writes: encoded.value, bytes: encoded.bytes, settle: resolve });
		this.#pendingBytes += encoded.bytes;
		this.#start();
		return promise;
	}

	async saveCursor(name: string, value: unknown, fence?: Fence): Promise<CursorOutcome> {
		if (this.#closing !== undefined) return CLOSED;
		const encoded = encodeCursor(name, value, fence);
		if (!encoded.ok) return encoded;
		if (this.#pendingBytes + encoded.bytes > PENDING_BYTES_MAX) return TOO_MANY_WRITES;
		const { promise, resolve } = Promise.withResolvers<CursorOutcome>();
		this.#gather(encoded.value, encoded.bytes, resolve);
		this.#start();
		return promise;
	}

	async get(table: string, key: string): Promise<Read<Entry | undefined>> {
		const fault = faultOfTable(table) ?? faultOfKey(key);
		if (fault !== undefined) return invalid(fault);
		const found = await this.#read(() => this.#engine.get(table, key));
		if (!found.ok || found.value === undefined) return found as Read<undefined>;
		const { json, revision } = found.value;
		return { ok: true, value: { key, value: JSON.parse(json), revision } };
	}

	async list(table: string, query: PageQuery = {}): Promise<Read<Page>> {
		const fault = faultOfTable(table);
		if (fault !== undefined) return invalid(fault);
		const span = encodeQuery(query);
		if (!span.ok) return span;
		const page = await this.#read(() => this.#engine.list(table, span.value));
		if (!page.ok) return page;
		const entries = page.value.entries.map(({ key, json, revision }) => ({ key, value: JSON.parse(json) as unknown, revision }));
		return { ok: true, value: { entries, next: nextOf(page.value), revision: page.value.revision } };
	}

	async changes(table: string, after: number): Promise<Read<ChangePage>> {
		const fault = faultOfTable(table) ?? (table.startsWith("_") ? `${table} is quiet and has no history` : undefined);
		if (fault !== undefined) return invalid(fault);
		const found = await this.#read(() => this.#engine.changes(table, after, PAGE_BYTES_MAX));
		if (!found.ok) return found;
		if (found.value === undefined) return { ok: true, value: { kind: "reset" } };
		const { changes, revision, atEnd } = found.value;
		const decoded = changes.map(({ key, json, revision }) => ({ key, value: json === null ? undefined : (JSON.parse(json) as unknown), revision }));
		return { ok: true, value: { kind: "changes", changes: decoded, revision, atEnd } };
	}

	async cursor(name: string): Promise<Read<unknown>> {
		const fault = faultOfKey(name);
		if (fault !== undefined) return invalid(fault);
		// A cursor is a page of one: a prefix that only it begins with is its name, and nothing shorter sorts before it.
		const page = await this.#read(() => this.#engine.cursors({ prefix: name, after: "", limit: 1, bytes: PAGE_BYTES_MAX }));
		if (!page.ok) return page;
		const [first] = page.value.entries;
		return { ok: true, value: first?.key === name ? JSON.parse(first.json) : undefined };
	}

	async cursors(query: PageQuery = {}): Promise<Read<{ readonly entries: readonly CursorEntry[]; readonly next: string | undefined }>> {
		const span = encodeQuery(query);
		if (!span.ok) return span;
		const page = await this.#read(() => this.#engine.cursors(span.value));
		if (!page.ok) return page;
		const entries = page.value.entries.map(({ key, json }) => ({ name: key, value: JSON.parse(json) as unknown }));
		return { ok: true, value: { entries, next: nextOf(page.value) } };
	}

	onChange(listener: () => void): () => void {
		// Wrapped, so that a listener that is added twice is two.
		const own = (): void => listener();
		this.#listeners.add(own);
		return () => void this.#listeners.delete(own);
	}

	stats(): StateStats {
		return { ...this.#stats, pendingBytes: this.#pendingBytes };
	}

	close(): Promise<void> {
		this.#closing ??= (async () => {
			await this.#writing;
			await this.#engine.close();
			this.#listeners.clear();
		})();
		return this.#closing;
	}

	#gather(cursor: EncodedCursor, bytes: number, settle: (outcome: CursorOutcome) => void): void {
		const { name, fence } = cursor;
		const id = fence === undefined ? name : `${name} ${fence.table} ${fence.key} ${fence.revision}`;
		const pending = this.#cursors.get(id);
		if (pending === undefined) {
			this.#cursors.set(id, { cursor, bytes, settle: [settle] });
			this.#pendingBytes += bytes;
			return;
		}
		this.#pendingBytes += bytes - pending.bytes;
		pending.cursor = cursor;
		pending.bytes = bytes;
		pending.settle.push(settle);
		this.#stats.cursorsMerged++;
	}

	#start(): void {
		this.#writing ??= this.#writeAll();
	}

	async #writeAll(): Promise<void> {
		// The end of this turn of the loop: what all of its sockets have brought becomes one group.
		await new Promise((resolve) => setImmediate(resolve));
		while (this.#commits.length > 0 || this.#cursors.size > 0) await this.#writeGroup();
		this.#writing = undefined;
	}

	async #writeGroup(): Promise<void> {
		const { commits, cursors, bytes } = this.#take();
		const outcome = await this.#engine.write({ commits: commits.map(({ writes }) => writes), cursors: cursors.map(({ cursor }) => cursor) });
		this.#pendingBytes -= bytes;
		this.#stats.isFailing = !outcome.ok;
		if (!outcome.ok) {
			this.#stats.failedGroups++;
			for (const { settle } of commits) settle(outcome);
			for (const { settle } of cursors) for (const each of settle) each(outcome);
			return;
		}
		this.#stats.groups++;
		const { durability } = outcome.value;
		commits.forEach(({ writes, settle }, index) => {
			settle(this.#outcomeOf(writes, outcome.value.commits[index] ?? [], durability));
		});
		cursors.forEach(({ settle }, index) => {
			const isSaved = outcome.value.cursors[index] === true;
			if (isSaved) this.#stats.cursorsSaved += settle.length;
			for (const each of settle) each(isSaved ? { ok: true, durability } : { ok: false, failure: "fenced" });
		});
		if (outcome.value.commits.some((result) => typeof result === "number")) this.#tellListeners();
	}

	/** Commits and cursors have room of their own, so that neither keeps the other waiting. */
	#take(): { commits: PendingCommit[]; cursors: PendingCursor[]; bytes: number } {
		const { groupMax } = this.#engine;
		let commitBytes = 0;
		let writes = 0;
		let count = 0;
		for (const { bytes, writes: own } of this.#commits) {
			if (count > 0 && (commitBytes + bytes > groupMax.bytes || writes + own.length > groupMax.writes)) break;
			commitBytes += bytes;
			writes += own.length;
			count++;
		}
		let cursorBytes = 0;
		const cursors: PendingCursor[] = [];
		for (const [id, pending] of this.#cursors) {
			if (cursorBytes + pending.bytes > groupMax.bytes || cursors.length >= groupMax.writes) break;
			this.#cursors.delete(id);
			cursors.push(pending);
			cursorBytes += pending.bytes;
		}
		return { commits: this.#commits.splice(0, count), cursors, bytes: commitBytes + cursorBytes };
	}

	#outcomeOf(writes: readonly EncodedWrite[], result: CommitResult, durability: Durability): CommitOutcome {
		if (typeof result === "number") {
			this.#stats.commits++;
			return { ok: true, revision: result, durability };
		}
		this.#stats.conflicts++;
		const conflicts = writes.flatMap(({ table, key, expected }, index) => {
			const actual = result[index] ?? -1;
			return actual === -1 ? [] : [{ table, key, expected, actual }];
		});
		return { ok: false, failure: "conflict", conflicts };
	}

	async #read<T>(read: () => Promise<Outcome<T>>): Promise<Outcome<T>> {
		if (this.#closing !== undefined) return CLOSED;
		if (this.#reads >= PENDING_READS_MAX) return TOO_MANY_READS;
		this.#reads++;
		try {
			return await read();
		} finally {
			this.#reads--;
		}
	}

	#tellListeners(): void {
		for (const listener of this.#listeners) listener();
	}
}

function nextOf({ entries, isLast }: EncodedPage): string | undefined {
	return isLast ? undefined : entries.at(-1)?.key;
}
