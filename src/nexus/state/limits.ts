/** The bounds of Nexus' state, each with its reason. */

/** A policy of a large service is 20 KiB, a JSON schema 64 KiB. */
export const VALUE_BYTES_MAX = 256 * 1024;

/** A position, and the few events in flight around it: small, because they are written thousands of times a second. */
export const CURSOR_BYTES_MAX = 16 * 1024;

/** A commit travels in one message, beside others. */
export const COMMIT_BYTES_MAX = 384 * 1024;
export const COMMIT_WRITES_MAX = 128;

/** The longest key is a name of 64 with a SPIFFE ID behind it. */
export const KEY_BYTES_MAX = 256;

/** One answer in memory at once, whatever the size of its values. At least one commit, so that a reader of changes gets on. */
export const PAGE_BYTES_MAX = 2 * 1024 * 1024;
export const PAGE_ENTRIES_MAX = 1000;

/** One group commit: more does not make the disk any cheaper, and makes the first of them wait. */
export const GROUP_MAX = { bytes: 1024 * 1024, writes: 4096 } as const;

/** A group is one message of NATS: with all names and fences below the 1 MiB that servers take by default. */
export const NATS_GROUP_MAX = { bytes: 256 * 1024, writes: 512 } as const;

/** What waits for the disk, before writers are told to come again. */
export const PENDING_BYTES_MAX = 32 * 1024 * 1024;
export const PENDING_READS_MAX = 10_000;

/** What a watcher may be behind before it has to read its table anew: hours of people's changes, minutes of a fleet's. */
export const HISTORY_CHANGES_MAX = 20_000;
export const HISTORY_BYTES_MAX = 32 * 1024 * 1024;
/** History is cut once in this many revisions, so that a commit rarely pays for it. */
export const HISTORY_CUT_EVERY = 256;

/** The file of an embedded state. Policies and registry of 300 services take 20 MiB. */
export const STATE_BYTES_MAX = 1024 * 1024 * 1024;

/** NATS: a copy of all is written when the log has grown by this, and by twice the copy: so copying costs at most half of the writing. */
export const LOG_BYTES_MIN = 8 * 1024 * 1024;
/** One message of a copy. */
export const COPY_CHUNK_BYTES = 256 * 1024;
