/** The one normalisation of request paths: what comes out is what rules are matched against and what is sent upstream. Knows no rule. */
import {
	DIVIDERS_MAX,
	dividesInManyWays,
	dividesOneWay,
	hasDotSegment,
	isUnreserved,
	PATH_CHARS,
	pathReadings,
	percentValue,
} from "./path-readings.ts";

// Taken together, in this order (RFC 3986 section 6.2.2, then Envoy's merge_slashes):
//
//   %41 %2e        unreserved characters are decoded: they mean the same (6.2.2.2). Nothing else is, and the case of %c3 stays
//   \              becomes a slash, as browsers and many servers have it
//   /a/./b/../c    dot segments are resolved (5.2.4); `..` stops at the root; an empty segment counts as one here
//   /a//b          empty segments go
//
// What is left can still be read in several ways: %2F, %5C, `;` and overlong UTF-8 (path-readings.ts). It is sent as it came, since
// some services need it, but neither several or many of these at once nor where a reading holds a dot segment: nobody sends that in good faith.

/** Why a request is refused. Made once each, so that a flood of them costs nothing. */
export interface PathFault {
	readonly reason: "bad_request";
	/** One sentence part, as the codec's: what is wrong and where it says so. */
	readonly detail: string;
}

const BAD_CHARACTER = fault("a character that no path may hold (RFC 3986 3.3)");
const BAD_ESCAPE = fault("a `%` in the path without two hexadecimal digits behind it (RFC 3986 2.1)");
const NUL_ESCAPE = fault("an encoded NUL in the path");
const MIXED = fault(
	`several kinds of, or more than ${DIVIDERS_MAX}, encoded slashes, encoded backslashes, semicolons and overlong UTF-8 in the path`,
);
const HIDDEN_DOTS = fault("a dot segment in the path, hidden behind an encoded slash or a parameter");

const SLASH = 0x2f;
const DOT = 0x2e;
const PERCENT = 0x25;
const HASH = 0x23;
const SEMICOLON = 0x3b;
const BACKSLASH = 0x5c;
const QUESTION = 0x3f;

// Without one of these no reading holds a dot segment or a NUL that the path itself does not hold.
const DOT_OR_OVERLONG = /\.|%(?:c[01]|e0|f0)/i;

// What needs no second look: all of a path but `/` and `%`, `;` and `\`, which can make it mean something else.
const PLAIN = new Uint8Array(128);
for (const char of PATH_CHARS) PLAIN[char.charCodeAt(0)] = 1;
for (const char of "/%;") PLAIN[char.charCodeAt(0)] = 0;

/**
 * `target` in origin-form, with or without a query, which stays as it is; `*` (OPTIONS) stays. A target that is normal already is
 * returned itself, so that `===` tells whether anything has changed. Idempotent. At most O(length).
 */
export function normalTarget(target: string): string | PathFault {
	const length = target.length;
	if (length === 0 || target.charCodeAt(0) !== SLASH) return target === "*" ? target : normalise(target);
	for (let i = 0; i < length; i++) {
		const c = target.charCodeAt(i);
		if (c < 128 && PLAIN[c] === 1) continue;
		if (c === QUESTION) return target;
		if (c !== SLASH) return normalise(target);
		if (i + 1 === length) return target;
		const next = target.charCodeAt(i + 1);
		if (next === SLASH || (next === DOT && isDotSegment(target, i + 1, length))) return normalise(target);
	}
	return target;
}

/** What rules and routes are compared with: the target without its query, and without a fragment, which the codec refuses already. */
export function pathOf(target: string): string {
	for (let i = 0; i < target.length; i++) {
		const c = target.charCodeAt(i);
		if (c === QUESTION || c === HASH) return target.slice(0, i);
	}
	return target;
}

function fault(detail: string): PathFault {
	return Object.freeze({ reason: "bad_request", detail });
}

/** Whether a segment that begins with a dot is `.` or `..`. */
function isDotSegment(target: string, from: number, length: number): boolean {
	let end = from + 1;
	if (end < length && target.charCodeAt(end) === DOT) end++;
	if (end === length) return true;
	const c = target.charCodeAt(end);
	return c === SLASH || c === QUESTION;
}

function normalise(target: string): string | PathFault {
	const query = target.indexOf("?");
	const path = query === -1 ? target : target.slice(0, query);
	const decoded = decodeUnreserved(path);
	if (typeof decoded !== "string") return decoded;
	const normal = resolve(decoded);
	if (!dividesOneWay(normal)) {
		if (dividesInManyWays(normal)) return MIXED;
		if (DOT_OR_OVERLONG.test(normal)) {
			for (const reading of pathReadings(normal)) {
				if (hasDotSegment(reading)) return HIDDEN_DOTS;
				if (reading.includes("%00")) return NUL_ESCAPE;
			}
		}
	}
	if (normal === path) return target;
	return query === -1 ? normal : normal + target.slice(query);
}

/** With backslashes folded, too. Checks each character on the way. */
function decodeUnreserved(path: string): string | PathFault {
	let out = "";
	let copied = 0;
	for (let i = 0; i < path.length; i++) {
		const c = path.charCodeAt(i);
		if (c < 128 && (PLAIN[c] === 1 || c === SLASH || c === SEMICOLON)) continue;
		let replacement: string;
		let width = 1;
		if (c === PERCENT) {
			const value = percentValue(path, i);
			if (value === 0) return NUL_ESCAPE;
			if (value === -1) return BAD_ESCAPE;
			if (!isUnreserved(value)) {
				i += 2;
				continue;
			}
			replacement = String.fromCharCode(value);
			width = 3;
		} else if (c === BACKSLASH) replacement = "/";
		else return BAD_CHARACTER;
		out += path.slice(copied, i) + replacement;
		copied = i + width;
		i = copied - 1;
	}
	return copied === 0 ? path : out + path.slice(copied);
}

/** Dot segments first, empty ones after: `/a//../b` is `/a/b`, as RFC 3986, WHATWG URL and Envoy have it. Gives the root to what has none. */
function resolve(path: string): string {
	const segments = path.split("/");
	const kept: string[] = [];
	for (let i = segments[0] === "" ? 1 : 0; i < segments.length; i++) {
		const segment = segments[i] as string;
		if (segment === "..") kept.pop();
		else if (segment !== ".") kept.push(segment);
	}
	const named = kept.filter((segment) => segment !== "");
	if (named.length === 0) return "/";
	const last = segments.at(-1);
	const open = last === "" || last === "." || last === "..";
	return `/${named.join("/")}${open ? "/" : ""}`;
}
