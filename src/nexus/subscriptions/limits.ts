/** What subscriptions may take, each bound with its reason. Those of filters stand in filter/limits.ts. */

/** Filters are indexed and cursors are small, but each one is a name that somebody has to know. */
export const SUBSCRIPTIONS_MAX = 100_000;
/** One dispatcher each where a strategy delivers to all of them. */
export const MEMBERS_MAX = 64;

/** Events of one subscription that are neither settled nor still in the log alone. All of them stand in one cursor of 16 KiB. */
export const WINDOW_MAX = 1000;
export const WINDOW = 256;
/** Of all windows together; above it whoever holds some waits, whoever holds none may still take one event. */
export const WINDOW_BYTES_MAX = 256 * 1024 * 1024;

/** Events that the shared reader takes from the log at a time. */
export const FEED_PAGE_EVENTS = 512;
/** A subscription that reads on its own takes this many. */
export const CATCH_UP_PAGE_EVENTS = 256;
/** So many read on their own at a time; the others wait for their turn. */
export const CATCH_UPS_MAX = 8;
/** Subscriptions no further than this from the end are fed by one reader after a start: half a second of parsing. */
export const SHARED_START_EVENTS = 65_536;
/** A subscription to which nothing came has its position written down after so many events that were not for it, so that a start has little to look at again. */
export const IDLE_SAVE_EVENTS = 16_384;
export const IDLE_SAVE_LOOK_MS = 30_000;

/** Kafka's and most people's patience with a consumer that is up. */
export const ATTEMPTS = 10;
export const ATTEMPTS_MAX = 100;
export const ACK_WAIT_MS = 30_000;
export const ACK_WAIT_MS_MAX = 12 * 3_600_000;
/** An hour in ten attempts: longer than a deployment, shorter than a night. */
export const BACKOFF_MS: readonly number[] = Object.freeze([1_000, 5_000, 30_000, 120_000, 600_000]);
export const BACKOFF_STEPS_MAX = 32;
/** Also what a consumer may ask for in a nak, or a webhook in `retry-after`. */
export const DELAY_MS_MAX = 24 * 3_600_000;
/** Of each delay, to either side. */
export const JITTER = 0.2;

/** By default the pool moves between these. */
export const CONCURRENCY_MIN = 4;
export const CONCURRENCY = 32;
export const CONCURRENCY_MAX = 1000;

/** After the log could not be read. */
export const READ_RETRY_MS = 1_000;
/** After a subscription could not be opened, because log or state could not be read. */
export const OPEN_RETRY_MS = 5_000;

/** Progress is written at most this often, unless somebody waits for it: what a crash repeats is bounded, and so is what the disk does. */
export const SAVE_PAUSE_MS = 20;
/** Where other nodes take over: acknowledged events whose progress is not written yet. They come again when the lease is lost, so a state that is away holds deliveries. */
export const UNWRITTEN_MAX = 1_000;
/** After the state refused a write. */
export const SAVE_RETRY_MS = 1_000;

/** Of an answer, an error or a reason, as a dead letter keeps it: what fits a screen. */
export const ANSWER_CHARS_MAX = 1024;
/** Of an answer that is read at all; no webhook has more to say. */
export const ANSWER_BYTES_MAX = 64 * 1024;

/** Dead letters that are under way at a time during a replay, beside the window. */
export const REPLAY_WINDOW = 64;
/** Dead letters of one replay; the rest takes another call. */
export const REPLAY_MAX = 10_000;

/** A fetch of the most events that a window holds. */
export const FETCH_MAX = WINDOW_MAX;
export const FETCH_WAIT_MS = 30_000;
export const FETCH_WAIT_MS_MAX = 120_000;
/** Bytes of events in one answer (and one event more). */
export const FETCH_BYTES_MAX = 4 * 1024 * 1024;
/** Of those that a stream is given at a time, before it is asked whether its reader keeps up. */
export const STREAM_TURN_BYTES = 256 * 1024;
/** Fetches that wait, of one subscription. */
export const FETCHES_MAX = 1000;

/** How often the detector looks, and after how long without a delivery it speaks. */
export const STALL_LOOK_MS = 5_000;
export const STALL_AFTER_MS = 60_000;

/** A transform is an expression on one event: what takes longer is a loop. */
export const TRANSFORM_MS_MAX = 250;
export const TRANSFORM_CHARS_MAX = 8 * 1024;
/** Of its result: twice the largest event that Nexus takes, as a transform adds to it. */
export const TRANSFORM_BYTES_MAX = 2 * 1024 * 1024;
export const TRANSFORM_HEAP_MB = 64;
export const TRANSFORM_WAITING_MAX = 4096;

/** Keys of a start at the last event of each: 10 MB while it catches up. */
export const LAST_KEYS_MAX = 100_000;
/** A subscription that is changed, paused or deleted waits so long for what is under way, and Nexus as a whole when it stops. */
export const DRAIN_MS = 5_000;
