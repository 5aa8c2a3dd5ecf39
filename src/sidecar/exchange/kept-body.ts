/**
 * The part of a request's body that a connection still has to be given: what came before there was one, and what is kept for another
 * try. Framed already, behind the text that goes with the head.
 */

/** Parts below it are put together: a client that sends single bytes must not make us hold an object for each. */
const PART_BYTES_MIN = 4 * 1024;

export class KeptBody {
	#parts: Buffer[] = [];
	#bytes = 0;
	#bytesMax = 0;
	/** Something of it was not kept. */
	#dropped = false;

	/** `bytesMax`: what may be kept once it has been sent; what has not been sent is kept in any case. `gluedBytes` go with the head. */
	begin(bytesMax: number, gluedBytes = 0): void {
		this.#bytesMax = bytesMax;
		this.#bytes = gluedBytes;
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

	/** `part` must be the caller's to give away; `bytes` of it are the client's, the rest is framing. */
	add(part: Buffer, bytes: number): void {
		const parts = this.#parts;
		const last = parts.at(-1);
		if (last === undefined || last.length >= PART_BYTES_MIN) parts.push(part);
		else parts[parts.length - 1] = Buffer.concat([last, part]);
		this.#bytes += bytes;
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
