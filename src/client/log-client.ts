/** How Nexus and its log are, and backups of the log, as a client sees them. */
import { type CallOptions, type JsonCalls, path } from "./json-calls.ts";

export type Durability = "memory" | "os" | "disk" | "quorum";

export interface NexusStatus {
	readonly version: string;
	/** Identity of the node that answers. */
	readonly node: string;
	readonly startedAt: string;
	readonly log: LogStatus;
	readonly state: { readonly engine: string; readonly durability: Durability; readonly shared: boolean; readonly failing: boolean };
	/** Of the data directory. */
	readonly disk: { readonly freeBytes: number; readonly totalBytes: number } | null;
	/** Of all nodes. `lag`: events that the one furthest behind has before it; `oldestAgeMs`: of the oldest open event. */
	readonly subscriptions: { readonly count: number; readonly lag: number; readonly oldestAgeMs: number };
	/** Whether other nodes may use the same log and state. */
	readonly shared: boolean;
	/** Who does what one node does at a time. */
	readonly duties: Readonly<Record<string, string | null>>;
	/** `slices`: parts of the subscriptions that it dispatches. */
	readonly nodes: readonly { readonly id: string; readonly url: string; readonly slices: readonly number[] }[];
	/** What is wrong, by part. */
	readonly trouble?: Readonly<Record<string, string>>;
}

export interface LogStatus {
	readonly engine: string;
	/** What an acknowledgement means. */
	readonly durability: Durability;
	/** What that stands on. */
	readonly basis: string;
	readonly features: Readonly<Record<string, boolean>>;
	readonly firstSequence: number;
	readonly lastSequence: number;
	readonly bytes: number;
	/** Not durable yet. */
	readonly pendingBytes: number;
	readonly failing: boolean;
}

export interface LogBackup {
	readonly name: string;
	/** On the machine of Nexus. */
	readonly dir: string;
	/** `unknown`: made by an earlier process. */
	readonly state: "running" | "done" | "failed" | "unknown";
	readonly bytes: number;
	readonly totalBytes: number;
	readonly firstSequence?: number;
	readonly lastSequence?: number;
	/** What is not in it, and why. */
	readonly missing?: string;
	readonly error?: string;
}

/** Each call rejects with a NexusError where it is refused. */
export class LogClient {
	readonly #calls: JsonCalls;

	constructor(calls: JsonCalls) {
		this.#calls = calls;
	}

	status(options: CallOptions = {}): Promise<NexusStatus> {
		return this.#calls.json("/v1/status", options);
	}

	backups(options: CallOptions = {}): Promise<readonly LogBackup[]> {
		return this.#calls.all("/v1/log/backups", "backups", options);
	}

	/** Begins one of log and state while the log runs; `backup` says how far it is. `name`: by default the time. */
	startBackup(name?: string, options: CallOptions = {}): Promise<LogBackup> {
		return this.#calls.json("/v1/log/backups", { ...options, method: "POST", body: { name } });
	}

	backup(name: string, options: CallOptions = {}): Promise<LogBackup> {
		return this.#calls.json(path`/v1/log/backups/${name}`, options);
	}
}
