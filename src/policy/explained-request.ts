/** A request as a person describes it, for the command line and the admin API alike; and how the answer reads as JSON. */
import { isIP } from "node:net";
import { REASONS } from "../core/reasons.ts";
import { addressText } from "./address-text.ts";
import { parseCaller } from "./authorization-values.ts";
import type { ExplainedRequest, RoutingTrace } from "./explain.ts";
import { isRefusal } from "./fault.ts";
import { normalTarget } from "./path-normal.ts";

export interface DescribedRequest {
	readonly direction: "inbound" | "outbound";
	readonly method: string;
	/** `http://host/path`, or a path together with a Host header. */
	readonly url: string;
	/** `name: value` each. */
	readonly header: readonly string[];
	/** Address of the caller; on the way in also its service or SPIFFE ID, or `unauthenticated`. */
	readonly from?: string | undefined;
}

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/;

/** Where it is wrong: a sentence that begins with the name of the part. The path is normalised as the data plane does it. */
export function readExplainedRequest({ method, url, header, from, direction }: DescribedRequest): ExplainedRequest | string {
	if (!TOKEN.test(method)) return `method ${JSON.stringify(method)} is not a method`;
	const headerLines = new Map<string, string[]>();
	for (const line of header) {
		const [, name, value] = FIELD.exec(line) ?? [];
		if (name === undefined || value === undefined) return `header ${JSON.stringify(line)} is not of the form 'name: value'`;
		const lines = headerLines.get(name.toLowerCase());
		if (lines === undefined) headerLines.set(name.toLowerCase(), [value]);
		else lines.push(value);
	}
	const headers = new Map(Array.from(headerLines, ([name, lines]) => [name, lines.join(", ")]));
	const absolute = /^https?:\/\/([^/?#]+)([^?#]*)(\?[^#]*)?/i.exec(url);
	const own = /^(\/[^?#]*|\*$)(\?[^#]*)?/.exec(url);
	const path = absolute === null ? own?.[1] : absolute[2] || "/";
	if (path === undefined) return `url ${JSON.stringify(url)} is neither http://HOST/PATH nor a path`;
	// RFC 9112 section 3.2.2: the authority of an absolute target replaces the Host field.
	const host = absolute?.[1] ?? headers.get("host");
	if (host === undefined && direction === "outbound") return "url is a path only: add the header 'Host: NAME', or write http://NAME/PATH";
	const query = (absolute === null ? own?.[2] : absolute[3]) ?? "";
	const caller = direction === "inbound" && from !== undefined && isIP(from) === 0 ? from : undefined;
	if (caller !== undefined && isNobody(caller)) return `from ${JSON.stringify(caller)} is no address, service or SPIFFE ID of a caller`;
	const address = caller === undefined ? from : undefined;
	const normal = normalTarget(path);
	const common = { direction, method, host: host ?? "", query, headers, headerLines, from: address, caller };
	if (typeof normal !== "string") return { ...common, path, misread: normal };
	return normal === path ? { ...common, path } : { ...common, path: normal, given: path };
}

/** A caller is one, so that it has no asterisk. */
function isNobody(caller: string): boolean {
	return caller.includes("*") || isRefusal(parseCaller(caller));
}

/** The trace in plain JSON terms; whoever knows the endpoints adds them. */
export function explainJson(request: ExplainedRequest, { steps, considered, outcome, decisions }: RoutingTrace): Record<string, unknown> {
	return {
		request: { direction: request.direction, method: request.method, host: request.host, path: request.path, query: request.query },
		steps,
		considered,
		outcome: outcome && {
			kind: outcome.kind,
			because: outcome.because,
			...(outcome.kind === "upstream"
				? { upstream: outcome.upstream.name, route: outcome.route?.name, rewriteHost: outcome.route?.rewriteHost }
				: {}),
			...(outcome.kind === "split"
				? { route: outcome.route.name, destinations: outcome.destinations.map(({ upstream, share }) => ({ upstream: upstream.name, share })) }
				: {}),
			...(outcome.kind === "redirect" ? { route: outcome.route.name, status: outcome.status, location: outcome.location } : {}),
			...(outcome.kind === "respond" ? { route: outcome.route.name, status: outcome.respond.status } : {}),
			...(outcome.kind === "application" ? { application: addressText(outcome.application) } : {}),
			...(outcome.kind === "refused" ? { reason: outcome.reason, status: REASONS[outcome.reason].status } : {}),
		},
		decisions,
	};
}
