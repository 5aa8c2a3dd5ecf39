/** Remembers which certificate has been signed by which: peers come again and again with the same chain, and each signature costs 100 us. */
import { isSignatureOf } from "./algorithms.ts";
import type { Certificate } from "./certificate.ts";

export class SignatureMemo {
	readonly #sizeMax: number;
	/** Fingerprints of the signed and the signing certificate; the oldest goes first. Successes alone: a failure says nothing of value. */
	readonly #proven = new Set<string>();

	/** 1,024 links are the chains of 300 services that rotate, in about 200 KB. One memo per event loop. */
	constructor(sizeMax = 1024) {
		this.#sizeMax = sizeMax;
	}

	get size(): number {
		return this.#proven.size;
	}

	isSignedBy(certificate: Certificate, issuer: Certificate): boolean {
		return this.#proven.has(linkOf(certificate, issuer)) || isSignatureOf(certificate, issuer.key);
	}

	/** A chain that has been verified, leaf first. Only those are kept, so that nobody outside the mesh can fill the memo. */
	remember(chain: readonly Certificate[]): void {
		for (const [i, issuer] of chain.entries()) {
			const certificate = chain[i - 1];
			if (certificate === undefined) continue;
			this.#proven.add(linkOf(certificate, issuer));
			if (this.#proven.size > this.#sizeMax) this.#proven.delete(this.#proven.values().next().value ?? "");
		}
	}
}

function linkOf(certificate: Certificate, issuer: Certificate): string {
	return `${certificate.fingerprint}${issuer.fingerprint}`;
}
