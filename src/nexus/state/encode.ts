/** Writes as callers give them -> writes as engines take them, or why not. Values become JSON here and are never looked at again. */
import type { EncodedCursor, EncodedWrite, Span } from "./engine.ts";
import { COMMIT_BYTES_MAX, COMMIT_WRITES_MAX, CURSOR_BYTES_MAX, KEY_BYTES_MAX, PAGE_BYTES_MAX, PAGE_ENTRIES_MAX, VALUE_BYTES_MAX } from "./limits.ts";
import type { Fence, PageQuery, StateFailed, Write } from "./state-store.ts";

const TABLE = /^_?[a-z][a-z0-9-]{0,62}$/;
const KEY = /^[!-~]+$/;
// What an engine keeps beside key and value.
const WRITE_OVERHEAD_BYTES = 32;

export interface Encoded<T> {
	readonly ok: true;
	readonly value: T;
	readonly bytes: number;
}

export function encodeCommit(writes: readonly Write[]): Encoded<readonly EncodedWrite[]> | StateFailed {
	if (writes.length === 0 || writes.length > COMMIT_WRITES_MAX) return invalid(`a commit has 1 to ${COMMIT_WRITES_MAX} writes, not ${writes.length}`);
	const value: EncodedWrite[] = [];
	const seen = new Set<string>();
	let bytes = 0;
	for (const write of writes) {
		const { table, key, expected = -1 } = write;
		const fault = faultOfTable(table) ?? faultOfKey(key) ?? (write.expected === undefined ? undefined : faultOfRevision(expected, 0));
		if (fault !== undefined) return invalid(fault);
		const name = `${table} ${key}`;
		if (seen.has(name)) return invalid(`${table}/${key} stands in the commit twice`);
		seen.add(name);
		bytes += key.length + WRITE_OVERHEAD_BYTES;
		if (write.kind !== "put") {
			value.push(write.kind === "check" ? { table, key, expected } : { table, key, expected, json: null });
			continue;
		}
		const json = jsonOf(write.value);
		const size = Buffer.byteLength(json);
		if (size > VALUE_BYTES_MAX) return invalid(`${table}/${key} takes ${size} bytes, more than ${VALUE_BYTES_MAX}`);
		bytes += size;
		value.push({ table, key, expected, json });
	}
	if (bytes > COMMIT_BYTES_MAX) return invalid(`the commit takes ${bytes} bytes, more than ${COMMIT_BYTES_MAX}`);
	return { ok: true, value, bytes };
}

/** `value` undefined: forget the cursor. */
export function encodeCursor(name: string, value: unknown, fence: Fence | undefined): Encoded<EncodedCursor> | StateFailed {
	const fault =
		faultOfKey(name) ??
		(fence === undefined ? undefined : (faultOfTable(fence.table) ?? faultOfKey(fence.key) ?? faultOfRevision(fence.revision, 1)));
	if (fault !== undefined) return invalid(fault);
	const json = value === undefined ? null : jsonOf(value);
	const size = json === null ? 0 : Buffer.byteLength(json);
	if (size > CURSOR_BYTES_MAX) return invalid(`cursor ${name} takes ${size} bytes, more than ${CURSOR_BYTES_MAX}`);
	return { ok: true, value: fence === undefined ? { name, json } : { name, json, fence }, bytes: size + name.length + WRITE_OVERHEAD_BYTES };
}

export function encodeQuery({ prefix = "", after = "", limit = PAGE_ENTRIES_MAX }: PageQuery): Encoded<Span> | StateFailed {
	const fault = (prefix === "" ? undefined : faultOfKey(prefix)) ?? (after === "" ? undefined : faultOfKey(after));
	if (fault !== undefined) return invalid(fault);
	if (!Number.isInteger(limit) || limit < 1 || limit > PAGE_ENTRIES_MAX) return invalid(`a page has 1 to ${PAGE_ENTRIES_MAX} entries, not ${limit}`);
	return { ok: true, value: { prefix, after, limit, bytes: PAGE_BYTES_MAX }, bytes: 0 };
}

export function faultOfTable(table: string): string | undefined {
	return TABLE.test(table) ? undefined : `${shown(table)} is no name of a table: [a-z][a-z0-9-]{0,62}`;
}

export function faultOfKey(key: string): string | undefined {
	return key.length <= KEY_BYTES_MAX && KEY.test(key) ? undefined : `${shown(key)} is no key: 1 to ${KEY_BYTES_MAX} printable ASCII characters`;
}

export function invalid(detail: string): StateFailed {
	return { ok: false, failure: "invalid", detail };
}

function faultOfRevision(revision: number, min: number): string | undefined {
	return Number.isSafeInteger(revision) && revision >= min ? undefined : `${revision} is no revision`;
}

function jsonOf(value: unknown): string {
	const json = JSON.stringify(value) as string | undefined;
	if (json === undefined) throw new TypeError(`${typeof value} is no JSON value`);
	return json;
}

function shown(text: string): string {
	return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}...` : text);
}
