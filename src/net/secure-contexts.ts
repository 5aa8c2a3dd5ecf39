/**
 * The TLS contexts of one side: which certificate it shows now, which versions and suites it speaks. A new certificate takes effect with the
 * next handshake; connections that stand keep theirs. What certificates mean is not known here.
 */
import { constants } from "node:crypto";
import { createSecureContext, getCACertificates, type SecureContext } from "node:tls";
import { messageOf } from "../core/errors.ts";

// AES-128 first: hardware does it, and nothing in reach breaks it. All have forward secrecy and authenticated encryption.
const SUITES_13 = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
const SUITES_12 =
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";

/** Marks our sessions; OpenSSL resumes none without it where client certificates are asked for. */
const SESSION_ID_CONTEXT = "nexus-mesh";

/** A ticket is of use for so long. Longer would save little: connections between sidecars live for hours. */
const SESSION_SECONDS = 3600;

export interface SecureContextOptions {
	/** PEM: the leaf and what links it to a root; "" shows none (a client outside of the mesh). */
	readonly certificate: string;
	/** PEM, PKCS#8. */
	readonly key: string;
	/**
	 * Whose verdict on the peer counts. `own`: that of the verify callback alone; OpenSSL knows no root, and what it finds is not asked for,
	 * though it checks the signatures within what the peer shows all the same. `system`: OpenSSL with the roots of this machine. Or with
	 * these roots, PEM.
	 */
	readonly trust: "own" | "system" | { readonly roots: readonly string[] };
	/** The default is 1.3. */
	readonly minVersion?: "TLSv1.2" | "TLSv1.3";
	/** Key exchange, best first; the default is OpenSSL's own list: X25519 with ML-KEM-768, X25519, P-256 ... */
	readonly groups?: string;
}

export type SecureContextMade = { readonly ok: true; readonly context: SecureContext } | { readonly ok: false; readonly fault: string };

/** Expected faults: PEM that cannot be read, a key that does not belong to the certificate. The fault never shows the key. */
export function makeSecureContext({ certificate, key, trust, minVersion = "TLSv1.3", groups = "auto" }: SecureContextOptions): SecureContextMade {
	// Node would make a context that shakes hands with nobody.
	if (certificate !== "" && key === "") return { ok: false, fault: "the key of the certificate is missing" };
	try {
		const context = createSecureContext({
			...(certificate === "" ? {} : { cert: certificate, key }),
			ca: trust === "own" ? [] : trust === "system" ? systemRoots() : [...trust.roots],
			minVersion,
			ciphers: minVersion === "TLSv1.3" ? SUITES_13 : `${SUITES_13}:${SUITES_12}`,
			honorCipherOrder: true,
			ecdhCurve: groups,
			secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
			sessionIdContext: SESSION_ID_CONTEXT,
			sessionTimeout: SESSION_SECONDS,
		});
		return { ok: true, context };
	} catch (error) {
		return { ok: false, fault: messageOf(error) };
	}
}

/** The system's own store where it has one, else the roots that came with Node. */
function systemRoots(): string[] {
	const roots = getCACertificates("system");
	return roots.length > 0 ? roots : getCACertificates("bundled");
}

/**
 * Who needs the context asks for it at each handshake. Every context draws ticket keys of its own, so a swap also ends the resumption of
 * older sessions: what was trusted before it is verified anew, in full.
 */
export class SecureContexts {
	#current: SecureContext;
	#generation = 0;

	constructor(first: SecureContext) {
		this.#current = first;
	}

	get current(): SecureContext {
		return this.#current;
	}

	/** Counts the swaps. */
	get generation(): number {
		return this.#generation;
	}

	swap(next: SecureContext): void {
		this.#current = next;
		this.#generation++;
	}
}
