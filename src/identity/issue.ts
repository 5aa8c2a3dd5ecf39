/**
 * Issues certificates: root and intermediate authorities, and those of services on request. Who may have one is decided before.
 * Loads the issuing library (60 ms, 10 MB): only for processes that issue.
 */
import "reflect-metadata";
import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes } from "node:crypto";
import {
	AuthorityKeyIdentifierExtension,
	BasicConstraintsExtension,
	ExtendedKeyUsageExtension,
	type Extension,
	KeyUsageFlags,
	KeyUsagesExtension,
	PublicKey,
	SubjectAlternativeNameExtension,
	SubjectKeyIdentifierExtension,
	X509Certificate,
	X509CertificateGenerator,
} from "@peculiar/x509";
import { type Certificate, readCertificate } from "./certificate.ts";
import { readRequest } from "./certificate-request.ts";
import { nameText } from "./distinguished-name.ts";
import { PURPOSE_OIDS } from "./extensions.ts";
import type { Authority } from "./keyed-chain.ts";
import { CLOCK_SKEW_MS } from "./path-rules.ts";
import type { SpiffeId } from "./spiffe-id.ts";

/** The shorter, the less a stolen key is worth; the deny list is made for a day's worth of them. */
const LEAF_LIFETIME_MAX_MS = 24 * 3_600_000;
const AUTHORITY_LIFETIME_MAX_MS = 25 * 365 * 24 * 3_600_000;
const LIFETIME_MIN_MS = 1_000;
/** 126 random bits behind a first byte that keeps the number positive and its length the same; RFC 5280 asks for 64 and allows 20 bytes. */
const SERIAL_BYTES = 16;
const DNS_NAMES_MAX = 16;
/** RFC 5280, upper bounds. */
const COMMON_NAME_LENGTH_MAX = 64;

const SIGNING = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const AUTHORITY_USAGE = KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign;

export interface AuthorityOptions {
	readonly trustDomain: string;
	/** Milliseconds, 1 s to 25 years. Where the issuer ends sooner, so does the new one. */
	readonly lifetimeMs: number;
	/** Wall time. */
	readonly nowMs: number;
}

/** One below itself: an intermediate, which issues while the root's key is kept away. */
export async function createRootAuthority(options: AuthorityOptions): Promise<Authority> {
	const key = newKey();
	const certificate = await createAuthority(key, options, "root", 1, undefined);
	return { certificate, chain: [], key };
}

/** None below itself but services. */
export async function createIntermediateAuthority(root: Authority, options: AuthorityOptions): Promise<Authority> {
	const key = newKey();
	const certificate = await createAuthority(key, options, "intermediate", 0, root);
	return { certificate, chain: [certificate, ...root.chain], key };
}

export interface IssueOptions {
	/** DER, as it came. */
	readonly request: Uint8Array;
	/** Who the sender has proven to be. */
	readonly id: SpiffeId;
	/** By which others call it. */
	readonly dnsNames: readonly string[];
	/** IP addresses by which those outside of the mesh call it. Default: none, as services are known by their identity. */
	readonly addresses?: readonly string[];
	/** Milliseconds, 1 s to 24 h. Where the authority ends sooner, so does the certificate. */
	readonly lifetimeMs: number;
	/** Wall time. */
	readonly nowMs: number;
}

export type IssueFault = "request_refused" | "identity_mismatch" | "lifetime" | "dns_name" | "authority_over";

export type Issued =
	/** Leaf first, then the intermediates: what the service shows in a handshake. */
	{ readonly ok: true; readonly chain: readonly Certificate[] } | { readonly ok: false; readonly fault: IssueFault; readonly words: string };

