/** How far a request may go: how many sidecars it has been through (RFC 9110 section 7.6.3), and how many it may still pass (7.6.2). */
import { MAX_FORWARDS, VIA } from "../../http1/fields.ts";
import type { RequestParser } from "../../http1/request-parser.ts";
import { type Refusal, refusal } from "./stack.ts";

/** Two sidecars a call; a chain of eight services deep is more than anybody should run on one request's headers. */
export const HOPS_MAX = 16;

const PSEUDONYM = "nexus-";

/** What this sidecar writes into Via: a pseudonym, as RFC 9110 suggests for a name that is nobody's business outside. */
export function viaName(service: string): string {
	return `1.1 ${PSEUDONYM}${service}`;
}

/** Why the request goes no further than here, or undefined. */
export function lastHop(request: RequestParser): Refusal | undefined {
	if (hasLooped(request)) return refusal("loop_detected", `the Via field names ${HOPS_MAX} sidecars`);
	if (forwardsLeft(request) === 0) return refusal("max_forwards", "Max-Forwards has come to 0 at this sidecar");
	return undefined;
}

/** Max-Forwards of an OPTIONS or TRACE; undefined elsewhere, where it means nothing and passes, and where it is no number. */
export function forwardsLeft(request: RequestParser): number | undefined {
	if (!request.meaning.has(MAX_FORWARDS) || (request.method !== "OPTIONS" && request.method !== "TRACE")) return undefined;
	const value = request.fields.first(MAX_FORWARDS) ?? "";
	return /^[0-9]{1,9}$/.test(value) ? Number.parseInt(value, 10) : undefined;
}

function hasLooped(request: RequestParser): boolean {
	if (!request.meaning.has(VIA)) return false;
	const via = request.fields.get("via") ?? "";
	let hops = 0;
	for (let at = via.indexOf(` ${PSEUDONYM}`); at !== -1; at = via.indexOf(` ${PSEUDONYM}`, at + 1)) hops++;
	return hops >= HOPS_MAX;
}
