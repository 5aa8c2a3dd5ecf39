/** Path patterns of routes, compiled so that a match neither allocates nor backtracks beyond the last wildcard. */
import { type Refusal, refuse } from "./fault.ts";
import type { PathMatch } from "./snapshot.ts";

// /a/b          exact
// /a/**         prefix: /a itself and everything below it
// /a/*.json     glob: * stands for any part of one segment, also none of it
// /a/**/b       glob: ** stands for any number of whole segments, also none

const SLASH = 0x2f;
const STAR = 0x2a;

// Matching costs at most (pattern length x path length); with the 16 KiB limit on targets this keeps it in microseconds.
const PATTERN_CHARS_MAX = 1024;
const WILDCARDS_MAX = 16;

/** Reads what stands in the policy. */
export function parsePathMatch(pattern: string): PathMatch | Refusal {
	if (pattern.charCodeAt(0) !== SLASH) return refuse("is not a path pattern", "begin with `/`: /pay exactly, /pay/** for /pay and all below");
	if (pattern.length > PATTERN_CHARS_MAX) return refuse("is too long", `at most ${PATTERN_CHARS_MAX} characters`);
	for (let i = 0; i < pattern.length; i++) {
		const c = pattern.charCodeAt(i);
		if (c <= 0x20 || c === 0x7f || c === 0x23 || c === 0x3f)
			return refuse("is not a path pattern", "no spaces, control characters, `?` or `#`; the query is not compared");
	}
	const segments = pattern.slice(1).split("/");
	if (segments.some((s) => s !== "**" && s.includes("**")))
		return refuse("has a `**` beside other characters", "`**` stands for whole segments, as in /a/**/b; within one segment write `*`");
	const wildcards = pattern.length - pattern.replaceAll("*", "").length;
	if (wildcards === 0) return { kind: "exact", pattern };
	if (wildcards > WILDCARDS_MAX) return refuse("has too many asterisks", `at most ${WILDCARDS_MAX}`);
	const prefix = wildcards === 2 && segments.at(-1) === "**";
	return { kind: prefix ? "prefix" : "glob", pattern };
}

export class PathPattern {
	/** The leading part that stands in every path that matches: what routes are indexed by. */
	readonly anchor: string;
	readonly #kind: PathMatch["kind"];
	readonly #segments: readonly string[];

	constructor(match: PathMatch) {
		this.#kind = match.kind;
		if (match.kind === "exact") {
			this.anchor = match.pattern;
			this.#segments = [];
		} else {
			const segments = match.pattern.slice(1).split("/");
			const literal = segments.findIndex((s) => s.includes("*"));
			this.anchor = segments
				.slice(0, literal)
				.map((s) => `/${s}`)
				.join("");
			this.#segments = segments.slice(literal);
		}
	}

	matches(path: string): boolean {
		const anchor = this.anchor;
		switch (this.#kind) {
			case "exact":
				return path === anchor;
			case "prefix":
				return path.startsWith(anchor) && (path.length === anchor.length ? anchor !== "" : path.charCodeAt(anchor.length) === SLASH);
			case "glob":
				return path.startsWith(anchor) && matchSegments(this.#segments, path, anchor.length);
		}
	}
}

/**
 * `at` stands on a slash or at the end. On a mismatch only the last `**` takes one segment more: what an earlier one could
 * take in addition, the last one can take as well, so each pair of segments is compared once.
 */
function matchSegments(segments: readonly string[], path: string, at: number): boolean {
	let index = 0;
	let retryIndex = -1;
	let retryAt = 0;
	for (;;) {
		const segment = segments[index];
		if (segment === "**") {
			index++;
			retryIndex = index;
			retryAt = at;
			continue;
		}
		if (segment === undefined) {
			if (at === path.length) return true;
		} else if (path.charCodeAt(at) === SLASH) {
			const end = segmentEnd(path, at + 1);
			if (matchSegment(segment, path, at + 1, end)) {
				index++;
				at = end;
				continue;
			}
		}
		if (retryIndex === -1 || path.charCodeAt(retryAt) !== SLASH) return false;
		retryAt = segmentEnd(path, retryAt + 1);
		at = retryAt;
		index = retryIndex;
	}
}

function segmentEnd(path: string, from: number): number {
	const end = path.indexOf("/", from);
	return end === -1 ? path.length : end;
}

/** Wildcard match in [from, end); on a mismatch only the last `*` takes one character more. */
function matchSegment(segment: string, path: string, from: number, end: number): boolean {
	let s = 0;
	let p = from;
	let starS = -1;
	let starP = 0;
	while (p < end) {
		const c = segment.charCodeAt(s);
		if (c === STAR) {
			starS = ++s;
			starP = p;
		} else if (c === path.charCodeAt(p)) {
			s++;
			p++;
		} else {
			if (starS === -1) return false;
			s = starS;
			p = ++starP;
		}
	}
	while (segment.charCodeAt(s) === STAR) s++;
	return s === segment.length;
}