/** Names and purposes come from us, of the request only its key. About 3 ms, most of it the library's encoding. */
export async function issueCertificate(authority: Authority, options: IssueOptions): Promise<Issued> {
	const { id, dnsNames, addresses = [], lifetimeMs, nowMs } = options;
	if (!isWithin(lifetimeMs, LEAF_LIFETIME_MAX_MS)) return refuse("lifetime", `a lifetime of ${lifetimeMs} ms is not between 1 s and 24 h`);
	if (authority.certificate.notAfterMs < nowMs + LIFETIME_MIN_MS) {
		return refuse(
			"authority_over",
			`the authority ${nameText(authority.certificate.subject)} ended at ${new Date(authority.certificate.notAfterMs).toISOString()}`,
		);
	}
	const odd = dnsNames.find((name) => !/^[a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?$/.test(name));
	if (odd !== undefined || dnsNames.length > DNS_NAMES_MAX)
		return refuse("dns_name", `${JSON.stringify(odd ?? dnsNames.length)} is no DNS name, or one too many`);
	const reading = readRequest(options.request);
	if (!reading.ok) return refuse("request_refused", reading.fault.words);
	const { key, names } = reading.request;
	const other = names.uris.find((uri) => uri !== id.uri);
	if (other !== undefined) return refuse("identity_mismatch", `the request is for ${other}, its sender is ${id.uri}`);
	const extensions = [
		new BasicConstraintsExtension(false, undefined, true),
		new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
		new ExtendedKeyUsageExtension([PURPOSE_OIDS.server, PURPOSE_OIDS.client]),
		new SubjectAlternativeNameExtension([
			{ type: "url", value: id.uri },
			...dnsNames.map((value) => ({ type: "dns", value }) as const),
			...addresses.map((value) => ({ type: "ip", value }) as const),
		]),
	];
	const commonName = id.service.length > COMMON_NAME_LENGTH_MAX ? undefined : id.service;
	const leaf = await sign(authority, authority.key, { publicKey: new PublicKey(key.spki), commonName, extensions, lifetimeMs, nowMs });
	return { ok: true, chain: [leaf, ...authority.chain] };
}

async function createAuthority(
	key: KeyObject,
	{ trustDomain, lifetimeMs, nowMs }: AuthorityOptions,
	role: string,
	pathLength: number,
	issuer: Authority | undefined,
): Promise<Certificate> {
	if (!isWithin(lifetimeMs, AUTHORITY_LIFETIME_MAX_MS)) throw new RangeError(`an authority does not last ${lifetimeMs} ms`);
	const publicKey = new PublicKey(createPublicKey(key).export({ type: "spki", format: "der" }));
	const extensions = [
		new BasicConstraintsExtension(true, pathLength, true),
		new KeyUsagesExtension(AUTHORITY_USAGE, true),
		// X509-SVID 3.2: an authority is an SVID itself, of the domain alone.
		new SubjectAlternativeNameExtension([{ type: "url", value: `spiffe://${trustDomain}` }]),
	];
	// One that follows another has a name of its own, so that people and path builders can tell them apart.
	const commonName = `${trustDomain.slice(0, 40)} ${role} ${randomBytes(4).toString("hex")}`;
	return sign(issuer, issuer?.key ?? key, { publicKey, commonName, extensions, lifetimeMs, nowMs });
}

interface Unsigned {
	readonly publicKey: PublicKey;
	readonly commonName: string | undefined;
	readonly extensions: readonly Extension[];
	readonly lifetimeMs: number;
	readonly nowMs: number;
}

/** `issuer` undefined: it signs itself. */
async function sign(issuer: Authority | undefined, signingKey: KeyObject, unsigned: Unsigned): Promise<Certificate> {
	const { publicKey, commonName, extensions, lifetimeMs, nowMs } = unsigned;
	const subject = commonName === undefined ? [] : [{ CN: [commonName] }];
	const issuerPublicKey = issuer === undefined ? publicKey : new PublicKey(issuer.certificate.key.spki);
	// The clocks of those who will check it may be behind ours.
	const notBeforeMs = Math.max(nowMs - CLOCK_SKEW_MS, issuer?.certificate.notBeforeMs ?? 0);
	// Certificates are dated in whole seconds: one of a second must not end at once.
	const notAfterMs = Math.min(Math.ceil((nowMs + lifetimeMs) / 1000) * 1000, issuer?.certificate.notAfterMs ?? Number.POSITIVE_INFINITY);
	const made = await X509CertificateGenerator.create({
		serialNumber: newSerial(),
		subject,
		issuer: issuer === undefined ? subject : new X509Certificate(issuer.certificate.der).subjectName,
		notBefore: new Date(notBeforeMs),
		notAfter: new Date(notAfterMs),
		publicKey,
		signingKey: signingKey.toCryptoKey(SIGNING, false, ["sign"]),
		signingAlgorithm: SIGNING,
		extensions: [...extensions, await SubjectKeyIdentifierExtension.create(publicKey), await AuthorityKeyIdentifierExtension.create(issuerPublicKey)],
	});
	const reading = readCertificate(new Uint8Array(made.rawData));
	if (!reading.ok) throw new Error(`a certificate that was just issued is refused: ${reading.fault.words}`);
	return reading.certificate;
}

function newKey(): KeyObject {
	return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
}

function newSerial(): string {
	const serial = randomBytes(SERIAL_BYTES);
	serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
	return serial.toString("hex");
}

function isWithin(lifetimeMs: number, maxMs: number): boolean {
	return lifetimeMs >= LIFETIME_MIN_MS && lifetimeMs <= maxMs;
}

function refuse(fault: IssueFault, words: string): Issued {
	return { ok: false, fault, words };
}
