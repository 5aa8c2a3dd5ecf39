/** Routes compiled for the request path: what a request costs does not depend on how many routes there are. */
import { normalHost } from "./host-name.ts";
import { PathPattern } from "./path-pattern.ts";
import type { RoutePolicy } from "./snapshot.ts";

/** The value of a request header by its lower-case name. */
export type HeaderLookup = (name: string) => string | undefined;

/** Why a route was not taken, the first obstacle only; `later` fits as well, but an earlier one had won. */
export type RouteVerdict =
	| { readonly kind: "matched" | "later" | "host" | "path" | "method" }
	| { readonly kind: "header"; readonly name: string; readonly expected: string; readonly actual: string | undefined };

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
	readonly #routes: readonly CompiledRoute[];
	readonly #byHost = new Map<string, HostGroup>();
	readonly #bySuffix = new Map<string, HostGroup>();
	#longestSuffix = 0;
	readonly #anyHost = new HostGroup();

	constructor(routes: readonly RoutePolicy[]) {
		this.#routes = routes.map((policy, order) => new CompiledRoute(policy, order));
		for (const route of this.#routes) this.#groupOf(route).add(route);
	}

	get size(): number {
		return this.#routes.length;
	}

	/**
	 * The first route in file order that fits, or undefined. `host` as received (port, case and final dot do not matter),
	 * `path` without the query, `method` as received (methods are case-sensitive, RFC 9110 section 9.1).
	 */
	match(host: string, path: string, method: string, header: HeaderLookup): RoutePolicy | undefined {
		let best: CompiledRoute | undefined;
		if (this.#byHost.size !== 0 || this.#longestSuffix !== 0) {
			const name = normalHost(host);
			const exact = this.#byHost.get(name);
			if (exact !== undefined) best = exact.first(path, method, header, best);
			if (this.#longestSuffix !== 0) best = this.#matchSuffixes(name, path, method, header, best);
		}
		return this.#anyHost.first(path, method, header, best)?.policy;
	}

	/** Every route in file order with what decided about it; the same predicates as `match`, without the index. */
	considered(host: string, path: string, method: string, header: HeaderLookup): ConsideredRoute[] {
		const name = normalHost(host);
		let won = false;
		return this.#routes.map((route) => {
			let verdict = route.verdict(name, path, method, header);
			if (verdict.kind === "matched") {
				if (won) verdict = { kind: "later" };
				won = true;
			}
			return { route: route.policy, verdict };
		});
	}

	#matchSuffixes(name: string, path: string, method: string, header: HeaderLookup, best: CompiledRoute | undefined): CompiledRoute | undefined {
		const from = Math.max(1, name.length - this.#longestSuffix);
		for (let dot = name.indexOf(".", from); dot !== -1; dot = name.indexOf(".", dot + 1)) {
			const group = this.#bySuffix.get(name.slice(dot));
			if (group !== undefined) best = group.first(path, method, header, best);
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
	first(path: string, method: string, header: HeaderLookup, best: CompiledRoute | undefined): CompiledRoute | undefined {
		const buckets = this.#byAnchor;
		if (buckets.size === 0) return best;
		best = firstOf(buckets.get(0) ?? NO_ROUTES, path, method, header, best);
		const end = Math.min(path.length, this.#longestAnchor);
		let hash = 0;
		for (let i = 0; i < end; ) {
			hash = hashStep(hash, path.charCodeAt(i));
			i++;
			if (i === path.length || path.charCodeAt(i) === SLASH) {
				const bucket = buckets.get(hash);
				if (bucket !== undefined) best = firstOf(bucket, path, method, header, best);
			}
		}
		return best;
	}
}

function firstOf(
	routes: readonly CompiledRoute[],
	path: string,
	method: string,
	header: HeaderLookup,
	best: CompiledRoute | undefined,
): CompiledRoute | undefined {
	for (const route of routes) {
		if (best !== undefined && route.order >= best.order) return best;
		if (route.pathFits(path) && route.methodFits(method) && route.headersFit(header)) return route;
	}
	return best;
}

class CompiledRoute {
	readonly policy: RoutePolicy;
	readonly order: number;
	/** `.example.com` for `*.example.com`. */
	readonly hostSuffix: string | undefined;
	readonly #path: PathPattern | undefined;
	readonly #headerNames: readonly string[];
	readonly #headerValues: readonly string[];

	constructor(policy: RoutePolicy, order: number) {
		const { host, path, headers } = policy.match;
		this.policy = policy;
		this.order = order;
		this.hostSuffix = host?.startsWith("*.") ? host.slice(1) : undefined;
		this.#path = path === undefined ? undefined : new PathPattern(path);
		this.#headerNames = [...headers.keys()];
		this.#headerValues = [...headers.values()];
	}

	get anchor(): string {
		return this.#path?.anchor ?? "";
	}

	hostFits(name: string): boolean {
		if (this.hostSuffix !== undefined) return name.length > this.hostSuffix.length && name.endsWith(this.hostSuffix);
		return this.policy.match.host === undefined || this.policy.match.host === name;
	}

	pathFits(path: string): boolean {
		return this.#path === undefined || this.#path.matches(path);
	}

	methodFits(method: string): boolean {
		const methods = this.policy.match.methods;
		return methods.length === 0 || methods.includes(method);
	}

	headersFit(header: HeaderLookup): boolean {
		return this.#headerThatDiffers(header) === -1;
	}

	verdict(name: string, path: string, method: string, header: HeaderLookup): RouteVerdict {
		if (!this.hostFits(name)) return { kind: "host" };
		if (!this.pathFits(path)) return { kind: "path" };
		if (!this.methodFits(method)) return { kind: "method" };
		const differs = this.#headerThatDiffers(header);
		if (differs === -1) return { kind: "matched" };
		const headerName = this.#headerNames[differs] ?? "";
		return { kind: "header", name: headerName, expected: this.#headerValues[differs] ?? "", actual: header(headerName) };
	}

	#headerThatDiffers(header: HeaderLookup): number {
		for (let i = 0; i < this.#headerNames.length; i++) {
			if (header(this.#headerNames[i] as string) !== this.#headerValues[i]) return i;
		}
		return -1;
	}
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
