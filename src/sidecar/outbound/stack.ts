/**
 * Outbound: from the application to the mesh. The stages of a request in their order, and why each stands where it stands.
 *
 *   last hop     before anything that costs: a request that goes in circles, or no further than here, must end here
 *   route        which upstream; the first thing that depends on policy, everything behind it hangs on the answer
 *   head         written once, before an endpoint is known: a second attempt sends the same bytes
 *   attempt      pick -> pool -> encode, in upstream/attempt.ts; its failures come back as reasons
 *   respond      in exchange/exchange.ts: the answer's head in the client's framing, then the body as it comes
 *   record       counters and access log, when the last byte is out
 */
import type { IdSource } from "../../core/ids.ts";
import type { RequestParser } from "../../http1/request-parser.ts";
import { fieldLine } from "../../http1/serializer.ts";
import type { TrafficCounters } from "../../metrics/traffic.ts";
import type { OutboundRouting, Routed } from "../../policy/outbound-routing.ts";
import type { ListenerLimits } from "../../policy/snapshot.ts";
import { lastHop, viaName } from "../exchange/hops.ts";
import { requestHead } from "../exchange/request-head.ts";
import { type Client, type Correlation, type Refusal, refusal, type Stack, type Target } from "../exchange/stack.ts";
import type { Passthrough } from "./passthrough.ts";

export interface OutboundOptions {
	readonly service: string;
	readonly limits: ListenerLimits;
	readonly refused: TrafficCounters;
	/** A listener of one upstream always answers with that one. */
	readonly routing: Pick<OutboundRouting, "decide">;
	/** The target behind each result of the routing. */
	readonly targetOf: (routed: Routed) => Target | undefined;
	readonly passthrough: Passthrough | undefined;
	readonly ids: IdSource;
}

export class OutboundStack implements Stack {
	readonly direction = "outbound";
	readonly limits: ListenerLimits;
	readonly refused: TrafficCounters;
	readonly #options: OutboundOptions;
	readonly #viaLine: string;
	readonly #targets = new Map<Routed, Target>();

	constructor(options: OutboundOptions) {
		this.#options = options;
		this.limits = options.limits;
		this.refused = options.refused;
		this.#viaLine = fieldLine("via", viaName(options.service));
	}

	/** The application beside us: what it says about forwarding is its own to say. */
	meet(address: string): Client {
		return { address, trusted: true, forwardedLines: "" };
	}

	decide(request: RequestParser): Target | Refusal {
		const end = lastHop(request);
		if (end !== undefined) return end;
		const { routing, passthrough } = this.#options;
		const routed = routing.decide(request.authority, request.target, request.method, (name) => request.fields.get(name));
		if (routed !== undefined) return this.#target(routed);
		if (passthrough !== undefined) return passthrough.decide(request);
		return refusal("no_route", `no route and no upstream for host ${JSON.stringify(request.authority)}`);
	}

	requestHead(request: RequestParser, target: Target, _client: Client, correlation: Correlation): string {
		const options = { rewriteHost: target.rewriteHost, defaultHost: target.upstream.name, dropForwarded: false, addedLines: this.#viaLine };
		return requestHead(request, options, this.#options.ids, correlation);
	}

	#target(routed: Routed): Target | Refusal {
		let target = this.#targets.get(routed);
		if (target === undefined) {
			target = this.#options.targetOf(routed);
			if (target === undefined) return refusal("no_route", `upstream ${routed.upstream} is being removed`);
			this.#targets.set(routed, target);
		}
		return target;
	}
}
