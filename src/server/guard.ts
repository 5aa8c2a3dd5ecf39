/** Decides whether a request may reach a local API at all: no DNS rebinding, no drive-by POST of a web page. Knows no sockets. */
import { isIP } from "node:net";

export interface GuardRules {
	/** The host that the server was told to listen on. */
	readonly listenHost: string;
	/** Further names under which clients may call it, without port. */
	readonly allowedHosts: readonly string[];
}

/** The fields of a request that the decision needs; undefined where absent. */
export interface GuardFields {
	readonly host: string | undefined;
	readonly origin: string | undefined;
	readonly secFetchSite: string | undefined;
}

export type GuardVerdict =
	| { readonly ok: true }
	| { readonly ok: false; readonly status: 403 | 421; readonly title: string; readonly detail: string };

export type Guard = (fields: GuardFields) => GuardVerdict;

const PASS: GuardVerdict = Object.freeze({ ok: true });
const LOOPBACK = ["localhost", "127.0.0.1", "::1"];
const WILDCARDS = new Set(["0.0.0.0", "::", ""]);

/**
 * Compiles the rules once. A request passes when no browser sent it and its Host names loopback, the listening address or an allowed name.
 * - A wildcard listener also takes any IP literal: rebinding needs a DNS name, and the machine's addresses are not known here.
 * - A request without Host (HTTP/1.0 health checks) passes: no browser can send one.
 * - `Sec-Fetch-Site: same-site` is refused like `cross-site`: another port of localhost counts as the same site.
 */
export function compileGuard(rules: GuardRules): Guard {
	const names = new Set([...LOOPBACK, rules.listenHost, ...rules.allowedHosts].map(normalizeName));
	const anyAddress = WILDCARDS.has(rules.listenHost);
	return ({ host, origin, secFetchSite }) => {
		if (origin !== undefined) return refuseBrowser("The Origin field shows that a web page sent this.");
		if (secFetchSite !== undefined && secFetchSite !== "same-origin" && secFetchSite !== "none") {
			return refuseBrowser("The Sec-Fetch-Site field shows that another site's page sent this.");
		}
		if (host === undefined) return PASS;
		const name = hostName(host);
		if (name !== undefined && (names.has(name) || (anyAddress && isIP(name) !== 0))) return PASS;
		return {
			ok: false,
			status: 421,
			title: "The Host field names something that is not served here.",
			detail: "Call it by a loopback name or its listening address, or add the name to allowedHosts.",
		};
	};
}

function refuseBrowser(detail: string): GuardVerdict {
	return { ok: false, status: 403, title: "Requests from web pages are not taken.", detail };
}

/** The name in a Host field (RFC 9110 section 7.2), lower-case, without brackets, port and final dot; undefined where it is malformed. */
function hostName(field: string): string | undefined {
	const match = /^(?:\[([0-9a-f:.]+)\]|([^\s:[\]/@?#,]+))(?::\d{1,5})?$/i.exec(field);
	const name = match?.[1] ?? match?.[2];
	return name === undefined ? undefined : normalizeName(name);
}

function normalizeName(name: string): string {
	const lower = name.toLowerCase();
	return lower.endsWith(".") ? lower.slice(0, -1) : lower;
}
