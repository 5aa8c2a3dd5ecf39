/** Whether the names of a certificate lie where the authorities above it may give names (RFC 5280 section 4.2.1.10). */
import { comparableParts } from "./distinguished-name.ts";
import type { GeneralNames, NameConstraints } from "./extensions.ts";

/** Names x constraints: a certificate that would cost more comparisons than 128 x 64 is refused. */
const COMPARISONS_MAX = 8192;

/** An RDNSequence without names. */
const EMPTY_NAME_BYTES = 2;

/** Subject and alternative names of one certificate. */
export interface ConstrainedNames {
	readonly subject: Buffer;
	readonly names: GeneralNames;
}

/** One sentence about the first name that is not allowed, undefined where all are. */
export function nameConstraintFault({ permitted, excluded }: NameConstraints, { subject, names }: ConstrainedNames): string | undefined {
	if (constraintsOn(permitted, excluded) * namesIn(names) > COMPARISONS_MAX) return "the name constraints are too many to be compared";
	return (
		faultOf("DNS name", names.dns, permitted.dns, excluded.dns, isDnsWithin, String) ??
		faultOf("URI", names.uris, permitted.uris, excluded.uris, isUriWithin, String) ??
		faultOf("email address", names.emails, permitted.emails, excluded.emails, isEmailWithin, String) ??
		faultOf("IP address", names.addresses, permitted.addresses, excluded.addresses, isAddressWithin, (address) => [...address].join(".")) ??
		directoryFault(
			permitted.directories,
			excluded.directories,
			subject.length > EMPTY_NAME_BYTES ? [...names.directories, subject] : names.directories,
		) ??
		unreadable(permitted, excluded, names)
	);
}

/** A kind of name that has no permitted subtree is not constrained by it; any excluded one is enough. */
function faultOf<T>(
	kind: string,
	names: readonly T[],
	permitted: readonly T[],
	excluded: readonly T[],
	isWithin: (name: T, base: T) => boolean,
	text: (name: T) => string,
): string | undefined {
	for (const name of names) {
		if (excluded.some((base) => isWithin(name, base))) return `the ${kind} ${text(name)} is excluded by an authority's name constraints`;
		if (permitted.length > 0 && !permitted.some((base) => isWithin(name, base))) {
			return `the ${kind} ${text(name)} is not among those that an authority's name constraints permit`;
		}
	}
	return undefined;
}

function directoryFault(permitted: readonly Buffer[], excluded: readonly Buffer[], directories: readonly Buffer[]): string | undefined {
	if (permitted.length + excluded.length === 0) return undefined;
	const [names, within, without] = [directories.map(comparableParts), permitted.map(comparableParts), excluded.map(comparableParts)];
	const isComparable = (parts: readonly string[] | undefined): parts is readonly string[] => parts !== undefined;
	// What cannot be compared could be the excluded one.
	if (!names.every(isComparable) || !within.every(isComparable) || !without.every(isComparable))
		return "a directory name cannot be compared with its constraints";
	return faultOf("directory name", names, within, without, isDirectoryWithin, (parts) => parts.join(", "));
}

/** RFC 5280 4.2.1.10: who cannot process a constraint must refuse the certificate that it may be about. */
function unreadable(permitted: GeneralNames, excluded: GeneralNames, names: GeneralNames): string | undefined {
	const constrained = permitted.others || excluded.others;
	return constrained && names.others ? "a name is of a kind whose constraints are not processed" : undefined;
}

/** `example.com` holds itself and all below, `.example.com` only what is below; the empty one everything. */
function isDnsWithin(name: string, base: string): boolean {
	const [lower, within] = [name.toLowerCase(), base.toLowerCase()];
	if (within === "" || lower === within) return true;
	return lower.endsWith(within.startsWith(".") ? within : `.${within}`);
}

/** About the host alone: `example.com` holds just itself, `.example.com` what is below it. A URI without a host is in no subtree. */
function isUriWithin(uri: string, base: string): boolean {
	const host = /^[A-Za-z][A-Za-z0-9+.-]*:\/\/(?:[^/?#@]*@)?([^/?#:@]+)(?::\d*)?(?:[/?#]|$)/.exec(uri)?.[1];
	return host !== undefined && isHostWithin(host, base);
}

function isHostWithin(host: string, base: string): boolean {
	const [lower, within] = [host.toLowerCase(), base.toLowerCase()];
	return within.startsWith(".") ? lower.endsWith(within) : lower === within;
}

/** A mailbox (`a@example.com`), a host (`example.com`) or what is below one (`.example.com`). */
function isEmailWithin(address: string, base: string): boolean {
	const at = address.lastIndexOf("@");
	const host = address.slice(at + 1);
	const baseAt = base.lastIndexOf("@");
	if (baseAt === -1) return isHostWithin(host, base);
	return address.slice(0, at) === base.slice(0, baseAt) && host.toLowerCase() === base.slice(baseAt + 1).toLowerCase();
}

function isAddressWithin(address: Buffer, base: Buffer): boolean {
	const { length } = address;
	if (base.length !== length * 2) return false;
	return address.every((byte, i) => (byte & (base[length + i] ?? 0)) === ((base[i] ?? 0) & (base[length + i] ?? 0)));
}

/** The subtree's parts come first. */
function isDirectoryWithin(name: readonly string[], base: readonly string[]): boolean {
	return base.every((part, i) => name[i] === part);
}

function constraintsOn(permitted: GeneralNames, excluded: GeneralNames): number {
	return namesIn(permitted) + namesIn(excluded);
}

function namesIn({ dns, uris, emails, addresses, directories }: GeneralNames): number {
	return dns.length + uris.length + emails.length + addresses.length + directories.length;
}
