/** What the tests of Nexus share: logs in directories of their own, events, and a Nexus over real sockets. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import { type Logger, silentLogger } from "../../src/core/log.ts";
import { DEFAULT_CONFIG } from "../../src/nexus/config.ts";
import { type EmbeddedLogOptions, openEmbeddedLog } from "../../src/nexus/log/embedded-log.ts";
import type { EventLog, ReadQuery, StoredEvent } from "../../src/nexus/log/event-log.ts";
import type { RecoveryNote } from "../../src/nexus/log/recovery.ts";
import { type Nexus, type NexusOptions, startNexus } from "../../src/nexus/nexus.ts";

export function temporaryDir(t: TestContext): string {
	const dir = mkdtempSync(join(tmpdir(), "nexus-test-"));
	t.after(() => rmSync(dir, { recursive: true, force: true }));
	return dir;
}

export { batchOf, eventJson, numbered, type TestEvent } from "./log/events.ts";

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

export function idOf({ json }: StoredEvent): string {
	return (JSON.parse(json.toString()) as { id: string }).id;
}

export async function serveNexus(t: TestContext, dir: string, options: Partial<NexusOptions> = {}): Promise<{ nexus: Nexus; url: string }> {
	const logger: Logger = silentLogger;
	const listen = { host: "127.0.0.1", port: 0 };
	const nexus = await startNexus({ ...DEFAULT_CONFIG, listen, dataDir: dir, clock: systemClock, logger, version: "0.0.0", ...options });
	t.after(() => nexus.close());
	return { nexus, url: `http://127.0.0.1:${nexus.address.port}` };
}
