/** Certificates with the key of the first one, as PEM and back: a service's, or an authority's that can issue. */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { codeOf } from "../core/errors.ts";
import { secretBytes } from "../core/secret-bytes.ts";
import { type Certificate, readCertificate } from "./certificate.ts";
import { pemOf, readPem } from "./pem.ts";

/** Leaf or authority, intermediates, and a root that somebody has put below them. */
const CHAIN_MAX = 8;

export interface KeyedChain {
	/** At least one. */
	readonly chain: readonly Certificate[];
	/** Of the first. Shows nothing of itself when it is printed. */
	readonly key: KeyObject;
}

export interface Authority {
	readonly certificate: Certificate;
	/** What those that it issues for must show besides their own: itself and the intermediates above, without the root. Empty for a root. */
	readonly chain: readonly Certificate[];
	readonly key: KeyObject;
}

export type AuthorityReading = { readonly ok: true; readonly authority: Authority } | { readonly ok: false; readonly fault: string };

export type KeyedChainReading = { readonly ok: true; readonly keyed: KeyedChain } | { readonly ok: false; readonly fault: string };

/** PEM files as any tool writes them. The fault is one sentence, and never quotes the key. */
export function readKeyedChain(chainPem: string, keyPem: string): KeyedChainReading {
	const chain = readChain(chainPem);
	if (typeof chain === "string") return refuse(chain);
	const key = privateKeyOf(keyPem);
	return key === undefined ? refuse("the private key cannot be read; it must be PEM without a passphrase") : paired(chain, key);
}

/** Certificates as PEM, for the key that their owner has kept. */
export function keyedChainOf(chainPem: string, key: KeyObject): KeyedChainReading {
	const chain = readChain(chainPem);
	return typeof chain === "string" ? refuse(chain) : paired(chain, key);
}

/** What can issue must be an authority, and sign with P-256. */
export function authorityOf({ chain, key }: KeyedChain): AuthorityReading {
	const [certificate] = chain;
	if (certificate === undefined || !certificate.ca) return { ok: false, fault: "the first certificate is no authority's (basicConstraints)" };
	if (certificate.key.name !== "P-256") return { ok: false, fault: `the authority's key is ${certificate.key.name}; only P-256 issues here` };
	return { ok: true, authority: { certificate, chain: chain.filter(({ issuer, subject }) => !issuer.equals(subject)), key } };
}

export function chainPem(chain: readonly Certificate[]): string {
	return chain.map(({ der }) => pemOf(der, "CERTIFICATE")).join("");
}

/** Or what is wrong with it. */
function readChain(chainPem: string): readonly Certificate[] | string {
	const blocks = readPem(chainPem, "CERTIFICATE", CHAIN_MAX);
	if (!blocks.ok) return blocks.fault;
	const chain: Certificate[] = [];
	for (const block of blocks.blocks) {
		const reading = readCertificate(block);
		if (!reading.ok) return `certificate ${chain.length + 1} is refused: ${reading.fault.words}`;
		if (!isKnownToOpenSsl(block)) return `certificate ${chain.length + 1} is refused: OpenSSL, which is to show it, cannot read it`;
		chain.push(reading.certificate);
	}
	return chain;
}

function paired(chain: readonly Certificate[], key: KeyObject): KeyedChainReading {
	if (chain[0] === undefined || !new X509Certificate(chain[0].der).checkPrivateKey(key))
		return refuse("the private key does not belong to the first certificate");
	return { ok: true, keyed: { chain, key } };
}

/** Also what our reader does not look into, such as a name that is none. */
function isKnownToOpenSsl(der: Buffer): boolean {
	try {
		return new X509Certificate(der).raw.length > 0;
	} catch (thrown) {
		if (codeOf(thrown) === undefined) throw thrown;
		return false;
	}
}

function privateKeyOf(pem: string): KeyObject | undefined {
	try {
		return createPrivateKey(secretBytes(pem));
	} catch (thrown) {
		if (codeOf(thrown) === undefined) throw thrown;
		return undefined;
	}
}

function refuse(fault: string): KeyedChainReading {
	return { ok: false, fault };
}
