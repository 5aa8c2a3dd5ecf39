/** From the start of the process to its first sign of readiness: /readyz of ours, the first good reply of the others. */
import { messageOf } from "../src/core/errors.ts";
import type { PeerName } from "./peers/peer.ts";
import { median } from "./stats.ts";
import { type Bench, takeTurn } from "./turn.ts";

export interface StartRow {
	readonly name: PeerName;
	/** The first start in this run; with a cold compile cache if there was no run before. */
	readonly firstMs: number;
	readonly medianMs: number;
	readonly maxMs: number;
	readonly faults: readonly string[];
}

export async function measureStart(bench: Bench): Promise<StartRow[]> {
	const { contestants, options, progress } = bench;
	const rows: StartRow[] = [];
	for (const contestant of contestants) {
		if (contestant.prepare === undefined) continue;
		const times: number[] = [];
		const faults: string[] = [];
		// One more than counts: the first fills the caches of disk and compiler.
		for (let i = 0; i <= options.repeats && faults.length === 0; i++) {
			progress.step(`start ${i}/${options.repeats}: ${contestant.name}`);
			await takeTurn(bench, contestant, {}, async ({ startMs }) => void times.push(startMs)).catch((thrown: unknown) =>
				faults.push(messageOf(thrown)),
			);
		}
		const [firstMs = Number.NaN, ...counted] = times;
		rows.push({ name: contestant.name, firstMs, medianMs: median(counted), maxMs: Math.max(...counted), faults });
	}
	return rows;
}
