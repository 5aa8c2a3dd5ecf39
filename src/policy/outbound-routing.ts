/** Which upstream a request goes to: the routes, and for a host that no route names, the upstream of that name. */
import { normalHost } from "./host-name.ts";
import { type HeaderLookup, RouteTable } from "./route-table.ts";
import type { RoutePolicy } from "./snapshot.ts";

export interface Routed {
	/** Undefined where the Host alone named the upstream. */
	readonly route: RoutePolicy | undefined;
	readonly upstream: string;
}

/** Immutable; built when the policy changes. The data plane and `nexus explain` ask the same object. */
export class OutboundRouting {
	readonly table: RouteTable;
	readonly #byRoute = new Map<RoutePolicy, Routed>();
	/** Upstreams that a Host may name: those without a route for their name. A route that names a host decides alone about it. */
	readonly #byHost = new Map<string, Routed>();

	readonly #routedHosts = new Set<string>();

	constructor(routes: readonly RoutePolicy[], upstreams: Iterable<string>) {
		this.table = new RouteTable(routes);
		for (const route of routes) {
			this.#byRoute.set(route, { route, upstream: route.to });
			if (route.match.host !== undefined) this.#routedHosts.add(route.match.host);
		}
		for (const upstream of upstreams) {
			const host = upstream.toLowerCase();
			if (!this.#routedHosts.has(host)) this.#byHost.set(host, { route: undefined, upstream });
		}
	}

	/** `host` as received; `target` in origin-form, its query included; `method` as received. */
	decide(host: string, target: string, method: string, header: HeaderLookup): Routed | undefined {
		if (this.table.size > 0) {
			const query = target.indexOf("?");
			const route = this.table.match(host, query === -1 ? target : target.slice(0, query), method, header);
			if (route !== undefined) return this.#byRoute.get(route);
		}
		return this.#byHost.get(normalHost(host));
	}

	/** Whether some route names this very host, so that routes alone decide about it. */
	isRouted(host: string): boolean {
		return this.#routedHosts.has(normalHost(host));
	}
}
