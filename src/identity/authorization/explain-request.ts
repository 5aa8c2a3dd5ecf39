/** The decision trace of a described request, with what the rules say about its caller: for the command line and the admin API alike. */
import { isAlias } from "../../http1/fields.ts";
import type { Decision } from "../../policy/decision-trace.ts";
import { type ExplainedRequest, explainRouting, type RoutingTrace } from "../../policy/explain.ts";
import type { InboundPolicy, Snapshot } from "../../policy/snapshot.ts";
import { Authorizer } from "./authorizer.ts";
import { explainAuthorization } from "./explain.ts";
import type { AuthorizationSubject } from "./subject.ts";

/** As `explainRouting`; on the way in the rules come first, and what they refuse goes nowhere. */
export function explainRequest(snapshot: Snapshot, request: ExplainedRequest): RoutingTrace {
	const trace = explainRouting(snapshot, request);
	const { inbound, trustDomain } = snapshot;
	if (request.direction !== "inbound" || inbound === undefined || trace.outcome?.kind !== "application") return trace;
	const told = authorizationDecisions(inbound, trustDomain, request);
	const isEarlier = ({ stage }: Decision): boolean => stage === "caller";
	const [before, after] = [trace.decisions.filter(isEarlier), trace.decisions.filter((decision) => !isEarlier(decision))];
	const refused = told.find(({ verdict }) => verdict === "no");
	if (refused === undefined) return { ...trace, decisions: [...before, ...told, ...after] };
	const because = { place: refused.place ?? inbound.place, text: refused.text };
	return { ...trace, outcome: { kind: "refused", reason: "unauthorized", because }, decisions: [...before, ...told] };
}

function authorizationDecisions(inbound: InboundPolicy, trustDomain: string, request: ExplainedRequest): Decision[] {
	const { authorization, tls, listen, place } = inbound;
	const caller = callerId(request.caller, trustDomain);
	const note = (text: string): Decision => ({ stage: "authorize", verdict: "note", atMs: 0, text, place, data: undefined });
	const kept =
		caller === "" && tls.mode === "strict" ? [note("`tls: strict` lets nobody in who shows no certificate; name the caller with --from")] : [];
	if (authorization === undefined) return [...kept, note("there are no rules: whoever is let in may do anything")];
	return [...kept, ...explainAuthorization(new Authorizer(authorization, trustDomain), caller, subjectOf(request, listen.port))];
}

function callerId(caller: string | undefined, trustDomain: string): string {
	if (caller === undefined || caller === "unauthenticated") return "";
	return caller.startsWith("spiffe://") ? caller : `spiffe://${trustDomain}/${caller}`;
}

function subjectOf({ method, path, headers, headerLines }: ExplainedRequest, port: number): AuthorizationSubject {
	const lines = headerLines ?? new Map(Array.from(headers, ([name, value]) => [name, [value]]));
	const aliases = (name: string): string[] => [...lines].flatMap(([own, values]) => (isAlias(own, name) ? values : []));
	return {
		method,
		path,
		port,
		headerLine: (name, index) => lines.get(name)?.[index],
		aliasLine: (name, index) => aliases(name)[index],
	};
}
