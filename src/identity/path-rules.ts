/** The rules that a complete path of certificates keeps (RFC 5280 section 6.1, X509-SVID section 5): one function each, first fault wins. */
import type { Certificate } from "./certificate.ts";
import { KEY_USAGE, PURPOSE_OIDS } from "./extensions.ts";
import { nameConstraintFault } from "./name-constraints.ts";
import { type ChainRole, roughly, type TlsReason } from "./tls-refusal.ts";
import type { TrustBundle } from "./trust-bundle.ts";

/** How far the clocks of two machines may be apart without a word. */
export const CLOCK_SKEW_MS = 60_000;
/**
 * Certificates begin when they are issued, which cannot be in the future: one that begins a little later tells of a wrong clock.
 * Only one that begins later than a workload's certificate lasts was made for another day.
 */
const SKEW_LIKELY_MS = 24 * 3_600_000;

/** What the peer does in this handshake. */
export type PeerPurpose = "server" | "client";

export interface PathFault {
	readonly reason: TlsReason;
	readonly words: string;
	readonly certificate: Certificate;
	readonly role: ChainRole;
}

/** Leaf first, root last; at least two. */
export type Path = readonly Certificate[];

export function revocationFault(path: Path, identity: string, bundle: TrustBundle): PathFault | undefined {
	for (let i = path.length - 1; i >= 0; i--) {
		const certificate = at(path, i);
		if (bundle.isDeniedSerial(certificate.serial)) {
			return fault("tls_cert_revoked", path, i, `the serial number ${certificate.serial} is on the deny list of bundle version ${bundle.version}`);
		}
	}
	if (!bundle.isDeniedIdentity(identity)) return undefined;
	return fault("tls_cert_revoked", path, 0, `the identity ${identity} is on the deny list of bundle version ${bundle.version}`);
}

/** From the root down: an authority that is over is the cause for all below it. */
export function validityFault(path: Path, nowMs: number): PathFault | undefined {
	for (let i = path.length - 1; i >= 0; i--) {
		const { notBeforeMs, notAfterMs } = at(path, i);
		if (nowMs > notAfterMs + CLOCK_SKEW_MS) {
			return fault("tls_cert_expired", path, i, `it ended ${roughly(nowMs - notAfterMs)} ago, at ${iso(notAfterMs)}; our clock says ${iso(nowMs)}`);
		}
		const earlyMs = notBeforeMs - nowMs;
		if (earlyMs > CLOCK_SKEW_MS) {
			const reason = earlyMs <= SKEW_LIKELY_MS ? "tls_clock_skew" : "tls_cert_not_yet_valid";
			return fault(reason, path, i, `it begins in ${roughly(earlyMs)}, at ${iso(notBeforeMs)}; our clock says ${iso(nowMs)}`);
		}
	}
	return undefined;
}

/** What each of them may be: authority or not, how deep, and nothing critical that we do not understand. */
export function constraintFault(path: Path): PathFault | undefined {
	let authoritiesBelow = 0;
	for (let i = 0; i < path.length; i++) {
		const certificate = at(path, i);
		const { ca, keyUsage, pathLengthMax, unknownCritical } = certificate;
		const [unknown] = unknownCritical;
		if (unknown !== undefined) return chainFault(path, i, `it has a critical extension that is not understood here (${unknown})`);
		if (i === 0) {
			// X509-SVID 5.2: an authority signs, and is nobody to talk to.
			if (ca) return chainFault(path, i, "it is an authority's certificate, which is no identity of a service");
			if (has(keyUsage, KEY_USAGE.keyCertSign) || has(keyUsage, KEY_USAGE.crlSign)) {
				return chainFault(path, i, "its key may sign certificates, which that of a service may not");
			}
			if (keyUsage !== undefined && !has(keyUsage, KEY_USAGE.digitalSignature))
				return usageFault(path, i, "its key may not sign handshakes (keyUsage)");
			continue;
		}
		if (!ca) return chainFault(path, i, "it has signed another one, but is no authority's (basicConstraints)");
		if (keyUsage !== undefined && !has(keyUsage, KEY_USAGE.keyCertSign)) {
			return chainFault(path, i, "it has signed another one, which its key may not (keyUsage)");
		}
		if (pathLengthMax !== undefined && authoritiesBelow > pathLengthMax) {
			return chainFault(path, i, `it allows ${pathLengthMax} authorities below itself, and there are ${authoritiesBelow}`);
		}
		// RFC 5280 4.2.1.9: one that an authority has issued to itself does not count.
		if (!isSelfIssued(certificate)) authoritiesBelow++;
	}
	return undefined;
}

/** Purposes restrict all below, as in OpenSSL and Go; `any` alone is not taken for either purpose, as in OpenSSL. */
export function purposeFault(path: Path, purpose: PeerPurpose): PathFault | undefined {
	const wanted = PURPOSE_OIDS[purpose];
	for (let i = path.length - 1; i >= 0; i--) {
		const { purposes } = at(path, i);
		if (purposes !== undefined && !purposes.includes(wanted)) return usageFault(path, i, `its extended key usage lacks ${purpose}Auth`);
	}
	return undefined;
}

/** Every authority's constraints hold for all below it, but for what authorities have issued to themselves. */
export function namesFault(path: Path): PathFault | undefined {
	for (let authority = path.length - 1; authority > 0; authority--) {
		const { nameConstraints } = at(path, authority);
		if (nameConstraints === undefined) continue;
		for (let i = authority - 1; i >= 0; i--) {
			const certificate = at(path, i);
			if (i > 0 && isSelfIssued(certificate)) continue;
			const words = nameConstraintFault(nameConstraints, certificate);
			if (words !== undefined) return chainFault(path, i, words);
		}
	}
	return undefined;
}

function isSelfIssued({ issuer, subject }: Certificate): boolean {
	return issuer.equals(subject);
}

function has(keyUsage: number | undefined, bit: number): boolean {
	return keyUsage !== undefined && (keyUsage & bit) !== 0;
}

function chainFault(path: Path, i: number, words: string): PathFault {
	return fault("tls_chain_invalid", path, i, words);
}

function usageFault(path: Path, i: number, words: string): PathFault {
	return fault("tls_wrong_key_usage", path, i, words);
}

function fault(reason: TlsReason, path: Path, i: number, words: string): PathFault {
	return { reason, words, certificate: at(path, i), role: i === 0 ? "leaf" : i === path.length - 1 ? "root" : "intermediate" };
}

function at(path: Path, i: number): Certificate {
	const certificate = path[i];
	if (certificate === undefined) throw new RangeError(`a path of ${path.length} certificates has no ${i}`);
	return certificate;
}

function iso(ms: number): string {
	return new Date(ms).toISOString();
}
