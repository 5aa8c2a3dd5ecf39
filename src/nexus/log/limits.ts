/** The sizes of the embedded log, each with its reason. */

/** A segment is what retention removes at once. Offsets in it are kept in 32 bits. */
export const SEGMENT_BYTES = 256 * 1024 * 1024;

/** Log bytes between two checkpoints of the index: what a start has to walk at most, about 20 ms. */
export const EXTENT_BYTES = 16 * 1024 * 1024;

/** Made behind the last block at a time: writing it takes some 2 ms, and hundreds of small commits go into it. */
export const ROOM_BYTES = 1024 * 1024;

/** A disk with less left is for what is there to be written, not for what may come. */
export const ROOM_FREE_BYTES_MIN = 256 * 1024 * 1024;

/** A commit larger than this is not slowed by growing the file, and would fill the room too soon. */
export const ROOM_COMMIT_BYTES_MAX = 256 * 1024;

/** Blocks of 128 KiB that followers and readers share; a live tail is read once for all of them. */
export const BLOCK_CACHE_BYTES = 32 * 1024 * 1024;

/** Extents of the index in memory: a busy one takes 1 MiB, a slow one (an event a block) 6 MiB. */
export const EXTENT_CACHE_BYTES = 64 * 1024 * 1024;

/** One read looks into at most this much of the log before it hands back where to go on, so that no query holds up the others. */
export const SCAN_BYTES_MAX = 32 * 1024 * 1024;

/** Seven days, as Kafka keeps by default. */
export const RETENTION_AGE_MS = 7 * 24 * 3600 * 1000;
/** Ten million events of 400 bytes. */
export const RETENTION_BYTES = 4 * 1024 * 1024 * 1024;

/** Half a million events of 400 bytes: what a small machine can spare. */
export const MEMORY_LOG_BYTES = 256 * 1024 * 1024;
