/**
 * Who still comes in plain text where TLS is possible, in bounded memory (space-saving: Metwally, Agrawal, El Abbadi 2005): once nobody does,
 * `strict` is safe.
 */

export interface PlaintextCaller {
	/** Without port. */
	readonly address: string;
	/** Connections, at most: as it took the place of another caller, up to `countError` of them may have been that one's. */
	readonly count: number;
	readonly countError: number;
	/** Milliseconds since 1970, of its connections. */
	readonly firstMs: number;
	readonly lastMs: number;
}

// A person looks them up one by one; whoever sends more than one in 64 of all is surely among them.
const CALLERS_MAX = 64;

type Entry = { -readonly [key in keyof PlaintextCaller]: PlaintextCaller[key] };

export class PlaintextCallers {
	readonly #entries = new Map<string, Entry>();

	add(address: string, wallMs: number): void {
		let entry = this.#entries.get(address);
		if (entry === undefined) {
			const countError = this.#entries.size < CALLERS_MAX ? 0 : this.#takeLeast();
			entry = { address, count: countError, countError, firstMs: wallMs, lastMs: wallMs };
			this.#entries.set(address, entry);
		}
		entry.count++;
		entry.lastMs = wallMs;
	}

	/** The most frequent first. */
	list(): PlaintextCaller[] {
		return Array.from(this.#entries.values(), (entry) => ({ ...entry })).sort((a, b) => b.count - a.count || b.lastMs - a.lastMs);
	}

	/** Its count. */
	#takeLeast(): number {
		let leastAddress = "";
		let least = Number.POSITIVE_INFINITY;
		for (const [address, { count }] of this.#entries) {
			if (count >= least) continue;
			leastAddress = address;
			least = count;
			if (count === 1) break;
		}
		this.#entries.delete(leastAddress);
		return least;
	}
}
