/** Routes compiled for the request path: what a request costs does not depend on how many routes there are. */
import { normalHost } from "./host-name.ts";
import { Asked, CompiledRoute, type HeaderLookup, type RouteVerdict } from "./route-predicates.ts";
import type { RoutePolicy } from "./snapshot.ts";

export type { HeaderLookup, RouteVerdict } from "./route-predicates.ts";

export interface ConsideredRoute {
	readonly route: RoutePolicy;
	readonly verdict: RouteVerdict;
}

const SLASH = 0x2f;
const NO_ROUTES: readonly CompiledRoute[] = Object.freeze([]);

//  request host ──> #byHost  "payments"      ─┐
//                   #bySuffix ".example.com"  ├─> HostGroup: hash of anchor ──> routes in file order
//                   #anyHost                 ─┘
//
//  The anchor of a path pattern is what every matching path begins with: /pay for /pay/**, all of it for an exact path,
//  "" where no path is asked for. A request hashes its path once from left to right and looks up at each segment's end,
//  so nothing is allocated. Hashes only narrow the candidates; the predicates decide, so a collision costs one comparison.

/** Immutable; built when the policy changes. */
export class RouteTable {
	/** Whether some route takes only a part of the requests, so that `draw` matters. */
	readonly draws: boolean;
	readonly #routes: readonly CompiledRoute[];
	readonly #byHost = new Map<string, HostGroup>();
	readonly #bySuffix = new Map<string, HostGroup>();
	#longestSuffix = 0;
	readonly #anyHost = new HostGroup();

	/** `source` is the service whose requests these are: what `from` is compared with; undefined: it is not compared. */
	constructor(routes: readonly RoutePolicy[], source?: string) {
		this.#routes = routes.map((policy, order) => new CompiledRoute(policy, order, source));
		this.draws = routes.some(({ match }) => match.percent > 0 && match.percent < 100);
		for (const route of this.#routes) if (route.possible) this.#groupOf(route).add(route);
	}

	get size(): number {
		return this.#routes.length;
	}

	/**
	 * The first route in file order that fits, or undefined. `host` as received (port, case and final dot do not matter), `target` in
	 * origin-form with its query, `method` as received (methods are case-sensitive, RFC 9110 section 9.1). `draw` in [0, 1) decides about
	 * every `percent`, each route by a number of its own made of it, so that the same draw always gives the same answer; undefined:
	 * every request belongs to the percentage, unless it is 0.
	 */
	match(host: string, target: string, method: string, header: HeaderLookup, draw?: number): RoutePolicy | undefined {
		const asked = new Asked(target, method, header, draw);
		let best: CompiledRoute | undefined;
		if (this.#byHost.size !== 0 || this.#longestSuffix !== 0) {
			const name = normalHost(host);
			const exact = this.#byHost.get(name);
			if (exact !== undefined) best = exact.first(asked, best);
			if (this.#longestSuffix !== 0) best = this.#matchSuffixes(name, asked, best);
		}
		return this.#anyHost.first(asked, best)?.policy;
	}

	/** Every route in file order with what decided about it; the same predicates as `match`, without the index. */
	considered(host: string, target: string, method: string, header: HeaderLookup, draw?: number): ConsideredRoute[] {
		const name = normalHost(host);
		const asked = new Asked(target, method, header, draw);
		let won = false;
		return this.#routes.map((route) => {
			let verdict = route.verdict(name, asked);
			if (verdict.kind === "matched") {
				if (won) verdict = { kind: "later" };
				won = true;
			}
			return { route: route.policy, verdict };
		});
	}

	#matchSuffixes(name: string, asked: Asked, best: CompiledRoute | undefined): CompiledRoute | undefined {
		const from = Math.max(1, name.length - this.#longestSuffix);
		for (let dot = name.indexOf(".", from); dot !== -1; dot = name.indexOf(".", dot + 1)) {
			const group = this.#bySuffix.get(name.slice(dot));
			if (group !== undefined) best = group.first(asked, best);
		}
		return best;
	}

	#groupOf(route: CompiledRoute): HostGroup {
		const host = route.policy.match.host;
		if (host === undefined) return this.#anyHost;
		const groups = route.hostSuffix === undefined ? this.#byHost : this.#bySuffix;
		const key = route.hostSuffix ?? host;
		if (route.hostSuffix !== undefined) this.#longestSuffix = Math.max(this.#longestSuffix, key.length);
		let group = groups.get(key);
		if (group === undefined) {
			group = new HostGroup();
			groups.set(key, group);
		}
		return group;
	}
}

/** The routes of one host, by the hash of their anchor. */
class HostGroup {
	readonly #byAnchor = new Map<number, CompiledRoute[]>();
	#longestAnchor = 0;

	add(route: CompiledRoute): void {
		const key = hashOf(route.anchor);
		const bucket = this.#byAnchor.get(key);
		if (bucket === undefined) this.#byAnchor.set(key, [route]);
		else bucket.push(route);
		this.#longestAnchor = Math.max(this.#longestAnchor, route.anchor.length);
	}

	/** The first in file order that fits and stands before `best`, else `best`. */
	first(asked: Asked, best: CompiledRoute | undefined): CompiledRoute | undefined {
		const buckets = this.#byAnchor;
		if (buckets.size === 0) return best;
		const path = asked.path;
		best = firstOf(buckets.get(0) ?? NO_ROUTES, asked, best);
		const end = Math.min(path.length, this.#longestAnchor);
		let hash = 0;
		for (let i = 0; i < end; ) {
			hash = hashStep(hash, path.charCodeAt(i));
			i++;
			if (i === path.length || path.charCodeAt(i) === SLASH) {
				const bucket = buckets.get(hash);
				if (bucket !== undefined) best = firstOf(bucket, asked, best);
			}
		}
		return best;
	}
}

function firstOf(routes: readonly CompiledRoute[], asked: Asked, best: CompiledRoute | undefined): CompiledRoute | undefined {
	for (const route of routes) {
		if (best !== undefined && route.order >= best.order) return best;
		if (route.fits(asked)) return route;
	}
	return best;
}

function hashOf(text: string): number {
	let hash = 0;
	for (let i = 0; i < text.length; i++) hash = hashStep(hash, text.charCodeAt(i));
	return hash;
}

// 30 bits: the engine keeps such integers unboxed, also as keys of a Map.
function hashStep(hash: number, code: number): number {
	return (Math.imul(hash, 31) + code) & 0x3fffffff;
}
