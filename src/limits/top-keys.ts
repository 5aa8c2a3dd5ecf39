/** Which keys come most often, in bounded memory (space-saving: Metwally, Agrawal, El Abbadi 2005). */

// Every key that is more than one in 64 of all is surely among them; counts are too high by at most total / 64.
const COUNTERS = 64;

export class TopKeys {
	total = 0;
	readonly #counts = new Map<string, number>();

	add(key: string): void {
		this.total++;
		const count = this.#counts.get(key);
		if (count !== undefined) this.#counts.set(key, count + 1);
		else if (this.#counts.size < COUNTERS) this.#counts.set(key, 1);
		else this.#replaceLeast(key);
	}

	/** The `max` most frequent, falling. */
	top(max: number): { readonly key: string; readonly count: number }[] {
		const all = [...this.#counts].map(([key, count]) => ({ key, count }));
		return all.sort((a, b) => b.count - a.count).slice(0, max);
	}

	#replaceLeast(key: string): void {
		let leastKey = "";
		let least = Number.POSITIVE_INFINITY;
		for (const [candidate, count] of this.#counts) {
			if (count >= least) continue;
			leastKey = candidate;
			least = count;
			if (count === 1) break;
		}
		this.#counts.delete(leastKey);
		this.#counts.set(key, least + 1);
	}
}
