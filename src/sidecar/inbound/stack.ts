/**
 * Inbound: from the mesh to the application. The stages of a request in their order, and why each stands where it stands.
 *
 *   meet         once per connection: who the client is decides which of its forwarding fields are believed, and which rules are about it
 *   authorize    before all else: whoever may not call learns nothing but that, and takes no token of a limit
 *   last hop     before anything that costs: a request that goes in circles, or no further than here, must end here
 *   limit        before the application is asked for anything: what is over its rate must cost it nothing
 *   deadline     a request whose time is over is not worth a connection
 *   head         forwarding fields are dropped or kept before ours are added, so that nobody speaks in our name
 *   tries        the application is an upstream with one endpoint; while it is not up, requests are held back. Breaker and limit of
 *                what is under way guard it; it is tried again only where a dead connection was to blame: the caller does the rest
 *   respond      in exchange/exchange.ts
 *   record       counters and access log, when the last byte is out
 */
import type { IdSource } from "../../core/ids.ts";
import { X_FORWARDED_PROTO } from "../../http1/fields.ts";
import type { RequestParser } from "../../http1/request-parser.ts";
import { fieldLine } from "../../http1/serializer.ts";
import type { VerifiedPeer } from "../../identity/verify-chain.ts";
import { xfccValue } from "../../identity/xfcc.ts";
import type { TrafficCounters } from "../../metrics/traffic.ts";
import type { AuthorizationPolicy } from "../../policy/authorization-policy.ts";
import type { DecisionLog } from "../../policy/decision-trace.ts";
import type { ListenerLimits } from "../../policy/snapshot.ts";
import { TrustedProxies } from "../../policy/trusted-proxies.ts";
import { lastHop, viaName } from "../exchange/hops.ts";
import { requestHead } from "../exchange/request-head.ts";
import type { RequestView } from "../exchange/request-view.ts";
import type { Client, Correlation, Refusal, Stack, Target } from "../exchange/stack.ts";
import { type AuthorizationObserver, InboundAuthorization } from "./authorization.ts";

const HTTP_LINE = fieldLine("x-forwarded-proto", "http");
const HTTPS_LINE = fieldLine("x-forwarded-proto", "https");

export interface InboundOptions {
	readonly service: string;
	/** Callers without one of their own in the rules belong to it. */
	readonly trustDomain: string;
	/** Our SPIFFE ID, "" without an identity. */
	readonly self: string;
	readonly limits: ListenerLimits;
	readonly trustedProxies: readonly string[];
	/** Undefined: anybody may do anything. */
	readonly authorization: AuthorizationPolicy | undefined;
	readonly authorizationObserver: AuthorizationObserver;
	readonly refused: TrafficCounters;
	/** Asked once, when the first request comes. */
	readonly application: () => Target;
	readonly ids: IdSource;
	readonly policyVersion: number;
	/** CIDR blocks of who may ask for a decision trace. */
	readonly traceAllowed: readonly string[];
}

export class InboundStack implements Stack {
	readonly direction = "inbound";
	readonly limits: ListenerLimits;
	readonly refused: TrafficCounters;
	readonly policyVersion: number;
	readonly #options: InboundOptions;
	readonly #viaLine: string;
	readonly #trusted: TrustedProxies;
	readonly #tracers: TrustedProxies;
	readonly #authorization: InboundAuthorization | undefined;
	#application: Target | undefined;

	constructor(options: InboundOptions) {
		this.#options = options;
		this.limits = options.limits;
		this.refused = options.refused;
		this.#viaLine = fieldLine("via", viaName(options.service));
		this.policyVersion = options.policyVersion;
		this.#trusted = new TrustedProxies(options.trustedProxies);
		this.#tracers = new TrustedProxies(options.traceAllowed);
		const { authorization, trustDomain, authorizationObserver } = options;
		this.#authorization = authorization && new InboundAuthorization(authorization, trustDomain, authorizationObserver);
	}

	meet(address: string, port: number, peer: VerifiedPeer | undefined): Client {
		// An IPv4 client of a dual-stack listener.
		const plain = address.startsWith("::ffff:") ? address.slice(7) : address;
		const forwardedFor = plain === "" ? "" : fieldLine("x-forwarded-for", plain);
		const caller = peer?.id.uri ?? "";
		return {
			address: plain,
			trusted: this.#trusted.trusts(address),
			mayTrace: this.#tracers.trusts(address),
			caller,
			port,
			rules: this.#authorization?.meet(caller),
			forwardedLines: peer === undefined ? forwardedFor : forwardedFor + this.#callerLines(peer),
			protoLine: peer === undefined ? HTTP_LINE : HTTPS_LINE,
		};
	}

	decide(request: RequestParser, view: RequestView, client: Client, trace: DecisionLog | undefined): Target | Refusal {
		const end = this.#refusalFor(view, client, trace) ?? lastHop(request);
		if (end !== undefined) return end;
		const application = this.#application ?? this.#options.application();
		this.#application = application;
		trace?.add("route", "yes", "to the application", application.place, { brief: "application" });
		return application;
	}

	decideAgain(view: RequestView, client: Client): Refusal | undefined {
		return this.#refusalFor(view, client, undefined);
	}

	#refusalFor(view: RequestView, client: Client, trace: DecisionLog | undefined): Refusal | undefined {
		return client.rules && this.#authorization?.decide(client.rules, view, client, trace);
	}

	/** Who calls, for an application that does not see the handshake. */
	#callerLines(peer: VerifiedPeer): string {
		return fieldLine("x-forwarded-client-cert", xfccValue(peer, this.#options.self)) + fieldLine("x-nexus-caller", peer.id.uri);
	}

	requestHead(request: RequestParser, target: Target, client: Client, correlation: Correlation): string {
		// From a known proxy the list grows by our line; from anybody else it begins with it.
		const proto = client.trusted && request.meaning.has(X_FORWARDED_PROTO) ? "" : client.protoLine;
		const options = {
			rewriteHost: undefined,
			defaultHost: this.#options.service,
			dropForwarded: !client.trusted,
			dropClientCert: true,
			addedLines: client.forwardedLines + proto + this.#viaLine,
			target: undefined,
			changes: target.requestChanges,
		};
		return requestHead(request, options, this.#options.ids, correlation);
	}
}
