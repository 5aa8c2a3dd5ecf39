/** The facts of an X.509 certificate (RFC 5280) that decisions need, read from DER. Trusts nothing: whether they are true is for verify-chain. */
import { hash } from "node:crypto";
import { isKnownSignature, type PublicKeyFacts, readPublicKey, type Signed } from "./algorithms.ts";
import { around, DerReader, instead, TAG } from "./der-reader.ts";
import { type Extensions, noExtensions, readExtensions } from "./extensions.ts";

/** Ours have 500 bytes, those of an RSA 4096 authority 2,500. */
export const CERTIFICATE_BYTES_MAX = 16 * 1024;
/** RFC 5280 section 4.1.2.2. */
const SERIAL_BYTES_MAX = 20;
const VERSION_3 = 2;

export interface Certificate extends Signed, Extensions {
	readonly der: Buffer;
	/** SHA-256 of `der`, lower-case hexadecimal. */
	readonly fingerprint: string;
	/** Lower-case hexadecimal, whole bytes, as `openssl x509 -serial` but for the case. */
	readonly serial: string;
	/** DER names; `nameText` makes them readable. */
	readonly issuer: Buffer;
	readonly subject: Buffer;
	/** Wall time, both included. */
	readonly notBeforeMs: number;
	readonly notAfterMs: number;
	readonly key: PublicKeyFacts;
}

export interface CertificateFault {
	/** `unsupported`: well-formed, but rests on something that this program does not take. */
	readonly kind: "too_large" | "malformed" | "unsupported";
	/** One sentence without its full stop. */
	readonly words: string;
}

export type CertificateReading = { readonly ok: true; readonly certificate: Certificate } | { readonly ok: false; readonly fault: CertificateFault };

/** One certificate and nothing behind it. Keeps a copy, as what a socket hands out may be a view of a larger buffer. About 10 us. */
export function readCertificate(bytes: Uint8Array): CertificateReading {
	if (bytes.length > CERTIFICATE_BYTES_MAX) return refuse("too_large", `the certificate has more than ${CERTIFICATE_BYTES_MAX} bytes`);
	const der = Buffer.from(bytes);
	const outer = DerReader.of(der);
	const certificate = outer.enter(TAG.sequence, "the certificate");
	outer.finish("the certificate");
	const signedBytes = certificate.element("the signed part");
	const outerAlgorithm = certificate.element("the signature algorithm");
	const signature = certificate.wholeBytes("the signature");
	certificate.finish("the signature");
	if (outer.fault !== "") return refuse("malformed", outer.fault);

	const signedPart = DerReader.of(signedBytes);
	const tbs = signedPart.enter(TAG.sequence, "the signed part");
	const version = tbs.enterIf(around(0))?.smallInteger("the version") ?? 0;
	const serial = readSerial(tbs);
	const innerAlgorithm = tbs.element("the signature algorithm");
	const issuer = tbs.element("the issuer");
	const validity = tbs.enter(TAG.sequence, "the validity");
	const notBeforeMs = validity.time("notBefore");
	const notAfterMs = validity.time("notAfter");
	validity.finish("the validity");
	const subject = tbs.element("the subject");
	const spki = tbs.element("the public key");
	// Unique identifiers of version 2: nobody writes them, and nothing rests on them.
	tbs.enterIf(instead(1));
	tbs.enterIf(instead(2));
	const list = tbs.enterIf(around(3));
	const extensions = list === undefined ? noExtensions() : readExtensions(list.enter(TAG.sequence, "the extensions"));
	list?.finish("the extensions");
	tbs.finish("the signed part");
	if (list !== undefined && version !== VERSION_3) tbs.fail("a certificate with extensions is not of version 3");
	if (issuer[0] !== TAG.sequence || issuer.length <= 2) tbs.fail("the issuer has no name");
	if (subject[0] !== TAG.sequence) tbs.fail("the subject is no name");
	// RFC 5280 4.1.1.2: what is signed says how it is signed, or the unsigned half could be exchanged.
	if (!innerAlgorithm.equals(outerAlgorithm)) tbs.fail("the signed part names another signature algorithm than the signature");
	if (tbs.fault !== "") return refuse("malformed", tbs.fault);

	const signatureAlgorithm = DerReader.of(outerAlgorithm).enter(TAG.sequence, "").oid("");
	if (!isKnownSignature(signatureAlgorithm)) {
		return refuse("unsupported", `it is signed with an algorithm that is unknown, or too weak (${signatureAlgorithm || "unreadable"})`);
	}
	const key = readPublicKey(spki);
	if (typeof key === "string") return refuse("unsupported", key);
	const facts = { der, fingerprint: hash("sha256", der, "hex"), serial, issuer, subject, notBeforeMs, notAfterMs, key };
	return { ok: true, certificate: Object.freeze({ ...facts, ...extensions, signedBytes, signatureAlgorithm, signature }) };
}

/** Positive, at most 20 bytes: what else is written there cannot be listed and compared in one form. */
function readSerial(tbs: DerReader): string {
	const serial = tbs.integer("the serial number");
	const [first = 0] = serial;
	if (first >= 0x80 || (first === 0 && serial.length <= 1)) tbs.fail("the serial number is not positive");
	const digits = first === 0 ? serial.subarray(1) : serial;
	if (digits.length > SERIAL_BYTES_MAX) tbs.fail(`the serial number has more than ${SERIAL_BYTES_MAX} bytes`);
	return digits.toString("hex");
}

function refuse(kind: CertificateFault["kind"], words: string): CertificateReading {
	return { ok: false, fault: { kind, words } };
}
