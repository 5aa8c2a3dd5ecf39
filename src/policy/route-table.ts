/** Routes compiled for the request path: what a request costs does not depend on how many routes there are. */
import { normalHost } from "./host-name.ts";
import { PathPattern } from "./path-pattern.ts";
import type { RoutePolicy } from "./snapshot.ts";
import type { FieldMatch } from "./traffic-policy.ts";

/** The value of a request header by its lower-case name. */
export type HeaderLookup = (name: string) => string | undefined;

/** Why a route was not taken, the first obstacle only; `later` fits as well, but an earlier one had won. */
export type RouteVerdict =
	| { readonly kind: "matched" | "later" | "host" | "path" | "method" | "from" }
	| { readonly kind: "header" | "query"; readonly name: string; readonly expected: FieldMatch; readonly actual: string | undefined }
	/** `drawn` is what fell for this request, 0..100. */
	| { readonly kind: "percent"; readonly percent: number; readonly drawn: number };

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

/** One request, as the predicates see it. */
class Asked {
	readonly path: string;
	readonly method: string;
	readonly header: HeaderLookup;
	readonly draw: number | undefined;
	readonly #target: string;
	#query: URLSearchParams | undefined;

	constructor(target: string, method: string, header: HeaderLookup, draw: number | undefined) {
		const query = target.indexOf("?");
		this.path = query === -1 ? target : target.slice(0, query);
		this.method = method;
		this.header = header;
		this.draw = draw;
		this.#target = target;
	}

	/** The first parameter of this name, decoded once (application/x-www-form-urlencoded); only read where a route asks for one. */
	parameter(name: string): string | undefined {
		this.#query ??= new URLSearchParams(this.#target.slice(this.path.length));
		return this.#query.get(name) ?? undefined;
	}
}

class CompiledRoute {
	readonly policy: RoutePolicy;
	readonly order: number;
	/** `.example.com` for `*.example.com`. */
	readonly hostSuffix: string | undefined;
	/** Whether its `from` names the service whose requests these are. */
	readonly #ours: boolean;
	readonly #path: PathPattern | undefined;
	readonly #headers: Fields | undefined;
	readonly #query: Fields | undefined;

	constructor(policy: RoutePolicy, order: number, source: string | undefined) {
		const { host, path, headers, query, from } = policy.match;
		this.policy = policy;
		this.order = order;
		this.hostSuffix = host?.startsWith("*.") ? host.slice(1) : undefined;
		this.#ours = source === undefined || from.length === 0 || from.includes(source);
		this.#path = path === undefined ? undefined : new PathPattern(path);
		this.#headers = headers.size === 0 ? undefined : new Fields(headers);
		this.#query = query.size === 0 ? undefined : new Fields(query);
	}

	get anchor(): string {
		return this.#path?.anchor ?? "";
	}

	/** Whether any request can fit. */
	get possible(): boolean {
		return this.#ours && this.policy.match.percent > 0;
	}

	/** Whether a request to its host fits. */
	fits(asked: Asked): boolean {
		return (
			this.#pathFits(asked.path) &&
			this.#methodFits(asked.method) &&
			(this.#headers === undefined || this.#headers.differing(asked.header) === -1) &&
			(this.#query === undefined || this.#query.differing((name) => asked.parameter(name)) === -1) &&
			this.#drawn(asked.draw) < this.policy.match.percent
		);
	}

	/** The same, one by one. */
	verdict(name: string, asked: Asked): RouteVerdict {
		const { percent } = this.policy.match;
		if (!this.#ours) return { kind: "from" };
		if (!this.#hostFits(name)) return { kind: "host" };
		if (!this.#pathFits(asked.path)) return { kind: "path" };
		if (!this.#methodFits(asked.method)) return { kind: "method" };
		const differs = this.#headers?.difference("header", asked.header) ?? this.#query?.difference("query", (key) => asked.parameter(key));
		if (differs !== undefined) return differs;
		const drawn = this.#drawn(asked.draw);
		return drawn < percent ? { kind: "matched" } : { kind: "percent", percent, drawn };
	}

	#hostFits(name: string): boolean {
		if (this.hostSuffix !== undefined) return name.length > this.hostSuffix.length && name.endsWith(this.hostSuffix);
		return this.policy.match.host === undefined || this.policy.match.host === name;
	}

	#pathFits(path: string): boolean {
		return this.#path === undefined || this.#path.matches(path);
	}

	#methodFits(method: string): boolean {
		const methods = this.policy.match.methods;
		return methods.length === 0 || methods.includes(method);
	}

	/** 0 (inclusive) to 100 (exclusive). */
	#drawn(draw: number | undefined): number {
		return draw === undefined || this.policy.match.percent >= 100 ? 0 : mixed(draw, this.order) * 100;
	}
}

/** Conditions on header fields or query parameters. */
class Fields {
	readonly #names: readonly string[];
	readonly #matches: readonly FieldMatch[];

	constructor(fields: ReadonlyMap<string, FieldMatch>) {
		this.#names = [...fields.keys()];
		this.#matches = [...fields.values()];
	}

	/** Position of the first that does not hold, or -1. */
	differing(lookup: HeaderLookup): number {
		for (let i = 0; i < this.#names.length; i++) {
			if (!holds(this.#matches[i] as FieldMatch, lookup(this.#names[i] as string))) return i;
		}
		return -1;
	}

	difference(kind: "header" | "query", lookup: HeaderLookup): RouteVerdict | undefined {
		const at = this.differing(lookup);
		if (at === -1) return undefined;
		const name = this.#names[at] as string;
		return { kind, name, expected: this.#matches[at] as FieldMatch, actual: lookup(name) };
	}
}

function holds(match: FieldMatch, actual: string | undefined): boolean {
	switch (match.kind) {
		case "exact":
			return actual === match.value;
		case "prefix":
			return actual?.startsWith(match.value) === true;
		case "present":
			return actual !== undefined;
		case "absent":
			return actual === undefined;
	}
}

/** A number in [0, 1) for each route from the one of the request, so that two routes with 10 % do not get the same tenth (murmur3's finaliser). */
function mixed(draw: number, order: number): number {
	let x = (Math.floor(draw * 0x1_0000_0000) ^ Math.imul(order + 1, 0x9e3779b1)) >>> 0;
	x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
	x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
	return ((x ^ (x >>> 16)) >>> 0) / 0x1_0000_0000;
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
