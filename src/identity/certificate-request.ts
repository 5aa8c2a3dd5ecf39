/**
 * Requests for certificates (PKCS #10, RFC 2986): made with a new key by who needs one, read by who issues. Without the library that
 * issues: it would cost every sidecar 10 MB and 60 ms at its start for these 270 bytes (docs/decisions/0050).
 */
import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { isSignatureOf, type PublicKeyFacts, readPublicKey } from "./algorithms.ts";
import { around, DerReader, instead, TAG } from "./der-reader.ts";
import { der, derBits, derOid, derText } from "./der-writer.ts";
import { type GeneralNames, noExtensions, readExtensions } from "./extensions.ts";
import type { SpiffeId } from "./spiffe-id.ts";

/** Ours have 250 bytes; with an RSA key of 4096 bits it is 1,500. */
export const REQUEST_BYTES_MAX = 8 * 1024;
const ATTRIBUTES_MAX = 8;

const ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2";
const EXTENSION_REQUEST = "1.2.840.113549.1.9.14";
const SUBJECT_ALT_NAME = "2.5.29.17";
const COMMON_NAME = "2.5.4.3";
/** RFC 5280, upper bounds. */
const COMMON_NAME_LENGTH_MAX = 64;

export interface KeyAndRequest {
	/** P-256. Shows nothing of itself when it is printed; `privateKeyPem` gives it to `node:tls`. */
	readonly key: KeyObject;
	/** DER. */
	readonly request: Buffer;
}

/** A new key, and the request for a certificate over it. About 100 us. */
export function createRequest({ service, uri }: SpiffeId): KeyAndRequest {
	const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
	return { key: privateKey, request: requestFor(privateKey, service, uri) };
}

/** PKCS #8. The only way out for a key: hand it to TLS, or to a file of mode 0600, and keep no copy. */
export function privateKeyPem(key: KeyObject): string {
	return key.export({ type: "pkcs8", format: "pem" }).toString();
}

export interface CertificateRequest {
	readonly key: PublicKeyFacts;
	/** What the sender would like to be called; the issuer decides. */
	readonly names: GeneralNames;
}

export type RequestReading =
	| { readonly ok: true; readonly request: CertificateRequest }
	| { readonly ok: false; readonly fault: { readonly kind: "malformed" | "unsupported" | "not_signed_by_its_key"; readonly words: string } };

/** From anybody: bounded, and taken only with the proof that the sender has the key. */
export function readRequest(bytes: Uint8Array): RequestReading {
	if (bytes.length > REQUEST_BYTES_MAX) return refuse("malformed", `the request has more than ${REQUEST_BYTES_MAX} bytes`);
	const outer = DerReader.of(bytes);
	const request = outer.enter(TAG.sequence, "the request");
	outer.finish("the request");
	const signedBytes = request.element("the signed part");
	const signatureAlgorithm = request.enter(TAG.sequence, "the signature algorithm").oid("the signature algorithm");
	const signature = request.wholeBytes("the signature");
	request.finish("the signature");
	const signedPart = DerReader.of(signedBytes);
	const info = signedPart.enter(TAG.sequence, "the signed part");
	const version = info.smallInteger("the version");
	const subject = info.element("the subject");
	const spki = info.element("the public key");
	const names = readRequestedNames(info.enter(around(0), "the list of attributes"));
	info.finish("the signed part");
	if (subject[0] !== TAG.sequence || version !== 0) info.fail("version or subject is not that of a request");
	const fault = outer.fault || signedPart.fault;
	if (fault !== "") return refuse("malformed", fault);
	const key = readPublicKey(spki);
	if (typeof key === "string") return refuse("unsupported", key);
	if (!isSignatureOf({ signedBytes, signatureAlgorithm, signature }, key)) {
		return refuse("not_signed_by_its_key", "the request is not signed with the key that it asks a certificate for");
	}
	return { ok: true, request: { key, names } };
}

function readRequestedNames(attributes: DerReader): GeneralNames {
	let { names } = noExtensions();
	for (let count = 0; attributes.more; count++) {
		if (count === ATTRIBUTES_MAX) attributes.fail(`there are more than ${ATTRIBUTES_MAX} attributes`);
		const attribute = attributes.enter(TAG.sequence, "an attribute");
		const oid = attribute.oid("the type of an attribute");
		const values = attribute.enter(TAG.set, "the values of an attribute");
		if (oid === EXTENSION_REQUEST) names = readExtensions(values.enter(TAG.sequence, "the extensions")).names;
	}
	return names;
}

function requestFor(key: KeyObject, service: string, uri: string): Buffer {
	const spki = createPublicKey(key).export({ type: "spki", format: "der" });
	const commonName =
		service.length > COMMON_NAME_LENGTH_MAX ? [] : [der(TAG.set, der(TAG.sequence, derOid(COMMON_NAME), derText(TAG.utf8String, service)))];
	const names = der(TAG.sequence, derText(instead(6), uri));
	const extensions = der(TAG.sequence, der(TAG.sequence, derOid(SUBJECT_ALT_NAME), der(TAG.octetString, names)));
	const attribute = der(TAG.sequence, derOid(EXTENSION_REQUEST), der(TAG.set, extensions));
	const info = der(TAG.sequence, der(TAG.integer, Buffer.of(0)), der(TAG.sequence, ...commonName), spki, der(around(0), attribute));
	return der(TAG.sequence, info, der(TAG.sequence, derOid(ECDSA_WITH_SHA256)), derBits(sign("sha256", info, key)));
}

function refuse(kind: "malformed" | "unsupported" | "not_signed_by_its_key", words: string): RequestReading {
	return { ok: false, fault: { kind, words } };
}
