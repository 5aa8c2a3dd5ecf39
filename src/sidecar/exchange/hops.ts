/** Against loops: how many sidecars a request has been through already (RFC 9110 section 7.6.3). */
import { VIA } from "../../http1/fields.ts";
import type { RequestParser } from "../../http1/request-parser.ts";

/** Two sidecars a call; a chain of eight services deep is more than anybody should run on one request's headers. */
export const HOPS_MAX = 16;

const PSEUDONYM = "nexus-";

/** What this sidecar writes into Via: a pseudonym, as RFC 9110 suggests for a name that is nobody's business outside. */
export function viaName(service: string): string {
	return `1.1 ${PSEUDONYM}${service}`;
}

export function hasLooped(request: RequestParser): boolean {
	if (!request.meaning.has(VIA)) return false;
	const via = request.fields.get("via") ?? "";
	let hops = 0;
	for (let at = via.indexOf(` ${PSEUDONYM}`); at !== -1; at = via.indexOf(` ${PSEUDONYM}`, at + 1)) hops++;
	return hops >= HOPS_MAX;
}
