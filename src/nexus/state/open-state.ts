/** The engine that a configuration names, opened and ready. */
import type { StateEngine } from "./engine.ts";
import { GroupedStore } from "./grouped-store.ts";
import { memoryEngine } from "./memory-engine.ts";
import type { NatsEngineOptions } from "./nats-engine.ts";
import type { PostgresOptions } from "./postgres-engine.ts";
import { openSqliteEngine, type SqliteOptions } from "./sqlite-engine.ts";
import type { StateStore } from "./state-store.ts";

export type StateOptions =
	| { readonly engine: "memory" }
	| ({ readonly engine: "sqlite" } & SqliteOptions)
	| ({ readonly engine: "postgres" } & PostgresOptions)
	| ({ readonly engine: "nats" } & NatsEngineOptions);

/** `detail` names the file or the server, and what to do about it. */
export type OpenState = { readonly ok: true; readonly store: StateStore } | { readonly ok: false; readonly detail: string };

export async function openState(options: StateOptions): Promise<OpenState> {
	const opened = await openEngine(options);
	return opened.ok ? { ok: true, store: new GroupedStore(opened.engine) } : { ok: false, detail: opened.detail };
}

async function openEngine(
	options: StateOptions,
): Promise<{ readonly ok: true; readonly engine: StateEngine } | { readonly ok: false; readonly detail: string }> {
	switch (options.engine) {
		case "memory":
			return { ok: true, engine: memoryEngine() };
		case "sqlite":
			return openSqliteEngine(options);
		case "postgres":
			// Loaded only where it is used: its client takes 30 ms and some memory.
			return (await import("./postgres-engine.ts")).openPostgresEngine(options);
		case "nats":
			return (await import("./nats-engine.ts")).openNatsEngine(options);
	}
}
