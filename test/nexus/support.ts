/** What the tests of Nexus share: logs in directories of their own, events, and a Nexus over real sockets. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import { type Logger, silentLogger } from "../../src/core/log.ts";
import { DEFAULT_CONFIG } from "../../src/nexus/config.ts";
import { type EmbeddedLogOptions, openEmbeddedLog } from "../../src/nexus/log/embedded-log.ts";
import type { AppendBatch, EventLog, NewEvent, ReadQuery, StoredEvent } from "../../src/nexus/log/event-log.ts";
import type { RecoveryNote } from "../../src/nexus/log/recovery.ts";
import { type Nexus, type NexusOptions, startNexus } from "../../src/nexus/nexus.ts";

export function temporaryDir(t: TestContext): string {
	const dir = mkdtempSync(join(tmpdir(), "nexus-test-"));
	t.after(() => rmSync(dir, { recursive: true, force: true }));
	return dir;
}

export interface TestEvent {
	readonly id: string;
	readonly source?: string;
	readonly type?: string;
	readonly subject?: string;
	readonly partitionkey?: string;
	readonly data?: unknown;
}

export function eventJson({ id, source = "/s", type = "t", subject, partitionkey, data }: TestEvent): string {
	return JSON.stringify({ specversion: "1.0", id, source, type, subject, partitionkey, data });
}

export function batchOf(events: readonly TestEvent[]): AppendBatch {
	const parts = events.map((event) => Buffer.from(eventJson(event)));
	let start = 0;
	const members = events.map((event, i): NewEvent => {
		const end = start + (parts[i] as Buffer).length;
		const { source = "/s", id, type = "t", subject, partitionkey } = event;
		const member = { source, id, type, subject, partitionKey: partitionkey, priority: undefined, start, end };
		start = end;
		return member;
	});
	return { bytes: Buffer.concat(parts), events: members };
}

/** Events with ids `prefix + n`. */
export function numbered(prefix: string, count: number, extra: Omit<TestEvent, "id"> = {}): TestEvent[] {
	return Array.from({ length: count }, (_, n) => ({ id: `${prefix}${n}`, ...extra }));
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
