/** What stands behind a store: groups of encoded writes, and reads; values are JSON texts that it never looks into. */
import type { Durability, StateFailed } from "./state-store.ts";

/** Checked and encoded. `json` undefined: a check; null: a deletion. `expected` -1: any. Names are short: the shape crosses threads and wires. */
export interface EncodedWrite {
	readonly table: string;
	readonly key: string;
	readonly expected: number;
	readonly json?: string | null;
}

export interface EncodedCursor {
	readonly name: string;
	/** null: forget it. */
	readonly json: string | null;
	readonly fence?: { readonly table: string; readonly key: string; readonly revision: number };
}

/** One transaction: its commits one after another, each whole or not at all; then its cursors, which see what the commits did. */
export interface Group {
	readonly commits: readonly (readonly EncodedWrite[])[];
	/** Each (name, fence) once. */
	readonly cursors: readonly EncodedCursor[];
}

/** A commit's revision, or for each of its writes the actual revision where it is not as expected (-1 where it is). */
export type CommitResult = number | readonly number[];

export interface GroupResult {
	readonly commits: readonly CommitResult[];
	/** False: fenced. */
	readonly cursors: readonly boolean[];
	readonly durability: Durability;
}

export type Outcome<T> = { readonly ok: true; readonly value: T } | StateFailed;

export interface EncodedEntry {
	readonly key: string;
	readonly json: string;
	readonly revision: number;
}

export interface EncodedPage {
	readonly entries: readonly EncodedEntry[];
	readonly isLast: boolean;
	readonly revision: number;
}

export interface EncodedChange {
	readonly key: string;
	readonly json: string | null;
	readonly revision: number;
}

/** Undefined: reset. */
export type EncodedChanges = { readonly changes: readonly EncodedChange[]; readonly revision: number; readonly atEnd: boolean } | undefined;

/** `limit` entries, or as many as `bytes` hold (at least one). */
export interface Span {
	readonly prefix: string;
	readonly after: string;
	readonly limit: number;
	readonly bytes: number;
}

export interface StateEngine {
	readonly name: string;
	readonly isShared: boolean;
	readonly durability: Durability;
	/** What a group may hold of commits, and again of cursors; one commit always fits. */
	readonly groupMax: { readonly bytes: number; readonly writes: number };
	/** One at a time. Never rejects. */
	write(group: Group): Promise<Outcome<GroupResult>>;
	get(table: string, key: string): Promise<Outcome<EncodedEntry | undefined>>;
	list(table: string, span: Span): Promise<Outcome<EncodedPage>>;
	/** Whole commits, at most `bytes` of them (at least one). */
	changes(table: string, after: number, bytes: number): Promise<Outcome<EncodedChanges>>;
	cursors(span: Span): Promise<Outcome<EncodedPage>>;
	/** Changes by others, as far as the engine hears of them. */
	onChange(listener: () => void): void;
	/** Copies all that is committed into a new file, whole and durable, while it runs. Where the engine has none: by its own means. */
	backup?(file: string): Promise<Outcome<undefined>>;
	close(): Promise<void>;
}

/** The first key behind all that begin with `prefix`, in the order of ASCII; keys end below DEL. */
export function endOfPrefix(prefix: string): string {
	return `${prefix}\x7f`;
}

export function isQuiet(table: string): boolean {
	return table.startsWith("_");
}
