/** Why a request goes where it goes: the routing part of a decision trace, from the same predicates that the data plane runs. */

import { assertNever } from "../core/errors.ts";
import type { Reason } from "../core/reasons.ts";
import { addressText } from "./address-text.ts";
import { normalHost } from "./host-name.ts";
import { OutboundRouting } from "./outbound-routing.ts";
import type { RouteVerdict } from "./route-table.ts";
import type { Address, OutboundPolicy, Place, RoutePolicy, Snapshot, UpstreamPolicy } from "./snapshot.ts";
import { TrustedProxies } from "./trusted-proxies.ts";

export interface ExplainedRequest {
	readonly direction: "inbound" | "outbound";
	readonly method: string;
	/** As a client would send it: with a port where it has one. */
	readonly host: string;
	/** Without the query. */
	readonly path: string;
	/** Names lower case. */
	readonly headers: ReadonlyMap<string, string>;
	/** Address of the caller, where it is known. */
	readonly from: string | undefined;
}

/** One step of the decision: what was found, and the line of the policy that says so. */
export interface TraceStep {
	readonly place: Place;
	readonly text: string;
}

export interface ConsideredStep extends TraceStep {
	readonly route: string;
	readonly verdict: RouteVerdict;
}

export type RoutingOutcome =
	| { readonly kind: "upstream"; readonly upstream: UpstreamPolicy; readonly route: RoutePolicy | undefined; readonly because: TraceStep }
	| { readonly kind: "application"; readonly application: Address; readonly because: TraceStep }
	| { readonly kind: "passthrough"; readonly because: TraceStep }
	| { readonly kind: "refused"; readonly reason: Reason; readonly because: TraceStep };

export interface RoutingTrace {
	/** What holds before any route is looked at. */
	readonly steps: readonly TraceStep[];
	/** In file order. */
	readonly considered: readonly ConsideredStep[];
	/** Undefined where the policy has no listener for this direction. */
	readonly outcome: RoutingOutcome | undefined;
}

export function explainRouting(snapshot: Snapshot, request: ExplainedRequest): RoutingTrace {
	return request.direction === "inbound" ? explainInbound(snapshot, request) : explainOutbound(snapshot, request);
}

function explainInbound({ inbound }: Snapshot, { from }: ExplainedRequest): RoutingTrace {
	if (inbound === undefined) return NO_LISTENER;
	const { place } = inbound;
	const steps = [{ place, text: `arrives at the inbound listener ${addressText(inbound.listen)}` }];
	if (from !== undefined) {
		const trusted = new TrustedProxies(inbound.trustedProxies).trusts(from);
		steps.push({
			place,
			text: `${from} is ${trusted ? "" : "not "}among trustedProxies: its x-forwarded-* fields are ${trusted ? "believed" : "replaced"}`,
		});
	}
	const because = { place, text: `all inbound requests go to the application at ${addressText(inbound.application)}` };
	return { steps, considered: [], outcome: { kind: "application", application: inbound.application, because } };
}

function explainOutbound(snapshot: Snapshot, request: ExplainedRequest): RoutingTrace {
	const { outbound, upstreams } = snapshot;
	const own = upstreamListeningAt(snapshot, request.host);
	if (own !== undefined) {
		const because = { place: own.place, text: `${request.host} is the port of its own of upstream ${own.name}` };
		return { steps: [], considered: [], outcome: { kind: "upstream", upstream: own, route: undefined, because } };
	}
	if (outbound === undefined) return NO_LISTENER;
	const steps = [{ place: outbound.place, text: `arrives at the outbound listener ${addressText(outbound.listen)}` }];
	const { host, path, method, headers } = request;
	const routing = new OutboundRouting(outbound.routes, upstreams.keys(), { service: snapshot.service, rng: () => 0 });
	const header = (name: string) => headers.get(name);
	const considered = routing.table.considered(host, path, method, header, undefined).map(({ route, verdict }) => ({
		place: route.place,
		route: route.name,
		verdict,
		text: verdictText(route, verdict),
	}));
	const routed = routing.decide(host, path, method, header, undefined);
	const upstream = routed?.upstream === undefined ? undefined : upstreams.get(routed.upstream);
	if (routed === undefined || upstream === undefined) return { steps, considered, outcome: unrouted(outbound, whyUnrouted(outbound, routing, host)) };
	const { route } = routed;
	const because =
		route === undefined
			? { place: upstream.place, text: "no route names this host, so the Host names the upstream" }
			: { place: route.place, text: `route ${route.name} is the first that matches` };
	return { steps, considered, outcome: { kind: "upstream", upstream, route, because } };
}

function whyUnrouted({ routes }: OutboundPolicy, routing: OutboundRouting, host: string): string {
	if (routing.isRouted(host)) return "the routes that name this host do not match";
	return `${routes.length === 0 ? "" : "no route matches, and "}there is no upstream named ${JSON.stringify(normalHost(host))}`;
}

function unrouted({ place, passthrough }: OutboundPolicy, why: string): RoutingOutcome {
	if (passthrough) return { kind: "passthrough", because: { place, text: `${why}; \`passthrough: true\` passes it on to where its Host says` } };
	return { kind: "refused", reason: "no_route", because: { place, text: `${why}; \`passthrough: false\` refuses it` } };
}

const NO_LISTENER: RoutingTrace = Object.freeze({ steps: [], considered: [], outcome: undefined });

function upstreamListeningAt({ upstreams }: Snapshot, host: string): UpstreamPolicy | undefined {
	for (const upstream of upstreams.values()) {
		if (upstream.listen !== undefined && addressText(upstream.listen) === host) return upstream;
	}
	return undefined;
}

/** Why a route was taken or not, after its name. */
export function verdictText({ match, action }: RoutePolicy, verdict: RouteVerdict): string {
	switch (verdict.kind) {
		case "matched":
			return `matches: ${action.kind}`;
		case "later":
			return "would match as well, but an earlier route has won";
		case "host":
			return `the host is not ${match.host}`;
		case "path":
			return `the path does not fit ${match.path?.pattern}`;
		case "method":
			return `the method is not ${match.methods.join(" or ")}`;
		case "header":
		case "query":
			return `${verdict.kind} ${verdict.name} is ${verdict.actual === undefined ? "absent" : JSON.stringify(verdict.actual)}, not ${JSON.stringify(verdict.expected)}`;
		case "from":
			return `it is only for requests of ${match.from.join(" or ")}`;
		case "percent":
			return `only ${verdict.percent} % of the requests take it`;
		default:
			return assertNever(verdict);
	}
}

/** `file:line:column` */
export function placeText({ file, line, column }: Place): string {
	return `${file}:${line}:${column}`;
}
