/** Which segments have outlived the log's limits, and their removal. */
import type { RetentionLimits } from "./event-log.ts";
import { type Segment, syncDirectory } from "./segment.ts";

export interface SegmentFacts {
	readonly bytes: number;
	readonly events: number;
	/** Of receipt of its newest event, milliseconds since 1970. */
	readonly maxTimeMs: number;
}

/** How many of the oldest segments go. The last one, which is written to, always stays. */
export function expiredSegments(segments: readonly SegmentFacts[], limits: RetentionLimits, nowMs: number): number {
	const eventsMax = limits.eventsMax ?? Number.POSITIVE_INFINITY;
	let bytes = segments.reduce((sum, segment) => sum + segment.bytes, 0);
	let events = segments.reduce((sum, segment) => sum + segment.events, 0);
	let count = 0;
	for (const segment of segments.slice(0, -1)) {
		// By count a segment goes once those behind it are enough: never fewer than the promised number.
		const isCounted = events - segment.events < eventsMax;
		if (bytes <= limits.bytesMax && isCounted && nowMs - segment.maxTimeMs <= limits.ageMsMax) break;
		bytes -= segment.bytes;
		events -= segment.events;
		count++;
	}
	return count;
}

/** Removes them from the disk and from `segments`; who reads them at the moment reads on. Throws what the file system says, having removed what it could. */
export function removeExpired(dir: string, segments: Segment[], limits: RetentionLimits, nowMs: number): void {
	const count = expiredSegments(
		segments.map(({ end, maxTimeMs, header, lastSequence }) => ({ bytes: end, maxTimeMs, events: lastSequence - header.firstSequence + 1 })),
		limits,
		nowMs,
	);
	for (const segment of segments.slice(0, count)) {
		segment.unlink();
		segments.shift();
		segment.release();
	}
	if (count > 0) syncDirectory(dir);
}
