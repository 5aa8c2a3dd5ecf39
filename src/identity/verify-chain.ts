/**
 * Whether a peer is who its certificates say: builds a path from its leaf to a root of its trust domain, holds it to every rule, and tells
 * what is wrong in words. Knows no sockets: who opens them hands over the bytes.
 */
import { type Certificate, readCertificate } from "./certificate.ts";
import type { ChainMemo } from "./chain-memo.ts";
import { nameText } from "./distinguished-name.ts";
import {
	constraintFault,
	namesFault,
	type Path,
	type PathFault,
	type PeerPurpose,
	purposeFault,
	revocationFault,
	validityFault,
} from "./path-rules.ts";
import { parseSpiffeId, SPIFFE_ID_FAULTS, type SpiffeId } from "./spiffe-id.ts";
import { type RefusalContext, type TlsRefusal, tlsRefusal } from "./tls-refusal.ts";
import type { TrustBundle } from "./trust-bundle.ts";

/** Leaf, intermediate, and room for a cross-signed one and a second level; the root on top. */
const PATH_LENGTH_MAX = 6;
/** What a peer may send; more than fit into a path, as rotation leaves an old one beside the new. */
const PRESENTED_MAX = 8;
/** Certificates of one name and many keys would make every path a candidate: each signature costs 100 us of the loop. */
const SIGNATURES_MAX = 16;

export interface VerifyOptions {
	readonly bundle: TrustBundle;
	/** Wall time. */
	readonly nowMs: number;
	readonly purpose: PeerPurpose;
	/** Whom the caller means; undefined: any service of a trusted domain, for authorization to decide. */
	readonly expected?: SpiffeId | undefined;
	/** Ours, for what is said about it; empty where there is none. */
	readonly self: string;
	readonly memo: ChainMemo;
	/** The session is resumed, so that TLS shows the leaf alone: the intermediates that were verified before stand in. Default false. */
	readonly resumed?: boolean;
}

export interface VerifiedPeer {
	readonly ok: true;
	readonly id: SpiffeId;
	/** Leaf first, the root of the bundle last. */
	readonly path: Path;
	readonly leaf: Certificate;
	/** When the first certificate of the path ends: a connection that rests on it must be retired before. */
	readonly validUntilMs: number;
}

export type ChainVerdict = VerifiedPeer | TlsRefusal;

/**
 * `presented`: DER as the peer sent it, leaf first, the rest in any order. 25 us for a chain that the memo knows, 80 us more for each
 * signature that it does not.
 */
export function verifyChain(presented: readonly Uint8Array[], options: VerifyOptions): ChainVerdict {
	const expected = options.expected?.uri ?? "";
	const nobody = { self: options.self, expected, peer: "" };
	const [first, ...others] = presented;
	if (first === undefined) return noCertificate(options.purpose, nobody);
	if (presented.length > PRESENTED_MAX) {
		return tlsRefusal("tls_bad_certificate", `the peer has sent ${presented.length} certificates, more than ${PRESENTED_MAX}`, nobody);
	}
	const leafReading = readCertificate(first);
	if (!leafReading.ok) return tlsRefusal("tls_bad_certificate", `the peer's certificate is refused: ${leafReading.fault.words}`, nobody);
	const leaf = leafReading.certificate;
	const identity = identityOf(leaf);
	const context = { self: options.self, expected, peer: identity.claimed };
	if (identity.id === undefined) {
		return tlsRefusal("tls_san_mismatch", `the peer's certificate names no service: ${identity.fault}`, context, { certificate: leaf, role: "leaf" });
	}
	const intermediates: Certificate[] = options.resumed === true ? [...options.memo.intermediates] : [];
	for (const bytes of others) {
		const reading = readCertificate(bytes);
		if (!reading.ok) return tlsRefusal("tls_bad_certificate", `an intermediate certificate of the peer is refused: ${reading.fault.words}`, context);
		intermediates.push(reading.certificate);
	}
	return new Search(identity.id, intermediates, context, options).verdict(leaf);
}

