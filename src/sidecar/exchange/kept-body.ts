/**
 * The part of a request's body that a connection still has to be given: what came before there was one, and what is kept for another
 * try. Framed already, behind the text that goes with the head.
 */

export class KeptBody {
	#parts: Buffer[] = [];
	#bytes = 0;
	#bytesMax = 0;
	/** Something of it was not kept. */
	#dropped = false;
	/** `bytesMax`: what may be kept once it has been sent; what has not been sent is kept in any case. */
	begin(bytesMax: number): void {
		this.#bytesMax = bytesMax;
		this.#bytes = 0;
		this.#dropped = false;
		if (this.#parts.length > 0) this.#parts = [];
	}

	get parts(): readonly Buffer[] {
		return this.#parts;
	}

	/** Whether a further part of so many bytes would be kept once it has been sent. */
	keeps(bytes: number): boolean {
		return !this.#dropped && this.#bytes + bytes <= this.#bytesMax;
	}

	/** `part` must be the caller's to give away. */
	add(part: Buffer): void {
		this.#parts.push(part);
		this.#bytes += part.length;
	}

	/** All of it has been sent, and it is not to be kept any longer. */
	drop(): void {
		this.#dropped = true;
		this.#parts = [];
		this.#bytes = 0;
	}

	/** Sent just now: what is too much to be kept for another try goes. Returns whether all of it is still here. */
	sent(): boolean {
		if (this.#bytes > this.#bytesMax) this.drop();
		return !this.#dropped;
	}
}
