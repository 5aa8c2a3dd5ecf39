/** A request as a person describes it, for the command line and the admin API alike; and how the answer reads as JSON. */
import { REASONS } from "../core/reasons.ts";
import { addressText } from "./address-text.ts";
import type { ExplainedRequest, RoutingTrace } from "./explain.ts";

export interface DescribedRequest {
	readonly direction: "inbound" | "outbound";
	readonly method: string;
	/** `http://host/path`, or a path together with a Host header. */
	readonly url: string;
	/** `name: value` each. */
	readonly header: readonly string[];
	readonly from?: string | undefined;
}

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/;

/** Where it is wrong: a sentence that begins with the name of the part. The path stays as given: the data plane does not rewrite it either. */
export function readExplainedRequest({ method, url, header, from, direction }: DescribedRequest): ExplainedRequest | string {
	if (!TOKEN.test(method)) return `method ${JSON.stringify(method)} is not a method`;
	const headers = new Map<string, string>();
	for (const line of header) {
		const [, name, value] = FIELD.exec(line) ?? [];
		if (name === undefined || value === undefined) return `header ${JSON.stringify(line)} is not of the form 'name: value'`;
		headers.set(name.toLowerCase(), value);
	}
	const absolute = /^https?:\/\/([^/?#]+)([^?#]*)(\?[^#]*)?/i.exec(url);
	const own = /^(\/[^?#]*|\*$)(\?[^#]*)?/.exec(url);
	const path = absolute === null ? own?.[1] : absolute[2] || "/";
	if (path === undefined) return `url ${JSON.stringify(url)} is neither http://HOST/PATH nor a path`;
	// RFC 9112 section 3.2.2: the authority of an absolute target replaces the Host field.
	const host = absolute?.[1] ?? headers.get("host");
	if (host === undefined && direction === "outbound") return "url is a path only: add the header 'Host: NAME', or write http://NAME/PATH";
	const query = (absolute === null ? own?.[2] : absolute[3]) ?? "";
	return { direction, method, host: host ?? "", path, query, headers, from };
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
