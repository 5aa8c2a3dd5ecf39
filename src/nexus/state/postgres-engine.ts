/** State in PostgreSQL, for several nodes: what is asked of the server, and what its failures mean. */
import { DatabaseError } from "pg";
import { messageOf } from "../../core/errors.ts";
import type { SecretSource } from "../config/secret-source.ts";
import { type EncodedEntry, type EncodedPage, endOfPrefix, type GroupResult, type Outcome, type Span, type StateEngine } from "./engine.ts";
import { COMMIT_WRITES_MAX, GROUP_MAX, PAGE_ENTRIES_MAX } from "./limits.ts";
import { type LinkOptions, NotConnected, PostgresLink } from "./postgres-link.ts";
import { prepareSchema, SCHEMA_NAME } from "./postgres-schema.ts";
import type { StateFailed, StateFailure } from "./state-store.ts";

export interface PostgresOptions extends Omit<LinkOptions, "schema"> {
	/** `postgres://user:password@host:5432/database?sslmode=verify-full`. Not through a pooler of transactions: it would lose LISTEN. */
	readonly url: string | SecretSource;
	/** What the tables stand in; made where it is missing. Default `nexus`. */
	readonly schema?: string;
}

export type OpenPostgres = { readonly ok: true; readonly engine: StateEngine } | { readonly ok: false; readonly detail: string };

// Whoever loses against another transaction (deadlock, serialization) has written nothing and tries again.
const TRIES = 5;
const ENTRY_OVERHEAD_BYTES = 64;

interface Row {
	readonly key: string;
	readonly json: string;
	readonly revision: string;
}

interface PageRow extends Row {
	/** The revision of the store. */
	readonly head: string;
	/** Rows behind this one that were found and left out. */
	readonly rest: string | null;
}

interface ChangeRow {
	readonly key: string;
	readonly json: string | null;
	readonly revision: string;
}

/** The server has to be there; later it may go and come back. */
export async function openPostgresEngine({ schema = "nexus", ...options }: PostgresOptions): Promise<OpenPostgres> {
	if (!SCHEMA_NAME.test(schema)) return { ok: false, detail: `${JSON.stringify(schema)} is no name of a schema: [a-z_][a-z0-9_]{0,39}` };
	const link = new PostgresLink({ ...options, schema });
	try {
		const refused = await link.use((client) => prepareSchema(client, schema));
		if (refused !== undefined) {
			await link.close();
			return { ok: false, detail: refused };
		}
		const { rows } = await link.use((client) => client.query<{ result: GroupResult }>(writeQuery(schema, "[]", "[]")));
		const durability = rows[0]?.result.durability ?? "disk";
		link.listen();
		return { ok: true, engine: new PostgresEngine(link, schema, durability) };
	} catch (thrown) {
		await link.close();
		return { ok: false, detail: `PostgreSQL: ${failureOf(thrown, "read").detail}` };
	}
}

class PostgresEngine implements StateEngine {
	readonly name = "postgres";
	readonly isShared = true;
	readonly groupMax = GROUP_MAX;
	readonly durability: GroupResult["durability"];
	readonly #link: PostgresLink;
	readonly #schema: string;

	constructor(link: PostgresLink, schema: string, durability: GroupResult["durability"]) {
		this.#link = link;
		this.#schema = schema;
		this.durability = durability;
	}

