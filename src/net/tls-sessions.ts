/**
 * The session that a peer has offered to resume, of one upstream and one context of ours. It is used until it is replaced or refused: OpenSSL
 * offers no new one when it resumes, and that an observer could link connections (RFC 8446 C.4) tells him nothing that the addresses of two
 * sidecars do not. What it holds is secret: nothing of this ever prints.
 */

export interface TlsSession {
	readonly state: Buffer;
	/** DER, leaf first: what the peer had shown when the session began. A resumed handshake shows nothing. */
	readonly chain: readonly Uint8Array[];
}

export class TlsSessions {
	#newest: TlsSession | undefined;
	#generation = -1;

	/** `generation`: of our contexts. */
	put(session: TlsSession, generation: number): void {
		this.#newest = session;
		this.#generation = generation;
	}

	/** None that stems from another context: the peer would go on seeing the certificate that we showed then. */
	get(generation: number): TlsSession | undefined {
		return generation === this.#generation ? this.#newest : undefined;
	}

	/** After a failure: the next handshake is a full one. */
	clear(): void {
		this.#newest = undefined;
	}
}
