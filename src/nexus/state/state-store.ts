/** What Nexus asks of its state, whatever keeps it: versioned values with compare-and-set, a history to watch, and fast cursors. */
import type { Durability } from "../log/event-log.ts";

export type { Durability };

/** One value. `revision` is that of the commit which wrote it; later commits have higher ones, in the whole store. */
export interface Entry {
	readonly key: string;
	/** As JSON gives it back. What reads it checks it: an older version may have written it. */
	readonly value: unknown;
	readonly revision: number;
}

/**
 * One line of a commit. `expected`: the revision that the entry must have (0: there must be none); without it, any.
 * `check` writes nothing: the commit happens only if the entry still has that revision.
 */
export type Write =
	| { readonly kind: "put"; readonly table: string; readonly key: string; readonly value: unknown; readonly expected?: number }
	| { readonly kind: "delete"; readonly table: string; readonly key: string; readonly expected?: number }
	| { readonly kind: "check"; readonly table: string; readonly key: string; readonly expected: number };

/** An entry that did not have the revision expected of it; `actual` 0: there is none. */
export interface Conflict {
	readonly table: string;
	readonly key: string;
	readonly expected: number;
	readonly actual: number;
}

/**
 * `full`: no space. `io`: the disk or the server failed. `unavailable`: the server cannot be reached. `overloaded`: too much waits already.
 * `invalid`: a table, key or size beyond the bounds. `closed`: the store is closing. In each of these cases nothing was written.
 * `unknown`: the connection broke before the answer came: it was written, or not. Who names what it expects may simply try again.
 */
export type StateFailure = "full" | "io" | "unavailable" | "overloaded" | "invalid" | "closed" | "unknown";

export interface StateFailed {
	readonly ok: false;
	readonly failure: StateFailure;
	/** For people; names no value. */
	readonly detail: string;
}

export type CommitOutcome =
	| {
			readonly ok: true;
			/** Of all entries that it wrote; the store's own where it changed nothing. */
			readonly revision: number;
			readonly durability: Durability;
	  }
	| { readonly ok: false; readonly failure: "conflict"; readonly conflicts: readonly Conflict[] }
	| StateFailed;

/** `fenced`: the entry named by the fence has another revision by now; the cursor is as it was. */
export type CursorOutcome = { readonly ok: true; readonly durability: Durability } | { readonly ok: false; readonly failure: "fenced" } | StateFailed;

/** A cursor is moved only while this entry has this revision: see leases.ts. */
export interface Fence {
	readonly table: string;
	readonly key: string;
	readonly revision: number;
}

export type Read<T> = { readonly ok: true; readonly value: T } | StateFailed;

export interface PageQuery {
	readonly prefix?: string;
	/** Exclusive: the last key of the page before. */
	readonly after?: string;
	/** 1 to 1,000 (default). A page also ends at 2 MiB. */
	readonly limit?: number;
}

export interface Page {
	/** By key, in the order of ASCII. */
	readonly entries: readonly Entry[];
	/** `after` of the next page; undefined at the end. */
	readonly next: string | undefined;
	/** A watch from here on misses nothing that this page does not show. Over several pages: that of the first. */
	readonly revision: number;
}

/** One write as it was; `value` undefined: deleted. */
export interface Change {
	readonly key: string;
	readonly value: unknown;
	readonly revision: number;
}

/** `reset`: the history does not reach back to there, or it is not this store's. List the table, then go on from that revision. */
export type ChangePage =
	| { readonly kind: "reset" }
	| {
			readonly kind: "changes";
			/** In order; commits whole. */
			readonly changes: readonly Change[];
			/** Everything up to here was looked at: `after` of the next call. */
			readonly revision: number;
			readonly atEnd: boolean;
	  };

export interface CursorEntry {
	readonly name: string;
	readonly value: unknown;
}

export interface StateCapabilities {
	/** Several nodes may use it at once. */
	readonly isShared: boolean;
	readonly durability: Durability;
}

export interface StateStats {
	readonly commits: number;
	readonly conflicts: number;
	readonly cursorsSaved: number;
	/** Cursors that were moved on before their group was written; their savers are told of the later one's fate. */
	readonly cursorsMerged: number;
	/** Group commits: each is one fsync, or one round trip. */
	readonly groups: number;
	readonly failedGroups: number;
	readonly pendingBytes: number;
	/** True since the last group failed, until one succeeds. */
	readonly isFailing: boolean;
}

/**
 * Tables are named `[a-z][a-z0-9-]{0,62}`. With a `_` in front a table is quiet: the same in all, but it keeps no history
 * and cannot be watched. Keys are 1 to 256 printable ASCII characters without spaces, so that every engine sorts them alike.
 */
export interface StateStore {
	readonly engine: string;
	readonly capabilities: StateCapabilities;
	get(table: string, key: string): Promise<Read<Entry | undefined>>;
	list(table: string, query?: PageQuery): Promise<Read<Page>>;
	/** All of it or nothing: up to 128 writes, 384 KiB, each entry at most once. Throws only for values that JSON cannot carry. */
	commit(writes: readonly Write[]): Promise<CommitOutcome>;
	changes(table: string, after: number): Promise<Read<ChangePage>>;
	/** Calls when there may be something new for `changes`, from any node; also when a lost connection is back. Returns how to stop that. */
	onChange(listener: () => void): () => void;
	/** Outside of revisions and history; the last one wins. `undefined` forgets it. At most 16 KiB. */
	saveCursor(name: string, value: unknown, fence?: Fence): Promise<CursorOutcome>;
	cursor(name: string): Promise<Read<unknown>>;
	cursors(query?: PageQuery): Promise<Read<{ readonly entries: readonly CursorEntry[]; readonly next: string | undefined }>>;
	/** Copies what is committed into a new file of mode 0600, durable, while it runs. Undefined: the engine is backed up by its own means. */
	readonly backup?: ((file: string) => Promise<Read<undefined>>) | undefined;
	stats(): StateStats;
	/** Writes what waits, then lets go of everything. Later calls are `closed`. */
	close(): Promise<void>;
}

/** `await store.commit([put("policies", "checkout", policy, 0)])`: creates, and conflicts where it exists. */
export function put(table: string, key: string, value: unknown, expected?: number): Write {
	return expected === undefined ? { kind: "put", table, key, value } : { kind: "put", table, key, value, expected };
}

export function remove(table: string, key: string, expected?: number): Write {
	return expected === undefined ? { kind: "delete", table, key } : { kind: "delete", table, key, expected };
}

export function check(table: string, key: string, expected: number): Write {
	return { kind: "check", table, key, expected };
}
