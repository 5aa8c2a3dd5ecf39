/** Why a request goes where it goes: the decision trace of one request as far as the policy tells, from the predicates that the data plane runs. */
import type { Reason } from "../core/reasons.ts";
import { addressText } from "./address-text.ts";
import type { Decision } from "./decision-trace.ts";
import { applicationDecisions, note, percentText, routeDecisions, upstreamDecisions } from "./explain-configured.ts";
import { actionText, shareOf, verdictText } from "./explain-routes.ts";
import { normalHost } from "./host-name.ts";
import { OutboundRouting } from "./outbound-routing.ts";
import type { PathFault } from "./path-normal.ts";
import type { StaticResponse } from "./resilience-policy.ts";
import { redirectLocation } from "./rewrite.ts";
import type { RouteVerdict } from "./route-table.ts";
import type { Address, InboundPolicy, OutboundPolicy, Place, RoutePolicy, Snapshot, UpstreamPolicy } from "./snapshot.ts";
import { TrustedProxies } from "./trusted-proxies.ts";

export { verdictText } from "./explain-routes.ts";
export { placeText } from "./place-text.ts";

export interface ExplainedRequest {
	readonly direction: "inbound" | "outbound";
	readonly method: string;
	/** As a client would send it: with a port where it has one. */
	readonly host: string;
	/** Without the query, in its normal form; as it came where it has none. */
	readonly path: string;
	/** The path as it came, where that differs. */
	readonly given?: string;
	/** Why the path has no normal form. */
	readonly misread?: PathFault;
	/** With its `?`; empty where there is none. */
	readonly query: string;
	/** Names lower case. */
	readonly headers: ReadonlyMap<string, string>;
	/** The same, a line each; where they are not known, each of `headers` is one line. */
	readonly headerLines?: ReadonlyMap<string, readonly string[]>;
	/** Address of the caller, where it is known. */
	readonly from: string | undefined;
	/** Its service, its SPIFFE ID, or `unauthenticated`; undefined where nothing is said. On the way in. */
	readonly caller?: string | undefined;
	/** What fell for \`percent\`, in [0, 1); without it the request belongs to every percentage. */
	readonly draw?: number;
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

export interface SplitShare {
	readonly upstream: UpstreamPolicy;
	readonly share: number;
}

export type RoutingOutcome =
	| { readonly kind: "upstream"; readonly upstream: UpstreamPolicy; readonly route: RoutePolicy | undefined; readonly because: TraceStep }
	/** Shares 0..1 of the requests, in the order of the policy. */
	| { readonly kind: "split"; readonly route: RoutePolicy; readonly destinations: readonly SplitShare[]; readonly because: TraceStep }
	| { readonly kind: "redirect"; readonly route: RoutePolicy; readonly status: number; readonly location: string; readonly because: TraceStep }
	| { readonly kind: "respond"; readonly route: RoutePolicy; readonly respond: StaticResponse; readonly because: TraceStep }
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
	/** All of it in the order of a request's life, and the rules behind it: limits, timeouts, breakers, retries, faults. */
	readonly decisions: readonly Decision[];
}

export function explainRouting(snapshot: Snapshot, request: ExplainedRequest): RoutingTrace {
	const { direction, misread, given, path } = request;
	const listener = snapshot[direction];
	const told = direction === "inbound" ? explainInbound(snapshot.inbound, request) : explainOutbound(snapshot, request);
	if (told === undefined) return NO_LISTENER;
	const routing = misread !== undefined && listener !== undefined ? misreadBy(listener, misread) : told;
	const { considered, outcome } = routing;
	const read = given === undefined || listener === undefined ? [] : [{ place: listener.place, text: `the path ${given} is read as ${path}` }];
	const steps = [...routing.steps, ...read];
	const decisions: Decision[] = [
		...steps.map(({ text, place }) => note(request.direction === "inbound" ? "caller" : "route", text, place)),
		...considered.map(routeDecision),
		decision("route", outcome.kind === "refused" ? "no" : "yes", outcome.because),
		...consequences(snapshot, outcome, considered),
	];
	return { steps, considered, outcome, decisions };
}

