/** A stored event as the API shows it; the event itself is copied as its sender wrote it, never parsed and printed again. */
import type { StoredEvent } from "./log/event-log.ts";

export function storedEventJson({ sequence, receivedAtMs, json }: StoredEvent): string {
	return `{"sequence":${sequence},"receivedAt":"${new Date(receivedAtMs).toISOString()}","event":${json.toString()}}`;
}