/** Later looks at a peer, on resumption and when the bundle changes: is it still valid, not revoked, and under a root that is trusted? */
export function recheckPeer(peer: VerifiedPeer, options: Pick<VerifyOptions, "bundle" | "nowMs" | "self">): TlsRefusal | undefined {
	const { bundle, nowMs, self } = options;
	const context = { self, expected: "", peer: peer.id.uri };
	const fault = revocationFault(peer.path, peer.id.uri, bundle) ?? validityFault(peer.path, nowMs);
	if (fault !== undefined) return refusalOf(fault, context);
	const root = peer.path.at(-1);
	const isTrusted = bundle.roots.get(peer.id.trustDomain)?.some(({ fingerprint }) => fingerprint === root?.fingerprint) === true;
	if (isTrusted || root === undefined) return undefined;
	return tlsRefusal("tls_unknown_ca", `the root ${nameText(root.subject)} is not in bundle version ${bundle.version} any more`, context, {
		certificate: root,
		role: "root",
	});
}

function noCertificate(purpose: PeerPurpose, context: RefusalContext): TlsRefusal {
	if (purpose === "client") return tlsRefusal("tls_no_client_cert", "the caller has shown no certificate", context);
	return tlsRefusal("tls_bad_certificate", "the service has shown no certificate", context);
}

/** X509-SVID section 2: exactly one URI, and that is the identity. */
function identityOf(leaf: Certificate): { readonly id?: SpiffeId; readonly claimed: string; readonly fault: string } {
	const { uris } = leaf.names;
	const [uri = ""] = uris;
	if (uris.length !== 1)
		return { claimed: uri, fault: uris.length === 0 ? "it has no SPIFFE ID" : `it has ${uris.length} URIs, and only one may be there` };
	const reading = parseSpiffeId(uri);
	return reading.ok
		? { id: reading.id, claimed: uri, fault: "" }
		: { claimed: uri, fault: `${uri} is no SPIFFE ID, ${SPIFFE_ID_FAULTS[reading.fault]}` };
}

function refusalOf(fault: PathFault, context: RefusalContext): TlsRefusal {
	const { reason, certificate, role, words } = fault;
	const whose =
		role === "leaf" ? `the certificate of ${context.peer}` : `the ${role} certificate ${nameText(certificate.subject)} above ${context.peer}`;
	return tlsRefusal(reason, `${whose} (serial ${certificate.serial}) is refused: ${words}`, context, { certificate, role });
}

/** Depth first through whatever the names allow, until one path holds. Of the failures, the one that came nearest is told. */
class Search {
	readonly #id: SpiffeId;
	readonly #roots: readonly Certificate[] | undefined;
	readonly #intermediates: readonly Certificate[];
	readonly #context: RefusalContext;
	readonly #options: VerifyOptions;
	#signaturesLeft = SIGNATURES_MAX;
	/** The first complete path that broke a rule. */
	#nearest: PathFault | undefined;
	/** A certificate whose named issuer is here, but has not signed it. */
	#forged: Certificate | undefined;
	/** Where the longest way up ended. */
	#highest: Path = [];

	constructor(id: SpiffeId, intermediates: readonly Certificate[], context: RefusalContext, options: VerifyOptions) {
		this.#id = id;
		this.#roots = options.bundle.roots.get(id.trustDomain);
		this.#intermediates = intermediates;
		this.#context = context;
		this.#options = options;
	}

