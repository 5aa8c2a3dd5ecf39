/** Batches of events for tests of logs; imports nothing of Nexus but types, so that a process that needs it starts quickly. */
import type { AppendBatch, NewEvent } from "../../../src/nexus/log/event-log.ts";

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
