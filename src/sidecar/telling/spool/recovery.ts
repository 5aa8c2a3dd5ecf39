/** Finds what an earlier process left in a spool directory: whole records count, what is torn or damaged is stepped over and told. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Disk } from "./disk.ts";
import { scanRecords } from "./record-codec.ts";
import { priorityOfName, SEGMENT_FILE_BYTES_MAX, type Segment } from "./segment-chain.ts";

export interface RecoveryNote {
	readonly file: string;
	readonly offset: number;
	/** That are no record, or cannot be read. */
	readonly bytes: number;
}

export interface Recovered {
	/** By priority, in order. */
	readonly segments: readonly Segment[][];
	readonly notes: readonly RecoveryNote[];
}

/** One file at a time, so that the loop turns in between. Files without a whole record are removed. Rejects where the directory cannot be read. */
export async function recoverSegments(disk: Disk, dir: string, priorities: number): Promise<Recovered> {
	const segments: Segment[][] = Array.from({ length: priorities }, () => []);
	const notes: RecoveryNote[] = [];
	// The sequences in the names have equal lengths: sorted by name is in order.
	for (const name of (await readdir(dir)).sort()) {
		const priority = priorityOfName(name);
		const chain = priority === undefined ? undefined : segments[priority];
		if (chain === undefined) continue;
		const path = join(dir, name);
		const bytes = await disk.read(path, SEGMENT_FILE_BYTES_MAX);
		const { records, damaged } = scanRecords(bytes);
		for (const { offset, bytes: length } of damaged) notes.push({ file: path, offset, bytes: length });
		if (records.length === 0) await disk.remove(path);
		else chain.push({ path, sequences: records.map((record) => record.sequence), bytes: bytes.length });
	}
	return { segments, notes };
}
