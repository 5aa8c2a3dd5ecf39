/** The file of an embedded state: whether it is ours, in which version, and how an older one becomes today's. */
import type { DatabaseSync } from "node:sqlite";

/** "NXST". Tells our files from those of other programs. */
const APPLICATION_ID = 0x4e585354;

/** Each makes version n + 1 of version n; never changed once released. */
export const MIGRATIONS: readonly string[] = [
	`CREATE TABLE head (only INTEGER PRIMARY KEY CHECK (only = 1), revision INTEGER NOT NULL, cut_to INTEGER NOT NULL, history_bytes INTEGER NOT NULL) STRICT;
	INSERT INTO head VALUES (1, 0, 0, 0);
	CREATE TABLE entries (tbl TEXT NOT NULL, key TEXT NOT NULL, revision INTEGER NOT NULL, json TEXT NOT NULL, PRIMARY KEY (tbl, key)) STRICT;
	CREATE TABLE changes (id INTEGER PRIMARY KEY, revision INTEGER NOT NULL, tbl TEXT NOT NULL, key TEXT NOT NULL, json TEXT, bytes INTEGER NOT NULL) STRICT;
	CREATE INDEX changes_of_table ON changes (tbl, revision, id);
	CREATE TABLE cursors (name TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT, WITHOUT ROWID;`,
];

export type SchemaOutcome =
	| { readonly ok: true; readonly migratedFrom: number }
	| { readonly ok: false; readonly reason: "foreign" | "newer" | "damaged"; readonly detail: string };

/** Leaves the file as it is unless all is well. An upgrade happens whole or not at all. Throws what SQLite throws. */
export function prepareSchema(database: DatabaseSync, migrations: readonly string[] = MIGRATIONS): SchemaOutcome {
	const damage = database.prepare("PRAGMA quick_check(1)").get()?.quick_check;
	if (damage !== "ok") return { ok: false, reason: "damaged", detail: String(damage) };
	const application = numberOf(database, "PRAGMA application_id", "application_id");
	const version = numberOf(database, "PRAGMA user_version", "user_version");
	const isEmpty = numberOf(database, "SELECT count(*) AS count FROM sqlite_schema", "count") === 0;
	if (application !== APPLICATION_ID && !(isEmpty && application === 0 && version === 0))
		return { ok: false, reason: "foreign", detail: "it is a database of another program" };
	if (version > migrations.length)
		return { ok: false, reason: "newer", detail: `it has version ${version}, written by a newer Nexus; this one knows up to ${migrations.length}` };
	if (version === migrations.length) return { ok: true, migratedFrom: version };
	database.exec("BEGIN IMMEDIATE");
	try {
		for (const migration of migrations.slice(version)) database.exec(migration);
		database.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${migrations.length}; COMMIT`);
	} catch (thrown) {
		if (database.isTransaction) database.exec("ROLLBACK");
		throw thrown;
	}
	return { ok: true, migratedFrom: version };
}

function numberOf(database: DatabaseSync, sql: string, column: string): number {
	return Number(database.prepare(sql).get()?.[column]);
}
