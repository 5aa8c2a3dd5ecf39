/** One SQLite file as a state, synchronous: one transaction a group, durable when it returns. Runs in a thread of its own (sqlite-worker.ts). */
import { closeSync, fsyncSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { backup, DatabaseSync, type StatementSync } from "node:sqlite";
import { messageOf } from "../../core/errors.ts";
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
	type GroupResult,
	isQuiet,
	type Outcome,
	type Span,
} from "./engine.ts";
import { HISTORY_BYTES_MAX, HISTORY_CHANGES_MAX, HISTORY_CUT_EVERY } from "./limits.ts";
import { prepareSchema } from "./sqlite-schema.ts";
import type { StateFailed } from "./state-store.ts";

/** `busy`: another process has it. `damaged`, `foreign`, `newer`: the file is left untouched. `io`: the system refuses. */
export type OpenFailure = { readonly ok: false; readonly reason: "busy" | "damaged" | "foreign" | "newer" | "io"; readonly detail: string };

// SQLite's primary result codes (sqlite.org/rescode.html); extended ones carry them in the low byte.
const BUSY = 5;
const CORRUPT = 11;
const FULL = 13;
const NOT_A_DATABASE = 26;

// The log of SQLite is cut back to this after a checkpoint.
const WAL_BYTES_KEPT = 8 * 1024 * 1024;

/** One step of a backup, for which a write has to wait: 1 MiB, about a millisecond. */
const BACKUP_PAGES = 256;

interface Head {
	revision: number;
	cutTo: number;
	historyBytes: number;
}

