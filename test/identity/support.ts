/** Certificates of every kind, right and wrong, made for tests with keys of their own. */
import "reflect-metadata";
import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes } from "node:crypto";
import {
	AuthorityKeyIdentifierExtension,
	BasicConstraintsExtension,
	ExtendedKeyUsageExtension,
	Extension,
	KeyUsageFlags,
	KeyUsagesExtension,
	PublicKey,
	SubjectAlternativeNameExtension,
	SubjectKeyIdentifierExtension,
	X509CertificateGenerator,
} from "@peculiar/x509";
import { type Certificate, readCertificate } from "../../src/identity/certificate.ts";
import { ChainMemo } from "../../src/identity/chain-memo.ts";
import { around, TAG } from "../../src/identity/der-reader.ts";
import { der } from "../../src/identity/der-writer.ts";
import { pemOf } from "../../src/identity/pem.ts";
import { type SpiffeId, spiffeIdOf } from "../../src/identity/spiffe-id.ts";
import { readTrustBundle, type TrustBundle } from "../../src/identity/trust-bundle.ts";
import type { VerifyOptions } from "../../src/identity/verify-chain.ts";

// From here, so that the polyfill which the library wants is loaded before it.
export { Extension, KeyUsageFlags };

export const TRUST_DOMAIN = "mesh.local";
export const NOW_MS = Date.UTC(2026, 5, 15, 12);
export const SECOND = 1_000;
export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;

export const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
export const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
export const CODE_SIGNING = "1.3.6.1.5.5.7.3.3";

export type KeyKind = "P-256" | "P-384" | "RSA-2048" | "RSA-1024" | "Ed25519";

export interface Made {
	readonly der: Buffer;
	readonly name: string;
	readonly key: KeyObject;
	readonly kind: KeyKind;
}

export interface Spec {
	readonly name?: string;
	/** Undefined: signs itself. */
	readonly issuer?: Made;
	/** In the issuer's field, where it is not the issuer's name. */
	readonly issuerName?: string;
	/** Where it is not the issuer who signs. */
	readonly signer?: Made;
	readonly kind?: KeyKind;
	readonly key?: KeyObject;
	readonly hash?: "SHA-1" | "SHA-256" | "SHA-384";
	readonly fromMs?: number;
	readonly untilMs?: number;
	/** false: says that it is none; undefined: says nothing. */
	readonly ca?: boolean | undefined;
	readonly pathLength?: number;
	readonly keyUsage?: number | undefined;
	readonly purposes?: readonly string[] | undefined;
	readonly uris?: readonly string[];
	readonly dns?: readonly string[];
	readonly ips?: readonly string[];
	readonly keyIds?: boolean;
	readonly extra?: readonly Extension[];
	readonly serial?: string;
}

export async function make(spec: Spec): Promise<Made> {
	const kind = spec.kind ?? "P-256";
	const key = spec.key ?? newKey(kind);
	const name = spec.name ?? `CN=${randomBytes(4).toString("hex")}`;
	const self: Made = { der: Buffer.alloc(0), name, key, kind };
	const issuer = spec.issuer ?? self;
	const signer = spec.signer ?? issuer;
	const publicKey = publicKeyOf(key);
	const names = [
		...(spec.uris ?? []).map((value) => ({ type: "url", value }) as const),
		...(spec.dns ?? []).map((value) => ({ type: "dns", value }) as const),
	];
	const all = [...names, ...(spec.ips ?? []).map((value) => ({ type: "ip", value }) as const)];
	const extensions: Extension[] = [...(spec.extra ?? [])];
	if (spec.ca !== undefined) extensions.push(new BasicConstraintsExtension(spec.ca, spec.pathLength, true));
	if (spec.keyUsage !== undefined) extensions.push(new KeyUsagesExtension(spec.keyUsage, true));
	if (spec.purposes !== undefined) extensions.push(new ExtendedKeyUsageExtension([...spec.purposes]));
	if (all.length > 0) extensions.push(new SubjectAlternativeNameExtension(all));
	if (spec.keyIds !== false) {
		extensions.push(await SubjectKeyIdentifierExtension.create(publicKey), await AuthorityKeyIdentifierExtension.create(publicKeyOf(issuer.key)));
	}
	const algorithm = webAlgorithm(signer.kind, spec.hash);
	const made = await X509CertificateGenerator.create({
		serialNumber: spec.serial ?? `4${randomBytes(8).toString("hex").slice(1)}`,
		subject: name,
		issuer: spec.issuerName ?? issuer.name,
		notBefore: new Date(spec.fromMs ?? NOW_MS - HOUR),
		notAfter: new Date(spec.untilMs ?? NOW_MS + DAY),
		publicKey,
		signingKey: signer.key.toCryptoKey(algorithm, false, ["sign"]),
		signingAlgorithm: algorithm,
		extensions,
	});
	return { ...self, der: Buffer.from(made.rawData) };
}

