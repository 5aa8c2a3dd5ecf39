/** What Nexus asks of a log, whatever keeps it: append with durability, read in order with filters, hear of commits. */

/** What an acknowledgement promises: the process, the operating system, a disk, or a majority of disks holds the event. */
export type Durability = "memory" | "os" | "disk" | "quorum";

/** One checked event to append; `start` and `end` bound its JSON in the bytes of its batch. */
export interface NewEvent {
	readonly source: string;
	readonly id: string;
	readonly type: string;
	readonly subject: string | undefined;
	/** 0 to 9; undefined where the event names none. */
	readonly priority: number | undefined;
	readonly start: number;
	readonly end: number;
}

export interface AppendBatch {
	/** The sender's bytes; not changed and not kept after `append` has returned its promise and taken its copy. */
	readonly bytes: Buffer;
	readonly events: readonly NewEvent[];
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

/** `full`: no space left. `io`: the disk failed. `closed`: the log is closing. In each case nothing new of the batch is acknowledged. */
export type AppendFailure = "full" | "io" | "closed";

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
	/** Sequences, inclusive, that could not be read because their bytes are damaged. */
	readonly damaged: readonly { readonly first: number; readonly last: number }[];
}

export interface LogStats {
	readonly firstSequence: number;
	/** 0 while the log is empty. */
	readonly lastSequence: number;
	readonly bytes: number;
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
	append(batch: AppendBatch): Promise<AppendOutcome>;
	read(query: ReadQuery): Promise<ReadResult>;
	/** Calls after each commit, when its events can be read. Returns how to stop that. */
	onCommit(listener: () => void): () => void;
	stats(): LogStats;
	/** Commits what is staged, then lets go of everything. Later appends are `closed`. */
	close(): Promise<void>;
}
