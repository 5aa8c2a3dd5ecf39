/**
 * Outbound: from the application to the mesh. The stages of a request in their order, and why each stands where it stands.
 *
 *   last hop     before anything that costs: a request that goes in circles, or no further than here, must end here
 *   route        which upstream, or an answer of the policy itself; the first thing that depends on policy
 *   deadline     what the caller or the policy gives it: what is over already must not cost a token or a connection
 *   limit        behind the route, as limits belong to routes and upstreams; before any try, so that a retry takes no token
 *   mirror       a copy on its way, once the request is whole; nothing behind waits for it
 *   head         written once, before an endpoint is known: each try adds only its own deadline and number
 *   tries        in exchange/tries.ts, each in upstream/try.ts: concurrency -> breaker -> pick -> fault -> pool -> encode.
 *                Faults stand below breaker and retries, so that these see what a real failure would show them
 *   respond      in exchange/exchange.ts: the answer's head in the client's framing, then the body as it comes
 *   record       counters, access log and, where somebody asked, the decision trace, when the last byte is out
 */
import type { IdSource } from "../../core/ids.ts";
import type { Rng } from "../../core/rng.ts";
import { Hash64Slot } from "../../core/xxh64.ts";
import type { RequestParser } from "../../http1/request-parser.ts";
import { fieldLine } from "../../http1/serializer.ts";
import type { Direction, TrafficCounters } from "../../metrics/traffic.ts";
import type { DecisionLog } from "../../policy/decision-trace.ts";
import type { OutboundRouting, Routed } from "../../policy/outbound-routing.ts";
import { redirectLocation } from "../../policy/rewrite.ts";
import type { ListenerLimits, RoutePolicy } from "../../policy/snapshot.ts";
import type { HashKey, RedirectPolicy } from "../../policy/traffic-policy.ts";
import { TrustedProxies } from "../../policy/trusted-proxies.ts";
import { hashOf } from "../exchange/hash-key.ts";
import { lastHop, viaName } from "../exchange/hops.ts";
import { requestHead } from "../exchange/request-head.ts";
import type { RequestView } from "../exchange/request-view.ts";
import { type Client, type Correlation, type PolicyAnswer, type Refusal, refusal, type Stack, type Target, type Verdict } from "../exchange/stack.ts";
import type { Passthrough } from "./passthrough.ts";
import { tellRoutes } from "./route-trace.ts";
import { Split } from "./split.ts";

export interface OutboundOptions {
	readonly service: string;
	readonly limits: ListenerLimits;
	readonly refused: TrafficCounters;
	/** A listener of one upstream always answers with that one. */
	readonly routing: Pick<OutboundRouting, "decide" | "draw"> & { readonly table?: OutboundRouting["table"] };
	/** What a request is sent by, for a route and one of its upstreams; undefined where that is being removed. */
	readonly targetOf: (route: RoutePolicy | undefined, upstream: string) => Target | undefined;
	readonly countersOf: (route: string) => TrafficCounters;
	readonly passthrough: Passthrough | undefined;
	readonly ids: IdSource;
	readonly rng: Rng;
	readonly policyVersion: number;
	/** CIDR blocks of who may ask for a decision trace. */
	readonly traceAllowed: readonly string[];
}

/** What a route comes to, worked out when its first request comes. */
type Way =
	| { readonly kind: "target"; readonly target: Target }
	| { readonly kind: "split"; readonly split: Split<Target>; readonly sticky: HashKey | undefined }
	| { readonly kind: "redirect"; readonly redirect: RedirectPolicy; readonly route: RoutePolicy }
	| { readonly kind: "answer"; readonly answer: PolicyAnswer };

export class OutboundStack implements Stack {
	readonly direction: Direction = "outbound";
	readonly limits: ListenerLimits;
	readonly refused: TrafficCounters;
	readonly policyVersion: number;
	readonly #options: OutboundOptions;
	readonly #viaLine: string;
	readonly #tracers: TrustedProxies;
	readonly #ways = new Map<Routed, Way>();
	readonly #hash = new Hash64Slot();

	constructor(options: OutboundOptions) {
		this.#options = options;
		this.limits = options.limits;
		this.refused = options.refused;
		this.policyVersion = options.policyVersion;
		this.#viaLine = fieldLine("via", viaName(options.service));
		this.#tracers = new TrustedProxies(options.traceAllowed);
	}

