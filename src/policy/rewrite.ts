/** Other targets in the place of the one that came: rewritten paths, and where a redirect leads. Pure; percent-encoding stays as it came. */
import { isRefusal } from "./fault.ts";
import type { PathMatch, RouteMatch, RoutePolicy } from "./snapshot.ts";
import type { RedirectPolicy } from "./traffic-policy.ts";
import { parseAuthority } from "./values.ts";

const SLASH = 0x2f;

/**
 * The target that goes to the upstream. `target` in origin-form with its query, which is kept; `*` (OPTIONS) stays.
 * Behind `/old/**` only what stands before the `**` is replaced; behind any other path the whole of it.
 */
export function rewriteTarget({ rewritePath, match }: Pick<RoutePolicy, "rewritePath" | "match">, target: string): string {
	return rewritePath === undefined ? target : replacePath(target, match.path, rewritePath);
}

/**
 * The Location of a redirect (RFC 9110 section 10.2.2): a reference that leaves out what stays as it came. `authority` and `target` as
 * received. Nothing of the request gets into it that could end the field, or lead to another host than the policy or the request names.
 */
export function redirectLocation(
	{ match }: { readonly match: Pick<RouteMatch, "path"> },
	redirect: RedirectPolicy,
	authority: string,
	target: string,
): string {
	const origin = target.charCodeAt(0) === SLASH ? target : "/";
	const path = visible(redirect.path === undefined ? origin : replacePath(origin, match.path, redirect.path));
	const { scheme, host } = redirect;
	if (scheme === undefined) return host === undefined ? ownPath(path) : `//${host}${path}`;
	if (host !== undefined) return `${scheme}://${host}${path}`;
	// A request may come without a Host (HTTP/1.0), or with nonsense in it.
	return isRefusal(parseAuthority(authority)) ? ownPath(path) : `${scheme}://${withoutDefaultPort(authority, scheme)}${path}`;
}

function replacePath(target: string, pattern: PathMatch | undefined, replacement: string): string {
	if (target.charCodeAt(0) !== SLASH) return target;
	const query = target.indexOf("?");
	const end = query === -1 ? target.length : query;
	const kept = pattern?.kind === "prefix" ? pattern.pattern.length - "/**".length : end;
	// What is kept begins with a slash, so that it stays a path.
	if (kept >= end || target.charCodeAt(kept) !== SLASH) return replacement + target.slice(end);
	const base = replacement.endsWith("/") ? replacement.slice(0, -1) : replacement;
	return base + target.slice(kept);
}

/** `//host` and what browsers take for it would lead elsewhere. */
function ownPath(path: string): string {
	return path.replace(/^[/\\]+/, "/");
}

/** Visible ASCII only; the parser of requests lets nothing else pass, but a Location must not depend on that. */
function visible(path: string): string {
	return path.replace(/[^\x21-\x7e]/g, (c) => `%${(c.charCodeAt(0) & 0xff).toString(16).toUpperCase().padStart(2, "0")}`);
}

/** The port of the other scheme says nothing any more; one of its own may well serve both. */
function withoutDefaultPort(authority: string, scheme: "http" | "https"): string {
	return authority.replace(scheme === "https" ? /:80$/ : /:443$/, "");
}