	verdict(leaf: Certificate): ChainVerdict {
		if (this.#roots === undefined) return this.#wrongTrustDomain(leaf);
		const path = this.#climb([leaf]);
		if (path === undefined) return this.#refusal(leaf);
		const { expected, memo } = this.#options;
		memo.remember(path);
		if (expected !== undefined && expected.uri !== this.#id.uri) return this.#mismatch(leaf, expected);
		const validUntilMs = path.reduce((until, { notAfterMs }) => Math.min(until, notAfterMs), Number.POSITIVE_INFINITY);
		return { ok: true, id: this.#id, path, leaf, validUntilMs };
	}

	#climb(path: Path): Path | undefined {
		const child = path[path.length - 1];
		if (child === undefined || path.length >= PATH_LENGTH_MAX) return undefined;
		if (path.length > this.#highest.length) this.#highest = path;
		for (const root of this.#roots ?? []) {
			if (!this.#hasSigned(root, child)) continue;
			const complete = [...path, root];
			const fault = this.#faultOf(complete);
			if (fault === undefined) return complete;
			this.#nearest ??= fault;
		}
		for (const issuer of this.#intermediates) {
			if (path.includes(issuer) || !this.#hasSigned(issuer, child)) continue;
			const complete = this.#climb([...path, issuer]);
			if (complete !== undefined) return complete;
		}
		return undefined;
	}

	/** By name and key identifier first, which cost nothing. Names are compared byte by byte (RFC 5280 4.1.2.4 wants them written alike). */
	#hasSigned(issuer: Certificate, certificate: Certificate): boolean {
		const { subject, subjectKeyId } = issuer;
		if (!certificate.issuer.equals(subject)) return false;
		const { authorityKeyId } = certificate;
		if (authorityKeyId.length > 0 && subjectKeyId.length > 0 && !authorityKeyId.equals(subjectKeyId)) return false;
		if (this.#signaturesLeft === 0) return false;
		this.#signaturesLeft--;
		const isSigned = this.#options.memo.isSignedBy(certificate, issuer);
		if (!isSigned) this.#forged ??= certificate;
		return isSigned;
	}

	#faultOf(path: Path): PathFault | undefined {
		const { bundle, nowMs, purpose } = this.#options;
		return (
			revocationFault(path, this.#id.uri, bundle) ??
			validityFault(path, nowMs) ??
			constraintFault(path) ??
			purposeFault(path, purpose) ??
			namesFault(path)
		);
	}

	#refusal(leaf: Certificate): TlsRefusal {
		if (this.#nearest !== undefined) return refusalOf(this.#nearest, this.#context);
		const forged = this.#forged;
		if (forged !== undefined) {
			const words = `the certificate ${nameText(forged.subject)} (serial ${forged.serial}) is refused: ${nameText(forged.issuer)} has not signed it`;
			return tlsRefusal("tls_bad_certificate", words, this.#context, { certificate: forged, role: forged === leaf ? "leaf" : "intermediate" });
		}
		const top = this.#highest.at(-1) ?? leaf;
		const { trustDomain } = this.#id;
		const trusted = (this.#roots ?? []).map(({ subject }) => nameText(subject)).join(" | ");
		const words = `${this.#context.peer} comes from the authority ${nameText(top.issuer)}, which bundle version ${this.#options.bundle.version} does not have for ${trustDomain}: it has ${trusted}`;
		return tlsRefusal("tls_unknown_ca", words, this.#context, { certificate: top, role: top === leaf ? "leaf" : "intermediate" });
	}

	#wrongTrustDomain(leaf: Certificate): TlsRefusal {
		const trusted = [...this.#options.bundle.roots.keys()].join(", ");
		const words = `${this.#id.uri} belongs to the trust domain ${this.#id.trustDomain}; trusted here: ${trusted}`;
		return tlsRefusal("tls_wrong_trust_domain", words, this.#context, { certificate: leaf, role: "leaf" });
	}

	#mismatch(leaf: Certificate, expected: SpiffeId): TlsRefusal {
		const reason = expected.trustDomain === this.#id.trustDomain ? "tls_san_mismatch" : "tls_wrong_trust_domain";
		const words = `the peer is ${this.#id.uri}, not ${expected.uri}, which was meant`;
		return tlsRefusal(reason, words, this.#context, { certificate: leaf, role: "leaf" });
	}
}