export const root = (spec: Spec = {}): Promise<Made> =>
	make({ ca: true, keyUsage: KeyUsageFlags.keyCertSign, untilMs: NOW_MS + 3650 * DAY, ...spec });

export const intermediate = (issuer: Made, spec: Spec = {}): Promise<Made> =>
	make({ issuer, ca: true, keyUsage: KeyUsageFlags.keyCertSign, untilMs: NOW_MS + 365 * DAY, ...spec });

export const leaf = (issuer: Made, spec: Spec = {}): Promise<Made> =>
	make({
		issuer,
		ca: false,
		keyUsage: KeyUsageFlags.digitalSignature,
		purposes: [SERVER_AUTH, CLIENT_AUTH],
		uris: [`spiffe://${TRUST_DOMAIN}/payments`],
		dns: ["payments"],
		...spec,
	});

/** `[tag, content]` of GeneralNames as subtrees of name constraints. */
export function nameConstraints(permitted: readonly Uint8Array[], excluded: readonly Uint8Array[], critical = true): Extension {
	const list = (n: number, names: readonly Uint8Array[]) =>
		names.length === 0 ? [] : [der(around(n), ...names.map((name) => der(TAG.sequence, name)))];
	return new Extension("2.5.29.30", critical, new Uint8Array(der(TAG.sequence, ...list(0, permitted), ...list(1, excluded))));
}

export function newKey(kind: KeyKind = "P-256"): KeyObject {
	if (kind === "Ed25519") return generateKeyPairSync("ed25519").privateKey;
	if (kind === "RSA-2048" || kind === "RSA-1024") return generateKeyPairSync("rsa", { modulusLength: Number(kind.slice(4)) }).privateKey;
	return generateKeyPairSync("ec", { namedCurve: kind }).privateKey;
}

export function bundleOf(roots: readonly Made[], denied: { serials?: readonly string[]; identities?: readonly string[] } = {}): TrustBundle {
	const pem = roots.map((made) => pemOf(made.der, "CERTIFICATE")).join("");
	const document = {
		version: 7,
		trustDomains: { [TRUST_DOMAIN]: pem },
		deniedSerials: denied.serials ?? [],
		deniedIdentities: denied.identities ?? [],
	};
	const reading = readTrustBundle(document);
	assert.ok(reading.ok, reading.ok ? "" : reading.faults.join("; "));
	return reading.bundle;
}

export function verifyOptions(roots: readonly Made[], changes: Partial<VerifyOptions> = {}): VerifyOptions {
	return {
		bundle: changes.bundle ?? bundleOf(roots),
		nowMs: NOW_MS,
		purpose: "server",
		self: `spiffe://${TRUST_DOMAIN}/checkout`,
		memo: new ChainMemo(),
		...changes,
	};
}

export function idOf(service: string, trustDomain = TRUST_DOMAIN): SpiffeId {
	const reading = spiffeIdOf(trustDomain, service);
	assert.ok(reading.ok);
	return reading.id;
}

export function certificateOf(bytes: Uint8Array): Certificate {
	const reading = readCertificate(bytes);
	assert.ok(reading.ok, reading.ok ? "" : reading.fault.words);
	return reading.certificate;
}

function publicKeyOf(key: KeyObject): PublicKey {
	return new PublicKey(createPublicKey(key).export({ type: "spki", format: "der" }));
}

function webAlgorithm(kind: KeyKind, hash = "SHA-256") {
	if (kind === "Ed25519") return { name: "Ed25519" };
	if (kind.startsWith("RSA")) return { name: "RSASSA-PKCS1-v1_5", hash };
	return { name: "ECDSA", namedCurve: kind, hash };
}
