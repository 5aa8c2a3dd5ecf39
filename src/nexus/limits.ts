/** What Nexus takes at a time, each with its reason. The sizes of the log stand in log/limits.ts. */

/** A batch of 64 full-size events. */
export const BODY_BYTES_MAX = 4 * 1024 * 1024;

/** Bodies that are read, parsed or waiting for the disk; more is answered 429. Half a second of the fastest disk. */
export const IN_FLIGHT_BYTES_MAX = 64 * 1024 * 1024;

/** Producers, agents and followers of a large mesh. */
export const CONNECTIONS_MAX = 20_000;

/** Events in one answer: as much as one read looks into (32 MiB) at the very most, 0.5 MiB in practice. */
export const PAGE_EVENTS_MAX = 1000;
export const PAGE_EVENTS = 100;

/** A follower takes this many events from the log at a time. */
export const FOLLOW_PAGE_EVENTS = 256;

/** Bodies named in a 400: enough to see what is wrong. */
export const REJECTED_SHOWN_MAX = 100;
