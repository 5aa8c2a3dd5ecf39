/** Long polls and streams: they do not end by themselves, so they are told when Nexus stops. */

export class Waits {
	readonly #ends = new Set<() => void>();
	isOver = false;

	/** `end` is called when Nexus stops. The result is to be called when it has ended by itself. */
	add(end: () => void): () => void {
		if (this.isOver) end();
		else this.#ends.add(end);
		return () => void this.#ends.delete(end);
	}

	/** Nobody waits any more. */
	endAll(): void {
		this.isOver = true;
		for (const end of [...this.#ends]) end();
		this.#ends.clear();
	}
}
