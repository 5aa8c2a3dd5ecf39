/** The extensions of a certificate (RFC 5280 section 4.2) that a decision rests on, read; the critical ones that are not understood, named. */
import { around, type DerReader, instead, TAG } from "./der-reader.ts";

// The WebPKI's largest have fifteen; each costs a reading.
const EXTENSIONS_MAX = 32;
// A service has two. Certificates of shared hosts list a hundred, which is no identity of one service.
const NAMES_MAX = 128;
const USAGES_MAX = 32;

/** Bits of `keyUsage`. */
export const KEY_USAGE = Object.freeze({ digitalSignature: 1 << 0, keyCertSign: 1 << 5, crlSign: 1 << 6 });
const KEY_USAGE_BITS = 9;

/** Purposes of `extendedKeyUsage`. */
export const PURPOSE_OIDS = Object.freeze({ server: "1.3.6.1.5.5.7.3.1", client: "1.3.6.1.5.5.7.3.2" });

/** Names by their kinds (GeneralName); what is not an identity of ours is kept for name constraints only. */
export interface GeneralNames {
	readonly dns: readonly string[];
	readonly uris: readonly string[];
	readonly emails: readonly string[];
	/** 4 or 16 bytes; in a constraint 8 or 32, with the mask behind. */
	readonly addresses: readonly Buffer[];
	/** DER. */
	readonly directories: readonly Buffer[];
	/** Whether there are names of other kinds, which are not read. */
	readonly others: boolean;
}

/** RFC 5280 section 4.2.1.10. */
export interface NameConstraints {
	readonly permitted: GeneralNames;
	readonly excluded: GeneralNames;
}

export interface Extensions {
	readonly ca: boolean;
	/** How many further authorities may stand below; undefined: any number. */
	readonly pathLengthMax: number | undefined;
	/** Bits as in KEY_USAGE; undefined where every use is allowed. */
	readonly keyUsage: number | undefined;
	/** Object identifiers; undefined where every purpose is allowed. */
	readonly purposes: readonly string[] | undefined;
	readonly names: GeneralNames;
	readonly nameConstraints: NameConstraints | undefined;
	/** Of the certificate's own key and of its issuer's; empty where they are not told. */
	readonly subjectKeyId: Buffer;
	readonly authorityKeyId: Buffer;
	/** Object identifiers of critical extensions that this program does not process. */
	readonly unknownCritical: readonly string[];
}

const NO_BYTES = Buffer.alloc(0);
const NO_NAMES: GeneralNames = Object.freeze({ dns: [], uris: [], emails: [], addresses: [], directories: [], others: false });

type Draft = { -readonly [K in keyof Extensions]: Extensions[K] };

const READERS: ReadonlyMap<string, (value: DerReader, draft: Draft) => void> = new Map([
	["2.5.29.14", readSubjectKeyId],
	["2.5.29.15", readKeyUsage],
	["2.5.29.17", readAlternativeNames],
	["2.5.29.19", readBasicConstraints],
	["2.5.29.30", readNameConstraints],
	// Certificate policies: no policy is required here, so that every set of them is fine (RFC 5280 6.1.1 c, any-policy).
	["2.5.29.32", (value) => void value.rest()],
	["2.5.29.35", readAuthorityKeyId],
	["2.5.29.37", readPurposes],
]);

export function noExtensions(): Extensions {
	return {
		ca: false,
		pathLengthMax: undefined,
		keyUsage: undefined,
		purposes: undefined,
		names: NO_NAMES,
		nameConstraints: undefined,
		subjectKeyId: NO_BYTES,
		authorityKeyId: NO_BYTES,
		unknownCritical: [],
	};
}

/** `list` stands at the first of them; faults are left in it. */
export function readExtensions(list: DerReader): Extensions {
	const draft: Draft = noExtensions();
	const seen = new Set<string>();
	while (list.more) {
		const extension = list.enter(TAG.sequence, "an extension");
		const oid = extension.oid("the type of an extension");
		const critical = extension.tag === TAG.boolean && extension.boolean("the critical flag of an extension");
		const value = extension.enter(TAG.octetString, "the value of an extension");
		extension.finish("an extension");
		if (seen.has(oid)) list.fail(`the extension ${oid} is there twice`);
		seen.add(oid);
		if (seen.size > EXTENSIONS_MAX) list.fail(`there are more than ${EXTENSIONS_MAX} extensions`);
		const read = READERS.get(oid);
		if (read !== undefined) {
			read(value, draft);
			value.finish(`the value of extension ${oid}`);
		} else if (critical && list.fault === "") draft.unknownCritical = [...draft.unknownCritical, oid];
	}
	if (draft.pathLengthMax !== undefined && !draft.ca) list.fail("a path length is given to a certificate that is no authority's");
	return draft;
}

