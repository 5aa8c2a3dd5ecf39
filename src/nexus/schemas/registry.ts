/** Schemas per event type, in versions; judges changes and events. Knows no storage: what it takes in it gives back as a record to be kept. */
import { isDeepStrictEqual } from "node:util";
import type { CloudEvent } from "../../events/cloud-event.ts";
import { BUILT_IN_SCHEMAS } from "./built-in.ts";
import { type Compatibility, changeFaults } from "./compatibility.ts";
import { REASONS_MAX, TYPES_MAX, VERSIONS_MAX } from "./limits.ts";
import type { DataCheck, SchemaCompiler } from "./schema-compiler.ts";
import type { JsonSchema, SchemaFault } from "./schema-document.ts";

/** One version, as it is kept. */
export interface SchemaRecord {
	readonly type: string;
	/** From 1. */
	readonly version: number;
	/** What was asked of the change that made it, and is asked of the next unless that says otherwise. `none` begins anew: nothing before it counts. */
	readonly compatibility: Compatibility;
	readonly document: JsonSchema;
}

export type PutResult =
	| { readonly ok: true; readonly record: SchemaRecord /** False where it is the latest version already. */; readonly isNew: boolean }
	| {
			readonly ok: false;
			/** `reserved`: built in. `incompatible`: the schema is fine, the change is not. */
			readonly why: "reserved" | "full" | "invalid" | "incompatible";
			readonly faults: readonly SchemaFault[];
	  };

interface Version {
	readonly record: SchemaRecord;
	/** Compiled when it is first needed. */
	check: DataCheck | undefined;
}

// The type as in an attribute, so that it can be met at all.
const TYPE_CHARS_MAX = 256;
export const RESERVED_PREFIX = "nexus.";
export const COMPATIBILITY_DEFAULT: Compatibility = "backward";

export class SchemaRegistry {
	readonly #compiler: SchemaCompiler;
	readonly #types = new Map<string, Version[]>();

	/** `records` as they were kept, in the order of their versions. */
	constructor(compiler: SchemaCompiler, records: Iterable<SchemaRecord> = []) {
		this.#compiler = compiler;
		for (const [type, document] of Object.entries(BUILT_IN_SCHEMAS)) this.#add({ type, version: 1, compatibility: "backward", document });
		for (const record of records) this.#add(record);
	}

	types(): string[] {
		return [...this.#types.keys()].sort();
	}

	/** The version, or the latest. */
	get(type: string, version?: number): SchemaRecord | undefined {
		const versions = this.#types.get(type) ?? [];
		return (version === undefined ? versions.at(-1) : versions.find(({ record }) => record.version === version))?.record;
	}

	versions(type: string): readonly SchemaRecord[] {
		return (this.#types.get(type) ?? []).map(({ record }) => record);
	}

	/** Takes a new version where it is a schema and keeps what is asked of changes. Nothing changes where it says no. */
	put(type: string, document: unknown, compatibility?: Compatibility): PutResult {
		const judged = this.judge(type, document, compatibility);
		if (judged.ok && judged.isNew) this.#add(judged.record);
		return judged;
	}

	/** A version that was kept, here or elsewhere; one that is known already changes nothing. */
	add(record: SchemaRecord): void {
		const latest = this.get(record.type)?.version ?? 0;
		if (record.version > latest) this.#add(record);
	}

	/** Forgets all versions of a type. */
	remove(type: string): void {
		if (!type.startsWith(RESERVED_PREFIX)) this.#types.delete(type);
	}

	/** What `put` would say; changes nothing. */
	judge(type: string, document: unknown, compatibility?: Compatibility): PutResult {
		if (type.startsWith(RESERVED_PREFIX)) return refuse("reserved", `types that begin with ${RESERVED_PREFIX} have schemas that are built in`);
		if (type === "" || type.length > TYPE_CHARS_MAX) return refuse("invalid", `a type has 1 to ${TYPE_CHARS_MAX} characters`);
		const compiled = this.#compiler.compile(document);
		if (!compiled.ok) return { ok: false, why: "invalid", faults: compiled.faults };
		const versions = this.#types.get(type) ?? [];
		const latest = versions.at(-1)?.record;
		const mode = compatibility ?? latest?.compatibility ?? COMPATIBILITY_DEFAULT;
		if (latest !== undefined && latest.compatibility === mode && isDeepStrictEqual(latest.document, document))
			return { ok: true, record: latest, isNew: false };
		if (versions.length === 0 && this.#types.size >= TYPES_MAX) return refuse("full", `there are schemas of ${TYPES_MAX} types already`);
		if (versions.length >= VERSIONS_MAX) return refuse("full", `there are ${VERSIONS_MAX} versions already; a type of another name begins anew`);
		const faults = this.#changeFaults(type, document as JsonSchema, mode);
		if (faults.length > 0) return { ok: false, why: "incompatible", faults };
		const record: SchemaRecord = { type, version: (latest?.version ?? 0) + 1, compatibility: mode, document: document as JsonSchema };
		return { ok: true, record, isNew: true };
	}

	/**
	 * Undefined where the data of the event is as its type asks, or its type has no schema. Data of older versions that were meant to go on beside the
	 * latest is fine as well: producers do not all change at once.
	 */
	violation(event: CloudEvent): string | undefined {
		const versions = this.#types.get(event.type);
		const latest = versions?.at(-1);
		if (versions === undefined || latest === undefined) return undefined;
		if (event.data === undefined) {
			if (event.data_base64 !== undefined) return `the schema of ${event.type} is of JSON data, and data_base64 is none`;
			return `data is missing: ${event.type} has a schema (version ${latest.record.version})`;
		}
		const reason = this.#check(latest)(event.data);
		if (reason === undefined) return undefined;
		const isOlder = current(versions).some((version) => version !== latest && this.#check(version)(event.data) === undefined);
		return isOlder ? undefined : `${reason} (schema of ${event.type}, version ${latest.record.version})`;
	}

	/** Against every version that still counts: the log holds events of all of them. */
	#changeFaults(type: string, document: JsonSchema, mode: Compatibility): SchemaFault[] {
		if (mode === "none") return [];
		const faults: SchemaFault[] = [];
		for (const { record } of current(this.#types.get(type) ?? []).reverse()) {
			for (const { path, message } of changeFaults(record.document, document, mode)) {
				faults.push({ path, message: `${message} (version ${record.version})` });
			}
			if (faults.length >= REASONS_MAX) break;
		}
		return faults.slice(0, REASONS_MAX);
	}

	#check(version: Version): DataCheck {
		if (version.check === undefined) {
			const compiled = this.#compiler.compile(version.record.document);
			// What was kept by a program of looser bounds refuses nothing.
			version.check = compiled.ok ? compiled.check : () => undefined;
		}
		return version.check;
	}

	#add(record: SchemaRecord): void {
		const versions = this.#types.get(record.type);
		if (versions === undefined) this.#types.set(record.type, [{ record, check: undefined }]);
		else versions.push({ record, check: undefined });
	}
}

/** Those since the last that was asked for nothing, with it. */
function current(versions: readonly Version[]): Version[] {
	const start = versions.findLastIndex(({ record }) => record.compatibility === "none");
	return versions.slice(Math.max(0, start));
}

function refuse(why: "reserved" | "full" | "invalid", message: string): PutResult {
	return { ok: false, why, faults: [{ path: "", message }] };
}