const NO_LISTENER: RoutingTrace = Object.freeze({ steps: [], considered: [], outcome: undefined, decisions: [] });

type Routing = Pick<RoutingTrace, "steps" | "considered"> & { readonly outcome: RoutingOutcome };

function explainInbound(inbound: InboundPolicy | undefined, { from }: ExplainedRequest): Routing | undefined {
	if (inbound === undefined) return undefined;
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

function explainOutbound(snapshot: Snapshot, request: ExplainedRequest): Routing | undefined {
	const { outbound, upstreams } = snapshot;
	const own = upstreamListeningAt(snapshot, request.host);
	if (own !== undefined) {
		const because = { place: own.place, text: `${request.host} is the port of its own of upstream ${own.name}` };
		return { steps: [], considered: [], outcome: { kind: "upstream", upstream: own, route: undefined, because } };
	}
	if (outbound === undefined) return undefined;
	const steps = [{ place: outbound.place, text: `arrives at the outbound listener ${addressText(outbound.listen)}` }];
	const { host, path, query, method, headers, draw } = request;
	const routing = new OutboundRouting(outbound.routes, upstreams.keys(), { service: snapshot.service });
	const header = (name: string) => headers.get(name);
	const considered = routing.table.considered(host, path + query, method, header, draw).map(({ route, verdict }) => ({
		place: route.place,
		route: route.name,
		verdict,
		text: verdictText(route, verdict),
	}));
	const routed = routing.decide(host, path + query, method, header, draw);
	const outcome = routed?.route === undefined ? byHost(routed?.upstream, upstreams) : byRoute(routed.route, request, upstreams);
	return { steps, considered, outcome: outcome ?? unrouted(outbound, whyUnrouted(outbound, routing, host)) };
}

/** Before a route or a rule is asked. */
function misreadBy({ place }: { readonly place: Place }, { reason, detail }: PathFault): Routing {
	return { steps: [], considered: [], outcome: { kind: "refused", reason, because: { place, text: `refused: ${detail}` } } };
}

function byHost(name: string | undefined, upstreams: Snapshot["upstreams"]): RoutingOutcome | undefined {
	const upstream = name === undefined ? undefined : upstreams.get(name);
	if (upstream === undefined) return undefined;
	const because = { place: upstream.place, text: "no route names this host, so the Host names the upstream" };
	return { kind: "upstream", upstream, route: undefined, because };
}

function byRoute(route: RoutePolicy, { host, path, query }: ExplainedRequest, upstreams: Snapshot["upstreams"]): RoutingOutcome | undefined {
	const { action, place } = route;
	const because = { place, text: `route ${route.name} is the first that matches` };
	if (action.kind === "respond") return { kind: "respond", route, respond: action.respond, because };
	if (action.kind === "redirect") {
		const location = redirectLocation(route, action.redirect, host, path + query);
		return { kind: "redirect", route, status: action.redirect.status, location, because };
	}
	const shares = shareOf(action.destinations);
	const destinations = action.destinations.flatMap(({ to }, i) => {
		const upstream = upstreams.get(to);
		return upstream === undefined ? [] : [{ upstream, share: shares[i] ?? 0 }];
	});
	const [only] = destinations;
	if (only === undefined) return undefined;
	return destinations.length === 1 ? { kind: "upstream", upstream: only.upstream, route, because } : { kind: "split", route, destinations, because };
}

function whyUnrouted({ routes }: OutboundPolicy, routing: OutboundRouting, host: string): string {
	if (routing.isRouted(host)) return "the routes that name this host do not match";
	return `${routes.length === 0 ? "" : "no route matches, and "}there is no upstream named ${JSON.stringify(normalHost(host))}`;
}

function unrouted({ place, passthrough }: OutboundPolicy, why: string): RoutingOutcome {
	if (passthrough) return { kind: "passthrough", because: { place, text: `${why}; \`passthrough: true\` passes it on to where its Host says` } };
	return { kind: "refused", reason: "no_route", because: { place, text: `${why}; \`passthrough: false\` refuses it` } };
}

function upstreamListeningAt({ upstreams }: Snapshot, host: string): UpstreamPolicy | undefined {
	for (const upstream of upstreams.values()) {
		if (upstream.listen !== undefined && addressText(upstream.listen) === host) return upstream;
	}
	return undefined;
}

function decision(stage: Decision["stage"], verdict: Decision["verdict"], { text, place }: TraceStep): Decision {
	return { stage, verdict, atMs: 0, text, place, data: undefined };
}

function routeDecision({ route, verdict, text, place }: ConsideredStep): Decision {
	const taken = verdict.kind === "matched" ? "yes" : verdict.kind === "later" ? "note" : "no";
	return { stage: "route", verdict: taken, atMs: 0, text: `route ${route}: ${text}`, place, data: { route, why: verdict.kind } };
}

/** What follows from where it goes. */
function consequences({ inbound }: Snapshot, outcome: RoutingOutcome, considered: readonly ConsideredStep[]): Decision[] {
	switch (outcome.kind) {
		case "application":
			return inbound === undefined ? [] : applicationDecisions(inbound);
		case "upstream":
			return [
				...partly(outcome.route, considered),
				...rewrites(outcome.route),
				...routeDecisions(outcome.route),
				...upstreamDecisions(outcome.upstream, outcome.route),
			];
		case "split":
			return [
				...partly(outcome.route, considered),
				...rewrites(outcome.route),
				...routeDecisions(outcome.route),
				...splitDecisions(outcome.route, outcome.destinations),
			];
		case "redirect": {
			const text = `status ${outcome.status}, location ${outcome.location}`;
			return [...partly(outcome.route, considered), { ...note("answer", text, outcome.route.place), data: { status: outcome.status } }];
		}
		case "respond": {
			const { status, contentType, body } = outcome.respond;
			const text = `status ${status}, ${body.length} bytes of ${contentType}`;
			return [...partly(outcome.route, considered), { ...note("answer", text, outcome.route.place), data: { status } }];
		}
		case "passthrough":
		case "refused":
			return [];
	}
}

/** Where a route takes only a part, what becomes of the others. */
function partly(route: RoutePolicy | undefined, considered: readonly ConsideredStep[]): Decision[] {
	if (route === undefined || route.match.percent >= 100) return [];
	const next = considered.find(({ verdict }) => verdict.kind === "later");
	const others = next === undefined ? "no other route matches" : `route ${next.route} matches next`;
	return [note("route", `the other ${percentText(100 - route.match.percent)} go on: ${others}`, next?.place ?? route.place)];
}

function rewrites(route: RoutePolicy | undefined): Decision[] {
	if (route === undefined) return [];
	const { rewriteHost, rewritePath, requestHeaders, responseHeaders, match, place } = route;
	const texts: string[] = [];
	if (rewriteHost !== undefined) texts.push(`the Host field becomes ${rewriteHost}`);
	if (rewritePath !== undefined) {
		const what = match.path?.kind === "prefix" ? `${match.path.pattern.slice(0, -"/**".length) || "/"} in the path` : "the path";
		texts.push(`${what} becomes ${rewritePath}`);
	}
	for (const [side, { set, add, remove }] of [
		["request", requestHeaders],
		["answer", responseHeaders],
	] as const) {
		const names = (list: readonly { readonly name: string }[]) => list.map(({ name }) => name).join(", ");
		if (remove.length !== 0) texts.push(`the ${side} loses ${remove.join(", ")}`);
		if (set.length !== 0) texts.push(`the ${side} gets ${names(set)} set`);
		if (add.length !== 0) texts.push(`the ${side} gets ${names(add)} added`);
	}
	return texts.map((text) => note("route", text, place));
}

function splitDecisions(route: RoutePolicy, destinations: readonly SplitShare[]): Decision[] {
	const shares = destinations.map(({ upstream, share }) => ({ upstream: upstream.name, share }));
	return [
		note("route", actionText(route.action), route.place, { shares }),
		...destinations.flatMap(({ upstream }) =>
			upstreamDecisions(upstream, route).map((each) => ({ ...each, text: `${upstream.name}: ${each.text}` })),
		),
	];
}
