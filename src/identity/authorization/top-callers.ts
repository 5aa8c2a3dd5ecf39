/** Who comes most often, with the last thing that each did, in bounded memory (space-saving: Metwally, Agrawal, El Abbadi 2005). */

export interface WouldBeRefused {
	/** SPIFFE id; "" for an unauthenticated caller. */
	readonly caller: string;
	/** Where its last request came from. */
	readonly address: string;
	/** At most: as it took the place of another caller, up to `countError` of them may have been that one's. */
	readonly count: number;
	readonly countError: number;
	/** Its last request. Milliseconds since 1970. */
	readonly lastMs: number;
	readonly method: string;
	/** Without the query, at most 256 characters. */
	readonly path: string;
}

// For people; a path may be 16 KiB long.
const PATH_CHARS_MAX = 256;

type Entry = { -readonly [key in keyof WouldBeRefused]: WouldBeRefused[key] };

export class TopCallers {
	readonly #entries = new Map<string, Entry>();
	readonly #capacity: number;

	/** `capacity`: how many are remembered, at least 1. */
	constructor(capacity: number) {
		if (!(capacity >= 1)) throw new RangeError(`a capacity of ${capacity}`);
		this.#capacity = capacity;
	}

	add(caller: string, address: string, method: string, path: string, wallMs: number): void {
		// An address is no SPIFFE id.
		const key = caller === "" ? address : caller;
		let entry = this.#entries.get(key);
		if (entry === undefined) {
			const countError = this.#entries.size < this.#capacity ? 0 : this.#takeLeast();
			entry = { caller, address, count: countError, countError, lastMs: wallMs, method, path };
			this.#entries.set(key, entry);
		}
		entry.count++;
		entry.address = address;
		entry.lastMs = wallMs;
		entry.method = method;
		entry.path = path.length > PATH_CHARS_MAX ? path.slice(0, PATH_CHARS_MAX) : path;
	}

	/** The most frequent first. */
	list(): WouldBeRefused[] {
		return [...this.#entries.values()].map((entry) => ({ ...entry })).sort((a, b) => b.count - a.count || b.lastMs - a.lastMs);
	}

	/** Its count. */
	#takeLeast(): number {
		let leastKey = "";
		let least = Number.POSITIVE_INFINITY;
		for (const [key, { count }] of this.#entries) {
			if (count >= least) continue;
			leastKey = key;
			least = count;
			if (count === 1) break;
		}
		this.#entries.delete(leastKey);
		return least;
	}
}
