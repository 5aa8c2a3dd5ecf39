/** Remembers chains that have been verified: peers come again and again with the same ones, and each signature costs 80 us. */
import { isSignatureOf } from "./algorithms.ts";
import type { Certificate } from "./certificate.ts";

/**
 * Two while one follows the other, for each of the 64 trust domains of a bundle, and as many again; about 2 KB each. Without its own a session
 * cannot be resumed, and its caller would be refused for as long as it goes on to offer it.
 */
const INTERMEDIATES_MAX = 256;

export class ChainMemo {
	readonly #linksMax: number;
	/** Fingerprints of the signed and the signing certificate; the oldest goes first. Successes alone: a failure says nothing of value. */
	readonly #links = new Set<string>();
	readonly #intermediatesMax: number;
	/** The one that was shown longest ago goes first. */
	readonly #intermediates = new Map<string, Certificate>();

	/** 1,024 links are the chains of 300 services that rotate, in about 200 KB. One memo per event loop. */
	constructor(linksMax = 1024, intermediatesMax = INTERMEDIATES_MAX) {
		this.#linksMax = linksMax;
		this.#intermediatesMax = intermediatesMax;
	}

	get links(): number {
		return this.#links.size;
	}

	/** Those of chains that were verified; they are trusted no more than what a peer shows. */
	get intermediates(): Iterable<Certificate> {
		return this.#intermediates.values();
	}

	isSignedBy(certificate: Certificate, issuer: Certificate): boolean {
		return this.#links.has(linkOf(certificate, issuer)) || isSignatureOf(certificate, issuer.key);
	}

	/** A chain that has been verified, leaf first. Only those are kept, so that nobody outside the mesh can fill the memo. */
	remember(path: readonly Certificate[]): void {
		for (const [i, issuer] of path.entries()) {
			const certificate = path[i - 1];
			if (certificate === undefined) continue;
			this.#links.add(linkOf(certificate, issuer));
			if (this.#links.size > this.#linksMax) this.#links.delete(this.#links.values().next().value ?? "");
			if (i === path.length - 1) continue;
			this.#intermediates.delete(issuer.fingerprint);
			this.#intermediates.set(issuer.fingerprint, issuer);
			if (this.#intermediates.size > this.#intermediatesMax) this.#intermediates.delete(this.#intermediates.keys().next().value ?? "");
		}
	}
}

function linkOf(certificate: Certificate, issuer: Certificate): string {
	return `${certificate.fingerprint}${issuer.fingerprint}`;
}
