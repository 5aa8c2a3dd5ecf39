/** The small languages inside authorization: whom a rule means, and which paths. */
import type { CallerMatch } from "./authorization-policy.ts";
import { type Refusal, refuse } from "./fault.ts";
import { normalTarget } from "./path-normal.ts";
import { parsePathMatch } from "./path-pattern.ts";
import { pathReadings } from "./path-readings.ts";
import type { PathMatch } from "./snapshot.ts";

const HINT = "write a service as in frontend or front*, `*` for all of this mesh, spiffe://other.domain/*, or unauthenticated";
// SPIFFE-ID section 2.3.
const SPIFFE_ID_CHARS_MAX = 2048;

/** `frontend`, `front*`, `*`, `spiffe://other.domain/*`, `unauthenticated`. Names without a domain are services of this mesh. */
export function parseCaller(text: string): CallerMatch | Refusal {
	if (text === "unauthenticated") return { kind: "unauthenticated" };
	if (text.length > SPIFFE_ID_CHARS_MAX) return refuse("is too long", `at most ${SPIFFE_ID_CHARS_MAX} characters`);
	if (text.split("*").length > 2) return refuse("has several asterisks", "one is allowed: front*, *-api, spiffe://other.domain/ns/*");
	if (!text.startsWith("spiffe://")) {
		if (!/^[a-z0-9._*-]{1,64}$/.test(text)) return refuse("names no caller", HINT);
		return { kind: "identity", trustDomain: undefined, name: text };
	}
	const [, trustDomain = "", name = ""] = /^spiffe:\/\/([^/]*)(?:\/(.*))?$/.exec(text) ?? [];
	// SPIFFE-ID section 2.1 and 2.2.
	if (!/^[a-z0-9._-]{1,255}$/.test(trustDomain))
		return refuse("has no valid trust domain", "it is written out, in lower case: spiffe://other.domain/*");
	if (name === "") return refuse("names no service of its domain", `for all of them write spiffe://${trustDomain}/*`);
	if (name.split("/").some((segment) => !/^[A-Za-z0-9._*-]+$/.test(segment) || segment === "." || segment === "..")) {
		return refuse("is not a SPIFFE id", "segments of letters, digits, `-`, `_` and `.` behind the domain");
	}
	return { kind: "identity", trustDomain, name };
}

/** As in a policy. */
export function callerText(caller: CallerMatch): string {
	if (caller.kind === "unauthenticated") return "unauthenticated";
	return caller.trustDomain === undefined ? caller.name : `spiffe://${caller.trustDomain}/${caller.name}`;
}

/** A path pattern of a rule: as those of routes, in the one form that requests are compared in. */
export function parseRulePath(text: string): PathMatch | Refusal {
	const match = parsePathMatch(text);
	if ("refused" in match) return match;
	const normal = normalTarget(text);
	if (typeof normal !== "string") return refuse("fits no request", `requests are refused for ${normal.detail}`);
	if (/%2a/i.test(text)) return refuse("has an encoded asterisk", "write `*`: it stands for any part of one segment");
	const [compared = normal, ...others] = pathReadings(normal);
	if (others.length !== 0) {
		return refuse("can be read in several ways", "leave out `;`, %2F, %5C and %3B: a request that has them is compared in each of its readings");
	}
	return compared === text ? match : refuse("is not in the form that paths are compared in", `write ${compared}`);
}
