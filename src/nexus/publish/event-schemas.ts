/** The schemas of event types, kept in the state and known here: judged before they are kept, told by other nodes, asked for each event. */
import { hash } from "node:crypto";
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { CloudEvent } from "../../events/cloud-event.ts";
import type { Compatibility } from "../schemas/compatibility.ts";
import { RESERVED_PREFIX, type SchemaRecord, SchemaRegistry } from "../schemas/registry.ts";
import { SchemaCompiler } from "../schemas/schema-compiler.ts";
import type { SchemaFault } from "../schemas/schema-document.ts";
import { type Entry, put, remove, type StateFailed, type StateStore } from "../state/state-store.ts";
import { watch } from "../state/watch.ts";
import type { Violation } from "./publisher.ts";

/** What becomes of events whose data is not as their schema asks. */
export type OnViolation = "refuse" | "park";
export const ON_VIOLATION: readonly OnViolation[] = ["refuse", "park"];

/** One version, with who made it when. */
export interface StoredSchema extends SchemaRecord {
	readonly onViolation: OnViolation;
	/** "" for what is built in. */
	readonly by: string;
	/** 0 for what is built in. */
	readonly atMs: number;
}

export interface SchemaPut {
	readonly document: unknown;
	readonly compatibility?: Compatibility;
	readonly onViolation?: OnViolation;
}

export type SchemaPutOutcome =
	| { readonly ok: true; readonly schema: StoredSchema; readonly isNew: boolean }
	| { readonly ok: false; readonly why: "reserved" | "full" | "invalid" | "incompatible" | "raced"; readonly faults: readonly SchemaFault[] }
	| { readonly ok: false; readonly why: "state"; readonly failed: StateFailed };

export type SchemaDeleteOutcome =
	| { readonly ok: true }
	| { readonly ok: false; readonly why: "reserved" | "unknown" }
	| { readonly ok: false; readonly why: "state"; readonly failed: StateFailed };

export interface EventSchemasOptions {
	readonly state: StateStore;
	readonly clock: Clock;
	readonly logger: Logger;
}

const TABLE = "schemas";
/** Of built-in types: who sends them is a sidecar that could not do anything about it, and what it tells may be a failure of the mesh. */
const BUILT_IN_ON_VIOLATION: OnViolation = "park";
/** What somebody asks to be checked, and gets wrong, he wants to hear. */
const ON_VIOLATION_DEFAULT: OnViolation = "refuse";
const VERSION_DIGITS = 3;
/** A state that is away is asked again no sooner. */
const AGAIN_MS = 2_000;

interface Kept extends Pick<StoredSchema, "onViolation" | "by" | "atMs"> {
	readonly version: number;
}

export class EventSchemas {
	readonly #state: StateStore;
	readonly #clock: Clock;
	readonly #logger: Logger;
	readonly #compiler = new SchemaCompiler();
	#registry = new SchemaRegistry(this.#compiler);
	/** By type; the last one speaks for it. */
	#kept = new Map<string, Kept[]>();
	/** Of the last change that is known here, by the hash that stands for a type in keys. */
	#known = new Map<string, { readonly type: string; readonly revision: number }>();
	readonly #abort = new AbortController();
	#writing: Promise<unknown> = Promise.resolve();
	#watching: Promise<void> = Promise.resolve();
	#endPause: (() => void) | undefined;

	private constructor({ state, clock, logger }: EventSchemasOptions) {
		this.#state = state;
		this.#clock = clock;
		this.#logger = logger;
	}

	/** Rejects where the state cannot be read. */
	static async open(options: EventSchemasOptions): Promise<EventSchemas> {
		const schemas = new EventSchemas(options);
		const loaded = await schemas.#load();
		if (typeof loaded === "string") throw new Error(`the schemas could not be read: ${loaded}`);
		schemas.#watching = schemas.#follow(loaded);
		return schemas;
	}