	/** The application beside us: what it says about forwarding is its own to say. */
	meet(address: string, port: number): Client {
		const mayTrace = this.#tracers.trusts(address);
		return { address, trusted: true, mayTrace, caller: "", port, rules: undefined, forwardedLines: "", protoLine: "" };
	}

	decide(request: RequestParser, _view: RequestView, client: Client, trace: DecisionLog | undefined): Verdict {
		const end = lastHop(request);
		if (end !== undefined) return end;
		const { routing, passthrough } = this.#options;
		const { authority, target, method } = request;
		const header = (name: string): string | undefined => request.fields.get(name);
		const draw = routing.draw();
		if (trace !== undefined && routing.table !== undefined) tellRoutes(trace, routing.table.considered(authority, target, method, header, draw));
		const routed = routing.decide(authority, target, method, header, draw);
		if (routed !== undefined) return this.#follow(routed, request, client, trace);
		if (passthrough !== undefined) return passthrough.decide(request);
		return refusal("no_route", `no route and no upstream for host ${JSON.stringify(authority)}`);
	}

	/** What the application has begun, it may go on with. */
	decideAgain(): undefined {
		return undefined;
	}

	requestHead(request: RequestParser, target: Target, _client: Client, correlation: Correlation): string {
		const options = {
			rewriteHost: target.rewriteHost,
			defaultHost: target.upstream.name,
			dropForwarded: false,
			dropClientCert: false,
			addedLines: this.#viaLine,
			target: target.rewriteTarget?.(request.target),
			changes: target.requestChanges,
		};
		return requestHead(request, options, this.#options.ids, correlation);
	}

	#follow(routed: Routed, request: RequestParser, client: Client, trace: DecisionLog | undefined): Verdict {
		let way = this.#ways.get(routed);
		if (way === undefined) {
			const found = this.#wayOf(routed);
			if (found.kind === "refusal") return found;
			way = found;
			this.#ways.set(routed, way);
		}
		switch (way.kind) {
			case "target":
				if (trace !== undefined && routed.route === undefined)
					trace.add("route", "yes", `the host names the upstream ${way.target.upstream.name}`, way.target.place, { brief: way.target.upstream.name });
				return way.target;
			case "split": {
				const hash = way.sticky === undefined ? undefined : hashOf(way.sticky, request, client, this.#hash);
				const target = way.split.choose(hash);
				trace?.add("route", "yes", `the split gives ${target.upstream.name}${hash === undefined ? "" : ", as always for this key"}`, target.place);
				return target;
			}
			case "redirect":
				return this.#redirect(way.route, way.redirect, request);
			case "answer":
				return way.answer;
		}
	}

	#wayOf({ route, upstream }: Routed): Way | Refusal {
		const { targetOf, countersOf, rng } = this.#options;
		const action = route?.action;
		if (route !== undefined && action?.kind === "redirect") return { kind: "redirect", redirect: action.redirect, route };
		if (route !== undefined && action?.kind === "respond") {
			return { kind: "answer", answer: { kind: "answer", route: route.name, counters: countersOf(route.name), response: action.respond, lines: "" } };
		}
		const forward = action?.kind === "forward" ? action : undefined;
		const destinations = forward?.destinations ?? [{ to: upstream ?? "", weight: 1 }];
		const targets: { to: Target; weight: number }[] = [];
		for (const { to, weight } of destinations) {
			const target = targetOf(route, to);
			if (target === undefined) return refusal("no_route", `upstream ${to} is being removed`);
			targets.push({ to: target, weight });
		}
		const [only] = targets;
		if (targets.length === 1 && only !== undefined) return { kind: "target", target: only.to };
		return { kind: "split", split: new Split(targets, rng), sticky: forward?.sticky };
	}

	#redirect(route: RoutePolicy, redirect: RedirectPolicy, request: RequestParser): PolicyAnswer {
		const location = redirectLocation(route, redirect, request.authority, request.target);
		return {
			kind: "answer",
			route: route.name,
			counters: this.#options.countersOf(route.name),
			response: { status: redirect.status, contentType: "", body: "" },
			lines: fieldLine("location", location),
		};
	}
}
