/** What producers may have in hand at Nexus, each bound with its reason. Those of one request stand in ../limits.ts. */

export { EVENT_BYTES_LIMIT, EVENT_BYTES_MAX as EVENT_BYTES } from "../../events/cloud-event.ts";

/** Events that are read and wait for the disk: about 300 bytes each beside their own. */
export const IN_FLIGHT_EVENTS_MAX = 256 * 1024;

/** Failures of the mesh (DESIGN 7.4) are told before what is only counted. */
export const URGENT_PRIORITY = 8;
/** Of what may be in flight, for urgent events alone: the last eighth. */
export const URGENT_PART = 1 / 8;

/** Handed to the log and not durable yet: as much as two commits. What is beyond waits where it can still be overtaken. */
export const COMMIT_WINDOW_BYTES = 4 * 1024 * 1024;

/** Of one WebSocket, before it is not read any more: a quarter of a second of the fastest producer. */
export const SOCKET_MESSAGES_MAX = 8192;
export const SOCKET_BYTES_MAX = 8 * 1024 * 1024;
/** Acknowledgements that a producer does not read. */
export const SOCKET_UNSENT_BYTES_MAX = 1024 * 1024;

/** Events beside the log because of their schema; somebody has to look at each. */
export const PARKED_MAX = 10_000;
/** One call replays so many; the rest takes another call. */
export const REPLAY_MAX = 1_000;
