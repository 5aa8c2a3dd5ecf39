/** A spool on a directory of its own, and what a process would see that opens it next. */
import type { TestContext } from "node:test";
import { systemClock } from "../../../../src/core/clock.ts";
import { EventSpool, type SpooledEvent } from "../../../../src/sidecar/telling/event-spool.ts";
import type { Disk } from "../../../../src/sidecar/telling/spool/disk.ts";
import { SpoolDirectory } from "../../../../src/sidecar/telling/spool/spool-directory.ts";
import { MemoryLog } from "../support.ts";

export const MIB = 1024 * 1024;

export interface OpenSpool {
	readonly spool: EventSpool;
	readonly directory: SpoolDirectory;
	readonly log: MemoryLog;
}

export async function openSpool(
	t: TestContext,
	dir: string,
	options: { bytesMax?: number; eventsMax?: number; memoryMax?: number; disk?: Disk; clock?: typeof systemClock } = {},
): Promise<OpenSpool> {
	const log = new MemoryLog();
	const { bytesMax = 64 * MIB, disk, clock = systemClock } = options;
	const directory = await SpoolDirectory.open({ dir, bytesMax, clock, log, ...(disk === undefined ? {} : { disk }) });
	t.after(() => directory.close(5000));
	return { spool: new EventSpool({ directory, eventsMax: options.eventsMax ?? 10_000, bytesMax: options.memoryMax ?? 8 * MIB }), directory, log };
}

/** Takes and acknowledges everything, batch by batch. */
export async function drain(spool: EventSpool, acknowledge = true): Promise<SpooledEvent[]> {
	const all: SpooledEvent[] = [];
	for (;;) {
		if (spool.needsLoad) await spool.load();
		const batch = spool.take(64, 512 * 1024);
		if (batch.length === 0) return all;
		all.push(...batch);
		if (acknowledge) spool.acknowledge(batch);
	}
}

export function idsOf(events: readonly SpooledEvent[]): string[] {
	return events.map((e) => (JSON.parse(e.json) as { id: string }).id);
}

export function names(from: number, to: number, step = 1): string[] {
	return Array.from({ length: Math.ceil((to - from) / step) }, (_, i) => `e${from + i * step}`);
}
