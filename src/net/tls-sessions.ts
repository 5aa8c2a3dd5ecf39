/**
 * Sessions that a peer has offered to resume, of one upstream and one context of ours. Each is used once: a second use would let an observer
 * link connections (RFC 8446 C.4). What they hold is secret: nothing of this ever prints.
 */

/** OpenSSL gives two for a handshake, and one for each resumption; more than these would grow old unused. */
const KEPT_MAX = 4;

export interface TlsSession {
	readonly state: Buffer;
	/** DER, leaf first: what the peer had shown when the session began. A resumed handshake shows nothing. */
	readonly chain: readonly Uint8Array[];
}

export class TlsSessions {
	/** The newest last. */
	#kept: TlsSession[] = [];
	#generation = -1;

	get size(): number {
		return this.#kept.length;
	}

	put(session: TlsSession, generation: number): void {
		if (generation !== this.#generation) this.#restart(generation);
		if (this.#kept.length >= KEPT_MAX) this.#kept.shift();
		this.#kept.push(session);
	}

	/** The newest. None that stems from another context: the peer would go on seeing the certificate that we showed then. */
	take(generation: number): TlsSession | undefined {
		if (generation !== this.#generation) this.#restart(generation);
		return this.#kept.pop();
	}

	/** After a failure: the next handshake is a full one. */
	clear(): void {
		this.#kept = [];
	}

	#restart(generation: number): void {
		this.#kept = [];
		this.#generation = generation;
	}
}
