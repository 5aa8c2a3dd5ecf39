/** What one key of a shared limit has got from the store, and who waits for more. Plain state: `shared-buckets.ts` alone writes it. */
import type { Turn } from "./turn.ts";

export class Lease {
	readonly key: string;
	readonly slot: number;
	tokens = 0;
	expiresMs = 0;
	refillAt = 0;
	/** The store has no more before this. */
	pausedUntilMs = 0;
	asking = false;
	/** Requests of the running and of the last slice, from `sliceFromMs`. */
	demand = 0;
	lastDemand = 0;
	sliceFromMs = 0;
	readonly turns = new Set<Turn>();

	constructor(key: string, slot: number) {
		this.key = key;
		this.slot = slot;
	}
}
