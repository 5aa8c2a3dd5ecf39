/** Tables and the one function of a state in PostgreSQL, and how they come to be. A group is one call, so one round trip and one transaction. */
import type { ClientBase } from "pg";
import { HISTORY_BYTES_MAX, HISTORY_CHANGES_MAX, HISTORY_CUT_EVERY } from "./limits.ts";

/** Grows with every change below; nodes of an older one are refused by the newer tables. */
const VERSION = 1;

/** Names that need no quotes. */
export const SCHEMA_NAME = /^[a-z_][a-z0-9_]{0,39}$/;

/** Undefined: ready. Otherwise why not, for people. Several nodes may do it at once. Throws what PostgreSQL throws. */
export async function prepareSchema(client: ClientBase, schema: string): Promise<string | undefined> {
	await client.query("BEGIN");
	try {
		await client.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", [`nexus state ${schema}`]);
		const found = await client.query<{ version: string | null }>("SELECT to_regclass($1) AS version", [`${schema}.version`]);
		const version = found.rows[0]?.version === null ? 0 : await versionOf(client, schema);
		if (version > VERSION) {
			await client.query("ROLLBACK");
			return `schema ${schema} has version ${version}, written by a newer Nexus; this one knows up to ${VERSION}`;
		}
		if (version === 0) await client.query(tables(schema));
		if (version < VERSION) await client.query(writeFunction(schema));
		await client.query("COMMIT");
		return undefined;
	} catch (thrown) {
		// The connection may be the fault; what was begun ends with it.
		await client.query("ROLLBACK").catch(() => {});
		throw thrown;
	}
}

export function channelOf(schema: string): string {
	return `nexus_state_${schema}`;
}

async function versionOf(client: ClientBase, schema: string): Promise<number> {
	const { rows } = await client.query<{ version: number }>(`SELECT version FROM ${schema}.version`);
	return rows[0]?.version ?? 0;
}

function tables(schema: string): string {
	return `
CREATE SCHEMA IF NOT EXISTS ${schema};
CREATE TABLE ${schema}.version (version integer NOT NULL);
INSERT INTO ${schema}.version VALUES (${VERSION});
CREATE TABLE ${schema}.head (revision bigint NOT NULL, cut_to bigint NOT NULL, history_bytes bigint NOT NULL, last_change bigint NOT NULL);
INSERT INTO ${schema}.head VALUES (0, 0, 0, 0);
CREATE TABLE ${schema}.entries (tbl text COLLATE "C", key text COLLATE "C", revision bigint NOT NULL, json text NOT NULL, PRIMARY KEY (tbl, key));
CREATE TABLE ${schema}.changes (id bigint PRIMARY KEY, revision bigint NOT NULL, tbl text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, json text, bytes integer NOT NULL);
CREATE INDEX ON ${schema}.changes (tbl, revision, id);
CREATE TABLE ${schema}.cursors (name text COLLATE "C" PRIMARY KEY, json text NOT NULL) WITH (fillfactor = 50);`;
}

/**
 * The row in head orders all commits: whoever holds it sees what was before, and revisions become visible in their order, so that a
 * reader behind revision n has missed nothing up to n. Locks are taken in one order: head, entries by key, cursors by name.
 * The planner knows neither how short a commit is nor how long the tables will be when the session still uses its plan: by key, always;
 * and what it is forbidden looks costly to it, so much that it would compile each plan for 20 ms.
 */