export function openSqliteDatabase(file: string, bytesMax: number): { readonly ok: true; readonly database: SqliteDatabase } | OpenFailure {
	let database: DatabaseSync | undefined;
	try {
		createPrivately(file);
		database = new DatabaseSync(file, { timeout: 0, enableForeignKeyConstraints: false });
		// Exclusive before all else: the index of the log stays in memory, and a second process is told so at once.
		database.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON");
		// The mode alone takes no lock while the file is empty.
		database.exec("BEGIN EXCLUSIVE; COMMIT");
		const schema = prepareSchema(database);
		if (!schema.ok) {
			database.close();
			return { ok: false, reason: schema.reason, detail: `${file}: ${schema.detail}; it is left as it is` };
		}
		// Only now: it changes the file.
		database.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = ${WAL_BYTES_KEPT}`);
		const pageBytes = Number(database.prepare("PRAGMA page_size").get()?.page_size);
		database.exec(`PRAGMA max_page_count = ${Math.max(1, Math.floor(bytesMax / pageBytes))}`);
		return { ok: true, database: new SqliteDatabase(database) };
	} catch (thrown) {
		database?.close();
		return openFailureOf(file, thrown);
	}
}

export class SqliteDatabase {
	readonly #database: DatabaseSync;
	#head: Head;
	readonly #revisionOf: StatementSync;
	readonly #entry: StatementSync;
	readonly #put: StatementSync;
	readonly #delete: StatementSync;
	readonly #addChange: StatementSync;
	readonly #saveHead: StatementSync;
	readonly #saveCursor: StatementSync;
	readonly #deleteCursor: StatementSync;
	readonly #list: StatementSync;
	readonly #listCursors: StatementSync;
	readonly #changes: StatementSync;

	constructor(database: DatabaseSync) {
		this.#database = database;
		this.#revisionOf = database.prepare("SELECT revision FROM entries WHERE tbl = ? AND key = ?");
		this.#entry = database.prepare("SELECT key, json, revision FROM entries WHERE tbl = ? AND key = ?");
		this.#put = database.prepare(
			"INSERT INTO entries (tbl, key, revision, json) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET revision = excluded.revision, json = excluded.json",
		);
		this.#delete = database.prepare("DELETE FROM entries WHERE tbl = ? AND key = ?");
		this.#addChange = database.prepare("INSERT INTO changes (revision, tbl, key, json, bytes) VALUES (?, ?, ?, ?, ?)");
		this.#saveHead = database.prepare("UPDATE head SET revision = ?, cut_to = ?, history_bytes = ?");
		this.#saveCursor = database.prepare("INSERT INTO cursors (name, json) VALUES (?, ?) ON CONFLICT DO UPDATE SET json = excluded.json");
		this.#deleteCursor = database.prepare("DELETE FROM cursors WHERE name = ?");
		this.#list = database.prepare("SELECT key, json, revision FROM entries WHERE tbl = ? AND key > ? AND key >= ? AND key < ? ORDER BY key");
		this.#listCursors = database.prepare(
			"SELECT name AS key, json, 0 AS revision FROM cursors WHERE name > ? AND name >= ? AND name < ? ORDER BY name",
		);
		this.#changes = database.prepare("SELECT key, json, revision, bytes FROM changes WHERE tbl = ? AND revision > ? ORDER BY revision, id");
		const head = database.prepare("SELECT revision, cut_to, history_bytes FROM head").get();
		this.#head = { revision: Number(head?.revision), cutTo: Number(head?.cut_to), historyBytes: Number(head?.history_bytes) };
	}

	write({ commits, cursors }: Group): Outcome<GroupResult> {
		const before = { ...this.#head };
		let isCommitting = false;
		try {
			this.#database.exec("BEGIN IMMEDIATE");
			const results = commits.map((writes) => this.#commit(writes));
			if (this.#head.revision !== before.revision) this.#cutHistory(before.revision);
			const saved = cursors.map((cursor) => this.#save(cursor));
			isCommitting = true;
			this.#database.exec("COMMIT");
			return { ok: true, value: { commits: results, cursors: saved, durability: "disk" } };
		} catch (thrown) {
			this.#head = before;
			if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
			const failed = failureOf(thrown);
			// The end of a transaction may be in the log whose fsync has failed; a crash now would bring it back.
			return isCommitting && failed.failure === "io" ? { ...failed, failure: "unknown" } : failed;
		}
	}

	get(table: string, key: string): Outcome<EncodedEntry | undefined> {
		return attempt(() => {
			const row = this.#entry.get(table, key);
			return row === undefined ? undefined : entryOf(row);
		});
	}

	list(table: string, { prefix, after, limit, bytes }: Span): Outcome<EncodedPage> {
		return attempt(() => this.#page(this.#list.iterate(table, after, prefix, endOfPrefix(prefix)), limit, bytes));
	}

	cursors({ prefix, after, limit, bytes }: Span): Outcome<EncodedPage> {
		return attempt(() => this.#page(this.#listCursors.iterate(after, prefix, endOfPrefix(prefix)), limit, bytes));
	}

	changes(table: string, after: number, bytes: number): Outcome<EncodedChanges> {
		return attempt(() => {
			if (after < this.#head.cutTo || after > this.#head.revision) return undefined;
			const changes: EncodedChange[] = [];
			let size = 0;
			for (const row of this.#changes.iterate(table, after)) {
				const revision = Number(row.revision);
				const last = changes.at(-1)?.revision;
				if (size >= bytes && last !== undefined && last !== revision) return { changes, revision: last, atEnd: false };
				changes.push({ key: String(row.key), json: row.json === null ? null : String(row.json), revision });
				size += Number(row.bytes);
			}
			return { changes, revision: this.#head.revision, atEnd: true };
		});
	}

	/** Page by page, between the writes of others: the copy is as of its end. Nothing may stand in `file`. */
	async backup(file: string): Promise<Outcome<undefined>> {
		try {
			createPrivately(file);
			await backup(this.#database, file, { rate: BACKUP_PAGES });
			return { ok: true, value: undefined };
		} catch (thrown) {
			return resultCodeOf(thrown) === undefined ? { ok: false, failure: "io", detail: messageOf(thrown) } : failureOf(thrown);
		}
	}

	/** Leaves one file, without a log beside it. */
	close(): void {
		this.#database.close();
	}

	#commit(writes: readonly EncodedWrite[]): CommitResult {
		const current = writes.map(({ table, key }) => Number(this.#revisionOf.get(table, key)?.revision ?? 0));
		const actual = writes.map(({ expected }, index) => (expected === -1 || expected === current[index] ? -1 : (current[index] ?? 0)));
		if (actual.some((revision) => revision !== -1)) return actual;
		const changing = writes.filter(({ json }, index) => json !== undefined && (json !== null || current[index] !== 0));
		if (changing.length === 0) return this.#head.revision;
		this.#head.revision++;
		for (const { table, key, json = null } of changing) this.#write(table, key, json);
		return this.#head.revision;
	}

	#write(table: string, key: string, json: string | null): void {
		const { revision } = this.#head;
		if (json === null) this.#delete.run(table, key);
		else this.#put.run(table, key, revision, json);
		if (isQuiet(table)) return;
		const bytes = key.length + Buffer.byteLength(json ?? "");
		this.#addChange.run(revision, table, key, json, bytes);
		this.#head.historyBytes += bytes;
	}

	#save({ name, json, fence }: EncodedCursor): boolean {
		if (fence !== undefined && this.#revisionOf.get(fence.table, fence.key)?.revision !== fence.revision) return false;
		if (json === null) this.#deleteCursor.run(name);
		else this.#saveCursor.run(name, json);
		return true;
	}

	#cutHistory(since: number): void {
		const head = this.#head;
		const isTooLarge = head.historyBytes > HISTORY_BYTES_MAX;
		const isDue = Math.floor(since / HISTORY_CUT_EVERY) !== Math.floor(head.revision / HISTORY_CUT_EVERY);
		if (isTooLarge || isDue) {
			const { last } = this.#database.prepare("SELECT coalesce(max(id), 0) AS last FROM changes").get() ?? {};
			const cutId = Math.max(Number(last) - HISTORY_CHANGES_MAX, isTooLarge ? this.#idToFree() : 0);
			const cut = this.#database.prepare("SELECT max(revision) AS revision, coalesce(sum(bytes), 0) AS bytes FROM changes WHERE id <= ?").get(cutId);
			this.#database.prepare("DELETE FROM changes WHERE id <= ?").run(cutId);
			// Of a commit that was cut in two, the rest stays unread: readers begin behind its revision.
			head.cutTo = Math.max(head.cutTo, Number(cut?.revision ?? 0));
			head.historyBytes -= Number(cut?.bytes);
		}
		this.#saveHead.run(head.revision, head.cutTo, head.historyBytes);
	}

	/** Up to which change history has to go. A quarter more than it must, so that the next cut is not the next commit's. */
	#idToFree(): number {
		let bytes = this.#head.historyBytes;
		for (const row of this.#database.prepare("SELECT id, bytes FROM changes ORDER BY id").iterate()) {
			bytes -= Number(row.bytes);
			if (bytes <= HISTORY_BYTES_MAX * 0.75) return Number(row.id);
		}
		return 0;
	}

	#page(rows: Iterable<Record<string, unknown>>, limit: number, bytes: number): EncodedPage {
		const entries: EncodedEntry[] = [];
		let size = 0;
		for (const row of rows) {
			if (entries.length === limit || size >= bytes) return { entries, isLast: false, revision: this.#head.revision };
			const entry = entryOf(row);
			entries.push(entry);
			size += entry.key.length + entry.json.length;
		}
		return { entries, isLast: true, revision: this.#head.revision };
	}
}

function entryOf(row: Record<string, unknown>): EncodedEntry {
	return { key: String(row.key), json: String(row.json), revision: Number(row.revision) };
}

function attempt<T>(read: () => T): Outcome<T> {
	try {
		return { ok: true, value: read() };
	} catch (thrown) {
		return failureOf(thrown);
	}
}

function failureOf(thrown: unknown): StateFailed {
	const code = resultCodeOf(thrown);
	// Anything else is a fault of ours, and not an answer.
	if (code === undefined) throw thrown;
	if (code === FULL) return { ok: false, failure: "full", detail: "no space left for the state" };
	const damage = code === CORRUPT || code === NOT_A_DATABASE ? "the file of the state is damaged: " : "";
	return { ok: false, failure: "io", detail: `${damage}${messageOf(thrown)}` };
}

function openFailureOf(file: string, thrown: unknown): OpenFailure {
	const code = resultCodeOf(thrown);
	if (code === BUSY) return { ok: false, reason: "busy", detail: `${file} is in use by another process` };
	if (code === CORRUPT || code === NOT_A_DATABASE)
		return {
			ok: false,
			reason: "damaged",
			detail: `${file} is damaged (${messageOf(thrown)}); it is left as it is: restore a copy, or move it away to begin anew`,
		};
	return { ok: false, reason: "io", detail: `${file} cannot be opened: ${messageOf(thrown)}` };
}

function resultCodeOf(thrown: unknown): number | undefined {
	if (!(thrown instanceof Error) || !("errcode" in thrown) || typeof thrown.errcode !== "number") return undefined;
	return thrown.errcode & 0xff;
}

/** SQLite would make it readable by all; it holds hashes of keys. The folder is made durable with the file's name in it. */
function createPrivately(file: string): void {
	const folder = dirname(file);
	mkdirSync(folder, { recursive: true });
	closeSync(openSync(file, "a", 0o600));
	const handle = openSync(folder, "r");
	try {
		fsyncSync(handle);
	} finally {
		closeSync(handle);
	}
}
