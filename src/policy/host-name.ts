/** The one form in which host names are compared: lower case, without port, without the dot that ends a full name. */

const UPPER_A = 0x41;
const UPPER_Z = 0x5a;
const COLON = 0x3a;
const DOT = 0x2e;
const BRACKET = 0x5b;

/**
 * The comparable form of a Host field or authority (RFC 9110 section 4.2.3: case and default port do not distinguish).
 * Ports are cut whatever they are: a mesh name does not depend on the port that the application dialled.
 * `[::1]:80` becomes `::1`. A name that is normal already is returned as it is, without a copy.
 */
export function normalHost(host: string): string {
	const last = host.length - 1;
	for (let i = 0; i <= last; i++) {
		const c = host.charCodeAt(i);
		if (c === COLON || c === BRACKET || (c >= UPPER_A && c <= UPPER_Z) || (c === DOT && i === last)) return normalise(host);
	}
	return host;
}

function normalise(host: string): string {
	let name = host;
	if (name.charCodeAt(0) === BRACKET) {
		const end = name.indexOf("]");
		return (end === -1 ? name : name.slice(1, end)).toLowerCase();
	}
	const colon = name.indexOf(":");
	// A second colon: an IPv6 address without brackets, which has no port to cut.
	if (colon !== -1 && name.indexOf(":", colon + 1) === -1) name = name.slice(0, colon);
	if (name.charCodeAt(name.length - 1) === DOT) name = name.slice(0, -1);
	return name.toLowerCase();
}
