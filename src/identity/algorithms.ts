/** The keys and signatures that an identity may rest on, and the check of one. Everything weaker is refused when it is read. */
import { createPublicKey, verify } from "node:crypto";
import { codeOf } from "../core/errors.ts";
import { DerReader, TAG } from "./der-reader.ts";

/** NIST SP 800-131A: 112 bits of strength. */
const RSA_BITS_MIN = 2048;
// A larger one would buy an attacker milliseconds of our time for each signature.
const RSA_BITS_MAX = 8192;

const RSA = "1.2.840.113549.1.1.1";
const EC = "1.2.840.10045.2.1";
const ED25519 = "1.3.101.112";

/** Named curves of RFC 5480; keys that spell out a curve of their own are not read. */
const CURVES: ReadonlyMap<string, string> = new Map([
	["1.2.840.10045.3.1.7", "P-256"],
	["1.3.132.0.34", "P-384"],
	["1.3.132.0.35", "P-521"],
]);

export type KeyFamily = "ec" | "rsa" | "ed25519";

export interface PublicKeyFacts {
	readonly family: KeyFamily;
	/** For people: `P-256`, `RSA-2048`, `Ed25519`. */
	readonly name: string;
	/** SubjectPublicKeyInfo, DER. */
	readonly spki: Buffer;
}

interface SignatureAlgorithm {
	readonly family: KeyFamily;
	/** Ed25519 does its own hashing. */
	readonly digest: "sha256" | "sha384" | "sha512" | null;
}

/** By object identifier. SHA-1 and MD5 are left out: signatures made with them can be forged. */
const SIGNATURES: ReadonlyMap<string, SignatureAlgorithm> = new Map([
	["1.2.840.10045.4.3.2", { family: "ec", digest: "sha256" }],
	["1.2.840.10045.4.3.3", { family: "ec", digest: "sha384" }],
	["1.2.840.10045.4.3.4", { family: "ec", digest: "sha512" }],
	["1.2.840.113549.1.1.11", { family: "rsa", digest: "sha256" }],
	["1.2.840.113549.1.1.12", { family: "rsa", digest: "sha384" }],
	["1.2.840.113549.1.1.13", { family: "rsa", digest: "sha512" }],
	[ED25519, { family: "ed25519", digest: null }],
]);

/** Bytes that somebody has signed, and how. */
export interface Signed {
	readonly signedBytes: Buffer;
	/** Object identifier. */
	readonly signatureAlgorithm: string;
	readonly signature: Buffer;
}

export function isKnownSignature(oid: string): boolean {
	return SIGNATURES.has(oid);
}

/** A SubjectPublicKeyInfo; a string says in one sentence why it is not taken. */
export function readPublicKey(spki: Buffer): PublicKeyFacts | string {
	const outer = DerReader.of(spki);
	const info = outer.enter(TAG.sequence, "the public key");
	const algorithm = info.enter(TAG.sequence, "the algorithm of the public key");
	const oid = algorithm.oid("the algorithm of the public key");
	const curve = oid === EC && algorithm.tag === TAG.oid ? algorithm.oid("the curve of the public key") : "";
	const key = info.wholeBytes("the bits of the public key");
	info.finish("the public key");
	if (outer.fault !== "") return outer.fault;
	if (oid === EC) {
		const name = CURVES.get(curve);
		return name === undefined ? "the public key is on a curve other than P-256, P-384 and P-521" : { family: "ec", name, spki };
	}
	if (oid === ED25519) return { family: "ed25519", name: "Ed25519", spki };
	if (oid === RSA) return rsaKey(key, spki);
	return `the public key is of a kind that is not supported (${oid})`;
}

function rsaKey(key: Buffer, spki: Buffer): PublicKeyFacts | string {
	const reader = DerReader.of(key);
	const numbers = reader.enter(TAG.sequence, "the RSA key");
	const modulus = numbers.integer("the modulus of the RSA key");
	// At most 31 bits, as in Go: with an exponent as long as its modulus each signature costs milliseconds, and a stranger may show sixteen.
	const exponent = numbers.smallInteger("the exponent of the RSA key");
	if (exponent < 3 || exponent % 2 === 0) numbers.fail("the exponent of the RSA key is even, or below 3");
	if (reader.fault !== "") return reader.fault;
	const lead = modulus[0] === 0 ? 1 : 0;
	const bits = (modulus.length - lead) * 8 - Math.clz32(modulus[lead] ?? 0) + 24;
	if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX) return `the RSA key has ${bits} bits, not ${RSA_BITS_MIN} to ${RSA_BITS_MAX}`;
	return { family: "rsa", name: `RSA-${bits}`, spki };
}

/** One public-key operation: 70-100 us for P-256. A key that the system's library does not take has signed nothing. */
export function isSignatureOf(signed: Signed, key: PublicKeyFacts): boolean {
	const algorithm = SIGNATURES.get(signed.signatureAlgorithm);
	if (algorithm === undefined || algorithm.family !== key.family) return false;
	try {
		const publicKey = createPublicKey({ key: key.spki, format: "der", type: "spki" });
		return verify(algorithm.digest, signed.signedBytes, publicKey, signed.signature);
	} catch (thrown) {
		// OpenSSL throws for points that are not on their curve, with a code of its own.
		if (codeOf(thrown) === undefined) throw thrown;
		return false;
	}
}
