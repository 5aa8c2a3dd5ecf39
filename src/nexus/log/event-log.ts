/** What Nexus asks of a log, whatever keeps it: append with durability, read in order with filters, hear of commits, forget by policy. */
import type { BackupOptions, BackupReport } from "./backup.ts";
import type { Durability, LogCapabilities } from "./capabilities.ts";

export type { Durability } from "./capabilities.ts";

/** One checked event to append; `start` and `end` bound its JSON in the bytes of its batch. */
export interface NewEvent {
	readonly source: string;
	readonly id: string;
	readonly type: string;
	readonly subject: string | undefined;
	/** 0 to 9; undefined where the event names none. */
	readonly priority: number | undefined;
	/** Events with the same key stay in order; brokers get it as the key of their record. */
	readonly partitionKey?: string | undefined;
	readonly start: number;
	readonly end: number;
}

export interface AppendBatch {
	/** The sender's bytes; not changed and not kept after `append` has returned its promise and taken its copy. */
	readonly bytes: Buffer;
	readonly events: readonly NewEvent[];
	/** Only for events that another log has received before; kept where the log's capability "keeps times" says so. Default: now. */
	readonly receivedAtMs?: number;
}

export type AppendOutcome =
	| {
			readonly ok: true;
			readonly accepted: number;
			/** Events whose (source, id) was in the log already; they are as durable as the accepted ones. */
			readonly duplicates: number;
			/** The highest sequence among accepted and duplicates. */
			readonly sequence: number;
			readonly durability: Durability;
	  }
	| { readonly ok: false; readonly failure: AppendFailure; readonly detail: string };

/**
 * `full`: no space left. `io`: the disk failed. `closed`: the log is closing. `unavailable`: the broker is away, or did not answer in time. In
 * each case nothing new of the batch is acknowledged; sent again, what had been kept is recognised as a duplicate.
 */
export type AppendFailure = "full" | "io" | "closed" | "unavailable";

export interface EventFilter {
	/** Exact, or with `*` for any run of characters. */
	readonly type?: string;
	readonly source?: string;
	readonly subject?: string;
	/** Bounds of the time of receipt, milliseconds since 1970, both inclusive. */
	readonly sinceMs?: number;
	readonly untilMs?: number;
}

export interface ReadQuery extends EventFilter {
	/** Exclusive start: events behind this sequence in the asked order. Default: the beginning (asc) or the end (desc). */
	readonly after?: number;
	readonly order: "asc" | "desc";
	readonly limit: number;
}

export interface StoredEvent {
	readonly sequence: number;
	readonly receivedAtMs: number;
	/** The event's JSON as its sender wrote it. */
	readonly json: Buffer;
}

export interface ReadResult {
	readonly events: readonly StoredEvent[];
	/** Everything up to here (in the asked order) has been looked at: `after` of the next read. */
	readonly scannedTo: number;
	/** True when there was nothing behind `scannedTo` at the time. */
	readonly atEnd: boolean;
	/** Sequences, inclusive, that could not be read: their bytes are damaged, or somebody else has written into a broker's log what is no event. */
	readonly damaged: readonly { readonly first: number; readonly last: number }[];
}

/** What a log may keep at most; the oldest goes first. */
export interface RetentionLimits {
	readonly bytesMax: number;
	/** Since receipt. */
	readonly ageMsMax: number;
	readonly eventsMax?: number;
	/** Narrower limits of some types; the first pattern that fits an event counts. */
	readonly types?: readonly TypeRetention[];
}

export interface TypeRetention {
	/** Exact, or with `*` for any run of characters. */
	readonly type: string;
	readonly ageMsMax?: number;
	/** The newest so many events of the types that fit are kept. */
	readonly eventsMax?: number;
	/** Of events with the same type and key (`partitionkey`, else `subject`) only the newest is kept; events without a key are. */
	readonly lastPerKey?: boolean;
}

export interface LogStats {
	/** Oldest sequence that is kept. */
	readonly firstSequence: number;
	/** Nothing newer can be read; 0 where nothing was ever stored. */
	readonly lastSequence: number;
	readonly bytes: number;
	/** Files of the log; 0 where it has none of its own. */
	readonly segments: number;
	/** True since the last commit failed: appends are refused until one succeeds. */
	readonly isFailing: boolean;
	readonly damagedBlocks: number;
	/** Group commits and what they held, since start. */
	readonly commits: number;
	readonly appended: number;
	readonly duplicates: number;
	readonly failures: number;
	/** Bytes staged and not yet durable. */
	readonly pendingBytes: number;
}

export interface EventLog {
	/** What it can do and what its acknowledgements mean, as it is configured. */
	readonly capabilities: LogCapabilities;
	append(batch: AppendBatch): Promise<AppendOutcome>;
	read(query: ReadQuery): Promise<ReadResult>;
	/**
	 * Calls after each commit, by whichever node, when its events can be read; also when a broker has lost its end, and gives its sequences again.
	 * Returns how to stop that.
	 */
	onCommit(listener: () => void): () => void;
	/** Forgets what is beyond the limits, now; whole units of the log's own size at a time. Rejects with what the disk or broker says. */
	truncate(limits: RetentionLimits): Promise<void>;
	/** Copies all that is durable, and what belongs to it, into a new directory, while it runs; see restoreLog. Only where the capability "backup" says so. */
	backup?(dir: string, options?: BackupOptions): Promise<BackupReport>;
	stats(): LogStats;
	/** Commits what is staged, then lets go of everything. Later appends are `closed`. */
	close(): Promise<void>;
}
