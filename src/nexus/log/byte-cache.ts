/** Values that are costly to load, shared by all who ask, the least lately used dropped first, bounded by bytes. */

export class ByteCache<V> {
	readonly #bytesMax: number;
	readonly #sizeOf: (value: V) => number;
	readonly #entries = new Map<number | string, { value: Promise<V | undefined>; bytes: number }>();
	#bytes = 0;

	constructor(bytesMax: number, sizeOf: (value: V) => number) {
		this.#bytesMax = bytesMax;
		this.#sizeOf = sizeOf;
	}

	/** Loads once for all who ask meanwhile. What loads as undefined, or fails, is not kept. */
	get(key: number | string, load: () => Promise<V | undefined>): Promise<V | undefined> {
		const known = this.#entries.get(key);
		if (known !== undefined) {
			this.#entries.delete(key);
			this.#entries.set(key, known);
			return known.value;
		}
		const entry = { value: load(), bytes: 0 };
		this.#entries.set(key, entry);
		entry.value.then(
			(value) => {
				if (this.#entries.get(key) !== entry) return;
				if (value === undefined) this.#entries.delete(key);
				else {
					entry.bytes = this.#sizeOf(value);
					this.#bytes += entry.bytes;
					this.#trim();
				}
			},
			() => {
				if (this.#entries.get(key) === entry) this.#entries.delete(key);
			},
		);
		return entry.value;
	}

	#trim(): void {
		for (const [key, entry] of this.#entries) {
			if (this.#bytes <= this.#bytesMax) return;
			if (entry.bytes === 0) continue; // still loading
			this.#entries.delete(key);
			this.#bytes -= entry.bytes;
		}
	}
}
