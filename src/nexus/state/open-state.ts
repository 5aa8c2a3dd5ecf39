/** The engine that a configuration names, opened and ready. */
import { GroupedStore } from "./grouped-store.ts";
import { memoryEngine } from "./memory-engine.ts";
import { openSqliteEngine, type SqliteOptions } from "./sqlite-engine.ts";
import type { StateStore } from "./state-store.ts";

export type StateOptions = { readonly engine: "memory" } | ({ readonly engine: "sqlite" } & SqliteOptions);

/** `detail` names the file or the server, and what to do about it. */
export type OpenState = { readonly ok: true; readonly store: StateStore } | { readonly ok: false; readonly detail: string };

export async function openState(options: StateOptions): Promise<OpenState> {
	const opened = options.engine === "memory" ? { ok: true as const, engine: memoryEngine() } : await openSqliteEngine(options);
	return opened.ok ? { ok: true, store: new GroupedStore(opened.engine) } : { ok: false, detail: opened.detail };
}