function writeFunction(schema: string): string {
	return `
CREATE OR REPLACE FUNCTION ${schema}.write(commits jsonb, cursors jsonb) RETURNS jsonb LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $body$
DECLARE
	h ${schema}.head%ROWTYPE;
	began bigint;
	one jsonb;
	actual jsonb;
	conflicts boolean;
	changing integer;
	added bigint;
	bytes_added bigint;
	cut bigint;
	results jsonb := '[]';
	saved jsonb := '[]';
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE 'the session has to be of isolation read committed';
	END IF;
	-- A server that is set to acknowledge before its disk has the write does not do so here.
	IF current_setting('synchronous_commit') = 'off' THEN
		PERFORM set_config('synchronous_commit', 'on', true);
	END IF;
	IF jsonb_array_length(commits) > 0 THEN
		SELECT * INTO STRICT h FROM ${schema}.head FOR UPDATE;
		began := h.revision;
		PERFORM 1 FROM ${schema}.entries e
			WHERE (e.tbl, e.key) IN (SELECT w->>'table', w->>'key' FROM jsonb_array_elements(commits) c, jsonb_array_elements(c) w)
			ORDER BY e.tbl, e.key FOR UPDATE;
		FOR one IN SELECT c.v FROM jsonb_array_elements(commits) WITH ORDINALITY AS c(v, n) ORDER BY c.n LOOP
			SELECT jsonb_agg(CASE WHEN w.expected IN (-1, w.revision) THEN -1 ELSE w.revision END ORDER BY w.n),
				bool_or(w.expected NOT IN (-1, w.revision)),
				count(*) FILTER (WHERE w.writes AND (w.json IS NOT NULL OR w.revision > 0))
			INTO actual, conflicts, changing
			FROM (SELECT (c.v->>'expected')::bigint AS expected, c.v ? 'json' AS writes, c.v->>'json' AS json, coalesce(e.revision, 0) AS revision, c.n
				FROM jsonb_array_elements(one) WITH ORDINALITY AS c(v, n)
				LEFT JOIN ${schema}.entries e ON e.tbl = c.v->>'table' AND e.key = c.v->>'key') w;
			IF conflicts THEN
				results := results || jsonb_build_array(actual);
				CONTINUE;
			END IF;
			IF changing > 0 THEN
				h.revision := h.revision + 1;
				WITH new AS (
					INSERT INTO ${schema}.changes (id, revision, tbl, key, json, bytes)
					SELECT h.last_change + row_number() OVER (ORDER BY c.n), h.revision, c.v->>'table', c.v->>'key', c.v->>'json',
						octet_length(c.v->>'key') + coalesce(octet_length(c.v->>'json'), 0)
					FROM jsonb_array_elements(one) WITH ORDINALITY AS c(v, n)
					WHERE c.v ? 'json' AND left(c.v->>'table', 1) <> '_'
						AND (c.v->>'json' IS NOT NULL
							OR EXISTS (SELECT 1 FROM ${schema}.entries e WHERE e.tbl = c.v->>'table' AND e.key = c.v->>'key'))
					RETURNING bytes)
				SELECT count(*), coalesce(sum(bytes), 0) INTO added, bytes_added FROM new;
				h.last_change := h.last_change + added;
				h.history_bytes := h.history_bytes + bytes_added;
				DELETE FROM ${schema}.entries e USING jsonb_array_elements(one) v
					WHERE v->'json' = 'null' AND e.tbl = v->>'table' AND e.key = v->>'key';
				INSERT INTO ${schema}.entries (tbl, key, revision, json)
					SELECT v->>'table', v->>'key', h.revision, v->>'json' FROM jsonb_array_elements(one) v WHERE v->>'json' IS NOT NULL
					ON CONFLICT (tbl, key) DO UPDATE SET revision = excluded.revision, json = excluded.json;
			END IF;
			results := results || to_jsonb(h.revision);
		END LOOP;
		IF h.revision <> began THEN
			IF h.history_bytes > ${HISTORY_BYTES_MAX} OR began / ${HISTORY_CUT_EVERY} <> h.revision / ${HISTORY_CUT_EVERY} THEN
				cut := h.last_change - ${HISTORY_CHANGES_MAX};
				IF h.history_bytes > ${HISTORY_BYTES_MAX} THEN
					SELECT greatest(cut, min(s.id)) INTO cut
					FROM (SELECT id, h.history_bytes - sum(bytes) OVER (ORDER BY id) AS rest FROM ${schema}.changes) s
					WHERE s.rest <= ${HISTORY_BYTES_MAX * 0.75};
				END IF;
				WITH gone AS (DELETE FROM ${schema}.changes WHERE id <= cut RETURNING revision, bytes)
				SELECT greatest(h.cut_to, max(revision)), h.history_bytes - coalesce(sum(bytes), 0) INTO h.cut_to, h.history_bytes FROM gone;
			END IF;
			UPDATE ${schema}.head SET revision = h.revision, cut_to = h.cut_to, history_bytes = h.history_bytes, last_change = h.last_change;
			PERFORM pg_notify('${channelOf(schema)}', '');
		END IF;
	END IF;
	IF jsonb_array_length(cursors) > 0 THEN
		PERFORM 1 FROM ${schema}.entries e
			WHERE (e.tbl, e.key) IN (SELECT v->'fence'->>'table', v->'fence'->>'key' FROM jsonb_array_elements(cursors) v WHERE v ? 'fence')
			ORDER BY e.tbl, e.key FOR SHARE;
		SELECT jsonb_agg(NOT c.v ? 'fence' OR EXISTS (
				SELECT 1 FROM ${schema}.entries e
				WHERE e.tbl = c.v->'fence'->>'table' AND e.key = c.v->'fence'->>'key' AND e.revision = (c.v->'fence'->>'revision')::bigint)
			ORDER BY c.n)
		INTO saved FROM jsonb_array_elements(cursors) WITH ORDINALITY AS c(v, n);
		WITH last AS (
			SELECT DISTINCT ON ((c.v->>'name') COLLATE "C") c.v->>'name' AS name, c.v->>'json' AS json
			FROM jsonb_array_elements(cursors) WITH ORDINALITY AS c(v, n)
			WHERE (saved->(c.n - 1)::integer)::boolean ORDER BY (c.v->>'name') COLLATE "C", c.n DESC),
		gone AS (DELETE FROM ${schema}.cursors c USING last WHERE last.json IS NULL AND c.name = last.name)
		INSERT INTO ${schema}.cursors (name, json)
			SELECT name, json FROM last WHERE json IS NOT NULL ORDER BY name COLLATE "C"
			ON CONFLICT (name) DO UPDATE SET json = excluded.json;
	END IF;
	RETURN jsonb_build_object('commits', results, 'cursors', saved, 'durability', CASE
		WHEN current_setting('fsync') = 'off' THEN 'os'
		WHEN current_setting('synchronous_standby_names') <> '' AND current_setting('synchronous_commit') IN ('on', 'remote_apply') THEN 'quorum'
		ELSE 'disk' END);
END
$body$;`;
}
