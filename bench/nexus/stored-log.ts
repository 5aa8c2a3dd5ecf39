/** A data directory with many events in it, written by the log's own append: what a Nexus has after days of traffic. */
import { mkdirSync } from "node:fs";
import { systemClock } from "../../src/core/clock.ts";
import { openEmbeddedLog } from "../../src/nexus/log/embedded-log.ts";
import type { NewEvent } from "../../src/nexus/log/event-log.ts";
import { createLogger } from "../../src/telemetry/log.ts";
import { thousands } from "../table.ts";
import type { Stage } from "./part.ts";
import { EVENT_TYPE, Message } from "./publish-events.ts";

const BATCH_EVENTS = 500;
/** Appends that wait for the same commit: blocks of a Nexus that is busy. */
const BATCHES_AT_ONCE = 4;
const KEEP_ALL = { bytesMax: Number.POSITIVE_INFINITY, ageMsMax: 365 * 24 * 3_600_000 };
const SOURCE = "/mesh/checkout/a1";
const ID_CHARS = 36;

/** Returns the directory. Rejects where the disk does not take them. */
export async function storeEvents({ workspace, progress }: Stage, count: number): Promise<string> {
	const dir = workspace.file("stored");
	mkdirSync(dir);
	const { log } = openEmbeddedLog({ dir, clock: systemClock, log: createLogger({ level: "error" }), retention: KEEP_ALL });
	const message = new Message(BATCH_EVENTS, true, (json) => json);
	const { idsAt } = message;
	// Each begins a fixed way before its id, and ends before the comma or bracket.
	const lead = (idsAt[0] ?? 0) - 1;
	const end = (n: number): number => (n + 1 < BATCH_EVENTS ? (idsAt[n + 1] ?? 0) - lead : message.bytes.length) - 1;
	const append = async (events: number): Promise<void> => {
		const bytes = message.next();
		const batch = idsAt.slice(0, events).map(
			(at, n): NewEvent => ({
				source: SOURCE,
				id: bytes.toString("latin1", at, at + ID_CHARS),
				type: EVENT_TYPE,
				subject: undefined,
				priority: undefined,
				start: at - lead,
				end: end(n),
			}),
		);
		const outcome = await log.append({ bytes, events: batch });
		if (!outcome.ok) throw new Error(outcome.detail);
	};
	try {
		for (let stored = 0; stored < count; ) {
			const appends: Promise<void>[] = [];
			for (let n = 0; n < BATCHES_AT_ONCE && stored < count; n++) {
				const events = Math.min(BATCH_EVENTS, count - stored);
				appends.push(append(events));
				stored += events;
			}
			await Promise.all(appends);
			if (stored % 500_000 === 0) progress.step(`${thousands(stored)} of ${thousands(count)} events stored`);
		}
	} finally {
		await log.close();
	}
	return dir;
}
