/** SPIFFE IDs, the names by which services know each other: text to parts and back. Refuses what the specification does not allow. */

/** SPIFFE-ID 2.3: no longer one needs to be read, and none should be made. */
const ID_LENGTH_MAX = 2048;
/** SPIFFE-ID 2.3, after the host of RFC 3986. */
const TRUST_DOMAIN_LENGTH_MAX = 255;
const SCHEME = "spiffe://";

export interface SpiffeId {
	readonly trustDomain: string;
	/** The path without its first slash: `payments`; an id that others have made may have more segments, `ns/shop/sa/payments`. */
	readonly service: string;
	/** The canonical text, by which two ids are compared. */
	readonly uri: string;
}

/** Each with one sentence. */
export const SPIFFE_ID_FAULTS = Object.freeze({
	scheme: "it does not begin with spiffe://",
	too_long: "it is longer than 2048 bytes",
	trust_domain_missing: "it names no trust domain",
	trust_domain_too_long: "its trust domain is longer than 255 bytes",
	trust_domain_characters: "its trust domain has characters other than a-z, 0-9, `.`, `-` and `_` (no port, user, upper case or percent)",
	service_missing: "it names a trust domain, but no service in it",
	service_characters: "its path has characters other than letters, digits, `.`, `-` and `_` (no query, fragment or percent)",
	service_segment: "its path has a segment that is empty, `.` or `..`",
});

export type SpiffeIdFault = keyof typeof SPIFFE_ID_FAULTS;

export type SpiffeIdReading = { readonly ok: true; readonly id: SpiffeId } | { readonly ok: false; readonly fault: SpiffeIdFault };

/** `spiffe://trustDomain/service` (SPIFFE-ID 2). The scheme must be in lower case, so that one id has one spelling. */
export function parseSpiffeId(text: string): SpiffeIdReading {
	if (!text.startsWith(SCHEME)) return refuse("scheme");
	if (text.length > ID_LENGTH_MAX) return refuse("too_long");
	const slash = text.indexOf("/", SCHEME.length);
	const end = slash === -1 ? text.length : slash;
	return checked(text.slice(SCHEME.length, end), text.slice(end + 1), text);
}

/** The id of a service of ours. */
export function spiffeIdOf(trustDomain: string, service: string): SpiffeIdReading {
	const uri = `${SCHEME}${trustDomain}/${service}`;
	return uri.length > ID_LENGTH_MAX ? refuse("too_long") : checked(trustDomain, service, uri);
}

/** What is wrong with the name of a trust domain, undefined where nothing is. */
export function trustDomainFault(trustDomain: string): SpiffeIdFault | undefined {
	if (trustDomain === "") return "trust_domain_missing";
	if (trustDomain.length > TRUST_DOMAIN_LENGTH_MAX) return "trust_domain_too_long";
	return /^[a-z0-9._-]+$/.test(trustDomain) ? undefined : "trust_domain_characters";
}

function checked(trustDomain: string, service: string, uri: string): SpiffeIdReading {
	const fault = trustDomainFault(trustDomain) ?? serviceFault(service);
	return fault === undefined ? { ok: true, id: Object.freeze({ trustDomain, service, uri }) } : refuse(fault);
}

function serviceFault(service: string): SpiffeIdFault | undefined {
	if (service === "") return "service_missing";
	if (!/^[A-Za-z0-9._/-]+$/.test(service)) return "service_characters";
	return service.split("/").some((segment) => segment === "" || segment === "." || segment === "..") ? "service_segment" : undefined;
}

function refuse(fault: SpiffeIdFault): SpiffeIdReading {
	return { ok: false, fault };
}
