/** What the tests of logs share: directories of their own, logs in them, and reading all that is there. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { type EmbeddedLogOptions, openEmbeddedLog } from "../../../src/nexus/log/embedded-log.ts";
import type { EventLog, ReadQuery, StoredEvent } from "../../../src/nexus/log/event-log.ts";
import type { RecoveryNote } from "../../../src/nexus/log/recovery.ts";

export { batchOf, eventJson, numbered, type TestEvent } from "./events.ts";

export function temporaryDir(t: TestContext): string {
	const dir = mkdtempSync(join(tmpdir(), "nexus-test-"));
	t.after(() => rmSync(dir, { recursive: true, force: true }));
	return dir;
}

/** Closed at the end of the test at the latest. */
export function openLog(
	t: TestContext,
	dir: string,
	options: Partial<EmbeddedLogOptions> = {},
): { log: EventLog; recovery: readonly RecoveryNote[] } {
	const opened = openEmbeddedLog({ dir, clock: systemClock, log: silentLogger, ...options });
	t.after(() => opened.log.close());
	return opened;
}

export async function readAll(log: EventLog, query: Partial<ReadQuery> = {}): Promise<StoredEvent[]> {
	const events: StoredEvent[] = [];
	let { after } = query;
	for (;;) {
		const page = await log.read({ order: "asc", limit: 100, ...query, ...(after === undefined ? {} : { after }) });
		events.push(...page.events);
		if (page.atEnd) return events;
		after = page.scannedTo;
	}
}

/** Of a segment, without the room behind its last block: no block that a log writes ends with a zero. */
export function writtenBytes(file: string): number {
	return readFileSync(file).findLastIndex((byte) => byte !== 0) + 1;
}

export function idOf({ json }: StoredEvent): string {
	return (JSON.parse(json.toString()) as { id: string }).id;
}
