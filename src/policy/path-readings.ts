/** How servers may read one and the same normal path: what a rule about paths must look at, so that no reading slips past it. */

// A service behind us may
//   spell    take %21 for ! and %c3 for %C3: all of them do, so this is the form in which paths are compared
//   divide   take %2F, %5C or an overlong %C0%AF for a slash, and %3B for `;`: servers that decode before they split
//   strip    cut `;name=value` from each segment: servlet containers (CVE-2026-73511 and CVE-2026-50559: proxies that did not ask),
//            before or after they decode
// Where a path offers several things to divide or strip at, no two servers agree any more (does a parameter end at %5C?): such a path
// is not normal. %25 is never decoded twice: a server that does has no readings, only surprises.

/** What may stand in a path (RFC 3986 section 3.3), and `[ ] | ^`, which browsers leave raw: the codec's class of paths. */
export const PATH_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%:@/[]|^!$&'()*+,;=";

const SLASH = 0x2f;
const SEMICOLON = 0x3b;
const BACKSLASH = 0x5c;

/** Each is looked at in each reading: 16 KiB of them would take a millisecond. No name in use has as many. */
export const DIVIDERS_MAX = 64;

// Each byte as paths are compared. Escaped stay `/` and `;`, which divide; `*`, which is no letter in a pattern; and `%`.
const SPELLINGS = Array.from({ length: 256 }, (_, value) => {
	const char = String.fromCharCode(value);
	return PATH_CHARS.includes(char) && !"/;*%".includes(char) ? char : `%${value.toString(16).toUpperCase().padStart(2, "0")}`;
});

// ASCII in more bytes than it needs (RFC 3629 section 3 forbids it): C0 AF, E0 80 AF and F0 80 80 AF all spell the slash.
const OVERLONG_SOURCE = "%(?:c[01]|e0%8[01]|f0%80%8[01])%[89ab][0-9a-f]";
const OVERLONG = new RegExp(OVERLONG_SOURCE, "i");
const ESCAPES = new RegExp(`${OVERLONG_SOURCE}|%[0-9a-f]{2}`, "gi");
const DIVIDERS = new RegExp(`;|%(?:2f|5c|3b)|${OVERLONG_SOURCE}`, "i");
const EACH_DIVIDER = new RegExp(DIVIDERS.source, "gi");
const SLASHES = [/%2f/i, /%(?:c0|e0%80|f0%80%80)%af/i] as const;
const BACKSLASHES = [/%5c/i, /%(?:c1|e0%81|f0%80%81)%9c/i] as const;
const SEMICOLONS = [/;|%3b/i, /%(?:c0|e0%80|f0%80%80)%bb/i] as const;

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

/** Whether a path holds several of: encoded slashes, encoded backslashes, semicolons, and overlong characters of whatever kind; or too many. */
export function dividesInManyWays(path: string): boolean {
	let kinds = OVERLONG.test(path) ? 1 : 0;
	let overlongKinds = 0;
	for (const [plain, overlong] of [SLASHES, BACKSLASHES, SEMICOLONS]) {
		if (plain.test(path)) kinds++;
		if (overlong.test(path)) overlongKinds++;
	}
	if (kinds > 1 || overlongKinds > 1) return true;
	let left = DIVIDERS_MAX;
	for (const _ of path.matchAll(EACH_DIVIDER)) if (left-- === 0) return true;
	return false;
}

/** Whether nobody sees other segments in a path than the ones that are written. */
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
	const slashed = divide(path);
	const readings = new Set([spelled, slashed]);
	if (spelled.includes(";")) readings.add(stripParameters(spelled)).add(divide(stripParameters(path)));
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
	return path.replace(/%../g, (escaped) => SPELLINGS[percentValue(escaped, 0)] as string);
}

function divide(path: string): string {
	return mergeSlashes(path.replace(ESCAPES, divided));
}

function divided(escaped: string): string {
	const last = percentValue(escaped, escaped.length - 3);
	const value = escaped.length === 3 ? last : ((percentValue(escaped, escaped.length - 6) & 1) << 6) | (last & 0x3f);
	return value === SLASH || value === BACKSLASH ? "/" : value === SEMICOLON ? ";" : (SPELLINGS[value] as string);
}

function stripParameters(path: string): string {
	return mergeSlashes(path.replace(/;[^/]*/g, ""));
}

function mergeSlashes(path: string): string {
	return path.replace(/\/{2,}/g, "/");
}