	/** For each event; undefined where its data is fine, or nothing is asked of it. */
	check(event: CloudEvent): Violation | undefined {
		const reason = this.#registry.violation(event);
		return reason === undefined ? undefined : { reason, isParked: this.#onViolation(event.type) === "park" };
	}

	types(): StoredSchema[] {
		return this.#registry.types().flatMap((type) => this.get(type) ?? []);
	}

	get(type: string, version?: number): StoredSchema | undefined {
		const record = this.#registry.get(type, version);
		return record === undefined ? undefined : this.#shown(record);
	}

	versions(type: string): StoredSchema[] {
		return this.#registry.versions(type).map((record) => this.#shown(record));
	}

	/** One at a time, so that each is judged against the one before it. */
	put(type: string, asked: SchemaPut, who: string): Promise<SchemaPutOutcome> {
		return this.#inTurn(() => this.#put(type, asked, who));
	}

	delete(type: string): Promise<SchemaDeleteOutcome> {
		return this.#inTurn(() => this.#delete(type));
	}

	async close(): Promise<void> {
		this.#abort.abort();
		this.#endPause?.();
		await this.#watching;
	}

	async #put(type: string, { document, compatibility, onViolation }: SchemaPut, who: string): Promise<SchemaPutOutcome> {
		const judged = this.#registry.judge(type, document, compatibility);
		if (!judged.ok) return judged;
		const { record, isNew } = judged;
		const before = this.#onViolation(type);
		const schema: StoredSchema = { ...record, onViolation: onViolation ?? before, by: who, atMs: this.#clock.wallMs() };
		if (!isNew && schema.onViolation === before) return { ok: true, schema: this.#shown(record), isNew: false };
		const committed = await this.#state.commit([put(TABLE, keyOf(type, record.version), schema, ...(isNew ? [0] : []))]);
		if (committed.ok) {
			this.#apply(schema, committed.revision);
			return { ok: true, schema, isNew };
		}
		if (committed.failure !== "conflict") return { ok: false, why: "state", failed: committed };
		return { ok: false, why: "raced", faults: [{ path: "", message: `version ${record.version} was made by somebody else meanwhile` }] };
	}

	async #delete(type: string): Promise<SchemaDeleteOutcome> {
		if (type.startsWith(RESERVED_PREFIX)) return { ok: false, why: "reserved" };
		const versions = this.#registry.versions(type);
		if (versions.length === 0) return { ok: false, why: "unknown" };
		const committed = await this.#state.commit(versions.map(({ version }) => remove(TABLE, keyOf(type, version))));
		if (committed.ok) this.#forget(hashOf(type), committed.revision);
		else if (committed.failure !== "conflict") return { ok: false, why: "state", failed: committed };
		return { ok: true };
	}

	#inTurn<T>(work: () => Promise<T>): Promise<T> {
		const turn = this.#writing.then(work);
		this.#writing = turn.catch(() => {});
		return turn;
	}

	#onViolation(type: string): OnViolation {
		return this.#kept.get(type)?.at(-1)?.onViolation ?? (type.startsWith(RESERVED_PREFIX) ? BUILT_IN_ON_VIOLATION : ON_VIOLATION_DEFAULT);
	}

	#shown(record: SchemaRecord): StoredSchema {
		const kept = this.#kept.get(record.type)?.find(({ version }) => version === record.version);
		return { ...record, onViolation: kept?.onViolation ?? this.#onViolation(record.type), by: kept?.by ?? "", atMs: kept?.atMs ?? 0 };
	}

	/** Anew from the state: the revision from which changes are to be followed, or why not. What was known holds until all is read. */
	async #load(): Promise<number | string> {
		const entries: Entry[] = [];
		let revision: number | undefined;
		let after: string | undefined;
		do {
			const page = await this.#state.list(TABLE, after === undefined ? {} : { after });
			if (!page.ok) return page.detail;
			entries.push(...page.value.entries);
			revision ??= page.value.revision;
			after = page.value.next;
		} while (after !== undefined);
		this.#registry = new SchemaRegistry(this.#compiler);
		this.#kept = new Map();
		this.#known = new Map();
		for (const entry of entries) this.#apply(entry.value as StoredSchema, entry.revision);
		return revision;
	}

	async #follow(from: number): Promise<void> {
		const { signal } = this.#abort;
		let revision = from;
		try {
			while (!signal.aborted) {
				for await (const item of watch(this.#state, TABLE, revision, { signal, clock: this.#clock })) {
					if (item.kind === "failing") this.#logger.warn("changes of schemas by other nodes are not seen for now", { detail: item.detail });
					else if (item.kind === "changes") {
						for (const { key, value, revision: at } of item.changes) {
							if (value === undefined) this.#forget(key.slice(0, key.indexOf("/")), at);
							else this.#apply(value as StoredSchema, at);
						}
						revision = item.revision;
					}
				}
				if (signal.aborted) return;
				// The history does not reach back to what we know: all is read anew. Or the store has closed.
				const loaded = await this.#inTurn(() => this.#load());
				if (typeof loaded === "number") revision = loaded;
				else if (!signal.aborted) await this.#pause();
			}
		} catch (thrown) {
			this.#logger.error("the schemas of other nodes are not followed any more; restart this one", { error: messageOf(thrown) });
		}
	}

	#pause(): Promise<void> {
		return new Promise((resolve) => {
			const timer = this.#clock.setTimer(AGAIN_MS, resolve);
			this.#endPause = () => {
				timer.cancel();
				resolve();
			};
		});
	}

	/** Changes come in the order of revisions; our own are known already when the watch tells them. */
	#apply(schema: StoredSchema, revision: number): void {
		const { type, version, compatibility, document, onViolation, by, atMs } = schema;
		const hashed = hashOf(type);
		if ((this.#known.get(hashed)?.revision ?? -1) > revision) return;
		this.#known.set(hashed, { type, revision });
		this.#registry.add({ type, version, compatibility, document });
		const kept = (this.#kept.get(type) ?? []).filter((each) => each.version !== version);
		this.#kept.set(
			type,
			[...kept, { version, onViolation, by, atMs }].sort((a, b) => a.version - b.version),
		);
	}

	#forget(hashed: string, revision: number): void {
		const known = this.#known.get(hashed);
		if (known === undefined || known.revision >= revision) return;
		this.#known.set(hashed, { type: known.type, revision });
		this.#registry.remove(known.type);
		this.#kept.delete(known.type);
	}
}

/** Types may hold what keys may not. */
function hashOf(type: string): string {
	return hash("sha256", type, "base64url");
}

function keyOf(type: string, version: number): string {
	return `${hashOf(type)}/${String(version).padStart(VERSION_DIGITS, "0")}`;
}
