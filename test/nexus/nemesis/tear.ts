/**
 * What a crash may leave behind the last block of an embedded log. A block is acknowledged, and shown to anybody, only after it was synced, so a torn write
 * can never reach into one: only bytes behind the end are made up here. Cutting whole blocks off would be a disk that lies, and what was acknowledged
 * would rightly be missed. The index beside a segment promises nothing, it is made again from the blocks: of that, any part may go.
 */
import { appendFileSync, readdirSync, readFileSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import type { Rng } from "../../../src/core/rng.ts";
import { BLOCK_MAGIC } from "../../../src/nexus/log/block-codec.ts";
import type { Tear } from "./schedule.ts";

const GARBAGE_BYTES_MAX = 6_000;

/** While nobody has the log open. */
export function tearTail(dir: string, how: Tear, rng: Rng): void {
	const name = readdirSync(dir)
		.filter((file) => file.endsWith(".log"))
		.sort()
		.at(-1);
	if (name === undefined) throw new Error(`no segment in ${dir}`);
	const segment = join(dir, name);
	const count = 1 + Math.floor(rng() * GARBAGE_BYTES_MAX);
	switch (how) {
		case "garbage":
			appendFileSync(segment, Buffer.from(Array.from({ length: count }, () => Math.floor(rng() * 256))));
			return;
		case "zeros": // the file was made longer before its bytes were written
			appendFileSync(segment, Buffer.alloc(count));
			return;
		case "half-block": {
			const block = lastBlock(segment);
			appendFileSync(segment, block.subarray(0, Math.floor(rng() * block.length)));
			return;
		}
		case "old-block": // whole, but of sequences that are there already
			appendFileSync(segment, lastBlock(segment));
			return;
		case "index-cut": {
			const index = segment.replace(/\.log$/, ".idx");
			const { size } = statSync(index);
			truncateSync(index, Math.floor(size * rng()));
			return;
		}
	}
}

/** Empty where there is none yet. */
function lastBlock(segment: string): Buffer {
	const bytes = readFileSync(segment);
	const start = bytes.lastIndexOf(BLOCK_MAGIC);
	return start < 0 ? Buffer.alloc(0) : bytes.subarray(start);
}