function readSubjectKeyId(value: DerReader, draft: Draft): void {
	draft.subjectKeyId = value.bytes(TAG.octetString, "the subject key identifier");
}

function readKeyUsage(value: DerReader, draft: Draft): void {
	draft.keyUsage = value.namedBits(KEY_USAGE_BITS, "the key usage");
}

function readAlternativeNames(value: DerReader, draft: Draft): void {
	draft.names = readNames(value.enter(TAG.sequence, "the alternative names"), false);
}

function readBasicConstraints(value: DerReader, draft: Draft): void {
	const constraints = value.enter(TAG.sequence, "the basic constraints");
	if (constraints.tag === TAG.boolean) draft.ca = constraints.boolean("the authority flag");
	if (constraints.tag === TAG.integer) draft.pathLengthMax = constraints.smallInteger("the path length");
	constraints.finish("the basic constraints");
}

function readAuthorityKeyId(value: DerReader, draft: Draft): void {
	const identifier = value.enter(TAG.sequence, "the authority key identifier");
	draft.authorityKeyId = identifier.enterIf(instead(0))?.rest() ?? NO_BYTES;
	// Name and serial of the issuer may follow; the name of the issuer is known already, and the key tells more than a serial.
	identifier.rest();
}

function readPurposes(value: DerReader, draft: Draft): void {
	const list = value.enter(TAG.sequence, "the extended key usage");
	const purposes: string[] = [];
	while (list.more) {
		purposes.push(list.oid("a purpose of the extended key usage"));
		if (purposes.length > USAGES_MAX) list.fail(`there are more than ${USAGES_MAX} purposes`);
	}
	draft.purposes = purposes;
}

function readNameConstraints(value: DerReader, draft: Draft): void {
	const constraints = value.enter(TAG.sequence, "the name constraints");
	const permitted = constraints.enterIf(around(0));
	const excluded = constraints.enterIf(around(1));
	constraints.finish("the name constraints");
	draft.nameConstraints = {
		permitted: permitted === undefined ? NO_NAMES : readNames(permitted, true),
		excluded: excluded === undefined ? NO_NAMES : readNames(excluded, true),
	};
}

/** GeneralNames, or GeneralSubtrees with one name in each. */
function readNames(list: DerReader, asSubtrees: boolean): GeneralNames {
	const names = {
		dns: [] as string[],
		uris: [] as string[],
		emails: [] as string[],
		addresses: [] as Buffer[],
		directories: [] as Buffer[],
		others: false,
	};
	let count = 0;
	while (list.more) {
		const subtree = asSubtrees ? list.enter(TAG.sequence, "a subtree of names") : list;
		readName(subtree, names, asSubtrees);
		// RFC 5280 4.2.1.10: minimum is 0 and not written, maximum is absent.
		if (asSubtrees) subtree.finish("a subtree of names");
		if (++count > NAMES_MAX) list.fail(`there are more than ${NAMES_MAX} names`);
	}
	return names;
}

type NamesDraft = { dns: string[]; uris: string[]; emails: string[]; addresses: Buffer[]; directories: Buffer[]; others: boolean };

function readName(list: DerReader, names: NamesDraft, isSubtree: boolean): void {
	switch (list.tag) {
		case instead(1):
			names.emails.push(visible(list, "an email address"));
			break;
		case instead(2):
			names.dns.push(visible(list, "a DNS name"));
			break;
		case around(4):
			names.directories.push(list.enter(around(4), "a directory name").element("a directory name"));
			break;
		case instead(6):
			names.uris.push(visible(list, "a URI"));
			break;
		case instead(7): {
			const address = list.bytes(instead(7), "an IP address");
			const unit = isSubtree ? 8 : 4;
			if (address.length !== unit && address.length !== unit * 4) list.fail("an IP address has an impossible length");
			names.addresses.push(address);
			break;
		}
		default:
			list.element("a name");
			names.others = true;
	}
}

/** IA5String. Control characters, spaces and bytes above ASCII stand in no name of these kinds, but in many an attack (NUL in a DNS name). */
function visible(list: DerReader, what: string): string {
	const text = list.bytes(list.tag, what).toString("latin1");
	if (!/^[\x21-\x7e]*$/.test(text)) list.fail(`${what} has characters that are not visible ASCII`);
	return text;
}
