/** The dedupe window as the last process had it, read from the index instead of the events. */
import { DedupeWindow } from "./dedupe-window.ts";
import type { Extent } from "./extent.ts";
import type { Segment } from "./segment.ts";

/** Takes the latest extents that hold `capacity` events, oldest first. A damaged one is left out: its events may be taken again, none is lost. */
export function recoverWindow(segments: readonly Segment[], capacity: number): DedupeWindow {
	const pieces = segments.flatMap((segment) => [
		...segment.extents.map((ref) => ({ events: ref.summary.events, load: (): Extent | undefined => segment.loadExtentSync(ref) })),
		{ events: segment.open.events, load: (): Extent | undefined => segment.open },
	]);
	let first = pieces.length;
	for (let events = 0; first > 0 && events < capacity; first--) events += pieces[first - 1]?.events ?? 0;
	const window = new DedupeWindow(capacity);
	for (const { load } of pieces.slice(first)) load()?.forEachHash((hi, lo, sequence) => window.add(hi, lo, sequence));
	return window;
}