	async write(group: Parameters<StateEngine["write"]>[0]): Promise<Outcome<GroupResult>> {
		const query = writeQuery(this.#schema, JSON.stringify(group.commits), JSON.stringify(group.cursors));
		for (let tries = 1; ; tries++) {
			try {
				const { rows } = await this.#link.use((client) => client.query<{ result: GroupResult }>(query));
				const result = rows[0]?.result;
				return result === undefined ? { ok: false, failure: "io", detail: "no answer to a write" } : { ok: true, value: result };
			} catch (thrown) {
				if (isLostRace(thrown) && tries < TRIES) continue;
				return failureOf(thrown, "write");
			}
		}
	}

	async get(table: string, key: string): Promise<Outcome<EncodedEntry | undefined>> {
		const text = `SELECT key, json, revision FROM ${this.#schema}.entries WHERE tbl = $1 AND key = $2`;
		const found = await this.#read<Row>("get", text, [table, key]);
		if (!found.ok) return found;
		const [row] = found.value;
		return { ok: true, value: row === undefined ? undefined : entryOf(row) };
	}

	async list(table: string, span: Span): ReturnType<StateEngine["list"]> {
		const { prefix, after, limit, bytes } = span;
		const rows = `SELECT key, json, revision FROM ${this.#schema}.entries WHERE tbl = $5 AND key > $1 AND key >= $2 AND key < $3 ORDER BY key LIMIT $4`;
		const found = await this.#read<PageRow>("list", this.#page(rows, "$6"), [after, prefix, endOfPrefix(prefix), limit + 1, table, bytes]);
		return found.ok ? { ok: true, value: pageOf(found.value, limit) } : found;
	}

	async cursors(span: Span): ReturnType<StateEngine["cursors"]> {
		const { prefix, after, limit, bytes } = span;
		const rows = `SELECT name AS key, json, 0::bigint AS revision FROM ${this.#schema}.cursors WHERE name > $1 AND name >= $2 AND name < $3 ORDER BY name LIMIT $4`;
		const found = await this.#read<PageRow>("cursors", this.#page(rows, "$5"), [after, prefix, endOfPrefix(prefix), limit + 1, bytes]);
		return found.ok ? { ok: true, value: pageOf(found.value, limit) } : found;
	}

	async changes(table: string, after: number, bytes: number): ReturnType<StateEngine["changes"]> {
		// One commit more than a page: the last one may be cut in two, and is left for the next page.
		const limit = PAGE_ENTRIES_MAX + COMMIT_WRITES_MAX;
		const rows = `SELECT key, json, revision, id FROM ${this.#schema}.changes WHERE tbl = $1 AND revision > $2 ORDER BY revision, id LIMIT ${limit}`;
		const text = `SELECT h.revision AS head, h.cut_to AS "cutTo", s.key, s.json, s.revision, s.rest FROM ${this.#schema}.head h
			LEFT JOIN (SELECT r.*, coalesce(sum(octet_length(coalesce(json, '')) + ${ENTRY_OVERHEAD_BYTES}) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING EXCLUDE CURRENT ROW), 0) AS size,
				count(*) OVER () - row_number() OVER (ORDER BY id) AS rest FROM (${rows}) r) s ON s.size < $3
			ORDER BY s.id`;
		const found = await this.#read<ChangeRow & { head: string; cutTo: string; rest: string | null }>("changes", text, [table, after, bytes]);
		if (!found.ok) return found;
		const [first] = found.value;
		const head = Number(first?.head);
		if (first === undefined || after > head || after < Number(first.cutTo)) return { ok: true, value: undefined };
		const last = found.value.at(-1);
		const changes = found.value.flatMap(({ key, json, revision }) => (revision === null ? [] : [{ key, json, revision: Number(revision) }]));
		const isCut = Number(last?.rest ?? 0) > 0 || changes.length === limit;
		if (!isCut) return { ok: true, value: { changes, revision: head, atEnd: true } };
		const cut = changes.at(-1)?.revision ?? 0;
		const whole = changes.filter(({ revision }) => revision !== cut);
		return { ok: true, value: { changes: whole, revision: whole.at(-1)?.revision ?? after, atEnd: false } };
	}

	onChange(listener: () => void): void {
		this.#link.onNotification(listener);
	}

	close(): Promise<void> {
		return this.#link.close();
	}

	/** Rows up to that many bytes, each with the revision of the store; one row without a key where there are none. */
	#page(rows: string, bytes: string): string {
		return `SELECT h.revision AS head, s.key, s.json, s.revision, s.rest FROM ${this.#schema}.head h
			LEFT JOIN (SELECT r.*, coalesce(sum(octet_length(json)) OVER (ORDER BY key ROWS UNBOUNDED PRECEDING EXCLUDE CURRENT ROW), 0) AS size,
				count(*) OVER () - row_number() OVER (ORDER BY key) AS rest FROM (${rows}) r) s ON s.size < ${bytes}
			ORDER BY s.key`;
	}

	/** Once more where a connection has died while nobody looked. */
	async #read<T extends object>(name: string, text: string, values: readonly unknown[]): Promise<Outcome<T[]>> {
		for (let tries = 1; ; tries++) {
			try {
				const { rows } = await this.#link.use((client) => client.query<T>({ name: `nexus-${name}`, text, values: [...values] }));
				return { ok: true, value: rows };
			} catch (thrown) {
				if (tries === 1 && !(thrown instanceof DatabaseError)) continue;
				return failureOf(thrown, "read");
			}
		}
	}
}

function writeQuery(schema: string, commits: string, cursors: string): { name: string; text: string; values: string[] } {
	return { name: "nexus-write", text: `SELECT ${schema}.write($1::jsonb, $2::jsonb) AS result`, values: [commits, cursors] };
}

/** `int8` comes as text; revisions stay far below 2^53. */
function entryOf({ key, json, revision }: Row): EncodedEntry {
	return { key, json, revision: Number(revision) };
}

function pageOf(rows: readonly PageRow[], limit: number): EncodedPage {
	const entries = rows.filter(({ key }) => key !== null).map(entryOf);
	const isLast = entries.length <= limit && Number(rows.at(-1)?.rest ?? 0) === 0;
	return { entries: entries.slice(0, limit), isLast, revision: Number(rows[0]?.head) };
}

function isLostRace(thrown: unknown): boolean {
	return thrown instanceof DatabaseError && (thrown.code === "40001" || thrown.code === "40P01");
}

function failureOf(thrown: unknown, what: "read" | "write"): StateFailed {
	if (thrown instanceof NotConnected) return { ok: false, failure: "unavailable", detail: thrown.message };
	if (thrown instanceof DatabaseError) return { ok: false, failure: failureOfState(thrown.code ?? "", what), detail: messageOf(thrown) };
	return { ok: false, failure: what === "write" ? "unknown" : "unavailable", detail: `the connection broke: ${messageOf(thrown)}` };
}

/** By SQLSTATE (PostgreSQL, appendix A). An error of a statement means that nothing of it was written; the end of a session does not. */
function failureOfState(state: string, what: "read" | "write"): StateFailure {
	if (state === "53100") return "full";
	if (state.startsWith("57P")) return what === "write" ? "unknown" : "unavailable";
	// No room for us, cancelled for its time, a standby that only reads, lost against others five times.
	return state.startsWith("53") || state === "57014" || state === "25006" || state.startsWith("40") ? "unavailable" : "io";
}
