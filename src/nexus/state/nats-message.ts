/** A group as one message of NATS, and back. Values stand in it as they are, so that it is hardly larger than they. */
import type { EncodedCursor, EncodedWrite, Group } from "./engine.ts";

const VERSION = 1;

export type Decoded =
	| { readonly kind: "group"; readonly by: string; readonly group: Group }
	/** Written by a newer Nexus: who goes on without it has another state than the others. */
	| { readonly kind: "newer"; readonly version: number }
	/** None of ours. All nodes skip it alike. */
	| { readonly kind: "foreign" };

interface Message {
	readonly v: number;
	readonly by: string;
	readonly commits: readonly (readonly WireWrite[])[];
	readonly cursors: readonly WireCursor[];
}

interface WireWrite {
	readonly t: string;
	readonly k: string;
	readonly e: number;
	readonly j?: unknown;
	readonly d?: 1;
}

interface WireCursor {
	readonly n: string;
	readonly j?: unknown;
	readonly f?: NonNullable<EncodedCursor["fence"]>;
}

/** `by` tells the writer which outcome is its own. */
export function encodeGroup(by: string, { commits, cursors }: Group): string {
	const commitTexts = commits.map((writes) => `[${writes.map(writeText).join()}]`);
	return `{"v":${VERSION},"by":${JSON.stringify(by)},"commits":[${commitTexts.join()}],"cursors":[${cursors.map(cursorText).join()}]}`;
}

export function decodeGroup(bytes: Uint8Array): Decoded {
	let message: Partial<Message> | null;
	try {
		message = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString()) as Partial<Message> | null;
	} catch {
		return { kind: "foreign" };
	}
	if (typeof message?.v !== "number") return { kind: "foreign" };
	if (message.v > VERSION) return { kind: "newer", version: message.v };
	const { by = "", commits = [], cursors = [] } = message;
	return { kind: "group", by, group: { commits: commits.map((writes) => writes.map(writeOf)), cursors: cursors.map(cursorOf) } };
}

function writeText({ table, key, expected, json }: EncodedWrite): string {
	const value = json === undefined ? "" : json === null ? ',"d":1' : `,"j":${json}`;
	return `{"t":"${table}","k":${JSON.stringify(key)},"e":${expected}${value}}`;
}

function cursorText({ name, json, fence }: EncodedCursor): string {
	return `{"n":${JSON.stringify(name)}${json === null ? "" : `,"j":${json}`}${fence === undefined ? "" : `,"f":${JSON.stringify(fence)}`}}`;
}

function writeOf(write: WireWrite): EncodedWrite {
	const { t: table, k: key, e: expected } = write;
	if ("j" in write) return { table, key, expected, json: JSON.stringify(write.j) };
	return write.d === 1 ? { table, key, expected, json: null } : { table, key, expected };
}

function cursorOf(cursor: WireCursor): EncodedCursor {
	const json = "j" in cursor ? JSON.stringify(cursor.j) : null;
	return cursor.f === undefined ? { name: cursor.n, json } : { name: cursor.n, json, fence: cursor.f };
}
