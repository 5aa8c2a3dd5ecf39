/** Where a request goes: the routes, and for a host that no route names, the upstream of that name. */
import type { Rng } from "../core/rng.ts";
import { normalHost } from "./host-name.ts";
import { type HeaderLookup, RouteTable } from "./route-table.ts";
import type { RoutePolicy } from "./snapshot.ts";

/** The same object for every request that a route, or a host, decides about. */
export interface Routed {
	/** Undefined where the Host alone named the upstream. */
	readonly route: RoutePolicy | undefined;
	/** Where the Host or a single `to` names it; undefined: the action of the route says what follows. */
	readonly upstream: string | undefined;
}

export interface RoutingOptions {
	/** Whose requests these are: what `from` is compared with. */
	readonly service: string;
	/** For `percent`; without it, and without a draw handed in, every request belongs to each percentage. */
	readonly rng?: Rng;
}

/** Immutable; built when the policy changes. The data plane and `nexus explain` ask the same object. */
export class OutboundRouting {
	readonly table: RouteTable;
	readonly #rng: Rng | undefined;
	readonly #byRoute = new Map<RoutePolicy, Routed>();
	/** Upstreams that a Host may name: those without a route for their name. A route that names a host decides alone about it. */
	readonly #byHost = new Map<string, Routed>();
	readonly #routedHosts = new Set<string>();

	constructor(routes: readonly RoutePolicy[], upstreams: Iterable<string>, { service, rng }: RoutingOptions) {
		this.table = new RouteTable(routes, service);
		this.#rng = rng;
		for (const route of routes) {
			this.#byRoute.set(route, { route, upstream: singleUpstream(route) });
			if (route.match.host !== undefined) this.#routedHosts.add(route.match.host);
		}
		for (const upstream of upstreams) {
			const host = upstream.toLowerCase();
			if (!this.#routedHosts.has(host)) this.#byHost.set(host, { route: undefined, upstream });
		}
	}

	/** A number for all that is decided about one request, for `decide` and `table.considered` alike; undefined where nothing is drawn. */
	draw(): number | undefined {
		return this.table.draws ? this.#rng?.() : undefined;
	}

	/** `host` as received; `target` in origin-form, its query included; `method` as received. */
	decide(host: string, target: string, method: string, header: HeaderLookup, draw: number | undefined = this.draw()): Routed | undefined {
		if (this.table.size > 0) {
			const route = this.table.match(host, target, method, header, draw);
			if (route !== undefined) return this.#byRoute.get(route);
		}
		return this.#byHost.get(normalHost(host));
	}

	/** Whether some route names this very host, so that routes alone decide about it. */
	isRouted(host: string): boolean {
		return this.#routedHosts.has(normalHost(host));
	}
}

function singleUpstream({ action }: RoutePolicy): string | undefined {
	return action.kind === "forward" && action.destinations.length === 1 ? action.destinations[0]?.to : undefined;
}
