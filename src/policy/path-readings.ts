/** How servers may read one and the same normal path: what a rule about paths must look at, so that no reading slips past it. */

// A service behind us may
//   spell    take %21 for ! and %c3 for %C3: all of them do, so this is the form in which paths are compared
//   slash    take %2F and %5C, also written overlong (%C0%AF), for a slash, and %3B for `;`: servers that decode before they split
//   strip    cut `;name=value` from each segment: servlet containers (CVE-2026-73511 and CVE-2026-50559 are proxies that did not ask)
// in any combination and order. %25 is never decoded twice: a server that does has no readings, only surprises.

/** What may stand in a path (RFC 3986 section 3.3), and `[ ] | ^`, which browsers leave raw: the codec's class of paths. */
export const PATH_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%:@/[]|^!$&'()*+,;=";

const PERCENT = 0x25;
const SLASH = 0x2f;
const SEMICOLON = 0x3b;
const BACKSLASH = 0x5c;

// Not `/ ; \`, which divide; not `*`, which is no letter in a pattern; not `%`.
const SPELLED = new Uint8Array(128);
for (const char of PATH_CHARS) SPELLED[char.charCodeAt(0)] = 1;
for (const char of "/;*%") SPELLED[char.charCodeAt(0)] = 0;

const UNRESERVED = new Uint8Array(256);
for (const char of "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") UNRESERVED[char.charCodeAt(0)] = 1;

export function isUnreserved(value: number): boolean {
	return UNRESERVED[value] === 1;
}

/** The byte of the `%hh` at `at`, or -1. */
export function percentValue(text: string, at: number): number {
	if (at + 2 >= text.length) return -1;
	const high = hexValue(text.charCodeAt(at + 1));
	const low = hexValue(text.charCodeAt(at + 2));
	return high === -1 || low === -1 ? -1 : high * 16 + low;
}

// What divides a path for some, and the first bytes of what may be overlong.
const DIVIDERS = /;|%(?:2f|5c|3b|c[01]|e0|f0)/i;

/** Whether nobody sees other segments in a normal path than the ones that are written. */
export function dividesOneWay(path: string): boolean {
	return !DIVIDERS.test(path);
}

/** Whether everybody reads a normal path as it is written. Without an allocation. */
export function readsOneWay(path: string): boolean {
	return !path.includes("%") && !path.includes(";");
}

/** All readings of a normal path, each once, the one that is closest to what is written first. At most 5. */
export function pathReadings(path: string): readonly string[] {
	if (readsOneWay(path)) return [path];
	const spelled = spell(path);
	if (dividesOneWay(path)) return [spelled];
	const slashed = slash(path);
	const readings = new Set([spelled, slashed]);
	if (spelled.includes(";")) readings.add(stripParameters(spelled)).add(slash(stripParameters(path)));
	if (slashed.includes(";")) readings.add(stripParameters(slashed));
	return [...readings];
}

export function hasDotSegment(path: string): boolean {
	return /(?:^|\/)\.\.?(?:\/|$)/.test(path);
}

function hexValue(code: number): number {
	if (code >= 0x30 && code <= 0x39) return code - 0x30;
	const lower = code | 0x20;
	return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

function spell(path: string): string {
	return path.replace(/%../g, (escaped) => spelling(Number.parseInt(escaped.slice(1), 16)));
}

function slash(path: string): string {
	let out = "";
	for (let i = 0; i < path.length; i++) {
		if (path.charCodeAt(i) !== PERCENT) {
			out += path[i];
			continue;
		}
		let value = percentValue(path, i);
		const bytes = overlongBytes(path, i, value);
		if (bytes !== 0) value = lastBits(path, i, bytes);
		out += value === SLASH || value === BACKSLASH ? "/" : value === SEMICOLON ? ";" : spelling(value);
		i += (bytes === 0 ? 1 : bytes) * 3 - 1;
	}
	return mergeSlashes(out);
}

function spelling(value: number): string {
	if (value < 128 && SPELLED[value] === 1) return String.fromCharCode(value);
	return `%${value.toString(16).toUpperCase().padStart(2, "0")}`;
}

/** How many bytes spell an ASCII character there in UTF-8 that is longer than it may be (RFC 3629 section 3), or 0. */
function overlongBytes(path: string, at: number, lead: number): number {
	const bytes = lead === 0xc0 || lead === 0xc1 ? 2 : lead === 0xe0 ? 3 : lead === 0xf0 ? 4 : 0;
	for (let i = 1; i < bytes; i++) {
		const value = path.charCodeAt(at + i * 3) === PERCENT ? percentValue(path, at + i * 3) : -1;
		const isContinuation = value >= 0x80 && value <= 0xbf;
		// All bits above the lower seven are 0: of the byte before the last only the lowest may be set.
		if (!isContinuation || (i < bytes - 2 && value !== 0x80) || (i === bytes - 2 && value > 0x81)) return 0;
	}
	return bytes;
}

function lastBits(path: string, at: number, bytes: number): number {
	const before = percentValue(path, at + (bytes - 2) * 3);
	return ((before & 1) << 6) | (percentValue(path, at + (bytes - 1) * 3) & 0x3f);
}

function stripParameters(path: string): string {
	return mergeSlashes(path.replace(/;[^/]*/g, ""));
}

function mergeSlashes(path: string): string {
	return path.replace(/\/{2,}/g, "/");
}
