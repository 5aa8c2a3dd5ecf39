/**
 * Whom this mesh trusts: the root authorities of each trust domain, several at once while one follows another, and what is revoked.
 * Immutable; a change is a new bundle with a higher version.
 */
import { FrozenMap } from "../policy/frozen-map.ts";
import { defaulted, list, numeric, object, readAs, record, string } from "../policy/shape.ts";
import { type Certificate, readCertificate } from "./certificate.ts";
import { nameText } from "./distinguished-name.ts";
import { KEY_USAGE } from "./extensions.ts";
import { pemOf, readPem } from "./pem.ts";
import { parseSpiffeId, SPIFFE_ID_FAULTS, trustDomainFault } from "./spiffe-id.ts";

/** Old, present, next, and as many again of a second authority; each may cost a signature in a handshake. */
const ROOTS_PER_DOMAIN_MAX = 8;
/** Ours and those that we federate with. */
const TRUST_DOMAINS_MAX = 64;
/** Lifetimes of a day keep the list short. One that grows to this wants a new authority instead. */
const DENIED_MAX = 10_000;

/** A bundle as it is stored and sent: JSON. */
export interface TrustBundleDocument {
	readonly version: number;
	/** By trust domain: its root authorities, PEM. */
	readonly trustDomains: Readonly<Record<string, string>>;
	/** Hexadecimal serial numbers of certificates, whoever has issued them. */
	readonly deniedSerials?: readonly string[];
	/** SPIFFE IDs. */
	readonly deniedIdentities?: readonly string[];
}

export interface TrustBundle {
	readonly version: number;
	readonly roots: ReadonlyMap<string, readonly Certificate[]>;
	/** Lower-case hexadecimal without leading zeros. */
	readonly deniedSerials: readonly string[];
	readonly deniedIdentities: readonly string[];
	isDeniedSerial(serial: string): boolean;
	isDeniedIdentity(uri: string): boolean;
}

/** What a certificate takes in PEM is 2 KB; of text that is longer than all that may be in it nobody should keep a copy. */
const PEM_CHARS_MAX = 1024 * 1024;
const ENTRY_CHARS_MAX = 4096;

const DOCUMENT = object({
	version: numeric({ min: 0, max: Number.MAX_SAFE_INTEGER, whole: true, digits: /^$/ }),
	trustDomains: record(string(PEM_CHARS_MAX)),
	deniedSerials: defaulted(list(string(ENTRY_CHARS_MAX), { max: DENIED_MAX + 1 }), () => []),
	deniedIdentities: defaulted(list(string(ENTRY_CHARS_MAX), { max: DENIED_MAX + 1 }), () => []),
});

/** `faults`: all of them, one sentence each with the place in the document in front. */
export type TrustBundleReading = { readonly ok: true; readonly bundle: TrustBundle } | { readonly ok: false; readonly faults: readonly string[] };

/** A TrustBundleDocument, from whoever says that it is one. Checks all before it refuses. A bundle that trusts nobody is no bundle. */
export function readTrustBundle(document: unknown): TrustBundleReading {
	const shape = readAs(DOCUMENT, document);
	if (!shape.ok)
		return { ok: false, faults: shape.issues.map(({ path, code }) => `${path.join(".") || "bundle"}: has not the form of a bundle (${code})`) };
	const faults: string[] = [];
	const { version, trustDomains, deniedSerials, deniedIdentities } = shape.value;
	const domains = Object.entries(trustDomains);
	if (domains.length === 0) faults.push("trustDomains: names no trust domain");
	if (domains.length > TRUST_DOMAINS_MAX) faults.push(`trustDomains: are more than ${TRUST_DOMAINS_MAX}`);
	const roots = new FrozenMap(domains.slice(0, TRUST_DOMAINS_MAX).map(([domain, pem]) => [domain, readRoots(domain, pem, faults)] as const));
	const serials = deniedSet("deniedSerials", deniedSerials, normalSerial, "is not a serial number in hexadecimal", faults);
	const identities = deniedSet("deniedIdentities", deniedIdentities, normalIdentity, "is not a SPIFFE ID", faults);
	if (faults.length > 0) return { ok: false, faults };
	return {
		ok: true,
		bundle: Object.freeze({
			version,
			roots,
			deniedSerials: Object.freeze([...serials]),
			deniedIdentities: Object.freeze([...identities]),
			isDeniedSerial: (serial: string) => serials.has(trimmed(serial)),
			isDeniedIdentity: (uri: string) => identities.has(uri),
		}),
	};
}

/** What `readTrustBundle` reads, in one spelling. */
export function trustBundleDocument({ version, roots, deniedSerials, deniedIdentities }: TrustBundle): TrustBundleDocument {
	const trustDomains = Object.fromEntries([...roots].map(([domain, certificates]) => [domain, rootsPem(certificates)]));
	return { version, trustDomains, deniedSerials, deniedIdentities };
}

/** For files and for `ca` of `node:tls`; the subject stands above each block. */
export function rootsPem(roots: readonly Certificate[]): string {
	return roots.map(({ subject, der }) => `# ${nameText(subject)}\n${pemOf(der, "CERTIFICATE")}`).join("");
}

function readRoots(domain: string, pem: string, faults: string[]): readonly Certificate[] {
	const place = `trustDomains.${domain.slice(0, 64)}`;
	const nameFault = trustDomainFault(domain);
	if (nameFault !== undefined) faults.push(`${place}: is no trust domain, ${SPIFFE_ID_FAULTS[nameFault]}`);
	const reading = readPem(pem, "CERTIFICATE", ROOTS_PER_DOMAIN_MAX);
	if (!reading.ok) {
		faults.push(`${place}: ${reading.fault}`);
		return [];
	}
	const roots = new Map<string, Certificate>();
	reading.blocks.forEach((block, i) => {
		const root = readCertificate(block);
		const fault = root.ok ? anchorFault(root.certificate) : root.fault.words;
		if (fault !== undefined) faults.push(`${place}: certificate ${i + 1} is no root authority, ${fault}`);
		if (root.ok) roots.set(root.certificate.fingerprint, root.certificate);
	});
	return Object.freeze([...roots.values()]);
}

function anchorFault({ ca, keyUsage }: Certificate): string | undefined {
	if (!ca) return "it lacks the authority flag (basicConstraints CA)";
	return keyUsage !== undefined && (keyUsage & KEY_USAGE.keyCertSign) === 0 ? "its key may not sign certificates (keyUsage)" : undefined;
}

function deniedSet(
	place: string,
	entries: readonly string[],
	normal: (entry: string) => string | undefined,
	refusal: string,
	faults: string[],
): ReadonlySet<string> {
	if (entries.length > DENIED_MAX) faults.push(`${place}: are more than ${DENIED_MAX}`);
	const set = new Set<string>();
	entries.slice(0, DENIED_MAX).forEach((entry, i) => {
		const value = normal(entry);
		if (value === undefined) faults.push(`${place}[${i}]: ${refusal}`);
		else set.add(value);
	});
	return set;
}

/** As people copy it from tools: with colons, capitals and leading zeros. */
function normalSerial(text: string): string | undefined {
	const digits = text.replaceAll(":", "").toLowerCase();
	return /^[0-9a-f]{1,42}$/.test(digits) ? trimmed(digits) : undefined;
}

function normalIdentity(text: string): string | undefined {
	const reading = parseSpiffeId(text);
	return reading.ok ? reading.id.uri : undefined;
}

function trimmed(serial: string): string {
	return serial.replace(/^0+(?=.)/, "");
}
