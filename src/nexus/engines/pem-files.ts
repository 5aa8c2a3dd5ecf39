/** A certificate with its key, and roots, from PEM files that the configuration names: read whole and checked, the key shown by nothing. */
import { X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { messageOf } from "../../core/errors.ts";
import { readPem } from "../../identity/pem.ts";
import { makeSecureContext, type SecureContextMade, type SecureContextOptions } from "../../net/secure-contexts.ts";

/** Absolute. `cert` and `key` are there together or not at all. */
export interface PemPaths {
	/** What is shown: the certificate, and those that link it to its root. */
	readonly cert?: string;
	/** Without a passphrase. */
	readonly key?: string;
	/** The roots that the other side is checked against. */
	readonly ca?: string;
}

export type PemReading = { readonly ok: true; readonly material: PemMaterial } | { readonly ok: false; readonly fault: string };

/** As for PEM text at large: a hundred authorities are 150 KB. */
const FILE_BYTES_MAX = 1024 * 1024;
const BLOCKS_MAX = 500;

/** What the files hold at one moment. */
export class PemMaterial {
	/** "" where no certificate is shown. */
	readonly certificate: string;
	/** Undefined: none are named. */
	readonly roots: string | undefined;
	readonly #key: string;

	private constructor(certificate: string, key: string, roots: string | undefined) {
		this.certificate = certificate;
		this.#key = key;
		this.roots = roots;
	}

	/** The fault is a sentence that names the file, and quotes nothing of it. */
	static read({ cert, key, ca }: PemPaths): PemReading {
		try {
			const material = new PemMaterial(cert === undefined ? "" : textOf(cert), key === undefined ? "" : textOf(key), ca && rootsOf(ca));
			const made = material.context({ trust: "own" });
			return made.ok ? { ok: true, material } : { ok: false, fault: `${cert} with ${key} cannot be used: ${made.fault}` };
		} catch (thrown) {
			return { ok: false, fault: messageOf(thrown) };
		}
	}

	/** Shows the certificate, where there is one. */
	context(options: Pick<SecureContextOptions, "trust" | "minVersion">): SecureContextMade {
		return makeSecureContext({ certificate: this.certificate, key: this.#key, ...options });
	}

	equals(other: PemMaterial): boolean {
		return this.certificate === other.certificate && this.#key === other.#key && this.roots === other.roots;
	}
}

/** OpenSSL reads over what is no certificate, and would trust nobody without a word. */
function rootsOf(path: string): string {
	const text = textOf(path);
	const reading = readPem(text, "CERTIFICATE", BLOCKS_MAX);
	if (!reading.ok) throw new Error(`${path} holds no roots: ${reading.fault}`);
	for (const [i, block] of reading.blocks.entries()) {
		try {
			new X509Certificate(block);
		} catch (thrown) {
			throw new Error(`${path}: certificate ${i + 1} cannot be read: ${messageOf(thrown)}`, { cause: thrown });
		}
	}
	return text;
}

function textOf(path: string): string {
	const stats = statSync(path);
	// A pipe would wait for its writer.
	if (!stats.isFile()) throw new Error(`${path} is no file`);
	if (stats.size > FILE_BYTES_MAX) throw new Error(`${path} has more than ${FILE_BYTES_MAX} bytes`);
	return readFileSync(path, "utf8");
}
